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
  const steps = `--steps name=${first?.name} --bake 5s`
  return `
Midflight fleet: ${config}
  control plane   ${url}   process ${process.pid}, releases in ${kept}/control-plane (SQLite)
${nodes.map(({ name, address, pid }) => `  node ${name}          ${address}   process ${pid}`).join('\n')}
  load            every ${requestEveryMs} ms GET /api/users of each node
  edit            ${edited}   published is applied
  admin token     in ${token}

Try, in another terminal, in this directory:
  1. export MIDFLIGHT_URL=${url} MIDFLIGHT_TOKEN="$(cat ${token})"
     curl -si ${first?.address}/api/users | grep -i x-rate
       the limit of rule "users", on node a
  2. ${limit(500)}
     ${publish} -m 'five hundred' ${steps}
       shows what would change, whom it reaches and what it risks; asks; goes to node a, which is watched for 5 s,
       and then to the others. What was counted before still counts. Without --steps its risk says how it goes
  3. ${limit(3)}
     ${publish} -m 'three a minute' ${steps}
       a bad change, and valid. Node a answers 429, says within seconds that it is not well, and all go back to what
       was before, as a new release. Nodes b and c answer 200 all the time: they never had it
  4. npx midflight rollout status ${config}
     npx midflight nodes ${config}
       at which step it ended, what was found, and on which node; who runs what
  5. ${limit(800)}
     ${publish} -m 'eight hundred' --two-phase
       all prepare it and vote before the first commits; at the end, for how long both ran side by side
  6. ${limit(0)}
     ${publish}
       a change that is not valid: refused with its place, before it is a release
  7. npx midflight rollback ${config}
       back to the release before, as a new one
  8. npx midflight history ${config}
     npx midflight blame ${config} rules.users.limit
       what was released, by whom and why; and which release last changed this limit
  9. kill -9 ${second?.pid}
       node b is started again, and serves what it ran last, even if the control plane were away
 10. npx midflight watch --config ${config}
       all of this as it happens; Ctrl-C ends it
 11. curl -s -X PATCH '${path}/content?message=by+curl&strategy=two-phase' \\
       -H "Authorization: Bearer $MIDFLIGHT_TOKEN" -H 'If-Match: *' -H 'Content-Type: application/json-patch+json' \\
       -d '[{"op": "replace", "path": "/rules/0/limit", "value": 600}]'
       without the command line, all or none

Ctrl-C ends all of it, and the next start finds everything as it was. The fleet, and of each node: which release it runs,
how many of this minute's requests it has counted, and what it answered since the line before:`
}
