// The fingerprint of everything the console is built from. `crates/console/build.rs` computes the same number and refuses
// to put a stale build into a release binary; times of files would not do, because a checkout sets them all to now.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Plugin } from 'vite'

/** Files and folders the build reads, relative to web/, in the order they are hashed. Keep equal to build.rs. */
export const SOURCES = ['build', 'index.html', 'package-lock.json', 'package.json', 'public', 'src', 'tsconfig.json', 'vite.config.ts']

function files(root: string, at: string): string[] {
  const entries = (() => {
    try {
      return readdirSync(join(root, at), { withFileTypes: true })
    } catch {
      return undefined
    }
  })()
  if (!entries) return [at]
  return entries.flatMap((e) => {
    if (e.name.startsWith('.')) return []
    return e.isDirectory() ? files(root, `${at}/${e.name}`) : [`${at}/${e.name}`]
  })
}

/** SHA-256 over path, NUL, contents without carriage returns, NUL of every source, paths sorted by their bytes. */
export function sourceHash(root: string): string {
  const hash = createHash('sha256')
  const paths = SOURCES.flatMap((s) => files(root, s))
  paths.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  for (const path of paths) {
    hash.update(path)
    hash.update('\0')
    hash.update(readFileSync(join(root, path)).filter((byte) => byte !== 13))
    hash.update('\0')
  }
  return hash.digest('hex')
}

/** Writes `.source-hash` beside the built files. */
export function sourceHashPlugin(root: string): Plugin {
  return {
    name: 'source-hash',
    apply: 'build',
    generateBundle() {
      this.emitFile({ type: 'asset', fileName: '.source-hash', source: sourceHash(root) })
    },
  }
}
