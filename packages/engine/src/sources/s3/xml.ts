/**
 * The little of XML that S3 answers with: elements, text and entities of characters. Not a library: those for XML read
 * much more (document types, other entities, repair of what is broken, guesses at numbers), and what is more than this
 * is here no answer of S3. What the elements mean is left to `listing.ts` and `bucket.ts`.
 */

export interface Element {
  readonly name: string
  /** Of an element with others in it: empty. */
  readonly text: string
  readonly children: readonly Element[]
}

interface Open {
  readonly name: string
  text: string
  readonly children: Element[]
}

const declaration = /^\uFEFF?(?:<\?xml(?: [^<>?]{0,200})?\?>)?\s*/
const opening = /<([A-Za-z_][\w.-]{0,100})((?:\s{1,8}[\w:.-]{1,100}="[^"<>]{0,1000}")*)\s{0,8}(\/?)>/y
const closing = /<\/([A-Za-z_][\w.-]{0,100})\s{0,8}>/y
const between = /[^<]+/y
const mostDepth = 8
const characters: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

/** @throws Error that says at which character it is not what S3 sends */
export function parseXml(text: string): Element {
  const root: Open = { name: '', text: '', children: [] }
  const open: Open[] = [root]
  let at = declaration.exec(text)?.[0].length ?? 0
  const next = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at
    const found = pattern.exec(text)
    if (found) at += found[0].length
    return found
  }
  const wrong = (what: string) => new Error(`${what} at character ${at}`)
  while (at < text.length) {
    const inner = open.at(-1) as Open
    const begun = next(opening)
    if (begun) {
      if (open.length > mostDepth) throw wrong('elements are too deep')
      const element: Open = { name: begun[1] as string, text: '', children: [] }
      inner.children.push(element)
      if (begun[3] === '') open.push(element)
      continue
    }
    const ended = next(closing)
    if (ended) {
      if (inner === root || ended[1] !== inner.name) throw wrong('an element ends that did not begin')
      if (inner.children.length > 0) {
        if (inner.text.trim() !== '') throw wrong('text stands beside elements')
        inner.text = ''
      }
      open.pop()
      continue
    }
    const piece = next(between)
    if (!piece) throw wrong('there is other than elements and text')
    inner.text += decoded(piece[0], wrong)
  }
  const [element] = root.children
  if (open.length > 1) throw wrong('it ends within an element')
  if (!element || root.children.length > 1 || root.text.trim() !== '')
    throw wrong('there is not one element around all')
  return element
}

/** The text of the one element of that name, where there is one. @throws Error if there are more, or it holds others */
export function textIn({ children }: Element, name: string): string | undefined {
  const [found, ...more] = children.filter((one) => one.name === name)
  if (more.length > 0 || (found && found.children.length > 0)) throw new Error(`there is more than one text in ${name}`)
  return found?.text
}

function decoded(text: string, wrong: (what: string) => Error): string {
  return text.replace(/&(?:([a-z]{1,4});|#(\d{1,7});|#x([\dA-Fa-f]{1,6});|)/g, (_, name, decimal, hex) => {
    const code = decimal === undefined ? Number.parseInt(hex ?? '', 16) : Number(decimal)
    const isCharacter = code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff)
    const character = name === undefined ? isCharacter && String.fromCodePoint(code) : characters[name]
    if (character === undefined || character === false) throw wrong('there is an entity that is no character')
    return character
  })
}
