// What the server says has changed, turned into queries that ask again; with a reconnect and a state people can see.
import { ref } from 'vue'
import type { QueryClient } from '@tanstack/vue-query'

export type LiveState = 'connecting' | 'live' | 'lost'
export const liveState = ref<LiveState>('connecting')

/** Topics whose change makes a query's answer stale, by the first part of its key; others are their own topic. */
const DEPENDS: Record<string, string[]> = {
  dashboard: ['exposures', 'findings', 'endpoints', 'hosts', 'tasks', 'jobs', 'alerts', 'notifications', 'segments'],
  exposures: ['exposures', 'segments', 'findings'],
  findings: ['findings', 'assets'],
  approvals: ['findings', 'assets'],
  segments: ['segments', 'endpoints', 'assets'],
  canaries: ['segments'],
  endpoint: ['exposures', 'endpoints', 'hosts', 'segments', 'findings'],
  events: ['exposures', 'endpoints', 'hosts', 'segments', 'findings'],
  tasks: ['tasks', 'jobs'],
  runs: ['tasks', 'jobs'],
  exclusions: ['assets'],
  blackouts: ['assets'],
  receivers: ['settings', 'receivers'],
  system: ['assets', 'jobs'],
}

export function isStale(key: readonly unknown[], topics: ReadonlySet<string>): boolean {
  const head = String(key[0])
  return (DEPENDS[head] ?? [head]).some((topic) => topics.has(topic))
}

/** How long to wait before the n-th try to reconnect: 1 s doubling to 30 s. */
export function backoff(failures: number): number {
  return Math.min(30_000, 1_000 * 2 ** Math.min(failures, 5))
}

/** Listens until stopped. */
export function startLive(client: QueryClient): () => void {
  let source: EventSource | undefined
  let timer: ReturnType<typeof setTimeout> | undefined
  let flush: ReturnType<typeof setTimeout> | undefined
  let failures = 0
  let stopped = false
  const topics = new Set<string>()

  function changed(list: string[]) {
    list.forEach((t) => topics.add(t))
    // At most one round of questions a second, however busy the server is.
    flush ??= setTimeout(() => {
      flush = undefined
      const now = new Set(topics)
      topics.clear()
      void client.invalidateQueries({ predicate: (q) => isStale(q.queryKey, now) })
    }, 1_000)
  }

  function connect() {
    source = new EventSource('/api/v1/live')
    source.onopen = () => {
      // Whatever happened while we were not listening is unknown: ask everything again.
      if (liveState.value === 'lost') void client.invalidateQueries()
      liveState.value = 'live'
      failures = 0
    }
    source.addEventListener('change', (event) => {
      try {
        const data = JSON.parse((event as MessageEvent<string>).data) as { topics?: string[] }
        changed(data.topics ?? [])
      } catch {
        void client.invalidateQueries()
      }
    })
    source.addEventListener('resync', () => void client.invalidateQueries())
    source.onerror = () => {
      source?.close()
      if (stopped) return
      liveState.value = 'lost'
      timer = setTimeout(() => {
        // Without the stream, asking again now and then keeps the page true.
        void client.invalidateQueries()
        connect()
      }, backoff(failures++))
    }
  }

  connect()
  return () => {
    stopped = true
    clearTimeout(timer)
    clearTimeout(flush)
    source?.close()
    liveState.value = 'connecting'
  }
}
