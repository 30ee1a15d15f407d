// Every filter, page and sort lives in the URL, so that a view can be bookmarked, shared and walked back to.
import { computed } from 'vue'
import { useRoute, useRouter, type LocationQuery, type LocationQueryRaw } from 'vue-router'

export type Def =
  | { type: 'text'; default?: string }
  | { type: 'word'; words: readonly string[]; default?: string }
  | { type: 'words'; words: readonly string[]; default?: readonly string[] }
  | { type: 'int'; default: number }
  | { type: 'flag' }
export type Defs = Record<string, Def>
type ValueOf<D extends Def> = D extends { type: 'int' } ? number : D extends { type: 'flag' } ? boolean : D extends { type: 'words' } ? string[] : string
export type Values<D extends Defs> = { [K in keyof D]: ValueOf<D[K]> }

function fallback(def: Def): string | string[] | number | boolean {
  switch (def.type) {
    case 'int':
      return def.default
    case 'flag':
      return false
    case 'words':
      return [...(def.default ?? [])]
    default:
      return def.default ?? ''
  }
}

/** Values of a query; what is missing or makes no sense falls back to its default. */
export function parse<D extends Defs>(defs: D, query: LocationQuery): Values<D> {
  const out: Record<string, unknown> = {}
  for (const [key, def] of Object.entries(defs)) {
    const raw = query[key]
    const text = Array.isArray(raw) ? raw.filter(Boolean).join(',') : raw
    if (text === undefined || text === null) {
      out[key] = fallback(def)
    } else if (def.type === 'int') {
      out[key] = /^\d{1,9}$/.test(text) ? Number(text) : def.default
    } else if (def.type === 'flag') {
      out[key] = text === '1'
    } else if (def.type === 'words') {
      out[key] = text.split(',').filter((w) => def.words.includes(w))
    } else if (def.type === 'word') {
      out[key] = text === '' || def.words.includes(text) ? text : fallback(def)
    } else {
      out[key] = text
    }
  }
  return out as Values<D>
}

/** The query of some values; defaults are left out, so that a plain view has a plain address. */
export function serialise<D extends Defs>(defs: D, values: Values<D>): LocationQueryRaw {
  const out: LocationQueryRaw = {}
  for (const [key, def] of Object.entries(defs)) {
    const value = values[key as keyof D] as unknown
    const plain = fallback(def)
    if (Array.isArray(value)) {
      if (value.join(',') !== (plain as string[]).join(',')) out[key] = value.join(',')
    } else if (value !== plain && value !== undefined && value !== null) {
      out[key] = typeof value === 'boolean' ? (value ? '1' : undefined) : String(value)
    }
  }
  return out
}

/** The filters of the present page. Changing anything but the page number goes back to the first page. */
export function useFilters<D extends Defs>(defs: D) {
  const route = useRoute()
  const router = useRouter()
  const values = computed(() => parse(defs, route.query))
  function set(patch: Partial<Values<D>>) {
    const next = { ...values.value, ...patch } as Values<D>
    if ('page' in defs && !('page' in patch)) (next as Record<string, unknown>).page = 1
    // Keys that this page does not define (for example a tab) stay.
    const others = Object.fromEntries(Object.entries(route.query).filter(([k]) => !(k in defs)))
    void router.replace({ query: { ...others, ...serialise(defs, next) } })
  }
  /** A two-way ref of one filter, for v-model. */
  function bind<K extends keyof D & string>(key: K) {
    return computed({
      get: () => values.value[key],
      set: (v: Values<D>[K] | null | undefined) => set({ [key]: v ?? fallback(defs[key]!) } as Partial<Values<D>>),
    })
  }
  const active = computed(() => Object.keys(serialise(defs, { ...values.value })).some((k) => !['page', 'sort', 'tab', 'group', 'limit'].includes(k)))
  function reset() {
    const kept = Object.fromEntries(Object.entries(route.query).filter(([k]) => ['sort', 'tab', 'group'].includes(k)))
    void router.replace({ query: kept })
  }
  return { values, set, bind, reset, active }
}

export const PAGE_SIZE = 50
/** Offset and limit of a page number that counts from 1. */
export function paging(page: number, size = PAGE_SIZE): { offset: number; limit: number } {
  return { offset: (Math.max(1, page) - 1) * size, limit: size }
}
