//! Other scanners' results in a running system: a real nmap's file imported, twice, cut short, by those who may not; and a real
//! scanner as the engine of a task.

use crate::world::{Db, SOON, World};
use lab::{Kind, LabSpec, Server, eventually};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

const HOST: &str = "10.99.7.10";

/// Runs a command in the scanner's namespace.
fn in_scanner(world: &World, argv: &[&str]) -> std::process::Output {
    let name = world.lab.scanner().name().to_owned();
    Command::new("ip").args(["netns", "exec", &name]).args(argv).output().unwrap()
}

/// What nmap writes about the lab's host: its Redis, probed, and two ports beside it.
fn nmap(world: &World, file: &Path) {
    let file = file.display().to_string();
    let argv = ["nmap", "-n", "-sS", "-sV", "--version-light", "-p", "22,6379,6380,7000-7100", "-oX", &file, HOST];
    let out = in_scanner(world, &argv);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// Runs `portreeve import` in the scanner's namespace; exit code, standard output and messages.
fn import(world: &World, token: &str, args: &[&str]) -> (i32, String, String) {
    let mut argv = vec!["env", "-u", "PORTREEVE_TOKEN"];
    let token = format!("PORTREEVE_TOKEN={token}");
    argv.extend([token.as_str(), crate::world::BINARY, "import"]);
    argv.extend(args);
    let out = in_scanner(world, &argv);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr))
}

fn endpoints(world: &World) -> Vec<Value> {
    world.api.items("/endpoints").unwrap()
}

/// A host whose only open port is a Redis.
fn redis_lab() -> LabSpec {
    LabSpec::new().host("cache", 10, Kind::Refusing)
}

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn file(world: &World, name: &str) -> PathBuf {
    world.lab.fresh_dir(&format!("import-{name}")).unwrap().join(name)
}

#[test]
fn a_real_nmap_file_enters_with_its_identification_and_its_source_once() {
    let world = World::start(redis_lab(), Db::Sqlite);
    world.lab.host("cache").serve(Server::Redis { port: 6379 }).unwrap();
    world.asset(HOST, "payments");
    let xml = file(&world, "nmap.xml");
    nmap(&world, &xml);
    let path = xml.display().to_string();

    let (code, out, err) = import(&world, "", &["--dry-run", &path]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("10.99.7.10:6379/tcp  open  syn-ack") && out.contains("import:nmap confidence 10"), "{out}");
    assert!(err.contains("would import") && endpoints(&world).is_empty(), "{err}");

    let operator = world.serve.api_as("operator").unwrap();
    let (code, _, err) = import(&world, operator.token(), &["--vantage", "dmz", &path]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("imported") && err.contains("nmap-xml, by nmap") && !err.contains("refused"), "{err}");
    let seen = endpoints(&world);
    assert_eq!(seen.len(), 1, "only what is open is kept: {seen:?}");
    let redis = &seen[0];
    assert_eq!((&redis["vantage"], &redis["port"], &redis["phase"]), (&json!("dmz"), &json!(6379), &json!("open")), "{redis}");
    assert_eq!((&redis["service"]["name"], &redis["evidence"]), (&json!("redis"), &json!("nmap-probe")), "{redis}");
    assert_eq!(redis["service"]["source"], json!({"name": "import:nmap", "confidence": 10}), "{redis}");
    let exposures = world.api.items("/exposures").unwrap();
    assert_eq!(exposures.len(), 1, "{exposures:?}");
    let events = world.api.items("/events").unwrap().len();

    // Again: not a byte of what is known changes, and the trail has one entry for one act.
    let (code, _, err) = import(&world, operator.token(), &["--vantage", "dmz", &path]);
    assert!(code == 0 && err.contains("had been imported before"), "{err}");
    assert_eq!((endpoints(&world), world.api.items("/events").unwrap().len()), (seen, events));
    let trail = world.api.items("/audit?action=results.import").unwrap();
    assert_eq!(trail.len(), 1, "{trail:?}");
    assert_eq!((&trail[0]["detail"]["source"], &trail[0]["detail"]["vantage"]), (&json!("import:nmap"), &json!("dmz")));

    // A file that does not mention it closes nothing; one that says it closed twice, later, does.
    let said = |state: &str, at: &str| {
        format!(
            "<nmaprun scanner=\"nmap\"><host endtime=\"{at}\"><status state=\"up\" reason=\"arp-response\"/>\
             <address addr=\"{HOST}\" addrtype=\"ipv4\"/><ports>{state}</ports></host></nmaprun>"
        )
    };
    let closed = "<extraports state=\"closed\" count=\"9\"><extrareasons reason=\"resets\" count=\"9\" proto=\"tcp\" ports=\"6375-6383\"/></extraports>";
    let phase = || endpoints(&world)[0]["phase"].as_str().unwrap().to_owned();
    std::fs::write(&xml, said("", &now_s().to_string())).unwrap();
    assert_eq!(import(&world, operator.token(), &["--vantage", "dmz", &path]).0, 0);
    assert_eq!(phase(), "open", "absence closes nothing");
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    for (vantage, expected) in [("elsewhere", "open"), ("dmz", "open")] {
        std::fs::write(&xml, said(closed, &now_s().to_string())).unwrap();
        let (code, _, err) = import(&world, operator.token(), &["--vantage", vantage, &path]);
        assert_eq!((code, phase().as_str()), (0, expected), "{vantage}: {err}");
    }
    std::thread::sleep(std::time::Duration::from_millis(10_500));
    std::fs::write(&xml, said(closed, &now_s().to_string())).unwrap();
    let (code, _, err) = import(&world, operator.token(), &["--vantage", "dmz", &path]);
    assert_eq!((code, phase().as_str()), (0, "closed"), "two refusals ten seconds apart: {err}");
}

#[test]
fn what_is_outside_the_scope_cut_short_or_not_allowed_is_said() {
    let world = World::start(LabSpec::new(), Db::Sqlite);
    world.asset(HOST, "payments");
    let list = file(&world, "list");
    let path = list.display().to_string();
    let operator = world.serve.api_as("operator").unwrap();

    std::fs::write(&list, "#masscan\nopen tcp 80 10.99.7.10 1700000000\nopen tcp 80 192.0.2.1 1700000000\nopen tcp 8").unwrap();
    let (code, _, err) = import(&world, operator.token(), &[&path]);
    assert_eq!(code, 1, "{err}");
    for part in ["1 sightings refused: outside the scope", "line 4", "within a line", "hint:", "2 port states"] {
        assert!(err.contains(part), "{err} lacks {part}");
    }
    let seen = endpoints(&world);
    assert_eq!(seen.len(), 1, "{seen:?}");
    // One open port, seen once, from where no node of ours stands, is not confirmed by itself.
    assert_eq!((&seen[0]["vantage"], &seen[0]["phase"]), (&json!("import"), &json!("pending")), "{seen:?}");
    assert_eq!(seen[0]["last_observed_at"], "2023-11-14T22:13:20.000Z", "at the file's own instant");

    // UDP ports enter as UDP ports, and a file of them says nothing about TCP.
    std::fs::write(&list, "{\"ip\":\"10.99.7.10\",\"port\":53,\"protocol\":\"udp\"}\n").unwrap();
    let (code, _, err) = import(&world, operator.token(), &[&path]);
    assert!(code == 0 && err.contains("naabu-json, by naabu") && err.contains("1 port states"), "{err}");
    let mut seen: Vec<_> = endpoints(&world).iter().map(|e| (e["port"].clone(), e["proto"].clone())).collect();
    seen.sort_by_key(|(port, _)| port.as_u64());
    assert_eq!(seen, [(json!(53), json!("udp")), (json!(80), json!("tcp"))]);

    std::fs::write(&list, "open tcp 80 10.99.7.10 1700000000\n").unwrap();
    let viewer = world.serve.api_as("viewer").unwrap();
    for (token, args, part) in [
        (viewer.token(), vec![path.as_str()], "role operator"),
        ("prt_nobody", vec![&path], "unknown, revoked or expired"),
        ("", vec![&path], "no token"),
        (operator.token(), vec!["--vantage", "a b", &path], "`a b` is not a name"),
        (operator.token(), vec!["--format", "nmap-xml", &path], "outside the document"),
        (operator.token(), vec!["/nowhere/file"], "cannot be read"),
    ] {
        let (code, _, err) = import(&world, token, &args);
        let said = err.lines().any(|line| line.starts_with("error: "));
        assert!(code == 1 && err.contains(part) && said, "{args:?}: {code} {err}");
    }
    std::fs::write(&list, "<!DOCTYPE nmaprun [<!ENTITY a \"b\">]>\n<nmaprun/>").unwrap();
    let (code, _, err) = import(&world, operator.token(), &[&path]);
    assert!(code == 1 && err.contains("line 1") && err.contains("declarations"), "{err}");
}

#[test]
fn a_task_is_done_by_the_scanner_of_the_configuration_and_by_no_other() {
    let config = "[engines.nmap]\n\
                  sweep = [\"nmap\", \"-n\", \"-sS\", \"-sV\", \"--version-light\", \"-p\", \"{ports}\", \"--max-rate\", \"{rate}\", \"-iL\", \"{targets_file}\", \"-oX\", \"-\"]\n";
    let world = World::start_with(redis_lab(), Db::Sqlite, |spec, lab| {
        let path = lab.fresh_dir("config").unwrap().join("portreeve.toml");
        std::fs::write(&path, config).unwrap();
        spec.arg("--config").arg(&path.display().to_string())
    });
    world.lab.host("cache").serve(Server::Redis { port: 6379 }).unwrap();
    world.asset(HOST, "payments");
    assert_eq!(world.api.get("/system").unwrap()["node"]["engines"], json!(["nmap"]));
    let task = |engine: &str| {
        let body = json!({
            "kind": "full-all", "name": engine, "target": {"type": "ranges", "ranges": [HOST]}, "ports": "6300-6400",
            "trigger": {"type": "once"}, "engine": engine,
        });
        world.api.post("/tasks", &body).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let made = task("nmap");
    let view = world.api.get(&format!("/tasks/{made}")).unwrap();
    assert_eq!((&view["engine"], &view["retries"]), (&json!("nmap"), &Value::Null), "{view}");
    let run = world.ended(&made, SOON);
    assert_eq!(run["state"], "succeeded", "{run}");
    let swept = world.api.items(&format!("/jobs?task={made}")).unwrap();
    assert!(swept.iter().all(|j| j["error"].is_null()), "{swept:?}");
    // Our own confirmation has told by now what it is, or nmap's word stands until it has.
    let redis = world.until_phase("10.99.7.10".parse::<std::net::IpAddr>().unwrap(), 6379, "open", SOON);
    assert_eq!(redis["service"]["name"], "redis", "{redis}");
    assert_eq!(world.api.items("/endpoints").unwrap().len(), 1);
    let missing = task("zmap");
    eventually("a node without the engine says so", SOON, || {
        let jobs = world.api.items(&format!("/jobs?task={missing}")).unwrap();
        jobs.iter().any(|j| j["error"].as_str().is_some_and(|e| e.contains("has no engine `zmap`; it has nmap"))).then_some(())
    });
    for (field, value) in [("engine", json!("rm -rf /")), ("engine", json!("Nmap"))] {
        let mut body = json!({"kind": "full-all", "name": "x", "target": {"type": "all-assets"}, "trigger": {"type": "once"}});
        body[field] = value;
        let reply = world.api.call("POST", "/tasks", Some(&body)).unwrap();
        assert!(reply.status == 422 && reply.text().contains("\"engine\""), "{}", reply.text());
    }
}
