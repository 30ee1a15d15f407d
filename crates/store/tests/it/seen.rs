//! Endpoints, hosts, exposures, coverage, events, alerts: what observations leave behind, and how it is found again.

use crate::sample::*;
use crate::{Db, on_both};
use model::alert::AlertState;
use model::event::EventKind;
use model::exposure::{Disposition, DispositionKind, Exposure, RiskKind, Severity};
use model::observation::SeenFrom;
use model::port_state::Phase;
use model::settings::Retention;
use model::task::TaskKind;
use model::{Duration, Endpoint, Liveness, State, Ts, Vantage};
use std::time::Instant;
use store::{
    AlertFilter, End, EventFilter, ExposureFilter, ExposureSort, HostFilter, IngestBatch, IngestOutcome, LeaseQuery, Order,
    Paging, PortFilter, PortSort, ServiceFilter, Store, StoreError,
};

on_both!(
    what_goes_in_comes_out,
    addresses_of_both_families_sort_and_filter_in_one_column,
    endpoints_are_found_by_what_people_type,
    a_scan_never_overrides_a_person,
    exposures_are_filtered_by_the_decision_as_it_holds_now,
    exposures_are_grouped_by_address_worst_first,
    an_alert_is_raised_once_per_exposure_opening_kind_and_risk,
    reassessment_moves_risk_and_nothing_else,
    the_latest_coverage_dates_an_opening,
    openings_and_closings_are_counted_by_day,
    old_work_and_overtaken_coverage_are_removed,
    many_endpoints_are_recorded_fast,
);

/// Records parts of a report under a lease of its own.
async fn record(store: &Store, fill: impl FnOnce(&mut IngestBatch)) {
    let (_, _, _) = started(store, TaskKind::HighRiskOnline, 1).await;
    let job = store.lease(&wants(1, T0)).await.unwrap().remove(0);
    let mut batch = report(&job, 1);
    batch.end = Some(End::Done);
    fill(&mut batch);
    assert_eq!(store.ingest(&batch).await.unwrap(), IngestOutcome::Recorded);
}

fn seen(door: &str) -> SeenFrom {
    SeenFrom { endpoint: endpoint(door), vantage: outside() }
}

fn doors(items: &[Exposure]) -> Vec<String> {
    items.iter().map(|e| e.endpoint.to_string()).collect()
}

const EVERYTHING: Paging = Paging { offset: 0, limit: 500 };

async fn what_goes_in_comes_out(db: Db) {
    let door = endpoint("[2001:db8::7]:6379/tcp");
    let (state, up, down) = (port_state(door), host("2001:db8::7", Liveness::Online), host("10.0.0.9", Liveness::Offline));
    let shown = exposure(door, RiskKind::HighRiskService, Severity::Critical);
    let (opened, raised) = (event(EventKind::EndpointOpened, &shown, at(2)), alert(&shown));
    record(&db.store, |b| {
        b.port_states = vec![state.clone()];
        b.hosts = vec![up.clone(), down.clone()];
        b.exposures = vec![shown.clone()];
        b.events = vec![opened.clone()];
        b.alerts = vec![raised.clone()];
    })
    .await;
    let key = SeenFrom { endpoint: door, vantage: outside() };
    assert_eq!(db.store.port_state(&key).await.unwrap(), Some(state.clone()));
    assert_eq!(db.store.port_states(&[key.clone(), seen("10.0.0.1:1/tcp")]).await.unwrap().len(), 1);
    assert_eq!(db.store.port_states_open(Some(&outside())).await.unwrap(), [state]);
    assert!(db.store.port_states_open(Some(&Vantage("inside".into()))).await.unwrap().is_empty());
    assert_eq!(db.store.hosts_by(&[up.ip, down.ip], &outside()).await.unwrap()[&down.ip], down, "a host never seen up is stored");
    assert_eq!(db.store.hosts_with(Liveness::Offline, None).await.unwrap(), [down.ip]);
    assert_eq!(db.store.exposure(shown.id).await.unwrap(), Some(shown.clone()));
    assert_eq!(db.store.exposures_by(std::slice::from_ref(&key)).await.unwrap()[&key], shown);
    assert_eq!(db.store.exposures_all_open().await.unwrap(), std::slice::from_ref(&shown));
    let filter = EventFilter {
        exposure: Some(shown.id),
        kinds: vec![EventKind::EndpointOpened],
        endpoint: Some(door),
        ..Default::default()
    };
    assert_eq!(db.store.events(&filter, EVERYTHING).await.unwrap().items, [opened]);
    assert_eq!(db.store.pending_alerts(10).await.unwrap(), std::slice::from_ref(&raised));
    assert_eq!(db.store.alerts_by(&[raised.id]).await.unwrap()[&raised.id], raised);
    assert_eq!(db.store.open_counts(&[door.ip]).await.unwrap()[&door.ip], 1);
    let hosts = db.store.host_counts().await.unwrap();
    assert_eq!((hosts.online, hosts.offline), (1, 1));
    assert_eq!(db.store.phase_counts().await.unwrap().open, 1);
    let counts = db.store.exposure_counts(at(10)).await.unwrap();
    assert_eq!(
        (counts.open[0].count, counts.open[0].risk, counts.opened_24h, counts.closed_7d),
        (1, RiskKind::HighRiskService, 1, 0)
    );
    let late = db.store.detection(T0).await.unwrap();
    assert_eq!((late.samples, late.median_bound, late.max_bound), (1, Some(Duration::minutes(10)), Some(Duration::minutes(10))));
}

async fn addresses_of_both_families_sort_and_filter_in_one_column(db: Db) {
    let order = ["9.255.255.255", "10.0.0.2", "10.0.0.10", "10.0.1.0", "192.0.2.1", "2001:db8::1", "2001:db8::a", "2001:db8:1::"];
    record(&db.store, |b| {
        b.hosts = order.iter().rev().map(|ip| host(ip, Liveness::Online)).collect();
        b.port_states = order.iter().rev().map(|addr| port_state(Endpoint::tcp(ip(addr), 22))).collect();
    })
    .await;
    let all = db.store.hosts(&HostFilter::default(), EVERYTHING).await.unwrap();
    assert_eq!(all.items.iter().map(|h| h.ip.to_string()).collect::<Vec<_>>(), order);
    for (search, found) in [
        ("10.0.0.0/24", &order[1..3]),
        ("10.0.0.5-10.0.1.0", &order[2..4]),
        ("10.0.", &order[1..4]),
        ("2001:db8::/64", &order[5..7]),
        ("2001:db8:1::", &order[7..]),
        ("10.0.0.3", &[]),
        ("22", &[]),
    ] {
        let page = db.store.hosts(&HostFilter { search: Some(search.into()), ..Default::default() }, EVERYTHING).await.unwrap();
        assert_eq!(page.items.iter().map(|h| h.ip.to_string()).collect::<Vec<_>>(), found, "{search}");
        assert_eq!(page.total as usize, found.len(), "{search}");
    }
    let within = ["2001:db8::/127".parse().unwrap(), "10.0.0.2-10.0.0.9".parse().unwrap()];
    let open = db.store.open_endpoints_in(&within).await.unwrap();
    assert_eq!(open, [seen("10.0.0.2:22/tcp"), seen("[2001:db8::1]:22/tcp")]);
    assert!(db.store.open_endpoints_in(&[]).await.unwrap().is_empty());
}

async fn endpoints_are_found_by_what_people_type(db: Db) {
    let mut web = port_state(endpoint("10.0.0.8:8443/tcp"));
    web.service = Some(service("http", "nginx 100%_pure"));
    web.phase = Phase::Closed;
    web.last_state = State::Filtered;
    web.opened_at = None;
    let mut everywhere = port_state(endpoint("10.0.0.9:80/udp"));
    everywhere.pseudo_open = true;
    everywhere.service = None;
    everywhere.panel = None;
    let redis = port_state(endpoint("10.0.0.7:6379/tcp"));
    record(&db.store, |b| b.port_states = vec![web.clone(), everywhere.clone(), redis.clone()]).await;
    let doors = async |filter: PortFilter| -> Vec<u16> {
        let page = db.store.ports(&filter, EVERYTHING).await.unwrap();
        assert_eq!(page.total as usize, page.items.len());
        page.items.iter().map(|p| p.endpoint.port).collect()
    };
    for (typed, ports) in [
        ("", &[6379, 8443, 80][..]),
        ("6379", &[6379]),
        ("10.0.0.8:8443", &[8443]),
        ("REDIS", &[6379]),
        ("100%_p", &[8443]),
        ("100%p", &[]),
        ("shop.example", &[6379, 8443]),
        ("管理后台", &[6379, 8443]),
        ("' OR 1=1 --", &[]),
    ] {
        assert_eq!(doors(PortFilter { search: Some(typed.into()), ..Default::default() }).await, ports, "{typed}");
    }
    assert_eq!(doors(PortFilter { phases: vec![Phase::Closed], ..Default::default() }).await, [8443]);
    assert_eq!(doors(PortFilter { phases: vec![Phase::Open, Phase::Closed], ..Default::default() }).await.len(), 3);
    assert_eq!(doors(PortFilter { state: Some(State::Filtered), ..Default::default() }).await, [8443]);
    assert_eq!(doors(PortFilter { pseudo_open: Some(true), ..Default::default() }).await, [80]);
    let redis = ServiceFilter { name: Some("redis".into()), ..Default::default() };
    assert_eq!(doors(PortFilter { panel: Some(true), ..Default::default() }).await, [6379, 8443]);
    assert_eq!(doors(PortFilter { panel: Some(false), ..Default::default() }).await, [80], "no front page is not an empty one");
    assert_eq!(doors(PortFilter { service: redis.clone(), ..Default::default() }).await, [6379]);
    assert_eq!(doors(PortFilter { endpoint: Some(endpoint("10.0.0.9:80/udp")), ..Default::default() }).await, [80]);
    let by = |by, descending| PortFilter { sort: Some(Order { by, descending }), ..Default::default() };
    assert_eq!(doors(by(PortSort::Port, true)).await, [8443, 6379, 80]);
    assert_eq!(doors(by(PortSort::OpenedAt, true)).await, [6379, 80, 8443], "never confirmed comes last");
    assert_eq!(doors(by(PortSort::OpenedAt, false)).await, [6379, 80, 8443], "either way");
}

async fn a_scan_never_overrides_a_person(db: Db) {
    let door = endpoint("10.0.0.7:6379/tcp");
    let shown = exposure(door, RiskKind::HighRiskPort, Severity::High);
    record(&db.store, |b| b.exposures = vec![shown.clone()]).await;
    let decided = Disposition {
        kind: DispositionKind::Accepted,
        until: Some(at(86_400)),
        by: Some("alice".into()),
        note: Some("演练 until tomorrow".into()),
        at: Some(at(20)),
    };
    let change = event(EventKind::DispositionChanged, &shown, at(20));
    db.store.set_disposition(shown.id, &decided, &change, &audit("exposure.accept")).await.unwrap();

    let mut closed = shown.clone();
    closed.phase = Phase::Closed;
    closed.closed_at = Some(at(30));
    closed.close_reason = Some(model::Reason::Rst);
    closed.first_opened_at = at(29);
    let mut reopened = shown.clone();
    reopened.opening = 2;
    reopened.opened_at = at(40);
    reopened.risk.kind = RiskKind::HighRiskService;
    for later in [closed, reopened] {
        assert_eq!(later.disposition, Disposition::unreviewed(), "what the scanner knew is older");
        record(&db.store, |b| b.exposures = vec![later.clone()]).await;
        let now = db.store.exposure(shown.id).await.unwrap().unwrap();
        assert_eq!(now.disposition, decided);
        assert_eq!(now.first_opened_at, at(2), "the first opening stays the first");
        assert_eq!(now, Exposure { disposition: decided.clone(), first_opened_at: at(2), ..later });
    }
    assert_eq!(db.store.audit(&Default::default(), EVERYTHING).await.unwrap().items[0].action, "exposure.accept");
    let nobody = model::ExposureId(uuid::Uuid::now_v7());
    let events = [event(EventKind::DispositionChanged, &shown, at(50))];
    let refused =
        db.store.set_dispositions(&[shown.id, nobody], &Disposition::unreviewed(), &events, &audit("x")).await.unwrap_err();
    assert!(matches!(refused, StoreError::NotFound(_)), "{refused}");
    assert_eq!(db.store.exposure(shown.id).await.unwrap().unwrap().disposition, decided, "all or none");
}

async fn exposures_are_filtered_by_the_decision_as_it_holds_now(db: Db) {
    let kinds = [
        ("10.0.0.1:22/tcp", RiskKind::ExposedPort, Severity::Low, None),
        ("10.0.0.2:3389/tcp", RiskKind::HighRiskPort, Severity::High, Some(at(100))),
        ("10.0.0.3:6379/tcp", RiskKind::HighRiskService, Severity::Critical, Some(at(10_000))),
    ];
    let shown: Vec<Exposure> = kinds
        .iter()
        .map(|(door, kind, severity, until)| {
            let mut e = exposure(endpoint(door), *kind, *severity);
            if until.is_some() {
                e.disposition.kind = DispositionKind::Registered;
                e.disposition.until = *until;
            }
            e
        })
        .collect();
    record(&db.store, |b| b.exposures = shown.clone()).await;
    let found = async |filter: ExposureFilter| doors(&db.store.exposures(&filter, EVERYTHING).await.unwrap().items);
    let with = |now, dispositions| ExposureFilter { dispositions, ..ExposureFilter::all(now) };
    use DispositionKind::*;
    assert_eq!(found(with(at(50), vec![Unreviewed])).await, ["10.0.0.1:22/tcp"]);
    assert_eq!(
        found(with(at(100), vec![Unreviewed])).await,
        ["10.0.0.2:3389/tcp", "10.0.0.1:22/tcp"],
        "a decision past its date is none"
    );
    assert_eq!(found(with(at(100), vec![Registered])).await, ["10.0.0.3:6379/tcp"]);
    assert_eq!(found(with(at(50), vec![Registered, Unreviewed])).await.len(), 3);
    let all = ExposureFilter::all(at(50));
    assert_eq!(found(all.clone()).await[0], "10.0.0.3:6379/tcp", "worst first");
    assert_eq!(found(ExposureFilter { high_risk_only: true, ..all.clone() }).await.len(), 2);
    assert_eq!(found(ExposureFilter { high_risk_only: true, risks: vec![RiskKind::ExposedPort], ..all.clone() }).await.len(), 0);
    assert_eq!(found(ExposureFilter { severities: vec![Severity::Low, Severity::High], ..all.clone() }).await.len(), 2);
    assert_eq!(found(ExposureFilter { search: Some("payments".into()), ..all.clone() }).await.len(), 3);
    assert_eq!(found(ExposureFilter { search: Some("3389".into()), ..all.clone() }).await, ["10.0.0.2:3389/tcp"]);
    assert_eq!(found(ExposureFilter { owner: Some("nobody".into()), ..all.clone() }).await.len(), 0);
    assert_eq!(found(ExposureFilter { phase: Some(Phase::Closed), ..all.clone() }).await.len(), 0);
    let by_port = Some(Order { by: ExposureSort::Port, descending: true });
    assert_eq!(found(ExposureFilter { sort: by_port, ..all.clone() }).await[0], "10.0.0.3:6379/tcp");
    let page = db.store.exposures(&all, Paging { offset: 1, limit: 1 }).await.unwrap();
    assert_eq!((page.total, doors(&page.items)), (3, vec!["10.0.0.2:3389/tcp".to_owned()]));
    let cells = db.store.exposure_counts(at(100)).await.unwrap().open;
    assert_eq!(cells.iter().filter(|c| c.disposition == Unreviewed).map(|c| c.count).sum::<u64>(), 2);
}

async fn exposures_are_grouped_by_address_worst_first(db: Db) {
    let mut shown: Vec<Exposure> =
        (1..=60).map(|port| exposure(Endpoint::tcp(ip("10.0.0.2"), port), RiskKind::ExposedPort, Severity::Low)).collect();
    shown.push(exposure(endpoint("10.0.0.3:6379/tcp"), RiskKind::HighRiskService, Severity::Critical));
    let mut decided = exposure(endpoint("10.0.0.3:22/tcp"), RiskKind::ExposedPort, Severity::Low);
    decided.disposition.kind = DispositionKind::FalsePositive;
    let mut gone = exposure(endpoint("10.0.0.1:3389/tcp"), RiskKind::HighRiskPort, Severity::Critical);
    gone.phase = Phase::Closed;
    gone.closed_at = Some(at(9));
    shown.extend([decided, gone]);
    record(&db.store, |b| {
        b.exposures = shown;
        b.hosts = vec![host("10.0.0.3", Liveness::Online)];
    })
    .await;
    let page = db.store.exposures_by_address(&ExposureFilter::all(at(10)), Paging::first(10)).await.unwrap();
    assert_eq!(page.total, 3);
    let lines: Vec<String> = page
        .items
        .iter()
        .map(|g| {
            format!(
                "{} open={} {} {} unreviewed={} shown={}",
                g.ip,
                g.open_count,
                g.worst_severity,
                g.worst_risk,
                g.unreviewed,
                g.exposures.len()
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "10.0.0.3 open=2 critical high-risk-service unreviewed=1 shown=2",
            "10.0.0.2 open=60 low exposed-port unreviewed=60 shown=50",
            "10.0.0.1 open=0 critical high-risk-port unreviewed=0 shown=1",
        ]
    );
    assert_eq!((page.items[0].liveness, page.items[0].owner.as_deref()), (Some(Liveness::Online), Some("payments")));
    assert_eq!(doors(&page.items[0].exposures), ["10.0.0.3:6379/tcp", "10.0.0.3:22/tcp"]);
    let filter = ExposureFilter { search: Some("22".into()), phase: Some(Phase::Open), ..ExposureFilter::all(at(10)) };
    let page = db.store.exposures_by_address(&filter, Paging { offset: 1, limit: 1 }).await.unwrap();
    assert_eq!((page.total, page.items[0].exposures.len()), (2, 1));
}

async fn an_alert_is_raised_once_per_exposure_opening_kind_and_risk(db: Db) {
    let mut shown = exposure(endpoint("10.0.0.7:6379/tcp"), RiskKind::HighRiskPort, Severity::High);
    let first = alert(&shown);
    let again = alert(&shown);
    assert_ne!(first.id, again.id);
    record(&db.store, |b| b.alerts = vec![first.clone(), again]).await;
    db.store.mark_alerts(&[first.id], AlertState::Notified, None).await.unwrap();
    record(&db.store, |b| b.alerts = vec![alert(&shown)]).await;
    let all = db.store.alerts(&AlertFilter::default(), EVERYTHING).await.unwrap();
    assert_eq!(
        all.items.iter().map(|a| (a.id, a.state)).collect::<Vec<_>>(),
        [(first.id, AlertState::Notified)],
        "not even as pending again"
    );

    shown.risk.kind = RiskKind::HighRiskService;
    let riskier = alert(&shown);
    shown.opening = 2;
    let reopened = alert(&shown);
    record(&db.store, |b| b.alerts = vec![riskier, reopened.clone()]).await;
    assert_eq!(
        db.store.alerts(&AlertFilter { exposure: Some(shown.id), ..Default::default() }, EVERYTHING).await.unwrap().total,
        3
    );
    db.store.mark_alerts(&[reopened.id], AlertState::Suppressed, Some("observe-mode")).await.unwrap();
    let filter = AlertFilter { states: vec![AlertState::Suppressed], ..Default::default() };
    assert_eq!(db.store.alerts(&filter, EVERYTHING).await.unwrap().items[0].suppressed_by.as_deref(), Some("observe-mode"));
    assert_eq!(db.store.pending_alerts(10).await.unwrap().len(), 1);
    assert_eq!(db.store.backlog().await.unwrap().alerts_pending, 1);
}

async fn reassessment_moves_risk_and_nothing_else(db: Db) {
    let shown = exposure(endpoint("10.0.0.7:6379/tcp"), RiskKind::ExposedPort, Severity::Low);
    let closed = Exposure { phase: Phase::Closed, closed_at: Some(at(30)), ..shown.clone() };
    record(&db.store, |b| b.exposures = vec![closed.clone()]).await;
    // The reassessment began before the closing was recorded.
    let mut assessed = shown.clone();
    assessed.risk.kind = RiskKind::HighRiskPort;
    assessed.risk.severity = Severity::Critical;
    assessed.owner = Some("warehouse".into());
    assessed.updated_at = at(31);
    let moved = event(EventKind::RiskChanged, &shown, at(31));
    db.store.update_exposure_risk(std::slice::from_ref(&assessed), &[moved], &[alert(&assessed)]).await.unwrap();
    let now = db.store.exposure(shown.id).await.unwrap().unwrap();
    assert_eq!(now, Exposure { phase: Phase::Closed, closed_at: Some(at(30)), ..assessed });
    let found = db
        .store
        .exposures(&ExposureFilter { search: Some("WAREhouse".into()), ..ExposureFilter::all(at(1)) }, EVERYTHING)
        .await
        .unwrap();
    assert_eq!(found.total, 1, "the search follows the owner");
    let other = exposure(endpoint("10.0.0.8:6379/tcp"), RiskKind::ExposedPort, Severity::Low);
    assert!(matches!(db.store.update_exposure_risk(&[other], &[], &[]).await, Err(StoreError::NotFound(_))));
    assert!(db.store.exposures_all_open().await.unwrap().is_empty(), "reassessing makes no exposure");
}

async fn the_latest_coverage_dates_an_opening(db: Db) {
    for c in [
        coverage(&["10.0.0.0/24"], "22,80,6379", at(100)),
        coverage(&["10.0.0.0/24"], "22,80,6379", at(400)),
        // Arrives late: older than what is there for the same ground.
        coverage(&["10.0.0.0/24"], "22,80,6379", at(300)),
        coverage(&["10.0.0.0/25", "2001:db8::/120"], "1-1000", at(500)),
        coverage(&["10.0.0.7"], "1-65535", at(200)),
    ] {
        record(&db.store, |b| b.coverage = Some(c)).await;
    }
    let asked = [
        ("10.0.0.200:6379/tcp", Some(at(400))),
        ("10.0.0.7:80/tcp", Some(at(500))),
        ("10.0.0.7:9999/tcp", Some(at(200))),
        ("10.0.0.8:9999/tcp", None),
        ("10.0.1.0:80/tcp", None),
        ("[2001:db8::ff]:443/tcp", Some(at(500))),
        ("[2001:db8::100]:443/tcp", None),
        ("10.0.0.7:80/udp", None),
    ];
    let endpoints: Vec<Endpoint> = asked.iter().map(|(door, _)| endpoint(door)).collect();
    let answers = db.store.last_covered(&outside(), &endpoints).await.unwrap();
    for (door, covered) in asked {
        assert_eq!(answers.get(&endpoint(door)), covered.as_ref(), "{door}");
    }
    assert!(db.store.last_covered(&Vantage("inside".into()), &endpoints).await.unwrap().is_empty());
    assert!(db.store.last_covered(&outside(), &[]).await.unwrap().is_empty());
}

async fn openings_and_closings_are_counted_by_day(db: Db) {
    let shown = exposure(endpoint("10.0.0.7:6379/tcp"), RiskKind::HighRiskPort, Severity::High);
    let inner = exposure(endpoint("10.0.0.8:6379/tcp"), RiskKind::HighRiskPort, Severity::High);
    let day = 86_400;
    record(&db.store, |b| {
        b.exposures = vec![shown.clone()];
        b.events = vec![
            event(EventKind::EndpointOpened, &shown, at(-20 * day)),
            event(EventKind::EndpointOpened, &shown, at(-2 * day)),
            event(EventKind::EndpointClosed, &shown, at(-day)),
            event(EventKind::EndpointReopened, &shown, at(-day)),
            event(EventKind::EndpointClosed, &shown, at(0)),
            // Of an endpoint that is no exposure.
            event(EventKind::EndpointOpened, &inner, at(0)),
        ];
    })
    .await;
    let days = db.store.exposures_per_day(at(60), 4).await.unwrap();
    let midnight = |ago: i64| Ts(T0.0.div_euclid(day * 1000) * day * 1000 - ago * day * 1000);
    let counts: Vec<_> = days.iter().map(|d| (d.day, d.opened, d.closed)).collect();
    assert_eq!(counts, [(midnight(3), 0, 0), (midnight(2), 1, 0), (midnight(1), 1, 1), (midnight(0), 0, 1)]);
}

async fn old_work_and_overtaken_coverage_are_removed(db: Db) {
    record(&db.store, |b| b.coverage = Some(coverage(&["10.0.0.0/24"], "22", at(1)))).await;
    record(&db.store, |b| b.coverage = Some(coverage(&["10.0.0.0/25"], "1-100", at(2)))).await;
    record(&db.store, |b| b.coverage = Some(coverage(&["10.0.9.0/24"], "22", at(3)))).await;
    let keep = Retention { jobs: Duration::days(1), coverage: Duration::days(1) };
    let soon = db.store.prune(at(3600), &keep).await.unwrap();
    assert_eq!((soon.jobs, soon.runs, soon.coverage), (0, 0, 0), "nothing is old enough");
    let (_, first, _) = started(&db.store, TaskKind::FullOnline, 1).await;
    let later = at(3 * 86_400);
    record(&db.store, |b| b.coverage = Some(coverage(&["10.0.0.128/25"], "1-100", at(4)))).await;
    let pruned = db.store.prune(later, &keep).await.unwrap();
    assert_eq!(pruned.coverage, 1, "the /24 is held by both halves; the others by nothing later");
    assert_eq!(pruned.runs, 0, "every run is the last of its task");
    assert!(db.store.run(first.id).await.unwrap().is_some());
    let tasks = db.store.tasks().await.unwrap();
    let task = tasks.iter().find(|t| t.kind == TaskKind::HighRiskOnline).unwrap();
    let again = run_of(task);
    db.store.start_run(&again, &[], T0, None, task.state, None).await.unwrap();
    let pruned = db.store.prune(later, &keep).await.unwrap();
    assert_eq!((pruned.jobs, pruned.runs), (1, 1));
}

async fn many_endpoints_are_recorded_fast(db: Db) {
    let (_, _, _) = started(&db.store, TaskKind::HighRiskOnline, 1).await;
    let job = db.store.lease(&LeaseQuery { slots: 1, ..wants(1, T0) }).await.unwrap().remove(0);
    let state = |n: u32| port_state(Endpoint::tcp(std::net::Ipv4Addr::from(0x0a00_0000 + n / 16).into(), (n % 16 + 1) as u16));
    let mut sequence = 0;
    for round in ["inserted", "updated"] {
        let begun = Instant::now();
        let mut writing = std::time::Duration::ZERO;
        for batch in 0..10 {
            sequence += 1;
            let mut some = report(&job, sequence);
            some.port_states = (0..2_000).map(|n| state(batch * 2_000 + n)).collect();
            let started = Instant::now();
            assert_eq!(db.store.ingest(&some).await.unwrap(), IngestOutcome::Recorded);
            writing += started.elapsed();
        }
        let rate = 20_000.0 / writing.as_secs_f64();
        println!("{}: 20,000 endpoints {round} at {rate:.0}/s ({:?} in all)", db.store.backend().as_str(), begun.elapsed());
        // A tenth of what an unoptimised build does on two busy cores. (`$1` as SQLite placeholders once made it 900/s.)
        assert!(rate > 500.0, "{rate:.0}/s");
    }
    let begun = Instant::now();
    let page = db
        .store
        .ports(&PortFilter { search: Some("10.0.1.0/24".into()), ..Default::default() }, Paging::first(50))
        .await
        .unwrap();
    assert_eq!((page.total, page.items.len()), (256 * 16, 50));
    println!("{}: a page of 20,000 in {:?}", db.store.backend().as_str(), begun.elapsed());
}
