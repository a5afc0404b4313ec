/**
 * The values of `format` that are checked. Small checks on what the platform and the RFCs offer, instead of one more package.
 * Any other format is refused when the schema is compiled: an annotation that looks like a check and does not check
 * would be believed.
 */
import { isIP, isIPv4, isIPv6 } from 'node:net'

/** RFC 3339, section 5.6. */
const date = /^(\d{4})-(\d\d)-(\d\d)$/
const time = /^(\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:z|([+-])(\d\d):(\d\d))$/i
/** RFC 3339, appendix A. */
const duration =
  /^P(?:\d+W|(?=[\dT])(?:\d+Y(?:\d+M(?:\d+D)?)?|\d+M(?:\d+D)?|\d+D)?(?:T(?=\d)(?:\d+H(?:\d+M(?:\d+S)?)?|\d+M(?:\d+S)?|\d+S)?)?)$/
const hostLabel = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i
const mailLocal = /^[a-z0-9!#$%&'*+/=?^_`{|}~-]+$/i
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i
/** RFC 3986, appendix A, as character classes: `plain` may stand in a path segment. */
const plain = String.raw`(?:[\w.~!$&'()*+,;=:@-]|%[\dA-Fa-f]{2})`
const noColon = String.raw`(?:[\w.~!$&'()*+,;=@-]|%[\dA-Fa-f]{2})`
const host = String.raw`(?:\[[\dA-Fa-f:.]+\]|\[v[\dA-Fa-f]+\.[\w.~!$&'()*+,;=:-]+\]|(?:[\w.~!$&'()*+,;=-]|%[\dA-Fa-f]{2})*)`
const user = String.raw`(?:(?:[\w.~!$&'()*+,;=:-]|%[\dA-Fa-f]{2})*@)?`
const fromAuthority = String.raw`//${user}${host}(?::\d*)?(?:/${plain}*)*`
const tail = String.raw`(?:\?(?:${plain}|[/?])*)?(?:#(?:${plain}|[/?])*)?`
const rooted = String.raw`/(?:${plain}+(?:/${plain}*)*)?`
const uri = new RegExp(`^[A-Za-z][A-Za-z\\d+.-]*:(?:${fromAuthority}|${rooted}|${plain}+(?:/${plain}*)*|)${tail}$`)
const relative = new RegExp(`^(?:${fromAuthority}|${rooted}|${noColon}+(?:/${plain}*)*|)${tail}$`)
const literalHost = /^[^/?#]*\/\/(?:[^@/?#]*@)?\[([\da-f:.]+)\]/i
const pointer = /^(?:\/(?:[^~/]|~[01])*)*$/

export const formats: Readonly<Record<string, (text: string) => boolean>> = {
  date: isDate,
  time: isTime,
  'date-time': (text) => {
    const [day, clock, more] = text.split(/t/i)
    return more === undefined && day !== undefined && clock !== undefined && isDate(day) && isTime(clock)
  },
  duration: (text) => duration.test(text) && text !== 'P',
  email: (text) => {
    const split = text.lastIndexOf('@')
    const host = text.slice(split + 1)
    const literal = /^\[(?:IPv6:)?(.*)\]$/i.exec(host)
    return split > 0 && isMailLocal(text.slice(0, split)) && (literal ? isIP(literal[1]!) > 0 : isHostname(host))
  },
  hostname: isHostname,
  ipv4: isIPv4,
  ipv6: (text) => isIP(text) === 6 && !text.includes('%'),
  uri: isUri,
  'uri-reference': (text) => isUri(text) || (relative.test(text) && hostIsAddress(text)),
  uuid: (text) => uuid.test(text),
  'json-pointer': (text) => pointer.test(text),
  regex: isRegex,
  /** Not a check: marks a secret. */
  password: () => true,
}

function isUri(text: string): boolean {
  return uri.test(text) && hostIsAddress(text)
}

/** Between brackets stands an IPv6 address, or something of a later version. */
function hostIsAddress(text: string): boolean {
  const found = literalHost.exec(text)
  return !found || isIPv6(found[1]!)
}

function isDate(text: string): boolean {
  const found = date.exec(text)
  if (!found) return false
  const [year, month, day] = [Number(found[1]), Number(found[2]), Number(found[3])]
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)
  const days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1] ?? 0
  return day >= 1 && day <= days
}

function isTime(text: string): boolean {
  const found = time.exec(text)
  if (!found) return false
  const [hour, minute, second] = [Number(found[1]), Number(found[2]), Number(found[3])]
  const [offsetHour, offsetMinute] = [Number(found[5] ?? 0), Number(found[6] ?? 0)]
  if (hour > 23 || minute > 59 || second > 60 || offsetHour > 23 || offsetMinute > 59) return false
  if (second < 60) return true
  const sign = found[4] === '-' ? -1 : 1
  const minuteOfDay = (hour * 60 + minute - sign * (offsetHour * 60 + offsetMinute) + 2880) % 1440
  return minuteOfDay === 1439 // a leap second is the last of a day in UTC
}

function isHostname(text: string): boolean {
  return text.length <= 253 && text.split('.').every((label) => hostLabel.test(label))
}

function isMailLocal(text: string): boolean {
  if (text.length > 64) return false
  return /^"(?:[^"\\]|\\.)+"$/.test(text) || text.split('.').every((atom) => mailLocal.test(atom))
}

function isRegex(text: string): boolean {
  try {
    new RegExp(text, 'u')
    return true
  } catch {
    return false
  }
}
