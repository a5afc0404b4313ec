/** Every kind of place by its scheme: how its URL is read, and which source and writer it has. */
import type { Source, Trigger, Writer } from 'midflight'
import { Refusal } from '../refusal.ts'
import { layoutOf, PlaceUrl, type Layout, type Place } from './place.ts'

/** What a source wants to know of a layout. */
type At = { readonly key: string } | { readonly prefix: string; readonly separator: string }

interface Store {
  /** For help and refusals. */
  readonly example: string
  open(url: PlaceUrl, text: string): Promise<Omit<Place, 'name'> & { readonly name?: string }>
}

const stores: Readonly<Record<string, Store>> = {
  etcd: {
    example: 'etcd://host:2379/app/',
    async open(url) {
      const [{ etcd }, { etcdWriter }] = await Promise.all([
        import('midflight/sources/etcd'),
        import('midflight/writers/etcd'),
      ])
      const layout = layoutOf(url.path, '/')
      const [user, password, token, tls] = [
        url.user,
        url.secret('password', 'ETCDCTL_PASSWORD'),
        url.secret('token', 'ETCD_TOKEN'),
        url.tls,
      ]
      const login = user === undefined ? token !== undefined && { token } : { username: user, password: password ?? '' }
      const connection = { endpoints: url.hosts(2379), ...login, ...(tls && { tls }) }
      return ofStore(
        layout,
        (at) => etcd({ ...connection, ...at }),
        () => etcdWriter(connection),
      )
    },
  },
  consul: {
    example: 'consul://host:8500/app/',
    async open(url) {
      const [{ consul }, { consulWriter }] = await Promise.all([
        import('midflight/sources/consul'),
        import('midflight/writers/consul'),
      ])
      const layout = layoutOf(url.path, '/')
      const [token, tls, datacenter] = [url.secret('token', 'CONSUL_HTTP_TOKEN'), url.tls, url.option('dc')]
      const connection = {
        url: `${tls ? 'https' : 'http'}://${oneOf(url, 8500)}`,
        ...(token !== undefined && { token }),
        ...(tls && { tls }),
        ...(datacenter !== undefined && { datacenter }),
      }
      return ofStore(
        layout,
        (at) => consul({ ...connection, ...at }),
        () => consulWriter(connection),
      )
    },
  },
  redis: {
    example: 'redis://host:6379/0/app:',
    open: (url) => redisAt(url, false),
  },
  rediss: {
    example: 'rediss://host:6379/0/app:',
    open: (url) => redisAt(url, true),
  },
  nats: {
    example: 'nats://host:4222/bucket/app.',
    async open(url) {
      const [{ nats }, { natsWriter }] = await Promise.all([
        import('midflight/sources/nats'),
        import('midflight/writers/nats'),
      ])
      const [bucket = '', ...rest] = url.path.split('/')
      if (bucket === '') throw url.refusal('names no bucket; want nats://host:4222/bucket/key')
      const layout = layoutOf(rest.join('/'), '.')
      const [user, password, token, tls] = [
        url.user,
        url.secret('password', 'NATS_PASSWORD'),
        url.secret('token', 'NATS_TOKEN'),
        url.tls,
      ]
      const connection = {
        servers: url.hosts(4222).map((host) => `${tls ? 'tls' : 'nats'}://${host}`),
        bucket,
        ...(user !== undefined && { user, ...(password !== undefined && { password }) }),
        ...(user === undefined && token !== undefined && { token }),
        ...(tls && { tls }),
      }
      return ofStore(
        layout,
        (at) => nats({ ...connection, ...at }),
        () => natsWriter(connection),
      )
    },
  },
  s3: {
    example: 's3://bucket/app/?endpoint=https://minio.example:9000',
    async open(url) {
      const [{ s3 }, { s3Writer }] = await Promise.all([import('midflight/sources/s3'), import('midflight/writers/s3')])
      const layout = layoutOf(url.path, '/')
      const [endpoint, region, tls] = [url.option('endpoint'), url.option('region'), url.tls]
      // Credentials are those of the environment, as with Amazon's own tools.
      const place = {
        bucket: url.host,
        ...(endpoint !== undefined && { endpoint }),
        ...(region !== undefined && { region }),
        ...(tls && { tls }),
      }
      return ofStore(
        layout,
        (at) => s3({ ...place, ...at }),
        () => s3Writer(place),
      )
    },
  },
  zookeeper: {
    example: 'zookeeper://host:2181/app/',
    async open(url) {
      const [{ zookeeper }, { zookeeperWriter }] = await Promise.all([
        import('midflight/sources/zookeeper'),
        import('midflight/writers/zookeeper'),
      ])
      // All of its paths begin with a slash.
      const layout = layoutOf(`/${url.path}`, '/')
      const [user, password, tls] = [url.user, url.secret('password', 'ZOOKEEPER_PASSWORD'), url.tls]
      const login = user === undefined ? {} : { user, password: password ?? '' }
      const connection = { servers: url.hosts(2181).join(','), ...login, ...(tls && { tls }) }
      return ofStore(
        layout,
        (at) => zookeeper({ ...connection, ...at }),
        () => zookeeperWriter(connection),
      )
    },
  },
  kafka: {
    example: 'kafka://host:9092/topic/app/',
    async open(url) {
      const [{ kafka }, { kafkaWriter }] = await Promise.all([
        import('midflight/sources/kafka'),
        import('midflight/writers/kafka'),
      ])
      const [topic = '', ...rest] = url.path.split('/')
      if (topic === '') throw url.refusal('names no topic; want kafka://host:9092/topic/key')
      const [user, password, tls] = [url.user, url.secret('password', 'KAFKA_PASSWORD'), url.tls]
      const connection = {
        brokers: url.hosts(9092).map((host) => `kafka://${host}`),
        topic,
        ...(user !== undefined && { user, password: password ?? '' }),
        ...(tls && { tls }),
      }
      return ofStore(
        layoutOf(rest.join('/'), '/'),
        (at) => kafka({ ...connection, ...at }),
        () => kafkaWriter(connection),
      )
    },
  },
  nacos: {
    example: 'nacos://host:8848/app.yaml?group=shop&tenant=prod',
    async open(url) {
      const [{ nacos }, { nacosWriter }] = await Promise.all([
        import('midflight/sources/nacos'),
        import('midflight/writers/nacos'),
      ])
      const dataId = url.path
      if (dataId === '') throw url.refusal('names no data id; want nacos://host:8848/app.yaml')
      const [user, password, token, tls] = [
        url.user,
        url.secret('password', 'NACOS_PASSWORD'),
        url.secret('token', 'NACOS_TOKEN'),
        url.tls,
      ]
      if (user !== undefined && password === undefined) {
        throw url.refusal('names a user and no password; want one in NACOS_PASSWORD or ?password-file=')
      }
      const [group, tenant] = [url.option('group'), url.option('tenant')]
      const login = token !== undefined && { accessToken: token }
      const server = {
        url: `${tls ? 'https' : 'http'}://${oneOf(url, 8848)}`,
        ...(user === undefined ? login : { username: user, password: password ?? '' }),
        ...(group !== undefined && { group }),
        ...(tenant !== undefined && { tenant }),
        ...(tls && { tls }),
      }
      return {
        layout: { kind: 'document', key: dataId },
        source: () => nacos({ ...server, dataId }),
        writer: () => nacosWriter(server),
      }
    },
  },
  kubernetes: { example: 'kubernetes:///shop/configmap/gateway/app.yaml', open: kubernetesAt },
  apollo: {
    example: 'apollo://config:8080/shop/default/app.json, written to at apollo://user@portal:8070/…?env=DEV',
    open: apolloAt,
  },
  http: { example: 'http://host/config/app.json', open: httpAt },
  https: { example: 'https://host/config/app.json', open: httpAt },
  file: {
    example: 'file:conf/gateway.yaml',
    async open(_url, text) {
      const [{ file }, { fileWriter }] = await Promise.all([
        import('midflight/sources/file'),
        import('midflight/writers/file'),
      ])
      // As a shell reads it: relative to where the command runs.
      const path = text.replace(/^file:(\/\/(?=\/))?/, '')
      if (path === '') throw new Refusal('usage', 'file: names no file; want file:conf/gateway.yaml')
      return {
        name: path,
        layout: { kind: 'document', key: path },
        source: () => file([path]),
        writer() {
          // What is written is JSON, which is YAML too.
          if (/\.(json|jsonc|ya?ml)$/i.test(path)) return fileWriter()
          throw new Refusal('usage', `${path} cannot be written; want a name that ends in .json or .yaml`)
        },
      }
    },
  },
}

/** Schemes, and what an address with them looks like. */
export const examples = Object.values(stores).map(({ example }) => example)

export function isPlace(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:/i.test(text)
}

/**
 * @param directory what the files that its options name count from, by default that of the process
 * @throws Refusal for what is no place; never shows a password.
 */
export async function placeAt(text: string, directory = ''): Promise<Place> {
  const scheme = (/^([a-z][a-z0-9+.-]*):/i.exec(text)?.[1] ?? '').toLowerCase()
  const store = Object.hasOwn(stores, scheme) ? stores[scheme] : undefined
  if (!store) {
    const known = Object.keys(stores).join(', ')
    throw new Refusal('usage', `a place has the scheme ${JSON.stringify(scheme)}; want one of ${known}`)
  }
  // A path of the file system is not what a URL takes it for.
  const url = new PlaceUrl(scheme === 'file' ? 'file:///' : text, directory)
  try {
    const opened = await store.open(url, text)
    url.check()
    return {
      name: url.name,
      ...opened,
      source: () => meant(url, () => opened.source()),
      writer: () => meant(url, () => opened.writer()),
    }
  } catch (error) {
    throw inItsWords(url, error)
  }
}

function meant<T>(url: PlaceUrl, open: () => T): T {
  try {
    return open()
  } catch (error) {
    throw inItsWords(url, error)
  }
}

/** Sources and writers check what they are given. */
function inItsWords(url: PlaceUrl, error: unknown): unknown {
  if (!(error instanceof TypeError || error instanceof RangeError)) return error
  return url.refusal(`cannot be meant: ${error.message}`)
}

function ofStore(layout: Layout, source: (at: At) => Source & Trigger, writer: () => Writer): Omit<Place, 'name'> {
  const at = layout.kind === 'keys' ? { prefix: layout.prefix, separator: layout.separator } : { key: layout.key }
  return { layout, source: () => source(at), writer }
}

async function redisAt(url: PlaceUrl, isSecure: boolean): Promise<Omit<Place, 'name'>> {
  const [{ redis }, { redisWriter }] = await Promise.all([
    import('midflight/sources/redis'),
    import('midflight/writers/redis'),
  ])
  const [, database = '0', name = url.path] = /^(\d{1,9})\/(.*)$/s.exec(url.path) ?? []
  const [user, password, tls] = [url.user, url.secret('password', 'REDISCLI_AUTH'), url.tls]
  const connection = {
    url: `${isSecure ? 'rediss' : 'redis'}://${oneOf(url, 6379)}/${database}`,
    ...(user !== undefined && { username: user }),
    ...(password !== undefined && { password }),
    ...(tls && { tls }),
  }
  return ofStore(
    layoutOf(name, ':'),
    (at) => redis({ ...connection, ...at }),
    () => redisWriter(connection),
  )
}

async function kubernetesAt(url: PlaceUrl): Promise<Omit<Place, 'name'>> {
  const [{ kubernetes }, { dataKeys, isDataKey, kubernetesWriter }] = await Promise.all([
    import('midflight/sources/kubernetes'),
    import('midflight/writers/kubernetes'),
  ])
  const [namespace = '', kind = '', name = '', ...rest] = url.path.split('/')
  const key = rest.join('/')
  if (!/^(configmap|secret)$/.test(kind) || name === '') {
    throw url.refusal(
      'names no object; want kubernetes:///namespace/configmap/name/key, or secret instead of configmap',
    )
  }
  url.refuse('user', 'a token in KUBERNETES_TOKEN or ?token-file=')
  const [token, tls] = [url.secret('token', 'KUBERNETES_TOKEN'), url.tls]
  if (tls?.cert !== undefined || tls?.key !== undefined) throw url.refusal('has a cert or a key; want a token')
  // Without a host it is the cluster in which this runs, with the service account of the pod.
  const server = url.hasHost && { url: `${tls ? 'https' : 'http'}://${oneOf(url, tls ? 6443 : 8001)}` }
  const object = {
    ...(kind === 'secret' ? { secret: name } : { configMap: name }),
    ...(namespace !== '' && { namespace }),
    ...server,
    ...(token !== undefined && { token }),
    ...(tls?.ca !== undefined && { ca: tls.ca }),
  }
  return {
    layout:
      key === ''
        ? { kind: 'keys', prefix: '', separator: '/', names: { want: dataKeys, fit: isDataKey } }
        : { kind: 'document', key },
    ...(kind === 'secret' && { isSecret: true }),
    source: () => kubernetes({ ...object, ...(key !== '' && { key }) }),
    writer: () => kubernetesWriter(object),
  }
}

/** With `env` it is the portal, which is written to, else a config service, which is read. */
async function apolloAt(url: PlaceUrl): Promise<Omit<Place, 'name'>> {
  const [{ apollo }, { apolloWriter }] = await Promise.all([
    import('midflight/sources/apollo'),
    import('midflight/writers/apollo'),
  ])
  const [appId = '', cluster = '', namespace = '', ...rest] = url.path.split('/')
  if (appId === '' || cluster === '' || namespace === '' || rest.length > 0) {
    throw url.refusal('names no namespace; want apollo://host/app/cluster/namespace')
  }
  url.refuse('password', 'a token in APOLLO_TOKEN or ?token-file=')
  const [env, operator, tls] = [url.option('env'), url.user, url.tls]
  const secret = url.secret('token', env === undefined ? 'APOLLO_ACCESS_KEY_SECRET' : 'APOLLO_TOKEN')
  const server = {
    url: `${tls ? 'https' : 'http'}://${oneOf(url, env === undefined ? 8080 : 8070)}`,
    appId,
    cluster,
    ...(tls && { tls }),
  }
  return {
    layout: { kind: 'document', key: namespace },
    source() {
      if (env === undefined) return apollo({ ...server, namespace, ...(secret !== undefined && { secret }) })
      throw url.refusal(
        'is written to only, as it has env=; want a config service, apollo://config:8080/app/cluster/namespace',
      )
    },
    writer() {
      if (env === undefined) throw url.refusal('is read only; want the portal, with ?env=DEV')
      if (operator === undefined)
        throw url.refusal('names nobody who releases; want a user of the portal, apollo://user@…')
      if (secret === undefined) throw url.refusal('has no token; want one in APOLLO_TOKEN or ?token-file=')
      return apolloWriter({ ...server, env, operator, token: secret })
    },
  }
}

async function httpAt(url: PlaceUrl, text: string): Promise<Omit<Place, 'name'>> {
  const [{ http }, { httpWriter }] = await Promise.all([
    import('midflight/sources/http'),
    import('midflight/writers/http'),
  ])
  // Its query is a part of the address: what is said of the command is not in it.
  const target = new URL(text)
  for (const name of [...target.searchParams.keys()]) url.option(name)
  if (target.username !== '' || target.password !== '') {
    throw url.refusal('is given a user or a password, which are not sent; want a token in MIDFLIGHT_PLACE_TOKEN')
  }
  const token = process.env['MIDFLIGHT_PLACE_TOKEN'] || undefined
  const options = token === undefined ? {} : { token }
  return {
    layout: { kind: 'document', key: `${target.pathname}${target.search}` },
    source: () => http(target, options),
    writer: () => httpWriter(target.origin, options),
  }
}

function oneOf(url: PlaceUrl, usualPort: number): string {
  const [host = '', ...others] = url.hosts(usualPort)
  if (others.length > 0) throw url.refusal('names several hosts; want one')
  return host
}
