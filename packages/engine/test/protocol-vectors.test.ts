/** The vectors of docs/protocol.md: what they say of messages, signatures and an agent's steps holds here. */
import { createPublicKey, verify } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { desired, newNode, next, runsOf } from '../src/agent/node.ts'
import type { NodeCommand, NodeEvent, NodeState } from '../src/agent/node-state.ts'
import { next as nextVote, noVote, preparedIn, type VoteEvent } from '../src/agent/vote.ts'
import { anyRelease, policyOf } from '../src/agent/policy.ts'
import { receive } from '../src/agent/receive.ts'
import type { Json } from '../src/json.ts'
import { BadMessageError, closeCodes, decodeFromAgent, decodeFromServer } from '../src/protocol/codec.ts'
import { agentMessage, serverMessage, type Decision, type ReleaseMessage } from '../src/protocol/messages.ts'
import { signedText, type ReleaseInfo } from '../src/protocol/release.ts'

interface Vectors {
  readonly messages: { readonly agent: readonly Json[]; readonly server: readonly Json[] }
  readonly refused: readonly { from: 'agent' | 'server'; frame: string; close: number; why: string }[]
  readonly signature: { keyId: string; publicKeyHex: string; publicKeyPem: string; text: string; release: ReleaseInfo }
  readonly twoPhase: readonly {
    note: string
    gets: ReleaseMessage | Decision
    does: string[]
    says: string[]
    prepared: number | null
  }[]
  readonly steps: readonly { note: string; gets: ReleaseMessage; says: string[]; runs: number; content: Json }[]
}

const file = new URL('vectors/protocol.json', import.meta.url)
const vectors = JSON.parse(readFileSync(file, 'utf8')) as Vectors

test('each message is taken as it is, and there is one of each type', () => {
  const taken = [
    ...vectors.messages.agent.map((message) => decodeFromAgent(JSON.stringify(message))),
    ...vectors.messages.server.map((message) => decodeFromServer(JSON.stringify(message))),
  ]
  expect(taken).toEqual([...vectors.messages.agent, ...vectors.messages.server])
  const types = [agentMessage, serverMessage].flatMap(({ schema }) =>
    (schema.oneOf as { properties: { type: { const: string } } }[]).map((one) => one.properties.type.const),
  )
  expect([...new Set(taken.map(({ type }) => type))].toSorted()).toEqual(types.toSorted())
})

test.each(vectors.refused)('refused from the $from with $close: $why', ({ from, frame, close }) => {
  let code: number | undefined
  try {
    if (from === 'agent') decodeFromAgent(frame)
    else decodeFromServer(frame)
  } catch (error) {
    if (!(error instanceof BadMessageError)) throw error
    code = closeCodes[error.code]
  }
  expect(code).toBe(close)
})

test('the signature is over the text, by the key, and the policy takes it', () => {
  const { keyId, publicKeyHex, publicKeyPem, text, release } = vectors.signature
  expect(signedText(release)).toBe(text)
  const key = createPublicKey(publicKeyPem)
  expect(key.export({ format: 'der', type: 'spki' }).subarray(-32).toString('hex')).toBe(publicKeyHex)
  expect(verify(null, Buffer.from(text), key, Buffer.from(release.signature?.value ?? '', 'base64url'))).toBe(true)
  const policy = policyOf({ keys: { [keyId]: publicKeyPem } })
  expect(policy.problem(release)).toBeUndefined()
  expect(policy.problem({ ...release, message: 'another' })).toContain('does not fit')
})

test('an agent takes the steps as they are written', () => {
  let state: NodeState = newNode
  const said: string[] = []
  const on = (event: NodeEvent) => {
    const [after, commands] = next(state, event)
    state = after
    said.push(...commands.flatMap(shown))
    // An engine for which everything works.
    if (commands.some(({ kind }) => kind === 'ask')) {
      on({ kind: 'loading' })
      on({ kind: 'settled', status: 'APPLIED', mayRetry: false })
    }
  }
  for (const { note, gets, says, runs, content } of vectors.steps) {
    said.length = 0
    const bases = [desired(state)].filter((held) => held !== null)
    on(receive(decodeFromServer(JSON.stringify(gets)) as ReleaseMessage, 'shop/gateway/prod', anyRelease, bases))
    expect(said, note).toEqual(says)
    expect(runsOf(state)?.release.number, note).toBe(runs)
    expect(runsOf(state)?.content, note).toEqual(content)
  }
})

test('an agent that takes part in two-phase commit takes the steps as they are written', () => {
  let state = noVote
  const did: string[] = []
  const said: string[] = []
  // An engine and a disk for which everything works.
  const on = (event: VoteEvent) => {
    const [after, commands] = nextVote(state, event)
    state = after
    for (const command of commands) {
      if (command.kind === 'vote-yes')
        said.push(`report ${command.ballot.held.release.number} PREPARED by ${command.ballot.epoch}`)
      else if (command.kind === 'report-aborted') said.push(`report ${command.held.release.number} ROLLED_BACK`)
      else if (command.kind !== 'warn') did.push(command.kind)
      if (command.kind === 'stage') on({ kind: 'staged' })
      if (command.kind === 'keep') on({ kind: 'kept', problem: undefined })
      if (command.kind === 'commit') on({ kind: 'committed' })
    }
  }
  for (const { note, gets, does, says, prepared } of vectors.twoPhase) {
    did.length = said.length = 0
    const message = decodeFromServer(JSON.stringify(gets))
    if (message.type === 'decision') on({ ...message, kind: 'decision', commit: message.decision === 'commit' })
    if (message.type === 'release') {
      const event = receive(message, 'shop/gateway/prod', anyRelease, [])
      if (event.kind !== 'release') throw new Error(`${note}: ${event.kind}`)
      on({ kind: 'prepare', held: event.held, epoch: message.prepare?.epoch ?? 0 })
    }
    expect(did, note).toEqual(does)
    expect(said, note).toEqual(says)
    expect(preparedIn(state)?.held.release.number ?? null, note).toBe(prepared)
  }
})

function shown(command: NodeCommand): string[] {
  if (command.kind === 'report') return [`report ${command.release.number} ${command.status}`]
  return command.kind === 'ask-whole' ? [`whole ${command.number}`] : []
}
