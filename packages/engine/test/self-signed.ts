/** Certificates for servers of tests. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Of 127.0.0.1, its own authority, in `folder`: paths, and the text that has to be trusted. */
export function selfSigned(folder: string): { readonly cert: string; readonly key: string; readonly pem: string } {
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1']
  const made = ['-nodes', ...subject, '-keyout', key, '-out', cert, '-days', '1']
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', ...made], {
    stdio: 'pipe',
  })
  return { cert, key, pem: readFileSync(cert, 'utf8') }
}
