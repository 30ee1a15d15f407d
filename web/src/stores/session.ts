// Who is signed in and what they may do.
import { defineStore } from 'pinia'
import { computed, ref } from 'vue'
import { api } from '@/api'
import { Problem } from '@/api/problem'
import type { Permission, SessionView } from '@/api/types'

export const useSession = defineStore('session', () => {
  const view = ref<SessionView | null>(null)
  const known = ref(false)

  /** Asks the server once; afterwards the answer is remembered until signed out. */
  async function load(): Promise<void> {
    if (known.value) return
    try {
      view.value = await api.session.get()
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 401) throw error
      view.value = null
    }
    known.value = true
  }
  async function signIn(name: string, password: string) {
    view.value = await api.session.create(name, password)
    known.value = true
  }
  async function signOut() {
    await api.session.end().catch(() => undefined)
    ended()
  }
  function ended() {
    view.value = null
    known.value = true
  }
  async function refresh() {
    view.value = await api.session.get()
  }

  return {
    view,
    known,
    load,
    signIn,
    signOut,
    ended,
    refresh,
    name: computed(() => view.value?.user?.name ?? view.value?.token?.name ?? ''),
    role: computed(() => view.value?.user?.role ?? view.value?.token?.role ?? null),
    mustChange: computed(() => view.value?.user?.must_change_password ?? false),
    can: (permission: Permission) => view.value?.permissions.includes(permission) ?? false,
  }
})
