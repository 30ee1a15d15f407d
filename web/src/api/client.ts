// One door to the server: base path, CSRF header, problems as exceptions, and a hook for an ended session.
import createClient, { type Middleware } from 'openapi-fetch'
import type { paths } from './schema'
import { problemFrom, unreachable } from './problem'

const BASE = '/api/v1'
type Method = 'get' | 'post' | 'put' | 'delete'
/** Routes of the document below the base, for a method. */
export type Route<M extends Method> = {
  [P in keyof paths]: P extends `${typeof BASE}${infer R}` ? (paths[P][M] extends { responses: unknown } ? R : never) : never
}[keyof paths]
type Operation<M extends Method, R extends string> = `${typeof BASE}${R}` extends keyof paths ? paths[`${typeof BASE}${R}`][M] : never
type Success<O> = O extends { responses: infer A } ? A[Extract<keyof A, 200 | 201>] : never
/** What a route answers when it went well. */
export type Reply<M extends Method, R extends string> = Success<Operation<M, R>> extends { content: { 'application/json': infer J } } ? J : void
type Asked<O> = O extends { parameters: { query?: infer Q } } ? Exclude<Q, undefined> : never
/** Filters a route knows; the server refuses any other, so the compiler does as well. */
export type Query<M extends Method = Method, R extends string = string> = Partial<Record<keyof Asked<Operation<M, R>>, string | number | boolean | null | undefined>>
type Body<O> = O extends { requestBody: { content: { 'application/json': infer J } } } ? J : unknown
export type Loose = Record<string, string | number | boolean | null | undefined>

let onSignedOut: (() => void) | undefined
/** Called when a reply says that there is no session (any more). */
export function whenSignedOut(hook: () => void) {
  onSignedOut = hook
}

const guard: Middleware = {
  onRequest({ request }) {
    // The cookie alone must not be enough to change anything: a foreign page cannot set this header.
    if (request.method !== 'GET') request.headers.set('X-Portreeve-Csrf', '1')
    return request
  },
}

const client = createClient<paths>({ credentials: 'same-origin', fetch: (r: Request) => globalThis.fetch(r) })
client.use(guard)

/** Query without what is unset, so that the server sees only filters that are meant. */
export function compact(query: object | undefined): Record<string, string | number | boolean> {
  const out: Record<string, string | number | boolean> = {}
  for (const [k, v] of Object.entries(query ?? {})) if (v !== undefined && v !== null && v !== '') out[k] = v as string
  return out
}

export interface Options<Q = Loose, B = unknown> {
  query?: Q
  path?: Record<string, string | number>
  body?: B
  /** Send this text as it is, under its own content type, instead of JSON. */
  text?: { type: string; content: string }
  signal?: AbortSignal
}

/** Sends a request and gives the reply's JSON, or throws a [`Problem`]. */
export async function call<M extends Method, R extends Route<M>>(
  method: M,
  route: R,
  options: Options<Query<M, R>, Body<Operation<M, R>>> = {},
): Promise<Reply<M, R>> {
  const init: Record<string, unknown> = { params: { query: compact(options.query), path: options.path }, signal: options.signal }
  if (options.text) {
    init.body = options.text.content
    init.bodySerializer = (text: string) => text
    init.headers = { 'Content-Type': options.text.type }
  } else if (options.body !== undefined) {
    init.body = options.body
  }
  let reply
  try {
    // The pair was checked above; openapi-fetch cannot follow a route that is a variable.
    reply = await (client.request as (m: string, r: string, i: unknown) => Promise<{ data?: unknown; error?: unknown; response: Response }>)(method, BASE + route, init)
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error
    throw unreachable(error)
  }
  const { data, error, response } = reply
  if (response.ok) return data as Reply<M, R>
  const problem = problemFrom(response.status, error)
  if (problem.status === 401 && !(route === '/session' && method === 'post')) onSignedOut?.()
  throw problem
}
