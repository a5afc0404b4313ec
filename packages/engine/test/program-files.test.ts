/** What is written: formats, templates, and what they refuse rather than bend. */
import { spawnSync } from 'node:child_process'
import { parseEnv } from 'node:util'
import fc from 'fast-check'
import { load } from 'js-yaml'
import { parse as parseToml } from 'smol-toml'
import { describe, expect, test } from 'vitest'
import type { Json } from '../src/index.ts'
import { formatted } from '../src/program/formats.ts'
import type { Escape } from '../src/program/index.ts'
import { renderTemplate } from '../src/program/template.ts'

describe('formats', () => {
  const config = {
    name: 'a "b" ü',
    port: 80,
    on: true,
    ratio: 0.5,
    list: [1, 'no', { x: '012' }],
    inner: { k: '12:30' },
  }

  test('what is written in JSON, YAML and TOML is read again as it was', async () => {
    expect(JSON.parse(await formatted(config, 'json'))).toEqual(config)
    expect(load(await formatted(config, 'yaml'))).toEqual(config)
    expect(parseToml(await formatted(config, 'toml'))).toEqual(config)
  })

  test('property: any text survives YAML and JSON', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'grapheme' }), async (text) => {
        expect(load(await formatted({ text }, 'yaml'))).toEqual({ text })
        expect(JSON.parse(await formatted({ text }, 'json'))).toEqual({ text })
      }),
      { numRuns: 300 },
    )
  })

  test('property: what an env file takes is read the same by a shell and by Node; the rest is refused', async () => {
    let written = 0
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string(), { minLength: 1, maxLength: 20 }), async (texts) => {
        const config = Object.fromEntries(texts.map((text, i) => [`V${i}`, text]))
        const taken: Record<string, string> = {}
        let file = ''
        for (const [name, text] of Object.entries(config)) {
          const line = await formatted({ [name]: text }, 'env').catch((error: Error) => {
            expect(error.message).toMatch(/^has /)
            expect(error.message).not.toContain(text.length > 3 ? text : '\0')
          })
          if (line === undefined) continue
          taken[name] = text
          file += line
        }
        written += Object.keys(taken).length
        expect(parseEnv(file)).toEqual(taken)
        const print = Object.keys(taken).map((name) => `printf '%s\\0' "$${name}"`)
        const { stdout } = spawnSync('/bin/sh', ['-c', `${file}\n${print.join('\n')}`], { encoding: 'utf8' })
        expect(stdout.split('\0').slice(0, -1)).toEqual(Object.values(taken))
      }),
      { numRuns: 40 },
    )
    expect(written).toBeGreaterThan(50)
  })

  test('properties escape what ends a name or a line', async () => {
    expect(await formatted({ a: { 'b c': 'x=y\nz\\' }, ü: ' é', n: 1 }, 'properties')).toBe(
      'a.b\\ c=x=y\\nz\\\\\n\\u00fc=\\ \\u00e9\nn=1\n',
    )
  })

  test.for<[string, Json, Parameters<typeof formatted>[1], string]>([
    ['raw of an object', { a: 1 }, 'raw', 'is an object; want a text'],
    ['TOML of a list', [1], 'toml', 'is a list; want an object'],
    ['TOML with null', { a: { b: [null] } }, 'toml', 'has null at a.b.0'],
    ['env with a line break', { A: 'x\ny' }, 'env', 'has a line break or NUL at A'],
    ['env with a name that is none', { 'A-B': 'x' }, 'env', 'has the name "A-B"'],
    ['env with a name that would be a second line', { 'A=1\nB': 'x' }, 'env', 'want letters, digits and _'],
    ['env with an inner object', { A: { B: 'x' } }, 'env', 'at one level'],
    ['env with a list', { A: ['x'] }, 'env', 'has a list at A'],
    ['properties with null', { a: null }, 'properties', 'has null at a'],
    ['properties of a text', 'x', 'properties', 'has a string'],
    ['a lone surrogate', '\ud800', 'raw', 'has no UTF-8'],
  ])('%s is refused', async ([, value, as, want]) => {
    await expect(formatted(value, as)).rejects.toThrow(want)
  })
})

describe('templates', () => {
  const render = (template: string, view: Json, escape: Escape = 'none') => renderTemplate(template, view, escape)

  test('values, sections, lists, inverted sections, comments, other delimiters', async () => {
    const view = { name: 'a', tls: { port: 443 }, hosts: ['x', 'y'], none: [], off: false, zero: 0 }
    const template = `{{! c }}{{name}} {{tls.port}}{{#tls}} {{port}}{{name}}{{/tls}}
{{#hosts}}
server {{.}};
{{/hosts}}
{{^none}}empty{{/none}}{{^off}} off{{/off}}{{#zero}} zero {{.}}{{/zero}}{{=<% %>=}} <% name %>`
    expect(await render(template, view)).toBe('a 443 443a\nserver x;\nserver y;\nempty off zero 0 a')
  })

  test('nothing is escaped as HTML', async () => {
    expect(await render('{{a}}', { a: `<&">'/` })).toBe(`<&">'/`)
  })

  test('a value with the marks of a template is only text', async () => {
    const evil = '{{secret}} {{#a}} {{> /etc/passwd}} {{=<% %>=}} {{{x}}}'
    expect(await render('{{a}}', { a: evil, secret: 'canary' })).toBe(evil)
  })

  test.for(['constructor', 'constructor.name', '__proto__', 'toString', 'a.length', 'a.constructor', 'hasOwnProperty'])(
    '{{%s}} is no value: prototypes and functions cannot be reached',
    async (name) => {
      await expect(render(`{{${name}}}`, { a: 'x' })).rejects.toThrow('is not there')
      expect(await render(`{{#${name}}}x{{/${name}}}`, { a: 'x' })).toBe('')
    },
  )

  test('a name that means nothing is an error, not an empty place', async () => {
    await expect(render('listen {{prot}};', { port: 80 })).rejects.toThrow('{{prot}} is not there')
    await expect(render('{{a}}', { a: null })).rejects.toThrow('{{a}} is null')
    await expect(render('{{a}}', { a: {} })).rejects.toThrow('{{a}} is an object')
    await expect(render('{{#a}}x', { a: 1 })).rejects.toThrow('Unclosed section')
  })

  test('partials are refused: they would read what nobody declared', async () => {
    await expect(render('{{> other}}', { other: 'x' })).rejects.toThrow('no partials')
  })

  test('line: a value cannot begin a line of its own', async () => {
    expect(await render('{{a}}', { a: 'x y; $z' }, 'line')).toBe('x y; $z')
    for (const a of ['x\ny', 'x\r', 'x\0', '\t', '\u0085', 'x\u2028y', 'x\u2029']) {
      await expect(render('{{a}}', { a }, 'line')).rejects.toThrow('without control characters')
    }
  })

  test('word: a value cannot end the word that it stands in', async () => {
    expect(await render('{{a}}', { a: 'https://x.y:80/~a' }, 'word')).toBe('https://x.y:80/~a')
    for (const a of ['x; return 200', 'x}', '"', '$host', '', 'a b', "'", '\\', 'x#', 'x\n']) {
      await expect(render('{{a}}', { a }, 'word')).rejects.toThrow('cannot be written there')
    }
    expect(await render('{{{a}}}', { a: 'x; y' }, 'word')).toBe('x; y')
  })

  test('json: a value stays inside its quotes', async () => {
    const a = '", "admin": true, "x": "\n\\'
    expect(JSON.parse(await render('{"a": "{{a}}"}', { a }, 'json'))).toEqual({ a })
    expect(load(await render('a: "{{a}}"', { a }, 'json'))).toEqual({ a })
    expect(parseToml(await render('a = "{{a}}"', { a }, 'json'))).toEqual({ a })
  })
})
