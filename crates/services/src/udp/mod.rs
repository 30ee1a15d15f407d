//! Talking to one UDP port: the payloads of `catalog/udp/` that the port promises, one after the other, until one is answered
//! by what it asked for.
//!
//! The same payloads opened the port in the sweep; here their answers are read. An answer counts only from the endpoint
//! asked, and with the id that went out where the protocol has one. What the size of an answer means is left to `assess`, what
//! answers hold beyond their pattern to `read`.

mod read;

use crate::bytes::{printable, tidy};
use crate::catalog::{Rules, compile};
use crate::connection::now;
use crate::order::affinity;
use crate::{Budget, Permit};
use model::service::{Amplification, Identity, Service};
use model::udp::{Echoed, Payload, PayloadRule, Payloads};
use model::{Endpoint, InScope, Observation, Reason, State};
use read::Detail;
use regex::bytes::Regex;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

/// How long an answer is waited for: servers of these protocols answer from memory.
const WAIT: Duration = Duration::from_millis(1_000);
/// How long to go on listening for the rest of an answer of several datagrams.
const QUIET: Duration = Duration::from_millis(200);
/// Each question that the port promises is asked twice: a datagram may be lost.
const TRIES: u8 = 2;
/// How long an answer is waited for where the port promises nothing and there are many questions: longer than a round trip
/// round the world (RFC 6298 begins with a second, of which most is caution).
const WAIT_UNPROMISED: Duration = Duration::from_millis(600);

/// How the attempt ended, in the words of an identification.
pub(crate) struct Talk {
    pub(crate) identity: Identity,
    pub(crate) service: Option<Service>,
    pub(crate) evidence: Option<String>,
    pub(crate) banner: Option<String>,
    pub(crate) observation: Option<Observation>,
}

/// One datagram or several that answer a question.
struct Heard {
    first: Vec<u8>,
    asked: u32,
    answered: u32,
    /// The answer is the question.
    echo: bool,
}

/// What one question led to.
enum Outcome {
    Heard(Heard),
    Refused,
    Unreachable,
    Silence,
    /// The failure is ours and says nothing of the target.
    Ours(String),
}

/// Finds out what answers on the UDP endpoint, within the budget.
pub(crate) async fn talk(endpoint: InScope<Endpoint>, budget: &Budget, permit: &dyn Permit) -> Talk {
    let at = endpoint.get();
    let bare = |identity, evidence: Option<String>, seen: Option<(State, Reason)>| Talk {
        identity,
        service: None,
        evidence,
        banner: None,
        observation: seen.map(|(state, reason)| Observation { endpoint: at, state, reason, observed_at: now() }),
    };
    if let Some(why) = Rules::current().excluded(at.port) {
        return bare(Identity::Excluded, Some(format!("never-probe: {why}")), None);
    }
    let (promised, others) = questions(at.port, usize::from(budget.max_unanswered));
    let rounds = (0..TRIES).map(|_| (&promised, WAIT)).chain([(&others, WAIT_UNPROMISED)]);
    let mut until = Instant::now() + budget.per_endpoint;
    let mut unrecognised: Option<Talk> = None;
    for (questions, wait) in rounds {
        for question in questions {
            let waiting = Instant::now();
            permit.acquire(endpoint.ip()).await;
            until += waiting.elapsed();
            let name = question.map_or("empty-datagram", |p| p.name.as_str());
            let left = until.saturating_duration_since(Instant::now());
            match ask(at, *question, wait.min(left), budget.max_bytes).await {
                Outcome::Heard(heard) => {
                    let mut answer = told(at, *question, name, heard);
                    if answer.identity == Identity::Identified {
                        follow(&mut answer, *question, endpoint, &mut until, budget, permit).await;
                        return answer;
                    }
                    unrecognised.get_or_insert(answer);
                }
                Outcome::Refused if unrecognised.is_none() => {
                    let seen = (State::Closed, Reason::IcmpPortUnreachable);
                    return bare(Identity::Unreachable, Some(format!("{name}: port unreachable")), Some(seen));
                }
                Outcome::Unreachable if unrecognised.is_none() => {
                    let seen = (State::Filtered, Reason::IcmpUnreachable);
                    return bare(Identity::Unreachable, Some(format!("{name}: unreachable")), Some(seen));
                }
                Outcome::Ours(why) if unrecognised.is_none() => return bare(Identity::Unreachable, Some(tidy(&why, 80)), None),
                _ => {}
            }
            if until <= Instant::now() {
                break;
            }
        }
        // What has answered something answers no better the second time.
        if unrecognised.is_some() {
            break;
        }
    }
    unrecognised.unwrap_or_else(|| bare(Identity::Silent, None, Some((State::OpenFiltered, Reason::Timeout))))
}

/// What is asked on a port: what its number promises, an empty datagram where it promises nothing; and then, within so many
/// questions, what its number resembles, best first. With room for all of them, all of them are asked.
fn questions(port: u16, most: usize) -> (Vec<Option<&'static Payload>>, Vec<Option<&'static Payload>>) {
    let payloads = Payloads::builtin();
    let mut promised: Vec<Option<&'static Payload>> = payloads.of_port(port).map(Some).collect();
    if promised.is_empty() {
        promised.push(None);
    }
    let known = |p: &&Payload| !p.ports.contains(&port) && p.follows.is_none() && telling(p);
    let mut others: Vec<(u8, &'static Payload)> =
        payloads.all().iter().filter(known).map(|p| (affinity(port, &p.ports), p)).collect();
    others.sort_by_key(|(affinity, _)| std::cmp::Reverse(*affinity));
    let room = most.saturating_sub(promised.len());
    let all = room >= others.len();
    let others = others.into_iter().filter(|(affinity, _)| all || *affinity > 0).take(room).map(|(_, p)| Some(p)).collect();
    (promised, others)
}

/// Whether an answer to the payload can be told from an answer to anything: not the services that answer any datagram at all.
fn telling(payload: &Payload) -> bool {
    !matches!(payload.service.as_str(), "daytime" | "qotd" | "chargen" | "echo" | "a2s")
}

/// Asks what follows an answer, until the version is known. What it adds is added; the largest amplification is kept.
async fn follow(
    answer: &mut Talk,
    question: Option<&'static Payload>,
    endpoint: InScope<Endpoint>,
    until: &mut Instant,
    budget: &Budget,
    permit: &dyn Permit,
) {
    let at = endpoint.get();
    for next in question.into_iter().flat_map(|q| Payloads::builtin().following(&q.name)) {
        if answer.service.as_ref().is_some_and(|s| s.version.is_some()) {
            return;
        }
        let waiting = Instant::now();
        permit.acquire(endpoint.ip()).await;
        *until += waiting.elapsed();
        let left = until.saturating_duration_since(Instant::now());
        let Outcome::Heard(heard) = ask(at, Some(next), WAIT.min(left), budget.max_bytes).await else { continue };
        let more = told(at, Some(next), &next.name, heard);
        let (Identity::Identified, Some(found), Some(service)) = (more.identity, more.service, answer.service.as_mut()) else {
            continue;
        };
        if found.amplification.map(Amplification::ratio) > service.amplification.map(Amplification::ratio) {
            service.amplification = found.amplification;
        }
        if found.product.is_some() {
            (service.product, service.version) = (found.product, found.version);
            (answer.evidence, answer.banner) = (more.evidence, more.banner);
        }
    }
}

/// What the answer proves.
fn told(at: Endpoint, question: Option<&Payload>, evidence: &str, heard: Heard) -> Talk {
    let amplification = (heard.asked > 0).then_some(Amplification { asked: heard.asked, answered: heard.answered });
    let echo = || heard.echo.then(|| Service { name: "echo".into(), ..Service::default() });
    let found = question.and_then(|payload| recognise_shown(payload, &heard.first)).or_else(|| echo().map(|s| (s, None)));
    let shown = found.as_ref().and_then(|(_, shown)| shown.clone());
    let (identity, service) = match found {
        Some((service, _)) => (Identity::Identified, Service { amplification, ..service }),
        // A datagram has no lines; that something answers is all there is to say.
        None => (Identity::ProtocolOnly, Service { name: "binary".into(), amplification, ..Service::default() }),
    };
    Talk {
        identity,
        service: Some(service),
        evidence: Some(evidence.to_owned()),
        banner: Some(shown.unwrap_or_else(|| printable(&heard.first))),
        observation: Some(Observation { endpoint: at, state: State::Open, reason: Reason::UdpResponse, observed_at: now() }),
    }
}

/// The service that the answer to a payload proves, by the first of its rules that matches and the structure behind it.
pub(crate) fn recognise(payload: &Payload, answer: &[u8]) -> Option<Service> {
    recognise_shown(payload, answer).map(|(service, _)| service)
}

/// The same, with what is kept as evidence instead of the first bytes.
fn recognise_shown(payload: &Payload, answer: &[u8]) -> Option<(Service, Option<String>)> {
    let rules = compiled().get(payload.name.as_str())?;
    let (rule, captures) = rules.iter().find_map(|(rule, pattern)| Some((rule, pattern.captures(answer)?)))?;
    let captured = |name: &str| {
        let text = captures.name(name)?.as_bytes();
        Some(tidy(&String::from_utf8_lossy(text), 96)).filter(|t| !t.is_empty())
    };
    let mut service = Service {
        name: payload.service.clone(),
        product: rule.product.clone().or_else(|| captured("product")),
        version: captured("version"),
        ..Service::default()
    };
    match read::closer(&payload.name, answer, &mut service) {
        Detail::Refused => None,
        Detail::Nothing => Some((service, None)),
        Detail::Shown(shown) => Some((service, Some(shown))),
    }
}

type Compiled = HashMap<&'static str, Vec<(&'static PayloadRule, Regex)>>;

/// The rules of every payload. The tests compile them all, so none is missing here.
fn compiled() -> &'static Compiled {
    static COMPILED: OnceLock<Compiled> = OnceLock::new();
    COMPILED.get_or_init(|| {
        let rules = |p: &'static Payload| p.rules.iter().filter_map(|r| Some((r, compile(&r.pattern).ok()?))).collect();
        Payloads::builtin().all().iter().map(|p| (p.name.as_str(), rules(p))).collect()
    })
}

/// Asks once, by an ordinary socket with a port of its own.
async fn ask(at: Endpoint, question: Option<&Payload>, wait: Duration, most: usize) -> Outcome {
    let any: IpAddr = if at.ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let any_port = question.is_some_and(|p| p.any_port);
    let socket = match UdpSocket::bind(SocketAddr::new(any, 0)).await {
        Ok(socket) => socket,
        Err(e) => return Outcome::Ours(e.to_string()),
    };
    // A connected socket hears only whom it asked, refusals too; an answer from another port needs an unconnected one.
    if !any_port && let Err(e) = socket.connect(at.socket_addr()).await {
        return outcome(&e);
    }
    let src_port = socket.local_addr().map_or(0, |local| local.port());
    // The standard library's only source of randomness; it need not be better than a port number.
    let id = RandomState::new().build_hasher().finish();
    let mut request = Vec::new();
    if let Some(payload) = question {
        payload.render(id, src_port, &mut request);
    }
    if let Err(e) = socket.send_to_target(&request, at, any_port).await {
        return outcome(&e);
    }
    let mut heard = Heard { first: Vec::new(), asked: request.len() as u32, answered: 0, echo: false };
    let mut came = false;
    let mut buffer = vec![0u8; 65_535];
    let mut until = Instant::now() + wait;
    loop {
        match timeout(until.saturating_duration_since(Instant::now()), socket.recv_from(&mut buffer)).await {
            Err(_) => break,
            Ok(Err(_)) if came => break,
            Ok(Err(e)) => return outcome(&e),
            Ok(Ok((_, from))) if from.ip() != at.ip => {}
            Ok(Ok((n, _))) if question.is_some_and(|p| p.echoed(id, &buffer[..n]) == Echoed::No) => {}
            Ok(Ok((n, _))) => {
                heard.answered = heard.answered.saturating_add(n as u32);
                if !came {
                    came = true;
                    heard.first = buffer[..n.min(most)].to_vec();
                    heard.echo = !request.is_empty() && buffer[..n] == request[..];
                    until = Instant::now() + QUIET;
                }
                if heard.answered as usize > most {
                    break;
                }
            }
        }
    }
    if came { Outcome::Heard(heard) } else { Outcome::Silence }
}

/// What an error of the socket means.
fn outcome(e: &io::Error) -> Outcome {
    use io::ErrorKind as K;
    match e.kind() {
        K::ConnectionRefused => Outcome::Refused,
        // Linux says EACCES and EPERM for "prohibited" of ICMPv6 and of this machine's own filter.
        K::HostUnreachable | K::NetworkUnreachable | K::PermissionDenied => Outcome::Unreachable,
        _ => Outcome::Ours(e.to_string()),
    }
}

/// One way to send for both kinds of socket.
trait SendToTarget {
    async fn send_to_target(&self, bytes: &[u8], at: Endpoint, any_port: bool) -> io::Result<usize>;
}

impl SendToTarget for UdpSocket {
    async fn send_to_target(&self, bytes: &[u8], at: Endpoint, any_port: bool) -> io::Result<usize> {
        if any_port { self.send_to(bytes, at.socket_addr()).await } else { self.send(bytes).await }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::udp::unescape;
    use proptest::prelude::*;

    #[test]
    fn every_payload_holds_its_cases() {
        let mut failures = Vec::new();
        for payload in Payloads::builtin().all() {
            for rule in &payload.rules {
                if let Err(e) = compile(&rule.pattern) {
                    failures.push(format!("{}: {e}", payload.name));
                }
            }
            for case in &payload.cases {
                let bytes = unescape(&case.bytes).unwrap();
                let said = recognise(payload, &bytes).map(|s| (s.product, s.version));
                let expected = (!case.no).then(|| (case.product.clone(), case.version.clone()));
                if said != expected {
                    failures.push(format!("{}: expected {expected:?}, got {said:?}: {}", payload.name, case.bytes));
                }
            }
        }
        assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    }

    #[test]
    fn no_payload_recognises_its_own_question() {
        for payload in Payloads::builtin().all().iter().filter(|p| p.service != "echo") {
            let mut question = Vec::new();
            payload.render(7, 61_000, &mut question);
            assert_eq!(recognise(payload, &question), None, "{}: an echo service is not a {}", payload.name, payload.service);
        }
    }

    #[test]
    fn errors_of_the_socket_mean_what_the_network_said() {
        for (errno, word) in [(111, "refused"), (113, "unreachable"), (101, "unreachable"), (13, "unreachable"), (24, "ours")] {
            let said = match outcome(&io::Error::from_raw_os_error(errno)) {
                Outcome::Refused => "refused",
                Outcome::Unreachable => "unreachable",
                Outcome::Ours(_) => "ours",
                Outcome::Heard(_) | Outcome::Silence => "nothing",
            };
            assert_eq!(said, word, "errno {errno}");
        }
    }

    #[test]
    fn a_port_is_asked_what_it_promises_then_what_it_resembles() {
        let names = |list: Vec<Option<&'static Payload>>| -> Vec<&str> {
            list.into_iter().map(|q| q.map_or("", |p| p.name.as_str())).collect()
        };
        let ask = |port, most| {
            let (promised, others) = questions(port, most);
            (names(promised), names(others))
        };
        let few = |port| ask(port, 4);
        assert_eq!(few(123), (vec!["ntp-client"], vec![]));
        assert_eq!(few(10_161), (vec![""], vec!["snmp-engine"]));
        assert_eq!(few(45_060), (vec![""], vec!["sip-options"]));
        assert_eq!(few(40_000), (vec![""], vec![]));
        let (promised, others) = ask(40_000, 96);
        assert_eq!(promised, [""]);
        assert!(others.len() > 20 && others.contains(&"dns-version") && !others.contains(&"ntp-variables"), "{others:?}");
        assert!(!others.contains(&"chargen"), "an answer to anything is no answer to that");
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_rules(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for payload in Payloads::builtin().all() {
                let _ = (recognise(payload, &bytes), payload.echoed(7, &bytes));
            }
        }
    }
}
