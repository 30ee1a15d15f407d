// Queries of pages: the answer stays on screen while the next one is fetched.
import { computed, toValue, type MaybeRefOrGetter } from 'vue'
import { keepPreviousData, useQuery } from '@tanstack/vue-query'
import { asProblem } from '@/api/problem'

/** A query by topic and parameters, with its failure as a problem. */
export function useAsk<T>(topic: string, params: MaybeRefOrGetter<unknown>, ask: (signal: AbortSignal) => Promise<T>, enabled: MaybeRefOrGetter<boolean> = true) {
  const query = useQuery({
    queryKey: [topic, computed(() => toValue(params))],
    queryFn: ({ signal }) => ask(signal),
    placeholderData: keepPreviousData,
    enabled: computed(() => toValue(enabled)),
  })
  return {
    data: query.data,
    loading: query.isFetching,
    problem: computed(() => (query.error.value ? asProblem(query.error.value) : null)),
    refetch: () => void query.refetch(),
  }
}
