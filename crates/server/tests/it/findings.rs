//! Checks through the server: what a node may do is in its offer, what it proved is in the store, told and undone, and no
//! attempt to sign in is made once too often.

use crate::sink::Sink;
use crate::world::{World, advance, audit, eventually};
use model::alert::AlertKind;
use model::asset::{Asset, CheckCeiling};
use model::event::EventKind;
use model::exposure::Severity;
use model::finding::{
    Approval, AttemptOutcome, CheckRun, CredentialAttempt, CredentialGrant, Evidence, FindingKind, FindingPhase, SideEffect,
    Verdict,
};
use model::job::Work;
use model::observation::SeenFrom;
use model::task::TaskKind;
use model::{ApprovalId, Duration, Endpoint, Vantage};
use plan::checks::policy_for;
use store::{AlertFilter, AuditFilter, EventFilter, FindingFilter, Paging};
use uuid::Uuid;
use wire::{HeartbeatReply, JobOffer, ReportReply};

const REDIS: &str = "10.0.0.1:6379/tcp";

fn proof(endpoint: Endpoint, verdict: Verdict) -> CheckRun {
    CheckRun {
        endpoint,
        check: "redis-unauthenticated".into(),
        kind: FindingKind::UnauthenticatedAccess,
        severity: Severity::Critical,
        side_effect: SideEffect::Benign,
        verdict,
        reason: None,
        evidence: (verdict == Verdict::Proved).then(|| Evidence { request: "redis-info".into(), ..Evidence::default() }),
        attempts: vec![],
        observed_at: crate::world::clock(),
    }
}

/// Identifies what is open, and hands in how the check ended with it.
async fn identified(world: &World, verdict: Verdict) {
    world.run(TaskKind::ServiceIdentification).await;
    let mut checked = 0;
    for offer in world.lease("node", 20).await {
        advance(Duration::secs(2));
        let mut report = world.report("node", &offer);
        if let Work::Identify { endpoints } = &offer.work {
            report.sightings.checks = endpoints.iter().map(|e| proof(*e, verdict)).collect();
            checked += endpoints.len();
        }
        assert_eq!(world.send(report.clone()).await, ReportReply::Accepted);
        assert_eq!(world.send(report).await, ReportReply::Accepted, "the same report again changes nothing");
    }
    assert!(checked > 0, "nothing was identified");
}

/// A redis on a watched host, confirmed open.
async fn redis() -> (World, Endpoint) {
    let mut world = World::new().await;
    world.asset("10.0.0.0/30").await;
    let endpoint = world.open(REDIS, "redis");
    world.run(TaskKind::Liveness).await;
    world.work().await;
    advance(Duration::secs(5));
    (world, endpoint)
}

#[tokio::test]
async fn a_proof_is_kept_told_and_undone_by_the_same_check() {
    let (mut world, endpoint) = redis().await;
    let sink = Sink::start().await;
    world.webhook(sink.url()).await;
    world.background();
    identified(&world, Verdict::Proved).await;
    let key = SeenFrom { endpoint, vantage: Vantage("outside".into()) };
    let findings = async || world.store().findings(&FindingFilter::default(), Paging::first(10)).await.unwrap().items;
    let found = findings().await;
    assert_eq!((found.len(), found[0].phase, found[0].endpoint), (1, FindingPhase::Present, endpoint));
    let exposure = world.store().exposures_by(std::slice::from_ref(&key)).await.unwrap().remove(&key).unwrap();
    assert_eq!(exposure.risk.severity, Severity::Critical);
    let alerts = async || {
        let all = world.store().alerts(&AlertFilter::default(), Paging::first(50)).await.unwrap().items;
        all.into_iter().filter(|a| a.kind == AlertKind::FindingProved).collect::<Vec<_>>()
    };
    assert_eq!(alerts().await.len(), 1, "told once");
    eventually("the webhook has the finding", || async { sink.requests().iter().any(|r| r.contains("redis-unauthenticated")) })
        .await;

    identified(&world, Verdict::Proved).await;
    assert_eq!(alerts().await.len(), 1, "the same proof again is no news");
    identified(&world, Verdict::Inconclusive).await;
    assert_eq!(findings().await[0].phase, FindingPhase::Present);
    identified(&world, Verdict::NotProved).await;
    let gone = findings().await;
    assert_eq!((gone[0].phase, gone[0].gone_reason.as_deref()), (FindingPhase::Gone, Some("not-proved")));
    assert_eq!(gone[0].id, found[0].id);
    identified(&world, Verdict::Proved).await;
    assert_eq!(alerts().await.len(), 2, "and news when it is back");
    let kinds = vec![EventKind::FindingProved, EventKind::FindingGone];
    let events = world.store().events(&EventFilter { kinds, ..EventFilter::default() }, Paging::first(50)).await.unwrap().items;
    let order: Vec<EventKind> = events.iter().rev().map(|e| e.kind).collect();
    assert_eq!(order, [EventKind::FindingProved, EventKind::FindingGone, EventKind::FindingProved]);
    assert!(events.iter().all(|e| e.exposure == Some(exposure.id)));
    world.stop_background().await;
}

#[tokio::test]
async fn a_door_that_closes_takes_its_findings_along() {
    let (mut world, endpoint) = redis().await;
    identified(&world, Verdict::Proved).await;
    world.doors.insert(endpoint, crate::world::Door::Refuses);
    world.run(TaskKind::OpenRecheck).await;
    world.work_for(Duration::secs(40)).await;
    let found = world.store().findings(&FindingFilter::default(), Paging::first(10)).await.unwrap().items;
    assert_eq!((found[0].phase, found[0].gone_reason.as_deref()), (FindingPhase::Gone, Some("endpoint-closed")));
}

/// Jenkins is identified and proved open, then nginx takes the port: the product's finding waits for the front page, which is
/// asked for by itself, and ends when that is no Jenkins' either.
#[tokio::test]
async fn a_products_finding_is_gone_when_another_product_has_taken_its_port() {
    let mut world = World::new().await;
    world.asset("10.0.0.0/30").await;
    let endpoint = world.open("10.0.0.1:8080/tcp", "http");
    world.run(TaskKind::Liveness).await;
    world.work().await;
    let phase = async || {
        let found = world.store().findings(&FindingFilter::default(), Paging::first(10)).await.unwrap().items;
        (found[0].phase, found[0].gone_reason.clone())
    };
    let page = |product: Option<&str>, status: u16| {
        let panel = serde_json::json!({"scheme": "http", "status": status, "product": product});
        let seen = serde_json::json!({"endpoint": endpoint, "panel": panel, "observed_at": crate::world::clock()});
        serde_json::from_value::<model::service::PanelObservation>(seen).unwrap()
    };
    // What answers, whether the check that applies proves it, and the front page of the job that follows, if one does.
    for (product, proved, shown, after) in [
        ("Jenkins", true, Some((Some("Jenkins"), 200)), (FindingPhase::Present, None)),
        ("nginx", false, Some((None, 502)), (FindingPhase::Present, None)),
        ("Apache httpd", false, Some((None, 200)), (FindingPhase::Gone, Some("other-service".to_owned()))),
        ("Apache httpd", false, None, (FindingPhase::Gone, Some("other-service".to_owned()))),
    ] {
        advance(Duration::secs(20));
        world.run(TaskKind::ServiceIdentification).await;
        let (mut identified, mut fetched) = (0, None);
        loop {
            let offers = world.lease("node", 20).await;
            if offers.is_empty() {
                break;
            }
            for offer in offers {
                advance(Duration::secs(2));
                let mut report = world.report("node", &offer);
                if matches!(offer.work, Work::Identify { .. }) {
                    identified += 1;
                    for seen in &mut report.sightings.identifications {
                        seen.service.as_mut().unwrap().product = Some(product.into());
                    }
                    if proved {
                        let run = CheckRun { check: "jenkins-unauthenticated".into(), ..proof(endpoint, Verdict::Proved) };
                        report.sightings.checks = vec![run];
                    }
                }
                if let (Work::Panels { endpoints }, Some((product, status))) = (&offer.work, shown) {
                    assert_eq!(endpoints, &[endpoint]);
                    fetched = Some(status);
                    report.sightings.panels = vec![page(product, status)];
                }
                world.send(report).await;
            }
        }
        assert_eq!((identified > 0, fetched), (true, shown.map(|(_, status)| status)), "{product}");
        assert_eq!(phase().await, after, "{product}");
    }
    let kinds = vec![EventKind::FindingGone];
    let events = world.store().events(&EventFilter { kinds, ..EventFilter::default() }, Paging::first(50)).await.unwrap().items;
    assert_eq!(events.len(), 1, "said once");
}

#[tokio::test]
async fn what_a_node_says_beyond_its_job_or_without_proof_is_not_taken() {
    let (world, endpoint) = redis().await;
    world.run(TaskKind::ServiceIdentification).await;
    let offers = world.lease("node", 20).await;
    let offer = offers.iter().find(|o| matches!(o.work, Work::Identify { .. })).unwrap();
    let mut report = world.report("node", offer);
    let elsewhere = proof("10.0.0.2:6379/tcp".parse().unwrap(), Verdict::Proved);
    let unproved = CheckRun { evidence: None, ..proof(endpoint, Verdict::Proved) };
    let unnamed = CheckRun { check: "../../x".into(), ..proof(endpoint, Verdict::Proved) };
    let endless = Evidence { request: "r".repeat(9_000), response: "x".repeat(9_000), ..Evidence::default() };
    let long = CheckRun { check: "other-check".into(), evidence: Some(endless), ..proof(endpoint, Verdict::Proved) };
    report.sightings.checks = vec![elsewhere, unproved, unnamed, long];
    assert_eq!(world.send(report).await, ReportReply::Accepted);
    let found = world.store().findings(&FindingFilter::default(), Paging::first(10)).await.unwrap().items;
    assert_eq!(found.iter().map(|f| f.check.as_str()).collect::<Vec<_>>(), ["other-check"]);
    assert_eq!((found[0].evidence.request.len(), found[0].evidence.response.len()), (300, 512));
}

async fn approve(world: &World, range: &str) -> ApprovalId {
    let now = crate::world::clock();
    let approval = Approval {
        id: ApprovalId(Uuid::now_v7()),
        range: range.parse().unwrap(),
        owner: "payments".into(),
        reason: "CHG-1".into(),
        not_before: now,
        until: now.plus(Duration::days(20)),
        max_attempts: 2,
        created_by: "user:alice".into(),
        asked_by: "user:alice".into(),
        created_at: now,
        granted_at: Some(now),
        granted_by: Some("user:carol".into()),
        revoked_at: None,
        revoked_by: None,
    };
    world.store().insert_approval(&approval, &audit("approval.create")).await.unwrap();
    approval.id
}

fn grant(offer: &JobOffer, endpoint: Endpoint) -> Option<CredentialGrant> {
    policy_for(endpoint.ip, &offer.check_policies)?.credentials.clone()
}

/// The job that identifies, as it is handed out now.
async fn handed(world: &World) -> JobOffer {
    world.run(TaskKind::ServiceIdentification).await;
    let offers = world.lease("node", 20).await;
    offers.into_iter().find(|o| matches!(o.work, Work::Identify { .. })).expect("something to identify")
}

#[tokio::test]
async fn no_attempt_is_handed_out_twice_and_a_lost_report_never_leads_to_one_too_many() {
    let (world, endpoint) = redis().await;
    let plain = handed(&world).await;
    let policy = policy_for(endpoint.ip, &plain.check_policies).unwrap();
    assert_eq!((policy.ceiling, policy.credentials.is_none()), (Some(SideEffect::Session), true), "nothing is tried by itself");
    world.send(world.report("node", &plain)).await;

    let id = approve(&world, "10.0.0.0/30").await;
    let offer = handed(&world).await;
    assert!(grant(&offer, endpoint).is_none(), "an approval alone is not enough: the asset has to allow it");
    // An empty password needs no approval; it is audited and counts all the same.
    let mut report = world.report("node", &offer);
    let at = crate::world::clock();
    let (account, pair) = ("root".to_owned(), CredentialAttempt::EMPTY_PASSWORD.to_owned());
    let attempts = vec![CredentialAttempt { account, pair, outcome: AttemptOutcome::Rejected, at }];
    let check = "mysql-unauthenticated".to_owned();
    report.sightings.checks = vec![CheckRun { check, attempts, ..proof(endpoint, Verdict::NotProved) }];
    assert_eq!(world.send(report).await, ReportReply::Accepted);
    let attempted = AuditFilter { action: Some("credential.attempt".into()), ..AuditFilter::default() };
    let entries = world.store().audit(&attempted, Paging::first(10)).await.unwrap().items;
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].actor.as_str(), entries[0].result.as_str()), ("node:node", "rejected"));
    assert_eq!((&entries[0].detail["account"], &entries[0].detail["approval"]), (&"root".into(), &serde_json::Value::Null));
    let asset = world.store().assets().await.unwrap().remove(0);
    let intrusive = Asset { check_ceiling: CheckCeiling::Intrusive, ..asset };
    world.store().update_asset(&intrusive, &audit("asset.update")).await.unwrap();

    // Handed out, tried, reported: the next job is told of it.
    advance(Duration::secs(10));
    let offer = handed(&world).await;
    assert_eq!(grant(&offer, endpoint).map(|g| (g.approval, g.max_attempts, g.spent.len())), Some((id, 2, 1)));
    let mut report = world.report("node", &offer);
    let tried = |pair: &str, outcome| CredentialAttempt {
        account: "default".into(),
        pair: pair.into(),
        outcome,
        at: crate::world::clock(),
    };
    let attempts = vec![tried("redis-foobared", AttemptOutcome::Rejected)];
    report.sightings.checks = vec![CheckRun {
        check: "redis-default".into(),
        kind: FindingKind::DefaultCredential,
        side_effect: SideEffect::Intrusive,
        attempts,
        ..proof(endpoint, Verdict::NotProved)
    }];
    assert_eq!(world.send(report.clone()).await, ReportReply::Accepted);
    assert_eq!(world.send(report).await, ReportReply::Accepted);
    let entries = world.store().audit(&attempted, Paging::first(10)).await.unwrap().items;
    assert_eq!(entries.len(), 2, "audited once");
    assert_eq!((entries[0].actor.as_str(), entries[0].result.as_str()), ("node:node", "rejected"));
    assert_eq!(entries[0].detail["approval"], serde_json::json!(id));

    advance(Duration::secs(60));
    let offer = handed(&world).await;
    let told = grant(&offer, endpoint).expect("still granted");
    assert_eq!(told.spent.iter().map(|s| (s.account.as_str(), s.attempts)).collect::<Vec<_>>(), [("default", 1), ("root", 1)]);

    // This one is lost with whatever it tried: for a day nothing more is handed out for the address.
    advance(Duration::secs(20));
    for lost in world.store().expire_leases(crate::world::clock()).await.unwrap() {
        assert!(lost.requeued);
    }
    advance(Duration::secs(1));
    let again = world.lease("node", 20).await;
    let again = again.into_iter().find(|o| matches!(o.work, Work::Identify { .. })).expect("redelivered");
    assert!(grant(&again, endpoint).is_none(), "{:?}", again.check_policies);
    assert_eq!(world.send(world.report("node", &offer)).await, ReportReply::Fenced);
    assert_eq!(world.send(world.report("node", &again)).await, ReportReply::Accepted);
    advance(Duration::hours(23));
    let later = handed(&world).await;
    assert!(grant(&later, endpoint).is_none());
    world.send(world.report("node", &later)).await;
    advance(Duration::hours(2));
    let next_day = handed(&world).await;
    assert_eq!(grant(&next_day, endpoint).map(|g| g.spent.len()), Some(0), "a day later it begins anew");
    world.send(world.report("node", &next_day)).await;

    advance(Duration::secs(60));
    let going = handed(&world).await;
    assert_eq!(world.beat("node", &going).await, HeartbeatReply::Continue);
    world.store().revoke_approval(id, "user:bob", crate::world::clock(), &audit("approval.revoke")).await.unwrap();
    assert_eq!(world.beat("node", &going).await, HeartbeatReply::Stop, "who is at it hears of it with the next heartbeat");
    let again = world.lease("node", 20).await;
    let again = again.into_iter().find(|o| matches!(o.work, Work::Identify { .. })).expect("handed out again");
    assert!(grant(&again, endpoint).is_none(), "taken back");
}
