/**
 * A component made of a function that takes the new value. For many things that come and go one by one, see `keyed.ts`.
 */
import type { Component, Prepared, SliceChange } from './component.ts'
import type { Issue } from './issue.ts'
import { parsePath } from './json.ts'

/** `S` is the value at `path` (a tuple for several paths), `T` what `prepare` builds for it. */
export interface ValueOptions<S, T> {
  readonly name: string
  /** Prepared and committed after these components. */
  readonly after?: readonly string[]
  /** Paths, from the root, that cannot change while the process runs. A component's own path means: nothing can. */
  readonly restartFor?: readonly string[]
  readonly deadlines?: Component['deadlines']
  /** Pure. Each string or issue that comes back refuses the configuration. */
  validate?(next: S): readonly (string | Issue)[]
  /**
   * Builds what the new value needs (a pool, a TLS context), invisible from outside. If it throws, it has cleaned up.
   * `live` is what was built for the value that runs: returned again, it is kept, and not discarded.
   */
  prepare?(next: S, before: S | undefined, signal: AbortSignal, live: T | undefined): T | Promise<T>
  /** Makes it live. Called with the old value, and what was built for that, if the reload is rolled back. */
  apply(next: S, built: T, before: S | undefined): void | Promise<void>
  /** Lets go of what `prepare` built, once it is no longer live (or never came to be). */
  discard?(built: T): void | Promise<void>
}

/** @param paths dotted paths from the root; one path makes `S` its value, a list makes it a tuple. */
export function valueComponent<S, T>(options: ValueOptions<S, T>, paths: string | readonly string[]): Component<S> {
  const single = typeof paths === 'string'
  const { validate, discard } = options
  let built: { readonly of: T } | undefined
  return {
    name: options.name,
    after: options.after ?? [],
    paths: single ? [paths] : paths,
    slice: (values) => (single ? values[0] : values) as S,
    hot: options.restartFor?.length ? { restartFor: options.restartFor } : 'full',
    ...(options.deadlines && { deadlines: options.deadlines }),
    ...(validate && {
      validate: ({ after }: SliceChange<S>) =>
        validate(after).map((issue) =>
          typeof issue === 'string'
            ? { code: 'component' as const, path: single ? parsePath(paths) : [], message: issue }
            : issue,
        ),
    }),
    async prepare({ before, after }, signal): Promise<Prepared> {
      const old = built
      const fresh = { of: (await options.prepare?.(after, before, signal, old?.of)) as T }
      const kept = old !== undefined && fresh.of === old.of
      let begun = false
      let discarded = false
      return {
        commit() {
          begun = true
          built = fresh
          return options.apply(after, fresh.of, before)
        },
        // Twice, if `apply` passed its deadline and came back. Without a commit, what is live may be newer than `old`.
        async rollback() {
          if (built === fresh) built = old
          if (begun && old) await options.apply(before as S, old.of, after)
          if (discarded) return
          discarded = true
          if (!kept) await discard?.(fresh.of)
        },
        async dispose() {
          if (old && !kept) await discard?.(old.of)
        },
      }
    },
    async close() {
      if (built) await discard?.(built.of)
      built = undefined
    },
  }
}
