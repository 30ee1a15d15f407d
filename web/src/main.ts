import { createApp } from 'vue'
import { createPinia } from 'pinia'
import { QueryClient, VueQueryPlugin } from '@tanstack/vue-query'
import 'element-plus/theme-chalk/base.css'
import 'element-plus/theme-chalk/dark/css-vars.css'
import 'element-plus/theme-chalk/el-message.css'
import 'element-plus/theme-chalk/el-message-box.css'
import 'element-plus/theme-chalk/el-button.css'
import 'element-plus/theme-chalk/el-input.css'
import './styles/tokens.css'
import './styles/base.css'
import App from './App.vue'
import { makeRouter } from './router'
import { i18n } from './i18n'
import { usePrefs } from './stores/prefs'
import { useSession } from './stores/session'
import { whenSignedOut } from './api/client'
import { Problem } from './api/problem'

async function start() {
  const app = createApp(App)
  app.use(createPinia())
  const prefs = usePrefs()
  await prefs.setLocale(prefs.locale)

  const session = useSession()
  const router = makeRouter(session)
  const client = new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 5_000,
        refetchOnWindowFocus: true,
        // A refusal does not get better by asking again; an unreachable server may.
        retry: (failures, error) => failures < 2 && (!(error instanceof Problem) || error.status === 0 || error.status === 503),
      },
    },
  })
  whenSignedOut(() => {
    if (!session.view) return
    session.ended()
    client.clear()
    const here = router.currentRoute.value
    if (here.name !== 'sign-in') void router.push({ name: 'sign-in', query: { next: here.fullPath } })
  })
  app.use(VueQueryPlugin, { queryClient: client })
  app.use(i18n)
  app.use(router)
  app.mount('#app')
}

void start()
