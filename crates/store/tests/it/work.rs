//! Tasks, runs, jobs and leases: who may work on what, and that nothing gets lost or done twice.

use crate::sample::*;
use crate::{Db, on_both};
use model::job::{JobState, Work};
use model::task::{RunState, TaskKind, TaskState, Trigger};
use model::{JobId, NodeName, Ts};
use std::collections::HashSet;
use std::time::Instant;
use store::{End, IngestOutcome, JobFilter, LeaseQuery, Paging, StoreError};

on_both!(
    leasing_is_fair_between_tasks_then_by_priority_then_by_age,
    an_expired_lease_is_delivered_again_and_its_old_holder_fenced,
    a_job_that_lost_its_last_lease_fails_and_ends_its_run,
    leases_of_an_earlier_start_of_the_node_are_lost_at_once,
    the_same_report_twice_is_recorded_once,
    a_failed_job_waits_and_is_tried_until_its_attempts_are_used,
    the_last_job_ends_the_run_and_one_off_work,
    a_run_without_jobs_has_succeeded,
    a_thousand_jobs_are_queued_well_under_a_second,
    a_cancelled_run_fences_its_holders_and_can_be_retried,
    a_paused_task_gives_its_jobs_back_without_losing_an_attempt,
    a_job_given_back_waits_until_its_time,
    jobs_in_a_blackout_wait_and_others_do_not,
    two_nodes_never_get_the_same_job,
    a_heartbeat_renews_counts_probes_and_stops_who_lost_the_lease,
    a_deleted_task_takes_its_jobs_and_late_follow_ups_with_it,
    an_edit_does_not_undo_a_firing,
    a_firing_does_not_undo_a_pause,
);

async fn leased(db: &Db, query: &LeaseQuery) -> Vec<model::job::Job> {
    db.store.lease(query).await.unwrap()
}

async fn leasing_is_fair_between_tasks_then_by_priority_then_by_age(db: Db) {
    let (full, _, _) = started(&db.store, TaskKind::FullOnline, 5).await;
    let (high, _, high_jobs) = started(&db.store, TaskKind::HighRiskOnline, 5).await;
    let first = leased(&db, &wants(10, T0)).await;
    let tasks: Vec<_> = first.iter().map(|j| j.task).collect();
    assert_eq!(tasks, [high.id, high.id, full.id, full.id], "two of each task, the more urgent task first");
    assert_eq!(first[0].id, high_jobs[0].id, "the oldest of a task first");
    assert!(first.iter().all(|j| j.attempts == 1 && j.fencing == 1 && j.state == JobState::Leased && j.node == Some(node())));
    assert!(leased(&db, &wants(10, T0)).await.is_empty(), "both tasks have all the slots they may have");
    let mut end = report(&first[2], 1);
    end.end = Some(End::Done);
    assert_eq!(db.store.ingest(&end).await.unwrap(), IngestOutcome::Recorded);
    let next = leased(&db, &wants(10, T0)).await;
    assert_eq!(next.iter().map(|j| j.task).collect::<Vec<_>>(), [full.id], "a slot of its own task came free");
    assert!(leased(&db, &wants(0, T0)).await.is_empty());
}

async fn an_expired_lease_is_delivered_again_and_its_old_holder_fenced(db: Db) {
    let (_, run, _) = started(&db.store, TaskKind::FullOnline, 1).await;
    let old = leased(&db, &wants(1, T0)).await.remove(0);
    assert!(db.store.expire_leases(at(59)).await.unwrap().is_empty(), "not before its time");
    let lost = db.store.expire_leases(at(60)).await.unwrap();
    assert_eq!(lost.len(), 1);
    assert!(lost[0].requeued && lost[0].job == old.id && lost[0].run == Some(run.id) && lost[0].node == Some(node()));

    let mut late = report(&old, 1);
    late.port_states = vec![port_state(endpoint("10.0.0.7:6379/tcp"))];
    late.end = Some(End::Done);
    assert_eq!(db.store.ingest(&late).await.unwrap(), IngestOutcome::Fenced, "nobody holds the lease");
    let new = leased(&db, &wants(1, at(61))).await.remove(0);
    assert_eq!((new.id, new.attempts), (old.id, 2));
    assert!(new.fencing > old.fencing);
    assert_eq!(db.store.ingest(&late).await.unwrap(), IngestOutcome::Fenced, "somebody else holds it");
    assert!(db.store.port_states_open(None).await.unwrap().is_empty(), "nothing of a fenced report is written");

    let mut good = report(&new, 1);
    good.end = Some(End::Done);
    assert_eq!(db.store.ingest(&good).await.unwrap(), IngestOutcome::Recorded);
    assert_eq!(db.store.run(run.id).await.unwrap().unwrap().state, RunState::Succeeded);
}

async fn a_job_that_lost_its_last_lease_fails_and_ends_its_run(db: Db) {
    let (_, run, jobs) = started(&db.store, TaskKind::FullOnline, 1).await;
    for attempt in 1..=3 {
        let now = at(attempt * 100);
        assert_eq!(leased(&db, &wants(1, now)).await.len(), 1);
        let lost = db.store.expire_leases(at(attempt * 100 + 60)).await.unwrap();
        assert_eq!(lost[0].requeued, attempt < 3, "attempt {attempt}");
    }
    let job = db.store.job(jobs[0].id).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Failed);
    assert_eq!(job.error.as_deref(), Some("lease lost 3 times, last because the lease expired"));
    let run = db.store.run(run.id).await.unwrap().unwrap();
    assert_eq!((run.state, run.jobs_failed, run.finished_at), (RunState::Failed, 1, Some(at(360))));
    assert_eq!(run.error, job.error);
}

async fn leases_of_an_earlier_start_of_the_node_are_lost_at_once(db: Db) {
    started(&db.store, TaskKind::FullOnline, 1).await;
    let old = leased(&db, &wants(1, T0)).await.remove(0);
    assert!(leased(&db, &wants(1, at(1))).await.is_empty(), "the same start keeps its lease");
    let elsewhere = LeaseQuery { node: NodeName("other".into()), incarnation: 9, ..wants(1, at(1)) };
    assert!(leased(&db, &elsewhere).await.is_empty(), "another node does not take it away");
    let restarted = LeaseQuery { incarnation: u64::MAX, ..wants(1, at(2)) };
    let new = leased(&db, &restarted).await.remove(0);
    assert_eq!((new.id, new.attempts), (old.id, 2));
    assert_eq!(db.store.ingest(&report(&old, 1)).await.unwrap(), IngestOutcome::Fenced);
}

async fn the_same_report_twice_is_recorded_once(db: Db) {
    let (_, run, _) = started(&db.store, TaskKind::FullOnline, 1).await;
    let job = leased(&db, &wants(1, T0)).await.remove(0);
    let door = endpoint("10.0.0.7:6379/tcp");
    let exposure = exposure(door, model::exposure::RiskKind::HighRiskService, model::exposure::Severity::Critical);
    let mut batch = report(&job, 1);
    batch.port_states = vec![port_state(door)];
    batch.exposures = vec![exposure.clone()];
    batch.alerts = vec![alert(&exposure)];
    batch.events = vec![event(model::event::EventKind::EndpointOpened, &exposure, at(2))];
    batch.probes_sent = 40;
    assert_eq!(db.store.ingest(&batch).await.unwrap(), IngestOutcome::Recorded);
    assert_eq!(db.store.ingest(&batch).await.unwrap(), IngestOutcome::Duplicate);
    let mut last = report(&job, 2);
    last.probes_sent = 60;
    last.end = Some(End::Done);
    assert_eq!(db.store.ingest(&last).await.unwrap(), IngestOutcome::Recorded);
    assert_eq!(db.store.ingest(&last).await.unwrap(), IngestOutcome::Duplicate, "also once the job has ended");
    assert_eq!(db.store.ingest(&report(&job, 3)).await.unwrap(), IngestOutcome::Fenced, "a new one for an ended job");
    let run = db.store.run(run.id).await.unwrap().unwrap();
    assert_eq!((run.jobs_done, run.probes_sent, run.state), (1, 60, RunState::Succeeded));
    assert_eq!(db.store.events(&Default::default(), Paging::first(10)).await.unwrap().total, 1);
}

async fn a_failed_job_waits_and_is_tried_until_its_attempts_are_used(db: Db) {
    let (_, run, jobs) = started(&db.store, TaskKind::FullOnline, 1).await;
    for attempt in 1..=3 {
        let now = at(attempt * 100);
        let job = leased(&db, &wants(1, now)).await.remove(0);
        let mut failed = report(&job, 1);
        failed.end = Some(End::Failed { error: format!("no route ({attempt})"), retry_at: at(attempt * 100 + 50) });
        assert_eq!(db.store.ingest(&failed).await.unwrap(), IngestOutcome::Recorded);
        assert!(leased(&db, &wants(1, at(attempt * 100 + 49))).await.is_empty(), "not before its time");
    }
    let job = db.store.job(jobs[0].id).await.unwrap().unwrap();
    assert_eq!((job.state, job.attempts, job.error.as_deref()), (JobState::Failed, 3, Some("no route (3)")));
    assert_eq!(db.store.run(run.id).await.unwrap().unwrap().state, RunState::Failed);
}

async fn the_last_job_ends_the_run_and_one_off_work(db: Db) {
    let once = task(TaskKind::HighRiskOnline, Trigger::Once);
    db.store.insert_task(&once, Some(&audit("task.create"))).await.unwrap();
    let run = run_of(&once);
    let jobs = vec![job(&once, Some(run.id), "10.0.0.0/24"), job(&once, Some(run.id), "10.0.1.0/24")];
    db.store.start_run(&run, &jobs, T0, None, TaskState::Active, None).await.unwrap();
    let started = db.store.task(once.id).await.unwrap().unwrap();
    assert_eq!((started.last_run, started.last_fired_at, started.next_due_at), (Some(run.id), Some(T0), None));
    for (n, job) in leased(&db, &wants(2, T0)).await.iter().enumerate() {
        let now = db.store.run(run.id).await.unwrap().unwrap();
        assert_eq!((now.state, now.jobs_done as usize, now.jobs_total), (RunState::Running, n, 2));
        let mut end = report(job, 1);
        end.end = Some(End::Done);
        end.follow_ups = vec![crate::sample::job(&once, None, "10.0.0.7")];
        db.store.ingest(&end).await.unwrap();
    }
    let ended = db.store.run(run.id).await.unwrap().unwrap();
    assert_eq!((ended.state, ended.finished_at), (RunState::Succeeded, Some(at(10))));
    assert_eq!(db.store.task(once.id).await.unwrap().unwrap().state, TaskState::Finished);
    assert_eq!(leased(&db, &wants(5, at(11))).await.len(), 2, "follow-ups of finished work are still done");
    assert_eq!(db.store.last_runs().await.unwrap()[&once.id].id, run.id);
    assert_eq!(db.store.probes_total_of(&[run.id]).await.unwrap()[&run.id], 2 * 256 * 3);
    assert!(db.store.running_runs().await.unwrap().is_empty());
}

async fn a_run_without_jobs_has_succeeded(db: Db) {
    let (task, run, _) = started(&db.store, TaskKind::HighRiskOnline, 0).await;
    let run = db.store.run(run.id).await.unwrap().unwrap();
    assert_eq!((run.state, run.finished_at), (RunState::Succeeded, Some(T0)));
    assert_eq!(db.store.task(task.id).await.unwrap().unwrap().state, TaskState::Active);
}

async fn a_thousand_jobs_are_queued_well_under_a_second(db: Db) {
    let task = task(TaskKind::FullOnline, every_ten_minutes());
    db.store.insert_task(&task, None).await.unwrap();
    let run = run_of(&task);
    let jobs: Vec<_> = (0..1_000).map(|n| job(&task, Some(run.id), &format!("10.{}.{}.0/24", n / 256, n % 256))).collect();
    let begun = Instant::now();
    db.store.start_run(&run, &jobs, T0, None, TaskState::Active, None).await.unwrap();
    let took = begun.elapsed();
    println!("{}: 1,000 jobs queued in {took:?}", db.store.backend().as_str());
    assert!(took.as_secs_f64() < 1.0, "{took:?}");
    assert_eq!(db.store.backlog().await.unwrap().jobs[&JobState::Queued], 1_000);
    let page =
        db.store.jobs(&JobFilter { run: Some(run.id), ..Default::default() }, Paging { offset: 990, limit: 50 }).await.unwrap();
    assert_eq!((page.total, page.items.len()), (1_000, 10));
    let begun = Instant::now();
    let got = leased(&db, &LeaseQuery { per_task_slots: 64, ..wants(64, T0) }).await;
    println!("{}: 64 of 1,000 leased in {:?}", db.store.backend().as_str(), begun.elapsed());
    assert_eq!(got.len(), 64);
    assert_eq!(
        got.iter().map(|j| j.id).collect::<Vec<_>>(),
        jobs[..64].iter().map(|j| j.id).collect::<Vec<_>>(),
        "in the order queued"
    );
}

async fn a_cancelled_run_fences_its_holders_and_can_be_retried(db: Db) {
    let (_, run, _) = started(&db.store, TaskKind::FullOnline, 3).await;
    let held = leased(&db, &wants(2, T0)).await;
    let mut end = report(&held[0], 1);
    end.end = Some(End::Done);
    db.store.ingest(&end).await.unwrap();
    assert_eq!(db.store.cancel_run(run.id, at(5), &audit("run.cancel")).await.unwrap(), 2);
    assert_eq!(db.store.run(run.id).await.unwrap().unwrap().state, RunState::Cancelled);
    assert_eq!(db.store.ingest(&report(&held[1], 1)).await.unwrap(), IngestOutcome::Fenced);
    assert!(!db.store.heartbeat(held[1].id, &node(), held[1].fencing, at(90), 1).await.unwrap());
    assert!(leased(&db, &wants(2, at(6))).await.is_empty());
    let again = db.store.cancel_run(run.id, at(7), &audit("run.cancel")).await.unwrap_err();
    assert!(matches!(again, StoreError::NotAllowed(_)), "{again}");

    assert_eq!(db.store.retry_run(run.id, at(8), &audit("run.retry")).await.unwrap(), 2);
    let retried = leased(&db, &wants(5, at(8))).await;
    assert_eq!(retried.len(), 2);
    for job in &retried {
        assert_eq!(job.attempts, 1, "with all its attempts");
        let mut end = report(job, 1);
        end.end = Some(End::Done);
        assert_eq!(db.store.ingest(&end).await.unwrap(), IngestOutcome::Recorded);
    }
    let run = db.store.run(run.id).await.unwrap().unwrap();
    assert_eq!((run.state, run.jobs_done), (RunState::Succeeded, 3));
    let trail = db.store.audit(&Default::default(), Paging::first(10)).await.unwrap();
    assert_eq!(trail.total, 2, "a refused cancellation leaves no trace");
}

async fn a_paused_task_gives_its_jobs_back_without_losing_an_attempt(db: Db) {
    let (mut task, _, _) = started(&db.store, TaskKind::FullOnline, 1).await;
    let held = leased(&db, &wants(1, T0)).await.remove(0);
    task.state = TaskState::Paused;
    db.store.update_task(&task, Some(&audit("task.pause"))).await.unwrap();
    assert!(!db.store.heartbeat(held.id, &node(), held.fencing, at(90), 1).await.unwrap(), "its holder is told to stop");
    assert_eq!(db.store.release_jobs(task.id).await.unwrap(), 1);
    assert_eq!(db.store.ingest(&report(&held, 1)).await.unwrap(), IngestOutcome::Fenced);
    assert!(leased(&db, &wants(1, at(1))).await.is_empty(), "its jobs wait");
    task.state = TaskState::Active;
    db.store.update_task(&task, Some(&audit("task.resume"))).await.unwrap();
    let again = leased(&db, &wants(1, at(2))).await.remove(0);
    assert_eq!((again.id, again.attempts), (held.id, 1));
    assert!(again.fencing > held.fencing);
}

async fn a_job_given_back_waits_until_its_time(db: Db) {
    started(&db.store, TaskKind::FullOnline, 1).await;
    let held = leased(&db, &wants(1, T0)).await.remove(0);
    assert!(!db.store.release_job(held.id, held.fencing + 1, at(30)).await.unwrap(), "only the current lease gives it back");
    assert!(db.store.release_job(held.id, held.fencing, at(30)).await.unwrap());
    assert!(leased(&db, &wants(1, at(29))).await.is_empty());
    assert_eq!(leased(&db, &wants(1, at(30))).await[0].attempts, 1);
}

async fn jobs_in_a_blackout_wait_and_others_do_not(db: Db) {
    // 10.0.0.0/24, 10.0.1.0/24, … so many that the first look does not reach past the blackout.
    let (_, _, jobs) = started(&db.store, TaskKind::FullOnline, 260).await;
    let quiet = LeaseQuery { avoid: vec!["10.0.0.0/16".parse().unwrap()], ..wants(1, T0) };
    assert_eq!(leased(&db, &quiet).await[0].id, jobs[256].id, "the first of 10.1.0.0/16");
    assert_eq!(leased(&db, &wants(1, T0)).await[0].id, jobs[0].id, "it is over");
}

async fn two_nodes_never_get_the_same_job(db: Db) {
    started(&db.store, TaskKind::FullOnline, 60).await;
    let mut nodes = tokio::task::JoinSet::new();
    for n in 0..6 {
        let store = db.store.clone();
        nodes.spawn(async move {
            let mut got = Vec::new();
            for _ in 0..10 {
                let query = LeaseQuery { node: NodeName(format!("n{n}")), per_task_slots: 40, ..wants(2, T0) };
                got.extend(store.lease(&query).await.unwrap().into_iter().map(|j| j.id));
            }
            got
        });
    }
    let all: Vec<JobId> = nodes.join_all().await.into_iter().flatten().collect();
    assert_eq!(all.len(), 40, "no more than the task may have at a time, over all nodes");
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 40);
}

async fn a_heartbeat_renews_counts_probes_and_stops_who_lost_the_lease(db: Db) {
    let (_, run, _) = started(&db.store, TaskKind::FullOnline, 1).await;
    let held = leased(&db, &wants(1, T0)).await.remove(0);
    assert!(db.store.heartbeat(held.id, &node(), held.fencing, at(120), 100).await.unwrap());
    assert!(db.store.heartbeat(held.id, &node(), held.fencing, at(150), 250).await.unwrap());
    assert!(db.store.expire_leases(at(149)).await.unwrap().is_empty());
    assert_eq!(db.store.run(run.id).await.unwrap().unwrap().probes_sent, 250);
    let other = NodeName("other".into());
    assert!(!db.store.heartbeat(held.id, &other, held.fencing, at(999), 1).await.unwrap());
    assert!(!db.store.heartbeat(held.id, &node(), held.fencing - 1, at(999), 1).await.unwrap());
    assert_eq!(db.store.expire_leases(at(150)).await.unwrap().len(), 1);
    assert!(!db.store.heartbeat(held.id, &node(), held.fencing, at(999), 300).await.unwrap());
}

async fn a_deleted_task_takes_its_jobs_and_late_follow_ups_with_it(db: Db) {
    let (identify, _, _) = started(&db.store, TaskKind::ServiceIdentification, 1).await;
    let (sweep, _, _) = started(&db.store, TaskKind::HighRiskOnline, 1).await;
    let held = leased(&db, &wants(2, T0)).await;
    db.store.delete_task(identify.id, Some(&audit("task.delete"))).await.unwrap();
    let of = |task: &model::task::Task| held.iter().find(|j| j.task == task.id).unwrap();
    assert_eq!(db.store.ingest(&report(of(&identify), 1)).await.unwrap(), IngestOutcome::Fenced);
    let mut late = report(of(&sweep), 1);
    late.follow_ups = vec![job(&identify, None, "10.0.0.7")];
    late.end = Some(End::Done);
    assert_eq!(db.store.ingest(&late).await.unwrap(), IngestOutcome::Recorded, "a report is not lost over it");
    assert_eq!(
        db.store.jobs(&JobFilter { task: Some(identify.id), ..Default::default() }, Paging::first(9)).await.unwrap().total,
        0
    );
    let gone = db.store.delete_task(identify.id, None).await.unwrap_err();
    assert!(matches!(gone, StoreError::NotFound(_)), "{gone}");
}

async fn an_edit_does_not_undo_a_firing(db: Db) {
    let (mut task, run, _) = started(&db.store, TaskKind::HighRiskOnline, 1).await;
    // `task` is as it was before it fired, as in the form of somebody who edits it.
    task.name = "改名".into();
    task.ports = Some("22,80".parse().unwrap());
    task.next_due_at = Some(Ts(at(60).0));
    db.store.update_task(&task, Some(&audit("task.update"))).await.unwrap();
    let now = db.store.task(task.id).await.unwrap().unwrap();
    assert_eq!(now, model::task::Task { last_fired_at: Some(T0), last_run: Some(run.id), ..task });
    assert_eq!(db.store.tasks().await.unwrap(), [now]);
    let job = db.store.jobs(&JobFilter::default(), Paging::first(1)).await.unwrap().items.remove(0);
    assert!(
        matches!(&job.work, Work::Sweep { ports, .. } if ports.to_string() == "22,80,6379"),
        "what is queued stays as it was"
    );
}

async fn a_firing_does_not_undo_a_pause(db: Db) {
    let mut task = task(TaskKind::FullOnline, every_ten_minutes());
    db.store.insert_task(&task, None).await.unwrap();
    // The scheduler has read the task as active; before it queues the jobs, a person pauses it.
    let run = run_of(&task);
    task.state = TaskState::Paused;
    db.store.update_task(&task, Some(&audit("task.pause"))).await.unwrap();
    let jobs = [job(&task, Some(run.id), "10.0.0.0/24")];
    db.store.start_run(&run, &jobs, T0, None, TaskState::Active, None).await.unwrap();
    assert_eq!(db.store.task(task.id).await.unwrap().unwrap().state, TaskState::Paused);
    assert!(leased(&db, &wants(1, T0)).await.is_empty(), "its jobs wait until it is resumed");
}
