//! Tasks, runs and jobs: the presets, what may be asked of a task, and what is refused.

use super::{As, Harness};
use model::Role;
use serde_json::{Value, json};

fn sweep(trigger: Value) -> Value {
    json!({"kind": "full-all", "name": "Everything", "target": {"type": "all-assets"}, "ports": "22,80,8000-8100", "trigger": trigger})
}

async fn asset(h: &Harness, who: &As) {
    h.send(who, "POST", "/api/v1/assets", Some(json!({"range": "10.0.0.0/30", "name": "Lab"}))).await.expect(201);
}

#[tokio::test]
async fn a_task_is_made_changed_paused_resumed_and_removed() {
    let h = Harness::new().await;
    let who = h.token(Role::Operator).await;
    let hourly = json!({"type": "interval", "every": 3_600_000});
    let made = h.send(&who, "POST", "/api/v1/tasks", Some(sweep(hourly.clone()))).await.expect(201);
    assert_eq!(
        (made["status"].as_str(), made["number"].as_u64(), &made["retries"], &made["engine"]),
        (Some("never-run"), Some(8), &Value::Null, &json!("built-in")),
        "a sweep repeats where it buys most, and is done by ourselves"
    );
    assert_eq!((made["consumes"].as_str(), made["produces"].clone()), (Some("IP_ASSETS"), json!(["PORT_OPEN"])));
    assert!(made["notes"].to_string().contains("no asset"), "{made}");
    let path = format!("/api/v1/tasks/{}", made["id"].as_str().unwrap());
    let mut put = sweep(json!({"type": "cron", "expression": "0 3 * * 1"}));
    put["name"] = json!("Mondays");
    (put["engine"], put["retries"]) = (json!("masscan"), json!(3));
    let changed = h.send(&who, "PUT", &path, Some(put)).await.expect(200);
    assert_eq!(changed["name"], "Mondays");
    assert_eq!((&changed["engine"], &changed["retries"]), (&json!("masscan"), &json!(3)), "{changed}");
    assert!(changed["next_due_at"].as_str().unwrap().ends_with("T03:00:00.000Z"), "{changed}");
    assert_eq!(h.send(&who, "POST", &format!("{path}/resume"), None).await.problem().0, 409);
    assert_eq!(h.send(&who, "POST", &format!("{path}/pause"), None).await.expect(200)["status"], "paused");
    assert_eq!(h.send(&who, "POST", &format!("{path}/resume"), None).await.expect(200)["state"], "active");
    assert_eq!(h.send(&who, "POST", &format!("{path}/cancel"), None).await.problem().0, 409, "no run is going");
    assert_eq!(h.send(&who, "DELETE", &path, None).await.status, 204);
    assert_eq!(h.send(&who, "GET", &path, None).await.problem().0, 404);
    assert_eq!(h.audited().await[..5], ["task.delete", "task.resume", "task.pause", "task.update", "task.create"]);
}

#[tokio::test]
async fn bad_tasks_are_refused_at_the_field() {
    let h = Harness::new().await;
    let who = h.token(Role::Operator).await;
    let with = |key: &str, value: Value| {
        let mut body = sweep(json!({"type": "once"}));
        body[key] = value;
        body
    };
    for (body, field, word) in [
        (with("ports", json!("22,http")), "ports", "`http`"),
        (with("ports", json!("70000")), "ports", "`70000`"),
        (with("name", json!("")), "name", "empty"),
        (with("kind", json!("everything")), "kind", "`everything`"),
        (with("trigger", json!({"type": "interval", "every": 5})), "trigger", "5 ms"),
        (with("trigger", json!({"type": "cron", "expression": "every day"})), "trigger", ""),
        (with("target", json!({"type": "ranges", "ranges": ["10.0.0.0/24", "nowhere"]})), "target.ranges[1]", "`nowhere`"),
        (with("target", json!({"type": "ranges", "ranges": []})), "target", ""),
        (with("rate_pps", json!(0)), "rate_pps", ""),
        (with("retries", json!(11)), "retries", "11"),
    ] {
        let reply = h.send(&who, "POST", "/api/v1/tasks", Some(body.clone())).await;
        assert_eq!(reply.problem(), (422, "bad-input".into(), vec![field.into()]), "{body}: {}", reply.text);
        assert!(reply.text.contains(word), "{body}: {}", reply.text);
    }
    let liveness =
        json!({"kind": "liveness", "name": "x", "target": {"type": "all-assets"}, "ports": "22", "trigger": {"type": "once"}});
    assert_eq!(h.send(&who, "POST", "/api/v1/tasks", Some(liveness)).await.problem().2, ["ports"]);
}

#[tokio::test]
async fn a_run_is_started_shown_cancelled_and_retried() {
    let h = Harness::new().await;
    let who = h.token(Role::Operator).await;
    asset(&h, &who).await;
    let made =
        h.send(&who, "POST", "/api/v1/tasks", Some(sweep(json!({"type": "interval", "every": 3_600_000})))).await.expect(201);
    let id = made["id"].as_str().unwrap();
    let path = format!("/api/v1/tasks/{id}");
    let running = h.send(&who, "POST", &format!("{path}/run"), None).await.expect(200);
    assert_eq!(
        (running["status"].as_str(), running["last_run"]["cause"].as_str()),
        (Some("running"), Some("manual")),
        "{running}"
    );
    assert_eq!(running["last_run"]["probes_total"], 4 * 103);
    assert_eq!(h.send(&who, "POST", &format!("{path}/run"), None).await.problem().0, 409, "one run at a time");
    let run = running["last_run"]["id"].as_str().unwrap().to_owned();
    let jobs = h.get(&who, &format!("/api/v1/jobs?run={run}&state=queued")).await;
    assert_eq!(jobs["total"], running["last_run"]["jobs_total"]);
    assert_eq!((jobs["items"][0]["work"].as_str(), jobs["items"][0]["task_name"].as_str()), (Some("sweep"), Some("Everything")));
    assert!(jobs["items"][0]["summary"].as_str().unwrap().contains("× 103 ports"), "{jobs}");
    let job = jobs["items"][0]["id"].as_str().unwrap();
    assert_eq!(h.get(&who, &format!("/api/v1/jobs/{job}")).await["state"], "queued");
    assert_eq!(h.get(&who, &format!("/api/v1/runs?task={id}")).await["items"][0]["id"].as_str(), Some(run.as_str()));
    assert_eq!(h.send(&who, "POST", &format!("/api/v1/runs/{run}/retry"), None).await.problem().0, 409, "nothing failed");
    assert_eq!(h.send(&who, "POST", &format!("/api/v1/runs/{run}/cancel"), None).await.expect(200)["state"], "cancelled");
    assert_eq!(h.send(&who, "POST", &format!("/api/v1/runs/{run}/cancel"), None).await.problem().0, 409);
    assert_eq!(h.send(&who, "POST", &format!("/api/v1/runs/{run}/retry"), None).await.expect(200)["state"], "running");
    assert_eq!(h.send(&who, "POST", &format!("{path}/cancel"), None).await.expect(200)["last_run"]["state"], "cancelled");
    h.send(&who, "POST", &format!("{path}/pause"), None).await.expect(200);
    let refused = h.send(&who, "POST", &format!("{path}/run"), None).await;
    assert!(refused.problem().0 == 409 && refused.text.contains("paused"), "its jobs would only wait: {}", refused.text);
    h.send(&who, "POST", &format!("{path}/resume"), None).await.expect(200);
    h.send(&who, "POST", &format!("{path}/run"), None).await.expect(200);
}

#[tokio::test]
async fn a_preset_replaces_presets_and_leaves_what_people_made() {
    let h = Harness::new().await;
    let who = h.token(Role::Operator).await;
    h.send(&who, "POST", "/api/v1/tasks", Some(sweep(json!({"type": "once"})))).await.expect(201);
    let standard = h.send(&who, "POST", "/api/v1/tasks/presets/standard", None).await.expect(200);
    assert_eq!(standard.as_array().unwrap().len(), 11, "nine kinds, UDP, and one that a person made");
    let kinds: std::collections::BTreeSet<_> =
        standard.as_array().unwrap().iter().map(|t| t["number"].as_u64().unwrap()).collect();
    assert_eq!(kinds, (0..=8).collect());
    let weekly = h.send(&who, "POST", "/api/v1/tasks/presets/daily-weekly", None).await.expect(200);
    let presets: Vec<_> = weekly.as_array().unwrap().iter().filter(|t| t["preset"] == "daily-weekly").collect();
    assert!(!presets.is_empty() && presets.len() + 1 == weekly.as_array().unwrap().len(), "{weekly}");
    assert_eq!(h.send(&who, "POST", "/api/v1/tasks/presets/hourly", None).await.problem().0, 404);
}

#[tokio::test]
async fn what_is_no_sweep_has_a_number_of_repetitions_and_no_engine() {
    let h = Harness::new().await;
    let who = h.token(Role::Operator).await;
    let recheck = json!({"kind": "open-recheck", "name": "x", "target": {"type": "all-assets"}, "trigger": {"type": "once"}});
    let made = h.send(&who, "POST", "/api/v1/tasks", Some(recheck.clone())).await.expect(201);
    assert_eq!(made["retries"], 1, "what is no sweep keeps a number");
    for engine in ["nmap", "sh -c id", "Nmap", "../nmap"] {
        let mut wrong = recheck.clone();
        wrong["engine"] = json!(engine);
        let (status, _, fields) = h.send(&who, "POST", "/api/v1/tasks", Some(wrong)).await.problem();
        assert_eq!((status, fields), (422, vec!["engine".to_owned()]), "{engine}");
    }
}
