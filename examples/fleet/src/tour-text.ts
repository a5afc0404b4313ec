/** What runs where, and what to try, as it is printed at the start: enough for somebody who sees it for the first time. */

export interface Shown {
  readonly config: string
  /** Of the control plane. */
  readonly url: string
  readonly nodes: readonly { readonly name: string; readonly address: string; readonly pid: number }[]
  readonly requestEveryMs: number
  /** Paths as they are typed. */
  readonly kept: string
  readonly edited: string
  readonly token: string
}

export function tourText({ config, url, nodes, requestEveryMs, kept, edited, token }: Shown): string {
  const path = `${url}/v1/configs/${encodeURIComponent(config)}`
  const [first, second] = nodes
  // Whatever the limit is by now.
  const limit = (to: number) => `sed -i '/id: users/,/limit:/ s/limit: .*/limit: ${to}/' ${edited}`
  const publish = `npx midflight publish ${config} ${edited}`
  return `
Midflight fleet: ${config}
  control plane   ${url}   process ${process.pid}, releases in ${kept}/control-plane (SQLite)
${nodes.map(({ name, address, pid }) => `  node ${name}          ${address}   process ${pid}`).join('\n')}
  load            every ${requestEveryMs} ms GET /api/users of each node; the counters are printed below
  edit            ${edited}   published is applied
  admin token     in ${token}

Try, in another terminal:
  1. export MIDFLIGHT_URL=${url} MIDFLIGHT_TOKEN="$(cat ${token})"
     curl -si ${first?.address}/api/users | grep -i x-rate
       the limit of rule "users", on node a
  2. ${limit(3)}
     ${publish} -m 'three a minute'
       shows what would change, asks, and follows it to all three nodes. Below: APPLIED three times, then the
       counters with the new limit, and 429 among the answers. What was counted before still counts
  3. npx midflight nodes ${config}
     npx midflight status --config ${config}
       who runs what; how many run the newest
  4. ${limit(0)}
     ${publish}
       a bad edit: refused with its place, before it is a release
  5. npx midflight rollback ${config}
       back to the release before, as a new one: 200 only again
  6. npx midflight history ${config}
     npx midflight blame ${config} rules.users.limit
       what was released, by whom and why; and which release last changed this limit
  7. kill -9 ${second?.pid}
       node b is started again, and serves what it ran last, even if the control plane were away
  8. npx midflight watch --config ${config}
       all of this as it happens; Ctrl-C ends it
  9. curl -s -X PATCH '${path}/content?message=by+curl' \\
       -H "Authorization: Bearer $MIDFLIGHT_TOKEN" -H 'If-Match: *' -H 'Content-Type: application/json-patch+json' \\
       -d '[{"op": "replace", "path": "/rules/0/limit", "value": 500}]'
       the same without the command line

Ctrl-C ends all of it, and the next start finds everything as it was. The fleet:`
}
