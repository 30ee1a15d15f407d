//! UDP end to end (D9): real servers asked in their own language, named by their answers, watched, and told closed when they are.

use crate::truth::found;
use crate::world::{BINARY, Db, World};
use lab::{Host, Kind, Lab, LabSpec, Proc, eventually, run_cli};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A UDP server on a host of the lab. Ends when dropped.
struct Served {
    _proc: Proc,
}

/// Starts the command in the host's namespace and waits until something listens on the UDP port of its address.
fn serve(lab: &Lab, host: &Host, port: u16, command: &[&str]) -> Served {
    let dir = lab.fresh_dir(command[0]).unwrap();
    let mut with_dir = Command::new(command[0]);
    with_dir.args(&command[1..]).current_dir(&dir);
    let mut proc = Proc::start(command[0], Some(host.namespace()), &mut with_dir, &dir.join("log")).unwrap();
    let wanted = [format!("{}:{port}", host.v4()), format!("0.0.0.0:{port}")];
    eventually(&format!("{} listens on {port}/udp", command[0]), Duration::from_secs(20), || {
        assert!(proc.ended().is_none(), "{} ended: {}", command[0], proc.log_tail());
        let listening = host.namespace().run(Command::new("ss").args(["-Hlnu"])).unwrap();
        listening.split_whitespace().any(|word| wanted.iter().any(|w| word == w)).then_some(())
    });
    Served { _proc: proc }
}

fn write(lab: &Lab, name: &str, text: &str) -> String {
    let file = lab.fresh_dir("config").unwrap().join(name);
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

fn snmpd(lab: &Lab, host: &Host) -> Served {
    let config = write(lab, "snmpd.conf", &format!("agentaddress udp:{}:161\nrocommunity nobodyknows\n", host.v4()));
    serve(lab, host, 161, &["snmpd", "-f", "-Lf", "/dev/null", "-C", "-c", &config])
}

/// Every server that there is a small package of, each on its own port.
fn servers(lab: &Lab, host: &Host) -> Vec<Served> {
    let ip = host.v4().to_string();
    let files = lab.fresh_dir("files").unwrap();
    let chrony = format!(
        "local stratum 10\nallow all\nbindaddress {ip}\ncmdport 0\nbindcmdaddress /\npidfile {}/chrony.pid\n",
        files.display()
    );
    let inetd = |name: &str, port: u16| {
        format!(
            "service {name}\n{{\n type = INTERNAL UNLISTED\n id = {name}-dgram\n port = {port}\n socket_type = dgram\n protocol = udp\n user = root\n wait = yes\n}}\n"
        )
    };
    let xinetd = format!("defaults\n{{\n bind = {ip}\n}}\n{}{}{}", inetd("echo", 7), inetd("daytime", 13), inetd("chargen", 19));
    let [chrony, xinetd] = [write(lab, "chrony.conf", &chrony), write(lab, "xinetd.conf", &xinetd)];
    let certificate = ["cert.pem", "key.pem"].map(|name| files.join(name).to_str().unwrap().to_owned());
    let request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=lab"];
    let made =
        Command::new("openssl").args(request).args(["-out", &certificate[0], "-keyout", &certificate[1]]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let [cert, key] = &certificate;
    let tftp_root = format!("--tftp-root={}", files.display());
    let listen = format!("--listen-address={ip}");
    let dnsmasq = [
        "dnsmasq",
        "-k",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--pid-file=",
        "--user=root",
        "--bind-interfaces",
        "--enable-tftp",
        &tftp_root,
        &listen,
    ];
    let openvpn = [
        "openvpn",
        "--dev",
        "null",
        "--ifconfig-noexec",
        "--proto",
        "udp",
        "--local",
        &ip,
        "--port",
        "1194",
        "--tls-server",
        "--dh",
        "none",
        "--ca",
        cert,
        "--cert",
        cert,
        "--key",
        key,
    ];
    let pid = files.join("xinetd.pid");
    vec![
        serve(lab, host, 53, &dnsmasq),
        snmpd(lab, host),
        serve(lab, host, 123, &["chronyd", "-d", "-x", "-u", "root", "-f", &chrony]),
        serve(lab, host, 111, &["rpcbind", "-f", "-h", &ip]),
        serve(lab, host, 11211, &["memcached", "-u", "nobody", "-l", &ip, "-U", "11211"]),
        serve(lab, host, 5683, &["coap-server-notls", "-A", &ip]),
        serve(lab, host, 1194, &openvpn),
        serve(lab, host, 19, &["xinetd", "-dontfork", "-f", &xinetd, "-pidfile", pid.to_str().unwrap()]),
    ]
}

/// Service, product and version of each port of the host that is served.
const NAMED: &[(u16, &str, Option<&str>, bool)] = &[
    (7, "echo", None, false),
    (13, "daytime", None, false),
    (19, "chargen", None, false),
    (53, "dns", Some("dnsmasq"), true),
    (69, "tftp", None, false),
    (111, "rpcbind", None, false),
    (123, "ntp", None, false),
    (161, "snmp", Some("Net-SNMP"), false),
    (1194, "openvpn", None, false),
    (5683, "coap", None, false),
    (11211, "memcached", Some("memcached"), true),
];

#[test]
fn udp_services_are_found_and_named_and_silence_is_not_called_closed() {
    let spec = LabSpec::new().host("server", 10, Kind::Refusing).host("drop", 20, Kind::Dropping).host(
        "prohibits",
        30,
        Kind::Prohibiting,
    );
    let lab = spec.start().unwrap();
    let _servers = servers(&lab, lab.host("server"));
    for method in ["syn", "connect"] {
        let targets = ["10.99.7.10", "10.99.7.20", "10.99.7.30"];
        let args =
            [&targets[..], &["-p", "udp", "--no-ping", "--identify", "--all-states", "--timeout-ms", "700", "--method", method]]
                .concat();
        let records = found(&lab, &args);
        let all: BTreeMap<(String, u64), &Value> =
            records.iter().map(|r| ((r["ip"].as_str().unwrap().to_owned(), r["port"].as_u64().unwrap()), r)).collect();
        assert_eq!((all.len(), records.len()), (90, 90), "thirty ports of three hosts, each once, by {method}");
        assert!(records.iter().all(|r| r["proto"] == "udp"));
        let said = |ip: &str, port: u64| {
            let record = all[&(ip.to_owned(), port)];
            (record["state"].as_str().unwrap(), record["reason"].as_str().unwrap())
        };
        for (_, port) in all.keys().filter(|(ip, _)| ip == "10.99.7.10") {
            let served = NAMED.iter().any(|(named, ..)| u64::from(*named) == *port);
            let truth = if served { ("open", "udp-response") } else { ("closed", "icmp-port-unreachable") };
            assert_eq!(said("10.99.7.10", *port), truth, "{port}/udp by {method}");
            assert_eq!(said("10.99.7.20", *port), ("open|filtered", "timeout"), "{port}/udp by {method}");
            assert_eq!(said("10.99.7.30", *port), ("filtered", "icmp-prohibited"), "{port}/udp by {method}");
        }
        for (port, name, product, version) in NAMED {
            let service = &all[&("10.99.7.10".to_owned(), u64::from(*port))]["service"];
            assert_eq!(service["name"], *name, "{port}/udp by {method}: {service}");
            assert_eq!(service["product"].as_str(), *product, "{port}/udp by {method}: {service}");
            assert_eq!(service["version"].is_string(), *version, "{port}/udp by {method}: {service}");
        }
    }
    // What others read says the protocol too.
    let args = ["scan", "10.99.7.10", "-p", "1-3", "--udp", "53,161", "--format", "nmap-xml", "--quiet"];
    let xml = run_cli(lab.scanner(), Path::new(BINARY), &args, Duration::from_secs(90)).unwrap().stdout;
    assert!(xml.contains("<scaninfo type=\"udp\" protocol=\"udp\" numservices=\"2\" services=\"53,161\"/>"), "{xml}");
    assert!(xml.contains("<port protocol=\"udp\" portid=\"161\">"), "{xml}");
}

#[test]
fn a_watched_udp_service_becomes_an_exposure_and_closes_when_it_stops() {
    let mut world = World::start(LabSpec::new().host("agent", 10, Kind::Refusing), Db::Sqlite);
    world.settings(|s| s["hysteresis"]["silent_span"] = json!(6_000));
    let agent = world.lab.host("agent").clone();
    let snmp = snmpd(&world.lab, &agent);
    world.asset("10.99.7.0/24", "networks");
    world.run("liveness", &["10.99.7.0/24"], None);

    world.run("full-online", &["10.99.7.10"], Some("U:123,U:161"));
    let exposure =
        world.until_exposure(agent.v4(), 161, "SNMP is seen", |e| e["phase"] == "open" && e["service"]["name"] == "snmp");
    assert_eq!(exposure["proto"], "udp", "{exposure}");
    assert_eq!((&exposure["risk"]["kind"], &exposure["risk"]["entry"]), (&json!("high-risk-port"), &json!("snmp")), "{exposure}");
    assert!(world.exposure(agent.v4(), 123).is_none(), "nothing answers there");
    let endpoint = || {
        let path = format!("/endpoints/{}/udp/161", agent.v4());
        world.api.get(&path).unwrap()["endpoints"][0].clone()
    };
    let seen = endpoint();
    assert_eq!(
        (&seen["phase"], &seen["state"], &seen["reason"]),
        (&json!("open"), &json!("open"), &json!("udp-response")),
        "{seen}"
    );
    assert_eq!(seen["service"]["product"], "Net-SNMP", "{seen}");
    let sizes = &seen["service"]["amplification"];
    let (asked, answered) = (sizes["asked"].as_f64().unwrap(), sizes["answered"].as_f64().unwrap());
    assert!(asked > 0.0 && answered > 0.0, "{sizes}");
    assert!((sizes["ratio"].as_f64().unwrap() - answered / asked).abs() <= 0.005, "{sizes}");
    assert_eq!(sizes["reflector"], answered / asked > 10.0, "{sizes}");

    // It is asked again as it was found, by its own question, and says itself that it is gone.
    world.every(10, "open-recheck", &["10.99.7.0/24"], None);
    drop(snmp);
    let closed = world.until_exposure(agent.v4(), 161, "SNMP is closed", |e| e["phase"] == "closed");
    assert_eq!(closed["close_reason"], "icmp-port-unreachable", "{closed}");

    // Opened again, its detection is bounded by the sweep that had covered its port.
    let _snmp = snmpd(&world.lab, &agent);
    world.run("full-online", &["10.99.7.10"], Some("udp"));
    let again = world.until_exposure(agent.v4(), 161, "SNMP is back", |e| e["phase"] == "open" && e["opening"] == 2);
    assert!(again["detection_bound_ms"].as_u64().is_some(), "{again}");

    // Behind a filter it only falls silent, which takes longer.
    agent.namespace().nft("add rule inet lab input udp dport 161 drop").unwrap();
    let silent = world.until_exposure(agent.v4(), 161, "SNMP is walled off", |e| e["phase"] == "closed");
    assert_eq!(silent["close_reason"], "timeout", "{silent}");
}
