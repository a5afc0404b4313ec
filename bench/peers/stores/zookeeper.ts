/** ZooKeeper, and beside the source the watches of a client library. */
import { once } from 'node:events'
import { Zookeeper } from '../../../packages/engine/test/source-zookeeper-rig.ts'
import { answered, nameOf, type Store } from './store.ts'

/** The rigs of the tests know how to start it. Its keys are paths. */
export async function zookeeper(): Promise<Store> {
  const [{ zookeeper: source }, { default: library }] = await Promise.all([
    import('midflight/sources/zookeeper'),
    import('node-zookeeper-client'),
  ])
  const server = await Zookeeper.start()
  const address = `127.0.0.1:${server.servers[0]?.port}`
  const client = async () => {
    const one = library.createClient(address)
    const connected = once(one, 'connected')
    one.connect()
    await connected
    return one
  }
  const writer = await client()
  const known = new Set<string>()
  return {
    separator: '/',
    async put(key, value) {
      const data = Buffer.from(value)
      const isNew = !known.has(key)
      known.add(key)
      if (isNew) {
        const above = key.slice(0, Math.max(0, key.lastIndexOf('/')))
        if (above !== '') await answered<unknown>((done) => writer.mkdirp(`/${above}`, done))
        await answered<unknown>((done) => writer.create(`/${key}`, data, done))
      } else await answered<unknown>((done) => writer.setData(`/${key}`, data, done))
    },
    source: (place) =>
      source({ servers: address, ...('key' in place ? { key: `/${place.key}` } : { prefix: `/${place.prefix}` }) }),
    async watch(place, onValue) {
      const own = await client()
      const look = async (path: string): Promise<void> => {
        const data = await answered<Buffer | undefined>((done) => own.getData(path, () => void look(path), done))
        if (data) onValue(path.slice(1), data)
      }
      const lookBelow = async (path: string): Promise<void> => {
        const children = await answered<string[]>((done) => own.getChildren(path, done))
        if (children.length === 0) await look(path)
        else await Promise.all(children.map((child) => lookBelow(`${path}/${child}`)))
      }
      await lookBelow(`/${nameOf(place).replace(/\/$/, '')}`)
      return () => own.close()
    },
    async close() {
      writer.close()
      await server.close()
    },
  }
}
