import { beforeEach, describe, expect, it } from 'vitest'
import { createPinia, setActivePinia } from 'pinia'
import type { EventView } from '@/api/types'
import { i18n } from '@/i18n'
import { sayEvent } from '@/lib/event'
import { usePrefs } from '@/stores/prefs'

const { t, te } = i18n.global as unknown as { t: (key: string, values?: Record<string, string>) => string; te: (key: string) => boolean }
const titles: Record<string, { en: string; 'zh-CN': string }> = { 'redis-unauthenticated': { en: 'Redis lets anybody in', 'zh-CN': 'Redis 未授权访问' } }
type Locale = 'en' | 'zh-CN'
async function say(locale: Locale, kind: string, detail: object): Promise<string> {
  await usePrefs().setLocale(locale)
  const pairs = sayEvent({ kind, detail } as unknown as EventView, t, te, (check) => titles[check]?.[locale])
  return pairs.map(([name, value]) => `${name} ${value}`.trim()).join(' · ')
}
beforeEach(() => setActivePinia(createPinia()))

const risk = (kind: string, severity: string, entry: string | null = null) => ({ kind, severity, entry })

describe('what an event says', () => {
  it.each([
    ['exposure.risk-changed', { from: risk('exposed-port', 'low'), to: risk('exposed-port', 'critical') }, 'Severity went from Low to Critical (Exposed port)', '风险等级由低变为严重（风险端口）'],
    ['exposure.risk-changed', { from: risk('exposed-port', 'low'), to: risk('high-risk-service', 'high', 'redis') }, 'Risk went from Exposed port (Low) to High-risk service (High)', '风险类别由风险端口（低）变为高危服务（高）'],
    ['exposure.risk-changed', { from: { kind: 'high-risk-port', severity: 'high' }, to: { kind: 'high-risk-port', severity: 'medium' }, because: 'assets changed' }, 'Severity went from High to Medium (High-risk port), because its asset was changed', '风险等级由高变为中（高危端口），原因是所属资产有变更'],
    ['finding.proved', { check: 'redis-unauthenticated', kind: 'unauthenticated-access', severity: 'critical', reason: null }, 'Redis lets anybody in – severity: Critical', 'Redis 未授权访问，等级：严重'],
    ['finding.proved', { check: 'own-check', kind: 'weak-configuration', severity: 'low', reason: null }, 'Weak configuration (own-check) – severity: Low', '配置不安全 (own-check)，等级：低'],
    ['finding.gone', { check: 'redis-unauthenticated', kind: 'unauthenticated-access', severity: 'critical', reason: 'other-service' }, 'No longer: Redis lets anybody in (was Critical) – another service answers now', '已消除：Redis 未授权访问（原等级：严重）'],
    ['finding.gone', { check: 'redis-unauthenticated', kind: 'unauthenticated-access', severity: 'critical', reason: 'not-proved: it asks for a password' }, 'the check does not prove it any more: it asks for a password', ': it asks for a password'],
    ['service.changed', { from: 'http', to: 'redis', identity: 'identified' }, 'from http · to redis · identification identified', '原 http · 现 redis'],
    ['segment.unknown', { canaries: ['10.0.0.7:22/tcp', '10.0.0.8:22/tcp'] }, 'canaries 10.0.0.7:22/tcp, 10.0.0.8:22/tcp', '10.0.0.7:22/tcp, 10.0.0.8:22/tcp'],
    ['some.thing', { what: { kind: 'exposed-port', count: 3 } }, 'what kind Exposed port, count 3', 'what'],
  ])('%s %o is a sentence in both languages', async (kind, detail, en, zh) => {
    for (const [locale, expected] of [['en', en], ['zh-CN', zh]] as const) {
      const said = await say(locale, kind, detail)
      expect(said).toContain(expected)
      expect(said).not.toMatch(/[{}[\]"]|undefined|null/)
    }
  })
})
