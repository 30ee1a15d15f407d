//! What a node does with each kind of work, and with a server that is slow, gone, or has changed its mind.

use crate::doors::{open, shut};
use crate::server::Server;
use model::job::Work;
use model::service::Identity;
use model::{Endpoint, Liveness, PortSet, Ports, State};
use std::collections::HashSet;
use std::time::{Duration, Instant};
use wire::{End, Report, Sightings};

fn all(reports: &[Report]) -> Sightings {
    let mut f = Sightings::default();
    for r in reports {
        f.observations.extend(r.sightings.observations.clone());
        f.hosts.extend(r.sightings.hosts.clone());
        f.identifications.extend(r.sightings.identifications.clone());
        f.panels.extend(r.sightings.panels.clone());
        f.coverage = f.coverage.or(r.sightings.coverage.clone());
    }
    f
}

fn ports(endpoints: &[Endpoint]) -> Ports {
    endpoints.iter().map(|e| e.port).collect::<PortSet>().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_reports_what_is_open_what_was_asked_for_and_the_ground_covered() {
    let (server, door, known) = (Server::default(), open(b"", b"").await, shut().await);
    let other = shut().await;
    let swept = ports(&[door.endpoint, known, other]);
    let job = server.queue(
        Work::Sweep { targets: vec!["127.0.0.1".parse().unwrap()], ports: swept.clone(), known_open: vec![known] },
        &["127.0.0.0/8"],
        None,
    );
    let node = server.node(4);
    let reports = server.ended(job).await;
    let found = all(&reports);
    let mut states: Vec<_> = found.observations.iter().map(|o| (o.endpoint, o.state)).collect();
    states.sort_by_key(|s| s.0);
    let mut expected = [(door.endpoint, State::Open), (known, State::Closed)];
    expected.sort_by_key(|s| s.0);
    assert_eq!(states, expected, "the other shut port was not asked for by name");
    let covered = found.coverage.expect("a finished sweep says what it covered");
    assert_eq!((covered.ports, covered.targets), (swept, vec!["127.0.0.1".parse().unwrap()]));
    assert!(covered.started_at <= covered.finished_at);
    assert_eq!(reports.last().unwrap().end, Some(End::Done));
    assert!(reports.last().unwrap().probes_sent >= 3);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_work_keeps_to_the_scope_of_its_offer() {
    let (server, door) = (Server::default(), open(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", b"").await);
    let outside = Endpoint::tcp("127.0.0.2".parse().unwrap(), door.endpoint.port);
    let endpoints = vec![door.endpoint, outside];
    let both = vec!["127.0.0.1-127.0.0.2".parse().unwrap()];
    let node = server.node(8);
    for work in [
        Work::Recheck { endpoints: endpoints.clone() },
        Work::Identify { endpoints: endpoints.clone() },
        Work::Panels { endpoints: endpoints.clone() },
        Work::Liveness { targets: both.clone() },
        Work::Sweep { targets: both, ports: ports(&endpoints), known_open: endpoints.clone() },
    ] {
        let kind = work.as_str();
        let job = server.queue(work, &["127.0.0.1"], None);
        let found = all(&server.ended(job).await);
        let mut ips: HashSet<_> = found.observations.iter().map(|o| o.endpoint.ip).collect();
        ips.extend(found.hosts.iter().map(|h| h.ip));
        ips.extend(found.panels.iter().map(|p| p.endpoint.ip));
        ips.extend(found.identifications.iter().map(|i| i.endpoint.ip));
        assert_eq!(ips, HashSet::from([door.endpoint.ip]), "{kind}");
        assert!(found.coverage.iter().all(|c| c.targets == ["127.0.0.1".parse().unwrap()]), "{kind}: {:?}", found.coverage);
    }
    // Nothing left in scope: done, and nothing claimed.
    let job = server.queue(Work::Liveness { targets: vec!["127.0.0.1".parse().unwrap()] }, &[], None);
    assert_eq!(all(&server.ended(job).await), Sightings::default());
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn identification_says_what_answers_and_in_what_state_the_door_is() {
    let (server, ssh, closed) = (Server::default(), open(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", b"").await, shut().await);
    let job = server.queue(Work::Identify { endpoints: vec![ssh.endpoint, closed] }, &["127.0.0.1"], Some(50));
    let node = server.node(4);
    let found = all(&server.ended(job).await);
    let of = |e: Endpoint| {
        let state = found.observations.iter().find(|o| o.endpoint == e).map(|o| o.state);
        let identity = found.identifications.iter().find(|i| i.endpoint == e).map(|i| (i.identity, i.service.clone()));
        (state, identity.unwrap())
    };
    let (state, (identity, service)) = of(ssh.endpoint);
    assert_eq!((state, identity), (Some(State::Open), Identity::Identified));
    assert_eq!(service.unwrap().product.as_deref(), Some("OpenSSH"));
    let (state, (identity, _)) = of(closed);
    assert_eq!((state, identity), (Some(State::Closed), Identity::Unreachable));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn liveness_says_both_up_and_down_and_panels_fetch_front_pages() {
    let page = b"HTTP/1.1 200 OK\r\nserver: test\r\ncontent-length: 34\r\n\r\n<html><title>Back end</title></html>";
    let (server, http) = (Server::default(), open(b"", page).await);
    let node = server.node(4);
    let job = server.queue(Work::Liveness { targets: vec!["127.0.0.1".parse().unwrap()] }, &["127.0.0.0/8"], None);
    let hosts = all(&server.ended(job).await).hosts;
    assert_eq!(hosts.iter().map(|h| h.liveness).collect::<Vec<_>>(), [Liveness::Online]);
    let job = server.queue(Work::Panels { endpoints: vec![http.endpoint] }, &["127.0.0.1"], None);
    let panels = all(&server.ended(job).await).panels;
    assert_eq!(panels.len(), 1);
    assert_eq!(panels[0].panel.as_ref().and_then(|p| p.title.as_deref()), Some("Back end"));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_for_a_while_loses_nothing() {
    let (server, door) = (Server::default(), open(b"", b"").await);
    server.refuse(2, 3);
    let node = server.node(4);
    let job = server.queue(Work::Recheck { endpoints: vec![door.endpoint] }, &["127.0.0.1"], None);
    let reports = server.ended(job).await;
    assert_eq!(all(&reports).observations.len(), 1);
    let numbers: Vec<_> = reports.iter().map(|r| r.sequence).collect();
    assert_eq!(numbers, (1..=numbers.len() as u32).collect::<Vec<_>>(), "a repeated report keeps its number");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn findings_come_within_seconds_while_the_job_goes_on_and_its_lease_is_kept() {
    let (server, door) = (Server::default(), open(b"", b"").await);
    // Slow enough to go on for a minute; the door's port comes somewhere in between, so it is asked for many times over.
    let endpoints: Vec<_> = std::iter::once(door.endpoint).chain((1..600).map(|p| Endpoint::tcp(door.endpoint.ip, p))).collect();
    let job = server.queue(Work::Recheck { endpoints }, &["127.0.0.1"], Some(20));
    let node = server.node(4);
    server.until("the first report comes", || !server.reports(job).is_empty()).await;
    assert!(server.reports(job).iter().all(|r| r.end.is_none()));
    server.until("the lease is kept", || server.beats() >= 3).await;
    // Ended in the middle: quickly, and without saying that the job ended.
    let began = Instant::now();
    node.end().await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(server.reports(job).iter().all(|r| r.end.is_none() && r.sightings.coverage.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_the_server_stops_ends_without_a_word() {
    let (server, door) = (Server::default(), open(b"", b"").await);
    let endpoints: Vec<_> = (1..600).map(|p| Endpoint::tcp(door.endpoint.ip, p)).collect();
    let slow = server.queue(Work::Recheck { endpoints }, &["127.0.0.1"], Some(5));
    let node = server.node(1);
    server.until("it goes on", || server.beats() >= 1).await;
    server.stop_jobs();
    // The only slot is free again, so the next job is done.
    let next = server.queue(Work::Recheck { endpoints: vec![door.endpoint] }, &["127.0.0.1"], None);
    server.ended(next).await;
    assert!(server.reports(slow).iter().all(|r| r.end.is_none()));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_job_is_given_up() {
    let (server, door) = (Server::default(), open(b"", b"").await);
    server.fence();
    let endpoints: Vec<_> = std::iter::once(door.endpoint).chain((1..600).map(|p| Endpoint::tcp(door.endpoint.ip, p))).collect();
    let job = server.queue(Work::Recheck { endpoints }, &["127.0.0.1"], Some(20));
    let node = server.node(1);
    server.until("it is told once", || !server.reports(job).is_empty()).await;
    server.until("its slot is free", || server.leases().last().is_some_and(|l| l.slots == 1) && server.leases().len() > 2).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(server.reports(job).len(), 1, "nothing more is said of a job that is another's");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_never_asks_for_more_than_it_has_room_for() {
    let (server, door) = (Server::default(), open(b"", b"").await);
    let slow: Vec<_> = (1..600).map(|p| Endpoint::tcp(door.endpoint.ip, p)).collect();
    for _ in 0..3 {
        server.queue(Work::Recheck { endpoints: slow.clone() }, &["127.0.0.1"], Some(5));
    }
    let node = server.node(2);
    server.until("both slots are taken", || server.beats() >= 4).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(server.leases().iter().map(|l| l.slots).collect::<Vec<_>>(), [2], "a full node does not ask");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_says_why_and_harms_no_other() {
    let (server, door) = (Server::default(), open(b"", b"").await);
    // All of IPv6 times all ports is more than can be indexed.
    let huge = Work::Sweep { targets: vec!["::/0".parse().unwrap()], ports: PortSet::all().into(), known_open: vec![] };
    let fails = server.queue(huge, &["::/0"], None);
    let fine = server.queue(Work::Recheck { endpoints: vec![door.endpoint] }, &["127.0.0.1"], None);
    let node = server.node(2);
    let reports = server.ended(fails).await;
    assert!(matches!(&reports.last().unwrap().end, Some(End::Failed { error }) if error.contains("hint:")), "{reports:?}");
    assert_eq!(server.ended(fine).await.last().unwrap().end, Some(End::Done));
    node.end().await;
}
