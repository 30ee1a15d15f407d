//! Connections to one endpoint under one budget: so many handshakes, so many bytes, so much time, then no more.
//!
//! A visit is the life of one attempt to identify. What to say on a connection is left to `identify` and `panel`.

use crate::{Budget, Permit};
use model::{Endpoint, InScope, Observation, Reason, State, Ts};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;

/// Once something has come, this much silence ends an answer whose end its protocol does not mark. Two retransmission
/// timeouts at their floor of 200 ms (Linux, RFC 6298 says a second): a lost segment is waited for, a talker is not.
const QUIET: Duration = Duration::from_millis(400);

/// How long an answer that has begun may go on. A server that drips a byte at a time gets no more than this.
const ANSWER: Duration = Duration::from_millis(2_500);

/// The instant, from the system's clock.
pub(crate) fn now() -> Ts {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ts(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Its reader says that it is whole.
    Whole,
    /// Nothing more came for a while, or the time was up.
    Quiet,
    /// The peer closed, or reset.
    Closed,
    /// Our cap on bytes.
    Full,
    /// The TLS layer below failed with this alert of the peer.
    Alert(rustls::AlertDescription),
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ending: Ending,
}

/// A plain or an encrypted stream.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Stream::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_flush(cx),
            Stream::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum NoConnection {
    /// The target did not accept.
    Refused(String),
    /// The budget is spent.
    Spent,
}

/// One attempt's dealings with one endpoint.
pub(crate) struct Visit<'a> {
    endpoint: InScope<Endpoint>,
    budget: &'a Budget,
    permit: &'a dyn Permit,
    deadline: Instant,
    connections_left: u8,
    /// Connections that may still end without an answer. Each has one of these until it gets one.
    unanswered_left: u8,
    /// Whether the latest connection has yet to be answered.
    unanswered: bool,
    bytes_left: usize,
    /// What the first handshake said.
    pub(crate) observation: Option<Observation>,
}

impl<'a> Visit<'a> {
    pub(crate) fn new(endpoint: InScope<Endpoint>, budget: &'a Budget, permit: &'a dyn Permit) -> Self {
        Visit {
            endpoint,
            budget,
            permit,
            deadline: Instant::now() + budget.per_endpoint,
            connections_left: budget.max_connections,
            unanswered_left: budget.max_unanswered,
            unanswered: false,
            bytes_left: budget.max_bytes,
            observation: None,
        }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint.get()
    }

    /// Whether another connection may be made, would have time to say anything, and its answer room.
    pub(crate) fn may_dial(&self) -> bool {
        self.connections_left > 0 && self.unanswered_left > 0 && self.bytes_left > 0 && !self.time_left().is_zero()
    }

    /// The latest connection has been answered, if only by hanging up.
    pub(crate) fn answered(&mut self) {
        if std::mem::take(&mut self.unanswered) {
            self.unanswered_left += 1;
        }
    }

    pub(crate) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// One TCP handshake, paced by the caller. The time spent waiting for the permit is not the target's.
    pub(crate) async fn dial(&mut self) -> Result<Stream, NoConnection> {
        if !self.may_dial() {
            return Err(NoConnection::Spent);
        }
        self.connections_left -= 1;
        self.unanswered_left -= 1;
        self.unanswered = true;
        let asked = Instant::now();
        self.permit.acquire(self.endpoint.ip()).await;
        self.deadline += asked.elapsed();
        let cap = self.budget.connect.min(self.time_left());
        let outcome = timeout(cap, TcpStream::connect(self.endpoint().socket_addr())).await;
        let seen = match &outcome {
            Ok(Ok(_)) => Some((State::Open, Reason::Connected)),
            Ok(Err(e)) => state_of(e),
            Err(_) => Some((State::Filtered, Reason::Timeout)),
        };
        if let (None, Some((state, reason))) = (&self.observation, seen) {
            self.observation = Some(Observation { endpoint: self.endpoint(), state, reason, observed_at: now() });
        }
        match outcome {
            Ok(Ok(stream)) => {
                // Requests are one small write each; waiting to fill a segment would only cost the target's time.
                stream.set_nodelay(true).ok();
                Ok(Stream::Plain(stream))
            }
            Ok(Err(e)) => Err(NoConnection::Refused(e.to_string())),
            Err(_) => Err(NoConnection::Refused("no answer to the handshake".into())),
        }
    }

    /// Reads until `whole` says so, the peer closes, or it has been silent for `wait` (before its first byte) or
    /// [`QUIET`] (after). Never longer than the budget, never more than its bytes.
    pub(crate) async fn listen(&mut self, stream: &mut Stream, wait: Duration, whole: impl Fn(&[u8]) -> bool) -> Answer {
        let mut bytes = Vec::new();
        let mut piece = [0u8; 4096];
        let mut until = Instant::now() + wait.min(self.time_left());
        let mut hard = None;
        let ending = loop {
            if self.bytes_left == 0 {
                break Ending::Full;
            }
            let room = piece.len().min(self.bytes_left);
            let left = until.saturating_duration_since(Instant::now());
            match timeout(left, stream.read(&mut piece[..room])).await {
                Err(_) => break Ending::Quiet,
                Ok(Ok(0)) => break Ending::Closed,
                Ok(Err(e)) => break alert_in(&e).map_or(Ending::Closed, Ending::Alert),
                Ok(Ok(n)) => {
                    self.bytes_left -= n;
                    bytes.extend_from_slice(&piece[..n]);
                    if whole(&bytes) {
                        break Ending::Whole;
                    }
                    let hard = *hard.get_or_insert_with(|| (Instant::now() + ANSWER).min(self.deadline));
                    until = (Instant::now() + QUIET).min(hard);
                }
            }
        };
        if !bytes.is_empty() || ending != Ending::Quiet {
            self.answered();
        }
        Answer { bytes, ending }
    }

    /// Sends a request and listens for its answer.
    pub(crate) async fn ask(
        &mut self,
        stream: &mut Stream,
        request: &[u8],
        wait: Duration,
        whole: impl Fn(&[u8]) -> bool,
    ) -> Answer {
        if !self.say(stream, request).await {
            // The peer may have answered and closed before our bytes were out: what it said is still in the buffer.
            return self.listen(stream, Duration::from_millis(50), whole).await;
        }
        self.listen(stream, wait, whole).await
    }

    /// Sends without expecting an answer, for instance a farewell. Whether everything went out.
    pub(crate) async fn say(&mut self, stream: &mut Stream, bytes: &[u8]) -> bool {
        let send = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        matches!(timeout(self.time_left().min(ANSWER), send).await, Ok(Ok(())))
    }
}

/// What a failed `connect` says of the port; `None` when it says something of us only.
fn state_of(e: &io::Error) -> Option<(State, Reason)> {
    use io::ErrorKind as K;
    match e.kind() {
        K::ConnectionRefused => Some((State::Closed, Reason::ConnectionRefused)),
        K::ConnectionReset | K::ConnectionAborted => Some((State::Closed, Reason::Rst)),
        K::TimedOut => Some((State::Filtered, Reason::Timeout)),
        K::HostUnreachable | K::NetworkUnreachable => Some((State::Filtered, Reason::IcmpUnreachable)),
        // What Linux makes of "administratively prohibited" when it is this machine's own filter that says so.
        K::PermissionDenied => Some((State::Filtered, Reason::IcmpProhibited)),
        _ => None,
    }
}

/// The peer's TLS alert inside an error of the stream, if that is what it is.
pub(crate) fn alert_in(e: &io::Error) -> Option<rustls::AlertDescription> {
    match e.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_ours_says_nothing_about_the_target() {
        for (errno, seen) in [
            (111, Some((State::Closed, Reason::ConnectionRefused))),
            (110, Some((State::Filtered, Reason::Timeout))),
            (113, Some((State::Filtered, Reason::IcmpUnreachable))),
            (101, Some((State::Filtered, Reason::IcmpUnreachable))),
            (24, None), // too many open files
            (99, None), // no free local port
        ] {
            assert_eq!(state_of(&io::Error::from_raw_os_error(errno)), seen, "errno {errno}");
        }
    }
}
