// What went wrong, in the server's own words (application/problem+json), or ours when the server could not be reached.
import type { ProblemBody } from './types'

export class Problem extends Error {
  readonly status: number
  readonly code: string
  readonly title: string
  readonly detail: string
  readonly hint: string | null
  readonly fields: { field: string; code: string; message: string }[]

  constructor(body: Pick<ProblemBody, 'status' | 'code' | 'title'> & Partial<ProblemBody>) {
    super(body.detail || body.title)
    this.name = 'Problem'
    this.status = body.status
    this.code = body.code
    this.title = body.title
    this.detail = body.detail ?? ''
    this.hint = body.hint ?? null
    this.fields = body.fields ?? []
  }

  /** The fields' messages by field name, in the words that `say` finds; several on one field are joined. */
  byField(say: (f: { code: string; message: string }) => string = (f) => f.message): Record<string, string> {
    const out: Record<string, string> = {}
    for (const f of this.fields) out[f.field] = out[f.field] ? `${out[f.field]}; ${say(f)}` : say(f)
    return out
  }
}

/** A problem from a reply that is not 2xx; the body may be anything, for example a proxy's page. */
export function problemFrom(status: number, body: unknown): Problem {
  if (body && typeof body === 'object' && 'code' in body && 'title' in body) {
    const b = body as ProblemBody
    return new Problem({ ...b, status: b.status ?? status })
  }
  const detail = typeof body === 'string' ? body.trim().slice(0, 200) : ''
  return new Problem({ status, code: 'unexpected-reply', title: `HTTP ${status}`, detail })
}

/** The request never got a reply. */
export function unreachable(cause: unknown): Problem {
  return new Problem({ status: 0, code: 'unreachable', title: 'unreachable', detail: cause instanceof Error ? cause.message : String(cause) })
}

export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error
  return new Problem({ status: 0, code: 'console', title: 'console', detail: error instanceof Error ? error.message : String(error) })
}
