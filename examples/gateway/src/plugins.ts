/**
 * Plug-ins that look at an exchange before it is sent on. Their options change while the gateway serves; to turn one
 * on or off needs a restart (`x-midflight-restart` in the schema).
 */
import { randomUUID } from 'node:crypto'
import { componentsFor, type KeyedComponent } from 'midflight'
import { schema, type Config } from './config.ts'

/** Both are still open to change. Names are in lower case. */
export interface Exchange {
  readonly requestHeaders: Record<string, string | string[]>
  readonly responseHeaders: Record<string, string>
}

export type PlugIn = (exchange: Exchange) => void
type Options = Config['plugins'][string]

interface Kind {
  readonly needs: readonly ('header' | 'value')[]
  make(options: Options): PlugIn
}

const kinds: Readonly<Record<string, Kind>> = {
  /** Gives a request an id, or keeps the one it has, and tells it to both sides. */
  'request-id': {
    needs: [],
    make({ header = 'x-request-id' }) {
      const name = header.toLowerCase()
      return ({ requestHeaders, responseHeaders }) => {
        const id = String(requestHeaders[name] ?? randomUUID())
        requestHeaders[name] = id
        responseHeaders[name] = id
      }
    },
  },
  /** Adds a header to every answer. */
  'response-header': {
    needs: ['header', 'value'],
    make({ header = '', value = '' }) {
      const name = header.toLowerCase()
      return ({ responseHeaders }) => void (responseHeaders[name] = value)
    },
  },
}

const idle: PlugIn = () => {}

export function plugIns(): KeyedComponent<PlugIn> {
  const { keyed } = componentsFor(schema)
  return keyed({
    name: 'plugins',
    path: 'plugins',
    validate(options, name) {
      const kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined
      if (!kind) return [`there is no such plug-in; want one of ${Object.keys(kinds).join(', ')}`]
      return kind.needs.filter((field) => options[field] === undefined).map((field) => `${field} is missing`)
    },
    start: (options, name) => (options.enabled ? (kinds[name] as Kind).make(options) : idle),
  })
}
