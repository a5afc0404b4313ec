#!/usr/bin/env node
/** Starts the command line. Written so that a Node which is too old can still read it and say so. */
import { existsSync } from 'node:fs'

const [major, minor] = process.versions.node.split('.').map(Number)
const main = new URL('../dist/main.js', import.meta.url)
if (major < 22 || (major === 22 && minor < 16)) {
  console.error(`midflight: needs Node 22.16 or newer; this is ${process.versions.node}`)
  process.exitCode = 1
} else if (!existsSync(main)) {
  console.error('midflight: is not built yet; run "npm run build" in the checkout')
  process.exitCode = 1
} else {
  await import(main.href)
}
