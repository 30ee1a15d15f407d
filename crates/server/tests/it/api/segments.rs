//! Segments and canaries through the API: what is listed, and what operators may say.

use super::{As, Harness};
use model::job::Work;
use model::{Endpoint, NodeName, Observation, Reason, Role, State, Vantage};
use serde_json::{Value, json};
use server::Dispatcher;
use wire::{Dispatch, End, LeaseRequest, Report, ReportReply, Sightings, VERSION};

/// Three hosts with a door each, seen open and confirmed.
async fn estate(h: &Harness) -> As {
    let who = h.token(Role::Operator).await;
    let asset = json!({"range": "10.0.0.0/29", "name": "Shop", "owner": "payments", "observe_until": null});
    h.send(&who, "POST", "/api/v1/assets", Some(asset)).await.expect(201);
    let target = json!({"type": "ranges", "ranges": ["10.0.0.0/29"]});
    let trigger = json!({"type": "interval", "every": 3_600_000});
    let task = json!({"kind": "full-all", "name": "Sweep", "target": target, "ports": "80", "trigger": trigger});
    let task = h.send(&who, "POST", "/api/v1/tasks", Some(task)).await.expect(201);
    h.send(&who, "POST", &format!("/api/v1/tasks/{}/run", task["id"].as_str().unwrap()), None).await.expect(200);
    // The second look is the confirmation that the first one asks for.
    for _ in 0..2 {
        look(h, State::Open, Reason::SynAck).await;
    }
    who
}

/// A node does whatever is queued and finds all three doors in that state.
async fn look(h: &Harness, state: State, reason: Reason) {
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
    let job = jobs.iter().find(|j| !matches!(j.work, Work::Liveness { .. })).expect("something is queued");
    let observed_at = h.now();
    let endpoints = (1..=3).map(|n| Endpoint::tcp([10, 0, 0, n].into(), 80));
    let observations = endpoints.map(|endpoint| Observation { endpoint, state, reason, observed_at }).collect();
    let report = Report {
        node,
        vantage,
        job: job.id,
        fencing: job.fencing,
        sequence: 1,
        probes_sent: 3,
        sightings: Sightings { observations, ..Sightings::default() },
        end: Some(End::Done),
    };
    assert_eq!(dispatcher.report(report).await.unwrap(), ReportReply::Accepted);
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
}

fn endpoints(segment: &Value) -> Vec<String> {
    let canaries = segment["canaries"].as_array().unwrap();
    canaries.iter().map(|c| c["endpoint"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn segments_are_listed_with_their_canaries_and_how_they_stand() {
    let h = Harness::new().await;
    let who = estate(&h).await;
    let page = h.get(&who, "/api/v1/segments").await;
    assert_eq!(page["total"], 1, "{page}");
    let segment = &page["items"][0];
    assert_eq!(
        (&segment["range"], &segment["vantage"], &segment["status"], &segment["guard"], &segment["open"]),
        (&json!("10.0.0.0/29"), &json!("lab"), &json!("known"), &json!("own"), &json!(3)),
        "{segment}"
    );
    assert_eq!(
        (&segment["asset_name"], &segment["owner"], &segment["since"]),
        (&json!("Shop"), &json!("payments"), &Value::Null)
    );
    assert_eq!(endpoints(segment), ["10.0.0.1:80/tcp", "10.0.0.2:80/tcp", "10.0.0.3:80/tcp"]);
    assert_eq!(h.get(&who, "/api/v1/dashboard").await["segments"], json!({"unknown": 0, "listed": []}));

    // All of them fall silent: nobody says unknown yet, and nothing has closed.
    h.send(&who, "POST", "/api/v1/tasks", Some(json!({
        "kind": "open-recheck", "name": "Again", "target": {"type": "all-assets"}, "trigger": {"type": "interval", "every": 3_600_000},
    })))
    .await
    .expect(201);
    let task = h.get(&who, "/api/v1/tasks").await;
    let again = task.as_array().unwrap().iter().find(|t| t["name"] == "Again").unwrap()["id"].as_str().unwrap().to_owned();
    h.send(&who, "POST", &format!("/api/v1/tasks/{again}/run"), None).await.expect(200);
    look(&h, State::Filtered, Reason::Timeout).await;
    for (query, total) in [
        ("", 1),
        ("?status=suspect", 1),
        ("?status=suspect,unknown", 1),
        ("?status=known", 0),
        ("?range=10.0.0.4", 1),
        ("?range=10.9.0.0/16", 0),
        ("?offset=1", 1),
    ] {
        let page = h.get(&who, &format!("/api/v1/segments{query}")).await;
        assert_eq!(page["total"], total, "{query}: {page}");
    }
    let segment = h.get(&who, "/api/v1/segments").await["items"][0].clone();
    assert_eq!(
        (&segment["status"], &segment["silent"], &segment["judged_by"]),
        (&json!("suspect"), &json!(3), &json!(3)),
        "{segment}"
    );
    assert!(segment["canaries"][0]["silent_since"].is_string(), "{segment}");
    let open = h.get(&who, "/api/v1/exposures?phase=open").await;
    assert_eq!((open["total"].clone(), open["items"][0]["unknown_since"].clone()), (json!(3), Value::Null));
    assert_eq!(h.send(&who, "GET", "/api/v1/segments?status=gone", None).await.problem().2, ["status"]);
}

#[tokio::test]
async fn operators_name_canaries_and_say_which_are_none() {
    let h = Harness::new().await;
    let who = estate(&h).await;
    let say = |endpoint: &str, role: &str| json!({"endpoint": endpoint, "role": role, "note": "load balancer"});
    for (body, field, word) in [
        (say("10.0.0.1", "named"), "endpoint", "10.0.0.1"),
        (say("10.0.0.1:53/udp", "named"), "endpoint", "not a TCP endpoint"),
        (say("192.0.2.1:80/tcp", "named"), "endpoint", "in no asset"),
        (say("10.0.0.1:80/tcp", "sometimes"), "role", "`sometimes`"),
    ] {
        let reply = h.send(&who, "POST", "/api/v1/canaries", Some(body.clone())).await;
        let (status, _, fields) = reply.problem();
        assert!(status == 422 && fields == [field] && reply.text.contains(word), "{body}: {}", reply.text);
    }
    let named = h.send(&who, "POST", "/api/v1/canaries", Some(say("10.0.0.3:80/tcp", "named"))).await.expect(201);
    h.send(&who, "POST", "/api/v1/canaries", Some(say("10.0.0.1:80/tcp", "never"))).await.expect(201);
    let twice = h.send(&who, "POST", "/api/v1/canaries", Some(say("10.0.0.3:80/tcp", "never"))).await;
    assert_eq!(twice.problem().0, 409, "{}", twice.text);
    let segment = h.get(&who, "/api/v1/segments").await["items"][0].clone();
    assert_eq!(segment["guard"], "nobody", "two are left, which is too few to speak: {segment}");
    let choices = h.get(&who, "/api/v1/canaries").await;
    assert_eq!((choices["total"].clone(), choices["items"][1]["role"].clone()), (json!(2), json!("named")), "{choices}");
    let path = format!("/api/v1/canaries/{}", named["id"].as_str().unwrap());
    assert_eq!(h.send(&who, "DELETE", &path, None).await.status, 204);
    assert_eq!(h.send(&who, "DELETE", &path, None).await.problem().0, 404);
    assert_eq!(h.audited().await[..3], ["canary.forget", "canary.refuse", "canary.name"]);
    let viewer = h.token(Role::Viewer).await;
    assert_eq!(h.send(&viewer, "POST", "/api/v1/canaries", Some(say("10.0.0.2:80/tcp", "never"))).await.problem().0, 403);
    h.get(&viewer, "/api/v1/segments").await;
}
