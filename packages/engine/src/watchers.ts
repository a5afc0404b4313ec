/** Who wants to be told when the value at a path has changed. When that is so, `engine.ts` says. */
import { errorText, isPromise } from './deadline.ts'
import { at, pathText, type Json, type Path } from './json.ts'

type Listener = (next: never, before: never) => unknown

export class Watchers {
  readonly #all = new Set<{ readonly path: Path; readonly listener: Listener }>()

  /** @returns how to stop being told. */
  add(path: Path, listener: Listener): () => void {
    const watcher = { path, listener }
    this.#all.add(watcher)
    return () => void this.#all.delete(watcher)
  }

  /** @param warn told what a listener throws, at once or later; it goes no further. */
  tell(next: Json, before: Json, warn: (message: string) => void): void {
    // A copy: who comes while the others are told hears of the next change.
    for (const watcher of [...this.#all]) {
      if (!this.#all.has(watcher)) continue
      const { path, listener } = watcher
      const [is, was] = [at(next, path), at(before, path)]
      if (is === was) continue
      const failed = (error: unknown) => warn(`a listener on "${pathText(path)}" failed: ${errorText(error)}`)
      try {
        const told = listener(is as never, was as never)
        if (isPromise(told)) told.then(undefined, failed)
      } catch (error) {
        failed(error)
      }
    }
  }
}
