// Every question the console asks and every change it makes, one function each.
import { call, compact, type Query } from './client'
import type * as T from './types'

const page = <V>(route: string) => (query?: Query, signal?: AbortSignal) => call<T.Page<V>>('get', route, { query, signal })

export const api = {
  session: {
    get: () => call<T.SessionView>('get', '/session'),
    create: (name: string, password: string) => call<T.SessionView>('post', '/session', { body: { name, password } }),
    end: () => call<void>('delete', '/session'),
    password: (current: string, next: string) => call<void>('put', '/session/password', { body: { current, new: next } }),
  },
  system: () => call<T.SystemView>('get', '/system'),
  dashboard: (days: number) => call<T.DashboardView>('get', '/dashboard', { query: { days } }),
  catalog: () => call<T.CatalogEntry[]>('get', '/catalog/services'),
  exposures: {
    list: page<T.ExposureView>('/exposures'),
    byAddress: page<T.AddressGroup>('/exposures/by-address'),
    decide: (id: T.Id, body: T.DispositionInput) =>
      call<T.ExposureView>('put', '/exposures/{id}/disposition', { path: { id }, body }),
    decideAll: (ids: T.Id[], body: T.DispositionInput) =>
      call<{ changed: number }>('post', '/exposures/dispositions', { body: { ids, ...body } }),
    /** Address of the download with the same filters as the list. */
    exportUrl: (query: Query, format: 'csv' | 'jsonl') =>
      `/api/v1/exposures/export?${new URLSearchParams(
        Object.entries(compact({ ...query, format })).map(([k, v]) => [k, String(v)] as [string, string]),
      )}`,
  },
  endpoints: {
    list: page<T.EndpointView>('/endpoints'),
    get: (ip: string, proto: string, port: string | number) =>
      call<T.EndpointDetail>('get', '/endpoints/{ip}/{proto}/{port}', { path: { ip, proto, port } }),
  },
  hosts: (query?: Query, signal?: AbortSignal) => call<T.HostPage>('get', '/hosts', { query, signal }),
  events: page<T.EventView>('/events'),
  tasks: {
    list: () => call<T.TaskView[]>('get', '/tasks'),
    create: (body: T.TaskInput) => call<T.TaskView>('post', '/tasks', { body }),
    update: (id: T.Id, body: T.TaskInput) => call<T.TaskView>('put', '/tasks/{id}', { path: { id }, body }),
    remove: (id: T.Id) => call<void>('delete', '/tasks/{id}', { path: { id } }),
    act: (id: T.Id, verb: 'run' | 'pause' | 'resume' | 'cancel') => call<T.TaskView>('post', `/tasks/{id}/${verb}`, { path: { id } }),
    preset: (name: string) => call<T.TaskView[]>('post', '/tasks/presets/{name}', { path: { name } }),
  },
  runs: {
    list: page<T.RunView>('/runs'),
    act: (id: T.Id, verb: 'cancel' | 'retry') => call<T.RunView>('post', `/runs/{id}/${verb}`, { path: { id } }),
  },
  jobs: page<T.JobView>('/jobs'),
  assets: {
    list: page<T.AssetView>('/assets'),
    create: (body: T.AssetInput) => call<T.AssetView>('post', '/assets', { body }),
    update: (id: T.Id, body: T.AssetInput) => call<T.AssetView>('put', '/assets/{id}', { path: { id }, body }),
    remove: (id: T.Id) => call<void>('delete', '/assets/{id}', { path: { id } }),
    preview: (csv: string) => call<T.ImportPreview>('post', '/assets/import/preview', { text: { type: 'text/csv', content: csv } }),
    import: (csv: string, digest: string) =>
      call<T.ImportResult>('post', '/assets/import', { query: { digest }, text: { type: 'text/csv', content: csv } }),
    exportUrl: '/api/v1/assets/export',
  },
  exclusions: {
    list: page<T.ExclusionView>('/exclusions'),
    create: (body: { range: string; reason: string }) => call<T.ExclusionView>('post', '/exclusions', { body }),
    remove: (id: T.Id) => call<void>('delete', '/exclusions/{id}', { path: { id } }),
  },
  blackouts: {
    list: page<T.BlackoutView>('/blackouts'),
    create: (body: { range: string; window: T.Window; reason: string }) => call<T.BlackoutView>('post', '/blackouts', { body }),
    remove: (id: T.Id) => call<void>('delete', '/blackouts/{id}', { path: { id } }),
  },
  settings: {
    get: () => call<T.Settings>('get', '/settings'),
    put: (body: T.Settings) => call<T.Settings>('put', '/settings', { body }),
  },
  receivers: {
    list: page<T.ReceiverView>('/receivers'),
    create: (body: T.ReceiverInput) => call<T.ReceiverView>('post', '/receivers', { body }),
    update: (id: T.Id, body: T.ReceiverInput) => call<T.ReceiverView>('put', '/receivers/{id}', { path: { id }, body }),
    remove: (id: T.Id) => call<void>('delete', '/receivers/{id}', { path: { id } }),
    test: (id: T.Id) => call<T.TestResult>('post', '/receivers/{id}/test', { path: { id } }),
  },
  alerts: page<T.AlertView>('/alerts'),
  notifications: {
    list: page<T.NotificationView>('/notifications'),
    retry: (id: T.Id) => call<T.NotificationView>('post', '/notifications/{id}/retry', { path: { id } }),
  },
  users: {
    list: page<T.UserView>('/users'),
    create: (body: T.UserInput) => call<T.UserView>('post', '/users', { body }),
    update: (id: T.Id, body: T.UserInput) => call<T.UserView>('put', '/users/{id}', { path: { id }, body }),
    remove: (id: T.Id) => call<void>('delete', '/users/{id}', { path: { id } }),
  },
  tokens: {
    list: page<T.TokenView>('/tokens'),
    create: (body: T.TokenInput) => call<T.TokenView>('post', '/tokens', { body }),
    remove: (id: T.Id) => call<void>('delete', '/tokens/{id}', { path: { id } }),
  },
  audit: page<T.AuditView>('/audit'),
}
