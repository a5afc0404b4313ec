/** One HTTP request to a program beside us: a bounded answer, a deadline, no redirects. */

const maxBodyBytes = 65_536

/** Any status is an answer; of its body the first `maxBytes` count. @throws Error if there is none. */
export async function answerOf(
  what: string,
  url: string,
  method: string,
  signal: AbortSignal,
  maxBytes = maxBodyBytes,
): Promise<{ readonly status: number; readonly body: string }> {
  try {
    const response = await fetch(url, { method, signal, redirect: 'manual', headers: { connection: 'close' } })
    const parts: Uint8Array[] = []
    let size = 0
    for await (const part of response.body ?? []) {
      parts.push(part)
      size += part.byteLength
      if (size >= maxBytes) break
    }
    return { status: response.status, body: Buffer.concat(parts).toString().slice(0, maxBytes).trim() }
  } catch (error) {
    signal.throwIfAborted()
    // Only the code: the rest may quote the URL, or what went over the wire.
    const { cause } = error as Error & { cause?: NodeJS.ErrnoException }
    throw new Error(`${what} was not answered: ${cause?.code ?? 'the connection was closed'}`, { cause: error })
  }
}
