//! Finding out what answers on one endpoint: listen, then ask, one harmless question after the other, until bytes prove
//! something or the budget is spent.
//!
//! Which question comes next is decided in `order`, what an answer proves in `catalog` and `protocol`; here they are asked.
//! Exactly one [`Identity`] comes out. Whether the service is a risk is left to `assess`.

use crate::bytes::{printable, tidy};
use crate::catalog::{Probe, Rules, Verdict};
use crate::connection::{Answer, Ending, NoConnection, Stream, Visit, now};
use crate::order::{self, Step, affinity};
use crate::protocol::{Found, Reading};
use crate::tls::Handshake;
use crate::udp::{self, Talk};
use crate::{Budget, Identified, Permit, http, tls};
use model::service::{Identification, Identity, Service, Tls};
use model::{Endpoint, InScope, Proto};
use std::collections::VecDeque;
use std::time::Duration;

/// How long an answer is waited for where the port promises nothing. Together with the banner's half second they leave a
/// silent port inside six seconds: 0.5 + 0.8 + 2.0 + 1.5 + 1.0.
const LINE_WAIT: Duration = Duration::from_millis(800);
const HTTP_WAIT: Duration = Duration::from_millis(2_000);
const TLS_WAIT: Duration = Duration::from_millis(1_500);
const ASK_WAIT: Duration = Duration::from_millis(1_000);

/// Where the port promises the service, its answer is worth this many times the wait: slow servers are mostly those that
/// resolve our name first.
const PROMISED: u32 = 2;
const PROMISED_BANNER: u32 = 6;

/// How the attempt ended.
struct Conclusion {
    identity: Identity,
    service: Option<Service>,
    evidence: Option<String>,
    banner: Option<String>,
}

impl Conclusion {
    fn bare(identity: Identity) -> Self {
        Conclusion { identity, service: None, evidence: None, banner: None }
    }
}

/// Finds out what answers on the endpoint. Never panics, never takes longer than the budget (waiting for the permit
/// excepted), sends nothing to a port on the never-probe list.
pub async fn identify(endpoint: InScope<Endpoint>, budget: &Budget, permit: &dyn Permit) -> Identified {
    let rules = Rules::builtin();
    let at = endpoint.get();
    let mut visit = Visit::new(endpoint, budget, permit);
    let conclusion = match (at.proto, rules.excluded(at.port)) {
        (Proto::Tcp, None) => {
            let inquiry = Inquiry {
                rules,
                banner_wait: budget.banner_wait,
                plan: order::silent(rules, at.port),
                visit: &mut visit,
                tls: None,
                http: None,
                alert: None,
                heard: None,
                hung_up: false,
            };
            inquiry.run().await
        }
        (Proto::Tcp, Some(why)) => {
            Conclusion { evidence: Some(format!("never-probe: {why}")), ..Conclusion::bare(Identity::Excluded) }
        }
        (Proto::Udp, _) => {
            let Talk { identity, service, evidence, banner, observation } = udp::talk(endpoint, budget, permit).await;
            visit.observation = observation;
            Conclusion { identity, service, evidence, banner }
        }
    };
    Identified {
        identification: Identification {
            endpoint: at,
            identity: conclusion.identity,
            service: conclusion.service,
            evidence: conclusion.evidence,
            banner: conclusion.banner,
            observed_at: now(),
        },
        observation: visit.observation,
    }
}

struct Inquiry<'a, 'v> {
    rules: &'static Rules,
    visit: &'v mut Visit<'a>,
    banner_wait: Duration,
    plan: VecDeque<Step>,
    /// Once a handshake is through, everything goes on inside it.
    tls: Option<Tls>,
    /// An answer in plain HTTP that may be a complaint about plain HTTP.
    http: Option<Conclusion>,
    /// A peer that speaks TLS and refuses ours.
    alert: Option<(String, Option<Tls>)>,
    /// The first answer that no rule recognises.
    heard: Option<(String, Vec<u8>)>,
    /// A question was answered by closing.
    hung_up: bool,
}

/// What an answer led to.
enum Next {
    Conclude(Box<Conclusion>),
    /// Go on with the plan, on this connection if it is still good.
    Go(Option<Stream>),
}

impl Inquiry<'_, '_> {
    async fn run(mut self) -> Conclusion {
        let mut stream = match self.visit.dial().await {
            Ok(stream) => Some(stream),
            Err(NoConnection::Refused(why)) => {
                return Conclusion { evidence: Some(format!("connect: {why}")), ..Conclusion::bare(Identity::Unreachable) };
            }
            Err(NoConnection::Spent) => return Conclusion::bare(Identity::Unreachable),
        };
        let mut listen = true;
        loop {
            if let (true, Some(fresh)) = (std::mem::take(&mut listen), stream.take()) {
                match self.listen(fresh).await {
                    Next::Conclude(conclusion) => return *conclusion,
                    Next::Go(rest) => stream = rest,
                }
            }
            let Some(step) = self.plan.pop_front() else { break };
            let usable = match stream.take() {
                Some(stream) => stream,
                None => match self.open().await {
                    Some(stream) => stream,
                    None => break,
                },
            };
            let next = match step {
                Step::Tls => match self.handshake(usable).await {
                    Some(inside) => {
                        // A server that has already complained in HTTP waits for us inside, too.
                        listen = self.http.is_none();
                        Next::Go(Some(inside))
                    }
                    None => Next::Go(None),
                },
                Step::Http => self.get(usable).await,
                Step::Ask(index) => self.ask(usable, &self.rules.probes[index]).await,
            };
            match next {
                Next::Conclude(conclusion) => return *conclusion,
                Next::Go(rest) => stream = rest,
            }
        }
        self.give_up()
    }

    fn port(&self) -> u16 {
        self.visit.endpoint().port
    }

    /// Another connection, with TLS if that is how this endpoint is spoken to.
    async fn open(&mut self) -> Option<Stream> {
        let stream = self.visit.dial().await.ok()?;
        if self.tls.is_none() {
            return Some(stream);
        }
        match tls::handshake(self.visit, stream, TLS_WAIT).await {
            Handshake::Done(stream, _) => Some(stream),
            _ => None,
        }
    }

    /// Waits for what a server says unasked.
    async fn listen(&mut self, mut stream: Stream) -> Next {
        let wait = match affinity(self.port(), &self.rules.banner_ports) {
            3 => self.banner_wait * PROMISED_BANNER,
            1 | 2 => self.banner_wait * PROMISED,
            _ => self.banner_wait,
        };
        let rules = self.rules;
        // A pattern may match half a line; only a line's end or a codec's length says that it is all there.
        let whole = |b: &[u8]| b.len() > 4 && (b.ends_with(b"\n") || b[3] == 0) && matches!(rules.text(None, b), Verdict::Is(_));
        let answer = self.visit.listen(&mut stream, wait, whole).await;
        if answer.bytes.is_empty() {
            return match answer.ending {
                Ending::Closed => Next::Conclude(Box::new(self.closed_at_once())),
                Ending::Alert(alert) => Next::Conclude(Box::new(self.alerted(alert))),
                _ => Next::Go(Some(stream)),
            };
        }
        self.judge("banner", &[], answer, stream)
    }

    fn closed_at_once(&self) -> Conclusion {
        match &self.tls {
            Some(_) => self.tls_only("tls-handshake", None),
            None => Conclusion::bare(Identity::ClosesAtOnce),
        }
    }

    async fn handshake(&mut self, stream: Stream) -> Option<Stream> {
        let wait = if affinity(self.port(), &self.rules.tls_ports) == 3 { TLS_WAIT * PROMISED } else { TLS_WAIT };
        match tls::handshake(self.visit, stream, wait).await {
            Handshake::Done(stream, tls) => {
                self.tls = Some(tls);
                self.plan = order::inside_tls(self.rules, self.port());
                // What was heard in the clear was the sound of a misunderstanding.
                self.heard = None;
                Some(stream)
            }
            Handshake::Alert(alert, tls) => {
                self.alert = Some((format!("tls-alert {alert:?}"), tls));
                None
            }
            Handshake::Foreign => None,
        }
    }

    async fn get(&mut self, mut stream: Stream) -> Next {
        let wait = if affinity(self.port(), &self.rules.http_ports) == 3 { HTTP_WAIT * PROMISED } else { HTTP_WAIT };
        let request = http::get(self.visit.endpoint(), "/", true);
        let answer = self.visit.ask(&mut stream, &request, wait, http::whole).await;
        if let Some(response) = http::parse(&answer.bytes) {
            return self.http(response, answer, stream).await;
        }
        self.judge("http-get", &request, answer, stream)
    }

    /// An answer in HTTP: its product, if need be by a second path.
    async fn http(&mut self, response: http::Response, answer: Answer, stream: Stream) -> Next {
        let mut verdict = self.rules.http("/", &response);
        let (mut evidence, mut shown) = ("http-get".to_owned(), http::shown(&response));
        let told = |v: &Verdict| matches!(v, Verdict::Is(f) if f.service != "http");
        if !told(&verdict) {
            let port = self.port();
            let promising =
                self.rules.follow_ups.iter().filter(|f| {
                    affinity(port, &f.ports) == 3 || f.after.as_ref().is_some_and(|after| after.is_match(&answer.bytes))
                });
            let mut kept = (answer.ending == Ending::Whole).then_some(stream);
            for follow_up in promising {
                let reused = kept.take();
                let Some(mut stream) = (match reused {
                    Some(stream) => Some(stream),
                    None => self.open().await,
                }) else {
                    break;
                };
                let request = http::get(self.visit.endpoint(), &follow_up.path, true);
                let answer = self.visit.ask(&mut stream, &request, HTTP_WAIT, http::whole).await;
                let Some(second) = http::parse(&answer.bytes) else { continue };
                kept = (answer.ending == Ending::Whole).then_some(stream);
                let more = self.rules.http(&follow_up.path, &second);
                if told(&more) {
                    evidence = format!("http-get {}", follow_up.path);
                    shown = http::shown(&second);
                    verdict = more;
                    break;
                }
            }
        }
        let banner = Some(printable(&shown));
        let conclusion = match verdict {
            Verdict::Is(found) => self.found(found, &evidence, banner),
            Verdict::Unknown => self.protocol_only("http", &evidence, banner),
            Verdict::Contradiction(what) => {
                self.protocol_only("http", &format!("{evidence}: contradicts itself, {what}"), banner)
            }
        };
        // 400 and nginx' 497 are what servers say to plain HTTP on a TLS port; also what they say to much else.
        let complaint = matches!(response.status, 400 | 497) && self.tls.is_none() && self.http.is_none();
        if complaint && self.plan.contains(&Step::Tls) {
            self.first(Step::Tls);
            self.http = Some(conclusion);
            return Next::Go(None);
        }
        Next::Conclude(Box::new(conclusion))
    }

    async fn ask(&mut self, mut stream: Stream, probe: &'static Probe) -> Next {
        let wait = match (affinity(self.port(), &probe.ports), probe.name.as_str()) {
            (3, _) => ASK_WAIT * PROMISED,
            (_, "redis-info") => LINE_WAIT,
            _ => ASK_WAIT,
        };
        let Some(codec) = probe.codec else {
            let answer = self.visit.ask(&mut stream, &probe.request, wait, |b| b.ends_with(b"\n\n")).await;
            return self.judge(&probe.name, &probe.request, answer, stream);
        };
        // Whatever else may answer here marks its end, too: waiting longer tells nothing more.
        let whole = |b: &[u8]| matches!((codec.read)(b), Reading::Is(_)) || http::whole(b) || tls::is_alert(b);
        let mut answer = self.visit.ask(&mut stream, &probe.request, wait, whole).await;
        if let Reading::Is(mut found) = (codec.read)(&answer.bytes) {
            // One further question at most; it can only add to what is proved.
            if let Some(question) = found.next.take() {
                let so_far = answer.bytes.clone();
                let whole = |b: &[u8]| matches!((codec.read)(&[&so_far, b].concat()), Reading::Is(_));
                let more = self.visit.ask(&mut stream, &question, wait, whole).await;
                answer.bytes.extend(more.bytes);
                if let Reading::Is(fuller) = (codec.read)(&answer.bytes) {
                    found = fuller;
                }
            }
            if let Some(farewell) = found.farewell.take() {
                self.visit.say(&mut stream, &farewell).await;
            }
            let banner = found.shown.clone().unwrap_or_else(|| printable(&answer.bytes));
            return Next::Conclude(Box::new(self.found(found, &probe.name, Some(banner))));
        }
        self.judge(&probe.name, &probe.request, answer, stream)
    }

    /// What an answer in no particular protocol means, and what to try because of it.
    fn judge(&mut self, evidence: &str, request: &[u8], answer: Answer, stream: Stream) -> Next {
        let bytes = &answer.bytes;
        if bytes.is_empty() {
            match answer.ending {
                Ending::Alert(alert) => return Next::Conclude(Box::new(self.alerted(alert))),
                Ending::Closed => self.hung_up(),
                _ => {}
            }
            return Next::Go(None);
        }
        if !request.is_empty() && bytes == request {
            let found = Found { service: "echo".into(), ..Found::default() };
            return Next::Conclude(Box::new(self.found(found, evidence, Some(printable(bytes)))));
        }
        match self.rules.text(Some(evidence), bytes) {
            Verdict::Is(found) => {
                let banner = found.shown.clone().unwrap_or_else(|| printable(bytes));
                return Next::Conclude(Box::new(self.found(found, evidence, Some(banner))));
            }
            Verdict::Contradiction(what) => {
                return Next::Conclude(Box::new(Conclusion {
                    evidence: Some(format!("{evidence}: contradicts itself, {what}")),
                    banner: Some(printable(bytes)),
                    ..Conclusion::bare(Identity::Unrecognised)
                }));
            }
            Verdict::Unknown => {}
        }
        if self.heard.is_none() {
            self.heard = Some((evidence.to_owned(), bytes.clone()));
        }
        if bytes.starts_with(b"HTTP/1.") {
            self.first(Step::Http);
            return Next::Go(None);
        }
        if tls::is_alert(bytes) {
            self.first(Step::Tls);
            return Next::Go(None);
        }
        let suggested = self.rules.probes.iter().position(|p| p.after.as_ref().is_some_and(|after| after.is_match(bytes)));
        if let Some(index) = suggested.filter(|&i| self.plan.contains(&Step::Ask(i))) {
            self.first(Step::Ask(index));
            let alive = matches!(answer.ending, Ending::Quiet | Ending::Whole);
            return Next::Go(alive.then_some(stream));
        }
        if request.is_empty() {
            // It spoke first, so it is none of the protocols that wait to be spoken to.
            self.plan.clear();
        }
        Next::Go(None)
    }

    fn hung_up(&mut self) {
        let first_time = !std::mem::replace(&mut self.hung_up, true);
        let promised = [&self.rules.http_ports, &self.rules.tls_ports].iter().any(|ports| affinity(self.port(), ports) == 3);
        if first_time && self.tls.is_none() && !promised {
            self.plan = order::closed_on_text(self.rules, &self.plan);
        }
    }

    /// Tries this next, if it has not been tried.
    fn first(&mut self, step: Step) {
        if let Some(at) = self.plan.iter().position(|s| *s == step) {
            self.plan.remove(at);
            self.plan.push_front(step);
        }
    }

    fn found(&self, found: Found, evidence: &str, banner: Option<String>) -> Conclusion {
        let identity = match (found.refuses, found.service == "http" && found.product.is_none()) {
            (true, _) => Identity::RefusesUs,
            (_, true) => Identity::ProtocolOnly,
            _ => Identity::Identified,
        };
        Conclusion {
            identity,
            service: Some(Service {
                name: found.service,
                product: found.product,
                version: found.version,
                tls: self.tls.clone(),
                source: None,
                amplification: None,
            }),
            evidence: Some(evidence.to_owned()),
            banner,
        }
    }

    fn protocol_only(&self, name: &str, evidence: &str, banner: Option<String>) -> Conclusion {
        Conclusion {
            identity: Identity::ProtocolOnly,
            service: Some(Service {
                name: name.to_owned(),
                product: None,
                version: None,
                tls: self.tls.clone(),
                source: None,
                amplification: None,
            }),
            evidence: Some(evidence.to_owned()),
            banner,
        }
    }

    fn tls_only(&self, evidence: &str, banner: Option<String>) -> Conclusion {
        self.protocol_only("", evidence, banner)
    }

    /// A TLS layer that breaks off after the handshake: with TLS 1.3 that is how a server asks for a client certificate.
    fn alerted(&self, alert: rustls::AlertDescription) -> Conclusion {
        let evidence = match alert {
            rustls::AlertDescription::CertificateRequired => "tls-client-certificate-required".to_owned(),
            other => format!("tls-alert {other:?}"),
        };
        self.tls_only(&tidy(&evidence, 80), None)
    }

    /// Nothing has proved a service.
    fn give_up(self) -> Conclusion {
        if let (Some(conclusion), None) = (self.http, &self.tls) {
            return conclusion;
        }
        let heard = self.heard.as_ref().map(|(_, bytes)| printable(bytes));
        let evidence = self.heard.as_ref().map(|(evidence, _)| evidence.clone());
        let only = |name: &str, tls: Option<Tls>, evidence: String, banner: Option<String>| Conclusion {
            identity: Identity::ProtocolOnly,
            service: Some(Service {
                name: name.to_owned(),
                product: None,
                version: None,
                tls,
                source: None,
                amplification: None,
            }),
            evidence: Some(evidence),
            banner,
        };
        match (self.tls, self.alert) {
            (Some(tls), _) => only("", Some(tls), evidence.unwrap_or_else(|| "tls-handshake".into()), heard),
            (None, Some((alert, tls))) => only(if tls.is_some() { "" } else { "tls" }, tls, alert, None),
            (None, None) => match (heard, self.hung_up) {
                (Some(banner), _) => Conclusion { evidence, banner: Some(banner), ..Conclusion::bare(Identity::Unrecognised) },
                (None, true) => Conclusion::bare(Identity::ClosesOnData),
                (None, false) => Conclusion::bare(Identity::Silent),
            },
        }
    }
}
