/** A message bus as users type it: `nats://user@host:4222?password-file=…`. What is said over it is the affair of both ends. */
import type { Bus } from 'midflight/buses/bus'
import { PlaceUrl } from '../places/place.ts'
import { Refusal } from '../refusal.ts'

export const busExamples = 'nats://host:4222, redis://host:6379 or kafka://host:9092'

/** Of the environment. */
const passwordVariable = 'MIDFLIGHT_BUS_PASSWORD'
const tokenVariable = 'MIDFLIGHT_BUS_TOKEN'

/**
 * @param directory what the files that it names count from
 * @throws Refusal if it makes no sense; without its text, which may hold a password.
 */
export async function busAt(text: string, directory = ''): Promise<Bus> {
  if (/^[^/?#]*:\/\/[^/?#]*:[^/?#]*@/.test(text)) {
    const how = `want ?password-file=PATH or ${passwordVariable}`
    throw new Refusal('usage', `--bus holds a password, which others may see; ${how}`)
  }
  if (!/^[a-z]+:\/\/[^/?#]/i.test(text)) throw new Refusal('usage', `--bus is no address of a bus; want ${busExamples}`)
  const url = new PlaceUrl(text, directory)
  const make = Object.hasOwn(kinds, url.scheme) ? kinds[url.scheme] : undefined
  if (!make) throw new Refusal('usage', `--bus is of the kind ${url.scheme}; want ${busExamples}`)
  if (url.path !== '') throw url.refusal(`has a path; want ${busExamples}, and ?prefix=… before the topics`)
  try {
    return await make(url)
  } catch (error) {
    // Its own checks of what was given.
    if (error instanceof TypeError || error instanceof RangeError) throw new Refusal('usage', `--bus: ${error.message}`)
    throw error
  }
}

const kinds: Readonly<Record<string, (url: PlaceUrl) => Promise<Bus>>> = {
  nats: (url) => natsAt(url, 'nats'),
  tls: (url) => natsAt(url, 'tls'),
  redis: (url) => redisAt(url, 'redis'),
  rediss: (url) => redisAt(url, 'rediss'),
  async kafka(url) {
    const { kafkaBus } = await import('midflight/buses/kafka')
    const brokers = url.hosts(9092).map((host) => `kafka://${host}`)
    const mechanism = mechanismOf(url)
    const given = { ...loginOf(url), ...(mechanism && { mechanism }) }
    url.check()
    return kafkaBus({ brokers, ...given })
  },
}

async function natsAt(url: PlaceUrl, scheme: 'nats' | 'tls'): Promise<Bus> {
  const { natsBus } = await import('midflight/buses/nats')
  const servers = url.hosts(4222).map((host) => `${scheme}://${host}`)
  const token = url.secret('token', tokenVariable)
  const given = { ...loginOf(url), ...(token !== undefined && { token }) }
  url.check()
  return natsBus({ servers, ...given })
}

async function redisAt(url: PlaceUrl, scheme: 'redis' | 'rediss'): Promise<Bus> {
  const { redisBus } = await import('midflight/buses/redis')
  const [host = '', ...others] = url.hosts(6379)
  if (others.length > 0) throw url.refusal('names several hosts; want one')
  const { user, ...login } = loginOf(url)
  url.check()
  return redisBus({ url: `${scheme}://${host}`, ...login, ...(user !== undefined && { username: user }) })
}

function loginOf(url: PlaceUrl) {
  const [user, password, tls, prefix] = [
    url.user,
    url.secret('password', passwordVariable),
    url.tls,
    url.option('prefix'),
  ]
  return {
    ...(user !== undefined && { user }),
    ...(password !== undefined && { password }),
    ...(tls && { tls }),
    ...(prefix !== undefined && { prefix }),
  }
}

const mechanisms = ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] as const

function mechanismOf(url: PlaceUrl): (typeof mechanisms)[number] | undefined {
  const text = url.option('mechanism')
  if (text === undefined) return undefined
  const found = mechanisms.find((one) => one === text.toUpperCase())
  if (!found) throw url.refusal(`has the mechanism ${JSON.stringify(text)}; want ${mechanisms.join(', ')}`)
  return found
}
