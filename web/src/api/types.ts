// The shapes that cross the API, in the words of the published contract. Nothing here exists only for the console.

export type Id = string
/** RFC 3339. */
export type Instant = string
/** Milliseconds. */
export type Millis = number

export const ROLES = ['viewer', 'owner', 'operator', 'approver', 'admin', 'auditor'] as const
export type Role = (typeof ROLES)[number]
export type Permission =
  | 'read'
  | 'decide'
  | 'manage-assets'
  | 'manage-tasks'
  | 'manage-alerts'
  | 'manage-settings'
  | 'manage-users'
  | 'read-audit'
  | 'read-metrics'
export const PHASES = ['pending', 'open', 'closed'] as const
export type Phase = (typeof PHASES)[number]
export type State = 'open' | 'closed' | 'filtered' | 'open|filtered'
export const RISK_KINDS = ['high-risk-service', 'high-risk-port', 'exposed-port'] as const
export type RiskKind = (typeof RISK_KINDS)[number]
export const SEVERITIES = ['critical', 'high', 'medium', 'low'] as const
export type Severity = (typeof SEVERITIES)[number]
export const DISPOSITIONS = ['unreviewed', 'registered', 'accepted', 'false-positive'] as const
export type DispositionKind = (typeof DISPOSITIONS)[number]
export type Liveness = 'online' | 'offline'
export const ZONES = ['dmz', 'transit', 'low', 'medium', 'high'] as const
export type Zone = (typeof ZONES)[number]
export type Proto = 'tcp' | 'udp'
export const TASK_KINDS = [
  'liveness',
  'full-online',
  'high-risk-online',
  'service-identification',
  'open-recheck',
  'panels',
  'high-risk-offline',
  'full-offline',
  'full-all',
] as const
export type TaskKind = (typeof TASK_KINDS)[number]
export type TaskState = 'active' | 'paused' | 'finished'
export type TaskStatus = 'ok' | 'running' | 'overdue' | 'never-run' | 'failing' | 'paused' | 'finished'
export type RunState = 'running' | 'succeeded' | 'failed' | 'cancelled'
export const JOB_STATES = ['queued', 'leased', 'done', 'failed', 'cancelled'] as const
export type JobState = (typeof JOB_STATES)[number]
export const ALERT_STATES = ['pending', 'notified', 'suppressed'] as const
export type AlertState = (typeof ALERT_STATES)[number]
export const NOTIFICATION_STATES = ['queued', 'sending', 'sent', 'failed'] as const
export type NotificationState = (typeof NOTIFICATION_STATES)[number]
export type Language = 'zh-CN' | 'en'

export interface Page<T> {
  items: T[]
  total: number
}

export interface SessionView {
  user?: { id: Id; name: string; role: Role; must_change_password: boolean } | null
  token?: { name: string; role: Role } | null
  permissions: Permission[]
  version: string
}

export interface SystemView {
  version: string
  database: 'sqlite' | 'postgresql'
  vantage: string
  node: { name: string; method: string; note: string | null; slots: number; running_jobs: number; last_contact_at: Instant | null } | null
  started_at: Instant
  scope: { ranges: string[]; addresses: string | number }
}

export interface Tls {
  version: string
  alpn?: string | null
  subject: string
  issuer: string
  names?: string[]
  not_before: Instant
  not_after: Instant
  self_signed: boolean
  sha256: string
}

export interface Service {
  name: string
  product?: string | null
  version?: string | null
  tls?: Tls | null
}

export interface Panel {
  scheme: string
  status: number
  title?: string | null
  server?: string | null
  product?: string | null
  location?: string | null
}

export type RiskReason =
  | { type: 'reachable'; vantage: string }
  | { type: 'port-listed'; entry: string; port: number }
  | { type: 'identity-listed'; entry: string; service: string }
  | { type: 'business-weight'; weight: number }
  | { type: 'pseudo-open' }

export interface Risk {
  kind: RiskKind
  severity: Severity
  entry: string | null
  reasons: RiskReason[]
}

export interface DispositionView {
  kind: DispositionKind
  effective: DispositionKind
  until: Instant | null
  by: string | null
  note: string | null
  at: Instant | null
}

export interface ExposureView {
  id: Id
  ip: string
  port: number
  proto: Proto
  endpoint: string
  vantage: string
  phase: Phase
  risk: Risk
  service: Service | null
  asset: Id | null
  asset_name: string | null
  owner: string | null
  zone: Zone | null
  disposition: DispositionView
  opening: number
  first_opened_at: Instant
  opened_at: Instant
  closed_at: Instant | null
  close_reason: string | null
  detection_bound_ms: Millis | null
  last_observed_at: Instant | null
  updated_at: Instant
}

export interface EndpointView {
  ip: string
  port: number
  proto: Proto
  endpoint: string
  vantage: string
  phase: Phase
  state: State
  reason: string
  first_open_at: Instant
  opened_at: Instant | null
  closed_at: Instant | null
  last_open_at: Instant
  last_not_open_at: Instant | null
  last_observed_at: Instant
  openings: number
  pseudo_open: boolean
  identity: string | null
  service: Service | null
  banner: string | null
  evidence: string | null
  identified_at: Instant | null
  panel: Panel | null
  panel_at: Instant | null
  detection_bound_ms: Millis | null
  exposure: Id | null
}

export interface HostView {
  ip: string
  vantage: string
  liveness: Liveness
  reason: string
  since: Instant
  last_online_at: Instant | null
  last_observed_at: Instant
  pseudo_open_ports: number | null
  asset: Id | null
  asset_name: string | null
  owner: string | null
  open_endpoints: number
}

export interface HostPage extends Page<HostView> {
  counts: { online: number; offline: number }
}

export interface EventView {
  id: Id
  kind: string
  ip: string
  port?: number | null
  proto?: Proto | null
  endpoint?: string | null
  vantage: string
  exposure?: Id | null
  happened_after: Instant | null
  happened_at: Instant
  observed_at: Instant
  recorded_at: Instant
  reason: string | null
  detail: Record<string, unknown> | null
}

export interface AddressGroup {
  ip: string
  vantage: string
  liveness: Liveness | null
  asset: Id | null
  asset_name: string | null
  owner: string | null
  open_count: number
  worst_severity: Severity
  worst_risk: RiskKind
  unreviewed: number
  exposures: ExposureView[]
}

export interface EndpointDetail {
  endpoints: EndpointView[]
  exposures: ExposureView[]
  events: EventView[]
  host: HostView[]
}

export interface DispositionInput {
  kind: DispositionKind
  until?: Instant | null
  note?: string | null
}

export type Trigger = { type: 'interval'; every: Millis } | { type: 'cron'; expression: string } | { type: 'once' }
export type TaskTarget = { type: 'all-assets' } | { type: 'ranges'; ranges: string[] } | { type: 'tags'; tags: string[] }

export interface TaskInput {
  kind: TaskKind
  name: string
  target: TaskTarget
  ports?: string | null
  trigger: Trigger
  rate_pps?: number | null
  retries?: number
}

export interface RunView {
  id: Id
  task: Id
  task_name: string
  cause: 'schedule' | 'manual' | 'retry'
  state: RunState
  started_at: Instant
  finished_at: Instant | null
  jobs_total: number
  jobs_done: number
  jobs_failed: number
  probes_sent: number
  probes_total: number
  error: string | null
}

export interface TaskLight {
  id: Id
  kind: TaskKind
  number: number
  name: string
  status: TaskStatus
  state: TaskState
  last_fired_at: Instant | null
  next_due_at: Instant | null
}

export interface TaskView extends TaskLight {
  target: TaskTarget
  ports: string | null
  trigger: Trigger
  rate_pps: number | null
  retries: number
  preset: string | null
  consumes: string
  produces: string[]
  created_at: Instant
  last_run: RunView | null
  notes: string[]
}

export interface JobView {
  id: Id
  task: Id
  task_name: string
  kind: TaskKind
  run: Id | null
  work: string
  summary: string
  state: JobState
  priority: number
  attempts: number
  max_attempts: number
  node: string | null
  lease_until: Instant | null
  probes_sent: number
  probes_total: number
  error: string | null
  created_at: Instant
  started_at: Instant | null
  finished_at: Instant | null
  not_before: Instant
}

export interface AssetInput {
  range: string
  name: string
  owner?: string | null
  zone?: Zone
  weight?: number
  tags?: string[]
  observe_until?: Instant | null
  rate_pps?: number | null
  per_target_pps?: number | null
  authorized?: boolean
}

export interface AssetView {
  id: Id
  range: string
  name: string
  owner: string | null
  zone: Zone
  weight: number
  tags: string[]
  observe_until: Instant | null
  rate_pps: number | null
  per_target_pps: number | null
  created_at: Instant
  updated_at: Instant
  addresses: string
  observing: boolean
}

export type ImportAction = 'create' | 'update' | 'unchanged' | 'error'
export interface ImportRow {
  line: number
  action: ImportAction
  range: string
  name: string
  changes: { field: string; from: unknown; to: unknown }[]
  errors: { field: string; message: string }[]
}
export interface ImportPreview {
  digest: string
  counts: Record<ImportAction, number>
  rows: ImportRow[]
}
export interface ImportResult {
  created: number
  updated: number
  deleted: number
  unchanged: number
}

export interface ExclusionView {
  id: Id
  range: string
  reason: string
  created_at: Instant
}

export type Window =
  | { type: 'once'; from: Instant; until: Instant }
  | { type: 'weekly'; days: number[]; start_minute: number; end_minute: number }

export interface BlackoutView {
  id: Id
  range: string
  window: Window
  reason: string
  created_at: Instant
  active_now: boolean
}

export interface Settings {
  pace: { node_pps: number; per_network_pps: number; per_target_pps: number }
  hysteresis: { open_count: number; refused_count: number; refused_span: Millis; silent_count: number; silent_span: Millis }
  alerts: {
    group_wait: Millis
    group_interval: Millis
    storm_groups: number
    max_attempts: number
    observe: Millis
    min_severity: Severity
  }
  retention: { jobs: Millis; coverage: Millis }
}

export interface MailDestination {
  type: 'mail'
  host: string
  port: number
  security: 'none' | 'starttls' | 'tls'
  username?: string | null
  password?: string | null
  from: string
  to: string[]
}
export interface WebhookDestination {
  type: 'webhook'
  url: string
  secret?: string | null
  headers?: Record<string, string>
}
export type Destination = MailDestination | WebhookDestination

export interface ReceiverInput {
  name: string
  enabled: boolean
  destination: Destination
  language: Language
  min_severity: Severity
  send_closed: boolean
  owners: string[]
}
export interface ReceiverView extends ReceiverInput {
  id: Id
  created_at: Instant
  password_set?: boolean
  secret_set?: boolean
}
export interface TestResult {
  ok: boolean
  receipt?: string | null
  error?: string | null
  hint?: string | null
}

export interface AlertView {
  id: Id
  kind: 'opened' | 'closed' | 'pseudo-open'
  state: AlertState
  suppressed_by: string | null
  exposure: Id
  opening: number
  endpoint: string
  risk: RiskKind
  severity: Severity
  entry: string | null
  service: string | null
  asset: Id | null
  asset_name: string | null
  owner: string | null
  reason: string | null
  observed_at: Instant
  created_at: Instant
}

export interface NotificationView {
  id: Id
  receiver: Id
  receiver_name: string
  group: string
  digest: boolean
  alerts: AlertView[]
  state: NotificationState
  attempts: number
  next_try_at: Instant | null
  receipt: string | null
  error: string | null
  created_at: Instant
  sent_at: Instant | null
}

export interface DashboardView {
  exposures: {
    open: number
    by_risk: Partial<Record<RiskKind, number>>
    by_severity: Partial<Record<Severity, number>>
    unreviewed_high_risk: number
    opened_24h: number
    closed_24h: number
  }
  hosts: { online: number; offline: number }
  endpoints: { open: number; pending: number }
  trend: { day: string; opened: number; closed: number }[]
  detection: { samples: number; median_bound_ms: Millis | null; max_bound_ms: Millis | null }
  tasks: TaskLight[]
  alerts: { pending: number; failed_notifications: number }
  top_addresses: { ip: string; open_count: number; worst_severity: Severity; owner: string | null }[]
}

export interface UserInput {
  name: string
  role: Role
  password?: string | null
  disabled?: boolean
}
export interface UserView {
  id: Id
  name: string
  role: Role
  disabled: boolean
  must_change_password: boolean
  created_at: Instant
  last_seen_at: Instant | null
  initial_password?: string | null
}
export interface TokenInput {
  name: string
  role: Role
  expires_at?: Instant | null
}
export interface TokenView {
  id: Id
  name: string
  role: Role
  created_at: Instant
  created_by: string
  expires_at: Instant | null
  last_used_at: Instant | null
  revoked_at: Instant | null
  secret?: string | null
}

export interface AuditView {
  id: Id
  at: Instant
  actor: string
  from: string | null
  action: string
  subject: string
  result: string
  detail: unknown
}

export interface CatalogEntry {
  id: string
  name: string
  bulletin: number | null
  ports: number[]
  udp_ports: number[]
  categories: string[]
  advice: { en: string; zh: string }
  alternative?: { en: string; zh: string } | null
  source: string
}

export interface ProblemBody {
  status: number
  code: string
  title: string
  detail?: string | null
  hint?: string | null
  fields?: { field: string; code: string; message: string }[] | null
}
