// The names the pages use for what crosses the API. Every shape comes from the published document through the generated
// `schema.d.ts`; the lists give a vocabulary its order on screen, and the compiler holds them to the document.
import type { components } from './schema'

type S = components['schemas']

export type Id = string
export type Role = S['Role']
export type Permission = S['Permission']
export type Phase = S['Phase']
export type RiskKind = S['RiskKind']
export type Severity = S['Severity']
export type DispositionKind = S['DispositionKind']
export type Zone = S['Zone']
export type TaskKind = S['TaskKind']
export type TaskStatus = S['TaskStatusWord']
export type Language = S['Language']
export type ImportAction = S['ImportAction']
export type CheckCeiling = S['CheckCeiling']
export type FindingKind = S['FindingKind']
export type Identity = S['Identity']

/** A list that must name every word of a vocabulary, in the order people read it. */
const all =
  <W extends string>() =>
  <const L extends readonly W[]>(list: Exclude<W, L[number]> extends never ? L : never): readonly W[] =>
    list

export const ROLES = all<Role>()(['viewer', 'owner', 'operator', 'approver', 'admin', 'auditor'])
export const PHASES = all<Phase>()(['pending', 'open', 'closed'])
export const RISK_KINDS = all<RiskKind>()(['high-risk-service', 'high-risk-port', 'exposed-port'])
export const SEVERITIES = all<Severity>()(['critical', 'high', 'medium', 'low'])
export const DISPOSITIONS = all<DispositionKind>()(['unreviewed', 'registered', 'accepted', 'false-positive'])
export const ZONES = all<Zone>()(['dmz', 'transit', 'low', 'medium', 'high'])
export const TASK_KINDS = all<TaskKind>()([
  'liveness',
  'full-online',
  'high-risk-online',
  'service-identification',
  'open-recheck',
  'panels',
  'high-risk-offline',
  'full-offline',
  'full-all',
])
export const JOB_STATES = all<S['JobState']>()(['queued', 'leased', 'done', 'failed', 'cancelled'])
export const EVENT_KINDS = all<S['EventKind']>()([
  'endpoint.pending',
  'endpoint.opened',
  'endpoint.reopened',
  'endpoint.closed',
  'endpoint.vanished',
  'service.changed',
  'panel.changed',
  'finding.proved',
  'finding.gone',
  'host.online',
  'host.offline',
  'host.pseudo-open',
  'exposure.risk-changed',
  'exposure.disposition-changed',
  'segment.unknown',
  'segment.known',
])
export const CHECK_CEILINGS = all<CheckCeiling>()(['none', 'passive', 'benign', 'session', 'intrusive'])
export const SIDE_EFFECTS = all<S['SideEffect']>()(['passive', 'benign', 'session', 'intrusive'])
export const FINDING_KINDS = all<FindingKind>()(['unauthenticated-access', 'default-credential', 'weak-configuration', 'weak-tls', 'amplification'])
export const FINDING_PHASES = all<S['FindingPhase']>()(['present', 'gone'])
export const ALERT_KINDS = all<S['AlertKind']>()(['opened', 'finding-proved', 'closed', 'pseudo-open', 'segment-unknown', 'segment-known'])
export const APPROVAL_STATES = all<S['ApprovalState']>()(['requested', 'active', 'ahead', 'powerless', 'ended', 'declined', 'revoked'])
/** How an identification ends that leaves the question to a person. */
export const UNTOLD = ['silent', 'closes-at-once', 'closes-on-data', 'refuses-us'] as const satisfies readonly Identity[]
export const SEGMENT_STATUSES = all<S['SegmentStatus']>()(['unknown', 'suspect', 'known'])
export const CANARY_ROLES = all<S['CanaryRole']>()(['named', 'never'])
export const ALERT_STATES = all<S['AlertState']>()(['pending', 'notified', 'suppressed'])
export const NOTIFICATION_STATES = all<S['NotificationState']>()(['queued', 'sending', 'sent', 'failed'])

export interface Page<T> {
  items: T[]
  total: number
}

export type SessionView = S['SessionView']
export type Service = S['ServiceView']
export type Amplification = S['AmplificationView']
export type RiskReason = S['RiskReasonView']
export type DispositionView = S['DispositionView']
export type DispositionInput = S['DispositionInput']
export type ExposureView = S['ExposureView']
export type EndpointView = S['EndpointView']
export type HostView = S['HostView']
export type EventView = S['EventView']
export type AddressGroup = S['AddressGroupView']
export type Trigger = S['TriggerBody']
export type TaskTarget = S['TaskTargetBody']
export type TaskInput = S['TaskInput']
export type TaskView = S['TaskView']
export type RunView = S['RunView']
export type JobView = S['JobView']
export type AssetInput = S['AssetInput']
export type AssetView = S['AssetView']
export type ImportPreview = S['ImportPreview']
export type ExclusionView = S['ExclusionView']
export type BlackoutView = S['BlackoutView']
export type Window = S['WindowBody']
export type Settings = S['SettingsView']
export type Destination = S['DestinationInput']
export type ReceiverInput = S['ReceiverInput']
export type ReceiverView = S['ReceiverView']
export type TestResult = S['ReceiverTestView']
export type AlertView = S['AlertView']
export type NotificationView = S['NotificationView']
export type UserInput = S['UserInput']
export type UserView = S['UserView']
export type TokenInput = S['TokenInput']
export type TokenView = S['TokenView']
export type AuditView = S['AuditView']
export type SegmentView = S['SegmentView']
export type CanaryView = S['CanaryView']
export type CanaryChoiceInput = S['CanaryChoiceInput']
export type CanaryChoiceView = S['CanaryChoiceView']
export type FindingView = S['FindingView']
export type CheckView = S['CheckView']
export type ApprovalInput = S['ApprovalInput']
export type ApprovalView = S['ApprovalView']
export type ProblemBody = S['Problem']
