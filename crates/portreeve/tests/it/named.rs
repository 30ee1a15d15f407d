//! What answers, told as what it is wherever it is told: a MariaDB, a Redis and a panel behind TLS on ports that are not theirs,
//! a host that accepts on every port, a port that says nothing; on the command line, in the API, and in a real browser.

use crate::faults::initial_password;
use crate::world::{BINARY, Db, SOON, World};
use lab::{Kind, Lab, LabSpec, Manner, Server, eventually, recipe, run_cli};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What `portreeve scan` says of one port.
fn told(records: &[Value], ip: Ipv4Addr, port: u16) -> &Value {
    let same = |r: &&Value| r["ip"] == ip.to_string() && r["port"] == port;
    records.iter().find(same).unwrap_or_else(|| panic!("{ip}:{port} is not told: {records:#?}"))
}

fn scan(lab: &Lab, args: &[&str]) -> (Vec<Value>, String) {
    let all = [&["scan"][..], args, &["--identify", "--no-ping", "--format", "jsonl"]].concat();
    let output = run_cli(lab.scanner(), Path::new(BINARY), &all, Duration::from_secs(120)).unwrap();
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    (output.stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect(), output.stderr)
}

#[test]
fn everything_is_told_as_what_it_is_on_the_command_line_in_the_api_and_in_the_browser() {
    let spec = LabSpec::new().host("db", 10, Kind::Refusing).host("panel", 11, Kind::Refusing).host("mute", 12, Kind::Refusing);
    let world = World::start(spec.host("wall", 13, Kind::AcceptsAll), Db::Sqlite);
    let [db, panel, mute, wall] = ["db", "panel", "mute", "wall"].map(|name| world.lab.host(name).clone());
    db.serve(Server::MariaDb { port: 3307 }).unwrap();
    db.serve(Server::Redis { port: 16379 }).unwrap();
    let _panel = panel.cook(recipe::named("supervisor-tls"), &[9443]).unwrap();
    let _mute = mute.pretend(5555, Manner::Silent).unwrap();
    let version = recipe::named("supervisor").doors[0].true_version().unwrap().unwrap();
    let supervisor = version.split('-').next().unwrap();

    // The command line.
    let (records, stderr) = scan(&world.lab, &["10.99.7.10-10.99.7.13", "-p", "3307,5555,9443,16379,30001-31500"]);
    let service = |ip, port| told(&records, ip, port)["service"].clone();
    assert_eq!((&service(db.v4(), 3307)["name"], &service(db.v4(), 3307)["product"]), (&json!("mysql"), &json!("MariaDB")));
    assert_eq!((&service(db.v4(), 16379)["name"], &service(db.v4(), 16379)["product"]), (&json!("redis"), &json!("Redis")));
    let told_panel = service(panel.v4(), 9443);
    assert_eq!(told_panel["product"], "Supervisor", "{told_panel}");
    assert_eq!(told_panel["version"], supervisor, "{told_panel}");
    assert_eq!(told_panel["tls"]["names"], json!(["panel.lab.test"]), "{told_panel}");
    let silent = told(&records, mute.v4(), 5555);
    assert!(silent["service"].is_null() || silent["service"]["name"] == "", "{silent}");
    assert!(records.iter().filter(|r| r["ip"] == wall.v4().to_string()).all(|r| r["pseudo_open"] == true), "{records:#?}");
    assert!(stderr.contains(&format!("{} answers on every port", wall.v4())), "{stderr}");

    // The API.
    world.asset("10.99.7.0/28", "payments");
    world.run("full-all", &["10.99.7.10-10.99.7.12"], Some("3307,5555,9443,16379"));
    world.run("full-all", &["10.99.7.13"], Some("1-12000"));
    for (ip, port) in [(db.v4(), 3307), (db.v4(), 16379), (panel.v4(), 9443), (mute.v4(), 5555)] {
        world.until_phase(ip, port, "open", SOON);
    }
    world.run("panels", &["10.99.7.11"], None);
    let seen = |ip: Ipv4Addr, port| world.endpoint(ip, port).unwrap();
    for (ip, port, name, product) in
        [(db.v4(), 3307, "mysql", "MariaDB"), (db.v4(), 16379, "redis", "Redis"), (panel.v4(), 9443, "", "Supervisor")]
    {
        let at = eventually(&format!("{product} is named"), SOON, || {
            Some(seen(ip, port)).filter(|e| e["service"]["product"] == product)
        });
        assert!(name.is_empty() || at["service"]["name"] == name, "{at}");
        assert_eq!(at["service"]["tls"].is_object(), port == 9443, "{at}");
    }
    let silent =
        eventually("the silent port is told silent", SOON, || Some(seen(mute.v4(), 5555)).filter(|e| e["identity"] == "silent"));
    assert!(silent["service"].is_null() || silent["service"]["name"] == "", "{silent}");
    eventually("the wall is recognised", SOON, || {
        let hosts = world.api.items(&format!("/hosts?search={}", wall.v4())).unwrap();
        hosts.iter().any(|h| h["pseudo_open_ports"].as_u64().unwrap_or(0) > 1_000).then_some(())
    });
    let named = world.api.items(&format!("/endpoints?search={}", wall.v4())).unwrap();
    let named: Vec<&Value> = named.iter().filter(|e| e["service"]["product"].is_string()).collect();
    assert!(named.is_empty(), "nothing behind the wall is anything: {named:#?}");

    // The console.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let script = root.join("web/e2e/endpoints.mjs");
    if !root.join("web/dist/index.html").exists() || !root.join("web/node_modules/playwright-core").exists() {
        panic!("the console is not built\nhint: `make test` builds it; by hand: cd web && npm ci && npm run build");
    }
    let shots = root.join("target/console-screenshots");
    std::fs::create_dir_all(&shots).unwrap();
    let password = initial_password(&(world.serve.stdout() + &world.serve.stderr()));
    let page = |name: &str, ip: Ipv4Addr, port: u16, words: &str| format!("{name}=/endpoints/{ip}/tcp/{port}={words}");
    let pages = [
        page("named-mariadb", db.v4(), 3307, "MariaDB|3307"),
        page("named-redis", db.v4(), 16379, "Redis|16379"),
        page("named-panel", panel.v4(), 9443, &format!("Supervisor|{supervisor}|panel.lab.test")),
        page("named-silent", mute.v4(), 5555, "accepts and says nothing"),
        format!("named-wall=/hosts?search%3D{}=pseudo-open", wall.v4()),
    ];
    let mut node = Command::new("node");
    node.arg(&script).args([&world.serve.base_url(), "admin", &password]).arg(&shots);
    node.args(["--new-password", "a-longer-secret-of-the-lab"]).args(&pages).current_dir(root.join("web"));
    let printed = world.lab.scanner().run(&mut node).unwrap();
    assert!(printed.trim_end().lines().last().is_some_and(|last| last.starts_with("ok: ")), "{printed}");
    for name in ["mariadb", "redis", "panel", "silent", "wall"] {
        for language in ["en", "zh-CN"] {
            let shot = shots.join(format!("named-{name}-{language}.png"));
            let size = std::fs::metadata(&shot).map(|m| m.len()).unwrap_or(0);
            assert!(size > 10_000, "{} is {size} bytes", shot.display());
        }
    }
}
