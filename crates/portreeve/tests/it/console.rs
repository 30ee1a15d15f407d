//! The console, seen in a real browser: signs in, shows the exposure of a real redis, in both languages, light and dark.
//!
//! What it clicks and what it expects on the page is in `web/e2e/run.mjs`; here is the world around it.

use crate::faults::initial_password;
use crate::world::{Db, SOON, World};
use lab::{Kind, LabSpec, Server, eventually};
use std::path::Path;
use std::process::Command;

#[test]
fn a_person_signs_in_and_sees_the_redis_exposure_in_the_browser() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let script = root.join("web/e2e/run.mjs");
    assert!(script.exists(), "{} is missing", script.display());
    if !root.join("web/dist/index.html").exists() || !root.join("web/node_modules/playwright-core").exists() {
        panic!("the console is not built\nhint: `make test` builds it; by hand: cd web && npm ci && npm run build");
    }
    let world = World::start(LabSpec::new().host("web", 10, Kind::Refusing), Db::Sqlite);
    let web = world.lab.host("web").clone();
    web.serve(Server::Redis { port: 6379 }).unwrap();
    web.serve(Server::MariaDb { port: 3307 }).unwrap();
    world.asset("10.99.7.0/28", "payments");
    world.run("liveness", &["10.99.7.0/28"], None);
    world.run("full-online", &["10.99.7.0/28"], Some("1-7000"));
    for port in [6379, 3307] {
        world.until_exposure(web.v4(), port, "seen and identified", |e| {
            e["phase"] == "open" && e["service"]["product"].is_string()
        });
    }
    // This redis lets anybody in, and the console says so.
    eventually("redis is proved to let anybody in", SOON, || {
        world.endpoint(web.v4(), 6379).filter(|e| e["worst_finding"] == "critical")
    });
    let password = initial_password(&(world.serve.stdout() + &world.serve.stderr()));
    let shots = root.join("target/console-screenshots");
    std::fs::create_dir_all(&shots).unwrap();
    let mut node = Command::new("node");
    let address = web.v4();
    let expected = format!("{address}:6379/tcp=high-risk-port,{address}:3307/tcp=high-risk-service");
    node.arg(&script).args([&world.serve.base_url(), "admin", &password]).arg(&shots).current_dir(root.join("web"));
    // The administrator of a first start has to choose a password; whatever the server asks, the walk answers.
    let proved = format!("{address}:6379/tcp=redis-unauthenticated");
    node.args(["--finding", &proved]);
    node.args(["--expect", &expected, "--register", "--new-password", "a-longer-secret-of-the-lab"]);
    let printed = world.lab.scanner().run(&mut node).unwrap();
    assert!(printed.trim_end().lines().last().is_some_and(|last| last.starts_with("ok: ")), "{printed}");
    let registered = world.exposure(web.v4(), 6379).unwrap();
    assert_eq!(registered["disposition"]["kind"], "registered", "what was clicked came about: {registered}");
    for name in ["exposures-en-light.png", "exposures-zh-CN-dark.png", "findings-detail.png", "finding-endpoint-zh-CN.png"] {
        let shot = shots.join(name);
        let size = std::fs::metadata(&shot).map(|m| m.len()).unwrap_or(0);
        assert!(size > 10_000, "{} is {size} bytes", shot.display());
    }
}
