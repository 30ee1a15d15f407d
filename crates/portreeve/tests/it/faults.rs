//! Starting badly: each fault has a clear message with a hint, nothing is harmed, and what can recover recovers.

use crate::world::{BINARY, Db, World};
use lab::{Lab, LabSpec, Output, Portreeve, ServeSpec, TempPostgres, eventually, run_cli};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Runs `portreeve serve` in the expectation that it ends by itself, in failure.
fn fails(lab: &Lab, args: &[&str]) -> Output {
    let mut all = vec!["serve"];
    all.extend(args);
    let output = run_cli(lab.scanner(), Path::new(BINARY), &all, Duration::from_secs(30)).unwrap();
    assert!(matches!(output.code, Some(1 | 2)), "{output:?}");
    assert!(output.stderr.starts_with("error: ") || output.stderr.contains("\nerror: "), "{}", output.stderr);
    assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
    output
}

#[test]
fn an_unknown_config_key_is_named() {
    let lab = LabSpec::new().start().unwrap();
    let dir = lab.fresh_dir("config").unwrap();
    let file = dir.join("portreeve.toml");
    std::fs::write(&file, "slotz = 5\n").unwrap();
    let output = fails(&lab, &["--data", dir.join("data").to_str().unwrap(), "--config", file.to_str().unwrap()]);
    assert!(output.stderr.contains("slotz") && output.stderr.contains("hint:"), "{}", output.stderr);
    assert!(!dir.join("data").join("portreeve.db").exists(), "nothing was made");
    let absent = fails(&lab, &["--data", dir.join("data").to_str().unwrap(), "--config", "/nonexistent.toml"]);
    assert!(absent.stderr.contains("/nonexistent.toml"), "{}", absent.stderr);
    let bad = fails(&lab, &["--data", dir.join("data").to_str().unwrap(), "--watch", "10.0.0.0/33"]);
    assert!(bad.stderr.contains("`10.0.0.0/33`"), "{}", bad.stderr);
}

#[test]
fn an_unknown_variable_is_named_and_the_log_filter_is_none() {
    for (variable, value, named) in [("PORTREEVE_SLOTZ", "5", "slotz"), ("PORTREEVE_SLOTS", "0", "`slots`")] {
        let mut serve = Command::new(BINARY);
        serve.args(["serve", "--data", "/nonexistent/data"]).env("PORTREEVE_LOG", "debug").env(variable, value);
        let output = serve.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(named), "{variable}={value}: {said}");
    }
}

#[test]
fn a_busy_port_is_named_with_a_hint() {
    let lab = LabSpec::new().start().unwrap();
    let dir = lab.fresh_dir("data").unwrap();
    let listener = lab.scanner().enter(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 8460))).unwrap();
    let output = fails(&lab, &["--data", dir.to_str().unwrap(), "--listen", "127.0.0.1:8460"]);
    assert!(output.stderr.contains("127.0.0.1:8460") && output.stderr.contains("hint:"), "{}", output.stderr);
    drop(listener);
}

#[test]
fn a_second_server_on_the_same_data_is_refused_and_the_first_goes_on() {
    for db in [Db::Sqlite, Db::Postgres] {
        let world = World::start(LabSpec::new(), db);
        let data = world.serve.spec().data.to_str().unwrap().to_owned();
        let mut args = vec!["--data", data.as_str(), "--listen", "127.0.0.1:8461"];
        let url = world.postgres.as_ref().map(|p| p.url());
        if let Some(url) = &url {
            args.extend(["--db", url]);
        }
        let output = fails(&world.lab, &args);
        assert!(output.stderr.contains("hint:"), "{db:?}: {}", output.stderr);
        if matches!(db, Db::Sqlite) {
            assert!(
                output.stderr.contains(&world.serve.pid().to_string()),
                "it names the process that holds it: {}",
                output.stderr
            );
        }
        world.api.get("/system").unwrap();
    }
}

/// Says that a later version of portreeve has migrated the database.
fn make_newer(world: &World) {
    let sql = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m99990101_000001_from_the_future', 1)";
    match &world.postgres {
        Some(postgres) => drop(postgres.psql("portreeve", sql).unwrap()),
        None => {
            let db = world.serve.spec().data.join("portreeve.db");
            let script = format!("import sqlite3; c = sqlite3.connect('{}'); c.execute(\"{sql}\"); c.commit()", db.display());
            assert!(Command::new("/usr/bin/python3").args(["-c", &script]).status().unwrap().success());
        }
    }
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    for db in [Db::Sqlite, Db::Postgres] {
        let mut world = World::start(LabSpec::new(), db);
        assert!(world.serve.terminate(Duration::from_secs(15)).unwrap().success(), "{}", world.serve.log());
        make_newer(&world);
        let data = world.serve.spec().data.to_str().unwrap().to_owned();
        let mut args = vec!["--data", data.as_str()];
        let url = world.postgres.as_ref().map(|p| p.url());
        if let Some(url) = &url {
            args.extend(["--db", url]);
        }
        let output = fails(&world.lab, &args);
        assert!(output.stderr.contains("newer") && output.stderr.contains("hint:"), "{db:?}: {}", output.stderr);
    }
}

#[test]
fn postgresql_down_at_the_start_is_said_and_waited_for() {
    let lab = LabSpec::new().start().unwrap();
    let mut postgres = TempPostgres::start_in(lab.scanner()).unwrap();
    postgres.stop();
    let spec = ServeSpec::new(BINARY, lab.fresh_dir("data").unwrap()).db(&postgres.url());
    let mut serve = Portreeve::spawn(lab.scanner(), spec).unwrap();
    eventually("it says that the database is unreachable, with a hint", Duration::from_secs(20), || {
        let said = serve.stderr();
        (said.contains("127.0.0.1") && said.contains("hint")).then_some(())
    });
    assert!(!serve.stderr().contains("panicked"), "{}", serve.log());
    postgres.resume().unwrap();
    serve.wait_healthy().unwrap();
    serve.api().unwrap().get("/system").unwrap();
}

#[test]
fn without_raw_sockets_it_says_so_and_connects_instead() {
    let lab = LabSpec::new().host("web", 10, lab::Kind::Refusing).start().unwrap();
    lab.host("web").serve(lab::Server::Silent { port: 7777 }).unwrap();
    let run = |method: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", "-net_raw", "--inh-caps", "-net_raw", BINARY, "scan", "10.99.7.10", "-p", "7777,7778"]);
        command.args(["--no-ping", "--format", "jsonl", "--method", method]).stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        let output = lab.scanner().spawn(&mut command).unwrap().wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, stdout, stderr) = run("auto");
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains(r#""port":7777"#) && stderr.contains("connect"), "{stdout}{stderr}");
    let (code, stdout, stderr) = run("syn");
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.contains("error: ") && stderr.contains("hint:"), "{stderr}");
}

#[test]
fn the_first_start_says_how_to_sign_in_and_later_ones_do_not() {
    let mut world = World::start(LabSpec::new(), Db::Sqlite);
    let first = world.serve.stdout() + &world.serve.stderr();
    assert!(first.contains("http://127.0.0.1:8460") && first.contains("admin"), "{first}");
    let password = initial_password(&first);
    let sign_in = |password: &str| {
        let body = serde_json::json!({"name": "admin", "password": password}).to_string();
        let http = world.serve.http();
        http.request("POST", "/api/v1/session", &[("Content-Type", "application/json")], Some(body.as_bytes())).unwrap()
    };
    let wrong = sign_in("not the password");
    assert_eq!((wrong.status, wrong.json()["code"].as_str()), (401, Some("unauthenticated")), "{}", wrong.text());
    let reply = sign_in(&password);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let cookie = reply.header("set-cookie").unwrap();
    assert!(
        cookie.starts_with("portreeve_session=") && cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
    world.serve.restart().unwrap();
    let both = world.serve.stdout() + &world.serve.stderr();
    assert_eq!(both.matches(&password).count(), first.matches(&password).count(), "the password is said at the first start only");
}

/// The administrator's first password, as the first start prints it: `sign in  admin / …`.
pub fn initial_password(printed: &str) -> String {
    let word = printed.lines().find_map(|line| line.trim().strip_prefix("sign in")?.trim().strip_prefix("admin / "));
    word.unwrap_or_else(|| panic!("no password in:\n{printed}")).to_owned()
}
