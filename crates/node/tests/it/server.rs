//! The server's side of the wire, played by hand: hands out what the test queues and keeps what the node says.

use async_trait::async_trait;
use model::finding::CheckPolicy;
use model::job::Work;
use model::task::Engine;
use model::{Duration, IpRange, JobId, NodeName, Scope, Vantage};
use node::{Node, NodeConfig};
use scan::Method;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;
use wire::*;

#[derive(Default)]
struct Kept {
    queue: VecDeque<JobOffer>,
    leases: Vec<LeaseRequest>,
    beats: Vec<Heartbeat>,
    reports: Vec<Report>,
    /// Calls that are refused before one goes through.
    refuse_reports: u32,
    refuse_leases: u32,
    stop: bool,
    fence: bool,
    pace: u32,
}

/// It, shared with the node.
#[derive(Clone, Default)]
pub struct Server {
    kept: Arc<Mutex<Kept>>,
}

/// A node that runs until dropped or ended.
pub struct Running {
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    pub async fn end(self) {
        self.cancel.cancel();
        self.task.await.unwrap();
    }
}

fn down() -> WireError {
    WireError::Unavailable("database is unreachable".into())
}

#[async_trait]
impl Dispatch for Server {
    async fn lease(&self, request: LeaseRequest) -> Result<LeaseReply, WireError> {
        let mut kept = self.kept.lock().unwrap();
        if kept.refuse_leases > 0 {
            kept.refuse_leases -= 1;
            return Err(down());
        }
        let n = kept.queue.len().min(request.slots as usize);
        kept.leases.push(request);
        let jobs = kept.queue.drain(..n).collect();
        let pps = if kept.pace == 0 { 50_000 } else { kept.pace };
        Ok(LeaseReply { jobs, pace: NodePace { node_pps: pps, per_network_pps: pps, per_target_pps: pps, ranges: vec![] } })
    }
    async fn heartbeat(&self, heartbeat: Heartbeat) -> Result<HeartbeatReply, WireError> {
        let mut kept = self.kept.lock().unwrap();
        kept.beats.push(heartbeat);
        Ok(if kept.stop { HeartbeatReply::Stop } else { HeartbeatReply::Continue })
    }
    async fn report(&self, report: Report) -> Result<ReportReply, WireError> {
        let mut kept = self.kept.lock().unwrap();
        if kept.refuse_reports > 0 {
            kept.refuse_reports -= 1;
            return Err(down());
        }
        kept.reports.push(report);
        Ok(if kept.fence { ReportReply::Fenced } else { ReportReply::Accepted })
    }
}

impl Server {
    /// Queues a job that may probe the ranges given.
    pub fn queue(&self, work: Work, scope: &[&str], rate_pps: Option<u32>) -> JobId {
        self.queue_for(Engine::BuiltIn, work, scope, rate_pps)
    }
    /// The same, for another scanner.
    pub fn queue_for(&self, engine: Engine, work: Work, scope: &[&str], rate_pps: Option<u32>) -> JobId {
        self.offer(engine, work, scope, rate_pps, vec![])
    }
    /// Queues a job of ours whose endpoints may be checked as the policies say.
    pub fn queue_checked(&self, work: Work, scope: &[&str], policies: Vec<CheckPolicy>) -> JobId {
        self.offer(Engine::BuiltIn, work, scope, None, policies)
    }
    fn offer(
        &self,
        engine: Engine,
        work: Work,
        scope: &[&str],
        rate_pps: Option<u32>,
        check_policies: Vec<CheckPolicy>,
    ) -> JobId {
        let id = JobId(uuid::Uuid::now_v7());
        let allowed: Vec<IpRange> = scope.iter().map(|s| s.parse().unwrap()).collect();
        let scope = Scope::new(&allowed, &[]);
        let offer = JobOffer {
            check_policies,
            id,
            fencing: 1,
            lease: Duration::millis(600),
            work,
            scope,
            rate_pps,
            retries: Some(0),
            engine,
            seed: 7,
            quiet_from: None,
        };
        self.kept.lock().unwrap().queue.push_back(offer);
        id
    }
    pub fn refuse(&self, leases: u32, reports: u32) {
        let mut kept = self.kept.lock().unwrap();
        (kept.refuse_leases, kept.refuse_reports) = (leases, reports);
    }
    pub fn stop_jobs(&self) {
        self.kept.lock().unwrap().stop = true;
    }
    pub fn fence(&self) {
        self.kept.lock().unwrap().fence = true;
    }
    pub fn reports(&self, job: JobId) -> Vec<Report> {
        self.kept.lock().unwrap().reports.iter().filter(|r| r.job == job).cloned().collect()
    }
    pub fn beats(&self) -> usize {
        self.kept.lock().unwrap().beats.len()
    }
    pub fn leases(&self) -> Vec<LeaseRequest> {
        self.kept.lock().unwrap().leases.clone()
    }

    /// Starts a node with that many slots.
    pub fn node(&self, slots: u32) -> Running {
        self.node_with(slots, Vec::new())
    }
    /// The same with other scanners in its configuration.
    pub fn node_with(&self, slots: u32, engines: Vec<scan::external::Engine>) -> Running {
        let cancel = CancellationToken::new();
        let mut config = NodeConfig::new(NodeName("n".into()), Vantage("here".into()));
        config.slots = slots;
        config.engines = engines;
        config.method = Method::Connect;
        let task = tokio::spawn(Node::run(Arc::new(InProcess::new(Arc::new(self.clone()))), config, cancel.clone()));
        Running { cancel, task }
    }

    /// The reports of a job once it has said how it ended.
    pub async fn ended(&self, job: JobId) -> Vec<Report> {
        self.until("the job ends", || self.reports(job).last().is_some_and(|r| r.end.is_some())).await;
        self.reports(job)
    }

    /// Waits until the condition holds, at most twenty seconds.
    pub async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        for _ in 0..1_000 {
            if condition() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("never happened: {what}");
    }
}
