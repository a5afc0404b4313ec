/**
 * Where a webhook may go. Whoever can set a webhook's URL could otherwise make this process talk to what only it can
 * reach: a cloud's metadata service, a neighbour's admin port. So by default only public addresses are reached, and the
 * address that was checked is the one that is connected to.
 */
import { lookup as resolve } from 'node:dns'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { NotificationError } from './notify.ts'

export interface Target {
  readonly url: URL
  /** Scheme, host and port, which are not secret. */
  readonly shown: string
  /** Resolves the name once, and refuses it if any of its addresses is refused. */
  readonly lookup: LookupFunction
}

/** @throws TypeError if the URL is not one that may be called. The message never holds more of it than the host. */
export function targetOf(text: string, allowHosts: readonly string[]): Target {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined) throw new TypeError('webhook url is not an absolute URL')
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new TypeError(`webhook url has the scheme ${url.protocol}; want http: or https:`)
  }
  if (url.username !== '' || url.password !== '') {
    throw new TypeError(`webhook url for ${url.host} has a user or a password in it; use the header Authorization`)
  }
  const allowed = isAllowed(url, allowHosts)
  const host = bare(url.hostname)
  const why = isIP(host) === 0 ? undefined : refusal(host)
  if (why !== undefined && !allowed) {
    throw new TypeError(`webhook url leads to ${host}, which is ${why}; if that is meant, add it to allowHosts`)
  }
  return { url, shown: url.origin, lookup: allowed ? (resolve as LookupFunction) : checkedLookup }
}

function isAllowed(url: URL, allowHosts: readonly string[]): boolean {
  const port = url.port || (url.protocol === 'https:' ? '443' : '80')
  return allowHosts.some((entry) => {
    // Read as a URL's host, so that every way to write an address means the same on both sides.
    const text = `http://${isIP(entry) === 6 ? `[${entry}]` : entry}`
    if (!URL.canParse(text)) throw new TypeError(`allowHosts has ${JSON.stringify(entry)}; want host or host:port`)
    const wanted = new URL(text)
    const anyPort = !/:\d+$/.test(entry) || isIP(entry) === 6
    return wanted.hostname === url.hostname && (anyPort || (wanted.port || '80') === port)
  })
}

const checkedLookup: LookupFunction = (hostname, options, callback) => {
  resolve(hostname, { ...options, all: true }, (error, addresses) => {
    if (error) return callback(error, [])
    for (const { address } of addresses) {
      const why = refusal(address)
      if (why === undefined) continue
      const message = `${hostname} resolves to ${address}, which is ${why}; if that is meant, add the host to allowHosts`
      return callback(new NotificationError(message, { transient: false }), [])
    }
    if (options.all === true) return callback(null, addresses)
    const [first] = addresses
    if (first === undefined)
      return callback(new NotificationError(`${hostname} has no address`, { transient: true }), [])
    callback(null, first.address, first.family)
  })
}

/** IANA's special-purpose registries, RFC 6890 and later: everything that is not a public unicast address. */
const notPublic: readonly (readonly [why: string, net: string, prefix: number])[] = [
  ['unspecified', '0.0.0.0', 8],
  ['private', '10.0.0.0', 8],
  ['shared (carrier NAT)', '100.64.0.0', 10],
  ['loopback', '127.0.0.0', 8],
  ['link-local (cloud metadata)', '169.254.0.0', 16],
  ['private', '172.16.0.0', 12],
  ['reserved', '192.0.0.0', 24],
  ['reserved', '192.0.2.0', 24],
  ['private', '192.168.0.0', 16],
  ['reserved', '198.18.0.0', 15],
  ['reserved', '198.51.100.0', 24],
  ['reserved', '203.0.113.0', 24],
  ['multicast', '224.0.0.0', 4],
  ['reserved', '240.0.0.0', 4],
]

const refused = notPublic.map(([why, net, prefix]) => {
  const list = new BlockList()
  list.addSubnet(net, prefix, 'ipv4')
  return { why, list }
})

/** Why an address is not reached by default; `undefined` if it is public. */
export function refusal(address: string): string | undefined {
  const family = isIP(address)
  if (family === 4) return refused.find(({ list }) => list.check(address, 'ipv4'))?.why
  if (family === 0) return 'not an address'
  const groups = groupsOf(address)
  const [first, second] = groups as [number, number]
  const embedded = embeddedIPv4(groups)
  if (embedded !== undefined) return refusal(embedded)
  if (groups.every((group) => group === 0)) return 'unspecified'
  if (groups.slice(0, 7).every((group) => group === 0)) return groups[7] === 1 ? 'loopback' : 'reserved'
  if ((first & 0xfe00) === 0xfc00) return 'private (cloud metadata among them)'
  if ((first & 0xffc0) === 0xfe80) return 'link-local'
  if ((first & 0xff00) === 0xff00) return 'multicast'
  // Only 2000::/3 is given out; Teredo, benchmarks and documentation lie in it.
  if ((first & 0xe000) !== 0x2000) return 'reserved'
  return (first === 0x2001 && (second < 0x200 || second === 0xdb8)) || first === 0x3fff ? 'reserved' : undefined
}

/** The IPv4 address inside a mapped, compatible, NAT64 or 6to4 one: it is where the packets go in the end. */
function embeddedIPv4(groups: readonly number[]): string | undefined {
  const zero = (from: number, to: number): boolean => groups.slice(from, to).every((group) => group === 0)
  const mapped = zero(0, 5) && groups[5] === 0xffff
  const compatible = zero(0, 6) && groups[6] !== 0
  const nat64 = groups[0] === 0x64 && groups[1] === 0xff9b && zero(2, 6)
  if (mapped || compatible || nat64) return dotted(groups[6]!, groups[7]!)
  return groups[0] === 0x2002 ? dotted(groups[1]!, groups[2]!) : undefined
}

function dotted(high: number, low: number): string {
  return [high >> 8, high & 0xff, low >> 8, low & 0xff].join('.')
}

/** The eight groups of an IPv6 address. */
function groupsOf(address: string): number[] {
  // The URL parser writes every form, also one with dots, in the one of RFC 5952. A zone (`%eth0`) is not part of it.
  const text = bare(new URL(`http://[${address.split('%')[0]}]`).hostname)
  const [left = '', right] = text.split('::')
  const parse = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16))
  const start = parse(left)
  const end = right === undefined ? [] : parse(right)
  return [...start, ...new Array<number>(8 - start.length - end.length).fill(0), ...end]
}

function bare(hostname: string): string {
  return hostname.startsWith('[') ? hostname.slice(1, -1) : hostname
}
