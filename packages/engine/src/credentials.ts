/** As whom a program speaks to a server and whom it trusts: what may be said of that to all who connect to one. */

/** PEM texts. For mutual TLS both `cert` and `key`. */
export interface TlsOptions {
  /** Certificate authorities to trust instead of the system's. */
  readonly ca?: string | readonly string[]
  readonly cert?: string
  readonly key?: string
  readonly passphrase?: string
  /** The name to expect in the server's certificate, where it is not the host of the URL. */
  readonly servername?: string
}

/** A function is asked at each connection, so that what was renewed in its files counts. */
export type FreshTls = TlsOptions | (() => TlsOptions)

/** A function is asked before each request, or at each connection. */
export type Token = string | (() => string | Promise<string>)

/** As Node takes them now: its types want lists that can be changed. */
export function nodeTls(tls: FreshTls = {}): Omit<TlsOptions, 'ca'> & { ca?: string | string[] } {
  const { ca, ...others } = typeof tls === 'function' ? tls() : tls
  return { ...others, ...(ca !== undefined && { ca: ca as string | string[] }) }
}

export async function secretText(token: Token): Promise<string>
export async function secretText(token: Token | undefined): Promise<string | undefined>
export async function secretText(token: Token | undefined): Promise<string | undefined> {
  return typeof token === 'function' ? token() : token
}

/**
 * For a header, out of which it must not break.
 * @throws what `refused` makes of why it cannot be sent, by default a TypeError. The token is not shown.
 */
export async function tokenText(
  token: Token | undefined,
  refused: (why: string) => Error = (why) => new TypeError(why),
): Promise<string | undefined> {
  const text = await secretText(token)
  if (text === undefined || /^[\x21-\x7e]{1,8192}$/.test(text)) return text
  throw refused('the token is empty, too long, or holds other than visible ASCII characters')
}
