//! What people change: assets, settings, users, tokens, receivers; each with its audit entry or not at all.

use crate::sample::*;
use crate::{Db, on_both};
use model::alert::{AlertState, Destination, Language, MailSecurity, Notification, NotificationState, Receiver};
use model::asset::{Blackout, Exclusion, Window};
use model::exposure::{RiskKind, Severity};
use model::settings::Settings;
use model::task::TaskKind;
use model::*;
use store::{AuditFilter, NotificationFilter, Paging, StoreError};
use uuid::Uuid;

on_both!(
    an_import_is_applied_whole_or_not_at_all,
    settings_are_the_defaults_until_somebody_changes_them,
    exclusions_and_blackouts_come_and_go,
    names_of_users_are_unique_without_case,
    sessions_and_tokens_are_found_by_their_hash,
    the_audit_trail_is_searched_newest_first,
    a_notification_is_queued_with_its_alerts_and_sent_once,
);

const EVERYTHING: Paging = Paging { offset: 0, limit: 500 };

async fn an_import_is_applied_whole_or_not_at_all(db: Db) {
    let (a, b, c) = (asset("10.0.0.0/24"), asset("2001:db8::/64"), asset("192.0.2.1-192.0.2.9"));
    db.store.insert_asset(&a, &audit("asset.create")).await.unwrap();
    let changed = asset::changed(&a);
    db.store
        .apply_asset_import(&[b.clone(), c.clone()], std::slice::from_ref(&changed), &[], &audit("asset.import"))
        .await
        .unwrap();
    assert_eq!(db.store.assets().await.unwrap(), [changed.clone(), c.clone(), b.clone()], "by range, IPv4 first");
    assert_eq!(db.store.asset(b.id).await.unwrap(), Some(b.clone()));

    let twice = asset("10.0.0.0/24");
    let refused =
        db.store.apply_asset_import(&[asset("10.9.0.0/24"), twice], &[], &[b.id], &audit("asset.import")).await.unwrap_err();
    assert_eq!(refused.to_string(), "an asset of range 10.0.0.0/24 exists already");
    assert_eq!(db.store.assets().await.unwrap().len(), 3);
    let gone = db.store.apply_asset_import(&[], &[asset("10.9.0.0/24")], &[], &audit("asset.import")).await.unwrap_err();
    assert!(matches!(gone, StoreError::NotFound(_)), "{gone}");
    db.store.delete_asset(c.id, &audit("asset.delete")).await.unwrap();
    assert!(matches!(db.store.delete_asset(c.id, &audit("asset.delete")).await, Err(StoreError::NotFound(_))));
    let trail = db.store.audit(&AuditFilter::default(), EVERYTHING).await.unwrap();
    assert_eq!(trail.total, 3, "one entry for each that was done, none for those refused");
}

mod asset {
    use model::asset::{Asset, Zone};
    pub fn changed(a: &Asset) -> Asset {
        Asset {
            name: "收银台 'net\" \0".replace('\0', ""),
            zone: Zone::High,
            owner: None,
            observe_until: None,
            rate_pps: Some(7),
            ..a.clone()
        }
    }
}

async fn settings_are_the_defaults_until_somebody_changes_them(db: Db) {
    assert_eq!(db.store.settings().await.unwrap(), Settings::default());
    let mut settings = Settings::default();
    settings.pace.node_pps = 7;
    for _ in 0..2 {
        db.store.set_settings(&settings, &audit("settings.update")).await.unwrap();
        assert_eq!(db.store.settings().await.unwrap(), settings);
        settings.alerts.max_attempts += 1;
    }
}

async fn exclusions_and_blackouts_come_and_go(db: Db) {
    let exclusion = Exclusion {
        id: ExclusionId(Uuid::now_v7()),
        range: "10.0.0.7".parse().unwrap(),
        reason: "printer\0".into(),
        created_at: T0,
    };
    db.store.insert_exclusion(&exclusion, &audit("exclusion.create")).await.unwrap();
    let again = Exclusion { id: ExclusionId(Uuid::now_v7()), ..exclusion.clone() };
    assert!(matches!(db.store.insert_exclusion(&again, &audit("exclusion.create")).await, Err(StoreError::Conflict(_))));
    assert_eq!(db.store.exclusions().await.unwrap()[0].reason, "printer\u{fffd}", "a NUL is kept from the database");
    db.store.delete_exclusion(exclusion.id, &audit("exclusion.delete")).await.unwrap();
    assert!(db.store.exclusions().await.unwrap().is_empty());

    let window = Window::Weekly { days: vec![1, 7], start_minute: 1320, end_minute: 60 };
    let blackout = Blackout {
        id: BlackoutId(Uuid::now_v7()),
        range: "10.0.0.0/8".parse().unwrap(),
        window,
        reason: "月结".into(),
        created_at: T0,
    };
    db.store.insert_blackout(&blackout, &audit("blackout.create")).await.unwrap();
    assert_eq!(db.store.blackouts().await.unwrap(), std::slice::from_ref(&blackout));
    db.store.delete_blackout(blackout.id, &audit("blackout.delete")).await.unwrap();
    assert!(matches!(db.store.delete_blackout(blackout.id, &audit("blackout.delete")).await, Err(StoreError::NotFound(_))));
}

fn user(name: &str) -> User {
    User {
        id: UserId(Uuid::now_v7()),
        name: name.into(),
        role: Role::Admin,
        password_hash: "$argon2id$…".into(),
        disabled: false,
        must_change_password: true,
        created_at: T0,
        last_seen_at: None,
    }
}

async fn names_of_users_are_unique_without_case(db: Db) {
    let (ada, zoe) = (user("Ada"), user("Зоя"));
    db.store.insert_user(&ada, &audit("user.create")).await.unwrap();
    db.store.insert_user(&zoe, &audit("user.create")).await.unwrap();
    for name in ["ADA", "зоя"] {
        let refused = db.store.insert_user(&user(name), &audit("user.create")).await.unwrap_err();
        assert_eq!(refused.to_string(), format!("user `{name}` exists already"));
    }
    assert_eq!(db.store.user_by_name("aDA").await.unwrap(), Some(ada.clone()));
    assert_eq!(db.store.user_by_name("eve").await.unwrap(), None);
    db.store.touch_user(ada.id, at(5)).await.unwrap();
    let changed = User { role: Role::Viewer, must_change_password: false, ..ada.clone() };
    db.store.update_user(&changed, &audit("user.update")).await.unwrap();
    assert_eq!(
        db.store.user(ada.id).await.unwrap(),
        Some(User { last_seen_at: Some(at(5)), ..changed }),
        "an edit keeps the sign-in"
    );
    let taken = User { name: "ЗОЯ".into(), ..ada.clone() };
    assert!(matches!(db.store.update_user(&taken, &audit("user.update")).await, Err(StoreError::Conflict(_))));
    assert_eq!(db.store.users().await.unwrap().len(), 2);
}

async fn sessions_and_tokens_are_found_by_their_hash(db: Db) {
    let ada = user("ada");
    db.store.insert_user(&ada, &audit("user.create")).await.unwrap();
    let session = |n: u8, expires_at| Session {
        id: SessionId(Uuid::now_v7()),
        user: ada.id,
        secret_hash: [n; 32],
        created_at: T0,
        expires_at,
    };
    let sessions = [session(1, at(10)), session(2, at(100)), session(3, at(100)), session(4, at(100))];
    for s in &sessions {
        db.store.insert_session(s, &audit("session.create")).await.unwrap();
    }
    assert_eq!(db.store.session_by_hash(&[2; 32]).await.unwrap().as_ref(), Some(&sessions[1]));
    assert_eq!(db.store.session_by_hash(&[9; 32]).await.unwrap(), None);
    assert_eq!(db.store.purge_sessions(at(10)).await.unwrap(), 1);
    db.store.delete_session(sessions[1].id, &audit("session.delete")).await.unwrap();
    assert_eq!(db.store.delete_sessions_of(ada.id, Some(sessions[2].id)).await.unwrap(), 1);
    assert!(db.store.session_by_hash(&[3; 32]).await.unwrap().is_some());
    db.store.delete_user(ada.id, &audit("user.delete")).await.unwrap();
    assert!(db.store.session_by_hash(&[3; 32]).await.unwrap().is_none(), "a deleted user is signed out");

    let token = ApiToken {
        id: TokenId(Uuid::now_v7()),
        name: "ci".into(),
        role: Role::Auditor,
        secret_hash: [7; 32],
        created_at: T0,
        created_by: "user:ada".into(),
        expires_at: None,
        last_used_at: None,
        revoked_at: None,
    };
    db.store.insert_token(&token, &audit("token.create")).await.unwrap();
    db.store.touch_token(token.id, at(4)).await.unwrap();
    db.store.revoke_token(token.id, at(5), &audit("token.revoke")).await.unwrap();
    db.store.revoke_token(token.id, at(6), &audit("token.revoke")).await.unwrap();
    let now = ApiToken { last_used_at: Some(at(4)), revoked_at: Some(at(5)), ..token.clone() };
    assert_eq!(db.store.token_by_hash(&[7; 32]).await.unwrap(), Some(now.clone()));
    assert_eq!(db.store.tokens().await.unwrap(), [now]);
    assert!(matches!(db.store.revoke_token(TokenId(Uuid::now_v7()), T0, &audit("x")).await, Err(StoreError::NotFound(_))));
}

async fn the_audit_trail_is_searched_newest_first(db: Db) {
    for (n, action) in ["asset.create", "task.create", "asset.delete"].into_iter().enumerate() {
        let mut entry = audit(action);
        entry.at = at(n as i64);
        entry.actor = if n == 1 { "token:ci".into() } else { "user:Alice".into() };
        db.store.append_audit(&entry).await.unwrap();
    }
    let found = async |filter: AuditFilter| -> Vec<String> {
        db.store.audit(&filter, EVERYTHING).await.unwrap().items.into_iter().map(|e| e.action).collect()
    };
    assert_eq!(found(AuditFilter::default()).await, ["asset.delete", "task.create", "asset.create"]);
    assert_eq!(
        found(AuditFilter { action: Some("ASSET.".into()), ..Default::default() }).await,
        ["asset.delete", "asset.create"]
    );
    assert_eq!(
        found(AuditFilter { actor: Some("alice".into()), until: Some(at(2)), ..Default::default() }).await,
        ["asset.create"]
    );
    assert_eq!(found(AuditFilter { since: Some(at(1)), ..Default::default() }).await.len(), 2);
    assert_eq!(found(AuditFilter { subject: Some("%".into()), ..Default::default() }).await.len(), 0, "a percent sign is one");
}

async fn a_notification_is_queued_with_its_alerts_and_sent_once(db: Db) {
    let receiver = Receiver {
        id: ReceiverId(Uuid::now_v7()),
        name: "值班".into(),
        enabled: true,
        destination: Destination::Mail {
            host: "mail.example".into(),
            port: 25,
            security: MailSecurity::StartTls,
            username: None,
            password: Some("s3cret".into()),
            from: "portreeve@example".into(),
            to: vec!["ops@example".into()],
        },
        language: Language::Zh,
        min_severity: Severity::High,
        send_closed: true,
        owners: vec![],
        created_at: T0,
    };
    db.store.insert_receiver(&receiver, &audit("receiver.create")).await.unwrap();
    assert_eq!(db.store.receivers().await.unwrap(), std::slice::from_ref(&receiver));
    let renamed = Receiver { name: "on call".into(), enabled: false, ..receiver.clone() };
    db.store.update_receiver(&renamed, &audit("receiver.update")).await.unwrap();
    assert_eq!(db.store.receiver(receiver.id).await.unwrap(), Some(renamed));

    let shown = exposure(endpoint("10.0.0.7:6379/tcp"), RiskKind::HighRiskPort, Severity::High);
    let raised = alert(&shown);
    started(&db.store, TaskKind::HighRiskOnline, 1).await;
    let job = db.store.lease(&wants(1, T0)).await.unwrap().remove(0);
    let mut batch = report(&job, 1);
    batch.alerts = vec![raised.clone()];
    db.store.ingest(&batch).await.unwrap();

    let group = "10.0.0.7/payments";
    assert_eq!(db.store.last_notified(receiver.id, group).await.unwrap(), None);
    let notification = Notification {
        id: NotificationId(Uuid::now_v7()),
        receiver: receiver.id,
        group: group.into(),
        digest: false,
        alerts: vec![raised.id],
        state: NotificationState::Queued,
        attempts: 0,
        next_try_at: at(3),
        receipt: None,
        error: None,
        created_at: at(1),
        sent_at: None,
    };
    let id = notification.id;
    db.store.enqueue_notifications(std::slice::from_ref(&notification), &[raised.id]).await.unwrap();
    assert_eq!(db.store.alerts_by(&[raised.id]).await.unwrap()[&raised.id].state, AlertState::Notified);
    assert!(db.store.pending_alerts(9).await.unwrap().is_empty());
    assert_eq!(db.store.last_notified(receiver.id, group).await.unwrap(), Some(at(1)), "queued counts");
    assert!(db.store.due_notifications(at(2), 9).await.unwrap().is_empty());
    assert_eq!(db.store.due_notifications(at(3), 9).await.unwrap(), std::slice::from_ref(&notification));
    assert!(db.store.mark_sending(id).await.unwrap());
    assert!(!db.store.mark_sending(id).await.unwrap(), "only one takes it");
    db.store.mark_failed(id, "421 try later", Some(at(60))).await.unwrap();
    let queued = db.store.notification(id).await.unwrap().unwrap();
    assert_eq!((queued.state, queued.attempts, queued.next_try_at), (NotificationState::Queued, 1, at(60)));

    assert!(db.store.mark_sending(id).await.unwrap());
    assert_eq!(db.store.requeue_sending(at(61)).await.unwrap(), 1, "found after a crash");
    assert!(db.store.mark_sending(id).await.unwrap());
    db.store.mark_failed(id, "550 no", None).await.unwrap();
    assert_eq!(db.store.backlog().await.unwrap().notifications_failed, 1);
    assert_eq!(db.store.last_notified(receiver.id, group).await.unwrap(), None, "given up does not count");
    db.store.retry_notification(id, at(70), &audit("notification.retry")).await.unwrap();
    assert!(db.store.mark_sending(id).await.unwrap());
    db.store.mark_sent(id, "250 ok", at(71)).await.unwrap();
    let sent = db
        .store
        .notifications(&NotificationFilter { states: vec![NotificationState::Sent], ..Default::default() }, EVERYTHING)
        .await;
    let sent = &sent.unwrap().items[0];
    assert_eq!(
        (sent.receipt.as_deref(), sent.error.as_deref(), sent.sent_at, sent.attempts),
        (Some("250 ok"), None, Some(at(71)), 1)
    );
    assert_eq!(db.store.last_notified(receiver.id, group).await.unwrap(), Some(at(71)));
    assert!(db.store.retry_notification(id, at(80), &audit("notification.retry")).await.is_err(), "it was sent");
    db.store.delete_receiver(receiver.id, &audit("receiver.delete")).await.unwrap();
    assert!(db.store.notification(id).await.unwrap().is_none());
}
