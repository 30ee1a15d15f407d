// One door to the server: base path, CSRF header, problems as exceptions, and a hook for an ended session.
import createClient, { type Middleware } from 'openapi-fetch'
import { problemFrom, unreachable } from './problem'

type Method = 'get' | 'post' | 'put' | 'delete'
export type Query = Record<string, string | number | boolean | null | undefined>

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

// eslint-disable-next-line @typescript-eslint/no-explicit-any
const client = createClient<any>({ baseUrl: '/api/v1', credentials: 'same-origin', fetch: (r: Request) => globalThis.fetch(r) })
client.use(guard)

/** Query without what is unset, so that the server sees only filters that are meant. */
export function compact(query: Query | undefined): Record<string, string | number | boolean> {
  const out: Record<string, string | number | boolean> = {}
  for (const [k, v] of Object.entries(query ?? {})) if (v !== undefined && v !== null && v !== '') out[k] = v
  return out
}

export interface Options {
  query?: Query
  path?: Record<string, string | number>
  body?: unknown
  /** Send this text as it is, under its own content type, instead of JSON. */
  text?: { type: string; content: string }
  signal?: AbortSignal
}

/** Sends a request and gives the reply's JSON, or throws a [`Problem`]. */
export async function call<T>(method: Method, route: string, options: Options = {}): Promise<T> {
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
    // eslint-disable-next-line @typescript-eslint/no-explicit-any
    reply = await (client as any).request(method, route, init)
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error
    throw unreachable(error)
  }
  const { data, error, response } = reply
  if (response.ok) return data as T
  const problem = problemFrom(response.status, error)
  if (problem.status === 401 && route !== '/session') onSignedOut?.()
  throw problem
}
