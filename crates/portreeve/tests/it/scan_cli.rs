//! `portreeve scan` against the lab: what it prints compared with what is so, in both methods, both families and every format.

use crate::world::BINARY;
use lab::{Kind, Lab, LabSpec, Output, Proc, Server, Signal, eventually, recipe, run_cli};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

fn scan(lab: &Lab, args: &[&str]) -> Output {
    let mut all = vec!["scan"];
    all.extend(args);
    run_cli(lab.scanner(), Path::new(BINARY), &all, Duration::from_secs(90)).unwrap()
}

/// Runs a scan that must succeed and gives the objects it printed.
fn jsonl(lab: &Lab, args: &[&str]) -> Vec<Value> {
    let mut all = args.to_vec();
    all.extend(["--format", "jsonl"]);
    let output = scan(lab, &all);
    assert_eq!(output.code, Some(0), "{args:?}: {}", output.stderr);
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
    output.stdout.lines().map(parse).collect()
}

fn endpoints(found: &[Value]) -> BTreeSet<(IpAddr, u16)> {
    let open = found.iter().filter(|o| o["state"] == "open");
    open.map(|o| (o["ip"].as_str().unwrap().parse().unwrap(), o["port"].as_u64().unwrap() as u16)).collect()
}

/// Hosts of every kind but the wall, with servers spread over them.
fn neighbourhood() -> Lab {
    let lab = LabSpec::new()
        .host("web", 10, Kind::Refusing)
        .host("drop", 20, Kind::Dropping)
        .host("gate", 30, Kind::Prohibiting)
        .host("dark", 40, Kind::Dark)
        .start()
        .unwrap();
    for (host, server) in [
        ("web", Server::Redis { port: 6379 }),
        ("web", Server::Nginx { port: 80, title: "Shop".into() }),
        ("web", Server::NginxTls { port: 8443, title: "Panel".into() }),
        ("web", Server::Sshd { port: 22 }),
        ("drop", Server::Memcached { port: 11211 }),
        ("drop", Server::Silent { port: 8000 }),
        ("gate", Server::Vsftpd { port: 21 }),
        ("dark", Server::Rsync { port: 873 }),
    ] {
        lab.host(host).serve(server).unwrap();
    }
    lab
}

#[test]
fn what_is_open_is_found_in_both_methods_and_both_families() {
    let lab = neighbourhood();
    let ports = "high-risk";
    for method in ["syn", "connect"] {
        // Asked first which hosts are up, the dark one is passed by; told not to ask, it is found too.
        let v6: Vec<String> = lab.hosts().iter().map(|h| h.v6().to_string()).collect();
        let v6: Vec<&str> = v6.iter().map(String::as_str).collect();
        for (targets, v4) in [(vec!["10.99.7.0/26"], true), (v6.clone(), false)] {
            for ping in [true, false] {
                // Not asking costs a timeout for every dead address, of which the /26 has sixty.
                let targets = if v4 && !ping { vec!["10.99.7.10-10.99.7.42"] } else { targets.clone() };
                let mut args = targets.clone();
                args.extend([
                    "-p",
                    "21,22,80,873,6379,8000,8443,11211,1-200",
                    "--method",
                    method,
                    "--retries",
                    "1",
                    "--timeout-ms",
                    "700",
                ]);
                if !ping {
                    args.push("--no-ping");
                }
                let found = jsonl(&lab, &args);
                let truth = |hosts: &[&str]| -> BTreeSet<(IpAddr, u16)> {
                    let there = lab.truth().into_iter().filter(|o| o.ip.is_ipv4() == v4 && hosts.contains(&o.host.as_str()));
                    there.map(|o| (o.ip, o.port)).collect()
                };
                let found_at = endpoints(&found);
                match (method, ping) {
                    ("connect", true) => {
                        // Without raw sockets there may be no ICMP echo: of the hosts that drop or prohibit, it can know nothing.
                        assert!(found_at.is_superset(&truth(&["web"])), "{targets:?}: {found_at:?}");
                        assert!(found_at.is_subset(&truth(&["web", "drop", "gate"])), "{targets:?}: {found_at:?}");
                    }
                    (_, true) => assert_eq!(found_at, truth(&["web", "drop", "gate"]), "{method} {targets:?} asking first"),
                    (_, false) => assert_eq!(found_at, truth(&["web", "drop", "gate", "dark"]), "{method} {targets:?}"),
                }
                let reason = if method == "syn" { "syn-ack" } else { "connected" };
                for object in &found {
                    assert_eq!((&object["reason"], &object["proto"]), (&reason.into(), &"tcp".into()), "{object}");
                    assert!(object["ts"].as_str().unwrap().ends_with('Z'), "{object}");
                    for field in ["service", "risk"] {
                        assert!(object.get(field).is_some(), "{field} of {object}");
                    }
                }
            }
        }
    }
    // The catalogue's ports are a word of their own, and what the catalogue says is in the result.
    let found = jsonl(&lab, &["10.99.7.10", "-p", ports]);
    let redis = found.iter().find(|o| o["port"] == 6379).unwrap();
    assert!(redis["risk"].to_string().contains("redis"), "{redis}");
}

#[test]
fn all_states_tell_closed_from_filtered_with_the_reason() {
    let lab = neighbourhood();
    for method in ["syn", "connect"] {
        let args = ["10.99.7.10", "10.99.7.20", "10.99.7.30", "fd99:7::10", "fd99:7::20", "fd99:7::30", "-p", "7000-7002"];
        let mut all = args.to_vec();
        all.extend(["--all-states", "--no-ping", "--retries", "1", "--timeout-ms", "1500", "--method", method]);
        let found = jsonl(&lab, &all);
        assert_eq!(found.len(), 18, "one line per endpoint: {found:#?}");
        for object in &found {
            let (state, reason) = match object["ip"].as_str().unwrap().rsplit(['.', ':']).next().unwrap() {
                "10" => ("closed", if method == "syn" { "rst" } else { "conn-refused" }),
                "20" => ("filtered", "timeout"),
                // What the operating system says of a prohibition over IPv4 is "no route to host".
                _ if method == "connect" && object["reason"] == "icmp-unreachable" => ("filtered", "icmp-unreachable"),
                _ => ("filtered", "icmp-prohibited"),
            };
            assert_eq!((object["state"].as_str(), object["reason"].as_str()), (Some(state), Some(reason)), "{method} {object}");
        }
    }
}

#[test]
fn identification_names_what_answers() {
    let lab = neighbourhood();
    let found = jsonl(&lab, &["10.99.7.0/26", "10.99.7.40", "-p", "21,22,80,873,6379,8000,8443,11211", "--identify"]);
    for open in lab.truth_v4().into_iter().filter(|o| o.host != "dark") {
        let object = found.iter().find(|o| o["ip"] == open.ip.to_string() && o["port"] == open.port);
        let object = object.unwrap_or_else(|| panic!("{open:?} is missing"));
        if open.service.is_empty() {
            assert!(object["service"].is_null() || object["service"]["name"] == "", "{object}");
            continue;
        }
        assert_eq!(object["service"]["name"], open.service, "{object}");
        assert_eq!(object["service"]["tls"].is_object(), open.tls, "{object}");
        if let (Some(product), Some(seen)) = (open.product, object["service"]["product"].as_str()) {
            assert!(seen.eq_ignore_ascii_case(product), "{object}");
        }
    }
}

#[test]
fn every_format_is_what_its_readers_expect() {
    let lab = neighbourhood();
    let file = lab.fresh_dir("out").unwrap().join("scan.xml");
    let args = ["10.99.7.10", "-p", "22,80,6379", "--identify"];
    let with = |more: &[&str]| {
        let mut all = args.to_vec();
        all.extend(more);
        let output = scan(&lab, &all);
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        output
    };
    let xml = with(&["--format", "nmap-xml", "-o", file.to_str().unwrap()]);
    assert_eq!(xml.stdout, "", "results are in the file");
    assert!(
        Command::new("xmllint").arg("--noout").arg(&file).status().unwrap().success(),
        "{}",
        std::fs::read_to_string(&file).unwrap()
    );
    let text = std::fs::read_to_string(&file).unwrap();
    for part in [r#"<nmaprun"#, r#"addr="10.99.7.10""#, r#"portid="6379""#, r#"state="open""#, r#"name="redis""#, "</nmaprun>"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let csv = with(&["--format", "csv"]).stdout;
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines[0].starts_with("ip,port,proto,state,reason"), "{csv}");
    assert_eq!(lines.len(), 4, "{csv}");
    assert!(lines.iter().all(|l| l.split(',').count() >= lines[0].split(',').count()), "{csv}");
    let table = with(&["--format", "table"]);
    assert!(["6379", "redis", "22", "80"].iter().all(|word| table.stdout.contains(word)), "{}", table.stdout);
    assert!(!table.stderr.is_empty() && !table.stderr.contains("6379"), "a summary, apart from the data: {}", table.stderr);
    let again = with(&["--format", "jsonl", "--seed", "7"]);
    assert_eq!(again.stdout.lines().count(), 3, "{}", again.stdout);
}

#[test]
fn what_the_quick_look_leaves_is_named_when_every_question_is_asked() {
    let lab = LabSpec::new()
        .host("names", 10, Kind::Refusing)
        .host("agent", 11, Kind::Refusing)
        .host("folder", 12, Kind::Refusing)
        .start()
        .unwrap();
    // On ports that promise nothing: one waits for the rest of a message, one says nothing to an empty datagram, one hangs up.
    let _names = lab.host("names").cook(recipe::named("dnsmasq"), &[23_531, 23_531]).unwrap();
    let _agent = lab.host("agent").cook(recipe::named("snmpd"), &[23_533]).unwrap();
    let _folder = lab.host("folder").cook(recipe::named("slapd"), &[23_535]).unwrap();
    let args = ["10.99.7.10-10.99.7.12", "-p", "23531,23535", "--udp", "23531,23533", "--no-ping", "--identify"];
    let named = |more: &[&str]| {
        let found = jsonl(&lab, &[&args[..], more].concat());
        assert!(found.iter().all(|o| o["state"] == "open"), "{found:#?}");
        let line = |o: &Value| {
            let service = o["service"]["name"].as_str().unwrap_or("-");
            format!("{}/{} {service}", o["port"], o["proto"].as_str().unwrap())
        };
        found.iter().map(line).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
    };
    assert_eq!(named(&[]), "23531/tcp -, 23535/tcp ldap");
    assert_eq!(named(&["--thorough"]), "23531/tcp dns, 23531/udp dns, 23533/udp snmp, 23535/tcp ldap");
}

#[test]
fn a_wall_that_accepts_everywhere_is_summed_up() {
    let lab = LabSpec::new().host("wall", 50, Kind::AcceptsAll).start().unwrap();
    lab.host("wall").serve(Server::Redis { port: 6379 }).unwrap();
    for format in ["table", "jsonl"] {
        let output = scan(&lab, &["10.99.7.50", "-p", "all", "--rate", "20000", "--retries", "0", "--format", format]);
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        let lines = output.stdout.lines().count();
        assert!(lines < 200, "{format}: {lines} lines for a host that accepts on all 65,535 ports");
        assert!(output.stdout.lines().any(|l| l.contains("6379")), "{format}: {}", output.stdout);
        assert!(output.stderr.contains("10.99.7.50 answers on every port"), "{format}: {}", output.stderr);
    }
}

#[test]
fn wrong_words_are_named_and_exit_with_two() {
    let lab = LabSpec::new().start().unwrap();
    for (args, word) in [
        (vec!["10.0.0.0/33"], "10.0.0.0/33"),
        (vec!["10.99.7.10", "not_a_host!"], "not_a_host!"),
        (vec!["10.99.7.9-10.99.7.1"], "10.99.7.9-10.99.7.1"),
        (vec!["224.0.0.1"], "224.0.0.1"),
        (vec!["255.255.255.255"], "255.255.255.255"),
        (vec!["0.0.0.0"], "0.0.0.0"),
        (vec!["10.99.7.10", "-p", "22,0"], "0"),
        (vec!["10.99.7.10", "-p", "9-3"], "9-3"),
        (vec!["10.99.7.10", "-p", "everything"], "everything"),
        (vec!["10.99.7.10", "--method", "udp"], "udp"),
        (vec!["10.99.7.10", "--exclude", "10.0.0.0/99"], "10.0.0.0/99"),
        (vec!["@/nonexistent/targets"], "/nonexistent/targets"),
        (vec!["10.99.7.10", "--colour"], "--colour"),
        (vec![], "TARGET"),
        // More than 256 public addresses, without saying that one may.
        (vec!["8.8.0.0/22"], "--authorized"),
    ] {
        let output = scan(&lab, &args);
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{args:?}: {}", output.stderr);
        assert!(output.stderr.contains(word), "{args:?} does not name `{word}`: {}", output.stderr);
    }
    let output = scan(&lab, &["10.99.7.10", "-o", "/nonexistent/dir/out.jsonl"]);
    assert_eq!(output.code, Some(1), "a failure, not a wrong word: {}", output.stderr);
    assert!(output.stderr.contains("/nonexistent/dir/out.jsonl"), "{}", output.stderr);
}

#[test]
fn excluded_addresses_get_no_packet_and_targets_come_from_files() {
    let lab = neighbourhood();
    let file = lab.fresh_dir("targets").unwrap().join("list");
    std::fs::write(&file, "# the lab\n10.99.7.10\n10.99.7.20-10.99.7.22\n\nfd99:7::10\n").unwrap();
    let from_file = format!("@{}", file.display());
    let found =
        jsonl(&lab, &[&from_file, "--exclude", "10.99.7.20,fd99:7::10", "-p", "1-100,6379,11211", "--no-ping", "--retries", "0"]);
    let web: IpAddr = lab.host("web").v4().into();
    assert_eq!(endpoints(&found), [(web, 22), (web, 80), (web, 6379)].into());
    for (ip, probed) in
        [("10.99.7.10", true), ("10.99.7.20", false), ("10.99.7.21", true), ("fd99:7::10", false), ("10.99.7.30", false)]
    {
        let packets = lab.packets_to(ip.parse().unwrap()).unwrap();
        assert_eq!(packets > 0, probed, "{ip}: {packets} packets");
    }
}

#[test]
fn an_interrupted_scan_gives_what_it_has_found() {
    let lab = LabSpec::new().host("web", 10, Kind::Refusing).start().unwrap();
    let ports: Vec<u64> = (1..=20).map(|n| n * 3_000).collect();
    for &port in &ports {
        lab.host("web").serve(Server::Silent { port: port as u16 }).unwrap();
    }
    let dir = lab.fresh_dir("out").unwrap();
    let (out, err) = (dir.join("stdout"), dir.join("stderr"));
    let mut command = Command::new(BINARY);
    command.args(["scan", "10.99.7.10", "-p", "1-65535", "--rate", "3000", "--format", "jsonl", "--no-ping", "--method", "syn"]);
    command.stdin(Stdio::null()).stdout(std::fs::File::create(&out).unwrap()).stderr(std::fs::File::create(&err).unwrap());
    let mut proc = Proc::start_with_stdio("portreeve scan", Some(lab.scanner()), &mut command, &err).unwrap();
    // Twenty seconds of sweep, twenty open ports: one is met early, whatever the order, and printed when it is met.
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    eventually("the first open port is printed", Duration::from_secs(15), || read(&out).contains('\n').then_some(()));
    proc.signal(Signal::INT);
    let status = proc.wait(Duration::from_secs(5)).unwrap();
    let (stdout, stderr) = (read(&out), read(&err));
    assert!(status.code().is_some(), "it ended by itself: {status}");
    let found: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(found.iter().all(|o| ports.contains(&o["port"].as_u64().unwrap())), "{stdout}");
    assert!((1..20).contains(&found.len()), "interrupted, yet {} found", found.len());
    assert!(stderr.to_lowercase().contains("interrupt"), "{stderr}");
}
