//! Assets, exclusions and blackouts: made, changed, imported, exported, and refused with the word that is wrong.

use super::{As, Harness};
use model::Role;
use serde_json::{Value, json};

async fn operator(h: &Harness) -> As {
    h.token(Role::Operator).await
}

#[tokio::test]
async fn an_asset_is_made_found_changed_and_removed_and_each_act_is_audited() {
    let h = Harness::new().await;
    let who = operator(&h).await;
    let body = json!({"range": "10.0.0.0/24", "name": "Shop", "owner": "payments", "tags": ["eu"], "weight": 9});
    let made = h.send(&who, "POST", "/api/v1/assets", Some(body)).await.expect(201);
    assert_eq!(
        (made["zone"].as_str(), made["addresses"].as_str(), made["observing"].as_bool()),
        (Some("dmz"), Some("256"), Some(true))
    );
    let path = format!("/api/v1/assets/{}", made["id"].as_str().unwrap());
    assert_eq!(h.get(&who, "/api/v1/assets?search=10.0.0.9").await["items"][0]["name"], "Shop");
    assert_eq!(h.get(&who, "/api/v1/assets?search=nothing").await["total"], 0);
    let same = json!({"range": "10.0.0.0-10.0.0.255", "name": "Again"});
    let reply = h.send(&who, "POST", "/api/v1/assets", Some(same)).await;
    assert_eq!(reply.problem().0, 409);
    assert!(reply.text.contains("`Shop`"), "{}", reply.text);
    let inner = json!({"range": "10.0.0.0/28", "name": "Inner", "observe_until": null});
    assert_eq!(h.send(&who, "POST", "/api/v1/assets", Some(inner)).await.expect(201)["observing"], false, "null alerts at once");
    let put = json!({"range": "10.0.1.0/24", "name": "Store", "zone": "high"});
    let changed = h.send(&who, "PUT", &path, Some(put)).await.expect(200);
    assert_eq!(
        (changed["name"].as_str(), changed["zone"].as_str(), changed["owner"].as_str()),
        (Some("Store"), Some("high"), None)
    );
    assert_eq!(changed["observe_until"], made["observe_until"], "absent keeps the observe mode");
    assert_eq!(h.send(&who, "DELETE", &path, None).await.status, 204);
    assert_eq!(h.send(&who, "GET", &path, None).await.problem().0, 404);
    assert_eq!(h.send(&who, "DELETE", &path, None).await.problem().0, 404);
    assert_eq!(h.audited().await[..4], ["asset.delete", "asset.update", "asset.create", "asset.create"]);
}

#[tokio::test]
async fn bad_assets_are_refused_at_the_field_and_name_the_word() {
    let h = Harness::new().await;
    let who = operator(&h).await;
    for (body, field, word) in [
        (json!({"range": "10.0.0.0/33", "name": "a"}), "range", "`10.0.0.0/33`"),
        (json!({"range": "224.0.0.1", "name": "a"}), "range", "multicast"),
        (json!({"range": "10.0.0.9-10.0.0.1", "name": "a"}), "range", "`10.0.0.9-10.0.0.1`"),
        (json!({"range": "10.0.0.0/24", "name": " "}), "name", "empty"),
        (json!({"range": "10.0.0.0/24", "name": "a", "weight": 11}), "weight", "`11`"),
        (json!({"range": "10.0.0.0/24", "name": "a", "weight": -1}), "weight", ""),
        (json!({"range": "10.0.0.0/24", "name": "a", "zone": "moon"}), "zone", "`moon`"),
        (json!({"range": "10.0.0.0/24", "name": "a", "rate_pps": 0}), "rate_pps", "`0`"),
        (json!({"range": "10.0.0.0/24", "name": "a", "observe_until": "soon"}), "observe_until", "`soon`"),
        (json!({"range": "8.0.0.0/16", "name": "a"}), "authorized", "65536 public"),
        (json!({"range": "10.0.0.0/24", "name": "a", "tags": ["a;b"]}), "tags", "`a;b`"),
    ] {
        let reply = h.send(&who, "POST", "/api/v1/assets", Some(body.clone())).await;
        assert_eq!(reply.problem(), (422, "bad-input".into(), vec![field.into()]), "{body}");
        assert!(reply.text.contains(word), "{body}: {}", reply.text);
    }
    let allowed = json!({"range": "8.0.0.0/16", "name": "a", "authorized": true});
    let made = h.send(&who, "POST", "/api/v1/assets", Some(allowed)).await.expect(201);
    let rename = json!({"range": "8.0.0.0/16", "name": "b"});
    h.send(&who, "PUT", &format!("/api/v1/assets/{}", made["id"].as_str().unwrap()), Some(rename)).await.expect(200);
}

#[tokio::test]
async fn an_import_does_what_its_preview_said_or_nothing() {
    let h = Harness::new().await;
    let who = operator(&h).await;
    let text = "range,name,owner,tags\n10.0.0.0/24,Shop,payments,a;b\n10.0.1.0/24,=cmd|x,,\n";
    let preview = h.csv(&who, "/api/v1/assets/import/preview", text).await.expect(200);
    assert_eq!(preview["counts"], json!({"create": 2, "update": 0, "unchanged": 0, "error": 0}));
    assert_eq!(h.get(&who, "/api/v1/assets").await["total"], 0, "a preview writes nothing");
    let digest = preview["digest"].as_str().unwrap();
    let with = |digest: &str| format!("/api/v1/assets/import?digest={digest}");
    assert_eq!(h.csv(&who, &with("0"), text).await.problem().0, 409);
    assert_eq!(h.csv(&who, &with(digest), &text.replace("Shop", "Shoq")).await.problem().0, 409, "another file");
    assert_eq!(h.csv(&who, "/api/v1/assets/import", text).await.problem(), (422, "bad-input".into(), vec!["digest".into()]));
    let done = h.csv(&who, &with(digest), text).await.expect(200);
    assert_eq!(done, json!({"created": 2, "updated": 0, "deleted": 0, "unchanged": 0}));
    assert_eq!(h.csv(&who, &with(digest), text).await.problem().0, 409, "the assets have changed since");
    let exported = h.send(&who, "GET", "/api/v1/assets/export", None).await;
    assert_eq!(exported.headers["content-type"], "text/csv; charset=utf-8");
    assert!(exported.text.contains(",'=cmd|x,"), "{}", exported.text);
    let again = h.csv(&who, "/api/v1/assets/import/preview", &exported.text).await.expect(200);
    assert_eq!(again["counts"], json!({"create": 0, "update": 0, "unchanged": 2, "error": 0}), "{again}");
    let broken = "range,name\n10.0.0.0/24,Shop\nnowhere,x\n";
    let preview = h.csv(&who, "/api/v1/assets/import/preview", broken).await.expect(200);
    assert_eq!(preview["rows"][1]["errors"][0]["field"], "range");
    assert_eq!(preview["rows"][1]["line"], 3);
    let reply = h.csv(&who, &with(preview["digest"].as_str().unwrap()), broken).await;
    assert_eq!(reply.problem().0, 422);
    assert!(h.audited().await.contains(&"asset.import".to_owned()));
}

#[tokio::test]
async fn files_that_are_not_csv_are_refused_with_a_reason() {
    let h = Harness::new().await;
    let who = operator(&h).await;
    let reply = h.csv(&who, "/api/v1/assets/import/preview", "range,name,onwer\n").await;
    assert!(reply.text.contains("`onwer`"), "{}", reply.text);
    let reply = h.send(&who, "POST", "/api/v1/assets/import/preview", Some(json!({}))).await;
    assert_eq!(reply.problem().1, "unsupported-media-type");
    let request = axum::http::Request::post("/api/v1/assets/import/preview").header("content-type", "text/csv");
    let reply = h.raw(&who, request.body(vec![0xff, 0xfe, 0x00].into()).unwrap()).await;
    assert!(reply.problem().0 == 400 && reply.text.contains("UTF-8"), "{}", reply.text);
    let long = "x".repeat(17 << 20);
    assert_eq!(h.csv(&who, "/api/v1/assets/import/preview", &long).await.problem().1, "too-large");
}

#[tokio::test]
async fn exclusions_and_blackouts_are_made_listed_and_removed() {
    let h = Harness::new().await;
    let who = operator(&h).await;
    let made =
        h.send(&who, "POST", "/api/v1/exclusions", Some(json!({"range": "10.0.0.7", "reason": "printer"}))).await.expect(201);
    assert_eq!(h.get(&who, "/api/v1/exclusions").await["items"][0]["reason"], "printer");
    assert_eq!(h.send(&who, "DELETE", &format!("/api/v1/exclusions/{}", made["id"].as_str().unwrap()), None).await.status, 204);
    let weekly = json!({"type": "weekly", "days": [1, 2, 3, 4, 5, 6, 7], "start_minute": 0, "end_minute": 0});
    let body = |window: Value| Some(json!({"range": "10.0.0.0/24", "window": window, "reason": "backup"}));
    let made = h.send(&who, "POST", "/api/v1/blackouts", body(weekly)).await.expect(201);
    assert_eq!(made["active_now"], true, "midnight to midnight of every day is now");
    for (window, field) in [
        (json!({"type": "weekly", "days": [], "start_minute": 0, "end_minute": 60}), "window.days"),
        (json!({"type": "weekly", "days": [8], "start_minute": 0, "end_minute": 60}), "window.days"),
        (json!({"type": "weekly", "days": [1], "start_minute": 1440, "end_minute": 60}), "window.start_minute"),
        (json!({"type": "once", "from": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}), "window.until"),
    ] {
        assert_eq!(h.send(&who, "POST", "/api/v1/blackouts", body(window.clone())).await.problem().2, [field], "{window}");
    }
    let unknown = json!({"type": "never"});
    assert_eq!(h.send(&who, "POST", "/api/v1/blackouts", body(unknown)).await.problem().0, 422);
    assert_eq!(h.send(&who, "DELETE", &format!("/api/v1/blackouts/{}", made["id"].as_str().unwrap()), None).await.status, 204);
    assert_eq!(h.audited().await[..4], ["blackout.delete", "blackout.create", "exclusion.delete", "exclusion.create"]);
}
