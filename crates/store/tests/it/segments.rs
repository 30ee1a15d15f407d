//! Segments that are doubted, their candidates for canaries, and what operators say about those.

use crate::sample::*;
use crate::{Db, on_both};
use model::alert::AlertKind;
use model::event::EventKind;
use model::exposure::{RiskKind, Severity};
use model::port_state::{Phase, PortState};
use model::segment::{CanaryChoice, CanaryRole, Guard, SegmentNote, SegmentState, SegmentStatus};
use model::task::TaskKind;
use model::{CanaryId, Ts, Vantage};
use store::{AlertFilter, AuditFilter, EventFilter, IngestBatch, IngestOutcome, Paging, Store, StoreError};
use uuid::Uuid;

on_both!(
    a_doubted_segment_is_kept_whole_and_found_when_it_is_due,
    candidates_are_the_steadiest_of_a_range_and_vantage,
    an_operator_says_one_thing_about_an_endpoint,
    an_alert_of_a_segment_is_raised_once_each_time,
);

fn segment(range: &str, status: SegmentStatus, next_look_at: Option<Ts>) -> SegmentState {
    SegmentState {
        range: range.parse().unwrap(),
        vantage: outside(),
        status,
        guard: Guard::Own,
        since: at(5),
        trusted_from: Some(at(2)),
        canaries: 8,
        silent: 7,
        episode: 3,
        set_aside: 41,
        next_look_at,
    }
}

async fn record(store: &Store, fill: impl FnOnce(&mut IngestBatch)) {
    started(store, TaskKind::OpenRecheck, 1).await;
    let job = store.lease(&wants(1, T0)).await.unwrap().remove(0);
    let mut batch = report(&job, 1);
    batch.end = Some(store::End::Done);
    fill(&mut batch);
    assert_eq!(store.ingest(&batch).await.unwrap(), IngestOutcome::Recorded);
}

async fn a_doubted_segment_is_kept_whole_and_found_when_it_is_due(db: Db) {
    let unknown = segment("10.0.0.0/24", SegmentStatus::Unknown, Some(at(30)));
    let known = segment("2001:db8::/64", SegmentStatus::Known, None);
    let elsewhere = SegmentState { vantage: Vantage("branch".into()), next_look_at: Some(at(90)), ..unknown.clone() };
    record(&db.store, |b| b.segments = vec![unknown.clone(), known.clone(), elsewhere.clone()]).await;
    let by_range = [elsewhere.clone(), unknown.clone(), known.clone()];
    assert_eq!(db.store.segments(&[], None).await.unwrap(), by_range);
    assert_eq!(db.store.segments(&[SegmentStatus::Unknown], Some(&outside())).await.unwrap(), std::slice::from_ref(&unknown));
    assert_eq!(db.store.segments_due(at(30)).await.unwrap(), std::slice::from_ref(&unknown));

    db.store.segment_looks(&unknown, at(60)).await.unwrap();
    assert!(db.store.segments_due(at(30)).await.unwrap().is_empty());
    assert_eq!(db.store.segments_due(at(90)).await.unwrap().len(), 2);
    let over = SegmentState { status: SegmentStatus::Known, next_look_at: None, silent: 0, ..unknown.clone() };
    record(&db.store, |b| b.segments = vec![over.clone()]).await;
    db.store.segment_looks(&over, at(60)).await.unwrap();
    assert_eq!(db.store.segments(&[], Some(&outside())).await.unwrap(), [over.clone(), known], "one that is known is not asked");
    db.store.forget_segment(&over, &[], &[]).await.unwrap();
    assert_eq!(db.store.segments(&[], None).await.unwrap().len(), 2, "the other vantage's stays");
}

async fn candidates_are_the_steadiest_of_a_range_and_vantage(db: Db) {
    let door = |word: &str, opened: i64| PortState { opened_at: Some(at(opened)), ..port_state(endpoint(word)) };
    let states = vec![
        door("10.0.0.9:22/tcp", 30),
        door("10.0.0.1:80/tcp", 20),
        door("10.0.1.1:80/tcp", 10),
        door("10.0.0.2:53/udp", 1),
        PortState { phase: Phase::Closed, ..door("10.0.0.3:22/tcp", 1) },
        PortState { phase: Phase::Pending, opened_at: None, ..door("10.0.0.4:22/tcp", 1) },
        PortState { pseudo_open: true, ..door("10.0.0.5:22/tcp", 1) },
        PortState { vantage: Vantage("branch".into()), ..door("10.0.0.6:22/tcp", 1) },
        door("[2001:db8::1]:22/tcp", 5),
    ];
    record(&db.store, |b| b.port_states = states).await;
    let within = Some("10.0.0.0/24".parse().unwrap());
    let found = db.store.canary_candidates(&outside(), within, 10).await.unwrap();
    assert_eq!(found, [(endpoint("10.0.0.1:80/tcp"), at(20)), (endpoint("10.0.0.9:22/tcp"), at(30))]);
    let everywhere = db.store.canary_candidates(&outside(), None, 2).await.unwrap();
    assert_eq!(everywhere, [(endpoint("[2001:db8::1]:22/tcp"), at(5)), (endpoint("10.0.1.1:80/tcp"), at(10))]);
}

async fn an_operator_says_one_thing_about_an_endpoint(db: Db) {
    let choice = |role| CanaryChoice {
        id: CanaryId(Uuid::now_v7()),
        endpoint: endpoint("10.0.0.1:443/tcp"),
        role,
        note: Some("the load balancer".into()),
        created_at: at(1),
    };
    let named = choice(CanaryRole::Named);
    db.store.insert_canary_choice(&named, &audit("canary.name")).await.unwrap();
    let twice = db.store.insert_canary_choice(&choice(CanaryRole::Never), &audit("canary.exclude")).await.unwrap_err();
    assert_eq!(twice.to_string(), "a choice about 10.0.0.1:443/tcp exists already");
    assert_eq!(db.store.canary_choices().await.unwrap(), std::slice::from_ref(&named));
    db.store.delete_canary_choice(named.id, &audit("canary.forget")).await.unwrap();
    assert!(db.store.canary_choices().await.unwrap().is_empty());
    let gone = db.store.delete_canary_choice(named.id, &audit("canary.forget")).await.unwrap_err();
    assert!(matches!(gone, StoreError::NotFound(_)), "{gone}");
    let trail = db.store.audit(&AuditFilter::default(), Paging { offset: 0, limit: 9 }).await.unwrap();
    let actions: Vec<&str> = trail.items.iter().map(|a| a.action.as_str()).collect();
    assert_eq!(actions.iter().filter(|a| a.starts_with("canary.")).count(), 2, "what was refused left no entry: {actions:?}");
}

async fn an_alert_of_a_segment_is_raised_once_each_time(db: Db) {
    let carrier = exposure(endpoint("10.0.0.1:443/tcp"), RiskKind::ExposedPort, Severity::Low);
    let note = SegmentNote { range: "10.0.0.0/24".parse().unwrap(), vantage: outside(), canaries: 8, silent: 8, since: at(5) };
    let raised = |episode| model::alert::Alert {
        kind: AlertKind::SegmentUnknown,
        opening: episode,
        segment: Some(note.clone()),
        ..alert(&carrier)
    };
    let (first, again, second) = (raised(1), raised(1), raised(2));
    let mut told = event(EventKind::SegmentUnknown, &carrier, at(5));
    told.endpoint = None;
    record(&db.store, |b| {
        b.exposures = vec![carrier.clone()];
        b.alerts = vec![first.clone()];
        b.events = vec![told.clone()];
    })
    .await;
    record(&db.store, |b| b.alerts = vec![again]).await;
    record(&db.store, |b| b.alerts = vec![second.clone()]).await;
    let kept = db.store.alerts(&AlertFilter::default(), Paging { offset: 0, limit: 9 }).await.unwrap().items;
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(kept.contains(&first) && kept.contains(&second), "{kept:?}");
    let kinds = EventFilter { kinds: vec![EventKind::SegmentUnknown], ..EventFilter::default() };
    assert_eq!(db.store.events(&kinds, Paging { offset: 0, limit: 9 }).await.unwrap().items, [told]);
}
