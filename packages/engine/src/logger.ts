/** Where an engine writes its lines for people. What it says is decided elsewhere. */

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
