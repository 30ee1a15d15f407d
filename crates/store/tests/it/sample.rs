//! Entities to store, whole and plausible; tests change the parts they are about.

use model::alert::{Alert, AlertKind, AlertState};
use model::asset::{Asset, Zone};
use model::audit::AuditEntry;
use model::event::{Event, EventKind};
use model::exposure::{Disposition, Exposure, Risk, RiskKind, RiskReason, Severity};
use model::job::{Job, JobState, Work};
use model::port_state::{Coverage, Host, Phase, PortState};
use model::service::{Confidence, Identity, Panel, Service, Tls};
use model::task::{Cause, Engine, Run, RunState, Task, TaskKind, TaskState, TaskTarget, Trigger};
use model::*;
use std::net::IpAddr;
use store::{IngestBatch, LeaseQuery, Store};
use uuid::Uuid;

/// Noon of some day.
pub const T0: Ts = Ts(1_795_262_400_000);

pub fn at(seconds: i64) -> Ts {
    Ts(T0.0 + seconds * 1_000)
}

pub fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

pub fn endpoint(s: &str) -> Endpoint {
    s.parse().unwrap()
}

pub fn outside() -> Vantage {
    Vantage("outside".into())
}

pub fn node() -> NodeName {
    NodeName("local".into())
}

pub fn audit(action: &str) -> AuditEntry {
    AuditEntry {
        id: AuditId(Uuid::now_v7()),
        at: T0,
        actor: "user:alice".into(),
        from: Some("192.0.2.1".into()),
        action: action.into(),
        subject: "thing".into(),
        result: "ok".into(),
        detail: serde_json::json!({"to": 1}),
    }
}

pub fn asset(range: &str) -> Asset {
    Asset {
        id: AssetId(Uuid::now_v7()),
        range: range.parse().unwrap(),
        name: format!("net {range}"),
        owner: Some("payments".into()),
        zone: Zone::Dmz,
        weight: 5,
        tags: vec!["web".into(), "对外".into()],
        observe_until: Some(at(3600)),
        rate_pps: None,
        per_target_pps: Some(50),
        check_ceiling: Default::default(),
        created_at: T0,
        updated_at: T0,
    }
}

pub fn task(kind: TaskKind, trigger: Trigger) -> Task {
    Task {
        id: TaskId(Uuid::now_v7()),
        kind,
        name: kind.to_string(),
        target: TaskTarget::AllAssets,
        ports: kind.default_ports(),
        trigger,
        rate_pps: Some(100),
        retries: kind.default_retries(),
        engine: Engine::External("masscan".into()),
        state: TaskState::Active,
        preset: None,
        created_at: T0,
        last_fired_at: None,
        next_due_at: Some(T0),
        last_run: None,
    }
}

pub fn every_ten_minutes() -> Trigger {
    Trigger::Interval { every: Duration::minutes(10) }
}

pub fn run_of(task: &Task) -> Run {
    Run {
        id: RunId(Uuid::now_v7()),
        task: task.id,
        cause: Cause::Schedule,
        state: RunState::Running,
        started_at: T0,
        finished_at: None,
        jobs_total: 0,
        jobs_done: 0,
        jobs_failed: 0,
        probes_sent: 0,
        error: None,
    }
}

pub fn job(task: &Task, run: Option<RunId>, target: &str) -> Job {
    let work = Work::Sweep { targets: vec![target.parse().unwrap()], ports: "22,80,6379".parse().unwrap(), known_open: vec![] };
    Job {
        id: JobId(Uuid::now_v7()),
        task: task.id,
        kind: task.kind,
        run,
        probes_total: work.probes(),
        work,
        state: JobState::Queued,
        priority: task.kind.priority(),
        rate_pps: None,
        retries: None,
        engine: task.engine.clone(),
        not_before: T0,
        attempts: 0,
        max_attempts: 3,
        fencing: 0,
        node: None,
        lease_until: None,
        probes_sent: 0,
        error: None,
        created_at: T0,
        started_at: None,
        finished_at: None,
    }
}

/// A task with a run of some jobs, started.
pub async fn started(store: &Store, kind: TaskKind, jobs: usize) -> (Task, Run, Vec<Job>) {
    let task = task(kind, every_ten_minutes());
    store.insert_task(&task, None).await.unwrap();
    let run = run_of(&task);
    let jobs: Vec<Job> = (0..jobs).map(|n| job(&task, Some(run.id), &format!("10.{}.{}.0/24", n / 256, n % 256))).collect();
    store.start_run(&run, &jobs, T0, Some(at(600)), TaskState::Active, None).await.unwrap();
    (task, run, jobs)
}

/// The node asks for work at that second; leases last a minute.
pub fn wants(slots: u32, now: Ts) -> LeaseQuery {
    LeaseQuery {
        node: node(),
        incarnation: 1,
        slots,
        per_task_slots: 2,
        lease_until: now.plus(Duration::minutes(1)),
        now,
        avoid: vec![],
    }
}

/// An empty report under the job's lease.
pub fn report(job: &Job, sequence: u32) -> IngestBatch {
    IngestBatch {
        job: job.id,
        node: node(),
        fencing: job.fencing,
        sequence,
        probes_sent: 0,
        port_states: vec![],
        hosts: vec![],
        exposures: vec![],
        findings: vec![],
        attempts: vec![],
        audit: vec![],
        segments: vec![],
        events: vec![],
        alerts: vec![],
        follow_ups: vec![],
        coverage: None,
        end: None,
        now: at(10),
    }
}

pub fn service(name: &str, product: &str) -> Service {
    Service {
        name: name.into(),
        product: Some(product.into()),
        version: Some("7.0.15".into()),
        tls: Some(Tls {
            version: "TLSv1.3".into(),
            names: vec!["shop.example".into()],
            subject: "CN=shop".into(),
            ..Default::default()
        }),
        ..Service::default()
    }
}

pub fn port_state(door: Endpoint) -> PortState {
    PortState {
        endpoint: door,
        vantage: outside(),
        phase: Phase::Open,
        first_open_at: at(1),
        opened_at: Some(at(2)),
        closed_at: None,
        last_open_at: at(3),
        last_not_open_at: Some(at(-600)),
        last_observed_at: at(3),
        last_state: State::Open,
        last_reason: Reason::SynAck,
        streak: 2,
        streak_since: at(1),
        openings: 1,
        pseudo_open: false,
        identity: Some(Identity::Identified),
        service: Some(service("redis", "Redis")),
        banner: Some("-NOAUTH\\x0d".into()),
        evidence: Some("redis-info".into()),
        confidence: Some(Confidence::Structural),
        sha256: Some("ab".repeat(32)),
        tried: vec!["banner".into(), "redis-info".into()],
        thorough_at: Some(Ts(7)),
        identified_at: Some(at(3)),
        panel: Some(Panel {
            scheme: "http".into(),
            status: 200,
            title: Some("管理后台 Login".into()),
            server: None,
            product: Some("Grafana".into()),
            version: Some("9.3.6".into()),
            path: Some("/grafana/".into()),
            evidence: vec!["title".into(), "cookie".into()],
            favicon: Some(-939_513_348),
            technologies: vec!["PHP 8.2.7".into()],
            location: None,
        }),
        panel_at: Some(at(4)),
    }
}

pub fn host(address: &str, liveness: Liveness) -> Host {
    Host {
        ip: ip(address),
        vantage: outside(),
        liveness,
        reason: if liveness == Liveness::Online { Reason::EchoReply } else { Reason::Timeout },
        since: T0,
        last_online_at: (liveness == Liveness::Online).then_some(T0),
        last_observed_at: at(1),
        pseudo_open_ports: None,
    }
}

pub fn exposure(door: Endpoint, kind: RiskKind, severity: Severity) -> Exposure {
    Exposure {
        id: ExposureId(Uuid::now_v7()),
        endpoint: door,
        vantage: outside(),
        phase: Phase::Open,
        risk: Risk { kind, severity, entry: Some("redis".into()), reasons: vec![RiskReason::Reachable { vantage: outside() }] },
        service: Some(service("redis", "Redis")),
        asset: None,
        owner: Some("payments".into()),
        zone: Some(Zone::Dmz),
        disposition: Disposition::unreviewed(),
        opening: 1,
        first_opened_at: at(2),
        opened_at: at(2),
        closed_at: None,
        close_reason: None,
        detection_bound: Some(Duration::minutes(10)),
        updated_at: at(3),
    }
}

pub fn event(kind: EventKind, exposure: &Exposure, observed_at: Ts) -> Event {
    Event {
        id: EventId(Uuid::now_v7()),
        kind,
        ip: exposure.endpoint.ip,
        endpoint: Some(exposure.endpoint),
        vantage: outside(),
        exposure: Some(exposure.id),
        happened_after: None,
        happened_at: observed_at,
        observed_at,
        recorded_at: observed_at.plus(Duration::millis(5)),
        reason: Some(Reason::SynAck),
        detail: serde_json::json!({"from": null}),
    }
}

pub fn alert(exposure: &Exposure) -> Alert {
    Alert {
        id: AlertId(Uuid::now_v7()),
        kind: AlertKind::Opened,
        state: AlertState::Pending,
        suppressed_by: None,
        exposure: exposure.id,
        opening: exposure.opening,
        endpoint: exposure.endpoint,
        risk: exposure.risk.kind,
        severity: exposure.risk.severity,
        entry: exposure.risk.entry.clone(),
        service: Some("Redis 7.0.15".into()),
        asset: None,
        asset_name: Some("net".into()),
        owner: exposure.owner.clone(),
        reason: None,
        observed_at: at(2),
        created_at: at(3),
        segment: None,
        findings: vec![],
    }
}

pub fn coverage(ranges: &[&str], ports: &str, started_at: Ts) -> Coverage {
    Coverage {
        vantage: outside(),
        node: node(),
        targets: ranges.iter().map(|r| r.parse().unwrap()).collect(),
        ports: ports.parse().unwrap(),
        started_at,
        finished_at: started_at.plus(Duration::secs(30)),
    }
}
