import { describe, expect, it } from 'vitest'
import { clock, duration, parseClock, parseEndpoint, percent, relative, serviceLine, words } from '@/lib/format'
import { defaultPorts, sayTarget, sayTrigger, SWEEPS } from '@/lib/task'
import { TASK_KINDS } from '@/api/types'

const NOW = Date.parse('2026-11-21T08:00:00Z')

describe('times', () => {
  it.each([
    ['2026-11-21T07:57:00Z', 'en', '3 min. ago'],
    ['2026-11-21T10:30:00Z', 'en', 'in 2 hr.'],
    ['2026-11-21T07:57:00Z', 'zh-CN', '3分钟前'],
    ['2026-11-19T07:00:00Z', 'zh-CN', '前天'],
    ['2026-11-21T08:00:00.400Z', 'en', 'now'],
    ['not a time', 'en', 'not a time'],
  ] as const)('%s in %s is %s', (at, locale, expected) => {
    expect(relative(at, NOW, locale)).toBe(expected)
  })

  it.each([
    [40, 'en', '40 ms'],
    [44_000, 'zh-CN', '44 秒'],
    [252_000, 'en', '4 min 12 s'],
    [7_200_000, 'zh-CN', '2 小时'],
    [90_061_000, 'en', '1 d 1 h'],
    [86_400_000 + 61_000, 'en', '1 d'],
  ] as const)('%i ms in %s is %s', (ms, locale, expected) => {
    expect(duration(ms, locale)).toBe(expected)
  })

  it('a time of day survives the round trip, and nonsense is none', () => {
    for (const minutes of [0, 59, 60, 1_439]) expect(parseClock(clock(minutes))).toBe(minutes)
    for (const text of ['24:00', '9', '12:60', '']) expect(parseClock(text)).toBeUndefined()
  })
})

describe('names', () => {
  it.each([
    ['10.0.0.7:6379/tcp', { ip: '10.0.0.7', port: 6379, proto: 'tcp' }],
    ['[2001:db8::1]:22/tcp', { ip: '2001:db8::1', port: 22, proto: 'tcp' }],
    ['10.0.0.7', undefined],
    ['10.0.0.7:6379/sctp', undefined],
  ])('%s is taken apart', (text, expected) => {
    expect(parseEndpoint(text)).toEqual(expected)
  })

  it.each([
    [{ name: 'mysql', product: 'MariaDB', version: '10.11.19' }, 'MariaDB 10.11.19'],
    [{ name: 'http' }, 'http'],
    [{ name: '', tls: {} as never }, 'tls'],
    [null, ''],
  ])('%o reads as %s', (service, expected) => {
    expect(serviceLine(service)).toBe(expected)
  })

  it('words may be separated by whatever people type', () => {
    expect(words('a, b；c  d\na、e')).toEqual(['a', 'b', 'c', 'd', 'e'])
  })

  it('work without a total is not complete', () => {
    expect([percent(0, 0), percent(5, 10), percent(20, 10)]).toEqual([0, 50, 100])
  })
})

describe('tasks', () => {
  const t = (key: string, values?: Record<string, unknown>) => `${key}${values ? JSON.stringify(values) : ''}`

  it('exactly the kinds that sweep have ports', () => {
    for (const kind of TASK_KINDS) expect(defaultPorts(kind) !== null, kind).toBe(SWEEPS.includes(kind))
    expect(defaultPorts('high-risk-offline')).toBe('high-risk')
  })

  it('triggers and targets read as people say them', () => {
    expect(sayTrigger({ type: 'interval', every: 600_000 }, t, 'en')).toBe('trigger.every{"span":"10 min"}')
    expect(sayTrigger({ type: 'cron', expression: '0 3 * * *' }, t, 'en')).toBe('0 3 * * *')
    expect(sayTarget({ type: 'tags', tags: ['prod', 'web'] }, t)).toBe('#prod #web')
  })
})
