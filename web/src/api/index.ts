// Every question the console asks and every change it makes, one function each.
import { call, compact, type Query, type Route } from './client'
import type * as T from './types'

/** A page of views. The document spells the items of each page out and there leaves open whether null members are present. */
const page =
  <V>() =>
  <R extends Route<'get'>>(route: R) =>
  (query?: Query<'get', R>, signal?: AbortSignal) =>
    call('get', route, { query, signal }) as Promise<unknown> as Promise<T.Page<V>>

type Door = { ip: string; proto: string; port: number }
const door = ({ ip, proto, port }: Door) => ({ ip, proto, port })

export const api = {
  session: {
    get: () => call('get', '/session'),
    create: (name: string, password: string) => call('post', '/session', { body: { name, password } }),
    end: () => call('delete', '/session'),
    password: (current: string, next: string) => call('put', '/session/password', { body: { current, new: next } }),
  },
  system: () => call('get', '/system'),
  dashboard: (days: number) => call('get', '/dashboard', { query: { days } }),
  catalog: () => call('get', '/catalog/services'),
  checks: () => call('get', '/catalog/checks'),
  findings: page<T.FindingView>()('/findings'),
  approvals: {
    list: page<T.ApprovalView>()('/approvals'),
    create: (body: T.ApprovalInput) => call('post', '/approvals', { body }),
    grant: (id: T.Id) => call('post', '/approvals/{id}/grant', { path: { id } }),
    revoke: (id: T.Id) => call('post', '/approvals/{id}/revoke', { path: { id } }),
  },
  exposures: {
    list: page<T.ExposureView>()('/exposures'),
    byAddress: page<T.AddressGroup>()('/exposures/by-address'),
    decide: (id: T.Id, body: T.DispositionInput) =>
      call('put', '/exposures/{id}/disposition', { path: { id }, body }),
    decideAll: (ids: T.Id[], body: T.DispositionInput) =>
      call('post', '/exposures/dispositions', { body: { ids, ...body } }),
    /** Address of the download with the same filters as the list. */
    exportUrl: (query: Query<'get', '/exposures/export'>, format: 'csv' | 'jsonl') =>
      `/api/v1/exposures/export?${new URLSearchParams(
        Object.entries(compact({ ...query, format })).map(([k, v]) => [k, String(v)] as [string, string]),
      )}`,
  },
  endpoints: {
    list: page<T.EndpointView>()('/endpoints'),
    get: (ip: string, proto: string, port: string | number) =>
      call('get', '/endpoints/{ip}/{proto}/{port}', { path: { ip, proto, port } }),
    say: (e: Door, text: string) => call('put', '/endpoints/{ip}/{proto}/{port}/note', { path: door(e), body: { text } }),
    unsay: (e: Door) => call('delete', '/endpoints/{ip}/{proto}/{port}/note', { path: door(e) }),
  },
  hosts: (query?: Query<'get', '/hosts'>, signal?: AbortSignal) =>
    call('get', '/hosts', { query, signal }) as Promise<unknown> as Promise<T.Page<T.HostView> & { counts: { online: number; offline: number } }>,
  events: page<T.EventView>()('/events'),
  tasks: {
    list: () => call('get', '/tasks'),
    create: (body: T.TaskInput) => call('post', '/tasks', { body }),
    update: (id: T.Id, body: T.TaskInput) => call('put', '/tasks/{id}', { path: { id }, body }),
    remove: (id: T.Id) => call('delete', '/tasks/{id}', { path: { id } }),
    act: (id: T.Id, verb: 'run' | 'pause' | 'resume' | 'cancel') => call('post', `/tasks/{id}/${verb}` as const, { path: { id } }),
    preset: (preset: string) => call('post', '/tasks/presets/{preset}', { path: { preset } }),
  },
  runs: {
    list: page<T.RunView>()('/runs'),
    act: (id: T.Id, verb: 'cancel' | 'retry') => call('post', `/runs/{id}/${verb}` as const, { path: { id } }),
  },
  jobs: page<T.JobView>()('/jobs'),
  assets: {
    list: page<T.AssetView>()('/assets'),
    create: (body: T.AssetInput) => call('post', '/assets', { body }),
    update: (id: T.Id, body: T.AssetInput) => call('put', '/assets/{id}', { path: { id }, body }),
    remove: (id: T.Id) => call('delete', '/assets/{id}', { path: { id } }),
    preview: (csv: string, authorized?: boolean) =>
      call('post', '/assets/import/preview', { query: { authorized }, text: { type: 'text/csv', content: csv } }),
    import: (csv: string, digest: string, authorized?: boolean) =>
      call('post', '/assets/import', { query: { digest, authorized }, text: { type: 'text/csv', content: csv } }),
    exportUrl: '/api/v1/assets/export',
  },
  exclusions: {
    list: page<T.ExclusionView>()('/exclusions'),
    create: (body: { range: string; reason: string }) => call('post', '/exclusions', { body }),
    remove: (id: T.Id) => call('delete', '/exclusions/{id}', { path: { id } }),
  },
  blackouts: {
    list: page<T.BlackoutView>()('/blackouts'),
    create: (body: { range: string; window: T.Window; reason: string }) => call('post', '/blackouts', { body }),
    remove: (id: T.Id) => call('delete', '/blackouts/{id}', { path: { id } }),
  },
  segments: page<T.SegmentView>()('/segments'),
  canaries: {
    list: page<T.CanaryChoiceView>()('/canaries'),
    create: (body: T.CanaryChoiceInput) => call('post', '/canaries', { body }),
    remove: (id: T.Id) => call('delete', '/canaries/{id}', { path: { id } }),
  },
  settings: {
    get: () => call('get', '/settings'),
    put: (body: T.Settings) => call('put', '/settings', { body }),
  },
  receivers: {
    list: page<T.ReceiverView>()('/receivers'),
    create: (body: T.ReceiverInput) => call('post', '/receivers', { body }),
    update: (id: T.Id, body: T.ReceiverInput) => call('put', '/receivers/{id}', { path: { id }, body }),
    remove: (id: T.Id) => call('delete', '/receivers/{id}', { path: { id } }),
    test: (id: T.Id) => call('post', '/receivers/{id}/test', { path: { id } }),
  },
  alerts: page<T.AlertView>()('/alerts'),
  notifications: {
    list: page<T.NotificationView>()('/notifications'),
    retry: (id: T.Id) => call('post', '/notifications/{id}/retry', { path: { id } }),
  },
  users: {
    list: page<T.UserView>()('/users'),
    create: (body: T.UserInput) => call('post', '/users', { body }),
    update: (id: T.Id, body: T.UserInput) => call('put', '/users/{id}', { path: { id }, body }),
    remove: (id: T.Id) => call('delete', '/users/{id}', { path: { id } }),
  },
  tokens: {
    list: page<T.TokenView>()('/tokens'),
    create: (body: T.TokenInput) => call('post', '/tokens', { body }),
    remove: (id: T.Id) => call('delete', '/tokens/{id}', { path: { id } }),
  },
  audit: page<T.AuditView>()('/audit'),
}
