//! How checks end and what that does to findings, to the risk of an exposure, and to whether anybody is told.

use crate::script::catalog;
use assess::findings::{Turn, displaced, fold, gone};
use assess::{Dossier, Judge};
use model::alert::{AlertKind, AlertPolicy, AlertState};
use model::check::Checks;
use model::event::EventKind;
use model::exposure::{Disposition, DispositionKind, RiskReason, Severity};
use model::finding::{CheckRun, Evidence, Finding, FindingKind, FindingPhase, SideEffect, Verdict};
use model::observation::{Observation, Reason, State};
use model::port_state::PortState;
use model::service::{Identification, Identity, PanelObservation};
use model::settings::Hysteresis;
use model::{Endpoint, FindingId, Service, Ts, Vantage};
use uuid::Uuid;

const CHECK: &str = "redis-unauthenticated";

fn door() -> Endpoint {
    Endpoint::tcp("10.0.0.7".parse().unwrap(), 16_379)
}

fn run(verdict: Verdict, at: i64) -> CheckRun {
    CheckRun {
        endpoint: door(),
        check: CHECK.into(),
        kind: FindingKind::UnauthenticatedAccess,
        severity: Severity::Critical,
        side_effect: SideEffect::Benign,
        verdict,
        reason: None,
        evidence: (verdict == Verdict::Proved).then(|| Evidence { request: "redis-info".into(), ..Evidence::default() }),
        attempts: vec![],
        observed_at: Ts(at),
    }
}

fn vantage() -> Vantage {
    Vantage("outside".into())
}

#[test]
fn only_a_refutation_ends_a_finding_and_only_a_proof_begins_one() {
    use FindingPhase::{Gone, Present};
    use Verdict::*;
    // Each step: what the check says and when, what it turned, and the finding's phase, last proof and last look after it.
    let steps = [
        (NotProved, 10, None, None),
        (Inconclusive, 20, None, None),
        (Proved, 30, Some(Turn::Proved), Some((Present, 30, 30))),
        (Proved, 30, None, Some((Present, 30, 30))),
        (NotProved, 25, None, Some((Present, 30, 30))),
        (Proved, 40, Some(Turn::Same), Some((Present, 40, 40))),
        (Inconclusive, 50, Some(Turn::Same), Some((Present, 40, 50))),
        (RefusesUs, 60, Some(Turn::Same), Some((Present, 40, 60))),
        (Locked, 70, Some(Turn::Same), Some((Present, 40, 70))),
        (NotProved, 80, Some(Turn::Gone), Some((Gone, 40, 80))),
        (NotProved, 90, Some(Turn::Same), Some((Gone, 40, 90))),
        (Proved, 85, None, Some((Gone, 40, 90))),
        (Proved, 100, Some(Turn::Proved), Some((Present, 100, 100))),
        (OtherService, 110, Some(Turn::Gone), Some((Gone, 100, 110))),
    ];
    let mut known: Option<Finding> = None;
    for (verdict, at, turn, after) in steps {
        let folded = fold(known.as_ref(), &run(verdict, at), &vantage(), FindingId(Uuid::from_u128(at as u128)));
        assert_eq!(folded.as_ref().map(|(_, turn)| *turn), turn, "{verdict} at {at}");
        known = folded.map(|(finding, _)| finding).or(known);
        let now = known.as_ref().map(|f| (f.phase, f.last_seen_at.0, f.checked_at.0));
        assert_eq!(now, after, "{verdict} at {at}");
        if let Some(f) = &known {
            assert_eq!((f.id, f.first_seen_at), (FindingId(Uuid::from_u128(30)), Ts(30)), "id and first proof stay");
            assert_eq!(f.gone_at.is_some(), f.phase == Gone);
        }
    }
    assert_eq!(known.unwrap().gone_reason.as_deref(), Some("other-service"));
}

#[test]
fn a_proof_without_evidence_is_none() {
    let bare = CheckRun { evidence: None, ..run(Verdict::Proved, 5) };
    assert!(fold(None, &bare, &vantage(), FindingId(Uuid::nil())).is_none());
}

/// An open door, what was identified there at 20, and the product that its front page at `page` showed.
fn answering(identity: Identity, name: &str, product: Option<&str>, page: Option<(i64, u16, Option<&str>)>) -> PortState {
    let mut dossier = Dossier::new(door(), None, None);
    let (catalog, policy, hysteresis, vantage) = (catalog(), AlertPolicy::default(), Hysteresis::default(), vantage());
    let judge = judge(&catalog, &policy, &hysteresis, &vantage, 100);
    let open = Observation { endpoint: door(), state: State::Open, reason: Reason::SynAck, observed_at: Ts(1) };
    judge.observe(&mut dossier, &open, &mut Uuid::nil);
    let service =
        (!name.is_empty()).then(|| Service { name: name.into(), product: product.map(Into::into), ..Service::default() });
    judge.identify(&mut dossier, &seen(identity, service, 20), &mut Uuid::nil);
    if let Some((at, status, product)) = page {
        judge.panel(&mut dossier, &front_page(at, status, product), &mut Uuid::nil);
    }
    dossier.port.unwrap()
}

fn front_page(at: i64, status: u16, product: Option<&str>) -> PanelObservation {
    let panel = serde_json::json!({ "scheme": "http", "status": status, "product": product });
    serde_json::from_value(serde_json::json!({ "endpoint": door(), "panel": panel, "observed_at": Ts(at) })).unwrap()
}

#[test]
fn another_service_takes_the_place_of_what_the_check_is_for() {
    use Identity::{Identified, ProtocolOnly, Silent};
    let proved = |check: &str, at| Finding {
        check: check.into(),
        ..fold(None, &run(Verdict::Proved, at), &vantage(), FindingId(Uuid::nil())).unwrap().0
    };
    let jenkins = "jenkins-unauthenticated";
    let (page, nginx, jenkins_page) = (|status, product| Some((30, status, product)), Some("nginx"), Some("Jenkins"));
    for (check, at, identity, name, product, page, over) in [
        (CHECK, 10, Identified, "http", None, None, Some(20)),
        (CHECK, 10, Identified, "redis", None, None, None),
        (CHECK, 20, Identified, "http", None, None, None),
        (CHECK, 10, Silent, "", None, None, None),
        // Whatever answers, the check is for it.
        ("tls-certificate-out-of-time", 10, Identified, "http", nginx, page(200, None), None),
        ("gone-from-the-catalogue", 10, Identified, "http", None, None, None),
        // Of a product on a web server the front page, seen since, has to agree.
        (jenkins, 10, Identified, "http", jenkins_page, page(200, jenkins_page), None),
        (jenkins, 10, Identified, "http", nginx, None, None),
        (jenkins, 10, Identified, "http", nginx, page(200, jenkins_page), None),
        (jenkins, 10, Identified, "http", nginx, page(502, None), None),
        (jenkins, 10, Identified, "http", nginx, page(200, None), Some(30)),
        (jenkins, 10, Identified, "http", nginx, page(200, Some("Grafana")), Some(30)),
        (jenkins, 10, ProtocolOnly, "http", None, page(404, None), Some(30)),
        (jenkins, 10, Identified, "http", jenkins_page, page(404, None), None),
        (jenkins, 10, Identified, "http", nginx, Some((10, 200, None)), None),
        (jenkins, 25, Identified, "http", nginx, page(200, None), None),
        // Elsewhere the answer alone says which product it is.
        ("rabbitmq-default-credential", 10, Identified, "rabbitmq", Some("Other"), None, Some(20)),
        ("rabbitmq-default-credential", 10, Identified, "rabbitmq", Some("RabbitMQ"), None, None),
        ("rabbitmq-default-credential", 10, Identified, "rabbitmq", None, None, None),
    ] {
        let port = answering(identity, name, product, page);
        assert!(check == "gone-from-the-catalogue" || Checks::builtin().get(check).is_some(), "{check}");
        let case = format!("{check} at {at}: {identity} {name} {product:?} {page:?}");
        assert_eq!(displaced(&proved(check, at), &port, Checks::builtin()), over.map(Ts), "{case}");
    }
    assert_eq!(gone(&proved(CHECK, 10), "endpoint-closed", Ts(50)).checked_at, Ts(10), "a closed door was not checked");
}

#[test]
fn a_finding_is_gone_once_another_product_answers_and_a_check_of_the_same_report_has_the_last_word() {
    let mut story = Story::new();
    story.report(&[State::Open, State::Open], &[Verdict::Proved]);
    let http = || Some(Service { name: "http".into(), ..Service::default() });
    story.says.push(seen(Identity::Identified, http(), story.now + 1));
    let (events, _) = story.report(&[State::Open], &[Verdict::Proved]);
    assert!(!events.contains(&EventKind::FindingGone), "proved after that: {events:?}");
    story.says.push(seen(Identity::Identified, http(), story.now + 1));
    let (events, alert) = story.report(&[State::Open], &[]);
    assert_eq!((events, alert), (vec![EventKind::FindingGone, EventKind::RiskChanged], None));
    let finding = &story.dossier.findings[CHECK];
    assert_eq!((finding.phase, finding.gone_reason.as_deref()), (FindingPhase::Gone, Some("other-service")));
    assert_eq!(story.dossier.exposure.as_ref().unwrap().risk.severity, Severity::Low);
}

fn seen(identity: Identity, service: Option<Service>, at: i64) -> Identification {
    serde_json::from_value(serde_json::json!({
        "endpoint": door(), "identity": identity, "service": service, "evidence": null, "banner": null, "observed_at": Ts(at),
    }))
    .unwrap()
}

/// One endpoint through several reports.
struct Story {
    dossier: Dossier,
    minted: u128,
    now: i64,
    /// What the next report says was identified.
    says: Vec<Identification>,
}

impl Story {
    fn new() -> Story {
        Story { dossier: Dossier::new(door(), None, None), minted: 0, now: 1_000, says: vec![] }
    }

    /// A report: what was seen of the door, and how checks ended. Gives the events and the alert, as `kind severity`.
    fn report(&mut self, states: &[State], verdicts: &[Verdict]) -> (Vec<EventKind>, Option<String>) {
        let policy = AlertPolicy::default();
        let (catalog, hysteresis, vantage) = (catalog(), Hysteresis::default(), vantage());
        let mut minted = self.minted;
        let mut mint = || {
            minted += 1;
            Uuid::from_u128(minted)
        };
        let before = &self.dossier;
        let mut d = Dossier::new(door(), before.port.clone(), before.exposure.clone());
        d.findings = before.findings.clone();
        for state in states {
            self.now += 60_000;
            let reason = if *state == State::Open { Reason::SynAck } else { Reason::Rst };
            let obs = Observation { endpoint: door(), state: *state, reason, observed_at: Ts(self.now) };
            let judge = judge(&catalog, &policy, &hysteresis, &vantage, self.now);
            judge.observe(&mut d, &obs, &mut mint);
        }
        let judge = judge(&catalog, &policy, &hysteresis, &vantage, self.now + 10);
        for said in self.says.drain(..) {
            judge.identify(&mut d, &said, &mut mint);
        }
        for verdict in verdicts {
            self.now += 1;
            judge.check(&mut d, &run(*verdict, self.now), &mut mint);
        }
        judge.settle(&mut d, &mut mint);
        let events = d.events.drain(..).map(|e| e.kind).collect();
        let alert = d.alert.take().map(|a| {
            let findings: Vec<_> = a.findings.iter().map(|f| f.check.as_str()).collect();
            let silent = if a.state == AlertState::Suppressed { " suppressed" } else { "" };
            format!("{} {} [{}]{silent}", a.kind, a.severity, findings.join(","))
        });
        self.minted = minted;
        self.dossier = d;
        (events, alert)
    }
}

fn judge<'a>(
    catalog: &'a model::catalog::Catalog,
    policy: &'a AlertPolicy,
    hysteresis: &'a Hysteresis,
    vantage: &'a Vantage,
    now: i64,
) -> Judge<'a> {
    Judge { vantage, assets: &[], catalog, policy, hysteresis, now: Ts(now) }
}

#[test]
fn what_is_proved_with_the_opening_is_told_with_it() {
    let mut story = Story::new();
    let (events, alert) = story.report(&[State::Open, State::Open], &[Verdict::Proved]);
    assert_eq!(events, [EventKind::EndpointPending, EventKind::EndpointOpened, EventKind::FindingProved]);
    assert_eq!(alert.as_deref(), Some("opened critical [redis-unauthenticated]"));
    let risk = &story.dossier.exposure.as_ref().unwrap().risk;
    assert_eq!(risk.severity, Severity::Critical);
    let ground =
        RiskReason::FindingProved { check: CHECK.into(), kind: FindingKind::UnauthenticatedAccess, severity: Severity::Critical };
    assert!(risk.reasons.contains(&ground), "{:?}", risk.reasons);
    assert_eq!(story.report(&[State::Open], &[Verdict::Proved]), (vec![], None), "the same proof again is no news");
}

#[test]
fn a_finding_of_a_door_that_people_know_is_news_each_time_it_turns_up() {
    let mut story = Story::new();
    assert_eq!(story.report(&[State::Open, State::Open], &[]).1, None, "an unlisted port by itself alerts nobody");
    let (events, alert) = story.report(&[State::Open], &[Verdict::Proved]);
    assert_eq!(events, [EventKind::FindingProved, EventKind::RiskChanged]);
    assert_eq!(alert.as_deref(), Some("finding-proved critical [redis-unauthenticated]"));
    let (events, alert) = story.report(&[State::Open], &[Verdict::NotProved]);
    assert_eq!((events, alert), (vec![EventKind::FindingGone, EventKind::RiskChanged], None));
    assert_eq!(story.dossier.exposure.as_ref().unwrap().risk.severity, Severity::Low, "and so is its weight");
    assert_eq!(story.report(&[State::Open], &[Verdict::Inconclusive]), (vec![], None));
    assert_eq!(
        story.report(&[State::Open], &[Verdict::Proved]).1.as_deref(),
        Some("finding-proved critical [redis-unauthenticated]")
    );
}

#[test]
fn a_registration_does_not_keep_a_finding_from_being_told_and_an_acceptance_does() {
    for (kind, told) in [
        (DispositionKind::Registered, "finding-proved critical [redis-unauthenticated]"),
        (DispositionKind::Accepted, "finding-proved critical [redis-unauthenticated] suppressed"),
        (DispositionKind::FalsePositive, "finding-proved critical [redis-unauthenticated] suppressed"),
    ] {
        let mut story = Story::new();
        story.report(&[State::Open, State::Open], &[]);
        let decided = Disposition { kind, until: None, by: Some("alice".into()), note: None, at: Some(Ts(1)) };
        story.dossier.exposure.as_mut().unwrap().disposition = decided;
        assert_eq!(story.report(&[State::Open], &[Verdict::Proved]).1.as_deref(), Some(told), "{kind}");
    }
}

#[test]
fn a_closed_door_takes_its_findings_with_it() {
    let mut story = Story::new();
    story.report(&[State::Open, State::Open], &[Verdict::Proved]);
    let (events, _) = story.report(&[State::Closed, State::Closed, State::Closed], &[]);
    assert!(events.contains(&EventKind::EndpointClosed) && events.contains(&EventKind::FindingGone), "{events:?}");
    let finding = &story.dossier.findings[CHECK];
    assert_eq!((finding.phase, finding.gone_reason.as_deref()), (FindingPhase::Gone, Some("endpoint-closed")));
    let (events, alert) = story.report(&[State::Open, State::Open], &[Verdict::Proved]);
    assert!(events.contains(&EventKind::EndpointReopened) && events.contains(&EventKind::FindingProved), "{events:?}");
    assert!(alert.unwrap().starts_with(AlertKind::Opened.as_str()));
}

#[test]
fn of_what_was_never_seen_open_nothing_is_believed() {
    let mut story = Story::new();
    assert_eq!(story.report(&[], &[Verdict::Proved]), (vec![], None));
    assert!(story.dossier.findings.is_empty());
}
