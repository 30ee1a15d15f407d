//! Exposures as they come from real reports, and the decisions of people about them.

use super::{As, Harness};
use model::{Endpoint, HostObservation, Liveness, NodeName, Observation, Reason, Role, State, Ts, Vantage};
use serde_json::{Value, json};
use server::Dispatcher;
use wire::{Dispatch, End, LeaseRequest, Report, ReportReply, Sightings, VERSION};

/// A redis and a web server on a watched host, reported open by a node through the same door as always.
async fn watched(h: &Harness) -> As {
    let who = h.token(Role::Operator).await;
    let asset = json!({"range": "10.0.0.0/30", "name": "Shop", "owner": "=payments", "observe_until": null, "weight": 5});
    h.send(&who, "POST", "/api/v1/assets", Some(asset)).await.expect(201);
    let target = json!({"type": "ranges", "ranges": ["10.0.0.1"]});
    let task = json!({"kind": "full-all", "name": "Sweep", "target": target, "ports": "80,6379", "trigger": {"type": "interval", "every": 3_600_000}});
    let task = h.send(&who, "POST", "/api/v1/tasks", Some(task)).await.expect(201);
    h.send(&who, "POST", &format!("/api/v1/tasks/{}/run", task["id"].as_str().unwrap()), None).await.expect(200);
    let dispatcher = Dispatcher::new(h.context.clone());
    let (node, vantage) = (NodeName("local".into()), Vantage("lab".into()));
    let ask = LeaseRequest {
        version: VERSION,
        node: node.clone(),
        vantage: vantage.clone(),
        incarnation: 1,
        slots: 8,
        engines: vec![],
    };
    let jobs = dispatcher.lease(ask).await.unwrap().jobs;
    let job = jobs.iter().find(|j| matches!(j.work, model::job::Work::Sweep { .. })).expect("a sweep is queued");
    for sequence in 1..=2u32 {
        let observed_at = h.now();
        let ip = "10.0.0.1".parse().unwrap();
        let open =
            |port| Observation { endpoint: Endpoint::tcp(ip, port), state: State::Open, reason: Reason::SynAck, observed_at };
        let report = Report {
            node: node.clone(),
            vantage: vantage.clone(),
            job: job.id,
            fencing: job.fencing,
            sequence,
            probes_sent: 2,
            sightings: Sightings {
                observations: vec![open(6379), open(80)],
                hosts: vec![HostObservation { ip, liveness: Liveness::Online, reason: Reason::SynAck, observed_at }],
                ..Sightings::default()
            },
            end: (sequence == 2).then_some(End::Done),
        };
        assert_eq!(dispatcher.report(report).await.unwrap(), ReportReply::Accepted);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    who
}

async fn redis(h: &Harness, who: &As) -> Value {
    let page = h.get(who, "/api/v1/exposures?search=6379").await;
    assert_eq!(page["total"], 1, "{page}");
    page["items"][0].clone()
}

#[tokio::test]
async fn exposures_are_listed_filtered_grouped_and_shown_with_everything_around_them() {
    let h = Harness::new().await;
    let who = watched(&h).await;
    let all = h.get(&who, "/api/v1/exposures").await;
    assert_eq!(all["total"], 2, "{all}");
    assert_eq!(all["items"][0]["endpoint"], "10.0.0.1:6379/tcp", "the most severe comes first");
    for (query, total) in [
        ("risk=high-risk-port", 1),
        ("risk=high-risk-port,exposed-port", 2),
        ("phase=closed", 0),
        ("search=10.0.0.0/24", 2),
        ("search=10.9.0.0/24", 0),
        ("disposition=unreviewed&owner=%3Dpayments", 2),
        ("disposition=registered", 0),
        ("sort=port&limit=1", 2),
    ] {
        assert_eq!(h.get(&who, &format!("/api/v1/exposures?{query}")).await["total"], total, "{query}");
    }
    assert_eq!(h.get(&who, "/api/v1/exposures?sort=port").await["items"][0]["port"], 80);
    let groups = h.get(&who, "/api/v1/exposures/by-address").await;
    assert_eq!((groups["total"].as_u64(), groups["items"][0]["open_count"].as_u64()), (Some(1), Some(2)), "{groups}");
    assert_eq!(
        (groups["items"][0]["asset_name"].as_str(), groups["items"][0]["liveness"].as_str()),
        (Some("Shop"), Some("online"))
    );
    let exposure = redis(&h, &who).await;
    assert_eq!((exposure["risk"]["entry"].as_str(), exposure["asset_name"].as_str()), (Some("redis"), Some("Shop")));
    let detail = h.get(&who, &format!("/api/v1/exposures/{}", exposure["id"].as_str().unwrap())).await;
    assert_eq!(detail["exposure"], exposure);
    assert_eq!(
        (detail["endpoint"]["phase"].as_str(), detail["endpoint"]["exposure"].clone()),
        (Some("open"), exposure["id"].clone())
    );
    assert!(detail["events"].to_string().contains("endpoint.opened"), "{detail}");
    assert_eq!(detail["alerts"].as_array().unwrap().len(), 1, "a high-risk port outside observe mode raises an alert");
    let endpoint = h.get(&who, "/api/v1/endpoints/10.0.0.1/tcp/6379").await;
    assert_eq!(
        (endpoint["exposures"][0]["id"].clone(), endpoint["host"][0]["open_endpoints"].as_u64()),
        (exposure["id"].clone(), Some(2))
    );
    assert_eq!(h.get(&who, "/api/v1/endpoints?phase=open,pending&service=&pseudo_open=false").await["total"], 2);
    let hosts = h.get(&who, "/api/v1/hosts?liveness=online").await;
    assert_eq!((hosts["total"].as_u64(), hosts["counts"].clone()), (Some(1), json!({"online": 1, "offline": 0})));
    assert!(h.get(&who, "/api/v1/events?ip=10.0.0.1&kind=endpoint.opened").await["total"].as_u64() >= Some(2));
    assert_eq!(h.get(&who, "/api/v1/alerts?state=pending").await["total"], 1);
    let dashboard = h.get(&who, "/api/v1/dashboard").await;
    assert_eq!(
        (dashboard["exposures"]["open"].as_u64(), dashboard["exposures"]["unreviewed_high_risk"].as_u64()),
        (Some(2), Some(1)),
        "{dashboard}"
    );
    assert_eq!(dashboard["top_addresses"][0]["ip"], "10.0.0.1");
    for (path, status, field) in [
        ("/api/v1/endpoints/nowhere/tcp/22", 422, "ip"),
        ("/api/v1/endpoints/10.0.0.1/icmp/22", 422, "proto"),
        ("/api/v1/endpoints/10.0.0.1/tcp/0", 422, "port"),
    ] {
        assert_eq!(h.send(&who, "GET", path, None).await.problem(), (status, "bad-input".into(), vec![field.into()]), "{path}");
    }
    assert_eq!(h.send(&who, "GET", "/api/v1/endpoints/10.0.0.2/tcp/22", None).await.problem().0, 404);
    assert_eq!(h.send(&who, "GET", "/api/v1/exposures/nonsense", None).await.problem().0, 400);
}

#[tokio::test]
async fn a_decision_is_recorded_audited_and_ends_by_itself() {
    let h = Harness::new().await;
    let who = watched(&h).await;
    let exposure = redis(&h, &who).await;
    let path = format!("/api/v1/exposures/{}/disposition", exposure["id"].as_str().unwrap());
    let soon = Ts(h.now().0 + 600).to_string();
    let later = Ts(h.now().0 + 86_400_000).to_string();
    for (body, field) in [
        (json!({"kind": "registered"}), "until"),
        (json!({"kind": "registered", "until": "2020-01-01T00:00:00Z"}), "until"),
        (json!({"kind": "registered", "until": "2099-01-01T00:00:00Z"}), "until"),
        (json!({"kind": "accepted", "until": later}), "note"),
        (json!({"kind": "false-positive"}), "note"),
        (json!({"kind": "ignored"}), "kind"),
    ] {
        assert_eq!(
            h.send(&who, "PUT", &path, Some(body.clone())).await.problem(),
            (422, "bad-input".into(), vec![field.into()]),
            "{body}"
        );
    }
    let decided =
        h.send(&who, "PUT", &path, Some(json!({"kind": "registered", "until": soon, "note": "ticket 7"}))).await.expect(200);
    let disposition = &decided["disposition"];
    assert_eq!((disposition["kind"].as_str(), disposition["effective"].as_str()), (Some("registered"), Some("registered")));
    assert!(disposition["by"].as_str().unwrap().starts_with("token:operator-"), "{disposition}");
    assert_eq!(h.audited().await[0], "exposure.register");
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    let lapsed = redis(&h, &who).await;
    assert_eq!(
        (lapsed["disposition"]["kind"].as_str(), lapsed["disposition"]["effective"].as_str()),
        (Some("registered"), Some("unreviewed"))
    );
    assert_eq!(h.get(&who, "/api/v1/exposures?disposition=unreviewed").await["total"], 2, "a decision past its date is none");
    let events = h.get(&who, "/api/v1/events?kind=exposure.disposition-changed").await;
    assert_eq!(events["items"][0]["detail"]["to"], "registered");
    let viewer = h.token(Role::Viewer).await;
    assert_eq!(h.send(&viewer, "PUT", &path, Some(json!({"kind": "unreviewed"}))).await.problem().1, "forbidden");
}

#[tokio::test]
async fn many_are_decided_about_together_or_not_at_all() {
    let h = Harness::new().await;
    let who = watched(&h).await;
    let all = h.get(&who, "/api/v1/exposures").await;
    let mut ids: Vec<Value> = all["items"].as_array().unwrap().iter().map(|e| e["id"].clone()).collect();
    let decide = |ids: &[Value]| Some(json!({"ids": ids, "kind": "false-positive", "note": "lab"}));
    assert_eq!(h.send(&who, "POST", "/api/v1/exposures/dispositions", decide(&ids)).await.expect(200), json!({"changed": 2}));
    assert_eq!(h.get(&who, "/api/v1/exposures?disposition=false-positive").await["total"], 2);
    ids.push(json!(uuid::Uuid::nil()));
    let reset = Some(json!({"ids": ids, "kind": "unreviewed"}));
    assert_eq!(h.send(&who, "POST", "/api/v1/exposures/dispositions", reset).await.problem().0, 404);
    assert_eq!(h.get(&who, "/api/v1/exposures?disposition=false-positive").await["total"], 2, "nothing was changed");
    assert_eq!(h.send(&who, "POST", "/api/v1/exposures/dispositions", decide(&[])).await.problem().2, ["ids"]);
    let many: Vec<_> = (0..501).map(|n| json!(uuid::Uuid::from_u128(n))).collect();
    assert_eq!(h.send(&who, "POST", "/api/v1/exposures/dispositions", decide(&many)).await.problem().2, ["ids"]);
}

#[tokio::test]
async fn exports_carry_everything_and_no_formula() {
    let h = Harness::new().await;
    let who = watched(&h).await;
    let csv = h.send(&who, "GET", "/api/v1/exposures/export?format=csv", None).await;
    assert!(csv.headers["content-disposition"].to_str().unwrap().contains("exposures.csv"));
    assert_eq!(csv.text.lines().count(), 3, "{}", csv.text);
    assert!(csv.text.lines().nth(1).unwrap().contains(",'=payments,"), "{}", csv.text);
    let jsonl = h.send(&who, "GET", "/api/v1/exposures/export?format=jsonl&risk=high-risk-port", None).await;
    let lines: Vec<Value> = jsonl.text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!((lines.len(), lines[0]["endpoint"].as_str()), (1, Some("10.0.0.1:6379/tcp")));
    assert_eq!(h.send(&who, "GET", "/api/v1/exposures/export?format=xlsx", None).await.problem().2, ["format"]);
}

#[tokio::test]
async fn an_exposure_follows_its_asset_when_that_changes() {
    let h = Harness::new().await;
    let who = watched(&h).await;
    let asset = h.get(&who, "/api/v1/assets").await["items"][0].clone();
    let path = format!("/api/v1/assets/{}", asset["id"].as_str().unwrap());
    let put = json!({"range": "10.0.0.0/30", "name": "Shop", "owner": "web", "zone": "high", "weight": 9});
    h.send(&who, "PUT", &path, Some(put)).await.expect(200);
    let exposure = redis(&h, &who).await;
    assert_eq!((exposure["owner"].as_str(), exposure["zone"].as_str()), (Some("web"), Some("high")), "{exposure}");
    assert!(exposure["risk"]["reasons"].to_string().contains("business-weight"), "{exposure}");
    assert_eq!(h.send(&who, "DELETE", &path, None).await.status, 204);
    let exposure = redis(&h, &who).await;
    assert_eq!(
        (exposure["owner"].clone(), exposure["asset"].clone(), exposure["phase"].as_str()),
        (Value::Null, Value::Null, Some("open"))
    );
}
