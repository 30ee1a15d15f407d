//! Checks of one endpoint that was identified: does it hand out what only its users should see, does a default password
//! sign in, is it set up as nobody should.
//!
//! Which checks there are is data (`catalog/checks/`). A check asks as little as proves it, stops at the first proof, writes
//! nothing (PR-8), and keeps counts instead of contents. What a finding means for the exposure is left to `assess`.

mod ask;
mod codec;
mod datagram;
mod dialogue;
mod http;
mod identified;
mod ledger;
mod library;
mod line;
mod login;

pub use library::{CaseFailure, CaseReport, Library};

use crate::connection::now;
use crate::{Budget, Permit, fetch_panel};
use ask::{Asker, Talked};
use dialogue::{Decision, Dialogue};
use ledger::{Leave, Ledger};
use library::{Check, Way};
use login::{Login, Next, Tried};
use model::check::{in_force, permitted};
use model::finding::{AttemptOutcome, CheckPolicy, CheckRun, CredentialAttempt, CredentialGrant, Evidence, Verdict};
use model::service::{Identification, Identity, Service};
use model::{Endpoint, InScope, Proto};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How much of an answer its hash is made of.
const HASHED: usize = 4_096;

/// Runs the checks that apply to what was identified and that the policy lets run, in the catalogue's order, and says how
/// each ended. Each check has one budget of connections, bytes and time; a default pair has one for each attempt.
///
/// Nothing is asked where the policy's range does not cover the endpoint, where nothing was identified, or of a port on the
/// never-probe list. A service that already refused to talk to us is not asked again.
pub async fn run(
    endpoint: InScope<Endpoint>,
    found: &Identification,
    policy: &CheckPolicy,
    budget: &Budget,
    permit: &dyn Permit,
) -> Vec<CheckRun> {
    let runner = Runner { library: Library::in_use(), ledger: Ledger::of_the_process(), endpoint, policy, budget, permit };
    runner.run(found).await
}

struct Runner<'a> {
    library: &'a Library,
    ledger: &'a Ledger,
    endpoint: InScope<Endpoint>,
    policy: &'a CheckPolicy,
    budget: &'a Budget,
    permit: &'a dyn Permit,
}

impl Runner<'_> {
    async fn run(&self, found: &Identification) -> Vec<CheckRun> {
        let at = self.endpoint.get();
        let told = matches!(
            found.identity,
            Identity::Identified | Identity::ProtocolOnly | Identity::RefusesUs | Identity::TlsClientCertRequired
        );
        let service = found.service.as_ref().filter(|_| told && self.policy.ceiling.is_some());
        // What another scanner says is a hint where to look, and no ground to act on.
        let Some(service) = service.filter(|s| s.source.is_none() && self.policy.range.contains(at.ip)) else {
            return Vec::new();
        };
        let refused = found.identity == Identity::RefusesUs;
        let mut products: Vec<String> = service.product.iter().cloned().collect();
        if service.name == "http" && at.proto == Proto::Tcp && !refused && self.wants_panel(service) {
            let panel = fetch_panel(self.endpoint, self.budget, self.permit).await.panel;
            products.extend(panel.and_then(|p| p.product).filter(|p| !products.contains(p)));
        }
        let mut runs: Vec<CheckRun> = Vec::new();
        for check in &self.library.checks {
            let named = std::iter::once(None).chain(products.iter().map(|p| Some(p.as_str())));
            let Some(product) = named.into_iter().find(|p| check.info.is_for(&service.name, *p)) else { continue };
            if !check.fits(at.proto, found)
                || permitted(check.info.side_effect, &service.name, product, self.policy, now()).is_err()
            {
                continue;
            }
            if refused && !matches!(check.way, Way::Identified(_)) {
                let decision = Decision::new(Verdict::RefusesUs, &check.info.id).because("refused us when it was identified");
                runs.push(self.written(check, Talked { decision, answer: Vec::new() }, Vec::new()));
                continue;
            }
            if let Some(run) = self.one(check, service, &runs).await {
                runs.push(run);
            }
        }
        runs
    }

    /// Whether the front page could tell which checks apply.
    fn wants_panel(&self, service: &Service) -> bool {
        let product = service.product.as_deref();
        let known = |check: &&Check| !check.info.products.is_empty() && check.info.is_for("http", product);
        !self.library.checks.iter().any(|check| known(&check))
    }

    async fn one(&self, check: &Check, service: &Service, earlier: &[CheckRun]) -> Option<CheckRun> {
        let asker = Asker { endpoint: self.endpoint, tls: service.tls.is_some(), budget: self.budget, permit: self.permit };
        let id = check.info.id.as_str();
        let (talked, attempts) = match &check.way {
            Way::Talk(talk) => self.ask(check, talk.as_ref(), &asker).await,
            Way::Codec(codec) => self.ask(check, *codec, &asker).await,
            Way::Datagram(datagram) => (asker.datagram(id, datagram).await, Vec::new()),
            Way::Identified(identified) if !identified.concerns(service) => return None,
            Way::Identified(identified) => {
                (Talked { decision: identified.judge(service, now()), answer: Vec::new() }, Vec::new())
            }
            Way::Login(login) => {
                let grant = self.policy.credentials.as_ref().filter(|grant| in_force(grant, now()))?;
                let open = |run: &&CheckRun| run.verdict == Verdict::Proved && login.unless.contains(&run.check);
                if let Some(run) = earlier.iter().find(open) {
                    let why = format!("open without any pair ({})", run.check);
                    let decision = Decision::new(Verdict::NotProved, id).because(why);
                    (Talked { decision, answer: Vec::new() }, Vec::new())
                } else {
                    self.sign_in(check, login, grant, &asker).await
                }
            }
        };
        Some(self.written(check, talked, attempts))
    }

    /// A talk without any pair. Where it signs in all the same, with an empty password, that is an attempt like any other.
    async fn ask(&self, check: &Check, dialogue: &dyn Dialogue, asker: &Asker<'_>) -> (Talked, Vec<CredentialAttempt>) {
        let id = check.info.id.as_str();
        let Some(account) = check.info.signs_in_as.as_deref() else {
            return (asker.talk(id, dialogue, "", "").await, Vec::new());
        };
        let known = self.policy.credentials.as_ref();
        let leave = || self.ledger.ask_empty(self.endpoint.get(), account, known, now());
        if let Err(why) = await_leave(leave).await {
            return (Talked { decision: Decision::inconclusive(id, why), answer: Vec::new() }, Vec::new());
        }
        let talked = asker.talk(id, dialogue, account, "").await;
        let (pair, outcome) = (CredentialAttempt::EMPTY_PASSWORD, login::outcome(&talked.decision));
        tracing::debug!(check = id, endpoint = %self.endpoint.get(), account, pair, %outcome, "attempt to sign in");
        let attempt = CredentialAttempt { account: account.to_owned(), pair: pair.to_owned(), outcome, at: now() };
        (talked, vec![attempt])
    }

    /// The pairs one after the other, each between two refusals of a pair that nobody has.
    async fn sign_in(
        &self,
        check: &Check,
        login: &Login,
        grant: &CredentialGrant,
        asker: &Asker<'_>,
    ) -> (Talked, Vec<CredentialAttempt>) {
        let id = check.info.id.as_str();
        let day = usize::try_from(now().0 / 86_400_000).unwrap_or_default();
        let mut pairs = login.in_order(day);
        let mut tried: Vec<(Tried, AttemptOutcome)> = Vec::new();
        let mut attempts = Vec::new();
        let mut proof: Option<Talked> = None;
        let mut withheld = None;
        let mut ready = None;
        loop {
            let (what, account, password) = match login::next(&tried) {
                Next::End(verdict, why) => {
                    let talked = match (verdict, proof) {
                        (Verdict::Proved, Some(proof)) => proof,
                        _ => Talked { decision: Decision::new(verdict, id).because(why), answer: Vec::new() },
                    };
                    return (talked, attempts);
                }
                // A pair that nobody has is tried only if one that somebody may have is going to be.
                Next::Control if tried.is_empty() && ready.is_none() => {
                    ready = self.next_pair(&mut pairs, login, grant, &mut withheld).await;
                    if ready.is_none() {
                        let why = withheld.unwrap_or("no pair is left to try");
                        return (Talked { decision: Decision::inconclusive(id, why), answer: Vec::new() }, attempts);
                    }
                    continue;
                }
                Next::Control => {
                    let (account, password) = login::nobody(ask::seed());
                    (Tried::Control, account, password)
                }
                Next::Pair => {
                    let pair = match ready.take() {
                        Some(pair) => Some(pair),
                        None => self.next_pair(&mut pairs, login, grant, &mut withheld).await,
                    };
                    let Some(pair) = pair else {
                        let decision = Decision::new(Verdict::NotProved, id).because("no default pair that was tried signs in");
                        return (Talked { decision, answer: Vec::new() }, attempts);
                    };
                    (Tried::Pair(pair.id.clone()), pair.account.clone(), pair.password.clone())
                }
            };
            if !in_force(grant, now()) {
                return (Talked { decision: Decision::inconclusive(id, "the approval has ended"), answer: Vec::new() }, attempts);
            }
            let talked = asker.talk(id, login.dialogue(), &account, &password).await;
            let outcome = login::outcome(&talked.decision);
            let pair = match &what {
                Tried::Control => CredentialAttempt::CONTROL.to_owned(),
                Tried::Pair(id) => id.clone(),
            };
            tracing::debug!(check = id, endpoint = %self.endpoint.get(), %account, %pair, %outcome, "attempt to sign in");
            attempts.push(CredentialAttempt { account: account.clone(), pair: pair.clone(), outcome, at: now() });
            if let (Tried::Pair(_), AttemptOutcome::Accepted) = (&what, outcome) {
                let mut talked = talked;
                talked.decision = talked.decision.field("account", &account).field("pair", &pair);
                // Whatever the answer was, it was for somebody signed in.
                talked.decision.shown.clear();
                proof = Some(talked);
            } else if outcome == AttemptOutcome::Unclear {
                let why = talked.decision.reason.unwrap_or_else(|| "an attempt neither succeeded nor failed".into());
                let verdict = match talked.decision.verdict {
                    Verdict::RefusesUs => Verdict::RefusesUs,
                    _ => Verdict::Inconclusive,
                };
                return (Talked { decision: Decision::new(verdict, id).because(why), answer: Vec::new() }, attempts);
            }
            tried.push((what, outcome));
        }
    }

    /// The next pair whose account may be tried, waited for where that is a matter of a minute.
    async fn next_pair<'p>(
        &self,
        pairs: &mut impl Iterator<Item = &'p login::Pair>,
        login: &Login,
        grant: &CredentialGrant,
        withheld: &mut Option<&'static str>,
    ) -> Option<&'p login::Pair> {
        for pair in pairs {
            let leave = || self.ledger.ask(self.endpoint.get(), &pair.account, grant, login.most, now());
            match await_leave(leave).await {
                Ok(()) => return Some(pair),
                Err(why) => *withheld = Some(why),
            }
        }
        None
    }

    fn written(&self, check: &Check, talked: Talked, attempts: Vec<CredentialAttempt>) -> CheckRun {
        let Talked { decision, answer } = talked;
        let hash = |bytes: &[u8]| Sha256::digest(&bytes[..bytes.len().min(HASHED)]).iter().map(|b| format!("{b:02x}")).collect();
        let evidence = (decision.verdict == Verdict::Proved).then(|| Evidence {
            request: decision.request.clone(),
            response: decision.shown.clone(),
            sha256: if answer.is_empty() { String::new() } else { hash(&answer) },
            fields: decision.fields.clone(),
        });
        CheckRun {
            endpoint: self.endpoint.get(),
            check: check.info.id.clone(),
            kind: check.info.kind,
            severity: decision.severity.map_or(check.info.severity, |s| s.max(check.info.severity)),
            side_effect: check.info.side_effect,
            verdict: decision.verdict,
            reason: decision.reason,
            evidence,
            attempts,
            observed_at: now(),
        }
    }
}

/// Asks for leave, and once more after a wait where that is a matter of a minute.
async fn await_leave(ask: impl Fn() -> Leave) -> Result<(), &'static str> {
    // Others may take the place that was waited for: once more is enough.
    for _ in 0..2 {
        match ask() {
            Leave::Now => return Ok(()),
            Leave::At(instant) => tokio::time::sleep(Duration::from_millis(instant.since(now()).0)).await,
            Leave::Never(why) => return Err(why),
        }
    }
    Err("other attempts with the account took their turn")
}

impl Check {
    /// Whether its questions travel by that protocol. HTTP is asked only of what was recognised by it: one name may stand for a
    /// console and for a binary port (Spark).
    fn fits(&self, proto: Proto, found: &Identification) -> bool {
        let by_http = || found.evidence.as_deref().is_none_or(|evidence| evidence.contains("http"));
        match &self.way {
            Way::Talk(talk) if talk.separate() => proto == Proto::Tcp && by_http(),
            Way::Datagram(_) => proto == Proto::Udp,
            Way::Identified(_) => true,
            Way::Talk(_) | Way::Codec(_) | Way::Login(_) => proto == Proto::Tcp,
        }
    }
}

/// Runs every check's every step over the bytes, for fuzzing.
pub(crate) fn feed_everything(bytes: &[u8]) {
    Library::in_use().feed(bytes);
}
