import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import en from '@/locales/en'
import zh from '@/locales/zh-CN'
import * as types from '@/api/types'
import { i18n, loadLocale } from '@/i18n'
import { objection } from '@/lib/objection'

type Messages = { [key: string]: string | Messages }
const flat = (messages: Messages, at = ''): [string, string][] =>
  Object.entries(messages).flatMap(([k, v]) => (typeof v === 'string' ? [[at + k, v] as [string, string]] : flat(v, `${at}${k}.`)))
const EN = new Map(flat(en))
const ZH = new Map(flat(zh))
const holes = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((m) => m[1]).sort()
const sources = (dir: string): string[] =>
  readdirSync(dir).flatMap((name) => {
    const path = join(dir, name)
    return statSync(path).isDirectory() ? sources(path) : /\.(vue|ts)$/.test(name) && !path.includes('locales') ? [path] : []
  })

describe('the two languages', () => {
  it('have the same keys', () => {
    expect([...EN.keys()].sort()).toEqual([...ZH.keys()].sort())
  })

  it('fill the same holes', () => {
    // English says one and many apart (`{n} port | {n} ports`); Chinese does not.
    for (const [key, text] of EN) for (const form of text.split(' | ')) expect(holes(ZH.get(key) ?? ''), key).toEqual(holes(form))
  })

  it('leave nothing empty, and nothing that the message format would read as syntax', () => {
    for (const [key, text] of [...EN, ...ZH]) {
      expect(text.trim(), key).not.toBe('')
      expect(text, key).not.toMatch(/@/)
    }
    for (const [key, text] of ZH) expect(text, key).not.toMatch(/\|/)
    for (const [key, text] of EN) expect(text.split('|').length, key).toBeLessThanOrEqual(text.includes('{n}') ? 2 : 1)
  })

  it('Chinese is Chinese', () => {
    const latin = [...ZH].filter(([, text]) => !/[\u4e00-\u9fff]/.test(text)).map(([key]) => key)
    const names = ['ports.of', 'reason.syn-ack', 'trigger.cron', 'panel.server', 'mailSecurity.starttls', 'mailSecurity.tls']
    expect(latin.sort()).toEqual(names.sort())
  })

  it('know every key that the pages ask for', () => {
    const missing = sources('src').flatMap((path) =>
      [...readFileSync(path, 'utf8').matchAll(/\bt\(\s*'([\w.-]+)'/g)].map((m) => m[1]!).filter((key) => !EN.has(key)).map((key) => `${path}: ${key}`),
    )
    expect(missing).toEqual([])
  })

  it('count what has two forms wherever they ask for it', () => {
    const plural = [...EN].filter(([, text]) => text.includes(' | ')).map(([key]) => key)
    const uncounted = sources('src').flatMap((path) =>
      [...readFileSync(path, 'utf8').matchAll(/\bt\(\s*'([\w.-]+)'(?:, \{[^}]*\}(,?))?/g)].filter((m) => plural.includes(m[1]!) && !m[2]).map((m) => `${path}: ${m[1]}`),
    )
    expect(uncounted).toEqual([])
  })

  it.each([
    ['severity', types.SEVERITIES],
    ['risk', types.RISK_KINDS],
    ['riskHint', types.RISK_KINDS],
    ['phase', types.PHASES],
    ['disposition', types.DISPOSITIONS],
    ['dispositionHint', types.DISPOSITIONS],
    ['zone', types.ZONES],
    ['role', types.ROLES],
    ['roleHint', types.ROLES],
    ['taskKind', types.TASK_KINDS],
    ['taskKindHint', types.TASK_KINDS],
    ['jobState', types.JOB_STATES],
    ['alertState', types.ALERT_STATES],
    ['event', types.EVENT_KINDS],
    ['alertKind', types.ALERT_KINDS],
    ['findingKind', types.FINDING_KINDS],
    ['findingPhase', types.FINDING_PHASES],
    ['sideEffect', types.SIDE_EFFECTS],
    ['checkCeiling', types.CHECK_CEILINGS],
    ['checkCeilingHint', types.CHECK_CEILINGS],
    ['approvalState', types.APPROVAL_STATES],
    ['approvalHint', types.APPROVAL_STATES],
    ['identity', types.UNTOLD],
    ['notificationState', types.NOTIFICATION_STATES],
  ])('have a word for every %s', (group, list) => {
    for (const word of list) expect(EN.has(`${group}.${word}`), `${group}.${word}`).toBe(true)
  })
})

describe('an objection of the server', () => {
  const about = async (locale: 'zh-CN' | 'en', code: string, message: string) => {
    await loadLocale(locale)
    i18n.global.locale.value = locale as never
    return objection({ code, message })
  }
  it.each([
    ['zh-CN', 'bad-range', '`10.0.0.0/33` has a prefix length that its address family does not have', '“10.0.0.0/33” 不是可探测的地址'],
    ['zh-CN', 'out-of-range', '`11` is not between 0 and 10', '“11” 超出允许范围：0 至 10'],
    ['zh-CN', 'missing', 'a decision `accepted` needs a reason', '必须填写'],
    ['zh-CN', 'never-heard-of', 'something new', 'something new'],
    ['en', 'bad-range', '`x` is not a range', '`x` is not a range'],
  ] as const)('in %s: %s', async (locale, code, message, said) => {
    expect(await about(locale, code, message)).toContain(said)
  })
})
