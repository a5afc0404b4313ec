/** Which upstream a path goes to: the longest of the routes' paths that it begins with, at a slash, decides. */
import { componentsFor, type Component, type Issue } from 'midflight'
import { schema, type Config } from './config.ts'

type Routes = Config['routes']

export interface Router {
  readonly component: Component<readonly [Routes, Config['upstreams']]>
  /** The name of the upstream, by the routes of that version. */
  upstreamFor(routes: Routes, path: string): string | undefined
}

export function router(): Router {
  const { value } = componentsFor(schema)
  // By version: a request asks with the routes that it took, whatever has been committed since.
  const tables = new WeakMap<Routes, ReadonlyMap<string, string>>()
  const component = value({
    name: 'routes',
    path: ['routes', 'upstreams'],
    after: ['upstreams'],
    validate: ([routes, upstreams]) => routes.flatMap((route) => missing(route, upstreams)),
    prepare: ([routes]) => void tables.set(routes, new Map(routes.map(({ path, upstream }) => [path, upstream]))),
    apply: () => {},
  })
  return {
    component,
    upstreamFor(routes, path) {
      const table = tables.get(routes)
      if (!table) throw new Error('these routes have not been prepared')
      for (let end = path.length; end > 0; end = path.lastIndexOf('/', end - 1)) {
        const found = table.get(path.slice(0, end + 1)) ?? table.get(path.slice(0, end))
        if (found !== undefined) return found
      }
      return table.get('/')
    },
  }
}

function missing({ path, upstream }: Routes[number], upstreams: Config['upstreams']): Issue[] {
  if (Object.hasOwn(upstreams, upstream)) return []
  const names = Object.keys(upstreams).join(', ') || 'none'
  const message = `is ${JSON.stringify(upstream)}; want one of the upstreams (${names})`
  return [{ code: 'component', path: ['routes', path, 'upstream'], message }]
}
