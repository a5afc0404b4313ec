/** The door to `midflight`: what a program embeds. Sources and triggers have doors of their own. */
export type { Component, Deadlines, Prepared, SliceChange } from './component.ts'
export { TransientError } from './component.ts'
export { componentsFor, type ComponentMakers, type Frozen } from './components-for.ts'
export { changes, diff, apply, reverse, squash, type Change, type Delta } from './diff.ts'
export { debounced, type DebounceOptions } from './debounce.ts'
export { digest } from './digest.ts'
export { examine, type Comparison, type Examined, type ExamineOptions } from './examine.ts'
export { start } from './engine.ts'
export type { Event, Journal } from './event.ts'
export { issueText, originText, type Issue, type IssueCode, type Origin } from './issue.ts'
export { at, parsePath, pathText, pointerText, parsePointer, type Json, type JsonObject, type Path } from './json.ts'
export type { KeyedComponent, KeyedOptions } from './keyed.ts'
export type { Logger } from './logger.ts'
export { NotificationError, notifyWith, type Notification } from './notify.ts'
export type { Engine, StartOptions } from './options.ts'
export { outcomeText, succeeded } from './outcome.ts'
export type {
  ComponentResult,
  Outcome,
  OutcomeKind,
  Phase,
  Plan,
  PlannedComponent,
  PlanOutcome,
  ShownChange,
} from './outcome.ts'
export { applyMergePatch, applyPatch, fromPatch, toPatch, PatchError, type PatchOperation } from './patch.ts'
export { jsonSchema, SchemaError, type AnySchema, type ConfigOf, type JsonSchema } from './schema.ts'
export { redactor, secretMark, secretsIn, type Redactor } from './redact.ts'
export { check, share, type Keys, type Limits } from './snapshot.ts'
export { SourceError, type AttachedEngine, type Document, type Piece, type Source } from './source.ts'
export { StartError } from './start-error.ts'
export type { ComponentStatus, ComponentSupport, Stats, Status } from './status.ts'
export { parseText, type ParsedText } from './text/parse.ts'
export type { Endpoint, Lifecycle, OpenEndpoint, ReloadRequest, Trigger } from './trigger.ts'
export type { ValueOptions } from './value.ts'
export { webhook } from './webhook.ts'
export { targetOf as webhookTarget, type Target as WebhookTarget } from './webhook-target.ts'
export {
  foundIn,
  putIfChanged,
  type Found,
  type Put,
  type PutOptions,
  type ValueForm,
} from './writers/put-if-changed.ts'
export { WriteError } from './writers/writer.ts'
export type {
  Expected,
  Removed,
  Stored,
  StoredEntry,
  WriteErrorCode,
  Writer,
  WriterAbility,
  Written,
} from './writers/writer.ts'
