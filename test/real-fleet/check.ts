/**
 * What must hold of a run, judged from outside: from what the nodes wrote down and what the API said. It shares no code
 * with what it judges but where a node stands in the steps, which is a fixed function of its uid and labels.
 */
import { cutsOf, stepOf } from '../../packages/control-plane/src/strategy.ts'
import type { ApiRollout, Evidence, LogLine } from './evidence.ts'

type StatusLine = LogLine & { kind: 'status' }

/** A node says so of a release that it did not take. */
const refusals = ['FAILED', 'ROLLED_BACK', 'DEGRADED', 'RESTART_REQUIRED']
/** All clocks are one, but what is written to a log is stamped a moment before or after. */
const slackMs = 50
/** From when a node was heard of until that has been counted, on a machine that is busy. */
const countedWithinMs = 5_000

export function check(evidence: Evidence): string[] {
  return [
    ...acknowledgedStay(evidence),
    ...onlyWhatIsOnRecord(evidence),
    ...numbersOnlyGrow(evidence),
    ...epochsOnlyGrow(evidence),
    ...evidence.rollouts.flatMap((rollout) => [
      ...onlyWhomItReached(evidence, rollout),
      ...allVotedBefore(evidence, rollout),
      ...stepAfterStep(evidence, rollout),
      ...nothingBadCompleted(evidence, rollout),
    ]),
    ...allIsSettled(evidence),
    ...(evidence.audit === 'whole' ? [] : [`audit: the log is ${evidence.audit}`]),
    ...evidence.badAnswers.map((answer) => `API: ${answer}`),
  ]
}

function acknowledgedStay({ acknowledged, releases }: Evidence): string[] {
  return acknowledged.flatMap(({ number, digest, id }) => {
    const found = releases.find((release) => release.number === number)
    if (found?.digest === digest && found.content.id === id) return []
    return [`I3: release ${number} was acknowledged with content ${id}, and there is ${found?.content.id ?? 'none'}`]
  })
}

function onlyWhatIsOnRecord({ releases, logs }: Evidence): string[] {
  const ids = new Set(releases.map(({ content }) => content.id))
  const names = new Set(releases.map(({ number, digest }) => `${number} ${digest}`))
  return [...logs].flatMap(([node, lines]) => {
    const said = lines.flatMap((line) => {
      if (line.kind === 'commit') return ids.has(line.id) ? [] : [`content ${line.id}`]
      if (line.kind !== 'status' || line.runs === null) return []
      return names.has(`${line.runs.number} ${line.runs.digest}`) ? [] : [`release ${line.runs.number}`]
    })
    return [...new Set(said)].map((what) => `I9: ${node} ran ${what}, which is not on record`)
  })
}

/** But where the node says that it would not keep the one it went back from: unconfirmed in time, or it died of it. */
function numbersOnlyGrow({ logs, samples }: Evidence): string[] {
  const found: string[] = []
  const goesBack = (node: string, from: number, to: number): boolean => to < from && !wentBackFrom(logs, node, from)
  const told = new Map<string, { readonly answeredMs: number; readonly number: number }[]>()
  for (const { nodes, answeredMs } of samples) {
    for (const { uid, labels, runs, connected } of nodes) {
      // Of one that has not come back to a control plane that was killed, it knows what it had written down.
      if (runs === null || !connected) continue
      const before = told.get(uid) ?? []
      const last = before.at(-1)
      const name = labels['name'] ?? uid
      if (last && goesBack(name, last.number, runs.number)) {
        found.push(`I5: the API had ${name} at ${runs.number} after ${last.number}`)
      }
      if (last?.number !== runs.number) told.set(uid, [...before, { answeredMs, number: runs.number }])
    }
  }
  for (const [node, lines] of logs) {
    let last = 0
    for (const line of lines) {
      // What was kept and not yet told may be gone with the process; what was told may not.
      if (line.kind === 'life') last = 0
      if (line.kind !== 'status' || line.runs === null) continue
      const { number } = line.runs
      const known = (told.get(line.uid) ?? []).filter(({ answeredMs }) => answeredMs < line.wallMs).at(-1)?.number ?? 0
      const floor = Math.max(last, last === 0 ? known : 0)
      if (goesBack(node, floor, number)) found.push(`I5: ${node} ran ${number} after ${floor}, and did not say why`)
      last = number
    }
  }
  return found
}

/** By its warnings: its status says so too, but only until something newer comes. */
function wentBackFrom(logs: Evidence['logs'], node: string, number: number): boolean {
  const why = new RegExp(
    `release ${number} was not confirmed within|died while or soon after it took release ${number}$`,
  )
  return logs.get(node)?.some((line) => line.kind === 'warning' && why.test(line.text)) ?? false
}

function epochsOnlyGrow({ rollouts }: Evidence): string[] {
  return rollouts.flatMap(({ number, events }) => {
    const epochs = events.map(({ epoch }) => epoch)
    return epochs.some((epoch, i) => epoch < (epochs[i - 1] ?? 0))
      ? [`I10: the epochs of the rollout of ${number} go back: ${epochs.join()}`]
      : []
  })
}

interface Taken {
  readonly node: string
  readonly step: number
  /** When it first had it ready, and first committed it. */
  readonly preparedMs: number | undefined
  readonly committedMs: number | undefined
}

/** What each node did with the release; `undefined` where its content is also another's, and nobody can tell. */
function takenOf({ releases, nodes, logs }: Evidence, { number, digest, strategy }: ApiRollout): Taken[] | undefined {
  const same = releases.filter((release) => release.digest === digest)
  const id = same[0]?.content.id
  // Those that bring it back came later, and only if it was in use by then.
  if (id === undefined || same[0]?.number !== number) return undefined
  const cuts = cutsOf(strategy.steps, nodes)
  return nodes.map((placed) => {
    const node = placed.labels['name'] ?? placed.uid
    const lines = logs.get(node) ?? []
    const first = (kind: LogLine['kind']): number | undefined =>
      lines.find((line) => line.kind === kind && 'id' in line && line.id === id)?.wallMs
    const step = stepOf(strategy.steps, cuts, placed)
    return { node, step, preparedMs: first('prepared'), committedMs: first('commit') }
  })
}

/** Nobody runs what its rollout never came to: steps that were not entered, two-phase steps that were decided against. */
function onlyWhomItReached(evidence: Evidence, rollout: ApiRollout): string[] {
  const { number, decided, strategy, phase, failure, startedAt } = rollout
  const isDecidedFor = phase === 'completed' ? strategy.steps.length : decided
  return (takenOf(evidence, rollout) ?? []).flatMap(({ node, step, committedMs }) => {
    if (committedMs === undefined) return []
    if (step >= isDecidedFor) {
      const why = `${phase}${failure ? `, ${failure.kind}` : ''}`
      return [`I8: ${node} of step ${step} ran ${number}, which was decided up to ${isDecidedFor} (${why})`]
    }
    if (startedAt !== null && committedMs >= Date.parse(startedAt) - slackMs) return []
    return [`I8: ${node} ran ${number} before its rollout began`]
  })
}

/** Two-phase, where nobody may be missing: when the first commits, all of its step have had it ready. */
function allVotedBefore(evidence: Evidence, rollout: ApiRollout): string[] {
  const { number, strategy } = rollout
  if (!strategy.twoPhase || strategy.absent.max > 0) return []
  const taken = takenOf(evidence, rollout) ?? []
  return strategy.steps.flatMap((_, step) => {
    const inStep = taken.filter((one) => one.step === step)
    const firstMs = Math.min(...inStep.flatMap(({ committedMs }) => committedMs ?? []))
    const silent = inStep.filter(({ preparedMs }) => (preparedMs ?? Infinity) > firstMs + slackMs)
    if (firstMs === Infinity || silent.length === 0) return []
    return [
      `I8: of step ${step} of ${number} somebody committed before ${silent.map(({ node }) => node).join()} had it ready`,
    ]
  })
}

/** A step is begun when the one before it has baked. */
function stepAfterStep(evidence: Evidence, rollout: ApiRollout): string[] {
  const { number, strategy, events } = rollout
  if (events.some(({ event }) => event.kind === 'promoted')) return []
  const taken = takenOf(evidence, rollout) ?? []
  const firstMs = strategy.steps.map((_, step) =>
    Math.min(...taken.filter((one) => one.step === step).flatMap(({ committedMs }) => committedMs ?? [])),
  )
  return strategy.steps.flatMap(({ bakeMs }, step) => {
    const [here, later] = [firstMs[step] as number, Math.min(...firstMs.slice(step + 1))]
    if (here === Infinity || later === Infinity || later >= here + bakeMs - slackMs) return []
    return [`I12: ${number} came to the nodes after step ${step} when it had not baked for ${bakeMs} ms`]
  })
}

/** No rollout came to its good end over what was known to be bad. */
function nothingBadCompleted({ releases, samples }: Evidence, rollout: ApiRollout): string[] {
  const { number, digest, phase, strategy, endedAt, events } = rollout
  if (phase !== 'completed' || endedAt === null) return []
  const isPromoted = events.some(({ event }) => event.kind === 'promoted')
  const content = releases.find((release) => release.number === number)?.content
  const found: string[] = []
  if (strategy.gates.length > 0 && content?.gate === 'bad' && !isPromoted) {
    found.push(`I12: the rollout of ${number} is completed, and its gate said no`)
  }
  const endMs = Date.parse(endedAt)
  const bad = new Set<string>()
  for (const { nodes, answeredMs } of samples) {
    if (answeredMs > endMs - countedWithinMs) continue
    for (const { labels, seen, runs, status, health } of nodes) {
      const isRefused = seen === number && runs?.digest !== digest && refusals.includes(status)
      const isSick = runs?.number === number && health?.release === number && !health.ok
      if (isRefused || isSick) bad.add(labels['name'] ?? '')
    }
  }
  if (bad.size > strategy.maxFailed) {
    found.push(
      `I12: the rollout of ${number} is completed, and ${[...bad].join()} would not have it, or was sick of it`,
    )
  }
  return found
}

/** When all is healed and has come to rest. */
function allIsSettled({ releases, rollouts, nodes, logs }: Evidence): string[] {
  const head = releases.at(-1)
  const found = rollouts
    .filter(({ endedAt }) => endedAt === null)
    .map(({ number, phase }) => `the rollout of ${number} is ${phase} for ever`)
  for (const [node, lines] of logs) {
    const said = lines.findLast((line): line is StatusLine => line.kind === 'status')
    const known = nodes.find(({ uid }) => uid === said?.uid)
    if (said === undefined || known === undefined) {
      found.push(`I6: nothing is known of ${node}`)
      continue
    }
    const prepared = said.prepared ?? known.prepared
    if (prepared) found.push(`I8: ${node} still has ${prepared.number} prepared`)
    if (known.runs?.number !== said.runs?.number || known.runs?.digest !== said.runs?.digest) {
      found.push(`the API has ${node} at ${known.runs?.number}, and it runs ${said.runs?.number}`)
    }
    if (said.runs?.number === head?.number && said.runs?.digest === head?.digest) continue
    const saysSo = refusals.includes(known.status) && known.seen === head?.number && (known.detail ?? '') !== ''
    const isTrue = lines.some((line) => isNo(line, head?.content.id)) || wentBackFrom(logs, node, head?.number ?? 0)
    if (!saysSo || !isTrue)
      found.push(`I6: ${node} runs ${said.runs?.number}, is to run ${head?.number}, and does not say why`)
  }
  return found
}

/** What a node says has to have happened. */
function isNo(line: LogLine, id: number | undefined): boolean {
  return (line.kind === 'refused' || line.kind === 'failed-late') && line.id === id
}
