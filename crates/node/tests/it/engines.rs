//! Another scanner as the engine of a job: which, how fast, on what, and what becomes of its failures.

use crate::server::Server;
use model::Endpoint;
use model::job::Work;
use model::task::Engine;
use std::time::Duration;
use wire::{End, Report};

fn engine(name: &str, script: &str) -> scan::external::Engine {
    let argv = ["sh", "-c", script, name, "{targets_file}", "{ports}", "{rate}", "{retries}"];
    scan::external::Engine {
        name: name.into(),
        sweep: Some(argv.map(str::to_owned).to_vec()),
        liveness: None,
        format: None,
        ipv4: true,
        ipv6: false,
        timeout: Duration::from_secs(30),
    }
}

fn sweep(ports: &str) -> Work {
    let known_open = vec!["127.0.0.1:23/tcp".parse().unwrap()];
    Work::Sweep { targets: vec!["127.0.0.0/30".parse().unwrap()], ports: ports.parse().unwrap(), known_open }
}

fn error(reports: &[Report]) -> String {
    match &reports.last().unwrap().end {
        Some(End::Failed { error }) => error.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_done_by_the_engine_it_names_within_its_scope_and_the_least_cap() {
    let server = Server::default();
    let notes = std::env::temp_dir().join(format!("prE-engine-{}", std::process::id()));
    // It says what it was told, finds two open ports in scope and one outside, and one of those asked by name closed.
    let script = format!(
        "echo $(cat $1) $2 $3 $4 > {}; echo 'open tcp 22 127.0.0.1 1'; echo 'open tcp 22 127.0.0.3 1'; echo 'closed tcp 23 127.0.0.1 1'",
        notes.display()
    );
    let node = server.node_with(4, vec![engine("other", &script)]);
    let job = server.queue_for(Engine::External("other".into()), sweep("22-23"), &["127.0.0.1"], Some(70));
    let reports = server.ended(job).await;
    assert_eq!(reports.last().unwrap().end, Some(End::Done));
    let mut seen: Vec<String> = Vec::new();
    for report in &reports {
        seen.extend(report.sightings.observations.iter().map(|o| format!("{} {}", o.endpoint, o.state)));
        assert_eq!(report.sightings.coverage, None, "another scanner's silence is no promise of ours");
    }
    seen.sort();
    assert_eq!(seen, ["127.0.0.1:22/tcp open", "127.0.0.1:23/tcp closed"]);
    assert_eq!(std::fs::read_to_string(&notes).unwrap().trim(), "127.0.0.1 22-23 70 0");
    std::fs::remove_file(notes).unwrap();
    assert!(server.leases().iter().all(|l| l.engines == ["other"]), "the node says what it has");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_cannot_do_it_says() {
    let server = Server::default();
    let node = server.node_with(4, vec![engine("other", "echo 'no such device' >&2; exit 1")]);
    for (name, work, word) in [
        ("masscan", sweep("22"), "node `n` has no engine `masscan`; it has other"),
        ("other", sweep("22"), "engine `other` failed (exit status: 1): no such device"),
        ("other", sweep("22,U:53"), "only asked about TCP"),
        ("other", Work::Liveness { targets: vec!["127.0.0.1".parse().unwrap()] }, "not set up for liveness"),
    ] {
        let job = server.queue_for(Engine::External(name.into()), work, &["127.0.0.0/8"], None);
        let error = error(&server.ended(job).await);
        assert!(error.contains(word), "{error}");
    }
    // What is not a sweep is always done by ourselves.
    let endpoints: Vec<Endpoint> = vec!["127.0.0.1:1/tcp".parse().unwrap()];
    let job = server.queue_for(Engine::External("masscan".into()), Work::Recheck { endpoints }, &["127.0.0.0/8"], None);
    assert_eq!(server.ended(job).await.last().unwrap().end, Some(End::Done));
    node.end().await;
}
