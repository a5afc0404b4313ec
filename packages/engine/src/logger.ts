/** Where an engine writes its lines for people. What it says is decided elsewhere. */
import { errorText } from './deadline.ts'

/** Three methods, so that pino, console or anything else fits. */
export interface Logger {
  info(message: string): void
  warn(message: string): void
  error(message: string): void
}

/** What is used when no logger is given: a failed reload must not go unseen. */
export const standardError: Logger = {
  info: (message) => void process.stderr.write(`midflight: ${message}\n`),
  warn: (message) => void process.stderr.write(`midflight: warning: ${message}\n`),
  error: (message) => void process.stderr.write(`midflight: ${message}\n`),
}

/** The same logger, except that what it throws goes to standard error: a log that cannot be written fails no reload. */
export function harmless(logger: Logger): Logger {
  const guarded = (level: keyof Logger) => (message: string) => {
    try {
      logger[level](message)
    } catch (error) {
      standardError.warn(`the logger failed: ${errorText(error)}; it was to say: ${message}`)
    }
  }
  return { info: guarded('info'), warn: guarded('warn'), error: guarded('error') }
}
