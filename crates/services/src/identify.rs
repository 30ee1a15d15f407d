//! Finding out what answers on one endpoint: listen, then ask, one harmless question after the other, until bytes prove
//! something or the budget is spent.
//!
//! Which question comes next is decided in `order`, what an answer proves in `catalog` and `protocol`, how it all ends in
//! `conclude`; here they are asked. Whether the service is a risk is left to `assess`.

use crate::bytes::printable;
use crate::catalog::{Probe, Rules, Verdict};
use crate::conclude::{Conclusion, Ground};
use crate::connection::{Answer, Ending, NoConnection, Stream, Visit, now};
use crate::order::{self, Step, affinity};
use crate::protocol::{Found, Reading};
use crate::tls::Handshake;
use crate::udp::{self, Talk};
use crate::{Budget, Identified, Permit, http, http2, panel, tls};
use model::service::{Confidence, Identification, Identity, Tls};
use model::udp::Payloads;
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

/// Finds out what answers on the endpoint. Never panics, never takes longer than the budget (waiting for the permit
/// excepted), sends nothing to a port on the never-probe list.
pub async fn identify(endpoint: InScope<Endpoint>, budget: &Budget, permit: &dyn Permit) -> Identified {
    identify_alike(endpoint, budget, permit).await.0
}

/// The same, with what its answer has to have in common with that of another port to come from the same source.
pub(crate) async fn identify_alike(
    endpoint: InScope<Endpoint>,
    budget: &Budget,
    permit: &dyn Permit,
) -> (Identified, Option<String>) {
    let rules = Rules::current();
    let at = endpoint.get();
    let mut visit = Visit::new(endpoint, budget, permit);
    let mut tried = Vec::new();
    let mut conclusion = match (at.proto, rules.excluded(at.port)) {
        (Proto::Tcp, None) => {
            let inquiry = Inquiry {
                rules,
                banner_wait: budget.banner_wait,
                plan: order::silent(rules, at.port),
                visit: &mut visit,
                tried: &mut tried,
                ground: Ground::default(),
                http: None,
            };
            inquiry.run().await
        }
        (Proto::Tcp, Some(why)) => {
            Conclusion { evidence: Some(format!("never-probe: {why}")), ..Conclusion::bare(Identity::Excluded) }
        }
        (Proto::Udp, _) => {
            let Talk { identity, service, evidence, banner, observation } = udp::talk(endpoint, budget, permit).await;
            visit.observation = observation;
            if identity != Identity::Excluded {
                tried.extend(Payloads::builtin().of_port(at.port).map(|p| p.name.clone()));
                if tried.is_empty() {
                    tried.push("empty-datagram".to_owned());
                }
            }
            // What a datagram answers is read by patterns; the id that comes back says that it is an answer, not whose.
            let confidence = (identity == Identity::Identified).then_some(Confidence::SelfNamed);
            Conclusion { service, confidence, evidence, banner, ..Conclusion::bare(identity) }
        }
    };
    if budget.thorough
        && let Some(seen) = conclusion.service.as_mut().and_then(|s| s.tls.as_mut())
    {
        tried.push("tls-survey".to_owned());
        tls::survey(&mut visit, seen, TLS_WAIT).await;
    }
    let identified = Identified {
        identification: Identification {
            endpoint: at,
            identity: conclusion.identity,
            service: conclusion.service,
            confidence: conclusion.confidence,
            evidence: conclusion.evidence,
            banner: conclusion.banner,
            sha256: conclusion.sha256,
            tried,
            thorough: budget.thorough,
            observed_at: now(),
        },
        observation: visit.observation,
    };
    (identified, conclusion.likeness)
}

struct Inquiry<'a, 'v> {
    rules: &'static Rules,
    visit: &'v mut Visit<'a>,
    banner_wait: Duration,
    plan: VecDeque<Step>,
    tried: &'v mut Vec<String>,
    /// What has been learned so far that is no proof of a service.
    ground: Ground,
    /// An answer in plain HTTP that may be a complaint about plain HTTP, or give way to what a further question proves.
    http: Option<Conclusion>,
}

/// What an answer led to.
enum Next {
    Conclude(Box<Conclusion>),
    /// Go on with the plan, on this connection if it is still good.
    Go(Option<Stream>),
}

impl Next {
    fn end(conclusion: Conclusion) -> Next {
        Next::Conclude(Box::new(conclusion))
    }
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
        match self.http {
            // What was asked because of it proved nothing more.
            Some(conclusion) if self.ground.tls.is_none() => conclusion,
            _ => self.ground.give_up(),
        }
    }

    fn port(&self) -> u16 {
        self.visit.endpoint().port
    }

    fn try_now(&mut self, what: &str) {
        let inside = if self.ground.tls.is_some() { "tls " } else { "" };
        self.tried.push(format!("{inside}{what}"));
    }

    /// Another connection, with TLS if that is how this endpoint is spoken to.
    async fn open(&mut self) -> Option<Stream> {
        let stream = self.visit.dial().await.ok()?;
        if self.ground.tls.is_none() {
            return Some(stream);
        }
        match tls::handshake(self.visit, stream, TLS_WAIT, self.ground.alpn()).await {
            Handshake::Done(stream, _, _) => Some(stream),
            _ => None,
        }
    }

    /// Waits for what a server says unasked.
    async fn listen(&mut self, mut stream: Stream) -> Next {
        self.try_now("banner");
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
                Ending::Closed => Next::end(self.ground.closed_at_once()),
                Ending::Alert(alert) => Next::end(self.ground.alerted(alert)),
                _ => Next::Go(Some(stream)),
            };
        }
        self.judge("banner", &[], answer, stream).await
    }

    async fn handshake(&mut self, stream: Stream) -> Option<Stream> {
        self.try_now("tls");
        let wait = if affinity(self.port(), &self.rules.tls_ports) == 3 { TLS_WAIT * PROMISED } else { TLS_WAIT };
        let mut outcome = tls::handshake(self.visit, stream, wait, tls::HTTP1).await;
        // A server of nothing but HTTP/2 says so to whom offers only HTTP/1.1.
        if matches!(outcome, Handshake::Alert(rustls::AlertDescription::NoApplicationProtocol, ..))
            && let Ok(stream) = self.visit.dial().await
        {
            outcome = tls::handshake(self.visit, stream, wait, tls::HTTP2).await;
        }
        match outcome {
            Handshake::Done(stream, tls, asked) => {
                self.ground.certificate_asked = asked;
                self.inside(tls);
                Some(stream)
            }
            Handshake::Alert(alert, tls, asked) => {
                if tls.is_none()
                    && !asked
                    && tls::says_too_new(alert)
                    && let Some(old) = tls::legacy(self.visit, wait).await
                {
                    self.tried.push("tls-legacy".to_owned());
                    self.ground.refused = Some((format!("tls-legacy {}", old.version), Some(old), false));
                } else {
                    self.ground.refused = Some((tls::alert_name(alert), tls, asked));
                }
                None
            }
            Handshake::Foreign => None,
        }
    }

    /// TLS stands: everything goes on inside it.
    fn inside(&mut self, tls: Tls) {
        self.plan = match tls.alpn.as_deref() {
            Some("h2") => order::inside_http2(self.rules, self.port()),
            _ => order::inside_tls(self.rules, self.port()),
        };
        self.ground.tls = Some(tls);
        // What was heard in the clear was the sound of a misunderstanding.
        self.ground.heard = None;
        self.ground.hung_up = false;
    }

    async fn get(&mut self, mut stream: Stream) -> Next {
        self.try_now("http-get");
        let wait = if affinity(self.port(), &self.rules.http_ports) == 3 { HTTP_WAIT * PROMISED } else { HTTP_WAIT };
        let request = http::get(self.visit.endpoint(), "/", true);
        let answer = self.visit.ask(&mut stream, &request, wait, http::whole).await;
        if let Some(response) = http::parse(&answer.bytes) {
            return self.http(response, answer, stream).await;
        }
        self.judge("http-get", &request, answer, stream).await
    }

    /// An answer in HTTP: its product, if need be by a second path or another question.
    async fn http(&mut self, response: http::Response, answer: Answer, stream: Stream) -> Next {
        let mut verdict = self.rules.http("/", &response);
        let (mut evidence, mut shown, mut decided) = ("http-get".to_owned(), http::shown(&response), answer.bytes.clone());
        let told = |v: &Verdict| matches!(v, Verdict::Is(f) if f.service != "http");
        let mut kept = (answer.ending == Ending::Whole).then_some(stream);
        if !told(&verdict) {
            let port = self.port();
            let promising =
                self.rules.follow_ups.iter().filter(|f| {
                    affinity(port, &f.ports) == 3 || f.after.as_ref().is_some_and(|after| after.is_match(&answer.bytes))
                });
            for follow_up in promising {
                let reused = kept.take();
                let Some(mut stream) = (match reused {
                    Some(stream) => Some(stream),
                    None => self.open().await,
                }) else {
                    break;
                };
                self.try_now(&format!("http-get {}", follow_up.path));
                let request = http::get(self.visit.endpoint(), &follow_up.path, true);
                let answer = self.visit.ask(&mut stream, &request, HTTP_WAIT, http::whole).await;
                let Some(second) = http::parse(&answer.bytes) else { continue };
                kept = (answer.ending == Ending::Whole).then_some(stream);
                let more = self.rules.http(&follow_up.path, &second);
                if told(&more) {
                    evidence = format!("http-get {}", follow_up.path);
                    (shown, decided) = (http::shown(&second), answer.bytes);
                    verdict = more;
                    break;
                }
            }
        }
        // 400 and nginx' 497 are what servers say to plain HTTP on a TLS port; also what they say to much else.
        let complaint = matches!(response.status, 400 | 497) && self.ground.tls.is_none() && self.http.is_none();
        let complaint = complaint && self.plan.contains(&Step::Tls);
        let mut known = told(&verdict);
        if !known
            && !complaint
            && let Some((found, by)) = self.console(&verdict, &response, kept.take()).await
        {
            (verdict, evidence, known) = (Verdict::Is(found), by, true);
        }
        let banner = Some(printable(&shown));
        let lasting = [&shown[..], &response.body].concat();
        let conclusion = match verdict {
            Verdict::Is(found) => self.ground.found(found, &evidence, banner, &decided),
            Verdict::Unknown => self.ground.protocol_only("http", &evidence, banner, &decided),
            Verdict::Contradiction(what) => {
                self.ground.protocol_only("http", &format!("{evidence}: contradicts itself, {what}"), banner, &decided)
            }
        }
        .alike(&lasting);
        if complaint {
            self.first(Step::Tls);
            self.http = Some(conclusion);
            return Next::Go(None);
        }
        if !known && let Some(step) = self.suggested(&answer.bytes) {
            self.plan.clear();
            self.plan.push_back(step);
            self.http = Some(conclusion);
            return Next::Go(None);
        }
        Next::end(conclusion)
    }

    /// The console whose page this is, by the catalogue's panels, with what names it. What stands on a path of its own does not
    /// name a port whose server is known: that is a part of a site, and the server is the site's.
    async fn console(&mut self, verdict: &Verdict, response: &http::Response, kept: Option<Stream>) -> Option<(Found, String)> {
        let server = match verdict {
            Verdict::Unknown => None,
            Verdict::Is(found) => Some(found),
            Verdict::Contradiction(_) => return None,
        };
        let encrypted = self.ground.tls.is_some();
        let nameless = server.is_none_or(|s| s.product.is_none());
        // What only the number promises is worth a request where nothing else names the port.
        let promise = nameless.then(|| self.port());
        let (found, asked) = panel::console(self.visit, self.rules, response.clone(), kept, encrypted, promise).await;
        for path in asked {
            self.try_now(&format!("http-get {path}"));
        }
        let panel = found.filter(|f| f.path.is_none() || nameless)?;
        let found = Found {
            service: "http".into(),
            product: Some(panel.product),
            version: panel.version,
            confidence: Some(Confidence::SelfNamed),
            ..Found::default()
        };
        Some((found, format!("http-get: {}", panel.evidence.join(", "))))
    }

    async fn ask(&mut self, mut stream: Stream, probe: &'static Probe) -> Next {
        self.try_now(&probe.name);
        let wait = match (affinity(self.port(), &probe.ports), probe.name.as_str()) {
            (3, _) => ASK_WAIT * PROMISED,
            (_, "redis-info") => LINE_WAIT,
            _ => ASK_WAIT,
        };
        let Some(codec) = probe.codec else {
            let answer = self.visit.ask(&mut stream, &probe.request, wait, |b| b.ends_with(b"\n\n")).await;
            return self.judge(&probe.name, &probe.request, answer, stream).await;
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
            return Next::end(self.told(found, &probe.name, banner, &answer.bytes).await);
        }
        self.judge(&probe.name, &probe.request, answer, stream).await
    }

    /// What a proof concludes; of HTTP/2 what speaks through it.
    async fn told(&mut self, found: Found, evidence: &str, banner: String, decided: &[u8]) -> Conclusion {
        if found.service != http2::NAME {
            return self.ground.found(found, evidence, Some(banner), decided);
        }
        let plain = self.ground.found(found, evidence, Some(banner), decided);
        let Some(stream) = self.open().await else { return plain };
        self.try_now("http2-get");
        self.try_now("grpc-health");
        let encrypted = self.ground.tls.is_some();
        let seen = http2::converse(self.visit, stream, encrypted, HTTP_WAIT).await;
        if seen.grpc {
            let answer = seen.shown();
            return self.ground.protocol_only("grpc", "grpc-health", Some(printable(&answer)), &answer);
        }
        let Some(response) = seen.response else { return plain };
        let shown = http::shown(&response);
        match self.rules.http("/", &response) {
            Verdict::Is(found) => self.ground.found(found, "http2-get", Some(printable(&shown)), &shown),
            _ => Conclusion { banner: Some(printable(&shown)), ..plain },
        }
    }

    /// Asks who has greeted us one question more, which can only add to what is proved.
    async fn further(&mut self, stream: &mut Stream, found: Found, bytes: &mut Vec<u8>, question: &[u8]) -> Found {
        let (rules, so_far) = (self.rules, bytes.clone());
        let fuller = |b: &[u8]| match rules.text(None, b) {
            // Only a codec knows when the answer is whole, and shows what it has read.
            Verdict::Is(fuller) if fuller.service == found.service && fuller.next.is_none() && fuller.shown.is_some() => {
                Some(fuller)
            }
            _ => None,
        };
        let more = self.visit.ask(stream, question, ASK_WAIT, |b| fuller(&[&so_far, b].concat()).is_some()).await;
        bytes.extend(more.bytes);
        fuller(bytes).unwrap_or(found)
    }

    /// What an answer in no particular protocol means, and what to try because of it.
    async fn judge(&mut self, evidence: &str, request: &[u8], answer: Answer, mut stream: Stream) -> Next {
        let bytes = &answer.bytes;
        if bytes.is_empty() {
            match answer.ending {
                Ending::Alert(alert) => return Next::end(self.ground.alerted(alert)),
                Ending::Closed => self.hung_up(),
                _ => {}
            }
            return Next::Go(None);
        }
        if !request.is_empty() && bytes == request {
            let found = Found { service: "echo".into(), ..Found::default() };
            return Next::end(self.ground.found(found, evidence, Some(printable(bytes)), bytes));
        }
        match self.rules.text(Some(evidence), bytes) {
            Verdict::Is(mut found) => {
                let alive = request.is_empty() && matches!(answer.ending, Ending::Quiet | Ending::Whole);
                let mut bytes = bytes.clone();
                if let Some(question) = found.next.take().filter(|_| alive) {
                    found = self.further(&mut stream, found, &mut bytes, &question).await;
                }
                let banner = found.shown.clone().unwrap_or_else(|| printable(&bytes));
                return Next::end(self.told(found, evidence, banner, &bytes).await);
            }
            Verdict::Contradiction(what) => return Next::end(self.ground.contradiction(evidence, &what, bytes)),
            Verdict::Unknown => {}
        }
        if self.ground.heard.is_none() {
            self.ground.heard = Some((evidence.to_owned(), bytes.clone()));
        }
        if bytes.starts_with(b"HTTP/1.") {
            self.first(Step::Http);
            return Next::Go(None);
        }
        if tls::is_alert(bytes) {
            self.first(Step::Tls);
            return Next::Go(None);
        }
        if let Some(step) = self.suggested(bytes) {
            self.first(step);
            let alive = matches!(answer.ending, Ending::Quiet | Ending::Whole);
            return Next::Go(alive.then_some(stream));
        }
        if request.is_empty() {
            // It spoke first, so it is none of the protocols that wait to be spoken to.
            self.plan.clear();
        }
        Next::Go(None)
    }

    /// The question that these bytes suggest, if it has not been asked.
    fn suggested(&self, bytes: &[u8]) -> Option<Step> {
        let matching =
            self.rules.probes.iter().enumerate().filter(|(_, p)| p.after.as_ref().is_some_and(|after| after.is_match(bytes)));
        matching.map(|(index, _)| Step::Ask(index)).find(|step| self.plan.contains(step))
    }

    fn hung_up(&mut self) {
        let first_time = !std::mem::replace(&mut self.ground.hung_up, true);
        let promised = [&self.rules.http_ports, &self.rules.tls_ports].iter().any(|ports| affinity(self.port(), ports) == 3);
        if first_time && self.ground.tls.is_none() && !promised {
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
}
