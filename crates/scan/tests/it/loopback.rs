//! This machine's own addresses, which `connect` asks whatever the method.

use crate::{all_found, fast, states, sweep};
use model::{Liveness, Scope};
use scan::{Found, Method, Ping, capability, liveness, sweep as scan_sweep};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::time::Duration;

#[tokio::test]
async fn listeners_on_loopback_are_open_and_everything_else_is_closed() {
    let (v4, v6) = (TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap());
    let (v4, v6) = ((v4.local_addr().unwrap(), v4), (v6.local_addr().unwrap(), v6));
    for method in [Method::Auto, Method::Connect] {
        // Port 1 is tcpmux, which nobody runs.
        let mut s = sweep(&["127.0.0.1", "::1"], &format!("1,{},{}", v4.0.port(), v6.0.port()));
        s.method = method;
        s.report_all = true;
        let (found, summary) = all_found(|out, progress, cancel| scan_sweep(s, out, progress, cancel)).await;
        let states = states(&found);
        assert_eq!(states[&format!("{}/tcp", v4.0)], "open/connected");
        assert_eq!(states[&format!("{}/tcp", v6.0)], "open/connected");
        assert_eq!(states["127.0.0.1:1/tcp"], "closed/conn-refused");
        assert_eq!(states["[::1]:1/tcp"], "closed/conn-refused");
        assert_eq!(summary.method, if method == Method::Connect { Method::Connect } else { capability().method });
        assert!(!summary.cancelled && summary.not_probed == 0);
    }
}

#[tokio::test]
async fn loopback_is_alive() {
    let targets = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    let scope = Scope::new(&targets, &[]);
    let ping = Ping { retries: 0, timeout: Duration::from_millis(300), ..Ping::new(targets, scope, fast()) };
    let (found, summary) = all_found(|out, progress, cancel| liveness(ping, out, progress, cancel)).await;
    assert!(found.iter().all(|f| matches!(f, Found::Host(h) if h.liveness == Liveness::Online)), "{found:?}");
    assert_eq!((found.len(), summary.hosts_up), (2, 2));
}

#[tokio::test]
async fn an_early_end_leaves_no_sockets_behind() {
    let s = {
        let mut s = sweep(&["127.0.0.0/24"], "1-2000");
        s.method = Method::Connect;
        s
    };
    all_found(|out, progress, cancel| {
        let stop = cancel.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            stop.cancel();
        });
        scan_sweep(s, out, progress, cancel)
    })
    .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let sockets = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter(|fd| {
            fd.as_ref().is_ok_and(|fd| fd.path().read_link().is_ok_and(|to| to.to_string_lossy().starts_with("socket:")))
        })
        .count();
    assert!(sockets < 100, "{sockets} sockets are open");
}
