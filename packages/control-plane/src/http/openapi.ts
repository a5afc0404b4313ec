/** The OpenAPI document around the routes; the routes' own schemas fill it. */
import { readFileSync } from 'node:fs'

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string
}

export function describeApi(): object {
  return {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Midflight control plane',
        version,
        description: 'Configs, releases, nodes. Conventions: docs/api.md.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      security: [{ bearer: [] }],
      components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
    },
  }
}
