//! Expansion of tasks into jobs over a small world written as text.

use model::address::{IpRange, merge};
use model::asset::{Asset, Blackout, Window, Zone};
use model::catalog::Catalog;
use model::job::Work;
use model::port_state::{Phase, PortState};
use model::service::{Identity, Tls};
use model::settings::Pace;
use model::task::{Label, PortChoice, Task, TaskKind, TaskTarget};
use model::{AssetId, BlackoutId, Duration, Endpoint, Reason, Scope, Service, State, TaskId, Ts, Vantage};
use plan::expand::{ENDPOINTS, MAX_JOBS, SWEEP_PROBES};
use plan::preset::Preset;
use plan::{Expansion, Snapshot, budget, expand, follow_up};
use proptest::prelude::*;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Instant;
use uuid::Uuid;

const NOW: Ts = Ts(1_700_000_000_000);

/// A catalogue of four high-risk ports and a dozen common ones, so that these tests do not move with the real one.
fn catalog() -> &'static Catalog {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    CATALOG.get_or_init(|| {
        let entry = r#"
            [[service]]
            id = "redis"
            name = "Redis"
            ports = [6379, 3306, 22, 2375]
            categories = ["should-not-be-exposed"]
            services = ["redis"]
            source = "test"
            advice = { en = "no", zh = "不" }
            cases = []
        "#;
        Catalog::parse(entry, "source = 'test'\nports = '22,80,443,2375,3306,6379,8000-8005'").unwrap()
    })
}

#[derive(Default)]
struct World {
    assets: Vec<Asset>,
    excluded: Vec<IpRange>,
    blackouts: Vec<Blackout>,
    online: Vec<IpAddr>,
    offline: Vec<IpAddr>,
    open: Vec<PortState>,
}

fn r(s: &str) -> IpRange {
    s.parse().unwrap()
}

fn words<T: std::str::FromStr>(s: &str) -> Vec<T>
where
    T::Err: std::fmt::Debug,
{
    s.split_whitespace().map(|w| w.parse().unwrap()).collect()
}

fn asset(range: &str, tags: &str) -> Asset {
    Asset {
        id: AssetId(Uuid::nil()),
        range: r(range),
        name: range.into(),
        owner: None,
        zone: Zone::Dmz,
        weight: 5,
        tags: words(tags),
        observe_until: None,
        rate_pps: None,
        per_target_pps: None,
        check_ceiling: Default::default(),
        created_at: NOW,
        updated_at: NOW,
    }
}

/// An endpoint that is open and was identified an hour ago, by this evidence.
fn open(endpoint: Endpoint, service: &str, evidence: &str) -> PortState {
    let before = NOW.minus(Duration::hours(1));
    PortState {
        endpoint,
        vantage: Vantage("test".into()),
        phase: Phase::Open,
        first_open_at: before,
        opened_at: Some(before),
        closed_at: None,
        last_open_at: before,
        last_not_open_at: None,
        last_observed_at: before,
        last_state: State::Open,
        last_reason: Reason::SynAck,
        streak: 2,
        streak_since: before,
        openings: 1,
        pseudo_open: false,
        identity: Some(Identity::Identified),
        service: Some(Service { name: service.into(), ..Service::default() }),
        banner: None,
        evidence: Some(evidence.into()),
        confidence: None,
        sha256: None,
        tried: Vec::new(),
        thorough_at: None,
        identified_at: Some(before),
        panel: None,
        panel_at: None,
    }
}

/// Open endpoints that speak HTTP.
fn web(endpoints: &str) -> Vec<PortState> {
    words(endpoints).into_iter().map(|endpoint| open(endpoint, "http", "http-get")).collect()
}

impl World {
    fn of(assets: &str) -> World {
        World { assets: assets.split_whitespace().map(|range| asset(range, "")).collect(), ..World::default() }
    }
    fn snapshot<T>(&self, f: impl FnOnce(&Snapshot) -> T) -> T {
        let scope = Scope::new(&self.assets.iter().map(|a| a.range).collect::<Vec<_>>(), &self.excluded);
        f(&Snapshot {
            now: NOW,
            assets: &self.assets,
            scope: &scope,
            blackouts: &self.blackouts,
            online: &self.online,
            offline: &self.offline,
            open: &self.open,
            catalog: catalog(),
        })
    }
    fn expand(&self, task: &Task) -> Expansion {
        self.snapshot(|s| expand(task, s))
    }
}

fn task(kind: TaskKind) -> Task {
    let tasks = Preset::Standard.tasks(NOW, || TaskId(Uuid::nil()));
    tasks.into_iter().find(|t| t.kind == kind).unwrap()
}

/// What a job covers in one line, for comparison.
fn show(work: &Work) -> String {
    let ranges = |targets: &[IpRange]| targets.iter().map(|t| t.to_string()).collect::<Vec<_>>().join(" ");
    let doors = |endpoints: &[Endpoint]| endpoints.iter().map(|e| e.to_string()).collect::<Vec<_>>().join(" ");
    match work {
        Work::Liveness { targets } => format!("liveness {}", ranges(targets)),
        Work::Sweep { targets, ports, known_open } => {
            format!("sweep {} x{} known[{}]", ranges(targets), ports.len(), doors(known_open))
        }
        Work::Recheck { endpoints } => format!("recheck {}", doors(endpoints)),
        Work::Identify { endpoints } => format!("identify {}", doors(endpoints)),
        Work::Examine { endpoints } => format!("examine {}", doors(endpoints)),
        Work::Panels { endpoints } => format!("panels {}", doors(endpoints)),
    }
}

fn works(e: &Expansion) -> Vec<String> {
    e.jobs.iter().map(|j| show(&j.work)).collect()
}

#[test]
fn each_kind_covers_the_members_of_its_label() {
    let high = catalog().high_risk_ports().len();
    let world = World {
        excluded: vec![r("10.0.0.3")],
        online: words("10.0.0.1 10.0.0.2 10.0.0.3 192.0.2.1"),
        offline: words("10.0.0.5 10.0.0.0"),
        open: web("10.0.0.2:6379/tcp 10.0.0.2:161/udp 192.0.2.1:22/tcp 10.0.0.3:22/tcp"),
        ..World::of("10.0.0.0/29")
    };
    for (kind, expected) in [
        (TaskKind::Liveness, "liveness 10.0.0.0-10.0.0.2 10.0.0.4/30".to_owned()),
        (TaskKind::FullOnline, "sweep 10.0.0.1-10.0.0.2 x65535 known[10.0.0.2:6379/tcp]".to_owned()),
        (TaskKind::HighRiskOnline, format!("sweep 10.0.0.1-10.0.0.2 x{high} known[10.0.0.2:6379/tcp]")),
        (TaskKind::ServiceIdentification, "identify 10.0.0.2:161/udp 10.0.0.2:6379/tcp".to_owned()),
        (TaskKind::OpenRecheck, "recheck 10.0.0.2:161/udp 10.0.0.2:6379/tcp".to_owned()),
        (TaskKind::Panels, "panels 10.0.0.2:161/udp 10.0.0.2:6379/tcp".to_owned()),
        (TaskKind::HighRiskOffline, format!("sweep 10.0.0.0 10.0.0.5 x{high} known[]")),
        (TaskKind::FullOffline, "sweep 10.0.0.0 10.0.0.5 x65535 known[]".to_owned()),
    ] {
        let shown = works(&world.expand(&task(kind)));
        assert_eq!(shown, [expected], "{kind}");
    }
    let all = world.expand(&task(TaskKind::FullAll));
    assert_eq!(
        all.jobs.iter().map(|j| j.work.probes()).sum::<u64>(),
        7 * 65_535,
        "every address but the excluded one, online or not"
    );
}

#[test]
fn hosts_never_seen_up_are_swept_by_the_catch_all_tasks() {
    let world = World { offline: words("10.0.0.7"), ..World::of("10.0.0.7") };
    for kind in [TaskKind::HighRiskOffline, TaskKind::FullOffline, TaskKind::FullAll] {
        let jobs = world.expand(&task(kind)).jobs;
        assert!(
            matches!(&jobs[..], [j] if matches!(&j.work, Work::Sweep { targets, .. } if targets == &[r("10.0.0.7")])),
            "{kind}: {jobs:?}"
        );
    }
}

#[test]
fn before_the_first_liveness_pass_a_task_waits_instead_of_counting_as_done() {
    let fresh = World::of("10.0.0.0/24");
    for &kind in TaskKind::ALL {
        let e = fresh.expand(&task(kind));
        match kind.consumes() {
            Label::IpAssets => assert!(e.waits_for.is_none() && !e.jobs.is_empty(), "{kind}"),
            label => assert!(e.waits_for == Some(label) && e.jobs.is_empty() && e.notes[0].contains("liveness"), "{kind}: {e:?}"),
        }
    }
    // One dead address is enough to know that somebody looked: nothing to do is then an answer.
    let looked = World { offline: words("10.0.0.1"), ..fresh };
    let e = looked.expand(&task(TaskKind::FullOnline));
    assert!(e.waits_for.is_none() && e.jobs.is_empty(), "{e:?}");
}

#[test]
fn targets_narrow_but_never_widen_the_scope() {
    let mut world = World::of("10.0.0.0/24");
    world.assets.push(asset("10.0.1.0/24", "web"));
    let mut t = task(TaskKind::Liveness);
    for (target, expected) in [
        (TaskTarget::Ranges { ranges: vec![r("10.0.0.0/30"), r("192.0.2.0/24")] }, vec!["liveness 10.0.0.0/30"]),
        (TaskTarget::Tags { tags: vec!["web".into(), "x".into()] }, vec!["liveness 10.0.1.0/24"]),
        (TaskTarget::Tags { tags: vec!["x".into()] }, vec![]),
        (TaskTarget::Ranges { ranges: vec![r("192.0.2.0/24")] }, vec![]),
        (TaskTarget::AllAssets, vec!["liveness 10.0.0.0/23"]),
    ] {
        t.target = target;
        let e = world.expand(&t);
        assert_eq!(works(&e), expected, "{:?}", t.target);
        assert_eq!(e.notes.is_empty(), !e.jobs.is_empty(), "nothing to do is said: {:?}", e.notes);
    }
}

#[test]
fn large_ipv6_ranges_are_left_out_loudly_and_their_known_hosts_kept() {
    let world = World {
        online: words("2001:db8::1"),
        offline: words("2001:db8::9"),
        open: web("[2001:db8::5]:22/tcp"),
        ..World::of("2001:db8::/64 2001:db8:1::/120")
    };
    let e = world.expand(&task(TaskKind::Liveness));
    assert_eq!(works(&e), ["liveness 2001:db8::1 2001:db8::5 2001:db8::9 2001:db8:1::/120"]);
    assert!(
        e.notes.iter().any(|n| n.contains("2001:db8::/64") && n.contains("3 known hosts") && n.contains("hint:")),
        "{:?}",
        e.notes
    );
}

#[test]
fn jobs_are_of_bounded_size_and_cover_every_address_once() {
    for (assets, kind, ports) in [
        ("10.0.0.0/16", TaskKind::Liveness, None),
        ("10.0.0.0/16", TaskKind::FullAll, Some(PortChoice::HighRisk)),
        ("10.0.0.0/24", TaskKind::FullAll, Some(PortChoice::All)),
        ("10.0.0.0/24 10.0.3.0/24 192.0.2.7", TaskKind::FullAll, Some(PortChoice::Common)),
    ] {
        let mut t = task(kind);
        t.ports = ports;
        let jobs = World::of(assets).expand(&t).jobs;
        assert!(jobs.iter().all(|j| j.work.probes() <= SWEEP_PROBES), "{assets} {kind}");
        let targets: Vec<IpRange> = jobs.iter().flat_map(|j| plan::expand::targets_of(&j.work)).collect();
        let total: u128 = targets.iter().map(IpRange::len).sum();
        assert_eq!(merge(&targets), merge(&words::<IpRange>(assets)), "{assets} {kind}");
        assert_eq!(total, merge(&targets).iter().map(IpRange::len).sum::<u128>(), "no address twice");
    }
    // A single host × 65,535 is one job.
    assert_eq!(World::of("10.0.0.1").expand(&task(TaskKind::FullAll)).jobs.len(), 1);
}

#[test]
fn a_huge_run_grows_its_jobs_rather_than_its_queue_and_says_so() {
    let e = World::of("10.0.0.0/12").expand(&task(TaskKind::FullAll));
    assert!(e.jobs.len() as u64 <= MAX_JOBS, "{}", e.jobs.len());
    assert!(e.notes.iter().any(|n| n.contains("larger than usual")), "{:?}", e.notes);
}

#[test]
fn a_thousand_hosts_are_expanded_at_once() {
    let hosts: Vec<IpAddr> = r("10.0.0.0/22").iter().take(1_000).collect();
    let open = hosts.iter().flat_map(|&ip| (1..=20).map(move |p| open(Endpoint::tcp(ip, p), "http", "http-get"))).collect();
    let world = World {
        online: hosts.into_iter().step_by(2).chain(r("10.0.0.0/22").iter().skip(1).step_by(2)).collect(),
        open,
        ..World::of("10.0.0.0/22")
    };
    let started = Instant::now();
    for &kind in TaskKind::ALL {
        world.expand(&task(kind));
    }
    // Measured at a few milliseconds in a debug build; a hundredfold leaves room for a busy machine.
    assert!(started.elapsed().as_millis() < 1_000, "{:?}", started.elapsed());
    assert_eq!(world.expand(&task(TaskKind::OpenRecheck)).jobs.len(), 20_000usize.div_ceil(ENDPOINTS));
}

#[test]
fn jobs_inside_a_blackout_wait_for_its_end() {
    let until = NOW.plus(Duration::hours(1));
    let blackout = Blackout {
        id: BlackoutId(Uuid::nil()),
        range: r("10.0.0.0/24"),
        window: Window::Once { from: NOW, until },
        reason: "maintenance".into(),
        created_at: NOW,
    };
    let world = World { blackouts: vec![blackout], ..World::of("10.0.0.0/24 10.0.1.0/24") };
    let mut t = task(TaskKind::FullAll);
    t.ports = Some(PortChoice::All);
    let e = world.expand(&t);
    for job in &e.jobs {
        let inside = plan::expand::targets_of(&job.work).iter().all(|t| r("10.0.0.0/24").contains(t.last()));
        assert_eq!(job.not_before, if inside { until } else { NOW }, "{}", show(&job.work));
    }
    assert!(e.jobs.iter().any(|j| j.not_before == until) && e.notes.iter().any(|n| n.contains("blackout")), "{:?}", e.notes);
}

#[test]
fn a_first_look_takes_the_most_dangerous_ports_first() {
    let jobs = follow_up::first_look(&words("127.0.0.1"), &[], catalog(), NOW);
    let kinds: Vec<_> = jobs.iter().map(|(kind, job)| (*kind, job.priority, job.work.probes())).collect();
    assert_eq!(kinds.len(), 3);
    assert!(kinds.windows(2).all(|w| w[0].1 < w[1].1 && w[0].2 < w[1].2), "{kinds:?}");
    assert_eq!(kinds[2].2, 65_535);
}

#[test]
fn a_schedule_that_cannot_be_met_is_warned_of() {
    let tasks = Preset::Standard.tasks(NOW, || TaskId(Uuid::nil()));
    let small = World { online: words("10.0.0.1"), ..World::of("10.0.0.1") };
    let fits = small.snapshot(|s| budget::budget(&tasks, s, &Pace::default())).unwrap();
    assert!(fits.fits() && fits.warning().is_none(), "{fits:?}");
    let large = World { online: r("10.0.0.0/16").iter().collect(), ..World::of("10.0.0.0/16") };
    let debt = large.snapshot(|s| budget::budget(&tasks, s, &Pace::default())).unwrap();
    let warning = debt.warning().expect("a /16 daily on all ports is 4 billion probes, ten times the pace");
    assert!(warning.contains("All ports of live hosts") && warning.contains("hint:"), "{warning}");
}

proptest! {
    #[test]
    fn no_plan_leaves_the_scope_and_the_same_world_gives_the_same_plan(
        assets in proptest::collection::vec((0u32..4096, 0u32..300), 1..6),
        cuts in proptest::collection::vec((0u32..4096, 0u32..50), 0..6),
        up in proptest::collection::vec(0u32..4400, 0..40),
        kind in 0usize..9,
    ) {
        let ip = |n: u32| IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + n));
        let range = |&(first, len): &(u32, u32)| IpRange::new(ip(first), ip(first + len)).unwrap();
        let mut world = World::default();
        world.assets = assets.iter().map(|a| asset(&range(a).to_string(), "")).collect();
        world.excluded = cuts.iter().map(range).collect();
        world.online = up.iter().filter(|n| *n % 3 > 0).map(|&n| ip(n)).collect();
        world.offline = up.iter().filter(|n| *n % 3 == 0).map(|&n| ip(n)).collect();
        world.open = world.online.iter().map(|&ip| open(Endpoint::tcp(ip, 22), "http", "http-get")).collect();
        let scope = Scope::new(&world.assets.iter().map(|a| a.range).collect::<Vec<_>>(), &world.excluded);
        let t = task(TaskKind::ALL[kind]);
        let first = world.expand(&t);
        for job in &first.jobs {
            let targets = plan::expand::targets_of(&job.work);
            prop_assert_eq!(scope.restrict(&targets), merge(&targets), "{}", show(&job.work));
        }
        prop_assert_eq!(first, world.expand(&t));
    }
}

#[test]
fn a_front_page_is_asked_only_of_what_speaks_http_or_bare_tls() {
    let mut bare_tls = open(Endpoint::tcp("10.0.0.1".parse().unwrap(), 9443), "", "tls-handshake");
    bare_tls.service.as_mut().unwrap().tls = Some(Tls::default());
    let mut imaps = open(Endpoint::tcp("10.0.0.1".parse().unwrap(), 993), "imap", "banner");
    imaps.service.as_mut().unwrap().tls = Some(Tls::default());
    let world = World {
        online: words("10.0.0.1"),
        open: vec![
            open(Endpoint::tcp("10.0.0.1".parse().unwrap(), 80), "http", "http-get"),
            open(Endpoint::tcp("10.0.0.1".parse().unwrap(), 2379), "etcd", "http-get /version"),
            open(Endpoint::tcp("10.0.0.1".parse().unwrap(), 6379), "redis", "redis-info"),
            bare_tls,
            imaps,
        ],
        ..World::of("10.0.0.1")
    };
    assert_eq!(works(&world.expand(&task(TaskKind::Panels))), ["panels 10.0.0.1:80/tcp 10.0.0.1:2379/tcp 10.0.0.1:9443/tcp"]);
}

#[test]
fn a_database_that_counts_interrupted_handshakes_is_identified_once_a_week() {
    let of = |identified: Duration, opened: Duration| {
        let mut mysql = open(Endpoint::tcp("10.0.0.1".parse().unwrap(), 3306), "mysql", "banner");
        mysql.identified_at = Some(NOW.minus(identified));
        mysql.opened_at = Some(NOW.minus(opened));
        let world = World { online: words("10.0.0.1"), open: vec![mysql], ..World::of("10.0.0.1") };
        works(&world.expand(&task(TaskKind::ServiceIdentification))).len()
    };
    assert_eq!(of(Duration::hours(2), Duration::hours(2)), 0, "known since it opened");
    assert_eq!(of(Duration::days(7), Duration::days(30)), 1, "a week ago");
    assert_eq!(of(Duration::hours(3), Duration::hours(2)), 1, "reopened since");
}

#[test]
fn what_nobody_could_explain_gets_the_slow_lane_once_and_again_weekly() {
    let mut world = World::of("10.0.0.0/24");
    world.online = vec!["10.0.0.7".parse().unwrap()];
    let at = |port: u16| Endpoint::tcp("10.0.0.7".parse().unwrap(), port);
    let seen = |port: u16, identity: Identity, name: Option<&str>, looked: Option<Duration>| PortState {
        identity: Some(identity),
        service: name.map(|n| Service { name: n.into(), ..Service::default() }),
        opened_at: Some(NOW.minus(Duration::days(30))),
        thorough_at: looked.map(|ago| NOW.minus(ago)),
        ..open(at(port), "", "banner")
    };
    let (day, week) = (Duration::days(1), Duration::days(8));
    let tls = Some(Tls::default());
    let with_tls = PortState {
        service: Some(Service { name: "http".into(), tls, ..Service::default() }),
        ..seen(443, Identity::Identified, None, None)
    };
    let reopened = PortState { opened_at: Some(NOW.minus(Duration::hours(1))), ..seen(9, Identity::Silent, None, Some(day)) };
    world.open = vec![
        seen(1, Identity::Silent, None, None),
        seen(2, Identity::Silent, None, Some(day)),
        seen(3, Identity::Silent, None, Some(week)),
        seen(4, Identity::ClosesOnData, None, None),
        seen(5, Identity::ProtocolOnly, Some("text"), None),
        seen(10, Identity::ClosesOnData, None, Some(day)),
        seen(11, Identity::ClosesOnData, None, Some(week)),
        seen(6, Identity::ProtocolOnly, Some("http"), None),
        seen(7, Identity::Identified, Some("ssh"), None),
        PortState { pseudo_open: true, ..seen(8, Identity::Silent, None, None) },
        reopened,
        with_tls,
    ];
    let expansion = world.snapshot(|snapshot| expand(&task(TaskKind::ServiceIdentification), snapshot));
    let list = |ports: &[u16]| ports.iter().map(|p| at(*p).to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(
        works(&expansion),
        [format!("identify {}", list(&[2, 6, 7, 8])), format!("examine {}", list(&[1, 3, 4, 5, 9, 11, 443]))]
    );
}
