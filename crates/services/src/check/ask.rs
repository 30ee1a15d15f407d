//! Carries a talk to the endpoint: connections, TLS where the service was found inside it, waiting, and the farewell.
//!
//! It decides nothing: what to say next and what an answer proves is the dialogue's. It never follows anything elsewhere.

use super::datagram::Datagram;
use super::dialogue::{Decision, Dialogue, MAX_STEPS, Turn, Vars};
use crate::connection::{Ending, NoConnection, Stream, Visit};
use crate::tls::Handshake;
use crate::{Budget, Permit, tls};
use model::finding::Verdict;
use model::service::Amplification;
use model::{Endpoint, InScope};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

/// How long an answer is waited for. Servers that resolve our name before they answer take a second or two.
const WAIT: Duration = Duration::from_millis(2_500);

/// A certificate and two round trips.
const TLS_WAIT: Duration = Duration::from_millis(3_000);

/// How long a server gets to read our farewell, so that it clears its session away by our word and not by a timeout.
const LEAVING: Duration = Duration::from_millis(300);

/// How long a server that hangs up on our first words gets before they are said once more: X11's starts over whenever its last
/// client leaves, which was us when we identified it.
const AGAIN: Duration = Duration::from_millis(1_000);

/// UDP servers of these protocols answer from memory.
const DATAGRAM_WAIT: Duration = Duration::from_millis(1_500);
/// How long the rest of an answer of several datagrams is waited for.
const DATAGRAM_QUIET: Duration = Duration::from_millis(300);
/// A datagram may be lost once.
const DATAGRAM_TRIES: u8 = 2;

/// Who is asked, and at what price.
pub(crate) struct Asker<'a> {
    pub(crate) endpoint: InScope<Endpoint>,
    pub(crate) tls: bool,
    pub(crate) budget: &'a Budget,
    pub(crate) permit: &'a dyn Permit,
}

/// How a talk ended, and the answer that ended it.
pub(crate) struct Talked {
    pub(crate) decision: Decision,
    pub(crate) answer: Vec<u8>,
}

/// A number that differs from talk to talk; the standard library's only source of randomness.
pub(crate) fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

impl Asker<'_> {
    /// One talk, within one budget of connections, bytes and time.
    pub(crate) async fn talk(&self, name: &str, dialogue: &dyn Dialogue, account: &str, password: &str) -> Talked {
        let vars = Vars { endpoint: self.endpoint.get(), seed: seed(), account, password };
        let mut visit = Visit::new(self.endpoint, self.budget, self.permit);
        let mut heard: Vec<Vec<u8>> = Vec::new();
        let mut stream: Option<Stream> = None;
        let end = |decision: Decision, heard: &[Vec<u8>]| Talked { decision, answer: heard.last().cloned().unwrap_or_default() };
        loop {
            let so_far: Vec<&[u8]> = heard.iter().map(Vec::as_slice).collect();
            let question = match dialogue.turn(&vars, &so_far, true) {
                Turn::End(decision) => {
                    if let (Some(mut stream), false) = (stream, decision.farewell.is_empty()) {
                        visit.say(&mut stream, &decision.farewell).await;
                        visit.listen(&mut stream, LEAVING, |_| false).await;
                    }
                    return end(*decision, &heard);
                }
                Turn::More => return end(Decision::inconclusive(name, "the answer is not all there"), &heard),
                Turn::Listen => Vec::new(),
                Turn::Say(bytes) => bytes,
            };
            if heard.len() >= MAX_STEPS {
                return end(Decision::inconclusive(name, "the talk does not end"), &heard);
            }
            let kept = stream.is_some();
            let mut open = match stream.take() {
                Some(open) => open,
                None if heard.is_empty() || dialogue.separate() => match self.open(&mut visit, name).await {
                    Ok(open) => open,
                    Err(decision) => return end(*decision, &heard),
                },
                None => return end(Decision::inconclusive(name, "closed the connection"), &heard),
            };
            let mut answer = self.exchange(&mut visit, &mut open, dialogue, &vars, &heard, &question).await;
            let hung_up = answer.bytes.is_empty() && answer.ending == Ending::Closed;
            let first_words = heard.is_empty() && !dialogue.signs_in();
            if hung_up && first_words {
                tokio::time::sleep(AGAIN).await;
            }
            // A connection kept from the last answer may have been closed while we thought: the question was not read.
            if hung_up && (first_words || kept && dialogue.separate()) {
                open = match self.open(&mut visit, name).await {
                    Ok(open) => open,
                    Err(decision) => return end(*decision, &heard),
                };
                answer = self.exchange(&mut visit, &mut open, dialogue, &vars, &heard, &question).await;
            }
            if let (Ending::Alert(alert), true) = (answer.ending, answer.bytes.is_empty()) {
                return end(alerted(name, alert), &heard);
            }
            if matches!(answer.ending, Ending::Whole | Ending::Quiet) {
                stream = Some(open);
            }
            heard.push(answer.bytes);
        }
    }

    async fn exchange(
        &self,
        visit: &mut Visit<'_>,
        stream: &mut Stream,
        dialogue: &dyn Dialogue,
        vars: &Vars<'_>,
        heard: &[Vec<u8>],
        question: &[u8],
    ) -> crate::connection::Answer {
        let whole = |growing: &[u8]| {
            let with: Vec<&[u8]> = heard.iter().map(Vec::as_slice).chain([growing]).collect();
            dialogue.turn(vars, &with, false) != Turn::More
        };
        let mut answer = match question.is_empty() {
            true => visit.listen(stream, WAIT, whole).await,
            false => visit.ask(stream, question, WAIT, whole).await,
        };
        // A pause in an answer that is known not to be all there: a server that says "pending" is given as long again.
        if answer.ending == Ending::Quiet && !answer.bytes.is_empty() && !dialogue.separate() && !whole(&answer.bytes) {
            let begun = answer.bytes.clone();
            let more = visit.listen(stream, WAIT, |rest| whole(&[&begun[..], rest].concat())).await;
            answer.bytes.extend(more.bytes);
            answer.ending = more.ending;
        }
        answer
    }

    async fn open(&self, visit: &mut Visit<'_>, name: &str) -> Result<Stream, Box<Decision>> {
        let stream = visit.dial().await.map_err(|e| {
            Box::new(match e {
                NoConnection::Refused(why) => Decision::inconclusive(name, format!("no connection: {why}")),
                NoConnection::Spent => Decision::inconclusive(name, "the budget is spent"),
            })
        })?;
        if !self.tls {
            return Ok(stream);
        }
        match tls::handshake(visit, stream, TLS_WAIT, tls::HTTP1).await {
            Handshake::Done(stream, ..) => Ok(stream),
            Handshake::Alert(alert, ..) => Err(Box::new(alerted(name, alert))),
            Handshake::Foreign => Err(Box::new(Decision::inconclusive(name, "no TLS handshake"))),
        }
    }

    /// One question over UDP, repeated once.
    pub(crate) async fn datagram(&self, name: &str, datagram: &Datagram) -> Talked {
        let vars = Vars { endpoint: self.endpoint.get(), seed: seed(), account: "", password: "" };
        let mut last = Talked { decision: Decision::inconclusive(name, "no answer"), answer: Vec::new() };
        for _ in 0..DATAGRAM_TRIES {
            self.permit.acquire(self.endpoint.ip()).await;
            match self.send(datagram, &vars).await {
                Ok((first, bytes)) => {
                    let decision = datagram.judge(&vars, &first, bytes);
                    let answered = !first.is_empty();
                    last = Talked { decision, answer: first };
                    if answered {
                        break;
                    }
                }
                Err(why) => last.decision = Decision::inconclusive(name, format!("no answer: {why}")),
            }
        }
        last
    }

    async fn send(&self, datagram: &Datagram, vars: &Vars<'_>) -> std::io::Result<(Vec<u8>, Amplification)> {
        let at = self.endpoint.get();
        let any: IpAddr = if at.ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
        // Connected: it hears whom it asked, and nobody else.
        socket.connect(at.socket_addr()).await?;
        let question = datagram.question(vars);
        socket.send(&question).await?;
        let mut bytes = Amplification { asked: u32::try_from(question.len()).unwrap_or(u32::MAX), answered: 0 };
        let mut first = Vec::new();
        let mut buffer = vec![0u8; 65_535];
        let mut until = Instant::now() + DATAGRAM_WAIT.min(self.budget.per_endpoint);
        let hard = Instant::now() + self.budget.per_endpoint;
        loop {
            let left = until.min(hard).saturating_duration_since(Instant::now());
            match timeout(left, socket.recv(&mut buffer)).await {
                Err(_) => break,
                Ok(Err(e)) if first.is_empty() => return Err(e),
                Ok(Err(_)) => break,
                Ok(Ok(n)) if first.is_empty() && !datagram.answers(vars, &buffer[..n]) && buffer[..n] != question[..] => {}
                Ok(Ok(n)) => {
                    bytes.answered = bytes.answered.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
                    if first.is_empty() {
                        first = buffer[..n.min(self.budget.max_bytes)].to_vec();
                    }
                    if bytes.answered as usize > self.budget.max_bytes {
                        break;
                    }
                    until = Instant::now() + DATAGRAM_QUIET;
                }
            }
        }
        Ok((first, bytes))
    }
}

/// A TLS peer that breaks off.
fn alerted(name: &str, alert: rustls::AlertDescription) -> Decision {
    use rustls::AlertDescription as A;
    match alert {
        A::CertificateRequired
        | A::HandshakeFailure
        | A::BadCertificate
        | A::AccessDenied
        | A::UnknownCA
        | A::CertificateUnknown => {
            Decision::new(Verdict::NotProved, name).because(format!("asks for a client certificate (TLS alert {alert:?})"))
        }
        other => Decision::inconclusive(name, format!("TLS alert {other:?}")),
    }
}
