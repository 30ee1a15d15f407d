//! Findings, approvals, checks, and what people say of silent ports, as the API shows and takes them.

use super::{As, Harness};
use model::exposure::Severity;
use model::finding::{CheckRun, Evidence, FindingKind, SideEffect, Verdict};
use model::service::{Identification, Identity};
use model::{Endpoint, NodeName, Observation, Reason, Role, Service, State, Vantage};
use serde_json::json;
use server::Dispatcher;
use std::collections::BTreeMap;
use wire::{Dispatch, End, LeaseRequest, Report, ReportReply, Sightings, VERSION};

/// A redis that lets anybody in, and a port that says nothing, on a watched host.
async fn watched(h: &Harness) -> As {
    let who = h.token(Role::Operator).await;
    let asset = json!({"range": "10.0.0.0/30", "name": "Shop", "owner": "payments", "observe_until": null});
    h.send(&who, "POST", "/api/v1/assets", Some(asset)).await.expect(201);
    let target = json!({"type": "ranges", "ranges": ["10.0.0.1"]});
    let task = json!({"kind": "full-all", "name": "Sweep", "target": target, "ports": "6379,9999", "trigger": {"type": "interval", "every": 3_600_000}});
    let task = h.send(&who, "POST", "/api/v1/tasks", Some(task)).await.expect(201);
    h.send(&who, "POST", &format!("/api/v1/tasks/{}/run", task["id"].as_str().unwrap()), None).await.expect(200);
    let dispatcher = Dispatcher::new(h.context.clone());
    let (node, vantage) = (NodeName("local".into()), Vantage("lab".into()));
    let doors = [6379, 9999].map(|port| Endpoint::tcp("10.0.0.1".parse().unwrap(), port));
    // The sweep, and what it asks for: the confirmation first, then the first look at a new host, which sees nothing more.
    for round in 0..2 {
        let ask = LeaseRequest {
            version: VERSION,
            node: node.clone(),
            vantage: vantage.clone(),
            incarnation: 1,
            slots: 8,
            engines: vec![],
        };
        let mut jobs = dispatcher.lease(ask).await.unwrap().jobs;
        jobs.sort_by_key(|job| !matches!(job.work, model::job::Work::Identify { .. }));
        for job in jobs {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            let at = h.now();
            let identify = matches!(job.work, model::job::Work::Identify { .. });
            assert_eq!(job.check_policies.is_empty(), !identify, "only who identifies is told what may be checked");
            let open = |e: &Endpoint| Observation { endpoint: *e, state: State::Open, reason: Reason::SynAck, observed_at: at };
            let seen = if round == 0 || identify { &doors[..] } else { &[] };
            let mut sightings = Sightings { observations: seen.iter().map(open).collect(), ..Sightings::default() };
            if identify {
                let redis = Service {
                    name: "redis".into(),
                    product: Some("Redis".into()),
                    version: Some("7.0.15".into()),
                    ..Service::default()
                };
                for (endpoint, identity, service) in
                    [(doors[0], Identity::Identified, Some(redis)), (doors[1], Identity::Silent, None)]
                {
                    let seen = json!({"endpoint": endpoint, "identity": identity, "service": service, "evidence": null, "banner": null, "observed_at": at});
                    sightings.identifications.push(serde_json::from_value::<Identification>(seen).unwrap());
                }
                let evidence = Evidence {
                    request: "redis-info".into(),
                    response: "redis_version:7.0.15".into(),
                    sha256: "ab".repeat(32),
                    fields: BTreeMap::from([("databases".into(), "3".into())]),
                };
                sightings.checks.push(CheckRun {
                    endpoint: doors[0],
                    check: "redis-unauthenticated".into(),
                    kind: FindingKind::UnauthenticatedAccess,
                    severity: Severity::Critical,
                    side_effect: SideEffect::Benign,
                    verdict: Verdict::Proved,
                    reason: None,
                    evidence: Some(evidence),
                    attempts: vec![],
                    observed_at: at,
                });
            }
            let report = Report {
                node: node.clone(),
                vantage: vantage.clone(),
                job: job.id,
                fencing: job.fencing,
                sequence: 1,
                probes_sent: 2,
                sightings,
                end: Some(End::Done),
            };
            assert_eq!(dispatcher.report(report).await.unwrap(), ReportReply::Accepted);
        }
    }
    who
}

#[tokio::test]
async fn a_finding_is_listed_shown_and_advises_in_both_languages() {
    let h = Harness::new().await;
    let who = watched(&h).await;
    let page = h.get(&who, "/api/v1/findings").await;
    assert_eq!(page["total"], 1, "{page}");
    let found = page["items"][0].clone();
    assert_eq!((found["check"].as_str(), found["phase"].as_str()), (Some("redis-unauthenticated"), Some("present")));
    assert_eq!((found["service"].as_str(), found["asset_name"].as_str()), (Some("Redis 7.0.15"), Some("Shop")));
    assert_eq!(found["evidence"]["fields"], json!({"databases": "3"}));
    for text in ["title", "advice"] {
        let (en, zh) = (found[text]["en"].as_str().unwrap(), found[text]["zh"].as_str().unwrap());
        assert!(!en.is_empty() && zh.chars().any(|c| c > '\u{4e00}'), "{text}: {en} {zh}");
    }
    assert_eq!(h.get(&who, &format!("/api/v1/findings/{}", found["id"].as_str().unwrap())).await, found);
    let unknown = "/api/v1/findings/00000000-0000-7000-8000-000000000000";
    assert_eq!(h.send(&who, "GET", unknown, None).await.problem().0, 404);
    for (query, total) in [
        ("phase=present", 1),
        ("phase=gone", 0),
        ("kind=unauthenticated-access,weak-tls", 1),
        ("kind=weak-tls", 0),
        ("severity=critical", 1),
        ("check=redis-unauthenticated", 1),
        ("check=other", 0),
        ("service=redis&product=redis&version=7.0", 1),
        ("service=http", 0),
        ("version=7.01", 0),
        ("search=10.0.0.1", 1),
        ("search=10.0.0.2", 0),
        ("sort=-first_seen_at", 1),
        ("first_seen_since=2020-01-01T00:00:00Z", 1),
        ("first_seen_since=2999-01-01T00:00:00Z", 0),
    ] {
        assert_eq!(h.get(&who, &format!("/api/v1/findings?{query}")).await["total"], total, "{query}");
    }
    let wrong = h.send(&who, "GET", "/api/v1/findings?kind=no&phase=maybe&sort=when", None).await.problem();
    assert_eq!(wrong, (422, "bad-input".into(), vec!["phase".into(), "kind".into(), "sort".into()]));

    let counted = h.get(&who, "/api/v1/dashboard").await["findings"].clone();
    let by_severity = json!({"critical": 1, "high": 0, "medium": 0, "low": 0});
    assert_eq!(counted, json!({"present": 1, "by_severity": by_severity, "new_7d": 1}));
    for (query, total) in [("technology=php", 0), ("favicon=-939513348", 0)] {
        assert_eq!(h.get(&who, &format!("/api/v1/endpoints?{query}")).await["total"], total, "{query}");
    }
    let detail = h.get(&who, "/api/v1/endpoints/10.0.0.1/tcp/6379").await;
    assert_eq!(detail["findings"], json!([found]));
    assert_eq!(detail["endpoints"][0]["worst_finding"], "critical");
    let exposure = h.get(&who, &format!("/api/v1/exposures/{}", found["exposure"].as_str().unwrap())).await;
    assert_eq!(exposure["findings"], json!([found]));
    assert_eq!(exposure["exposure"]["risk"]["severity"], "critical");
    let grounds = exposure["exposure"]["risk"]["reasons"].as_array().unwrap().clone();
    assert!(grounds.iter().any(|r| r["type"] == "finding-proved" && r["check"] == "redis-unauthenticated"), "{grounds:?}");
    let alerts = h.get(&who, "/api/v1/alerts").await;
    assert_eq!(alerts["items"][0]["findings"][0]["check"], "redis-unauthenticated", "told with the opening: {alerts}");

    for (query, total) in [
        ("finding=any", 1),
        ("finding=none", 1),
        ("finding=unauthenticated-access", 1),
        ("finding=weak-tls", 0),
        ("finding=redis-unauthenticated", 1),
        ("service=redis&version=7", 1),
        ("product=Redis", 1),
        ("product=Valkey", 0),
    ] {
        for list in ["exposures", "endpoints", "exposures/by-address"] {
            assert_eq!(h.get(&who, &format!("/api/v1/{list}?{query}")).await["total"], total, "{list}?{query}");
        }
    }
    assert_eq!(h.send(&who, "GET", "/api/v1/exposures?finding=bogus", None).await.problem().2, ["finding"]);
    let csv = h.send(&who, "GET", "/api/v1/exposures/export?finding=any", None).await;
    assert_eq!(csv.text.lines().count(), 2, "{}", csv.text);

    // Its owner gets heavier: what is proved still counts.
    let asset = h.get(&who, "/api/v1/assets").await["items"][0]["id"].as_str().unwrap().to_owned();
    let heavier = json!({"range": "10.0.0.0/30", "name": "Shop", "owner": "billing", "weight": 9});
    let changed = h.send(&who, "PUT", &format!("/api/v1/assets/{asset}"), Some(heavier)).await.expect(200);
    assert_eq!(changed["check_ceiling"], "session", "what is not said stays");
    let exposure = h.get(&who, "/api/v1/exposures?finding=any").await;
    assert_eq!(exposure["items"][0]["owner"], "billing");
    assert!(exposure["items"][0]["risk"]["reasons"].as_array().unwrap().iter().any(|r| r["type"] == "finding-proved"));
}

#[tokio::test]
async fn a_silent_port_waits_for_a_person_and_is_answered() {
    let h = Harness::new().await;
    let who = watched(&h).await;
    let queue = "/api/v1/endpoints?phase=open&noted=false&identity=silent,closes-at-once,closes-on-data,refuses-us";
    let waiting = h.get(&who, queue).await;
    assert_eq!((waiting["total"].as_u64(), waiting["items"][0]["port"].as_u64()), (Some(1), Some(9999)), "{waiting}");
    let note = "/api/v1/endpoints/10.0.0.1/tcp/9999/note";
    for (text, field) in [("", "text"), (&*"x".repeat(501), "text")] {
        assert_eq!(h.send(&who, "PUT", note, Some(json!({"text": text}))).await.problem().2, [field]);
    }
    let viewer = h.token(Role::Viewer).await;
    assert_eq!(h.send(&viewer, "PUT", note, Some(json!({"text": "x"}))).await.problem().0, 403);
    let unseen = "/api/v1/endpoints/10.0.0.1/tcp/9998/note";
    assert_eq!(h.send(&who, "PUT", unseen, Some(json!({"text": "x"}))).await.problem().0, 404);
    let said = h.send(&who, "PUT", note, Some(json!({"text": " badge readers "}))).await.expect(200);
    assert_eq!(said["text"], "badge readers");
    assert_eq!(h.get(&who, queue).await["total"], 0);
    let detail = h.get(&who, "/api/v1/endpoints/10.0.0.1/tcp/9999").await;
    assert_eq!(detail["endpoints"][0]["note"], said);
    assert_eq!(detail["endpoints"][0]["identity"], "silent", "its state is not touched");
    h.send(&who, "DELETE", note, None).await.expect(204);
    assert_eq!(h.send(&who, "DELETE", note, None).await.problem().0, 404);
    assert_eq!(h.get(&who, queue).await["total"], 1);
    let audited = h.audited().await;
    assert!(audited.iter().any(|a| a == "endpoint.note") && audited.iter().any(|a| a == "endpoint.unnote"), "{audited:?}");
}

#[tokio::test]
async fn an_approval_is_written_down_by_who_may_decide_and_taken_back() {
    let h = Harness::new().await;
    let operator = h.token(Role::Operator).await;
    let asset = |ceiling: &str| json!({"range": "10.0.0.0/24", "name": "Shop", "observe_until": null, "check_ceiling": ceiling});
    let made = h.send(&operator, "POST", "/api/v1/assets", Some(asset("benign"))).await.expect(201);
    assert_eq!(made["check_ceiling"], "benign");
    let wrong = h.send(&operator, "POST", "/api/v1/assets", Some(asset("harmless"))).await.problem();
    assert_eq!((wrong.0, wrong.2), (422, vec!["check_ceiling".to_owned()]));
    let until = model::Ts(h.now().0 + 86_400_000).to_string();
    let input = json!({"range": "10.0.0.0/28", "owner": "payments", "reason": "CHG-1", "until": until, "max_attempts": 2});
    let refused = h.send(&operator, "POST", "/api/v1/approvals", Some(input.clone())).await.problem();
    assert_eq!((refused.0, refused.2), (422, vec!["range".to_owned()]), "the asset does not allow it");
    let path = format!("/api/v1/assets/{}", made["id"].as_str().unwrap());
    h.send(&operator, "PUT", &path, Some(asset("intrusive"))).await.expect(200);
    for role in [Role::Viewer, Role::Auditor, Role::Owner] {
        let who = h.token(role).await;
        assert_eq!(h.send(&who, "POST", "/api/v1/approvals", Some(input.clone())).await.problem().0, 403, "{role}");
        assert_eq!(h.get(&who, "/api/v1/approvals").await["total"], 0, "{role} sees them");
    }
    let approver = h.token(Role::Approver).await;
    let approval = h.send(&approver, "POST", "/api/v1/approvals", Some(input)).await.expect(201);
    assert_eq!((approval["active_now"].as_bool(), approval["asset_name"].as_str()), (Some(false), Some("Shop")));
    let grant = format!("/api/v1/approvals/{}/grant", approval["id"].as_str().unwrap());
    h.send(&h.admin().await, "POST", &grant, None).await.expect(200);
    assert!(approval["created_by"].as_str().unwrap().starts_with("token:approver"));
    assert_eq!(h.get(&operator, "/api/v1/approvals?active=true").await["total"], 1);
    h.send(&operator, "PUT", &path, Some(asset("session"))).await.expect(200);
    let powerless = h.get(&operator, "/api/v1/approvals?active=false").await;
    assert_eq!(powerless["items"][0]["active_now"], false, "the asset's ceiling comes first");
    let revoke = format!("/api/v1/approvals/{}/revoke", approval["id"].as_str().unwrap());
    let revoked = h.send(&operator, "POST", &revoke, None).await.expect(200);
    assert!(revoked["revoked_by"].as_str().unwrap().starts_with("token:operator"), "{revoked}");
    assert_eq!(h.send(&operator, "POST", &revoke, None).await.problem().0, 409);
    let audited = h.audited().await;
    assert!(audited.iter().any(|a| a == "approval.create") && audited.iter().any(|a| a == "approval.revoke"), "{audited:?}");
}

/// A person with the role, signed in.
async fn person(h: &Harness, name: &str, role: &str) -> As {
    let admin = h.admin().await;
    let made = h.send(&admin, "POST", "/api/v1/users", Some(json!({"name": name, "role": role}))).await.expect(201);
    let first = made["initial_password"].as_str().unwrap();
    let who = h.sign_in(name, first).await.unwrap();
    let change = json!({"current": first, "new": "a long enough pass phrase"});
    let reply = h.send(&who, "PUT", "/api/v1/session/password", Some(change)).await;
    assert!(reply.status.is_success(), "{}", reply.text);
    h.sign_in(name, "a long enough pass phrase").await.unwrap()
}

#[tokio::test]
async fn who_asks_for_an_approval_is_not_who_grants_it() {
    let h = Harness::new().await;
    let (admin, olga, paul) = (h.admin().await, person(&h, "olga", "operator").await, person(&h, "paul", "approver").await);
    let asset = json!({"range": "10.0.0.0/24", "name": "Shop", "observe_until": null, "check_ceiling": "intrusive"});
    h.send(&olga, "POST", "/api/v1/assets", Some(asset)).await.expect(201);
    let until = |days: i64| model::Ts(h.now().0 + days * 86_400_000).to_string();
    let input = json!({"range": "10.0.0.0/28", "owner": "payments", "reason": "CHG-1", "until": until(1)});
    let ask = async |who: &As| {
        let made = h.send(who, "POST", "/api/v1/approvals", Some(input.clone())).await.expect(201);
        assert_eq!((made["state"].as_str(), made["active_now"].as_bool()), (Some("requested"), Some(false)), "{made}");
        made["id"].as_str().unwrap().to_owned()
    };
    let grant = async |who: &As, id: &str| h.send(who, "POST", &format!("/api/v1/approvals/{id}/grant"), None).await;

    let id = ask(&olga).await;
    assert_eq!(grant(&olga, &id).await.problem().0, 403, "an operator asks, and does not grant");
    let token = h.token(Role::Approver).await;
    assert_eq!(grant(&token, &id).await.problem().0, 409, "a program agrees to nothing");
    assert!(h.context.store.approvals_open(h.now()).await.unwrap().is_empty());
    let granted = grant(&paul, &id).await.expect(200);
    assert_eq!((granted["state"].as_str(), granted["active_now"].as_bool()), (Some("active"), Some(true)), "{granted}");
    assert_eq!((granted["created_by"].as_str(), granted["granted_by"].as_str()), (Some("user:olga"), Some("user:paul")));
    assert_eq!(h.context.store.approvals_open(h.now()).await.unwrap().len(), 1);
    assert_eq!(grant(&paul, &id).await.problem().0, 409, "once");

    // Neither an approver nor the administrator grants what they asked for, by themselves or through a token of their own.
    for who in [&paul, &admin] {
        let id = ask(who).await;
        assert_eq!(grant(who, &id).await.problem().0, 409);
    }
    let own = json!({"name": "mine", "role": "operator", "expires_at": null});
    let secret = h.send(&admin, "POST", "/api/v1/tokens", Some(own)).await.expect(201)["secret"].as_str().unwrap().to_owned();
    let id = ask(&As::Token(secret)).await;
    assert_eq!(grant(&admin, &id).await.problem().0, 409);
    grant(&paul, &id).await.expect(200);

    // What waits is listed for whoever may grant it, and declined by taking it back.
    let waiting = h.get(&paul, "/api/v1/approvals?state=requested").await;
    assert_eq!(waiting["total"], 2, "{waiting}");
    let id = waiting["items"][0]["id"].as_str().unwrap().to_owned();
    let declined = h.send(&olga, "POST", &format!("/api/v1/approvals/{id}/revoke"), None).await.expect(200);
    assert_eq!(declined["state"], "declined");
    for who in [&paul, &admin] {
        assert_eq!(grant(who, &id).await.problem().0, 409, "declined is declined");
    }
    for (query, total) in [("state=active", 2), ("state=requested,declined", 2), ("active=true", 2), ("", 4)] {
        assert_eq!(h.get(&paul, &format!("/api/v1/approvals?{query}")).await["total"], total, "{query}");
    }
    assert_eq!(h.send(&paul, "GET", "/api/v1/approvals?state=maybe", None).await.problem().2, ["state"]);
    let audited = h.audited().await;
    assert_eq!(audited.iter().filter(|a| *a == "approval.grant").count(), 2, "{audited:?}");
}

#[tokio::test]
async fn a_finding_of_an_operators_own_check_carries_its_title_once_the_server_knows_it() {
    let own = r#"
        [[check]]
        id = "badge-reader-open"
        title = { en = "The badge reader lets anybody in", zh = "门禁读卡器任何人可访问" }
        kind = "unauthenticated-access"
        severity = "high"
        side_effect = "benign"
        services = ["badge"]
        advice = { en = "Set a PIN.", zh = "设置 PIN。" }
        source = "https://example.org/badge"
        proved = "by-hand"
        line = {}
        cases = []
    "#;
    let mut checks = model::check::Checks::builtin().clone();
    checks.add("own/badge.toml", own).unwrap();
    checks.install();
    let h = Harness::new().await;
    let who = watched(&h).await;
    let known = h.get(&who, "/api/v1/catalog/checks").await;
    assert!(known.as_array().unwrap().iter().any(|c| c["id"] == "badge-reader-open"), "listed beside the built-in ones");
    let found =
        h.context.store.findings(&store::FindingFilter::default(), store::Paging::first(1)).await.unwrap().items.remove(0);
    let view = |check: &str| {
        serde_json::to_value(server::api::views::finding::FindingView::new(model::finding::Finding {
            check: check.into(),
            ..found.clone()
        }))
        .unwrap()
    };
    assert_eq!(view("badge-reader-open")["title"]["en"], "The badge reader lets anybody in");
    assert_eq!(view("badge-reader-open")["advice"]["zh"], "设置 PIN。");
    let unknown = view("nobody-knows-it");
    assert!(unknown["title"].is_null() && unknown["check"] == "nobody-knows-it", "{unknown}");
    assert_eq!(h.get(&who, "/api/v1/exposures?finding=badge-reader-open").await["total"], 0, "and is no unknown word");
}

#[tokio::test]
async fn the_checks_of_the_catalogue_say_what_they_ask_and_what_to_do() {
    let h = Harness::new().await;
    let who = h.token(Role::Viewer).await;
    let checks = h.get(&who, "/api/v1/catalog/checks").await;
    let redis = checks.as_array().unwrap().iter().find(|c| c["id"] == "redis-unauthenticated").expect("redis is checked");
    assert_eq!(redis["kind"], "unauthenticated-access");
    assert!(redis["side_effect"].is_string() && redis["advice"]["zh"].is_string() && redis["services"] == json!(["redis"]));
}
