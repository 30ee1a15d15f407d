//! Listeners that do nothing, too little, too much or the wrong thing: each ends in exactly one state, inside the budget.

use crate::checks::policy;
use crate::{identify, line, loopback, servers};
use async_trait::async_trait;
use model::finding::{SideEffect, Verdict};
use model::service::{Identification, Identity, Service};
use model::{InScope, Reason, State, Ts};
use services::{Budget, Permit, Unpaced, check};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A listener that treats every connection so; its port, and how many connections it has had.
async fn listener<F, R>(treat: F) -> (u16, Arc<AtomicUsize>)
where
    F: Fn(TcpStream) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", servers::free_port())).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(treat(stream));
        }
    });
    (port, accepted)
}

async fn swallow(mut stream: TcpStream) {
    let mut sink = [0; 1024];
    while stream.read(&mut sink).await.is_ok_and(|n| n > 0) {}
}

#[tokio::test]
async fn a_silent_port_costs_four_connections_and_six_seconds_at_most() {
    let (port, accepted) = listener(swallow).await;
    let begun = Instant::now();
    let result = identify(port).await;
    assert_eq!(result.identification.identity, Identity::Silent);
    assert!(begun.elapsed() <= Duration::from_millis(6_200), "{:?}", begun.elapsed());
    assert!((2..=4).contains(&accepted.load(Ordering::SeqCst)), "{accepted:?}");
    assert_eq!(result.observation.unwrap().state, State::Open);
    assert_eq!(
        result.identification.tried[..4],
        ["banner", "redis-info", "http-get", "tls"],
        "{:?}",
        result.identification.tried
    );
}

#[tokio::test]
async fn a_port_that_closes_at_once_is_said_to() {
    let (port, accepted) = listener(|stream| async move { drop(stream) }).await;
    assert_eq!(identify(port).await.identification.identity, Identity::ClosesAtOnce);
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_port_that_closes_on_data_is_said_to() {
    let (port, accepted) = listener(|mut stream| async move {
        let _ = stream.read(&mut [0; 1]).await;
    })
    .await;
    let begun = Instant::now();
    assert_eq!(identify(port).await.identification.identity, Identity::ClosesOnData);
    // A port that hangs up costs a round trip for each question, so it gets many of them, and not one for each that there is.
    let had = accepted.load(Ordering::SeqCst);
    assert!((20..=usize::from(Budget::default().max_connections)).contains(&had), "{had} connections");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_dripping_server_costs_its_budget_and_no_more() {
    let (port, _) = listener(|mut stream| async move {
        while stream.write_all(b"z").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let begun = Instant::now();
    let result = identify(port).await.identification;
    assert_eq!((result.identity, line(&result).as_str()), (Identity::ProtocolOnly, "protocol-only text"));
    assert!(result.banner.unwrap().starts_with("zzz"));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_gigabyte_is_read_only_up_to_the_cap() {
    let (port, _) = listener(|mut stream| async move {
        let piece = vec![b'g'; 1 << 20];
        while stream.write_all(&piece).await.is_ok() {}
    })
    .await;
    let begun = Instant::now();
    let result = identify(port).await.identification;
    assert_eq!((result.identity, line(&result).as_str()), (Identity::ProtocolOnly, "protocol-only text"));
    assert_eq!(result.banner.unwrap().len(), 512);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_echo_is_an_echo_and_not_a_product() {
    let (port, _) = listener(|mut stream| async move {
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    })
    .await;
    let result = identify(port).await.identification;
    assert_eq!(line(&result), "echo", "{result:?}");
}

#[tokio::test]
async fn an_answer_to_everything_that_no_rule_knows_is_text() {
    let (port, _) = listener(|mut stream| async move {
        let mut sink = [0; 1024];
        while stream.read(&mut sink).await.is_ok_and(|n| n > 0) {
            let _ = stream.write_all(b"what?\r\n").await;
        }
    })
    .await;
    let result = identify(port).await.identification;
    assert_eq!((line(&result).as_str(), result.banner.as_deref()), ("protocol-only text", Some("what?\\r\\n")));
    assert_eq!((result.confidence, result.sha256.unwrap().len()), (None, 64));
}

#[tokio::test]
async fn http_without_a_name_is_a_protocol_only() {
    let (port, _) = listener(|mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    let result = identify(port).await.identification;
    assert_eq!((result.identity, line(&result).as_str()), (Identity::ProtocolOnly, "protocol-only http"));
}

#[tokio::test]
async fn a_closed_port_is_unreachable_and_seen_closed() {
    let port = servers::free_port();
    let result = identify(port).await;
    assert_eq!(result.identification.identity, Identity::Unreachable);
    let seen = result.observation.unwrap();
    assert_eq!((seen.state, seen.reason), (State::Closed, Reason::ConnectionRefused));
}

#[tokio::test]
async fn a_printer_hears_nothing() {
    let result = identify(9100).await;
    assert_eq!(result.identification.identity, Identity::Excluded);
    assert_eq!(result.observation, None, "not even a handshake");
    assert!(result.identification.evidence.unwrap().contains("print"));
}

/// Counts the permits asked for, and takes its time over each.
struct Slow(AtomicUsize, Duration);

#[async_trait]
impl Permit for Slow {
    async fn acquire(&self, ip: InScope<IpAddr>) {
        assert!(ip.get().is_loopback());
        self.0.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(self.1).await;
    }
}

#[tokio::test]
async fn every_connection_has_its_permit_and_waiting_for_it_costs_the_target_nothing() {
    let (port, accepted) = listener(swallow).await;
    let budget = Budget { per_endpoint: Duration::from_millis(4_000), ..Budget::default() };
    let slow = Slow(AtomicUsize::new(0), Duration::from_millis(1_500));
    let result = services::identify(loopback(port), &budget, &slow).await;
    assert_eq!(result.identification.identity, Identity::Silent);
    assert_eq!(slow.0.load(Ordering::SeqCst), accepted.load(Ordering::SeqCst));
    // Had the waiting counted, there would have been time for two.
    assert!(accepted.load(Ordering::SeqCst) >= 3, "{accepted:?}");
}

#[tokio::test]
async fn a_smaller_budget_is_kept_too() {
    let (port, accepted) = listener(swallow).await;
    let budget = Budget { max_unanswered: 1, per_endpoint: Duration::from_millis(900), ..Budget::default() };
    let begun = Instant::now();
    let result = services::identify(loopback(port), &budget, &Unpaced).await;
    assert_eq!(result.identification.identity, Identity::Silent);
    assert!(begun.elapsed() < Duration::from_millis(1_200), "{:?}", begun.elapsed());
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_same_page_on_nine_ports_of_a_host_is_a_middleboxs() {
    let mut endpoints = Vec::new();
    for port in 0..10 {
        // The tenth is another page; the date is not what makes them differ.
        let body = if port == 9 { "mine" } else { "same" };
        let (port, _) = listener(move |mut stream| async move {
            let _ = stream.read(&mut [0; 1024]).await;
            let date = Instant::now();
            let page = format!("HTTP/1.1 200 OK\r\nDate: {date:?}\r\nServer: gate/1.0\r\nContent-Length: 4\r\n\r\n{body}");
            let _ = stream.write_all(page.as_bytes()).await;
        })
        .await;
        endpoints.push(loopback(port));
    }
    let odd = endpoints[9].get();
    let (out, mut results) = tokio::sync::mpsc::channel(16);
    let (budget, cancel) = (Budget::default(), tokio_util::sync::CancellationToken::new());
    services::identify_all(endpoints, &budget, &Unpaced, 16, 16, out, &cancel).await;
    let mut seen = 0;
    while let Some(result) = results.recv().await {
        let result = result.identification;
        seen += 1;
        if result.endpoint == odd {
            assert_eq!(line(&result), "http gate 1.0", "{result:?}");
        } else {
            assert_eq!(result.identity, Identity::Middlebox, "{result:?}");
            assert_eq!(result.service.unwrap().product, None, "what it pretends to be is not reported");
        }
    }
    assert_eq!(seen, 10);
}

#[tokio::test]
async fn bytes_that_prove_two_services_are_a_middleboxs() {
    let (port, _) = listener(|mut stream| async move {
        let _ = stream.write_all(b"220 ftp.example FTP server ready, ESMTP Postfix\r\n").await;
        let _ = stream.read(&mut [0; 64]).await;
    })
    .await;
    let result = identify(port).await.identification;
    assert_eq!(result.identity, Identity::Middlebox, "{result:?}");
    assert!(result.evidence.unwrap().contains("ftp and smtp"));
}

#[tokio::test]
async fn a_server_that_is_just_starting_over_is_asked_once_more_and_one_that_never_answers_is_not_asked_for_ever() {
    for (hangs_up, verdict, had) in [(1, Verdict::Proved, 2), (9, Verdict::Inconclusive, 2)] {
        let visits = Arc::new(AtomicUsize::new(0));
        let (port, accepted) = listener(move |mut stream| {
            let nth = visits.fetch_add(1, Ordering::SeqCst);
            async move {
                let _ = stream.read(&mut [0; 64]).await;
                if nth >= hangs_up {
                    let stats = b"STAT pid 4\r\nSTAT uptime 9\r\nSTAT version 1.6.18\r\nSTAT curr_items 12\r\nEND\r\n";
                    let _ = stream.write_all(stats).await;
                }
            }
        })
        .await;
        let found = Identification {
            service: Some(Service { name: "memcached".into(), ..Service::default() }),
            ..Identification::bare(loopback(port).get(), Identity::Identified, Ts(0))
        };
        let policy = policy(SideEffect::Benign);
        let runs = check::run(loopback(port), &found, &policy, &Budget::default(), &Unpaced).await;
        let verdicts: Vec<_> = runs.iter().map(|r| (r.check.as_str(), r.verdict)).collect();
        assert_eq!(verdicts, [("memcached-unauthenticated", verdict)], "{runs:?}");
        assert_eq!(accepted.load(Ordering::SeqCst), had);
    }
}
