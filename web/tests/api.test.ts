import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { api } from '@/api'
import { compact, whenSignedOut } from '@/api/client'
import { backoff, isStale } from '@/api/live'
import { Problem } from '@/api/problem'
import { messageFor, useForm } from '@/lib/form'

let seen: Request[] = []
function answer(status: number, body?: unknown, type = 'application/json') {
  vi.stubGlobal('fetch', async (request: Request) => {
    seen.push(request)
    return new Response(body === undefined ? null : typeof body === 'string' ? body : JSON.stringify(body), { status, headers: { 'Content-Type': type } })
  })
}
async function failure(promise: Promise<unknown>): Promise<Problem> {
  try {
    await promise
  } catch (error) {
    if (error instanceof Problem) return error
    throw error
  }
  throw new Error('it should have failed')
}
beforeEach(() => (seen = []))
afterEach(() => vi.unstubAllGlobals())

describe('requests', () => {
  it('only changes carry the cross-site mark', async () => {
    answer(200, { items: [], total: 0 })
    await api.exposures.list({})
    await api.exposures.decideAll(['a'], { kind: 'registered', until: '2027-01-01T00:00:00Z' })
    expect(seen.map((r) => r.headers.get('X-Portreeve-Csrf'))).toEqual([null, '1'])
    expect(await seen[1]!.json()).toEqual({ ids: ['a'], kind: 'registered', until: '2027-01-01T00:00:00Z' })
  })

  it('filters that are unset are not sent', async () => {
    answer(200, { items: [], total: 0 })
    await api.exposures.list({ search: '10.0.0.0/8', phase: undefined, owner: '', offset: 0, limit: 50 })
    expect(new URL(seen[0]!.url).search).toBe('?search=10.0.0.0%2F8&offset=0&limit=50')
    expect(compact({ a: 0, b: false, c: null, d: '' })).toEqual({ a: 0, b: false })
  })

  it('the export asks with the same filters as the list', () => {
    expect(api.exposures.exportUrl({ risk: 'high-risk-port,high-risk-service', search: '', phase: 'open' }, 'csv')).toBe(
      '/api/v1/exposures/export?risk=high-risk-port%2Chigh-risk-service&phase=open&format=csv',
    )
  })

  it('an address of version 6 fits into a path', async () => {
    answer(200, { endpoints: [], exposures: [], events: [], host: [] })
    await api.endpoints.get('2001:db8::1', 'tcp', 22)
    expect(decodeURIComponent(new URL(seen[0]!.url).pathname)).toBe('/api/v1/endpoints/2001:db8::1/tcp/22')
  })

  it('a CSV goes as it is', async () => {
    answer(200, { digest: 'd', counts: {}, rows: [] })
    await api.assets.preview('range,name\n10.0.0.0/24,"a, b"\n')
    expect(seen[0]!.headers.get('Content-Type')).toContain('text/csv')
    expect(await seen[0]!.text()).toBe('range,name\n10.0.0.0/24,"a, b"\n')
  })
})

describe('problems', () => {
  it("carry the server's words to the field", async () => {
    answer(422, { status: 422, code: 'bad-input', title: 'Bad input', detail: 'see fields', hint: 'use a CIDR', fields: [{ field: 'target.ranges', code: 'bad-range', message: '`x` is not a range' }] }, 'application/problem+json')
    const problem = await failure(api.tasks.create({} as never))
    expect([problem.status, problem.code, problem.hint]).toEqual([422, 'bad-input', 'use a CIDR'])
    expect(messageFor(problem.byField(), 'ranges')).toBe('`x` is not a range')
    expect(messageFor(problem.byField(), 'target')).toBe('`x` is not a range')
    expect(messageFor(problem.byField(), 'ports')).toBe('')
  })

  it("a proxy's page is a problem too", async () => {
    answer(502, '<h1>Bad gateway</h1>', 'text/html')
    const problem = await failure(api.tasks.list())
    expect([problem.status, problem.code]).toEqual([502, 'unexpected-reply'])
  })

  it('a server that is not there is named so', async () => {
    vi.stubGlobal('fetch', async () => {
      throw new TypeError('fetch failed')
    })
    expect((await failure(api.system())).code).toBe('unreachable')
  })

  it('an ended session is announced, a wrong password is not', async () => {
    const hook = vi.fn()
    whenSignedOut(hook)
    answer(401, { status: 401, code: 'unauthenticated', title: 'x' })
    await failure(api.session.create('a', 'b'))
    expect(hook).not.toHaveBeenCalled()
    await failure(api.tasks.list())
    expect(hook).toHaveBeenCalledOnce()
  })

  it('a form keeps what was typed and shows the objection', async () => {
    const form = useForm(() => ({ range: '' }))
    form.input.range = '10.0.0.0/33'
    answer(422, { status: 422, code: 'bad-input', title: 'x', fields: [{ field: 'range', code: 'bad-range', message: 'too long' }] })
    expect(await form.submit(() => api.assets.create({ range: form.input.range, name: 'x' }))).toBeUndefined()
    expect([form.input.range, form.error('range'), form.busy.value]).toEqual(['10.0.0.0/33', 'too long', false])
    form.reset()
    expect([form.input.range, form.error('range')]).toEqual(['', ''])
  })
})

describe('live updates', () => {
  it.each([
    [['exposures', {}], 'exposures', true],
    [['exposures', {}], 'tasks', false],
    [['dashboard', 14], 'jobs', true],
    [['endpoint', ['10.0.0.7', 'tcp', '22']], 'endpoints', true],
    [['runs', {}], 'jobs', true],
    [['blackouts', []], 'assets', true],
    [['catalog'], 'exposures', false],
  ])('%o is stale after %s: %s', (key, topic, stale) => {
    expect(isStale(key, new Set([topic]))).toBe(stale)
  })

  it('reconnecting backs off to half a minute', () => {
    expect([0, 1, 4, 9].map(backoff)).toEqual([1_000, 2_000, 16_000, 30_000])
  })
})
