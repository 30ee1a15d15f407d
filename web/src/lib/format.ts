// Numbers, times and names as people read them. Pure: the locale and the present are arguments.
import type { Service } from '@/api/types'

export type Locale = 'zh-CN' | 'en'

const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ['year', 31_536_000_000],
  ['month', 2_592_000_000],
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
  ['second', 1_000],
]

/** `3 min ago`, `2 天后`; whole units only, the largest that fits. */
export function relative(instant: string, now: number, locale: Locale): string {
  const diff = Date.parse(instant) - now
  if (Number.isNaN(diff)) return instant
  const format = new Intl.RelativeTimeFormat(locale, { numeric: 'auto', style: 'short' })
  for (const [unit, size] of UNITS) {
    if (Math.abs(diff) >= size) return format.format(Math.trunc(diff / size), unit)
  }
  return format.format(0, 'second')
}

/** Local time to the second, with the zone's offset, in one sortable form for both languages. */
export function absolute(instant: string): string {
  const at = new Date(instant)
  if (Number.isNaN(at.getTime())) return instant
  const p = (n: number, width = 2) => String(n).padStart(width, '0')
  const offset = -at.getTimezoneOffset()
  const zone = `${offset < 0 ? '-' : '+'}${p(Math.floor(Math.abs(offset) / 60))}:${p(Math.abs(offset) % 60)}`
  return `${at.getFullYear()}-${p(at.getMonth() + 1)}-${p(at.getDate())} ${p(at.getHours())}:${p(at.getMinutes())}:${p(at.getSeconds())} ${zone}`
}

const DURATION_WORDS: Record<Locale, [string, string, string, string, string]> = {
  'zh-CN': [' 天', ' 小时', ' 分', ' 秒', ' 毫秒'],
  en: [' d', ' h', ' min', ' s', ' ms'],
}

/** A span in its two largest units: `4 min 12 s`. */
export function duration(ms: number, locale: Locale): string {
  const [d, h, m, s, milli] = DURATION_WORDS[locale]
  if (ms < 1_000) return `${Math.round(ms)}${milli}`
  const parts: [number, string][] = [
    [Math.floor(ms / 86_400_000), d],
    [Math.floor(ms / 3_600_000) % 24, h],
    [Math.floor(ms / 60_000) % 60, m],
    [Math.floor(ms / 1_000) % 60, s],
  ]
  const first = parts.findIndex(([n]) => n > 0)
  return parts
    .slice(first, first + 2)
    .filter(([n]) => n > 0)
    .map(([n, unit]) => `${n}${unit}`)
    .join(' ')
}

export function count(n: number, locale: Locale): string {
  return new Intl.NumberFormat(locale).format(n)
}

/** Part of a whole, 0 to 100; work without a total counts as done only when it says so. */
export function percent(done: number, total: number): number {
  if (total <= 0) return 0
  return Math.min(100, Math.floor((done / total) * 100))
}

/** `MariaDB 10.11.19`, or the protocol's name where no product is known; empty for nothing. */
export function serviceLine(service: Partial<Service> | null | undefined): string {
  if (!service) return ''
  const product = [service.product, service.version].filter(Boolean).join(' ')
  return product || service.name || (service.tls ? 'tls' : '')
}

/** `10.0.0.7:6379/tcp`, `[2001:db8::1]:22/tcp` → its parts; undefined when it is not an endpoint. */
export function parseEndpoint(text: string): { ip: string; port: number; proto: string } | undefined {
  const m = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)\/(tcp|udp)$/.exec(text)
  return m ? { ip: m[1] ?? m[2]!, port: Number(m[3]), proto: m[4]! } : undefined
}

/** Minutes after midnight as `09:30`. */
export function clock(minutes: number): string {
  return `${String(Math.floor(minutes / 60)).padStart(2, '0')}:${String(minutes % 60).padStart(2, '0')}`
}

/** `09:30` as minutes after midnight; undefined when it is not a time of day. */
export function parseClock(text: string): number | undefined {
  const m = /^(\d{1,2}):(\d{2})$/.exec(text)
  if (!m || Number(m[1]) > 23 || Number(m[2]) > 59) return undefined
  return Number(m[1]) * 60 + Number(m[2])
}

/** Words that people separate by commas, spaces or line ends, without repeats. */
export function words(text: string): string[] {
  return [...new Set(text.split(/[\s,;，；、]+/).filter(Boolean))]
}
