//! The published API as a whole: every operation of the OpenAPI document asks who is there, and roles hold.

use crate::world::{Db, World};
use lab::LabSpec;
use serde_json::{Value, json};

/// Operations that anybody may call: signing in, whether the process lives, and the document itself.
const OPEN: [(&str, &str); 3] = [("post", "/api/v1/session"), ("get", "/healthz"), ("get", "/api/openapi.json")];

/// Every operation of the document, with something plausible in place of its path parameters.
fn operations(document: &Value) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().expect("the document has paths") {
        for method in item.as_object().unwrap().keys().filter(|m| ["get", "put", "post", "delete", "patch"].contains(&m.as_str()))
        {
            let mut concrete = String::new();
            for part in path.split('/').skip(1) {
                concrete.push('/');
                concrete.push_str(match part {
                    "{ip}" => "10.99.7.10",
                    "{proto}" => "tcp",
                    "{port}" => "6379",
                    "{preset}" | "{name}" => "standard",
                    parameter if parameter.starts_with('{') => "019a0000-0000-7000-8000-000000000000",
                    word => word,
                });
            }
            found.push((method.clone(), path.clone(), concrete));
        }
    }
    found
}

#[test]
fn every_operation_of_the_published_document_needs_authentication() {
    let world = World::start(LabSpec::new(), Db::Sqlite);
    let http = world.serve.http();
    let document = http.request("GET", "/api/openapi.json", &[], None).unwrap();
    assert_eq!(document.status, 200);
    let document = document.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let operations = operations(&document);
    assert!(operations.len() > 60, "{} operations", operations.len());
    let json = ("Content-Type", "application/json");
    let wrong = [
        ("Authorization", "Bearer prt_0000000000000000000000000000000000000000"),
        ("Cookie", "portreeve_session=0000"),
        ("X-Portreeve-Csrf", "1"),
    ];
    let mut open = Vec::new();
    for (method, path, concrete) in &operations {
        let upper = method.to_uppercase();
        let body = (method != "get" && method != "delete").then_some(b"{}".as_slice());
        let mut replies = vec![http.request(&upper, concrete, &[json], body).unwrap()];
        replies.push(http.request(&upper, concrete, &[wrong[0], json], body).unwrap());
        replies.push(http.request(&upper, concrete, &[wrong[1], wrong[2], json], body).unwrap());
        if OPEN.contains(&(method.as_str(), path.as_str())) {
            continue;
        }
        for reply in replies {
            if reply.status != 401 || (path.starts_with("/api/") && reply.json()["code"] != "unauthenticated") {
                open.push(format!("{upper} {path}: {} {}", reply.status, reply.text()));
            }
        }
    }
    assert!(open.is_empty(), "operations that answer strangers:\n{}", open.join("\n"));
    // The same operations exist for somebody with a token: the list above is of real ones.
    let mut missing = Vec::new();
    for (_, path, concrete) in operations.iter().filter(|(m, p, _)| m == "get" && !p.contains('{') && p != "/api/v1/live") {
        let reply = world.api.send("GET", concrete, "application/json", None).unwrap();
        if reply.status != 200 && !path.ends_with("/export") {
            missing.push(format!("GET {path}: {} {}", reply.status, reply.text()));
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    let metrics = http.request("GET", "/metrics", &[], None).unwrap();
    assert_eq!(metrics.status, 401, "metrics are not public");
}

#[test]
fn a_viewer_sees_and_changes_nothing() {
    let world = World::start(LabSpec::new(), Db::Sqlite);
    let viewer = world.serve.api_as("viewer").unwrap();
    assert_eq!(viewer.get("/session").unwrap()["token"]["role"], "viewer");
    viewer.get("/exposures").unwrap();
    let refused = [
        ("POST", "/assets", json!({"range": "10.99.7.0/24", "name": "lab"})),
        ("POST", "/tasks", json!({})),
        ("PUT", "/settings", json!({})),
        ("POST", "/users", json!({"name": "x", "role": "admin"})),
        ("POST", "/tokens", json!({"name": "x", "role": "admin"})),
        ("POST", "/receivers", json!({})),
    ];
    for (method, path, body) in refused {
        let reply = viewer.call(method, path, Some(&body)).unwrap();
        assert_eq!((reply.status, reply.json()["code"].as_str()), (403, Some("forbidden")), "{method} {path}: {}", reply.text());
    }
    assert_eq!(viewer.call("GET", "/audit", None).unwrap().status, 403);
    assert!(world.api.items("/assets").unwrap().is_empty(), "nothing of it came about");
    // A token that is revoked is nobody.
    let token = world.api.items("/tokens").unwrap().into_iter().find(|t| t["role"] == "viewer").unwrap();
    world.api.delete(&format!("/tokens/{}", token["id"].as_str().unwrap())).unwrap();
    assert_eq!(viewer.call("GET", "/exposures", None).unwrap().status, 401);
}

#[test]
fn bad_input_names_the_field_and_the_word() {
    let world = World::start(LabSpec::new(), Db::Sqlite);
    for (method, path, body, field, word) in [
        ("POST", "/assets", json!({"range": "10.0.0.0/33", "name": "x"}), "range", "10.0.0.0/33"),
        ("POST", "/assets", json!({"range": "224.0.0.0/24", "name": "x"}), "range", "multicast"),
        ("POST", "/assets", json!({"range": "8.8.0.0/16", "name": "x"}), "authorized", ""),
        ("POST", "/assets", json!({"range": "10.99.7.0/24", "name": "x", "weight": 11}), "weight", "11"),
        ("POST", "/exclusions", json!({"range": "nowhere", "reason": "x"}), "range", "nowhere"),
    ] {
        let reply = world.api.call(method, path, Some(&body)).unwrap();
        let problem = reply.json();
        assert_eq!(reply.status, 422, "{path} {body}: {problem}");
        assert_eq!(reply.header("content-type").map(|t| t.starts_with("application/problem+json")), Some(true), "{problem}");
        let about = problem["fields"].as_array().into_iter().flatten().find(|f| f["field"] == field);
        let about = about.unwrap_or_else(|| panic!("{path} {body} does not name {field}: {problem}"));
        assert!(about["message"].as_str().unwrap().contains(word), "{path} {body}: {problem}");
    }
    for (path, body) in
        [("/assets", json!({"range": "10.99.7.0/24", "name": "x", "colour": "red"})), ("/tasks", json!({"kindd": "liveness"}))]
    {
        let reply = world.api.call("POST", path, Some(&body)).unwrap();
        assert!(
            [400, 422].contains(&reply.status) && reply.text().contains(if path == "/assets" { "colour" } else { "kindd" }),
            "{}",
            reply.text()
        );
    }
    let reply = world.api.call("GET", "/exposures?colour=red", None).unwrap();
    assert!(reply.status == 400 && reply.text().contains("colour"), "{} {}", reply.status, reply.text());
    assert_eq!(world.api.call("GET", "/nothing-here", None).unwrap().json()["code"], "not-found");
}

#[test]
fn a_list_of_assets_is_imported_only_as_it_was_previewed() {
    let world = World::start(LabSpec::new(), Db::Sqlite);
    world.asset("10.99.7.10", "payments");
    let csv = "range,name,owner,zone,weight,tags\n\
               10.99.7.10,cache,payments,dmz,9,shop;redis\n\
               10.99.7.32/28,office,it,low,3,\n";
    let send = |path: &str, text: &str| world.api.send("POST", path, "text/csv", Some(text.as_bytes())).unwrap();
    let preview = send("/assets/import/preview", csv).json();
    assert_eq!(preview["counts"], json!({"create": 1, "update": 1, "unchanged": 0, "error": 0}), "{preview}");
    let fields: Vec<&str> =
        preview["rows"][0]["changes"].as_array().unwrap().iter().map(|c| c["field"].as_str().unwrap()).collect();
    assert!(fields.contains(&"name") && fields.contains(&"weight") && !fields.contains(&"owner"), "{preview}");
    assert_eq!(world.api.items("/assets").unwrap().len(), 1, "a preview changes nothing");
    let path = format!("/assets/import?digest={}", preview["digest"].as_str().unwrap());
    assert_eq!(send(&path, &csv.replace("office", "annex")).status, 409, "another list than was previewed");
    let done = send(&path, csv);
    assert_eq!((done.status, &done.json()["created"], &done.json()["updated"]), (200, &json!(1), &json!(1)), "{}", done.text());
    assert_eq!(send(&path, csv).status, 409, "what was previewed is no longer so");
    // What comes out goes in again and changes nothing.
    let exported = world.api.send("GET", "/assets/export", "text/csv", None).unwrap().text();
    let again = send("/assets/import/preview", &exported).json();
    assert_eq!(again["counts"], json!({"create": 0, "update": 0, "unchanged": 2, "error": 0}), "{exported}{again}");
    // A wrong row is shown at its line, and stops the import; an unknown column is refused by name.
    let wrong = send("/assets/import/preview", "range,name\n10.99.7.64/26,a\n10.99.7.300,b\n").json();
    assert_eq!(wrong["counts"]["error"], 1, "{wrong}");
    let row = wrong["rows"].as_array().unwrap().iter().find(|r| r["action"] == "error").unwrap();
    assert!(row["line"] == 3 && row["errors"].to_string().contains("10.99.7.300"), "{wrong}");
    let path = format!("/assets/import?digest={}", wrong["digest"].as_str().unwrap());
    assert_eq!(send(&path, "range,name\n10.99.7.64/26,a\n10.99.7.300,b\n").status, 422);
    let column = send("/assets/import/preview", "range,name,colour\n10.99.7.64/26,a,red\n");
    assert!((400..=422).contains(&column.status) && column.text().contains("colour"), "{} {}", column.status, column.text());
}

#[test]
fn changes_are_streamed_to_whoever_watches() {
    let world = World::start(LabSpec::new(), Db::Sqlite);
    let bearer = format!("Bearer {}", world.api.token());
    let lines = world.serve.http().stream("/api/v1/live", &[("Authorization", &bearer)]).unwrap();
    let watcher = std::thread::spawn(move || {
        // Ends with the stream's read timeout when nothing comes.
        lines.take(200).find(|line| line.starts_with("data:") && line.contains("assets"))
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    world.asset("10.99.7.10", "payments");
    let seen = watcher.join().unwrap().expect("a change of assets is streamed");
    let data: Value = serde_json::from_str(seen.trim_start_matches("data:").trim()).unwrap();
    assert!(data["topics"].as_array().unwrap().contains(&json!("assets")) && data["at"].is_string(), "{data}");
}
