// Keys that work anywhere but in a field: `/` search, `g` and a letter to go somewhere, `?` for the list.
import { onBeforeUnmount, onMounted } from 'vue'

export const PLACES: Record<string, string> = {
  d: '/',
  e: '/exposures',
  f: '/findings',
  h: '/hosts',
  b: '/panels',
  q: '/queue',
  n: '/alerts',
  t: '/tasks',
  j: '/jobs',
  a: '/assets',
  s: '/settings',
  u: '/users',
  l: '/audit',
  i: '/system',
}

export type KeyAct = { type: 'go'; path: string } | { type: 'search' } | { type: 'help' } | { type: 'wait' }

/** What a key means after the one before it; undefined for nothing. */
export function meaning(key: string, afterG: boolean): KeyAct | undefined {
  if (afterG) return PLACES[key] ? { type: 'go', path: PLACES[key] } : undefined
  if (key === 'g') return { type: 'wait' }
  if (key === '/') return { type: 'search' }
  if (key === '?') return { type: 'help' }
  return undefined
}

function typing(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
}

export function useKeys(act: { go: (path: string) => void; help: () => void }) {
  let afterG = false
  let timer: ReturnType<typeof setTimeout> | undefined
  function onKey(event: KeyboardEvent) {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    if (typing(event.target)) {
      if (event.key === 'Escape') (event.target as HTMLElement).blur()
      return
    }
    const m = meaning(event.key, afterG)
    clearTimeout(timer)
    afterG = m?.type === 'wait'
    // Long enough to find the second key, short enough not to surprise later.
    if (afterG) timer = setTimeout(() => (afterG = false), 1500)
    if (m?.type === 'go') act.go(m.path)
    if (m?.type === 'help') act.help()
    if (m?.type === 'search') {
      const field = document.querySelector<HTMLInputElement>('[data-search] input, input[data-search]')
      if (!field) return
      event.preventDefault()
      field.focus()
      field.select()
    }
  }
  onMounted(() => window.addEventListener('keydown', onKey))
  onBeforeUnmount(() => window.removeEventListener('keydown', onKey))
}
