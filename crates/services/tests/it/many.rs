//! Many endpoints at once: nothing lost, nothing twice, never too many together.

use crate::{loopback, servers};
use model::service::Identity;
use model::{Endpoint, InScope, Scope};
use services::{Budget, Unpaced, identify_all};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A silent port on 127.0.0.<host> that records how many connections are open at the same time.
async fn silent(host: u8, open: Arc<AtomicUsize>, most: Arc<AtomicUsize>) -> InScope<Endpoint> {
    let listener = TcpListener::bind((format!("127.0.0.{host}"), servers::free_port())).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let open = open.clone();
            tokio::spawn(async move {
                let mut sink = [0; 64];
                while stream.read(&mut sink).await.is_ok_and(|n| n > 0) {}
                open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    let scope = Scope::new(&["127.0.0.0/8".parse().unwrap()], &[]);
    scope.admit(Endpoint::tcp(address.ip(), address.port())).unwrap()
}

fn quick() -> Budget {
    Budget {
        banner_wait: Duration::from_millis(100),
        per_endpoint: Duration::from_millis(400),
        max_unanswered: 1,
        ..Budget::default()
    }
}

#[tokio::test]
async fn all_are_identified_once_within_both_limits() {
    let (total, most_total) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut endpoints = Vec::new();
    for n in 0..30 {
        endpoints.push(silent(1 + n % 3, total.clone(), most_total.clone()).await);
    }
    let (one_host, most_of_one) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for _ in 0..8 {
        endpoints.push(silent(9, one_host.clone(), most_of_one.clone()).await);
    }
    let expected: BTreeMap<Endpoint, usize> = endpoints.iter().map(|e| (e.get(), 1)).collect();
    let (out, mut results) = mpsc::channel(4);
    let cancel = CancellationToken::new();
    let budget = quick();
    let run = identify_all(endpoints, &budget, &Unpaced, 6, 2, out, &cancel);
    let collect = async {
        let mut seen = BTreeMap::new();
        while let Some(result) = results.recv().await {
            assert_eq!(result.identification.identity, Identity::Silent);
            *seen.entry(result.identification.endpoint).or_insert(0) += 1;
        }
        seen
    };
    let ((), seen) = tokio::join!(run, collect);
    assert_eq!(seen, expected);
    let (most_total, most_of_one) = (most_total.load(Ordering::SeqCst), most_of_one.load(Ordering::SeqCst));
    // One more than the limit can be seen at the listener: the next connection may arrive before the last one's end does.
    assert!((2..=7).contains(&most_total), "{most_total}");
    assert!((1..=3).contains(&most_of_one), "{most_of_one}");
}

#[tokio::test]
async fn cancelling_ends_it_at_once() {
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut endpoints = Vec::new();
    for _ in 0..10 {
        endpoints.push(silent(1, open.clone(), most.clone()).await);
    }
    let (out, mut results) = mpsc::channel(16);
    let cancel = CancellationToken::new();
    let trigger = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        trigger.cancel();
    });
    let begun = Instant::now();
    identify_all(endpoints, &Budget::default(), &Unpaced, 2, 2, out, &cancel).await;
    assert!(begun.elapsed() < Duration::from_millis(800), "{:?}", begun.elapsed());
    assert!(results.recv().await.is_none(), "six seconds of silence were not over");
    // The sockets are gone with it.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(open.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn nobody_listening_ends_it() {
    let (out, results) = mpsc::channel(1);
    drop(results);
    let endpoints = (0..50).map(|_| loopback(servers::free_port())).collect();
    let cancel = CancellationToken::new();
    let budget = Budget::default();
    let run = identify_all(endpoints, &budget, &Unpaced, 4, 4, out, &cancel);
    tokio::time::timeout(Duration::from_secs(5), run).await.unwrap();
}
