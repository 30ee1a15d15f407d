import { createRouter, createWebHistory, type Router, type RouteRecordRaw } from 'vue-router'
import type { Permission } from './api/types'
import type { useSession } from './stores/session'

declare module 'vue-router' {
  interface RouteMeta {
    /** Seen without a session. */
    open?: boolean
    /** Needs this, beyond being signed in. */
    permission?: Permission
    /** Key of the page's title. */
    title?: string
  }
}

export const routes: RouteRecordRaw[] = [
  { path: '/sign-in', name: 'sign-in', component: () => import('./pages/SignIn.vue'), meta: { open: true, title: 'signIn.title' } },
  { path: '/password', name: 'password', component: () => import('./pages/ChangePassword.vue'), meta: { title: 'password.title' } },
  {
    path: '/',
    component: () => import('./components/AppShell.vue'),
    children: [
      { path: '', name: 'dashboard', component: () => import('./pages/Dashboard.vue'), meta: { title: 'nav.dashboard' } },
      { path: 'exposures', name: 'exposures', component: () => import('./pages/Exposures.vue'), meta: { title: 'nav.exposures' } },
      { path: 'findings', name: 'findings', component: () => import('./pages/Findings.vue'), meta: { title: 'nav.findings' } },
      { path: 'queue', name: 'queue', component: () => import('./pages/Queue.vue'), meta: { title: 'nav.queue' } },
      { path: 'approvals', name: 'approvals', component: () => import('./pages/Approvals.vue'), meta: { title: 'nav.approvals' } },
      {
        path: 'endpoints/:ip/:proto(tcp|udp)/:port(\\d+)',
        name: 'endpoint',
        component: () => import('./pages/Endpoint.vue'),
        props: true,
        meta: { title: 'endpoint.title' },
      },
      { path: 'hosts', name: 'hosts', component: () => import('./pages/Hosts.vue'), meta: { title: 'nav.hosts' } },
      { path: 'segments', name: 'segments', component: () => import('./pages/Segments.vue'), meta: { title: 'nav.segments' } },
      { path: 'panels', name: 'panels', component: () => import('./pages/Panels.vue'), meta: { title: 'nav.panels' } },
      { path: 'events', name: 'events', component: () => import('./pages/Events.vue'), meta: { title: 'nav.events' } },
      { path: 'alerts', name: 'alerts', component: () => import('./pages/Alerts.vue'), meta: { title: 'nav.alerts' } },
      { path: 'tasks', name: 'tasks', component: () => import('./pages/Tasks.vue'), meta: { title: 'nav.tasks' } },
      { path: 'jobs', name: 'jobs', component: () => import('./pages/Jobs.vue'), meta: { title: 'nav.jobs' } },
      { path: 'assets', name: 'assets', component: () => import('./pages/Assets.vue'), meta: { title: 'nav.assets' } },
      { path: 'settings', name: 'settings', component: () => import('./pages/Settings.vue'), meta: { title: 'nav.settings' } },
      {
        path: 'users',
        name: 'users',
        component: () => import('./pages/Users.vue'),
        meta: { title: 'nav.users', permission: 'manage-users' },
      },
      { path: 'audit', name: 'audit', component: () => import('./pages/Audit.vue'), meta: { title: 'nav.audit', permission: 'read-audit' } },
      { path: 'system', name: 'system', component: () => import('./pages/System.vue'), meta: { title: 'nav.system' } },
      { path: ':rest(.*)*', name: 'not-found', component: () => import('./pages/NotFound.vue'), meta: { title: 'notFound.title' } },
    ],
  },
]

/** Only a path of our own may be returned to after signing in. */
export function safeNext(next: unknown): string {
  return typeof next === 'string' && /^\/(?![/\\])/.test(next) ? next : '/'
}

export function makeRouter(session: ReturnType<typeof useSession>): Router {
  const router = createRouter({ history: createWebHistory(), routes, scrollBehavior: (_to, _from, saved) => saved ?? undefined })
  router.beforeEach(async (to) => {
    if (!session.known) {
      try {
        await session.load()
      } catch {
        // The server is not there; the page that opens shows so, with a retry.
        return true
      }
    }
    if (!session.view) return to.meta.open ? true : { name: 'sign-in', query: to.fullPath === '/' ? {} : { next: to.fullPath } }
    if (session.mustChange) return to.name === 'password' ? true : { name: 'password', query: { next: safeNext(to.query.next ?? to.fullPath) } }
    if (to.name === 'sign-in') return safeNext(to.query.next)
    return true
  })
  return router
}
