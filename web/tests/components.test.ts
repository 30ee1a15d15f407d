import { mount } from '@vue/test-utils'
import { createPinia, setActivePinia } from 'pinia'
import { beforeEach, describe, expect, it } from 'vitest'
import { createMemoryHistory, createRouter } from 'vue-router'
import { i18n, loadLocale } from '@/i18n'
import { meaning, PLACES } from '@/lib/keys'
import { routes, safeNext } from '@/router'
import { preferredLocale, usePrefs } from '@/stores/prefs'
import AmplificationText from '@/components/AmplificationText.vue'
import DataTable from '@/components/DataTable.vue'
import DispositionTag from '@/components/DispositionTag.vue'
import ErrorState from '@/components/ErrorState.vue'
import FindingDetail from '@/components/FindingDetail.vue'
import FindingTitle from '@/components/FindingTitle.vue'
import PhaseMark from '@/components/PhaseMark.vue'
import SegmentStatus from '@/components/SegmentStatus.vue'
import UnknownBanner from '@/components/UnknownBanner.vue'
import { Problem } from '@/api/problem'

const router = createRouter({ history: createMemoryHistory(), routes })
const global = () => ({ plugins: [i18n] })
beforeEach(async () => {
  setActivePinia(createPinia())
  await usePrefs().setLocale('en')
})

describe('the size of an answer', () => {
  const text = (sizes: object) => mount(AmplificationText as never, { props: { sizes } as never, global: global() }).text()

  it('is told with its ratio in both languages', async () => {
    const sizes = { asked: 66, answered: 3050, ratio: 46.21, reflector: true }
    expect(text(sizes)).toMatch(/^46\.21-fold: 3,050 bytes for 66\s+Reflector$/)
    await usePrefs().setLocale('zh-CN')
    expect(text(sizes)).toMatch(/^46\.21 倍：请求 66 字节，应答 3,050 字节\s+可被用于反射攻击$/)
  })

  it('makes no reflector of an answer that is hardly longer than the question', () => {
    expect(text({ asked: 66, answered: 90, ratio: 1.36, reflector: false })).toBe('1.36-fold: 90 bytes for 66')
  })
})

describe('a finding', () => {
  const finding = {
    id: '0', ip: '10.0.0.7', port: 6379, proto: 'tcp', endpoint: '10.0.0.7:6379/tcp', vantage: 'outside',
    check: 'redis-unauthenticated', kind: 'unauthenticated-access', severity: 'critical', phase: 'present',
    title: { en: 'Redis lets anybody in', zh: 'Redis 未授权访问' }, advice: { en: 'Set a password.', zh: '设置口令。' }, alternative: { en: 'Use ACLs.', zh: '使用 ACL。' },
    evidence: { request: 'redis-info', response: 'redis_version:7.0.15', sha256: 'ab', fields: { databases: '3' } },
    first_seen_at: '2026-11-21T08:00:00.000Z', last_seen_at: '2026-11-21T09:00:00.000Z', gone_at: null, gone_reason: null, checked_at: '2026-11-21T09:00:00.000Z',
    exposure: null, service: null, asset: null, asset_name: null, owner: null,
  }
  const detail = (patch = {}) => mount(FindingDetail as never, { props: { finding: { ...finding, ...patch } } as never, global: global() })
  const title = (patch = {}) => mount(FindingTitle as never, { props: { finding: { ...finding, ...patch } } as never, global: global() })

  it('shows its proof, and advises in both languages', async () => {
    for (const part of ['Set a password.', 'Use ACLs.', 'redis-info', 'databases', 'redis_version:7.0.15']) expect(detail().text()).toContain(part)
    expect(title().text()).toBe('Redis lets anybody in')
    await usePrefs().setLocale('zh-CN')
    expect(detail().text()).toContain('设置口令。')
    expect(title().text()).toBe('Redis 未授权访问')
  })

  it('says why it is gone, and that an answer which could hold secrets is not kept', async () => {
    const gone = detail({ phase: 'gone', gone_at: '2026-11-21T10:00:00.000Z', gone_reason: 'not-proved: it asks for a password', evidence: { ...finding.evidence, response: '' } })
    expect(gone.text()).toContain('the check does not prove it any more: it asks for a password')
    expect(gone.text()).toContain('could hold secrets')
    await usePrefs().setLocale('zh-CN')
    expect(detail({ phase: 'gone', gone_at: '2026-11-21T10:00:00.000Z', gone_reason: 'endpoint-closed' }).text()).toContain('端口已关闭')
  })

  it('of a check that the catalogue lacks is called by its kind', () => {
    expect(title({ title: null }).text()).toBe('Access without credentials (redis-unauthenticated)')
  })
})

describe('the table', () => {
  const columns = [
    { key: 'ip', label: 'Address', sort: 'ip' },
    { key: 'n', label: 'Ports' },
  ]
  const rows = [
    { ip: '10.0.0.1', n: 2 },
    { ip: '10.0.0.2', n: 5 },
  ]
  const table = (props: object) => mount(DataTable as never, { props: { columns, rowKey: (r: { ip: string }) => r.ip, ...props } as never, slots: { ip: ({ row }: { row: { ip: string } }) => row.ip, n: ({ row }: { row: { n: number } }) => String(row.n) } as never, global: global() })

  it('shows a row per item', () => {
    expect(table({ rows }).findAll('tbody tr').map((r) => r.text())).toEqual(['10.0.0.12', '10.0.0.25'])
  })

  it('sorts downwards first, then upwards, and says so', async () => {
    const w = table({ rows, sort: '' })
    await w.find('button.sort').trigger('click')
    expect(w.emitted('update:sort')).toEqual([['-ip']])
    await w.setProps({ sort: '-ip' } as never)
    expect(w.find('th').attributes('aria-sort')).toBe('descending')
    await w.find('button.sort').trigger('click')
    expect(w.emitted('update:sort')?.[1]).toEqual(['ip'])
  })

  it('waits with bones, is empty with words, and fails with a way to try again', async () => {
    expect(table({ rows: undefined }).findAll('.bone').length).toBeGreaterThan(0)
    expect(table({ rows: [], emptyTitle: 'No assets yet' }).text()).toContain('No assets yet')
    const problem = new Problem({ status: 503, code: 'unavailable', title: 'x', detail: 'the database does not answer', hint: 'start it' })
    const w = table({ rows: undefined, problem })
    expect(w.text()).toContain('the database does not answer')
    expect(w.text()).toContain('start it')
  })

  it('keeps the old rows when asking again fails', () => {
    const problem = new Problem({ status: 0, code: 'unreachable', title: 'x' })
    expect(table({ rows, problem }).findAll('tbody tr')).toHaveLength(2)
  })
})

describe('what cannot be observed', () => {
  const dark = { range: '10.0.7.0/24', vantage: 'uplink', since: '2026-11-21T09:30:00.000Z', canaries: 8, silent: 7 }
  const chinese = async (w: { vm: { $nextTick: () => Promise<void> } }) => {
    await loadLocale('zh-CN')
    i18n.global.locale.value = 'zh-CN'
    await w.vm.$nextTick()
  }

  it('is said above everything else, and only then', async () => {
    const banner = (segments: object | undefined) => mount(UnknownBanner, { props: { segments } as never, global: { plugins: [i18n, router] } })
    expect(banner(undefined).text()).toBe('')
    expect(banner({ unknown: 0, listed: [] }).find('[data-unknown-banner]').exists()).toBe(false)
    expect(banner({ unknown: 1, listed: [dark] }).text()).toContain('1 segment cannot be observed')
    const w = banner({ unknown: 12, listed: [dark] })
    expect(w.text()).toContain('12 segments cannot be observed')
    expect(w.text()).toContain('10.0.7.0/24')
    expect(w.text()).toContain('+ 11')
    expect(w.attributes('href')).toContain('/segments?status=unknown')
    expect(w.find('.ranges .chip').attributes('title')).toContain('7 of 8 canaries silent')
    await chinese(w)
    expect(w.text()).toContain('12 个网段当前无法观测')
  })

  it.each([
    ['known', 'Known', '可观测'],
    ['suspect', 'Suspect', '存疑'],
    ['unknown', 'Unknown', '未知'],
  ] as const)('a segment that is %s says so in both languages', async (status, en, zh) => {
    const w = mount(SegmentStatus, { props: { segment: { status, since: dark.since, judged_by: 8, silent: 7 } }, global: global() })
    expect(w.find('.chip').text()).toBe(en)
    expect(w.text().includes('7 of 8')).toBe(status !== 'known')
    await chinese(w)
    expect(w.find('.chip').text()).toBe(zh)
  })

  it('marks an exposure in it, and none elsewhere', () => {
    const mark = (unknownSince: string | null) => mount(PhaseMark, { props: { phase: 'open', unknownSince }, global: global() }).find('[data-unobserved]')
    expect(mark(null).exists()).toBe(false)
    expect(mark(dark.since).text()).toBe('not observable')
  })
})

describe('small things', () => {
  it('a decision past its date is shown as expired', async () => {
    const disposition = { kind: 'registered', effective: 'unreviewed', until: '2020-01-01T00:00:00Z', by: 'alice', note: null, at: null } as const
    const w = mount(DispositionTag, { props: { disposition }, global: global() })
    expect(w.text()).toBe('Registered (expired)')
    await loadLocale('zh-CN')
    i18n.global.locale.value = 'zh-CN'
    await w.vm.$nextTick()
    expect(w.text()).toBe('已报备（已过期）')
  })

  it("an unknown problem falls back to the server's title", () => {
    const problem = new Problem({ status: 418, code: 'teapot', title: 'I am a teapot', detail: 'short and stout' })
    expect(mount(ErrorState, { props: { problem, inline: true }, global: global() }).text()).toContain('I am a teapot')
  })

  it.each([
    [null, ['zh-TW'], 'zh-CN'],
    [null, ['en-GB', 'zh-CN'], 'en'],
    [null, [], 'zh-CN'],
    ['en', ['zh-CN'], 'en'],
    ['fr', ['de'], 'en'],
  ])('stored %s and browser %o speak %s', (stored, languages, expected) => {
    expect(preferredLocale(stored, languages)).toBe(expected)
  })

  it('only our own paths are returned to after signing in', () => {
    for (const bad of ['//evil.example', '/\\evil.example', 'https://evil.example', undefined, '']) expect(safeNext(bad), String(bad)).toBe('/')
    expect(safeNext('/exposures?risk=high-risk-port')).toBe('/exposures?risk=high-risk-port')
  })

  it('every key leads to a page that exists', () => {
    for (const [key, path] of Object.entries(PLACES)) {
      expect(meaning(key, true), key).toEqual({ type: 'go', path })
      expect(router.resolve(path).name, path).not.toBe('not-found')
    }
    expect(meaning('/', false)).toEqual({ type: 'search' })
    expect(meaning('x', true)).toBeUndefined()
  })
})
