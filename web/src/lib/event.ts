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
type Say = (key: string, values?: Record<string, string>) => string
type Known = (key: string) => boolean
type Detail = Record<string, unknown>
/** The headline of a check in the reader's language, where the catalogue has it. */
export type TitleOf = (check: string) => string | undefined

function word(value: unknown, t: Say, te: Known): string {
  if (Array.isArray(value)) return value.map((one) => word(one, t, te)).join(', ')
  if (typeof value === 'object' && value !== null) {
    const parts = Object.entries(value).filter(([, v]) => v !== null && v !== '')
    return parts.map(([k, v]) => `${te(`detail.${k}`) ? t(`detail.${k}`) : k} ${word(v, t, te)}`).join(', ')
  }
  const text = String(value)
  if (/^\d{4}-\d\d-\d\dT/.test(text)) return absolute(text)
  const group = VOCABULARIES.find((g) => /^[a-z-]+$/.test(text) && te(`${g}.${text}`))
  return group ? t(`${group}.${text}`) : text
}

const isDetail = (value: unknown): value is Detail => typeof value === 'object' && value !== null && !Array.isArray(value)

function riskChanged(detail: Detail, t: Say): string | undefined {
  const { from, to } = detail
  if (!isDetail(from) || !isDetail(to)) return undefined
  const named = (risk: Detail) => ({ kind: t(`risk.${risk.kind}`), severity: t(`severity.${risk.severity}`) })
  const [was, is] = [named(from), named(to)]
  const because = detail.because === 'assets changed' ? t('eventSay.assets') : ''
  if (from.kind !== to.kind) return t('eventSay.kind', { from: was.kind, fromSeverity: was.severity, to: is.kind, toSeverity: is.severity, because })
  if (from.severity !== to.severity) return t('eventSay.severity', { kind: is.kind, from: was.severity, to: is.severity, because })
  return to.entry && to.entry !== from.entry ? t('eventSay.entry', { kind: is.kind, severity: is.severity, entry: String(to.entry), because }) : undefined
}

function findingChanged(kind: string, detail: Detail, t: Say, te: Known, titleOf?: TitleOf): string | undefined {
  const check = String(detail.check ?? '')
  if (!check) return undefined
  const what = titleOf?.(check) ?? (te(`findingKind.${detail.kind}`) ? `${t(`findingKind.${detail.kind}`)} (${check})` : check)
  const severity = te(`severity.${detail.severity}`) ? t(`severity.${detail.severity}`) : String(detail.severity ?? '')
  if (kind === 'finding.proved') return t('eventSay.proved', { what, severity })
  // `not-proved: it asks for a password`: the verdict in the reader's language, the check's own words after it.
  const [verdict = '', ...rest] = String(detail.reason ?? '').split(': ')
  const reason = [te(`verdict.${verdict}`) ? t(`verdict.${verdict}`) : verdict, ...rest].filter(Boolean).join(': ')
  return t(reason ? 'eventSay.goneBecause' : 'eventSay.gone', { what, severity, reason })
}

/** What happened as one sentence, where there is one for it. */
function sentence(event: EventView, t: Say, te: Known, titleOf?: TitleOf): string | undefined {
  const detail = (event.detail ?? {}) as Detail
  if (event.kind === 'exposure.risk-changed') return riskChanged(detail, t)
  if (event.kind === 'finding.proved' || event.kind === 'finding.gone') return findingChanged(event.kind, detail, t, te, titleOf)
  return undefined
}

/** The particulars of an event as `name value` pairs, or as one sentence without a name. Nothing is shown as raw JSON. */
export function sayEvent(event: EventView, t: Say, te: Known, titleOf?: TitleOf): [string, string][] {
  const said = sentence(event, t, te, titleOf)
  if (said) return [['', said]]
  return Object.entries((event.detail ?? {}) as Detail)
    .filter(([k, v]) => v !== null && v !== '' && !SAID.includes(k))
    .sort(([a], [b]) => rank(a) - rank(b))
    .map(([k, v]) => [te(`detail.${k}`) ? t(`detail.${k}`) : k, word(v, t, te)])
}
