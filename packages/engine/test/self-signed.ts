/** Certificates for servers of tests. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface SelfSigned {
  /** Path. */
  readonly cert: string
  /** Path. */
  readonly key: string
  /** The text of `cert`, which has to be trusted. */
  readonly pem: string
  readonly keyPem: string
}

/** Of 127.0.0.1, its own authority, in `folder`: `<name>.crt` and `<name>.key`. */
export function selfSigned(folder: string, name = 'server'): SelfSigned {
  const [cert, key] = [join(folder, `${name}.crt`), join(folder, `${name}.key`)]
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1']
  const made = ['-nodes', ...subject, '-keyout', key, '-out', cert, '-days', '1']
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', ...made], {
    stdio: 'pipe',
  })
  return { cert, key, pem: readFileSync(cert, 'utf8'), keyPem: readFileSync(key, 'utf8') }
}
