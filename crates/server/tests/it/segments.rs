//! Canaries: silence that is ours closes nothing, silence that is theirs does, and both are told (PR-13).

use crate::world::{Door, World, advance, audit};
use model::alert::{Alert, AlertKind, AlertState};
use model::event::EventKind;
use model::port_state::Phase;
use model::segment::{CanaryChoice, CanaryRole, Guard, SegmentState, SegmentStatus};
use model::task::TaskKind;
use model::{CanaryId, Duration, Endpoint, Liveness, Vantage};
use server::segments::Tending;
use std::sync::Arc;
use store::{AlertFilter, EventFilter, HostFilter, Paging};
use uuid::Uuid;

const ALL: Paging = Paging { offset: 0, limit: 500 };

/// Doors that are open in two segments, and a border that can be shut.
struct Estate {
    world: World,
    tending: Tending,
    doors: Vec<Endpoint>,
}

impl Estate {
    /// With these doors open and known.
    async fn new(doors: &[&str]) -> Estate {
        let mut world = World::new().await;
        world.asset("10.0.0.0/23").await;
        let doors: Vec<Endpoint> = doors.iter().map(|d| world.open(d, "redis")).collect();
        let tending = Tending::new(Arc::clone(&world.context));
        let mut estate = Estate { world, tending, doors };
        estate.world.run(TaskKind::Liveness).await;
        estate.world.work().await;
        estate.pass(Duration::secs(30)).await;
        assert_eq!(estate.open().await, estate.doors.len(), "everything is known before anything breaks");
        estate
    }

    /// Nothing gets through to or from that network any more.
    fn cut(&mut self, network: &str) {
        for door in &self.doors {
            if door.ip.to_string().starts_with(network) {
                self.world.doors.insert(*door, Door::Silent);
                self.world.up.remove(&door.ip);
            }
        }
    }

    fn mend(&mut self) {
        for door in &self.doors {
            self.world.doors.insert(*door, Door::Open("redis"));
            self.world.up.insert(door.ip);
        }
    }

    /// Lets time pass, with everything that the server and its node do in it.
    async fn pass(&mut self, span: Duration) {
        for _ in 0..span.0 / 1_000 {
            advance(Duration::secs(1));
            self.tending.step().await.unwrap();
            self.world.work().await;
        }
    }

    async fn recheck(&mut self) {
        self.world.run(TaskKind::OpenRecheck).await;
        self.world.work().await;
    }

    async fn open(&self) -> usize {
        let mut open = 0;
        for door in &self.doors {
            open += usize::from(self.world.port(*door).await.unwrap().phase == Phase::Open);
        }
        open
    }

    async fn segment(&self, range: &str) -> Option<SegmentState> {
        let all = self.world.store().segments(&[], Some(&Vantage("outside".into()))).await.unwrap();
        all.into_iter().find(|s| s.range == range.parse().unwrap())
    }

    async fn status(&self, range: &str) -> SegmentStatus {
        self.segment(range).await.map_or(SegmentStatus::Known, |s| s.status)
    }

    async fn alerts(&self, kind: AlertKind) -> Vec<Alert> {
        let all = self.world.store().alerts(&AlertFilter::default(), ALL).await.unwrap().items;
        all.into_iter().filter(|a| a.kind == kind).collect()
    }

    async fn events(&self, kind: EventKind) -> usize {
        let filter = EventFilter { kinds: vec![kind], ..EventFilter::default() };
        self.world.store().events(&filter, ALL).await.unwrap().items.len()
    }

    async fn say(&self, endpoint: &str, role: CanaryRole) {
        let choice = CanaryChoice {
            id: CanaryId(Uuid::now_v7()),
            endpoint: endpoint.parse().unwrap(),
            role,
            note: None,
            created_at: self.world.context.now(),
        };
        self.world.store().insert_canary_choice(&choice, &audit("canary")).await.unwrap();
    }
}

const FOUR: &[&str] = &["10.0.0.1:22/tcp", "10.0.0.2:22/tcp", "10.0.0.3:6379/tcp", "10.0.0.3:80/tcp"];
const TWO_SEGMENTS: &[&str] =
    &["10.0.0.1:22/tcp", "10.0.0.2:22/tcp", "10.0.0.3:6379/tcp", "10.0.1.1:22/tcp", "10.0.1.2:22/tcp", "10.0.1.3:6379/tcp"];

#[tokio::test]
async fn a_segment_that_falls_silent_is_unknown_and_nothing_closes() {
    let mut estate = Estate::new(FOUR).await;
    estate.cut("10.0.0.");
    estate.recheck().await;
    assert_eq!(estate.status("10.0.0.0/24").await, SegmentStatus::Suspect, "the first silence of all is a suspicion");
    estate.pass(Duration::secs(15)).await;
    let segment = estate.segment("10.0.0.0/24").await.unwrap();
    assert_eq!((segment.status, segment.guard), (SegmentStatus::Unknown, Guard::Own));
    assert_eq!((segment.canaries, segment.silent, segment.episode), (4, 4, 1));
    estate.recheck().await;
    estate.pass(Duration::minutes(10)).await;
    estate.recheck().await;
    assert_eq!(estate.open().await, 4, "ten minutes of silence close nothing");
    assert!(estate.segment("10.0.0.0/24").await.unwrap().set_aside > 20, "what was set aside is counted");
    let told = estate.alerts(AlertKind::SegmentUnknown).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].state, AlertState::Pending);
    assert_eq!(told[0].segment.as_ref().map(|s| (s.canaries, s.silent)), Some((4, 4)));

    estate.mend();
    estate.pass(Duration::secs(30)).await;
    assert_eq!(estate.status("10.0.0.0/24").await, SegmentStatus::Known);
    assert_eq!(estate.open().await, 4);
    assert_eq!(estate.alerts(AlertKind::SegmentKnown).await.len(), 1);
    assert_eq!(estate.alerts(AlertKind::Closed).await.len(), 0);
    let events = [EventKind::SegmentUnknown, EventKind::SegmentKnown, EventKind::EndpointClosed, EventKind::HostOffline];
    let mut counts = vec![];
    for kind in events {
        counts.push(estate.events(kind).await);
    }
    assert_eq!(counts, [1, 1, 0, 0]);
}

#[tokio::test]
async fn what_closed_in_the_dark_closes_by_evidence_from_afterwards() {
    let mut estate = Estate::new(FOUR).await;
    estate.cut("10.0.0.");
    estate.recheck().await;
    estate.pass(Duration::minutes(5)).await;
    assert_eq!(estate.status("10.0.0.0/24").await, SegmentStatus::Unknown);
    estate.mend();
    let gone = estate.doors[0];
    estate.world.doors.insert(gone, Door::Silent);
    estate.pass(Duration::secs(45)).await;
    assert_eq!(estate.status("10.0.0.0/24").await, SegmentStatus::Known);
    assert_eq!(estate.world.port(gone).await.unwrap().phase, Phase::Open, "the silence of the dark does not count");
    estate.pass(Duration::secs(60)).await;
    assert_eq!(estate.world.port(gone).await.unwrap().phase, Phase::Closed, "nobody had to schedule the looks");
    assert_eq!(estate.open().await, 3);
}

#[tokio::test]
async fn a_refusal_counts_in_the_dark_and_one_canary_of_several_is_an_ordinary_closing() {
    let mut estate = Estate::new(FOUR).await;
    let (refusing, silent) = (estate.doors[0], estate.doors[1]);
    estate.world.doors.insert(silent, Door::Silent);
    estate.recheck().await;
    estate.pass(Duration::secs(90)).await;
    assert_eq!(estate.world.port(silent).await.unwrap().phase, Phase::Closed, "the others witness it");
    assert_eq!(estate.segment("10.0.0.0/24").await, None, "nobody had a doubt");

    estate.cut("10.0.0.");
    estate.recheck().await;
    estate.pass(Duration::secs(30)).await;
    assert_eq!(estate.status("10.0.0.0/24").await, SegmentStatus::Unknown);
    // One host can be reached again, and says no.
    estate.world.doors.insert(refusing, Door::Refuses);
    estate.pass(Duration::secs(60)).await;
    assert_eq!(estate.world.port(refusing).await.unwrap().phase, Phase::Closed);
    assert_eq!(estate.open().await, 2, "the two that say nothing stay");
}

#[tokio::test]
async fn one_segment_is_unknown_while_another_goes_on_as_usual() {
    let mut estate = Estate::new(TWO_SEGMENTS).await;
    estate.cut("10.0.0.");
    let stops = estate.doors[3];
    estate.world.doors.insert(stops, Door::Silent);
    estate.recheck().await;
    estate.pass(Duration::secs(120)).await;
    assert_eq!(estate.status("10.0.0.0/24").await, SegmentStatus::Unknown);
    assert_eq!(estate.status("10.0.1.0/24").await, SegmentStatus::Known);
    assert_eq!(estate.world.port(stops).await.unwrap().phase, Phase::Closed);
    assert_eq!(estate.open().await, 5);
}

#[tokio::test]
async fn a_segment_with_one_door_is_judged_by_the_canaries_of_the_vantage() {
    let doors = &["10.0.0.1:22/tcp", "10.0.0.2:22/tcp", "10.0.0.3:6379/tcp", "10.0.1.9:443/tcp"];
    let lonely: Endpoint = "10.0.1.9:443/tcp".parse().unwrap();
    // Everything is silent at once: the vantage is blind.
    let mut estate = Estate::new(doors).await;
    estate.cut("10.0.");
    estate.recheck().await;
    estate.pass(Duration::minutes(4)).await;
    assert_eq!(estate.open().await, 4);
    let segment = estate.segment("10.0.1.0/24").await.unwrap();
    assert_eq!((segment.status, segment.guard), (SegmentStatus::Unknown, Guard::Borrowed));
    estate.mend();
    estate.pass(Duration::secs(60)).await;
    assert_eq!((estate.status("10.0.1.0/24").await, estate.open().await), (SegmentStatus::Known, 4));
    // It alone is silent: that is its own.
    estate.cut("10.0.1.");
    estate.recheck().await;
    estate.pass(Duration::secs(120)).await;
    assert_eq!(estate.world.port(lonely).await.unwrap().phase, Phase::Closed);
}

#[tokio::test]
async fn where_too_little_is_open_to_tell_silence_is_believed() {
    let mut estate = Estate::new(&["10.0.0.1:22/tcp", "10.0.0.1:80/tcp"]).await;
    estate.cut("10.0.0.");
    estate.recheck().await;
    estate.pass(Duration::secs(90)).await;
    assert_eq!((estate.open().await, estate.segment("10.0.0.0/24").await), (0, None));
}

#[tokio::test]
async fn hosts_do_not_go_offline_where_nobody_can_see() {
    let mut estate = Estate::new(TWO_SEGMENTS).await;
    let idle: std::net::IpAddr = "10.0.0.9".parse().unwrap();
    estate.world.up.insert(idle);
    estate.world.run(TaskKind::Liveness).await;
    estate.world.work().await;
    let online = async |estate: &Estate| {
        let filter = HostFilter { liveness: Some(Liveness::Online), ..HostFilter::default() };
        estate.world.store().hosts(&filter, ALL).await.unwrap().total
    };
    assert_eq!(online(&estate).await, 7);
    // The uplink breaks, and the first to notice is a liveness pass.
    advance(Duration::minutes(5));
    estate.cut("10.0.");
    estate.world.up.remove(&idle);
    estate.world.run(TaskKind::Liveness).await;
    estate.world.work().await;
    estate.pass(Duration::secs(90)).await;
    assert_eq!((online(&estate).await, estate.events(EventKind::HostOffline).await), (7, 0));
    assert_eq!(estate.status("10.0.0.0/24").await, SegmentStatus::Unknown, "the doubt made somebody ask the canaries");
    // Mended, but for the one host.
    estate.mend();
    estate.pass(Duration::secs(60)).await;
    estate.world.run(TaskKind::Liveness).await;
    estate.world.work().await;
    assert_eq!((online(&estate).await, estate.events(EventKind::HostOffline).await), (6, 1));
}

#[tokio::test]
async fn an_operator_ends_the_doubt_by_saying_that_they_are_gone() {
    let mut estate = Estate::new(TWO_SEGMENTS).await;
    estate.cut("10.0.0.");
    estate.recheck().await;
    estate.pass(Duration::minutes(5)).await;
    assert_eq!((estate.status("10.0.0.0/24").await, estate.open().await), (SegmentStatus::Unknown, 6));
    // The rack was taken down for good.
    for door in ["10.0.0.1:22/tcp", "10.0.0.2:22/tcp"] {
        estate.say(door, CanaryRole::Never).await;
    }
    estate.pass(Duration::secs(40)).await;
    assert_eq!(estate.status("10.0.0.0/24").await, SegmentStatus::Known, "those of the other segment speak for it now");
    estate.pass(Duration::secs(120)).await;
    assert_eq!(estate.open().await, 3);
}

#[tokio::test]
async fn a_doubt_outlives_a_restart_and_ends_with_its_asset() {
    let mut estate = Estate::new(TWO_SEGMENTS).await;
    estate.cut("10.0.0.");
    estate.recheck().await;
    estate.pass(Duration::secs(60)).await;
    let Estate { world, doors, tending } = estate;
    drop(tending);
    let world = world.crash().await;
    let tending = Tending::new(Arc::clone(&world.context));
    let mut estate = Estate { world, tending, doors };
    assert_eq!(estate.status("10.0.0.0/24").await, SegmentStatus::Unknown);
    estate.recheck().await;
    estate.pass(Duration::minutes(3)).await;
    assert_eq!(estate.open().await, 6, "the new process sets aside what the old one would have");
    let asset = estate.world.store().assets().await.unwrap().remove(0);
    let asset = model::asset::Asset { range: "10.0.1.0/24".parse().unwrap(), ..asset };
    estate.world.store().update_asset(&asset, &audit("asset.update")).await.unwrap();
    estate.pass(Duration::secs(60)).await;
    assert_eq!(estate.segment("10.0.0.0/24").await, None);
    assert_eq!(estate.alerts(AlertKind::SegmentKnown).await.len(), 1, "who was told of the doubt is told of its end");
}

#[tokio::test]
async fn ground_swept_in_the_dark_is_not_covered() {
    let mut estate = Estate::new(TWO_SEGMENTS).await;
    let unseen: Endpoint = "10.0.0.8:6379/tcp".parse().unwrap();
    estate.cut("10.0.0.");
    estate.recheck().await;
    estate.pass(Duration::secs(60)).await;
    let before = estate.world.store().last_covered(&Vantage("outside".into()), &[unseen]).await.unwrap();
    estate.world.run(TaskKind::FullAll).await;
    estate.world.work().await;
    let after = estate.world.store().last_covered(&Vantage("outside".into()), &[unseen]).await.unwrap();
    assert_eq!(before, after, "a sweep that could not see is no evidence that nothing was open");
    let elsewhere: Endpoint = "10.0.1.8:6379/tcp".parse().unwrap();
    let covered = estate.world.store().last_covered(&Vantage("outside".into()), &[elsewhere]).await.unwrap();
    assert!(covered.contains_key(&elsewhere), "the rest of the same sweep is");
}
