// The headlines of the checks that the server knows, an operator's own among them.
import { computed } from 'vue'
import { useQuery } from '@tanstack/vue-query'
import { api } from '@/api'
import { usePrefs } from '@/stores/prefs'

/** A function from a check's id to its headline in the reader's language. */
export function useCheckTitles() {
  const prefs = usePrefs()
  const { data } = useQuery({ queryKey: ['checks'], queryFn: api.checks, staleTime: Infinity })
  const titles = computed(() => new Map((data.value ?? []).map((c) => [c.id, c.title])))
  return (check: string) => titles.value.get(check)?.[prefs.locale === 'en' ? 'en' : 'zh']
}
