//! The first step: everything the first release keeps.
//!
//! Instants are epoch milliseconds, addresses 16 bytes, enums their words, structured parts JSON text. What is filtered or
//! sorted has a column of its own; the rest stays in the JSON.

use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, SchemaManager};

pub(super) struct Step;

impl MigrationName for Step {
    fn name(&self) -> &str {
        "m20261121_000001_first"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Step {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        super::apply(manager, STATEMENTS).await
    }
    /// A process killed half-way leaves nothing behind, on SQLite either.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

const STATEMENTS: &[&str] = &[
    "CREATE TABLE settings (id BIGINT NOT NULL PRIMARY KEY, body TEXT NOT NULL)",
    // What is owned and may be probed.
    "CREATE TABLE assets (
        id {uuid} NOT NULL PRIMARY KEY, ip_first {blob} NOT NULL, ip_last {blob} NOT NULL, name TEXT NOT NULL, owner TEXT,
        zone TEXT NOT NULL, weight BIGINT NOT NULL, tags TEXT NOT NULL, observe_until BIGINT, rate_pps BIGINT,
        per_target_pps BIGINT, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL)",
    "CREATE UNIQUE INDEX assets_range ON assets (ip_first, ip_last)",
    "CREATE TABLE exclusions (
        id {uuid} NOT NULL PRIMARY KEY, ip_first {blob} NOT NULL, ip_last {blob} NOT NULL, reason TEXT NOT NULL,
        created_at BIGINT NOT NULL)",
    "CREATE UNIQUE INDEX exclusions_range ON exclusions (ip_first, ip_last)",
    "CREATE TABLE blackouts (
        id {uuid} NOT NULL PRIMARY KEY, ip_first {blob} NOT NULL, ip_last {blob} NOT NULL, time_window TEXT NOT NULL,
        reason TEXT NOT NULL, created_at BIGINT NOT NULL)",
    // Work. `once` repeats what `trigger_spec` says, for the end of a run.
    "CREATE TABLE tasks (
        id {uuid} NOT NULL PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, target TEXT NOT NULL, ports TEXT,
        trigger_spec TEXT NOT NULL, once BOOLEAN NOT NULL, rate_pps BIGINT, retries BIGINT NOT NULL, state TEXT NOT NULL,
        preset TEXT, created_at BIGINT NOT NULL, last_fired_at BIGINT, next_due_at BIGINT, last_run {uuid})",
    "CREATE TABLE runs (
        id {uuid} NOT NULL PRIMARY KEY, task {uuid} NOT NULL REFERENCES tasks (id) ON DELETE CASCADE, cause TEXT NOT NULL,
        state TEXT NOT NULL, started_at BIGINT NOT NULL, finished_at BIGINT, jobs_total BIGINT NOT NULL,
        jobs_done BIGINT NOT NULL, jobs_failed BIGINT NOT NULL, probes_sent BIGINT NOT NULL, error TEXT)",
    "CREATE INDEX runs_task ON runs (task, started_at)",
    "CREATE INDEX runs_state ON runs (state)",
    "CREATE INDEX runs_started ON runs (started_at)",
    // A job outside a run is a follow-up. `incarnation` is the start of the node that holds the lease.
    "CREATE TABLE jobs (
        id {uuid} NOT NULL PRIMARY KEY, task {uuid} NOT NULL, kind TEXT NOT NULL,
        run {uuid} REFERENCES runs (id) ON DELETE CASCADE, work TEXT NOT NULL, state TEXT NOT NULL, priority BIGINT NOT NULL,
        rate_pps BIGINT, retries BIGINT NOT NULL, not_before BIGINT NOT NULL, attempts BIGINT NOT NULL,
        max_attempts BIGINT NOT NULL, fencing BIGINT NOT NULL, node TEXT, incarnation BIGINT, lease_until BIGINT,
        probes_sent BIGINT NOT NULL, probes_total BIGINT NOT NULL, error TEXT, created_at BIGINT NOT NULL, started_at BIGINT,
        finished_at BIGINT)",
    "CREATE INDEX jobs_queue ON jobs (state, task, priority, created_at, id)",
    "CREATE INDEX jobs_run ON jobs (run)",
    "CREATE INDEX jobs_task ON jobs (task, created_at)",
    "CREATE INDEX jobs_created ON jobs (created_at)",
    // Which reports have been recorded, so that a repeated one changes nothing.
    "CREATE TABLE reports (
        job {uuid} NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, fencing BIGINT NOT NULL, sequence BIGINT NOT NULL,
        recorded_at BIGINT NOT NULL, PRIMARY KEY (job, fencing, sequence))",
    // Ground covered by a job. `ground` is a hash of where and which ports; a later coverage of the same ground sets
    // `replaced_at`.
    "CREATE TABLE coverage (
        job {uuid} NOT NULL, fencing BIGINT NOT NULL, vantage TEXT NOT NULL, node TEXT NOT NULL, targets TEXT NOT NULL,
        ports TEXT NOT NULL, ground BIGINT NOT NULL, ip_first {blob} NOT NULL, ip_last {blob} NOT NULL,
        started_at BIGINT NOT NULL, finished_at BIGINT NOT NULL, replaced_at BIGINT, PRIMARY KEY (job, fencing))",
    "CREATE INDEX coverage_latest ON coverage (vantage, started_at) WHERE replaced_at IS NULL",
    "CREATE INDEX coverage_ground ON coverage (ground) WHERE replaced_at IS NULL",
    "CREATE INDEX coverage_finished ON coverage (finished_at)",
    // What was seen. `words` is lower-case text for searches.
    "CREATE TABLE port_states (
        ip {blob} NOT NULL, port BIGINT NOT NULL, proto TEXT NOT NULL, vantage TEXT NOT NULL, phase TEXT NOT NULL,
        first_open_at BIGINT NOT NULL, opened_at BIGINT, closed_at BIGINT, last_open_at BIGINT NOT NULL,
        last_not_open_at BIGINT, last_observed_at BIGINT NOT NULL, last_state TEXT NOT NULL, last_reason TEXT NOT NULL,
        streak BIGINT NOT NULL, streak_since BIGINT NOT NULL, openings BIGINT NOT NULL, pseudo_open BOOLEAN NOT NULL,
        identity TEXT, service_name TEXT, service TEXT, banner TEXT, evidence TEXT, identified_at BIGINT, panel TEXT,
        panel_at BIGINT, words TEXT NOT NULL, PRIMARY KEY (ip, port, proto, vantage))",
    "CREATE INDEX port_states_phase ON port_states (phase, ip)",
    "CREATE TABLE hosts (
        ip {blob} NOT NULL, vantage TEXT NOT NULL, liveness TEXT NOT NULL, reason TEXT NOT NULL, since BIGINT NOT NULL,
        last_online_at BIGINT, last_observed_at BIGINT NOT NULL, pseudo_open_ports BIGINT, PRIMARY KEY (ip, vantage))",
    "CREATE INDEX hosts_liveness ON hosts (liveness, ip)",
    // What it means, and what people decided. Ranks are the order of the words beside them.
    "CREATE TABLE exposures (
        id {uuid} NOT NULL, ip {blob} NOT NULL, port BIGINT NOT NULL, proto TEXT NOT NULL, vantage TEXT NOT NULL,
        phase TEXT NOT NULL, risk TEXT NOT NULL, risk_rank BIGINT NOT NULL, severity TEXT NOT NULL,
        severity_rank BIGINT NOT NULL, entry TEXT, reasons TEXT NOT NULL, service TEXT, asset {uuid}, owner TEXT, zone TEXT,
        disposition TEXT NOT NULL, disposition_until BIGINT, disposition_by TEXT, disposition_note TEXT,
        disposition_at BIGINT, opening BIGINT NOT NULL, first_opened_at BIGINT NOT NULL, opened_at BIGINT NOT NULL,
        closed_at BIGINT, close_reason TEXT, detection_bound BIGINT, updated_at BIGINT NOT NULL, words TEXT NOT NULL,
        PRIMARY KEY (ip, port, proto, vantage))",
    // Not unique, so that an upsert has one constraint to meet: the key of the endpoint.
    "CREATE INDEX exposures_id ON exposures (id)",
    "CREATE INDEX exposures_list ON exposures (phase, severity_rank, opened_at)",
    "CREATE TABLE events (
        id {uuid} NOT NULL PRIMARY KEY, kind TEXT NOT NULL, ip {blob} NOT NULL, port BIGINT, proto TEXT, vantage TEXT NOT NULL,
        exposure {uuid}, happened_after BIGINT, happened_at BIGINT NOT NULL, observed_at BIGINT NOT NULL,
        recorded_at BIGINT NOT NULL, reason TEXT, detail TEXT NOT NULL)",
    "CREATE INDEX events_recorded ON events (recorded_at)",
    "CREATE INDEX events_ip ON events (ip, recorded_at)",
    "CREATE INDEX events_exposure ON events (exposure)",
    "CREATE INDEX events_kind ON events (kind, observed_at)",
    // Telling people.
    "CREATE TABLE alerts (
        id {uuid} NOT NULL PRIMARY KEY, kind TEXT NOT NULL, state TEXT NOT NULL, suppressed_by TEXT, exposure {uuid} NOT NULL,
        opening BIGINT NOT NULL, ip {blob} NOT NULL, port BIGINT NOT NULL, proto TEXT NOT NULL, risk TEXT NOT NULL,
        severity TEXT NOT NULL, entry TEXT, service TEXT, asset {uuid}, asset_name TEXT, owner TEXT, reason TEXT,
        observed_at BIGINT NOT NULL, created_at BIGINT NOT NULL)",
    "CREATE UNIQUE INDEX alerts_once ON alerts (exposure, opening, kind, risk)",
    "CREATE INDEX alerts_state ON alerts (state, created_at)",
    "CREATE INDEX alerts_created ON alerts (created_at)",
    "CREATE TABLE receivers (
        id {uuid} NOT NULL PRIMARY KEY, name TEXT NOT NULL, enabled BOOLEAN NOT NULL, destination TEXT NOT NULL,
        language TEXT NOT NULL, min_severity TEXT NOT NULL, send_closed BOOLEAN NOT NULL, owners TEXT NOT NULL,
        created_at BIGINT NOT NULL)",
    "CREATE TABLE notifications (
        id {uuid} NOT NULL PRIMARY KEY, receiver {uuid} NOT NULL REFERENCES receivers (id) ON DELETE CASCADE,
        group_key TEXT NOT NULL, digest BOOLEAN NOT NULL, alerts TEXT NOT NULL, state TEXT NOT NULL, attempts BIGINT NOT NULL,
        next_try_at BIGINT NOT NULL, receipt TEXT, error TEXT, created_at BIGINT NOT NULL, sent_at BIGINT)",
    "CREATE INDEX notifications_due ON notifications (state, next_try_at)",
    "CREATE INDEX notifications_group ON notifications (receiver, group_key, created_at)",
    "CREATE INDEX notifications_created ON notifications (created_at)",
    // Who may do what, and what was done. `name_key` is the lower-case name.
    "CREATE TABLE users (
        id {uuid} NOT NULL PRIMARY KEY, name TEXT NOT NULL, name_key TEXT NOT NULL, role TEXT NOT NULL,
        password_hash TEXT NOT NULL, disabled BOOLEAN NOT NULL, must_change_password BOOLEAN NOT NULL,
        created_at BIGINT NOT NULL, last_seen_at BIGINT)",
    "CREATE UNIQUE INDEX users_name ON users (name_key)",
    "CREATE TABLE sessions (
        id {uuid} NOT NULL PRIMARY KEY, user_id {uuid} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        secret_hash {blob} NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL)",
    "CREATE UNIQUE INDEX sessions_secret ON sessions (secret_hash)",
    "CREATE INDEX sessions_user ON sessions (user_id)",
    "CREATE TABLE tokens (
        id {uuid} NOT NULL PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, secret_hash {blob} NOT NULL,
        created_at BIGINT NOT NULL, created_by TEXT NOT NULL, expires_at BIGINT, last_used_at BIGINT, revoked_at BIGINT)",
    "CREATE UNIQUE INDEX tokens_secret ON tokens (secret_hash)",
    "CREATE TABLE audit (
        id {uuid} NOT NULL PRIMARY KEY, at BIGINT NOT NULL, actor TEXT NOT NULL, from_addr TEXT, action TEXT NOT NULL,
        subject TEXT NOT NULL, result TEXT NOT NULL, detail TEXT NOT NULL)",
    "CREATE INDEX audit_at ON audit (at)",
];
