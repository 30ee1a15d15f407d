// What an event says, in the reader's language: its tone and its particulars.
import type { EventView } from '@/api/types'
import { absolute } from './format'

const TONES: Record<string, string> = {
  'endpoint.opened': 'bad',
  'endpoint.reopened': 'bad',
  'endpoint.pending': 'warn',
  'endpoint.closed': 'good',
  'endpoint.vanished': 'hollow',
  'exposure.risk-changed': 'warn',
  'host.pseudo-open': 'warn',
  'host.online': 'good',
  'finding.proved': 'bad',
  'finding.gone': 'good',
  'segment.unknown': 'bad',
  'segment.known': 'good',
}
export const toneOf = (kind: string) => TONES[kind] ?? ''

/** Particulars that the event's own line already says. */
const SAID = ['state', 'openings']
/** What changed comes before who changed it and why; others follow in their own order. */
const FIRST = ['kind', 'from', 'to', 'service', 'until', 'by', 'note']
const rank = (name: string) => (FIRST.indexOf(name) + FIRST.length + 1) % (FIRST.length + 1)
const VOCABULARIES = ['findingKind', 'verdict', 'guardName', 'disposition', 'identity', 'risk', 'severity', 'phase']
type Say = (key: string) => string
type Known = (key: string) => boolean

function word(value: unknown, t: Say, te: Known): string {
  if (typeof value === 'object') return JSON.stringify(value)
  const text = String(value)
  if (/^\d{4}-\d\d-\d\dT/.test(text)) return absolute(text)
  const group = VOCABULARIES.find((g) => /^[a-z-]+$/.test(text) && te(`${g}.${text}`))
  return group ? t(`${group}.${text}`) : text
}

/** The particulars of an event as `name value` pairs; nested ones as JSON. */
export function sayEvent(event: EventView, t: Say, te: Known): [string, string][] {
  return Object.entries((event.detail ?? {}) as Record<string, unknown>)
    .filter(([k, v]) => v !== null && v !== '' && !SAID.includes(k))
    .sort(([a], [b]) => rank(a) - rank(b))
    .map(([k, v]) => [te(`detail.${k}`) ? t(`detail.${k}`) : k, word(v, t, te)])
}
