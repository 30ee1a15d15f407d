// A form that shows the server's objections at the fields they are about.
import { reactive, ref, toRaw } from 'vue'
import { asProblem, type Problem } from '@/api/problem'
import { objection } from '@/lib/objection'

/** The message for a field: its own name, or the last part of a dotted one (`destination.host`). */
export function messageFor(errors: Record<string, string>, field: string): string {
  if (errors[field]) return errors[field]
  const hit = Object.keys(errors).find((k) => k.endsWith(`.${field}`) || k.replace(/[.[].*$/, '') === field)
  return hit ? errors[hit]! : ''
}

export function useForm<V extends object>(initial: () => V) {
  const input = reactive(initial()) as V
  const errors = ref<Record<string, string>>({})
  const problem = ref<Problem | null>(null)
  const busy = ref(false)

  function reset(next?: V) {
    const fresh = next ?? initial()
    for (const key of Object.keys(input)) delete (input as Record<string, unknown>)[key]
    Object.assign(input, structuredClone(toRaw(fresh)))
    errors.value = {}
    problem.value = null
  }

  /** Runs the change; true when it went through. */
  async function submit<R>(change: () => Promise<R>): Promise<R | undefined> {
    busy.value = true
    errors.value = {}
    problem.value = null
    try {
      return (await change()) ?? (true as R)
    } catch (error) {
      problem.value = asProblem(error)
      errors.value = problem.value.byField(objection)
      return undefined
    } finally {
      busy.value = false
    }
  }

  return { input, errors, problem, busy, reset, submit, error: (field: string) => messageFor(errors.value, field) }
}
