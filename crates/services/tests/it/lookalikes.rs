//! Every check against what is not its service: silence, hanging up, echoes, one page for everything, and the very answer that
//! would prove it given to every question. None of them may be called a finding.

use crate::credentials::approved;
use futures::StreamExt;
use model::check::Checks;
use model::finding::{CheckPolicy, SideEffect, Verdict};
use model::service::{Identification, Identity, Service};
use model::{Endpoint, InScope, Proto, Scope, Ts};
use services::{Budget, Unpaced, check};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// What stands in the place of the service.
#[derive(Clone, Debug)]
enum Stand {
    Silent,
    HangsUp,
    Echo,
    /// A line of text to everything, and before it.
    Talks,
    /// This to every request.
    Always(Vec<u8>),
}

/// A check as the catalogue has it: its identity, and the answers of its first case that proves.
struct Subject {
    id: String,
    service: String,
    product: Option<String>,
    by_http: bool,
    over_udp: bool,
    proof: Vec<Vec<u8>>,
}

fn subjects() -> Vec<Subject> {
    let mut all = Vec::new();
    for (file, text) in Checks::builtin_files() {
        let parsed: toml::Table = text.parse().unwrap_or_else(|e| panic!("{file}: {e}"));
        for entry in parsed["check"].as_array().unwrap() {
            let words = |key: &str| entry.get(key).and_then(|v| v.as_array()).and_then(|a| a.first()).and_then(|v| v.as_str());
            let login = entry.get("login");
            if entry.get("identified").is_some() {
                continue;
            }
            let cases = entry["cases"].as_array().unwrap();
            let proved = cases.iter().find(|c| c["verdict"].as_str() == Some("proved")).unwrap();
            let answers = proved["answers"].as_array().unwrap().iter();
            all.push(Subject {
                id: entry["id"].as_str().unwrap().to_owned(),
                service: words("services").unwrap().to_owned(),
                product: words("products").map(str::to_owned),
                by_http: entry.get("http").or_else(|| login.and_then(|l| l.get("http"))).is_some(),
                over_udp: entry.get("datagram").is_some(),
                proof: answers.map(|a| model::udp::unescape(a.as_str().unwrap()).unwrap()).collect(),
            });
        }
    }
    all
}

/// A response with its length declared, so that a connection may stay open.
fn with_length(response: &[u8]) -> Vec<u8> {
    let at = response.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    let length = format!("\r\nContent-Length: {}\r\n\r\n", response.len() - at - 4);
    [&response[..at], length.as_bytes(), &response[at + 4..]].concat()
}

async fn stand(listener: TcpListener, stand: Stand) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        let stand = stand.clone();
        tokio::spawn(async move {
            let mut piece = vec![0; 16_384];
            if let Stand::HangsUp = stand {
                return;
            }
            if let Stand::Talks = stand {
                stream.write_all(b"hello\r\n").await.ok();
            }
            while let Ok(n @ 1..) = stream.read(&mut piece).await {
                let said = match &stand {
                    Stand::Silent | Stand::HangsUp => Vec::new(),
                    Stand::Echo => piece[..n].to_vec(),
                    Stand::Talks => b"hello\r\n".to_vec(),
                    Stand::Always(bytes) => bytes.clone(),
                };
                if stream.write_all(&said).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn stand_udp(socket: UdpSocket, stand: Stand) {
    let mut piece = vec![0; 16_384];
    while let Ok((n, from)) = socket.recv_from(&mut piece).await {
        let said = match &stand {
            Stand::Silent | Stand::HangsUp => continue,
            Stand::Echo => piece[..n].to_vec(),
            Stand::Talks => b"hello\r\n".to_vec(),
            Stand::Always(bytes) => bytes.clone(),
        };
        socket.send_to(&said, from).await.ok();
    }
}

/// Runs one check against one of them and gives its verdict.
async fn verdict(subject: &Subject, what: &Stand, n: usize) -> (Verdict, String) {
    // An address of its own, so that no attempt counts for another check.
    let ip = Ipv4Addr::new(127, 7, u8::try_from(n / 200).unwrap(), 1 + u8::try_from(n % 200).unwrap());
    let at = SocketAddr::new(IpAddr::V4(ip), 0);
    let (port, task) = if subject.over_udp {
        let socket = UdpSocket::bind(at).await.unwrap();
        (socket.local_addr().unwrap().port(), tokio::spawn(stand_udp(socket, what.clone())))
    } else {
        let listener = TcpListener::bind(at).await.unwrap();
        (listener.local_addr().unwrap().port(), tokio::spawn(stand(listener, what.clone())))
    };
    let proto = if subject.over_udp { Proto::Udp } else { Proto::Tcp };
    let scope = Scope::new(&["127.0.0.0/8".parse().unwrap()], &[]);
    let endpoint: InScope<Endpoint> = scope.admit(Endpoint { ip: ip.into(), port, proto }).unwrap();
    let found = Identification {
        service: Some(Service { name: subject.service.clone(), product: subject.product.clone(), ..Service::default() }),
        ..Identification::bare(endpoint.get(), Identity::Identified, Ts(0))
    };
    let policy = CheckPolicy { ceiling: Some(SideEffect::Intrusive), ..approved(2) };
    let runs = check::run(endpoint, &found, &policy, &Budget::default(), &Unpaced).await;
    task.abort();
    let run = runs.iter().find(|r| r.check == subject.id);
    let run = run.unwrap_or_else(|| panic!("{} did not run: {runs:?}", subject.id));
    (run.verdict, run.reason.clone().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_not_the_service_is_a_finding() {
    let subjects = subjects();
    let page = with_length(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<title>hello</title>");
    let mut trials: Vec<(usize, Stand)> = Vec::new();
    for (i, subject) in subjects.iter().enumerate() {
        for what in [Stand::Silent, Stand::HangsUp, Stand::Echo, Stand::Talks, Stand::Always(page.clone())] {
            trials.push((i, what));
        }
        if subject.by_http {
            trials.push((i, Stand::Always(with_length(&subject.proof[0]))));
        }
    }
    let count = trials.len();
    let results: Vec<String> = futures::stream::iter(trials.into_iter().enumerate())
        .map(|(n, (i, what))| {
            let subject = &subjects[i];
            async move {
                let (verdict, why) = verdict(subject, &what, n).await;
                let proof = matches!(&what, Stand::Always(bytes) if subject.by_http && *bytes == with_length(&subject.proof[0]));
                let name = if proof { "Always(its own proof)".to_owned() } else { format!("{what:?}") };
                let wrong = verdict == Verdict::Proved || proof && verdict != Verdict::OtherService;
                wrong.then(|| format!("{} against {name:.60}: {verdict} ({why})", subject.id))
            }
        })
        .buffer_unordered(160)
        .filter_map(|wrong| async move { wrong })
        .collect()
        .await;
    assert!(count > 300, "{count} trials");
    assert!(results.is_empty(), "{} of {count}:\n{}", results.len(), results.join("\n"));
}
