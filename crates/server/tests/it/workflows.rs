//! The background half: leases, ingestion, scheduling, alerting, and what crashes and repetitions must not change.

use crate::sink::Sink;
use crate::world::{Door, World, advance, audit, eventually};
use model::alert::{AlertKind, AlertState, NotificationState};
use model::asset::{Blackout, Exclusion, Window};
use model::event::EventKind;
use model::exposure::RiskKind;
use model::job::{JobState, Work};
use model::port_state::Phase;
use model::task::{Cause, RunState, TaskKind, Trigger};
use model::*;
use server::scheduler::{self, FireError};
use std::time::Instant;
use store::{AlertFilter, EventFilter, HostFilter, JobFilter, NotificationFilter, Paging};
use uuid::Uuid;
use wire::{HeartbeatReply, ReportReply};

#[tokio::test]
async fn a_lost_job_is_redelivered_and_its_first_holder_is_fenced() {
    let mut world = World::new().await;
    world.asset("10.0.0.0/30").await;
    let run = world.run(TaskKind::Liveness).await;
    let lost = world.lease("first", 5).await;
    assert_eq!(lost.len(), 1);
    assert!(world.lease("second", 5).await.is_empty(), "a leased job is nobody else's");
    world.background();
    advance(Duration::secs(16));
    world.context.schedule_now.notify_one();
    let mut again = vec![];
    for _ in 0..100 {
        again = world.lease("second", 5).await;
        if !again.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(again.iter().map(|o| o.id).collect::<Vec<_>>(), [lost[0].id]);
    assert!(again[0].fencing > lost[0].fencing);
    assert_eq!(world.beat("first", &lost[0]).await, HeartbeatReply::Stop);
    assert_eq!(world.send(world.report("first", &lost[0])).await, ReportReply::Fenced);
    assert_eq!(world.beat("second", &again[0]).await, HeartbeatReply::Continue);
    assert_eq!(world.send(world.report("second", &again[0])).await, ReportReply::Accepted);
    assert_eq!(world.run_state(&run).await.state, RunState::Succeeded);
    world.stop_background().await;
}

#[tokio::test]
async fn a_report_that_comes_twice_changes_nothing() {
    let mut world = World::new().await;
    world.asset("10.0.0.0/30").await;
    world.up.insert("10.0.0.1".parse().unwrap());
    world.run(TaskKind::Liveness).await;
    let offers = world.lease("node", 5).await;
    let report = world.report("node", &offers[0]);
    assert_eq!(world.send(report.clone()).await, ReportReply::Accepted);
    let events = world.store().events(&EventFilter::default(), Paging::first(100)).await.unwrap();
    let jobs = world.store().jobs(&JobFilter::default(), Paging::first(100)).await.unwrap();
    advance(Duration::secs(5));
    assert_eq!(world.send(report).await, ReportReply::Accepted, "the node must not send it a third time");
    assert_eq!(world.store().events(&EventFilter::default(), Paging::first(100)).await.unwrap(), events);
    assert_eq!(world.store().jobs(&JobFilter::default(), Paging::first(100)).await.unwrap(), jobs, "no follow-up twice");
}

#[tokio::test]
async fn a_port_opens_is_alerted_once_and_closes_when_it_answers_rst() {
    let mut world = World::new().await;
    world.asset("10.0.0.0/29").await;
    let redis = world.open("10.0.0.1:6379/tcp", "redis");
    let db = world.open("10.0.0.1:3307/tcp", "mysql");
    world.run(TaskKind::Liveness).await;
    // The first look at the new host finds both doors, and follow-ups confirm and identify them.
    world.work().await;
    let mut seen = world.exposures().await;
    seen.sort_by_key(|e| e.endpoint);
    assert_eq!(
        seen.iter().map(|e| (e.endpoint, e.risk.kind)).collect::<Vec<_>>(),
        [(db, RiskKind::HighRiskService), (redis, RiskKind::HighRiskPort)]
    );
    assert!(seen.iter().all(|e| e.owner.as_deref() == Some("payments") && e.service.is_some()));
    let alerts = world.store().alerts(&AlertFilter::default(), Paging::first(10)).await.unwrap();
    assert_eq!(alerts.total, 2);
    world.run(TaskKind::HighRiskOnline).await;
    world.work().await;
    assert_eq!(
        world.store().alerts(&AlertFilter::default(), Paging::first(10)).await.unwrap().total,
        2,
        "seen again is not news"
    );

    world.doors.insert(redis, Door::Refuses);
    world.run(TaskKind::OpenRecheck).await;
    world.work().await;
    assert_eq!(world.port(redis).await.unwrap().phase, Phase::Open, "one refusal closes nothing");
    world.work_for(Duration::secs(20)).await;
    let closed = world.port(redis).await.unwrap();
    assert_eq!((closed.phase, closed.last_reason), (Phase::Closed, Reason::Rst));
    let exposure = world.exposures().await.into_iter().find(|e| e.endpoint == redis).unwrap();
    assert_eq!((exposure.phase, exposure.close_reason), (Phase::Closed, Some(Reason::Rst)));
    let kinds = world
        .store()
        .alerts(&AlertFilter { exposure: Some(exposure.id), ..Default::default() }, Paging::first(10))
        .await
        .unwrap();
    let mut kinds: Vec<_> = kinds.items.iter().map(|a| a.kind).collect();
    kinds.sort();
    assert_eq!(kinds, [AlertKind::Opened, AlertKind::Closed]);
    let events =
        world.store().events(&EventFilter { endpoint: Some(redis), ..Default::default() }, Paging::first(50)).await.unwrap();
    let mut kinds: Vec<_> = events.items.iter().map(|e| e.kind).collect();
    kinds.reverse();
    use EventKind::*;
    assert_eq!(kinds, [EndpointPending, EndpointOpened, ServiceChanged, EndpointClosed]);
}

#[tokio::test]
async fn silence_is_filtered_and_closes_only_after_a_minute() {
    let mut world = World::new().await;
    world.asset("10.0.0.0/29").await;
    let redis = world.open("10.0.0.1:6379/tcp", "redis");
    world.run(TaskKind::Liveness).await;
    world.work().await;
    world.doors.insert(redis, Door::Silent);
    world.run(TaskKind::OpenRecheck).await;
    world.work_for(Duration::secs(50)).await;
    let port = world.port(redis).await.unwrap();
    assert_eq!((port.phase, port.last_state), (Phase::Open, State::Filtered));
    world.work_for(Duration::secs(30)).await;
    let port = world.port(redis).await.unwrap();
    assert_eq!((port.phase, port.last_state, port.last_reason), (Phase::Closed, State::Filtered, Reason::Timeout));
}

#[tokio::test]
async fn a_host_never_seen_up_is_stored_and_swept_by_tasks_6_to_8() {
    let mut world = World::new().await;
    world.asset("10.0.0.0/30").await;
    world.up.insert("10.0.0.1".parse().unwrap());
    // A host that answers no ping but hides a service.
    let hidden = world.open("10.0.0.2:6379/tcp", "redis");
    world.up.remove(&hidden.ip);
    world.run(TaskKind::Liveness).await;
    world.work().await;
    let offline = HostFilter { liveness: Some(Liveness::Offline), ..HostFilter::default() };
    let dead: Vec<_> = world.store().hosts(&offline, Paging::first(10)).await.unwrap().items.into_iter().map(|h| h.ip).collect();
    assert_eq!(dead, ["10.0.0.0", "10.0.0.2", "10.0.0.3"].map(|ip| ip.parse::<std::net::IpAddr>().unwrap()));
    assert!(world.port(hidden).await.is_none());
    // All three are fired before any is worked on: the first to find the hidden door brings its host online.
    for kind in [TaskKind::HighRiskOffline, TaskKind::FullOffline, TaskKind::FullAll] {
        let run = world.run(kind).await;
        let jobs =
            world.store().jobs(&JobFilter { run: Some(run.id), ..Default::default() }, Paging::first(50)).await.unwrap().items;
        let covers = |job: &job::Job| match &job.work {
            Work::Sweep { targets, ports, .. } => targets.iter().any(|t| t.contains(hidden.ip)) && ports.tcp.contains(6379),
            _ => false,
        };
        assert!(jobs.iter().any(covers), "{kind}: {jobs:?}");
    }
    world.work().await;
    assert_eq!(world.port(hidden).await.unwrap().phase, Phase::Open);
    let online = HostFilter { liveness: Some(Liveness::Online), ..HostFilter::default() };
    assert_eq!(world.store().hosts(&online, Paging::first(10)).await.unwrap().total, 2, "an open door proves its host");
    // A ping that goes unanswered again does not lose it.
    world.run(TaskKind::Liveness).await;
    world.work().await;
    assert_eq!(world.store().hosts(&online, Paging::first(10)).await.unwrap().total, 2);
}

#[tokio::test]
async fn a_thousand_hosts_are_queued_in_under_a_second() {
    let mut world = World::new().await;
    world.asset("10.0.0.0/22").await;
    world.up = "10.0.0.0/22".parse::<IpRange>().unwrap().iter().take(1_000).collect();
    let run = world.run(TaskKind::Liveness).await;
    for offer in world.lease("node", 50).await {
        world.send(world.report("node", &offer)).await;
    }
    assert_eq!(world.run_state(&run).await.state, RunState::Succeeded);
    let began = Instant::now();
    let run = world.run(TaskKind::FullOnline).await;
    let took = began.elapsed();
    assert!(took.as_millis() < 1_000, "{took:?}");
    assert_eq!(run.jobs_total, 334, "three hosts of 65,535 ports to a job");
}

#[tokio::test]
async fn one_failing_task_does_not_delay_another() {
    let mut world = World::new().await;
    world.asset("10.0.0.0/30").await;
    // Whatever got into the database: a trigger that nothing can follow, due before everything else.
    let mut broken = world.task(TaskKind::FullAll).await;
    broken.trigger = Trigger::Cron { expression: "when the moon is full".into() };
    broken.next_due_at = Some(Ts(1));
    world.store().update_task(&broken, None).await.unwrap();
    let mut fine = world.task(TaskKind::Liveness).await;
    fine.next_due_at = Some(Ts(2));
    world.store().update_task(&fine, None).await.unwrap();
    world.background();
    let id = fine.id;
    eventually("the other task fires", async || world.store().task(id).await.unwrap().unwrap().last_fired_at.is_some()).await;
    assert!(world.store().task(broken.id).await.unwrap().unwrap().last_fired_at.is_none());
    eventually("the failure is shown", async || world.context.task_note(broken.id).is_some_and(|n| n.contains("moon"))).await;
    world.stop_background().await;
}

#[tokio::test]
async fn a_task_is_not_fired_while_its_run_is_going_and_shows_as_overdue() {
    let mut world = World::new().await;
    world.asset("10.0.0.0/30").await;
    let run = world.run(TaskKind::Liveness).await;
    let again = scheduler::run_now(&world.context, run.task, Cause::Manual, None).await;
    assert!(matches!(again, Err(FireError::Running)), "{again:?}");
    world.background();
    advance(Duration::hours(3));
    world.context.schedule_now.notify_one();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let task = world.task(TaskKind::Liveness).await;
    let last = world.run_state(&run).await;
    assert_eq!(task.last_run, Some(run.id));
    assert_eq!(plan::status(&task, Some(&last), world.context.now()), plan::TaskStatus::Overdue);
    // It fires as soon as the run has ended.
    world.work().await;
    eventually("the overdue task fires", async || world.task(TaskKind::Liveness).await.last_run != Some(run.id)).await;
    world.stop_background().await;
}

#[tokio::test]
async fn a_task_waits_for_its_label_and_fires_when_somebody_has_looked() {
    let mut world = World::new().await;
    world.asset("10.0.0.0/30").await;
    world.up.insert("10.0.0.1".parse().unwrap());
    let mut task = world.task(TaskKind::HighRiskOnline).await;
    task.next_due_at = Some(world.context.now());
    world.store().update_task(&task, None).await.unwrap();
    world.background();
    eventually("the reason is shown", async || world.context.task_note(task.id).is_some_and(|n| n.contains("IP_ONLINE"))).await;
    // The range is new, so it gets a liveness pass without anybody asking; that wakes the task.
    eventually("the task fires", async || {
        world.work().await;
        world.store().task(task.id).await.unwrap().unwrap().last_fired_at.is_some()
    })
    .await;
    assert_eq!(world.context.task_note(task.id), None);
    world.stop_background().await;
}

#[tokio::test]
async fn a_new_range_and_a_new_host_get_a_look_at_once() {
    let mut world = World::new().await;
    world.background();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    world.asset("10.0.0.0/30").await;
    let redis = world.open("10.0.0.1:6379/tcp", "redis");
    let odd = world.open("10.0.0.1:45678/tcp", "mysql");
    world.context.schedule_now.notify_one();
    eventually("both doors are open", async || {
        world.work().await;
        let open = async |e| world.port(e).await.is_some_and(|p| p.phase == Phase::Open);
        open(redis).await && open(odd).await
    })
    .await;
    let jobs = world.store().jobs(&JobFilter::default(), Paging::first(100)).await.unwrap().items;
    assert!(jobs.iter().all(|j| j.run.is_none()), "no task has fired: {jobs:?}");
    // Once is enough: the same host seen again is not new.
    let total = jobs.len();
    world.context.schedule_now.notify_one();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    world.work().await;
    assert_eq!(world.store().jobs(&JobFilter::default(), Paging::first(1)).await.unwrap().total as usize, total);
    world.stop_background().await;
}

#[tokio::test]
async fn a_restart_goes_on_with_the_run() {
    let mut world = World::new().await;
    world.asset("10.0.0.0/24").await;
    let mut task = world.task(TaskKind::FullAll).await;
    task.ports = Some("1-5000".parse().unwrap());
    world.store().update_task(&task, None).await.unwrap();
    let redis = world.open("10.0.0.77:4444/tcp", "redis");
    let run = world.run(TaskKind::FullAll).await;
    assert!(run.jobs_total > 5);
    let leased = world.lease("node", 2).await;
    let mut half = world.report("node", &leased[0]);
    assert_eq!(world.send(half.clone()).await, ReportReply::Accepted);
    let mut world = world.crash().await;
    // What was recorded is recorded; the leases of the earlier start are void at once, without waiting for their end.
    assert_eq!(world.run_state(&run).await.jobs_done, 1);
    half.sequence = 2;
    assert_eq!(world.send(half).await, ReportReply::Fenced);
    world.background();
    world.work().await;
    let run = world.run_state(&run).await;
    assert_eq!((run.state, run.jobs_done), (RunState::Succeeded, run.jobs_total));
    assert_eq!(world.port(redis).await.unwrap().phase, Phase::Open);
    let attempts = world.store().job(leased[1].id).await.unwrap().unwrap();
    assert_eq!((attempts.state, attempts.attempts), (JobState::Done, 2));
    world.stop_background().await;
}

#[tokio::test]
async fn no_alert_is_sent_twice_by_a_restart() {
    let sink = Sink::start().await;
    let mut world = World::new().await;
    world.asset("10.0.0.0/30").await;
    world.webhook(sink.url()).await;
    world.open("10.0.0.1:6379/tcp", "redis");
    world.background();
    world.run(TaskKind::Liveness).await;
    world.work().await;
    eventually("the webhook is called", async || sink.requests().len() == 1).await;
    eventually("the receipt is kept", async || {
        let page = world.store().notifications(&NotificationFilter::default(), Paging::first(10)).await.unwrap();
        page.items.iter().all(|n| n.state == NotificationState::Sent && n.receipt.is_some())
    })
    .await;
    let world = world.crash().await;
    let mut world = world;
    world.background();
    world.run(TaskKind::HighRiskOnline).await;
    world.work().await;
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!(sink.requests().len(), 1, "{:?}", sink.requests());
    world.stop_background().await;
}

#[tokio::test]
async fn an_interrupted_send_is_repeated_under_the_same_id() {
    let sink = Sink::start().await;
    let mut world = World::new().await;
    world.asset("10.0.0.0/30").await;
    world.webhook(sink.url()).await;
    world.open("10.0.0.1:6379/tcp", "redis");
    world.run(TaskKind::Liveness).await;
    world.work().await;
    // Made and taken for sending by a process that then dies before it hears from the receiver.
    let alerts = world.store().pending_alerts(10).await.unwrap();
    let receivers = world.store().receivers().await.unwrap();
    let notification = alert::Notification {
        id: NotificationId(Uuid::now_v7()),
        receiver: receivers[0].id,
        group: "10.0.0.1/payments".into(),
        digest: false,
        alerts: alerts.iter().map(|a| a.id).collect(),
        state: NotificationState::Queued,
        attempts: 0,
        next_try_at: world.context.now(),
        receipt: None,
        error: None,
        created_at: world.context.now(),
        sent_at: None,
    };
    world.store().enqueue_notifications(std::slice::from_ref(&notification), &notification.alerts).await.unwrap();
    assert!(world.store().mark_sending(notification.id).await.unwrap());
    let mut world = world.crash().await;
    world.background();
    eventually("it is sent", async || !sink.requests().is_empty()).await;
    assert!(sink.requests()[0].contains(&notification.id.to_string()), "{:?}", sink.requests());
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    assert_eq!(sink.requests().len(), 1);
    world.stop_background().await;
}

#[tokio::test]
async fn a_failing_receiver_is_tried_again_and_its_failure_is_kept() {
    let mut world = World::new().await;
    world.asset("10.0.0.0/30").await;
    // A port that was free a moment ago and that nobody listens on.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    world.webhook(format!("http://{free}/hook")).await;
    world.open("10.0.0.1:6379/tcp", "redis");
    world.background();
    world.run(TaskKind::Liveness).await;
    world.work().await;
    let last = async || world.store().notifications(&NotificationFilter::default(), Paging::first(1)).await.unwrap().items.pop();
    eventually("the failure is kept", async || last().await.is_some_and(|n| n.error.is_some())).await;
    let failed = last().await.unwrap();
    assert_eq!((failed.state, failed.attempts), (NotificationState::Queued, 1));
    assert!(failed.next_try_at > world.context.now());
    let sink = Sink::on(free).await;
    advance(Duration::secs(15));
    world.context.alert_now.notify_one();
    eventually("it goes through in the end", async || sink.requests().len() == 1).await;
    eventually("and is written down", async || last().await.is_some_and(|n| n.state == NotificationState::Sent)).await;
    world.stop_background().await;
}

#[tokio::test]
async fn without_receivers_an_alert_says_that_nobody_was_told() {
    let mut world = World::new().await;
    world.asset("10.0.0.0/30").await;
    world.open("10.0.0.1:6379/tcp", "redis");
    world.background();
    world.run(TaskKind::Liveness).await;
    world.work().await;
    eventually("the alert is suppressed", async || {
        let alerts = world.store().alerts(&AlertFilter::default(), Paging::first(10)).await.unwrap().items;
        alerts.iter().any(|a| a.state == AlertState::Suppressed && a.suppressed_by.as_deref() == Some("no-receiver"))
    })
    .await;
    world.stop_background().await;
}

#[tokio::test]
async fn an_exclusion_stops_a_job_that_is_going_on() {
    let world = World::new().await;
    world.asset("10.0.0.0/30").await;
    world.run(TaskKind::Liveness).await;
    let offer = world.lease("node", 1).await.remove(0);
    assert_eq!(offer.scope.ranges(), ["10.0.0.0/30".parse::<IpRange>().unwrap()]);
    assert_eq!(world.beat("node", &offer).await, HeartbeatReply::Continue);
    let exclusion = Exclusion {
        id: ExclusionId(Uuid::now_v7()),
        range: "10.0.0.1".parse().unwrap(),
        reason: "pacemaker".into(),
        created_at: world.context.now(),
    };
    world.store().insert_exclusion(&exclusion, &audit("exclusion.create")).await.unwrap();
    assert_eq!(world.beat("node", &offer).await, HeartbeatReply::Stop);
    let again = world.lease("node", 1).await.remove(0);
    assert_eq!(again.id, offer.id);
    assert!(!again.scope.contains("10.0.0.1".parse().unwrap()) && again.scope.contains("10.0.0.2".parse().unwrap()));
    let job = world.store().job(again.id).await.unwrap().unwrap();
    assert_eq!(job.attempts, 1, "being stopped is not a failed attempt");
}

#[tokio::test]
async fn a_job_waits_for_the_end_of_a_blackout() {
    let world = World::new().await;
    world.asset("10.0.0.0/30").await;
    world.run(TaskKind::Liveness).await;
    let now = world.context.now();
    let blackout = |range: &str| Blackout {
        id: BlackoutId(Uuid::now_v7()),
        range: range.parse().unwrap(),
        window: Window::Once { from: now, until: now.plus(Duration::hours(1)) },
        reason: "month end".into(),
        created_at: now,
    };
    // Part of it first: the rest may be probed.
    world.store().insert_blackout(&blackout("10.0.0.0/31"), &audit("blackout.create")).await.unwrap();
    let offer = world.lease("node", 1).await.remove(0);
    assert_eq!(offer.scope.ranges(), ["10.0.0.2/31".parse::<IpRange>().unwrap()]);
    world.store().insert_blackout(&blackout("10.0.0.0/24"), &audit("blackout.create")).await.unwrap();
    assert_eq!(world.beat("node", &offer).await, HeartbeatReply::Stop);
    assert!(world.lease("node", 1).await.is_empty());
    advance(Duration::minutes(61));
    assert_eq!(world.lease("node", 1).await.remove(0).id, offer.id);
}

/// Works through everything while the host at 10.0.0.1 answers on every port, as `scan` tells it.
async fn work_past_a_firewall(world: &World) {
    loop {
        let offers = world.lease("node", 50).await;
        if offers.is_empty() {
            return;
        }
        for offer in offers {
            advance(Duration::millis(5));
            let mut report = world.report("node", &offer);
            if matches!(offer.work, Work::Sweep { .. }) {
                let ip = "10.0.0.1".parse().unwrap();
                report.sightings.pseudo_open.push(wire::PseudoOpenHost {
                    ip,
                    open_ports: 65_535,
                    observed_at: world.context.now(),
                });
            }
            assert_eq!(world.send(report).await, ReportReply::Accepted);
        }
    }
}

#[tokio::test]
async fn a_host_that_answers_everywhere_makes_one_alert_until_it_stops() {
    let mut world = World::new().await;
    world.asset("10.0.0.0/30").await;
    for port in [22, 23, 80, 443, 3306, 6379] {
        world.open(&format!("10.0.0.1:{port}/tcp"), "");
    }
    world.run(TaskKind::Liveness).await;
    work_past_a_firewall(&world).await;
    world.run(TaskKind::HighRiskOnline).await;
    work_past_a_firewall(&world).await;
    let exposures = world.exposures().await;
    assert_eq!(exposures.len(), 6);
    assert!(exposures.iter().all(|e| e.risk.severity == exposure::Severity::Low), "{exposures:?}");
    let kinds = async || {
        let alerts = world.store().alerts(&AlertFilter::default(), Paging::first(20)).await.unwrap().items;
        alerts.iter().map(|a| a.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds().await, [AlertKind::PseudoOpen]);
    // The next sweep finds it answering as hosts do: what is open there counts again.
    world.run(TaskKind::HighRiskOnline).await;
    world.work().await;
    let high = world.exposures().await.into_iter().filter(|e| e.risk.kind == RiskKind::HighRiskPort).count();
    assert_eq!(high, 4, "22, 23, 3306 and 6379 are listed");
    assert_eq!(kinds().await.len(), 5);
}

#[tokio::test]
async fn a_confirmation_does_not_queue_behind_the_sweep_that_asked_for_it() {
    let mut world = World::new().await;
    world.asset("10.0.0.0/24").await;
    let redis = world.open("10.0.0.1:6379/tcp", "redis");
    // Every identification slot is taken by long jobs.
    let mut task = world.task(TaskKind::ServiceIdentification).await;
    task.rate_pps = Some(1);
    world.store().update_task(&task, None).await.unwrap();
    world.run(TaskKind::Liveness).await;
    for offer in world.lease("node", 1).await {
        world.send(world.report("node", &offer)).await;
    }
    let sweeps = world.lease("node", 20).await;
    let finder = sweeps.iter().find(|o| matches!(&o.work, Work::Sweep { ports, .. } if ports.tcp.contains(6379))).unwrap();
    let mut part = world.report("node", finder);
    part.end = None;
    part.sightings.coverage = None;
    world.send(part).await;
    let next = world.lease("node", 1).await;
    assert!(matches!(&next[0].work, Work::Identify { endpoints } if endpoints == &[redis]), "{next:?}");
}

#[tokio::test]
async fn the_caps_of_a_range_hold_while_nothing_new_is_leased() {
    let world = World::new().await;
    let mut asset = world.asset("10.0.0.0/30").await;
    (asset.rate_pps, asset.per_target_pps) = (Some(7), Some(3));
    world.store().update_asset(&asset, &audit("asset.update")).await.unwrap();
    world.run(TaskKind::Liveness).await;
    for (jobs, what) in [(1, "with a job"), (0, "without one")] {
        let reply = world.ask("node", 5).await;
        assert_eq!(reply.jobs.len(), jobs);
        let caps: Vec<_> = reply.pace.ranges.iter().map(|r| (r.range.to_string(), r.rate_pps, r.per_target_pps)).collect();
        assert_eq!(caps, [("10.0.0.0/30".to_owned(), Some(7), Some(3))], "{what}");
    }
}

#[tokio::test]
async fn the_rate_of_a_task_is_shared_by_its_jobs() {
    let world = World::new().await;
    world.asset("10.0.0.0/24").await;
    let mut task = world.task(TaskKind::FullAll).await;
    task.rate_pps = Some(100);
    world.store().update_task(&task, None).await.unwrap();
    world.run(TaskKind::FullAll).await;
    let offers = world.lease("node", 50).await;
    let total: u32 = offers.iter().map(|o| o.rate_pps.unwrap()).sum();
    assert!(offers.len() > 1 && total <= 100, "{total}");
}

#[tokio::test]
async fn the_first_firing_waits_for_the_end_of_a_liveness_pass_but_not_for_ever() {
    let mut world = World::new().await;
    // Four jobs of liveness, of which one is done and found a host.
    world.asset("10.0.0.0/18").await;
    world.up.insert("10.0.0.1".parse().unwrap());
    let pass = world.run(TaskKind::Liveness).await;
    assert!(pass.jobs_total > 1);
    let offer = world.lease("node", 1).await.remove(0);
    world.send(world.report("node", &offer)).await;
    let due = async |kind| {
        let mut task = world.task(kind).await;
        task.next_due_at = Some(world.context.now());
        world.store().update_task(&task, None).await.unwrap();
        task.id
    };
    let id = due(TaskKind::HighRiskOnline).await;
    world.background();
    let fired = async || world.store().task(id).await.unwrap().unwrap().last_fired_at;
    eventually("the reason is shown", async || world.context.task_note(id).is_some_and(|n| n.contains("going on"))).await;
    assert_eq!(fired().await, None);
    advance(Duration::minutes(6));
    world.context.schedule_now.notify_one();
    eventually("it fires for what is known", async || fired().await.is_some()).await;
    assert_eq!(world.run_state(&pass).await.state, RunState::Running);
    world.stop_background().await;
}
