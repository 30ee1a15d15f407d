//! What an operator runs into: a database that is locked, newer, away, restarted, or not one at all.

use crate::Db;
use crate::cluster::{Cluster, shared};
use crate::sample::*;
use model::task::TaskKind;
use sea_orm::{ConnectionTrait, Database};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use store::{Store, StoreError};

async fn refused(url: &str) -> StoreError {
    Store::open_exclusive(url).await.err().expect("it must be refused")
}

#[tokio::test]
async fn a_claimed_file_is_refused_and_the_process_named() {
    let db = Db::sqlite().await;
    let error = refused(&db.url).await;
    let text = error.to_string();
    assert!(matches!(error, StoreError::Locked { .. }) && !error.is_transient(), "{text}");
    assert!(text.contains(&format!("in use by process {}", std::process::id())) && text.contains("hint: "), "{text}");
    let beside = Store::open(&db.url).await.unwrap();
    beside.append_audit(&audit("token.create")).await.unwrap();
    assert_eq!(
        db.store.audit(&Default::default(), store::Paging::first(9)).await.unwrap().total,
        1,
        "commands beside the server work"
    );
    let other = db.store.clone();
    drop(db.store);
    assert!(matches!(refused(&db.url).await, StoreError::Locked { .. }), "a clone still holds the claim");
    drop(other);
    Store::open_exclusive(&db.url).await.unwrap();
}

#[tokio::test]
async fn a_claimed_server_is_refused_and_the_process_named() {
    let db = Db::postgres().await;
    let text = refused(&db.url).await.to_string();
    assert!(text.contains(&format!("in use by process {}", std::process::id())) && text.contains("hint: "), "{text}");
    Store::open(&db.url).await.unwrap().append_audit(&audit("token.create")).await.unwrap();
    db.store.close().await;
    Store::open_exclusive(&db.url).await.unwrap();
}

#[tokio::test]
async fn a_lost_claim_is_taken_again_unless_somebody_else_has_it() {
    let cluster = shared();
    let url = cluster.database();
    let name = url.split('?').next().unwrap().rsplit('/').next().unwrap();
    let first = Store::open_exclusive(&url).await.unwrap();
    let end_all =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()");
    cluster.psql("postgres", &end_all);
    first.ping().await.unwrap();
    assert!(matches!(refused(&url).await, StoreError::Locked { .. }), "it was taken again");
    // Lost, and another process comes before we notice.
    cluster.psql("postgres", &end_all);
    let second = Store::open_exclusive(&url).await.unwrap();
    let error = first.append_audit(&audit("x")).await.unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "two servers never write: {error}");
    second.append_audit(&audit("x")).await.unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused_by_name() {
    for db in [Db::sqlite().await, Db::postgres().await] {
        let mark = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m20991231_000001_later', 0)";
        let later = Database::connect(&db.url).await.unwrap();
        later.execute_unprepared(mark).await.unwrap();
        later.close().await.unwrap();
        db.store.close().await;
        let error = refused(&db.url).await;
        let text = error.to_string();
        assert!(matches!(error, StoreError::NewerSchema { .. }) && !error.is_transient(), "{text}");
        assert!(
            text.contains("`m20991231_000001_later`")
                && text.contains("`m20261121_000006_second_person`")
                && text.contains("hint: "),
            "{text}"
        );
    }
}

#[tokio::test]
async fn what_is_written_is_there_after_opening_again() {
    for db in [Db::sqlite().await, Db::postgres().await] {
        let (task, _, _) = started(&db.store, TaskKind::FullOnline, 2).await;
        db.store.close().await;
        let again = Store::open_exclusive(&db.url).await.unwrap();
        assert_eq!(again.tasks().await.unwrap()[0].id, task.id);
        assert_eq!(again.lease(&wants(5, T0)).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn the_file_is_readable_by_its_owner_alone() {
    let db = Db::sqlite().await;
    db.store.append_audit(&audit("x")).await.unwrap();
    for entry in db.path().parent().unwrap().read_dir().unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.file_name());
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_said_at_once_and_may_be_tried_again() {
    for url in ["postgres://reeve:s3cret@127.0.0.1:1/portreeve", "postgres://reeve:s3cret@localhost/portreeve?host=/nonexistent"]
    {
        let begun = Instant::now();
        let error = refused(url).await;
        let text = error.to_string();
        assert!(matches!(error, StoreError::Unreachable { .. }) && error.is_transient(), "{text}");
        assert!(text.contains("hint: ") && text.contains("start PostgreSQL") && !text.contains("s3cret"), "{text}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn mistakes_in_the_address_are_named_with_a_hint() {
    let cluster = shared();
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().display();
    for (url, words) in [
        (cluster.url("nosuch"), "database \"nosuch\" does not exist"),
        (cluster.url("postgres").replace("postgres@", "eve@"), "role \"eve\" does not exist"),
        (format!("sqlite://{path}/no/such/portreeve.db"), "the directory"),
        (format!("sqlite://{path}"), "directory, not a file"),
        ("mysql://db/x".into(), "neither sqlite nor postgres"),
    ] {
        let error = refused(&url).await;
        let text = error.to_string();
        assert!(text.contains(words) && text.contains("hint: ") && !error.is_transient(), "{url}: {text}");
    }
    let junk = dir.path().join("junk.db");
    std::fs::write(
        &junk,
        "this is not a database, but long enough to be looked at as one by its first hundred bytes, is it not?".repeat(9),
    )
    .unwrap();
    let text = refused(&format!("sqlite://{}", junk.display())).await.to_string();
    assert!(text.contains("not a database") && text.contains("hint: "), "{text}");
}

#[tokio::test]
async fn the_store_recovers_by_itself_when_postgresql_comes_back() {
    let own = Cluster::new();
    let url = own.database();
    let store = Store::open_exclusive(&url).await.unwrap();
    let (task, _, _) = started(&store, TaskKind::FullOnline, 3).await;
    own.stop();
    own.start();
    // Between two calls: nobody notices.
    assert_eq!(store.tasks().await.unwrap()[0].id, task.id);
    let job = store.lease(&wants(1, T0)).await.unwrap().remove(0);
    assert!(matches!(refused(&url).await, StoreError::Locked { .. }), "the claim came back with the connection");

    own.stop();
    let down = store.tasks().await.unwrap_err();
    assert!(down.is_transient() && down.to_string().contains("hint: "), "{down}");
    let mut batch = report(&job, 1);
    batch.port_states = vec![port_state(endpoint("10.0.0.7:6379/tcp"))];
    assert!(store.ingest(&batch).await.unwrap_err().is_transient());
    own.start();
    assert_eq!(store.ingest(&batch).await.unwrap(), store::IngestOutcome::Recorded, "the same report is taken now");
    assert_eq!(store.port_states_open(None).await.unwrap().len(), 1);
}
