//! The OpenAPI document: complete, consistent with the access table, and the one that the console is generated from.

use super::{As, Harness};
use serde_json::Value;
use server::api::access::{Access, ROUTES, access_of};
use std::collections::BTreeSet;
use std::path::Path;

/// Method, path and operation of everything in the document.
pub fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            all.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    all
}

fn document() -> Value {
    serde_json::from_str(&server::openapi_json()).unwrap()
}

#[test]
fn the_committed_document_is_the_one_that_the_code_makes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/openapi.json");
    let made = server::openapi_json();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == made, "web/openapi.json is stale\nhint: UPDATE=1 cargo test -p server --test it document");
}

#[test]
fn every_route_of_the_table_is_in_the_document_and_the_other_way_round() {
    let document = document();
    let documented: BTreeSet<_> = operations(&document).into_iter().map(|(m, p, _)| (m, p)).collect();
    let tabled: BTreeSet<_> = ROUTES.iter().map(|(m, p, _)| ((*m).to_owned(), (*p).to_owned())).collect();
    assert_eq!(documented, tabled);
    assert_eq!(tabled.len(), ROUTES.len(), "a route is in the table twice");
}

#[test]
fn every_operation_has_what_a_client_needs() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let place = format!("{method} {path}");
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{place} has no operationId"));
        assert!(ids.insert(id.to_owned()), "{place}: operationId {id} is there twice");
        assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{place} needs one tag");
        assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{place} has no summary");
        let public = access_of(&method, &path) == Some(Access::Public);
        assert_eq!(operation["security"].as_array().unwrap().is_empty(), public, "{place}");
        let replies = operation["responses"].as_object().unwrap();
        assert!(replies.keys().any(|s| s.starts_with('2')), "{place} never succeeds");
        assert!(replies.contains_key("500") && replies.contains_key("503"), "{place}");
        assert_eq!(replies.contains_key("403"), !public, "{place}");
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let named: BTreeSet<_> = parameters.iter().filter(|p| p["in"] == "path").map(|p| p["name"].as_str().unwrap()).collect();
        let written: BTreeSet<_> = path.split('/').filter_map(|s| s.strip_prefix('{')?.strip_suffix('}')).collect();
        assert_eq!(named, written, "{place}");
    }
}

#[test]
fn every_reference_leads_somewhere_and_views_show_all_their_fields() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(to)) = map.get("$ref") {
                    found.insert(to.clone());
                }
                map.values().for_each(|v| references(v, found));
            }
            Value::Array(items) => items.iter().for_each(|v| references(v, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 50, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        if let Some(item) = name.strip_prefix("Page_") {
            assert_eq!(schema["properties"]["items"]["items"]["$ref"], format!("#/components/schemas/{item}"));
        }
        let (Some(properties), true) = (schema["properties"].as_object(), name.ends_with("View")) else { continue };
        let required: BTreeSet<_> = schema["required"].as_array().unwrap().iter().map(|r| r.as_str().unwrap()).collect();
        assert_eq!(required, properties.keys().map(String::as_str).collect(), "{name}");
    }
}

#[tokio::test]
async fn the_document_is_served_to_whoever_asks() {
    let h = Harness::new().await;
    let reply = h.send(&As::Nobody, "GET", "/api/openapi.json", None).await;
    assert_eq!(reply.text, server::openapi_json());
    assert_eq!(reply.headers["content-type"], "application/json");
}
