/** Test doubles and conformance suites that others use too. */
export { testBus, type BusCase, type BusFactory, type BusRig } from './bus-conformance.ts'
export { memory, type MemorySource } from './memory.ts'
export { memoryPlace, memoryWriter, type MemoryPlace } from './memory-writer.ts'
export { scripted, type ScriptedComponent, type ScriptedOptions, type Step } from './scripted.ts'
export { testSource } from './source-conformance.ts'
export type { Ability, Attempted, SourceAt, SourceCase, SourceFactory, SourceRig } from './source/rig.ts'
export { testWriter } from './writer-conformance.ts'
export type { WriterCase, WriterFactory, WriterNeed, WriterRig } from './writer/rig.ts'
