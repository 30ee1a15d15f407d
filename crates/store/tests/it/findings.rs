//! What checks proved, who agreed to attempts, what is held and spent, and what people say of silent ports.

use crate::sample::*;
use crate::{Db, on_both};
use model::alert::{Alert, AlertKind, FindingNote};
use model::asset::CheckCeiling;
use model::event::EventKind;
use model::exposure::{RiskKind, Severity};
use model::finding::{Approval, AttemptOutcome, EndpointNote, Evidence, Finding, FindingKind, FindingPhase};
use model::observation::SeenFrom;
use model::service::Identity;
use model::task::TaskKind;
use model::{ApprovalId, Duration, Endpoint, FindingId, Ts};
use sea_orm::{ConnectionTrait, Database};
use std::collections::BTreeMap;
use store::{
    Attempt, End, ExposureFilter, FindingFilter, FindingSort, IngestBatch, IngestOutcome, Order, Paging, PortFilter, Proved,
    ServiceFilter, Store, StoreError,
};
use uuid::Uuid;

on_both!(
    a_finding_keeps_its_id_and_its_first_proof,
    findings_are_filtered_by_what_they_are_and_by_what_answers,
    endpoints_and_exposures_are_found_by_service_version_and_finding,
    an_alert_about_a_finding_is_raised_once_for_each_proof,
    an_attempt_is_counted_once_however_often_it_is_reported,
    a_lease_that_was_lost_keeps_its_addresses_from_another_attempt,
    an_approval_waits_for_a_second_person,
    an_approval_is_taken_back_once,
    front_pages_are_found_by_icon_and_by_what_they_are_made_with,
    findings_are_counted_by_severity_and_by_week,
    a_note_takes_an_endpoint_off_the_queue,
    a_database_of_the_release_before_is_brought_up_to_date,
);

const EVERYTHING: Paging = Paging { offset: 0, limit: 500 };

fn finding(door: &str, check: &str, severity: Severity) -> Finding {
    Finding {
        id: FindingId(Uuid::now_v7()),
        endpoint: endpoint(door),
        vantage: outside(),
        check: check.into(),
        kind: FindingKind::UnauthenticatedAccess,
        severity,
        phase: FindingPhase::Present,
        evidence: Evidence {
            request: "redis-info".into(),
            response: "redis_version:7.0.15\\x0d".into(),
            sha256: "ab".repeat(32),
            fields: BTreeMap::from([("databases".into(), "3".into())]),
        },
        first_seen_at: at(1),
        last_seen_at: at(2),
        gone_at: None,
        gone_reason: None,
        checked_at: at(2),
    }
}

/// Records parts of a report under a lease of its own, which ends.
async fn record(store: &Store, fill: impl FnOnce(&mut IngestBatch)) {
    started(store, TaskKind::HighRiskOnline, 1).await;
    let job = store.lease(&wants(1, T0)).await.unwrap().remove(0);
    let mut batch = report(&job, 1);
    batch.end = Some(End::Done);
    fill(&mut batch);
    assert_eq!(store.ingest(&batch).await.unwrap(), IngestOutcome::Recorded);
    assert_eq!(store.ingest(&batch).await.unwrap(), IngestOutcome::Duplicate, "the same report again changes nothing");
}

async fn a_finding_keeps_its_id_and_its_first_proof(db: Db) {
    let first = finding("10.0.0.7:6379/tcp", "redis-unauthenticated", Severity::Critical);
    record(&db.store, |b| b.findings = vec![first.clone()]).await;
    let gone = Finding {
        id: FindingId(Uuid::now_v7()),
        phase: FindingPhase::Gone,
        first_seen_at: at(900),
        gone_at: Some(at(9)),
        gone_reason: Some("not-proved".into()),
        checked_at: at(9),
        ..first.clone()
    };
    record(&db.store, |b| b.findings = vec![gone.clone()]).await;
    let key = SeenFrom { endpoint: first.endpoint, vantage: outside() };
    let expected = Finding { id: first.id, first_seen_at: first.first_seen_at, ..gone };
    assert_eq!(db.store.finding(first.id).await.unwrap(), Some(expected.clone()));
    assert_eq!(db.store.findings_by(std::slice::from_ref(&key)).await.unwrap()[&key], [expected]);
    assert_eq!(db.store.finding(FindingId(Uuid::now_v7())).await.unwrap(), None);
}

async fn findings_are_filtered_by_what_they_are_and_by_what_answers(db: Db) {
    let doors = ["10.0.0.7:6379/tcp", "10.0.0.8:16379/tcp", "[2001:db8::7]:443/tcp"];
    let mut shown = exposure(endpoint(doors[1]), RiskKind::HighRiskService, Severity::Critical);
    let net = asset("10.0.0.0/24");
    shown.asset = Some(net.id);
    record(&db.store, |b| {
        b.findings = vec![
            finding(doors[0], "redis-unauthenticated", Severity::Critical),
            Finding { last_seen_at: at(7), ..finding(doors[1], "redis-unauthenticated", Severity::High) },
            Finding { kind: FindingKind::WeakTls, phase: FindingPhase::Gone, ..finding(doors[2], "tls-old", Severity::Low) },
        ];
        b.port_states = doors[..2].iter().map(|d| port_state(endpoint(d))).collect();
        b.exposures = vec![shown];
    })
    .await;
    let all = FindingFilter::default();
    let named = |name: &str| ServiceFilter { name: Some(name.into()), ..Default::default() };
    let by = |by, descending| Some(Order { by, descending });
    for (filter, found) in [
        (all.clone(), &[0, 1, 2][..]),
        (FindingFilter { phase: Some(FindingPhase::Present), ..all.clone() }, &[0, 1]),
        (FindingFilter { kinds: vec![FindingKind::WeakTls], ..all.clone() }, &[2]),
        (FindingFilter { severities: vec![Severity::High, Severity::Low], ..all.clone() }, &[1, 2]),
        (FindingFilter { checks: vec!["redis-unauthenticated".into()], ..all.clone() }, &[0, 1]),
        (FindingFilter { search: Some("10.0.0.8".into()), ..all.clone() }, &[1]),
        (FindingFilter { search: Some("443".into()), ..all.clone() }, &[2]),
        (FindingFilter { search: Some("TLS-old".into()), ..all.clone() }, &[2]),
        (FindingFilter { service: named("redis"), ..all.clone() }, &[0, 1]),
        (FindingFilter { service: named("http"), ..all.clone() }, &[]),
        (FindingFilter { asset: Some(net.id), ..all.clone() }, &[1]),
        (FindingFilter { endpoint: Some(endpoint(doors[0])), ..all.clone() }, &[0]),
        (FindingFilter { sort: by(FindingSort::LastSeenAt, true), ..all.clone() }, &[1, 0, 2]),
        (FindingFilter { sort: by(FindingSort::Ip, true), ..all.clone() }, &[2, 1, 0]),
    ] {
        let page = db.store.findings(&filter, EVERYTHING).await.unwrap();
        let got: Vec<Endpoint> = page.items.iter().map(|f| f.endpoint).collect();
        assert_eq!(got, found.iter().map(|&i| endpoint(doors[i])).collect::<Vec<_>>(), "{filter:?}");
        assert_eq!(page.total as usize, found.len());
    }
}

async fn endpoints_and_exposures_are_found_by_service_version_and_finding(db: Db) {
    let doors = ["10.0.0.1:6379/tcp", "10.0.0.2:6379/tcp", "10.0.0.3:6379/tcp"];
    record(&db.store, |b| {
        for (door, version) in doors.iter().zip(["7.0.15", "7.01", "7"]) {
            let mut state = port_state(endpoint(door));
            let mut shown = exposure(endpoint(door), RiskKind::HighRiskPort, Severity::High);
            state.service.as_mut().unwrap().version = Some(version.into());
            shown.service.clone_from(&state.service);
            state.panel.as_mut().unwrap().product = Some("Grafana".into());
            b.port_states.push(state);
            b.exposures.push(shown);
        }
        b.port_states[2].identity = Some(Identity::Silent);
        b.findings = vec![finding(doors[0], "redis-unauthenticated", Severity::Critical)];
        b.findings.push(Finding { phase: FindingPhase::Gone, ..finding(doors[1], "redis-unauthenticated", Severity::Critical) });
    })
    .await;
    let of = |kinds: Vec<FindingKind>, check: &str| Some(Proved::Of { kinds, checks: vec![check.into()] });
    let with = |product: Option<&str>, version: Option<&str>| ServiceFilter {
        name: Some("redis".into()),
        product: product.map(Into::into),
        version: version.map(Into::into),
    };
    for (service, proved, found) in [
        (with(Some("REDIS"), None), None, &[0, 1, 2][..]),
        (with(Some("Valkey"), None), None, &[]),
        (with(None, Some("7.0")), None, &[0]),
        (with(None, Some("7")), None, &[0, 1, 2]),
        (with(None, Some("7.0.15")), None, &[0]),
        (with(None, Some("7%")), None, &[]),
        (with(None, None), Some(Proved::Any), &[0]),
        (with(None, None), Some(Proved::Nothing), &[1, 2]),
        (with(None, None), of(vec![], "redis-unauthenticated"), &[0]),
        (with(None, None), of(vec![FindingKind::UnauthenticatedAccess], "x"), &[0]),
        (with(None, None), of(vec![FindingKind::WeakTls], "x"), &[]),
    ] {
        let expected: Vec<Endpoint> = found.iter().map(|&i| endpoint(doors[i])).collect();
        let filter = PortFilter { service: service.clone(), proved: proved.clone(), ..Default::default() };
        let ports = db.store.ports(&filter, EVERYTHING).await.unwrap();
        assert_eq!(ports.items.iter().map(|p| p.endpoint).collect::<Vec<_>>(), expected, "{service:?} {proved:?}");
        let filter = ExposureFilter { service, proved, ..ExposureFilter::all(at(10)) };
        let mut shown: Vec<_> = db.store.exposures(&filter, EVERYTHING).await.unwrap().items.iter().map(|e| e.endpoint).collect();
        shown.sort_unstable();
        assert_eq!(shown, expected, "{filter:?}");
        let grouped = db.store.exposures_by_address(&filter, EVERYTHING).await.unwrap();
        assert_eq!(grouped.total as usize, expected.len());
    }
    let silent = PortFilter { identities: vec![Identity::Silent, Identity::ClosesAtOnce], ..Default::default() };
    assert_eq!(db.store.ports(&silent, EVERYTHING).await.unwrap().items[0].endpoint, endpoint(doors[2]));
    let panel = |product: &str| PortFilter { panel_product: Some(product.into()), ..Default::default() };
    assert_eq!(db.store.ports(&panel("grafana"), EVERYTHING).await.unwrap().total, 3);
    assert_eq!(db.store.ports(&panel("graf"), EVERYTHING).await.unwrap().total, 0);
    let known = |known| PortFilter { panel_known: Some(known), ..Default::default() };
    assert_eq!(db.store.ports(&known(true), EVERYTHING).await.unwrap().total, 3);
    assert_eq!(db.store.ports(&known(false), EVERYTHING).await.unwrap().total, 0);
}

async fn an_alert_about_a_finding_is_raised_once_for_each_proof(db: Db) {
    let door = endpoint("10.0.0.7:6379/tcp");
    let shown = exposure(door, RiskKind::HighRiskPort, Severity::Critical);
    let note = |proved_at: Ts| FindingNote {
        check: "redis-unauthenticated".into(),
        kind: FindingKind::UnauthenticatedAccess,
        severity: Severity::Critical,
        proved_at,
    };
    let told = |proved_at| Alert { kind: AlertKind::FindingProved, findings: vec![note(proved_at)], ..alert(&shown) };
    record(&db.store, |b| {
        b.exposures = vec![shown.clone()];
        b.alerts = vec![alert(&shown), told(at(2)), told(at(2)), told(at(50))];
    })
    .await;
    let pending = db.store.pending_alerts(10).await.unwrap();
    assert_eq!(pending.len(), 3, "the opening, and the finding once for each time it was proved");
    assert!(pending.iter().any(|a| a.findings == [note(at(50))]));
}

fn approval(range: &str) -> Approval {
    Approval {
        id: ApprovalId(Uuid::now_v7()),
        range: range.parse().unwrap(),
        owner: "payments".into(),
        reason: "CHG-17".into(),
        not_before: T0,
        until: at(3_600),
        max_attempts: 2,
        created_by: "user:alice".into(),
        asked_by: "user:alice".into(),
        created_at: T0,
        granted_at: Some(T0),
        granted_by: Some("user:carol".into()),
        revoked_at: None,
        revoked_by: None,
    }
}

fn attempt(door: &str, pair: &str, when: Ts) -> Attempt {
    Attempt {
        endpoint: endpoint(door),
        account: "root".into(),
        pair: pair.into(),
        check: "mysql-default".into(),
        outcome: AttemptOutcome::Rejected,
        approval: None,
        node: node(),
        at: when,
    }
}

async fn an_attempt_is_counted_once_however_often_it_is_reported(db: Db) {
    let door = "10.0.0.7:3306/tcp";
    let tried = vec![attempt(door, "control", at(1)), attempt(door, "mysql-root", at(70))];
    record(&db.store, |b| {
        b.attempts = tried.clone();
        b.audit = vec![audit("credential.attempt"), audit("credential.attempt")];
    })
    .await;
    record(&db.store, |b| b.attempts = tried).await;
    let within = ["10.0.0.0/24".parse().unwrap()];
    let spent = db.store.attempts_since(&within, at(0)).await.unwrap();
    assert_eq!((spent.len(), spent[0].attempts, spent[0].last_at), (1, 2, at(70)));
    assert_eq!(db.store.attempts_since(&within, at(1)).await.unwrap()[0].attempts, 1, "what is older counts no more");
    assert!(db.store.attempts_since(&["10.0.1.0/24".parse().unwrap()], at(0)).await.unwrap().is_empty());
    let entries = db.store.audit(&Default::default(), EVERYTHING).await.unwrap().items;
    assert_eq!(entries.iter().filter(|e| e.action == "credential.attempt").count(), 2);
}

async fn a_lease_that_was_lost_keeps_its_addresses_from_another_attempt(db: Db) {
    started(&db.store, TaskKind::HighRiskOnline, 1).await;
    let first = db.store.lease(&wants(1, T0)).await.unwrap().remove(0);
    let (a, b) = (ip("10.0.0.7"), ip("10.0.0.8"));
    let day = Duration::hours(24);
    let hold = async |fencing, ips: &[_], now: Ts| {
        db.store.hold_attempts(first.id, fencing, ips, now.minus(day), now, &audit("approval.use")).await.unwrap()
    };
    assert!(hold(first.fencing, &[a], at(0)).await.is_empty());
    assert!(hold(first.fencing, &[a], at(1)).await.is_empty(), "its own hold is no obstacle");
    // The lease is lost with whatever it tried; the next one tries nothing at that address for a day.
    assert_eq!(hold(first.fencing + 1, &[a, b], at(100)).await, [a]);
    assert_eq!(hold(first.fencing + 2, &[a, b], at(200)).await, [a, b]);
    assert!(hold(first.fencing + 3, &[a], at(86_400)).await.is_empty(), "a day later it is over");

    // A job that reports its end has said everything it tried.
    let job = db.store.lease(&wants(0, at(1))).await.unwrap();
    assert!(job.is_empty());
    let mut done = report(&first, 1);
    let c = ip("10.0.0.9");
    assert!(hold(first.fencing, &[c], at(300)).await.is_empty());
    done.end = Some(End::Done);
    assert_eq!(db.store.ingest(&done).await.unwrap(), IngestOutcome::Recorded);
    assert!(hold(first.fencing + 4, &[c], at(301)).await.is_empty());
    let used = db.store.audit(&Default::default(), EVERYTHING).await.unwrap().items;
    assert_eq!(used.iter().filter(|e| e.action == "approval.use").count(), 6, "not where everything was held already");
}

async fn an_approval_waits_for_a_second_person(db: Db) {
    let asked = |range: &str| Approval { granted_at: None, granted_by: None, ..approval(range) };
    let (plain, by_token, over, declined) = (
        asked("10.0.0.0/28"),
        Approval { created_by: "token:cmdb".into(), ..asked("10.0.1.0/28") },
        Approval { until: at(5), ..asked("10.0.2.0/28") },
        asked("10.0.3.0/28"),
    );
    for approval in [&plain, &by_token, &over, &declined] {
        db.store.insert_approval(approval, &audit("approval.create")).await.unwrap();
    }
    db.store.revoke_approval(declined.id, "user:bob", at(5), &audit("approval.revoke")).await.unwrap();
    assert_eq!(db.store.approvals_open(T0).await.unwrap(), [], "nobody but who asked has agreed");
    let grant = async |id, by: &str| db.store.grant_approval(id, by, at(6), &audit("approval.grant")).await;
    for (id, by, why) in [
        (plain.id, "user:alice", "another person"),
        (by_token.id, "user:alice", "another person"),
        (by_token.id, "token:cmdb", "another person"),
        (over.id, "user:bob", "is over"),
        (declined.id, "user:bob", "declined"),
    ] {
        let refused = grant(id, by).await;
        assert!(matches!(&refused, Err(StoreError::NotAllowed(m)) if m.contains(why)), "{by}: {refused:?}");
    }
    assert!(matches!(grant(ApprovalId(Uuid::now_v7()), "user:bob").await, Err(StoreError::NotFound(_))));
    assert_eq!(db.store.approvals_open(at(6)).await.unwrap(), []);
    grant(plain.id, "user:bob").await.unwrap();
    let granted = Approval { granted_at: Some(at(6)), granted_by: Some("user:bob".into()), ..plain.clone() };
    assert_eq!(db.store.approvals_open(at(6)).await.unwrap(), std::slice::from_ref(&granted));
    assert_eq!((granted.in_force(at(5)), granted.in_force(at(6))), (false, true), "not before it was granted");
    let again = grant(plain.id, "user:carol").await;
    assert!(matches!(&again, Err(StoreError::NotAllowed(m)) if m.contains("granted before")), "{again:?}");
    let audited = db.store.audit(&Default::default(), EVERYTHING).await.unwrap().items;
    assert_eq!(
        audited.iter().filter(|e| e.action == "approval.grant").count(),
        1,
        "what was refused is not written down as done"
    );
}

async fn front_pages_are_found_by_icon_and_by_what_they_are_made_with(db: Db) {
    let doors = ["10.0.0.1:80/tcp", "10.0.0.2:80/tcp", "10.0.0.3:80/tcp", "10.0.0.4:80/tcp"].map(endpoint);
    record(&db.store, |b| {
        b.port_states = doors.iter().map(|d| port_state(*d)).collect();
        for (state, (favicon, technologies)) in b.port_states.iter_mut().zip([
            (Some(-939_513_348), &["Jetty 10.0.18", "PHP"][..]),
            (Some(81_586_312), &["PHPUnit", "a \"quoted\" 100% thing"]),
            (None, &[]),
        ]) {
            let panel = state.panel.as_mut().unwrap();
            panel.favicon = favicon;
            panel.technologies = technologies.iter().map(|t| (*t).to_owned()).collect();
        }
        b.port_states[3].panel = None;
    })
    .await;
    let icon = |hash| PortFilter { favicon: Some(hash), ..Default::default() };
    let with = |word: &str| PortFilter { technology: Some(word.into()), ..Default::default() };
    for (filter, found) in [
        (icon(-939_513_348), &[0][..]),
        (icon(81_586_312), &[1]),
        (icon(1), &[]),
        (with("jetty"), &[0]),
        (with("Jetty 10.0.18"), &[0]),
        (with("jetty 10.0.1"), &[]),
        (with("php"), &[0]),
        (with("10.0.18"), &[]),
        (with("A \"Quoted\""), &[1]),
        (with("a \"quoted\" 100%"), &[1]),
        (with("%"), &[]),
        (with("jetty_10.0.18"), &[]),
    ] {
        let got: Vec<Endpoint> = db.store.ports(&filter, EVERYTHING).await.unwrap().items.iter().map(|p| p.endpoint).collect();
        assert_eq!(got, found.iter().map(|&i| doors[i]).collect::<Vec<_>>(), "{filter:?}");
    }
}

async fn findings_are_counted_by_severity_and_by_week(db: Db) {
    let old = at(-8 * 86_400);
    record(&db.store, |b| {
        b.findings = vec![
            finding("10.0.0.1:6379/tcp", "a", Severity::Critical),
            Finding { first_seen_at: old, ..finding("10.0.0.2:6379/tcp", "a", Severity::Critical) },
            finding("10.0.0.2:6379/tcp", "b", Severity::Low),
            Finding { phase: FindingPhase::Gone, ..finding("10.0.0.3:6379/tcp", "a", Severity::High) },
        ];
    })
    .await;
    let counts = db.store.finding_counts(at(10)).await.unwrap();
    assert_eq!(counts.by_severity, BTreeMap::from([(Severity::Critical, 2), (Severity::Low, 1)]));
    assert_eq!(counts.new_7d, 2);
    let since = |ts| FindingFilter { first_seen_since: Some(ts), phase: Some(FindingPhase::Present), ..FindingFilter::default() };
    for (ts, total) in [(old, 3), (Ts(old.0 + 1), 2), (at(2), 0)] {
        assert_eq!(db.store.findings(&since(ts), EVERYTHING).await.unwrap().total, total, "{ts}");
    }
}

async fn an_approval_is_taken_back_once(db: Db) {
    let (one, other) = (approval("10.0.0.0/28"), Approval { until: at(9_000), ..approval("10.0.1.7") });
    for approval in [&one, &other] {
        db.store.insert_approval(approval, &audit("approval.create")).await.unwrap();
    }
    assert_eq!(db.store.approvals().await.unwrap(), [other.clone(), one.clone()], "those that end last first");
    assert_eq!(db.store.approvals_open(at(3_600)).await.unwrap(), std::slice::from_ref(&other));
    db.store.revoke_approval(other.id, "user:bob", at(5), &audit("approval.revoke")).await.unwrap();
    let revoked = Approval { revoked_at: Some(at(5)), revoked_by: Some("user:bob".into()), ..other.clone() };
    assert_eq!(db.store.approval(other.id).await.unwrap(), Some(revoked));
    assert_eq!(db.store.approvals_open(at(10)).await.unwrap(), [one]);
    let again = db.store.revoke_approval(other.id, "user:eve", at(6), &audit("approval.revoke")).await;
    assert!(matches!(again, Err(StoreError::NotAllowed(_))), "{again:?}");
    let unknown = db.store.revoke_approval(ApprovalId(Uuid::now_v7()), "user:eve", at(6), &audit("approval.revoke")).await;
    assert!(matches!(unknown, Err(StoreError::NotFound(_))), "{unknown:?}");
}

async fn a_note_takes_an_endpoint_off_the_queue(db: Db) {
    let doors = ["10.0.0.1:9100/tcp", "10.0.0.2:9100/tcp"].map(endpoint);
    record(&db.store, |b| b.port_states = doors.iter().map(|d| port_state(*d)).collect()).await;
    let note = EndpointNote { endpoint: doors[0], text: "badge readers".into(), by: "user:alice".into(), at: at(5) };
    db.store.set_endpoint_note(&EndpointNote { text: "printers".into(), ..note.clone() }, &audit("endpoint.note")).await.unwrap();
    db.store.set_endpoint_note(&note, &audit("endpoint.note")).await.unwrap();
    assert_eq!(db.store.endpoint_notes(&doors).await.unwrap().into_values().collect::<Vec<_>>(), [note]);
    let queue = PortFilter { noted: Some(false), ..Default::default() };
    let left = async || db.store.ports(&queue, EVERYTHING).await.unwrap().items.iter().map(|p| p.endpoint).collect::<Vec<_>>();
    assert_eq!(left().await, [doors[1]]);
    assert_eq!(db.store.ports(&PortFilter { noted: Some(true), ..Default::default() }, EVERYTHING).await.unwrap().total, 1);
    db.store.delete_endpoint_note(doors[0], &audit("endpoint.unnote")).await.unwrap();
    assert_eq!(left().await, doors);
    let again = db.store.delete_endpoint_note(doors[0], &audit("endpoint.unnote")).await;
    assert!(matches!(again, Err(StoreError::NotFound(_))), "{again:?}");
}

/// Takes the step back by hand, as no release does, so that what is left is what the release before left behind.
async fn a_database_of_the_release_before_is_brought_up_to_date(db: Db) {
    let door = endpoint("10.0.0.7:6379/tcp");
    let shown = exposure(door, RiskKind::HighRiskPort, Severity::High);
    let net = asset("10.0.0.0/24");
    db.store.insert_asset(&net, &audit("asset.create")).await.unwrap();
    record(&db.store, |b| {
        b.port_states = vec![port_state(door)];
        b.exposures = vec![shown.clone()];
        b.events = vec![event(EventKind::EndpointOpened, &shown, at(2))];
        b.alerts = vec![alert(&shown)];
    })
    .await;
    db.store.close().await;
    let raw = Database::connect(&db.url).await.unwrap();
    let mut back: Vec<String> = ["DROP INDEX alerts_once".to_owned()].into();
    for (table, columns) in [
        ("assets", &["check_ceiling"][..]),
        ("port_states", &["service_product", "service_version", "panel_product", "panel_favicon", "panel_technologies"]),
        ("exposures", &["service_name", "service_product", "service_version"]),
        ("alerts", &["findings", "about"]),
    ] {
        back.extend(columns.iter().map(|c| format!("ALTER TABLE {table} DROP COLUMN {c}")));
    }
    back.extend(
        ["findings", "approvals", "credential_attempts", "attempt_holds", "endpoint_notes"].map(|t| format!("DROP TABLE {t}")),
    );
    back.push("CREATE UNIQUE INDEX alerts_once ON alerts (exposure, opening, kind, risk)".into());
    back.push(
        "DELETE FROM seaql_migrations WHERE version IN ('m20261121_000004_findings', 'm20261121_000006_second_person')".into(),
    );
    for statement in &back {
        raw.execute_unprepared(statement).await.unwrap();
    }
    raw.close().await.unwrap();

    let store = Store::open_exclusive(&db.url).await.unwrap();
    assert_eq!(store.assets().await.unwrap()[0].check_ceiling, CheckCeiling::default(), "what holds where nobody said otherwise");
    assert_eq!(store.exposure(shown.id).await.unwrap(), Some(shown.clone()));
    assert_eq!(store.pending_alerts(10).await.unwrap().len(), 1);
    let service = ServiceFilter { name: Some("redis".into()), product: Some("redis".into()), version: Some("7.0".into()) };
    let ports = PortFilter { service: service.clone(), ..Default::default() };
    assert_eq!(store.ports(&ports, EVERYTHING).await.unwrap().items, [port_state(door)], "found by the new columns at once");
    for filter in [
        PortFilter { favicon: Some(-939_513_348), ..Default::default() },
        PortFilter { technology: Some("php".into()), ..Default::default() },
    ] {
        assert_eq!(store.ports(&filter, EVERYTHING).await.unwrap().items, [port_state(door)], "{filter:?}");
    }
    let exposures = ExposureFilter { service, ..ExposureFilter::all(at(10)) };
    assert_eq!(store.exposures(&exposures, EVERYTHING).await.unwrap().total, 1);
}
