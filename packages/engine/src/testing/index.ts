/** Test doubles and conformance suites that others use too. */
export { memory, type MemorySource } from './memory.ts'
export { scripted, type ScriptedComponent, type ScriptedOptions, type Step } from './scripted.ts'
