//! A real server over a real SQLite database, and a node played by hand: it speaks the wire's messages and answers from a
//! truth that the test sets. Time is this machine's plus what the test adds.

use model::alert::{AlertPolicy, Destination, Language, Receiver};
use model::asset::{Asset, Zone};
use model::audit::AuditEntry;
use model::exposure::{Exposure, Severity};
use model::job::Work;
use model::port_state::{Coverage, PortState};
use model::service::{Identification, Identity};
use model::settings::Settings;
use model::task::{Cause, Run, Task, TaskKind};
use model::*;
use plan::preset::Preset;
use server::context::{Context, system_clock};
use server::{Dispatcher, scheduler};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use store::{ExposureFilter, Paging, Store};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wire::{
    Dispatch, End, Heartbeat, HeartbeatReply, JobOffer, LeaseReply, LeaseRequest, Report, ReportReply, Sightings, VERSION,
};

thread_local! {
    /// Every test runs on a thread of its own, and so do all tasks that it spawns.
    static AHEAD: Cell<i64> = const { Cell::new(0) };
}

/// Now, with what the test has added.
pub fn clock() -> Ts {
    Ts(system_clock().0 + AHEAD.get())
}

/// Lets time pass at once.
pub fn advance(by: Duration) {
    AHEAD.set(AHEAD.get() + by.0 as i64);
}

pub fn audit(action: &str) -> AuditEntry {
    AuditEntry {
        id: AuditId(Uuid::now_v7()),
        at: clock(),
        actor: "user:test".into(),
        from: None,
        action: action.into(),
        subject: "test".into(),
        result: "ok".into(),
        detail: serde_json::json!({}),
    }
}

/// What a door does.
#[derive(Clone, Debug)]
pub enum Door {
    Open(&'static str),
    Refuses,
    Silent,
}

/// The server, and the world as the node will find it.
pub struct World {
    dir: TempDir,
    pub context: Arc<Context>,
    pub dispatcher: Arc<Dispatcher>,
    pub doors: BTreeMap<Endpoint, Door>,
    pub up: BTreeSet<IpAddr>,
    pub incarnation: u64,
    background: Option<(CancellationToken, tokio::task::JoinHandle<()>)>,
}

impl World {
    /// An empty system with the standard tasks, none of them due by itself.
    pub async fn new() -> World {
        let dir = TempDir::new().unwrap();
        let (context, dispatcher) = Self::start(&dir.path().join("p.db")).await;
        let mut tasks = Preset::Standard.tasks(clock(), || TaskId(Uuid::now_v7()));
        for task in &mut tasks {
            task.next_due_at = Some(clock().plus(Duration::days(300)));
        }
        context.store.replace_tasks(&[], &tasks, None).await.unwrap();
        World { dir, context, dispatcher, doors: BTreeMap::new(), up: BTreeSet::new(), incarnation: 1, background: None }
    }

    async fn start(path: &std::path::Path) -> (Arc<Context>, Arc<Dispatcher>) {
        let store = Store::open_exclusive(&format!("sqlite://{}", path.display())).await.unwrap();
        let context = Context::with_clock(store, Vantage("outside".into()), clock);
        (Arc::clone(&context), Dispatcher::new(context))
    }

    /// Ends the process as a crash would, and starts it again over the same file.
    pub async fn crash(self) -> World {
        let World { dir, context, dispatcher, doors, up, incarnation, background } = self;
        if let Some((_, task)) = background {
            task.abort();
            task.await.ok();
        }
        drop(dispatcher);
        let path: PathBuf = dir.path().join("p.db");
        drop(context);
        // The claim goes with the last clone; an aborted task's are dropped when the runtime gets to it.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let (context, dispatcher) = Self::start(&path).await;
        World { dir, context, dispatcher, doors, up, incarnation: incarnation + 1, background: None }
    }

    /// Starts scheduling and alerting.
    pub fn background(&mut self) {
        let cancel = CancellationToken::new();
        let task = tokio::spawn(server::run_background(Arc::clone(&self.context), cancel.clone()));
        self.background = Some((cancel, task));
    }

    /// Ends scheduling and alerting as SIGTERM would.
    pub async fn stop_background(&mut self) {
        if let Some((cancel, task)) = self.background.take() {
            cancel.cancel();
            task.await.unwrap();
        }
    }

    pub fn store(&self) -> &Store {
        &self.context.store
    }

    pub async fn asset(&self, range: &str) -> Asset {
        let asset = Asset {
            id: AssetId(Uuid::now_v7()),
            range: range.parse().unwrap(),
            name: range.into(),
            owner: Some("payments".into()),
            zone: Zone::Dmz,
            weight: 5,
            tags: vec![],
            observe_until: None,
            rate_pps: None,
            per_target_pps: None,
            check_ceiling: Default::default(),
            created_at: clock(),
            updated_at: clock(),
        };
        self.store().insert_asset(&asset, &audit("asset.create")).await.unwrap();
        asset
    }

    /// A webhook that gets everything from the lowest severity on, without waiting for groups.
    pub async fn webhook(&self, url: String) {
        let receiver = Receiver {
            id: ReceiverId(Uuid::now_v7()),
            name: "sink".into(),
            enabled: true,
            destination: Destination::Webhook { url, secret: None, headers: BTreeMap::new() },
            language: Language::En,
            min_severity: Severity::Low,
            send_closed: true,
            owners: vec![],
            created_at: clock(),
        };
        self.store().insert_receiver(&receiver, &audit("receiver.create")).await.unwrap();
        let alerts = AlertPolicy { group_wait: Duration(0), group_interval: Duration::millis(1), ..AlertPolicy::default() };
        let settings = Settings { alerts, ..Settings::default() };
        self.store().set_settings(&settings, &audit("settings.update")).await.unwrap();
    }

    pub async fn task(&self, kind: TaskKind) -> Task {
        self.store().tasks().await.unwrap().into_iter().find(|t| t.kind == kind).unwrap()
    }

    pub async fn run(&self, kind: TaskKind) -> Run {
        let task = self.task(kind).await;
        scheduler::run_now(&self.context, task.id, Cause::Manual, Some(&audit("task.run"))).await.unwrap()
    }

    pub async fn run_state(&self, run: &Run) -> Run {
        self.store().run(run.id).await.unwrap().unwrap()
    }

    /// Asks for up to `slots` jobs as the node `name`.
    pub async fn lease(&self, name: &str, slots: u32) -> Vec<JobOffer> {
        self.ask(name, slots).await.jobs
    }

    /// The same, with the caps that come with the answer.
    pub async fn ask(&self, name: &str, slots: u32) -> LeaseReply {
        let request = LeaseRequest {
            version: VERSION,
            node: NodeName(name.into()),
            vantage: Vantage("outside".into()),
            incarnation: self.incarnation,
            slots,
            engines: vec![],
        };
        self.dispatcher.lease(request).await.unwrap()
    }

    pub async fn beat(&self, name: &str, offer: &JobOffer) -> HeartbeatReply {
        let beat = Heartbeat { node: NodeName(name.into()), job: offer.id, fencing: offer.fencing, probes_sent: 1 };
        self.dispatcher.heartbeat(beat).await.unwrap()
    }

    /// The one report of a job that went through.
    pub fn report(&self, name: &str, offer: &JobOffer) -> Report {
        Report {
            node: NodeName(name.into()),
            vantage: Vantage("outside".into()),
            job: offer.id,
            fencing: offer.fencing,
            sequence: 1,
            probes_sent: offer.work.probes(),
            sightings: self.sightings(name, offer),
            end: Some(End::Done),
        }
    }

    pub async fn send(&self, report: Report) -> ReportReply {
        self.dispatcher.report(report).await.unwrap()
    }

    /// Does everything that can be done now, follow-ups included. Number of jobs.
    pub async fn work(&self) -> usize {
        let mut done = 0;
        loop {
            let offers = self.lease("node", 50).await;
            if offers.is_empty() {
                return done;
            }
            for offer in offers {
                done += 1;
                assert!(done < 2_000, "the follow-ups never end");
                // Two observations are two instants.
                advance(Duration::millis(5));
                assert_eq!(self.send(self.report("node", &offer)).await, ReportReply::Accepted);
            }
        }
    }

    /// Works through what time brings: what is due now and what becomes due within the span.
    pub async fn work_for(&self, span: Duration) {
        let steps = span.0 / 1_000;
        for _ in 0..steps {
            advance(Duration::secs(1));
            self.work().await;
        }
    }

    fn look(&self, endpoint: Endpoint) -> Observation {
        let (state, reason) = match self.doors.get(&endpoint) {
            Some(Door::Open(_)) => (State::Open, Reason::SynAck),
            Some(Door::Refuses) => (State::Closed, Reason::Rst),
            Some(Door::Silent) => (State::Filtered, Reason::Timeout),
            None if self.up.contains(&endpoint.ip) => (State::Closed, Reason::Rst),
            None => (State::Filtered, Reason::Timeout),
        };
        Observation { endpoint, state, reason, observed_at: clock() }
    }

    fn sightings(&self, name: &str, offer: &JobOffer) -> Sightings {
        let mut f = Sightings::default();
        match &offer.work {
            Work::Liveness { targets } => {
                for ip in offer.scope.restrict(targets).iter().flat_map(|r| r.iter()) {
                    let up = self.up.contains(&ip);
                    let (liveness, reason) =
                        if up { (Liveness::Online, Reason::EchoReply) } else { (Liveness::Offline, Reason::Timeout) };
                    f.hosts.push(HostObservation { ip, liveness, reason, observed_at: clock() });
                }
            }
            Work::Sweep { targets, ports, known_open } => {
                let targets = offer.scope.restrict(targets);
                let within = |e: &Endpoint| targets.iter().any(|t| t.contains(e.ip)) && ports.tcp.contains(e.port);
                let mut ask: BTreeSet<Endpoint> = known_open.iter().copied().filter(within).collect();
                ask.extend(self.doors.iter().filter(|(e, d)| within(e) && matches!(d, Door::Open(_))).map(|(e, _)| *e));
                f.observations.extend(ask.into_iter().map(|e| self.look(e)));
                let (node, ports) = (NodeName(name.into()), ports.clone());
                f.coverage = (!targets.is_empty()).then(|| Coverage {
                    vantage: Vantage("outside".into()),
                    node,
                    targets,
                    ports,
                    started_at: clock(),
                    finished_at: clock(),
                });
            }
            Work::Recheck { endpoints } => f.observations.extend(endpoints.iter().map(|e| self.look(*e))),
            Work::Identify { endpoints } | Work::Examine { endpoints } => {
                for &endpoint in endpoints {
                    f.observations.push(self.look(endpoint));
                    let (identity, name) = match self.doors.get(&endpoint) {
                        Some(Door::Open("")) => (Identity::Silent, None),
                        Some(Door::Open(name)) => (Identity::Identified, Some(*name)),
                        _ => (Identity::Unreachable, None),
                    };
                    let service = name.map(|n| Service { name: n.into(), ..Service::default() });
                    f.identifications.push(Identification { service, ..Identification::bare(endpoint, identity, clock()) });
                }
            }
            Work::Panels { .. } => {}
        }
        f
    }

    pub fn open(&mut self, endpoint: &str, service: &'static str) -> Endpoint {
        let endpoint: Endpoint = endpoint.parse().unwrap();
        self.up.insert(endpoint.ip);
        self.doors.insert(endpoint, Door::Open(service));
        endpoint
    }

    pub async fn port(&self, endpoint: Endpoint) -> Option<PortState> {
        let key = observation::SeenFrom { endpoint, vantage: Vantage("outside".into()) };
        self.store().port_state(&key).await.unwrap()
    }

    pub async fn exposures(&self) -> Vec<Exposure> {
        self.store().exposures(&ExposureFilter::all(clock()), Paging::first(100)).await.unwrap().items
    }
}

/// Waits until the condition holds, at most twenty seconds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    for _ in 0..400 {
        if condition().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("never happened: {what}");
}
