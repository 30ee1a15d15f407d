//! The reference table against the catalogue: every service is listed, with every product its rules name.

use services::rules::{Reached, summaries};
use std::path::Path;

#[test]
fn the_reference_lists_what_the_catalogue_recognises() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/services.md");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    // Products that a rule takes from the bytes rather than states; the table says "any other".
    let captured = [
        "libssh",
        "Go",
        "Cisco",
        "SimpleHTTP",
        "uvicorn",
        "Werkzeug",
        "389 Project",
        "gunicorn",
        "tinyproxy",
        "kamailio",
        "GStreamer RTSP server",
        "HiIpcam",
    ];
    for service in summaries() {
        let row = text.lines().find(|l| l.starts_with(&format!("| `{}` |", service.name)));
        let row = row.unwrap_or_else(|| panic!("`{}` is not in {}", service.name, file.display()));
        for product in service.products.iter().filter(|p| !captured.contains(&p.as_str())) {
            assert!(row.contains(product.as_str()), "`{product}` is not in the row of `{}`", service.name);
        }
        let proof = match service.proved {
            Reached::RealServer => "real",
            Reached::ByHand => "by hand",
            Reached::Transcript => "transcript",
        };
        let proved = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default().trim();
        // A service with two files, its own port and the web's, may be proved differently in each: the row says which.
        assert!(proved.contains(proof), "`{}` is proved by {proof}, the table says {proved}", service.name);
    }
}

#[test]
fn the_reference_lists_every_udp_payload_as_the_catalogue_has_it() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/udp.md");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    for payload in model::udp::Payloads::builtin().all() {
        let mut question = Vec::new();
        payload.render(0, 61_000, &mut question);
        for port in &payload.ports {
            let row = format!(
                "| {port}/udp | `{}` | `{}` | {} | {} | {} | {} | {} |",
                payload.name,
                payload.service,
                payload.asks,
                question.len(),
                payload.ratio,
                payload.source,
                payload.proved.replace('-', " "),
            );
            assert!(text.lines().any(|line| line == row), "{} lacks this row:\n{row}", file.display());
        }
    }
}
