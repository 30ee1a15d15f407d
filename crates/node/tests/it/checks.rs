//! Checks of a real redis, as far as the offer's policies let the node.

use crate::server::Server;
use model::finding::{CheckPolicy, CheckRun, SideEffect, Verdict};
use model::job::Work;
use model::{Endpoint, IpRange};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use wire::End;

/// A redis-server on loopback, killed when this goes.
struct Redis {
    child: Child,
    port: u16,
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Redis {
    fn start(more: &[&str]) -> Redis {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string(), "--dir", "/tmp"]).args(more);
        let child = command.stdout(Stdio::null()).spawn().expect("hint: scripts/ensure installs redis-server");
        let redis = Redis { child, port };
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return redis;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("redis-server does not accept");
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::tcp("127.0.0.1".parse().unwrap(), self.port)
    }

    /// A line of `INFO section`.
    fn info(&self, section: &str, name: &str) -> String {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string(), "INFO", section]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().find_map(|l| l.strip_prefix(&format!("{name}:"))).unwrap_or_default().trim().to_owned()
    }
}

fn policy(range: &str, ceiling: Option<SideEffect>) -> CheckPolicy {
    CheckPolicy { range: range.parse::<IpRange>().unwrap(), ceiling, credentials: None }
}

/// What the checks of one job said.
async fn checked(endpoints: Vec<Endpoint>, policies: Vec<CheckPolicy>) -> Vec<CheckRun> {
    let server = Server::default();
    let job = server.queue_checked(Work::Identify { endpoints: endpoints.clone() }, &["127.0.0.1"], policies);
    let node = server.node(2);
    let reports = server.ended(job).await;
    node.end().await;
    assert_eq!(reports.last().unwrap().end, Some(End::Done));
    let identified: usize = reports.iter().map(|r| r.sightings.identifications.len()).sum();
    assert_eq!(identified, endpoints.len(), "whatever is checked, everything is identified");
    reports.into_iter().flat_map(|r| r.sightings.checks).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_redis_is_proved_a_guarded_one_is_not_and_nothing_is_written() {
    let (open, guarded) = (Redis::start(&[]), Redis::start(&["--requirepass", "s3cret"]));
    let runs = checked(vec![open.endpoint(), guarded.endpoint()], vec![policy("127.0.0.0/8", Some(SideEffect::Benign))]).await;
    let verdict = |redis: &Redis| {
        let run = runs.iter().find(|r| r.check == "redis-unauthenticated" && r.endpoint == redis.endpoint());
        run.unwrap_or_else(|| panic!("{runs:?}")).clone()
    };
    let proof = verdict(&open);
    assert_eq!(proof.verdict, Verdict::Proved, "{proof:?}");
    assert!(!proof.evidence.unwrap().request.is_empty());
    assert_eq!(verdict(&guarded).verdict, Verdict::NotProved);
    assert!(runs.iter().all(|r| r.attempts.is_empty() && r.side_effect <= SideEffect::Benign), "{runs:?}");
    assert_eq!(open.info("persistence", "rdb_changes_since_last_save"), "0");
    assert_eq!(open.info("stats", "total_error_replies"), "0", "and nothing was asked that it does not know");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_checked_without_a_policy_or_under_one_that_forbids_it() {
    let redis = Redis::start(&[]);
    for policies in [
        vec![],
        vec![policy("127.0.0.1", None), policy("127.0.0.0/8", Some(SideEffect::Intrusive))],
        vec![policy("10.0.0.0/8", Some(SideEffect::Intrusive))],
    ] {
        let runs = checked(vec![redis.endpoint()], policies.clone()).await;
        assert_eq!(runs, [], "{policies:?}");
    }
}
