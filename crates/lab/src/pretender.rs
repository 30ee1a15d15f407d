//! Listeners that are no server: silent ones, ones that hang up, that answer everything alike, that pretend, and that attack whoever
//! asks them. Each counts what it was asked and what it sent.
//!
//! What they look like to portreeve is left to the tests and to the benchmark of identification.

use crate::host::Host;
use anyhow::{Context, Result};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a listener does with whoever connects.
#[derive(Clone, Debug)]
pub enum Manner {
    /// Says nothing, and keeps the connection.
    Silent,
    /// Hangs up at once.
    ClosesAtOnce,
    /// Hangs up on the first bytes.
    ClosesOnData,
    /// Sends back what it gets.
    Echo,
    /// Greets, and then says nothing.
    Greets(Vec<u8>),
    /// Answers whatever it is sent with the same bytes.
    Answers(Vec<u8>),
    /// Answers any request in HTTP with this status line, these header lines and this body, and hangs up.
    Http {
        /// `200 OK`.
        status: &'static str,
        /// Lines with their ends.
        headers: String,
        /// Body.
        body: String,
    },
    /// A page in HTTP for everybody, 401 for every other path, and the same answer for every name and password.
    AnyPassword {
        /// The page.
        page: String,
        /// What anybody is told who gives any password.
        inside: String,
    },
    /// Sends one byte a second.
    Drips,
    /// Sends this many bytes as fast as they are taken.
    Floods(u64),
    /// Redirects every request to another path of its own.
    RedirectsForEver,
    /// Sends header lines without end.
    EndlessHeaders,
    /// Begins a TLS handshake with a record that never ends, a byte a second.
    NeverFinishesTls,
    /// Answers HTTP with a small compressed body that would be huge: this many bytes of zeros, gzipped.
    GzipBomb(Vec<u8>),
}

/// A listener of some manner on a port of a host, with its counters. Ends when dropped.
#[derive(Debug)]
pub struct Pretender {
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    stop: AtomicBool,
    connections: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

impl Pretender {
    /// Connections it has had.
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }
    /// Bytes it was sent.
    pub fn received(&self) -> u64 {
        self.counts.received.load(Ordering::Relaxed)
    }
    /// Bytes that it got rid of: what the other side, or a kernel on the way, has taken.
    pub fn sent(&self) -> u64 {
        self.counts.sent.load(Ordering::Relaxed)
    }
}

impl Host {
    /// Starts such a listener on a port of the host.
    pub fn pretend(&self, port: u16, manner: Manner) -> Result<Pretender> {
        self.permit(port)?;
        let bound = self.namespace.enter(|| -> std::io::Result<TcpListener> {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
            socket.listen(1024)?;
            Ok(socket.into())
        });
        let listener = bound.with_context(|| format!("listening on port {port} of {}", self.name()))?;
        listener.set_nonblocking(true)?;
        let counts = Arc::new(Counts::default());
        let shared = counts.clone();
        let thread = std::thread::spawn(move || accept(&listener, &manner, &shared));
        Ok(Pretender { counts, thread: Some(thread) })
    }
}

impl Drop for Pretender {
    fn drop(&mut self) {
        self.counts.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, manner: &Manner, counts: &Arc<Counts>) {
    let mut visits: Vec<JoinHandle<()>> = Vec::new();
    while !counts.stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                counts.connections.fetch_add(1, Ordering::Relaxed);
                let (manner, counts) = (manner.clone(), counts.clone());
                visits.push(std::thread::spawn(move || {
                    // A visitor who goes away in the middle is nothing to report.
                    let _ = treat(stream, &manner, &counts);
                }));
                visits.retain(|v| !v.is_finished());
            }
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    for visit in visits {
        let _ = visit.join();
    }
}

/// How often a visit looks whether it shall end.
const TURN: Duration = Duration::from_millis(50);

fn treat(mut stream: TcpStream, manner: &Manner, counts: &Counts) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(TURN))?;
    stream.set_write_timeout(Some(TURN))?;
    let send = |stream: &mut TcpStream, mut bytes: &[u8]| -> std::io::Result<()> {
        while !bytes.is_empty() {
            match stream.write(bytes) {
                Ok(n) => {
                    counts.sent.fetch_add(n as u64, Ordering::Relaxed);
                    bytes = &bytes[n..];
                }
                Err(e) if waits(&e) && !counts.stop.load(Ordering::Relaxed) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    };
    let mut buffer = [0; 16 * 1024];
    // Bytes of the visitor; `None` when he has gone or the listener ends.
    let mut hear = |stream: &mut TcpStream| -> Option<Vec<u8>> {
        while !counts.stop.load(Ordering::Relaxed) {
            match stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(n) => {
                    counts.received.fetch_add(n as u64, Ordering::Relaxed);
                    return Some(buffer[..n].to_vec());
                }
                Err(e) if waits(&e) => {}
                Err(_) => return None,
            }
        }
        None
    };
    match manner {
        Manner::Silent => while hear(&mut stream).is_some() {},
        Manner::ClosesAtOnce => {}
        Manner::ClosesOnData => {
            hear(&mut stream);
        }
        Manner::Echo => {
            while let Some(bytes) = hear(&mut stream) {
                send(&mut stream, &bytes)?;
            }
        }
        Manner::Greets(bytes) => {
            send(&mut stream, bytes)?;
            while hear(&mut stream).is_some() {}
        }
        Manner::Answers(bytes) => {
            while hear(&mut stream).is_some() {
                send(&mut stream, bytes)?;
            }
        }
        Manner::Http { status, headers, body } => {
            if hear(&mut stream).is_some_and(|b| b.is_ascii()) {
                let text =
                    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
                send(&mut stream, text.as_bytes())?;
            }
        }
        Manner::AnyPassword { page, inside } => {
            let request = hear(&mut stream).unwrap_or_default();
            let request = String::from_utf8_lossy(&request).to_ascii_lowercase();
            let (status, body) = match () {
                () if request.contains("\r\nauthorization:") => ("200 OK", inside.as_str()),
                () if request.starts_with("get / ") => ("200 OK", page.as_str()),
                () => ("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"panel\"", ""),
            };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            send(&mut stream, head.as_bytes())?;
        }
        Manner::Drips => drip(&mut stream, b"z", counts, send)?,
        Manner::Floods(total) => {
            let piece = vec![b'g'; 64 * 1024];
            let mut left = *total;
            while left > 0 {
                let n = left.min(piece.len() as u64);
                send(&mut stream, &piece[..n as usize])?;
                left -= n;
            }
        }
        Manner::RedirectsForEver => {
            // Each path is new, so that remembering where one has been does not help.
            while hear(&mut stream).is_some() {
                let turn = counts.sent.load(Ordering::Relaxed);
                let text = format!("HTTP/1.1 302 Found\r\nLocation: /{turn}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                send(&mut stream, text.as_bytes())?;
                stream.shutdown(Shutdown::Write)?;
            }
        }
        Manner::EndlessHeaders => {
            hear(&mut stream);
            send(&mut stream, b"HTTP/1.1 200 OK\r\n")?;
            loop {
                send(&mut stream, b"X-And-So-On: and so on and so on and so on and so on\r\n")?;
            }
        }
        Manner::NeverFinishesTls => {
            hear(&mut stream);
            // A handshake record of 16 KiB, of which the length is all that ever comes quickly.
            send(&mut stream, &[0x16, 3, 3, 0x40, 0, 2, 0, 0x3f, 0xfc, 3, 3])?;
            drip(&mut stream, &[0], counts, send)?;
        }
        Manner::GzipBomb(body) => {
            hear(&mut stream);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            send(&mut stream, head.as_bytes())?;
            send(&mut stream, body)?;
        }
    }
    Ok(())
}

fn drip(
    stream: &mut TcpStream,
    drop: &[u8],
    counts: &Counts,
    send: impl Fn(&mut TcpStream, &[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    while !counts.stop.load(Ordering::Relaxed) {
        send(stream, drop)?;
        let next = Instant::now() + Duration::from_secs(1);
        while Instant::now() < next && !counts.stop.load(Ordering::Relaxed) {
            std::thread::sleep(TURN);
        }
    }
    Ok(())
}

fn waits(e: &std::io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
