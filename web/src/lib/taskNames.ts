// Tasks of a preset are named by their kind in the reader's language; tasks people made keep the name they were given.
import { computed } from 'vue'
import { useI18n } from 'vue-i18n'
import { api } from '@/api'
import { useAsk } from './query'

export function useTaskNames() {
  const { t } = useI18n()
  const { data } = useAsk('tasks', () => [], () => api.tasks.list())
  const byId = computed(() => new Map((data.value ?? []).map((task) => [task.id, task])))
  return (id: string, name: string | null | undefined) => {
    const task = byId.value.get(id)
    if (task?.preset && task.ports === 'udp') return t('tasks.udpName')
    return task?.preset ? t(`taskKind.${task.kind}`) : (name ?? task?.name ?? '—')
  }
}
