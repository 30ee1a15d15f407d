// What the form of an approval can say before the server is asked: whether its start and end make sense together.
// The limits are the server's own (docs/concepts/checks.md), which looks again.

const DAY = 86_400_000
/** Longest time from start to end, in days. */
export const LONGEST_DAYS = 30
/** Furthest start, in days from now. */
export const AHEAD_DAYS = 90

export type SpanObjection = 'start-past' | 'start-far' | 'end-missing' | 'end-past' | 'end-first' | 'too-long'

/** Objections to the span by the field they are about. Without a start it begins now. */
export function spanObjections(start: Date | null, end: Date | null, now: number): { not_before?: SpanObjection; until?: SpanObjection } {
  const out: { not_before?: SpanObjection; until?: SpanObjection } = {}
  const from = start?.getTime() ?? now
  // Whoever picks this minute means now.
  if (from < now - 60_000) out.not_before = 'start-past'
  else if (from > now + AHEAD_DAYS * DAY) out.not_before = 'start-far'
  if (!end) out.until = 'end-missing'
  else if (end.getTime() <= now) out.until = 'end-past'
  else if (end.getTime() <= from) out.until = 'end-first'
  else if (end.getTime() > Math.max(from, now) + LONGEST_DAYS * DAY) out.until = 'too-long'
  return out
}
