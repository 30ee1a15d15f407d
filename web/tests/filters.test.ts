import { describe, expect, it } from 'vitest'
import { paging, parse, serialise, type Defs } from '@/lib/filters'

const DEFS = {
  search: { type: 'text' },
  phase: { type: 'word', words: ['open', 'closed', 'any'], default: 'open' },
  severity: { type: 'words', words: ['critical', 'high', 'low'] },
  group: { type: 'flag' },
  page: { type: 'int', default: 1 },
} as const satisfies Defs
const PLAIN = { search: '', phase: 'open', severity: [], group: false, page: 1 }

describe('filters in the address', () => {
  it.each([
    ['an empty query is the plain view', {}, PLAIN],
    ['every kind of value is read', { search: '10.0.0.0/8', phase: 'any', severity: 'high,low', group: '1', page: '3' }, { search: '10.0.0.0/8', phase: 'any', severity: ['high', 'low'], group: true, page: 3 }],
    ['repeated keys are one list', { severity: ['high', 'critical'] }, { ...PLAIN, severity: ['high', 'critical'] }],
    ['words that do not exist are dropped', { severity: 'high,urgent', phase: 'ajar' }, { ...PLAIN, severity: ['high'] }],
    ['a page that is no number is the first', { page: '-1' }, PLAIN],
  ])('%s', (_name, query, expected) => {
    expect(parse(DEFS, query as never)).toEqual(expected)
  })

  it('a plain view has a plain address', () => {
    expect(serialise(DEFS, parse(DEFS, {}))).toEqual({})
  })

  it('what is written is read back the same', () => {
    const values = { search: 'redis 中文', phase: 'closed', severity: ['critical'], group: true, page: 12 }
    expect(parse(DEFS, serialise(DEFS, values as never) as never)).toEqual(values)
  })

  it('pages count from one, offsets from zero', () => {
    expect([paging(1), paging(3), paging(0)]).toEqual([
      { offset: 0, limit: 50 },
      { offset: 100, limit: 50 },
      { offset: 0, limit: 50 },
    ])
  })
})
