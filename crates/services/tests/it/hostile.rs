//! Listeners that attack whoever asks them, among real servers in one batch: each costs its own budget and nobody else's.
//!
//! Memory is measured on the finished binary (`portreeve`'s tests); here are time, bytes and connections.

use lab::recipe;
use lab::{Kind, LabSpec, Manner, Pretender};
use model::finding::{CheckPolicy, SideEffect};
use model::service::{Identification, Identity, Service};
use model::{Endpoint, IpRange, Scope, Ts};
use services::{Budget, Unpaced, check, fetch_panel, identify_all};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// 64 MiB of zeros in 64 KiB.
fn bomb() -> Vec<u8> {
    let mut gzip = std::process::Command::new("gzip")
        .arg("-c")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = gzip.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 64 << 20), &mut input));
    let out = gzip.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(out.stdout.len() < 128 * 1024, "{}", out.stdout.len());
    out.stdout
}

fn attackers() -> Vec<(&'static str, Manner)> {
    vec![
        ("drips a byte a second", Manner::Drips),
        ("sends a gigabyte", Manner::Floods(1 << 30)),
        ("redirects for ever", Manner::RedirectsForEver),
        ("sends headers without end", Manner::EndlessHeaders),
        ("never finishes its handshake", Manner::NeverFinishesTls),
        ("answers with a bomb", Manner::GzipBomb(bomb())),
    ]
}

/// What may have left an attacker: our budget, and what kernels hold between the two (a window and two buffers for each
/// connection, six megabytes by default), a long way from a gigabyte.
const MOST_SENT: u64 = 4 * 8 * 1024 * 1024;

#[test]
fn attackers_cost_their_own_budget_and_nobody_elses() {
    let spec = LabSpec::new().host("redis", 2, Kind::Refusing).host("ssh", 3, Kind::Refusing).host("web", 4, Kind::Refusing);
    let lab = spec.host("bad", 10, Kind::Refusing).start().unwrap();
    let _good = [("redis", "redis", 16379), ("ssh", "openssh", 22022), ("web", "nginx", 18080)]
        .map(|(host, name, port)| lab.host(host).cook(recipe::named(name), &[port]).unwrap());
    // Each where nothing is promised, and where its protocol is: as a redis, as HTTP, as TLS.
    let bad = lab.host("bad");
    let mut pretenders: BTreeMap<u16, (&str, Pretender)> = BTreeMap::new();
    for (i, (name, manner)) in attackers().into_iter().enumerate() {
        for base in [21_000, 8_080, 6_380, 8_440] {
            let port = base + i as u16;
            pretenders.insert(port, (name, bad.pretend(port, manner.clone()).unwrap()));
        }
    }
    let scope = Scope::new(&["10.99.7.0/24".parse().unwrap()], &[]);
    let admit = |ip: std::net::Ipv4Addr, port| scope.admit(Endpoint::tcp(IpAddr::V4(ip), port)).unwrap();
    let mut endpoints: Vec<_> = pretenders.keys().map(|port| admit(bad.v4(), *port)).collect();
    // The attackers come first, so that whoever holds a place too long would be felt.
    endpoints.extend([("redis", 16379), ("ssh", 22022), ("web", 18080)].map(|(host, port)| admit(lab.host(host).v4(), port)));
    let budget = Budget::default();
    let total = endpoints.len();
    let results = lab.scanner().enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (out, mut results) = mpsc::channel(64);
            let cancel = CancellationToken::new();
            let begun = Instant::now();
            let collect = async {
                let mut all = Vec::new();
                while let Some(result) = results.recv().await {
                    all.push((begun.elapsed(), result));
                }
                all
            };
            tokio::join!(identify_all(endpoints, &budget, &Unpaced, 64, 64, out, &cancel), collect).1
        })
    });
    assert_eq!(results.len(), total);
    let slowest = results.iter().map(|(at, _)| *at).max().unwrap();
    // All together, so that the whole takes as long as one; half as much again for two busy processors.
    assert!(slowest <= budget.per_endpoint + budget.connect, "the batch took {slowest:?}");
    for (at, result) in &results {
        let i = &result.identification;
        match pretenders.get(&i.endpoint.port).filter(|_| i.endpoint.ip == IpAddr::V4(bad.v4())) {
            Some((name, pretender)) => {
                assert_ne!(i.identity, Identity::Excluded);
                assert!(
                    i.banner.as_ref().is_none_or(|b| b.len() <= 512),
                    "{name}: {} characters kept",
                    i.banner.as_ref().unwrap().len()
                );
                assert!(pretender.connections() <= u64::from(budget.max_connections), "{name} had {}", pretender.connections());
                assert!(pretender.sent() <= MOST_SENT, "{name} on {} got rid of {} bytes", i.endpoint.port, pretender.sent());
            }
            None => {
                let product = i.service.as_ref().and_then(|s| s.product.clone());
                assert!(product.is_some(), "{}: {i:?}", i.endpoint);
                assert!(*at <= slowest, "{}", i.endpoint);
            }
        }
    }
}

#[test]
fn panels_and_checks_of_attackers_end_as_well() {
    let lab = LabSpec::new().host("bad", 10, Kind::Refusing).start().unwrap();
    let bad = lab.host("bad");
    let scope = Scope::new(&["10.99.7.0/24".parse().unwrap()], &[]);
    let budget = Budget { per_endpoint: Duration::from_secs(3), ..Budget::default() };
    let range = IpRange::single(IpAddr::V4(bad.v4()));
    let policy = CheckPolicy { range, ceiling: Some(SideEffect::Session), credentials: None };
    let pretenders: Vec<(&str, u16, Pretender)> = attackers()
        .into_iter()
        .zip(21_000..)
        .map(|((name, manner), port)| (name, port, bad.pretend(port, manner).unwrap()))
        .collect();
    lab.scanner().enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for (name, port, pretender) in &pretenders {
                let endpoint = scope.admit(Endpoint::tcp(IpAddr::V4(bad.v4()), *port)).unwrap();
                let begun = Instant::now();
                let panel = fetch_panel(endpoint, &budget, &Unpaced).await;
                // A second for what a busy machine adds; without a budget it would be for ever.
                assert!(begun.elapsed() <= budget.per_endpoint + budget.connect, "{name}: the panel took {:?}", begun.elapsed());
                assert!(panel.panel.as_ref().and_then(|p| p.product.as_ref()).is_none(), "{name}: {panel:?}");
                // As each of the services that the checks are for.
                for service in ["http", "redis", "ftp", "postgresql", "mysql", "zookeeper", "ldap", "memcached", "etcd", "docker"]
                {
                    let found = Identification {
                        service: Some(Service { name: service.into(), ..Service::default() }),
                        ..Identification::bare(endpoint.get(), Identity::Identified, Ts(0))
                    };
                    let (begun, connections) = (Instant::now(), pretender.connections());
                    let runs = check::run(endpoint, &found, &policy, &budget, &Unpaced).await;
                    let most = budget.per_endpoint * (runs.len() as u32 + 1) + budget.connect;
                    assert!(begun.elapsed() <= most, "{name} as {service}: {} checks took {:?}", runs.len(), begun.elapsed());
                    let each = u64::from(budget.max_connections);
                    let had = pretender.connections() - connections;
                    assert!(
                        had <= each * (runs.len() as u64 + 1),
                        "{name} as {service}: {had} connections for {} checks",
                        runs.len()
                    );
                    for run in &runs {
                        assert!(run.verdict != model::finding::Verdict::Proved, "{name} as {service}: {run:?}");
                    }
                }
                assert!(pretender.sent() <= MOST_SENT * 20, "{name} got rid of {} bytes", pretender.sent());
            }
        });
    });
}
