/** Where in Consul's HTTP API something is. */

/** @param path of the API, encoded: `kv/app/a`, `txn`. */
export function apiUrl(base: URL, path: string): URL {
  const url = new URL(base)
  url.pathname = `${base.pathname.replace(/\/$/, '')}/v1/${path}`
  return url
}

export function kvPath(key: string): string {
  return `kv/${key.split('/').map(encodeURIComponent).join('/')}`
}
