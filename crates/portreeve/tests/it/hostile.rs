//! Listeners that attack whoever asks them, met by the finished binary: how long it takes, what it reads and what it holds.
//!
//! What each costs by itself is `services`'s test.

use crate::world::BINARY;
use lab::{Host, Kind, LabSpec, Manner, Namespace, Pretender, Server};
use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs a scan to its end and gives what it printed, the most memory it held in kilobytes, and how long it took.
fn watched(namespace: &Namespace, args: &[&str]) -> (String, u64, Duration) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let mut command = Command::new(BINARY);
    command.arg("scan").args(args).stdin(Stdio::null()).stdout(File::create(&out).unwrap()).stderr(Stdio::null());
    let begun = Instant::now();
    let mut child = namespace.spawn(&mut command).unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|l| l.split_whitespace().next()?.parse().ok());
        peak = peak.max(kilobytes.unwrap_or(0));
        if let Some(ended) = child.try_wait().unwrap() {
            assert!(ended.success(), "{ended}");
            return (std::fs::read_to_string(out).unwrap(), peak, begun.elapsed());
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn attack(host: &Host) -> Vec<Pretender> {
    let zeros = Command::new("sh").args(["-c", "head -c 67108864 /dev/zero | gzip -c"]).output().unwrap().stdout;
    let manners = [
        Manner::Drips,
        Manner::Floods(1 << 30),
        Manner::RedirectsForEver,
        Manner::EndlessHeaders,
        Manner::NeverFinishesTls,
        Manner::GzipBomb(zeros),
    ];
    // Where nothing is promised, where HTTP is, and where TLS is.
    let ports = [21_001, 8_080, 8_443].into_iter().flat_map(|base| (0..6).map(move |i| base + i));
    ports.zip(manners.iter().cycle()).map(|(port, manner)| host.pretend(port, manner.clone()).unwrap()).collect()
}

#[test]
fn attackers_cost_time_and_memory_of_a_budget_and_their_neighbours_are_named_all_the_same() {
    let lab = LabSpec::new().host("good", 10, Kind::Refusing).host("bad", 20, Kind::Refusing).start().unwrap();
    let good = lab.host("good");
    good.serve(Server::Redis { port: 16379 }).unwrap();
    good.serve(Server::Sshd { port: 2222 }).unwrap();
    good.serve(Server::Nginx { port: 8090, title: "Shop".into() }).unwrap();
    let ports = "2222,8080-8090,8443-8448,16379,21001-21006";
    let common = ["-p", ports, "--no-ping", "--identify", "--quiet", "--format", "jsonl"];
    let alone = [&["10.99.7.10"][..], &common].concat();
    let (_, without, _) = watched(lab.scanner(), &alone);
    let pretenders = attack(lab.host("bad"));
    let both = [&["10.99.7.10", "10.99.7.20"][..], &common].concat();
    let (printed, with, took) = watched(lab.scanner(), &both);
    for product in ["\"Redis\"", "\"OpenSSH\"", "\"nginx\""] {
        assert!(printed.contains(product), "{product} is not named: {printed}");
    }
    // Eighteen attackers of 128 KiB each are two megabytes; sixteen leave room for buffers and an allocator's habits.
    assert!(with <= without + 16 * 1024, "{with} kB with attackers, {without} kB without");
    // Six seconds each and eighteen on one host, a few at a time; nowhere near the eighteen minutes of a gigabyte that drips.
    assert!(took < Duration::from_secs(60), "{took:?}");
    for pretender in &pretenders {
        let had = pretender.connections();
        // One that answers is asked on, until its bytes or its time are spent; ten were seen.
        assert!((1..=13).contains(&had), "{had} connections, one of which may be the sweep's");
        assert!(pretender.sent() < 64 << 20, "{} bytes were taken of an attacker", pretender.sent());
    }
}
