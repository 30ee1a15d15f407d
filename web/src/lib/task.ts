// How a task's trigger and target read, and what each kind of task works on.
import type { TaskKind, TaskTarget, Trigger } from '@/api/types'
import { duration, type Locale } from './format'

type Say = (key: string, values?: Record<string, unknown>) => string

export function sayTrigger(trigger: Trigger, t: Say, locale: Locale): string {
  if (trigger.type === 'interval') return t('trigger.every', { span: duration(trigger.every, locale) })
  if (trigger.type === 'cron') return trigger.expression
  return t('trigger.once')
}

export function sayTarget(target: TaskTarget, t: Say): string {
  if (target.type === 'ranges') return target.ranges.join(', ')
  if (target.type === 'tags') return target.tags.map((tag) => `#${tag}`).join(' ')
  return t('target.all-assets')
}

/** Kinds that sweep ports, and so have a choice of ports. */
export const SWEEPS: readonly TaskKind[] = ['full-online', 'high-risk-online', 'high-risk-offline', 'full-offline', 'full-all']

/** The ports a kind sweeps unless told otherwise. */
export function defaultPorts(kind: TaskKind): string | null {
  if (!SWEEPS.includes(kind)) return null
  return kind.startsWith('high-risk') ? 'high-risk' : 'all'
}
