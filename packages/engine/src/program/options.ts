/**
 * What is said of a program that is not ours: its files, how they are checked, how it is told, and how it shows that it
 * took them. Said locally, by code or by a file of the operator's; nothing of it comes from the configuration. What may
 * be said is decided in `settings.ts`, what is done with it in `program.ts`.
 */

/** A program and its arguments, without a shell. */
export type Command = readonly [program: string, ...args: string[]]

export interface ProgramOptions {
  /** The component's name; letters, digits, `-` and `_`. One process may look after a name in a directory at a time. */
  readonly name: string
  /**
   * The one directory below which files are written, absolute and without symbolic links. Neither it nor any directory
   * above it may be writable by others, who could otherwise put something else in its place.
   */
  readonly directory: string
  /** Whoever may write to the directory or below it is trusted, such as the containers that share a volume. */
  readonly othersMayWrite?: boolean
  readonly files: readonly FileOptions[]
  /**
   * Run on the staged files before anything is swapped; exit code 0 is a yes. Placeholders in its arguments:
   * `{staged}` is a directory that looks as `directory` is going to look, `{file:PATH}` a declared file in it,
   * `{directory}` the directory itself.
   */
  readonly check?: Command
  /** How the program is told. Without it files are written and nothing else happens, as for one that does not run yet. */
  readonly reload?: Reload
  /** How the program shows that it runs on the new files, all of these. Each is asked until it says yes or `probeMs` is over. */
  readonly probes?: readonly Probe[]
  readonly limits?: Partial<ProgramLimits>
  /** Names of components, other programs among them, that are prepared and committed before this one. */
  readonly after?: readonly string[]
}

/** Milliseconds, 1 to 3,600,000. */
export interface ProgramLimits {
  /** For the check; default 30,000. */
  readonly checkMs: number
  /** For the program to be told; default 10,000. */
  readonly reloadMs: number
  /** For all probes together, after a reload; default 15,000. */
  readonly probeMs: number
}

export type FileOptions = FileTarget & FileContent

export interface FileTarget {
  /** Relative to the directory: `conf.d/site.conf`. The directory that it is in has to be there. */
  readonly path: string
  /** Permission bits, such as 0o640. Without it those of the file that is replaced; 0o640 for a new one. */
  readonly mode?: number
  /** Without it that of the file that is replaced, else of this process. Only root may give files away. */
  readonly uid?: number
  readonly gid?: number
}

export type FileContent =
  | {
      /** Dotted path in the configuration; the empty string is the whole. */
      readonly from: string
      readonly as: FileFormat
    }
  | {
      /** Mustache, at most 1,000,000 characters. `{{name}}` is a value below `from`, escaped as `escape` says; a value that is not there is an error. */
      readonly template: string
      readonly from?: string
      readonly escape?: Escape
    }

/** `raw` is a text as it is. */
export type FileFormat = 'raw' | 'json' | 'yaml' | 'toml' | 'properties' | 'env'

/**
 * What becomes of `{{name}}`; `{{{name}}}` is always as it is. `none`: as it is (default). `line`: refuses a value with
 * control characters, such as the end of a line. `word`: refuses all but letters, digits and `. _ ~ : / @ % + = , -`.
 * `json`: escaped for the inside of a double-quoted text in JSON, YAML or TOML.
 */
export type Escape = 'none' | 'line' | 'word' | 'json'

export type Reload =
  /** Exit code 0 is a yes. */
  | { readonly command: Command }
  /** To the process whose number is in the file. `process` is its name as /proc shows it; another is not signalled. */
  | { readonly signal: NodeJS.Signals; readonly pidFile: string; readonly process?: string }
  /** A 2xx is a yes; what else is answered is shown. */
  | { readonly http: HttpReload }

export interface HttpReload {
  readonly url: string
  /** Default `POST`. */
  readonly method?: 'POST' | 'PUT' | 'GET'
  /** The path of one of the files, whose content is sent: for a program that is given its configuration, as Caddy is. */
  readonly file?: string
  /** Of what is sent: `application/json`, `text/caddyfile`. */
  readonly contentType?: string
}

export type Probe =
  /** A GET; a 2xx, or `status`, is a yes. */
  | { readonly http: { readonly url: string; readonly status?: number } }
  /** A connection is a yes. */
  | { readonly tcp: { readonly host?: string; readonly port: number } }
  /** Exit code 0 is a yes. */
  | { readonly command: Command }
  /** Prometheus: its own metrics, at this URL, say that the last reload was successful, and that it came after ours. */
  | { readonly prometheus: { readonly metricsUrl: string } }
  /**
   * HAProxy: who answers at its stats socket is another process than before, and serves. With the pid file of its master
   * that is told again (SIGUSR2) where the signal seems to be lost.
   */
  | { readonly haproxy: { readonly statsSocket: string; readonly pidFile?: string } }
  /** nginx: new workers serve, and old ones are gone or on their way out. Needs to see its processes in /proc. */
  | {
      readonly nginx: {
        readonly pidFile: string
        /** With more old workers that are still shutting down a change is refused before anything is touched; default 64. */
        readonly maxDraining?: number
      }
    }
