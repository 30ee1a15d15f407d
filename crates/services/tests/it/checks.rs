//! Checks against real servers, open and closed, each in a namespace of its own: what is open is proved, what is not is never
//! called so, and nothing is changed by asking.
//!
//! What the servers are is the recipe's to say, so these tests hold the checks alone; what identification makes of them is
//! tested elsewhere.

use lab::recipe::{self, Access, Cooked, Door, Over, Recipe, Suite};
use lab::{Kind, Lab, LabSpec};
use model::finding::{CheckPolicy, CheckRun, CredentialAttempt, FindingKind, SideEffect, Verdict};
use model::service::{Identification, Identity, Service, Tls};
use model::{Endpoint, InScope, IpRange, Proto, Scope, Ts};
use services::{Budget, Unpaced, check};
use std::fmt::Write;
use std::net::IpAddr;

/// Doors that are open and that no check proves, and why.
const UNPROVED: &[(&str, &str)] = &[
    ("distcc", "an answer to a compilation is the only proof, and that runs something"),
    ("rabbitmq", "open to a default pair, which is another check"),
];

pub fn policy(ceiling: SideEffect) -> CheckPolicy {
    CheckPolicy { range: "0.0.0.0/0".parse::<IpRange>().unwrap(), ceiling: Some(ceiling), credentials: None }
}

pub fn admitted(ip: IpAddr, port: u16, proto: Proto) -> InScope<Endpoint> {
    let scope = Scope::new(&["0.0.0.0/0".parse().unwrap()], &[]);
    scope.admit(Endpoint { ip, port, proto }).unwrap()
}

/// What identification would say of that service.
pub fn identified(endpoint: Endpoint, service: &str, product: Option<&str>, tls: bool) -> Identification {
    Identification {
        service: Some(Service {
            name: service.to_owned(),
            product: product.map(str::to_owned),
            tls: tls.then(Tls::default),
            ..Service::default()
        }),
        ..Identification::bare(endpoint, Identity::Identified, Ts(0))
    }
}

/// Runs the checks from inside the lab's scanner.
pub fn check(lab: &Lab, endpoint: InScope<Endpoint>, found: &Identification, policy: &CheckPolicy) -> Vec<CheckRun> {
    lab.scanner().enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check::run(endpoint, found, policy, &Budget::default(), &Unpaced))
    })
}

fn of_door(door: &Door, endpoint: Endpoint) -> Identification {
    let product = door.product.iter().find(|p| !p.is_empty()).copied();
    // Behind a client certificate nothing can be identified; the worst that could be believed of it is the name.
    let service = door.service.iter().find(|s| !s.is_empty()).copied().unwrap_or("http");
    identified(endpoint, service, product, door.tls)
}

/// Every door of a running server: what was wrong, and a line for the table.
fn verdicts(lab: &Lab, cooked: &Cooked, table: &mut String, wrong: &mut Vec<String>) {
    let before = cooked.state().unwrap();
    for (door, &port) in cooked.recipe.doors.iter().zip(&cooked.place.ports) {
        let proto = if door.over == Over::Tcp { Proto::Tcp } else { Proto::Udp };
        let endpoint = admitted(cooked.place.address.into(), port, proto);
        let runs = check(lab, endpoint, &of_door(door, endpoint.get()), &policy(SideEffect::Session));
        let open = |r: &&CheckRun| r.verdict == Verdict::Proved && r.kind == FindingKind::UnauthenticatedAccess;
        let weak = |r: &&CheckRun| r.verdict == Verdict::Proved && r.kind != FindingKind::UnauthenticatedAccess;
        let said: Vec<String> =
            runs.iter().map(|r| format!("{} {} {}", r.check, r.verdict, r.reason.as_deref().unwrap_or(""))).collect();
        writeln!(table, "{:<26} {:?}: {}", door.name, door.access, said.join("; ")).unwrap();
        let proved = runs.iter().any(|r| open(&r)) || door.access == Access::Open && runs.iter().any(|r| weak(&r));
        match door.access {
            Access::Open if !proved && !UNPROVED.iter().any(|(name, _)| *name == door.name) => {
                wrong.push(format!("{} is open, and nothing proved it: {said:?}", door.name));
            }
            Access::Password | Access::Acl | Access::ClientCertificate if runs.iter().any(|r| open(&r)) => {
                wrong.push(format!("{} is closed ({:?}), and called open: {said:?}", door.name, door.access));
            }
            _ => {}
        }
        for run in &runs {
            assert_eq!(run.evidence.is_some(), run.verdict == Verdict::Proved, "{run:?}");
            let approved = run.attempts.iter().all(|a| a.pair == CredentialAttempt::EMPTY_PASSWORD);
            assert!(approved && run.attempts.len() <= 1, "nothing was approved: {run:?}");
            assert!(run.side_effect <= SideEffect::Session);
        }
    }
    let after = cooked.state().unwrap();
    // A session is a transaction of ZooKeeper's when it begins and one when it ends; the tree stays as it was.
    let kept = |state: Option<String>| state.map(|s| s.split_once("Node count").map_or(s.clone(), |(_, tree)| tree.to_owned()));
    let (before, after) = (kept(before), kept(after));
    if before != after {
        wrong.push(format!("{} was changed by asking:\nbefore {before:?}\nafter  {after:?}", cooked.recipe.name));
    }
}

fn all_of(suite: Suite) {
    let only = std::env::var("RECIPE").ok();
    let wanted = |r: &&Recipe| {
        r.suite == suite
            && r.doors.iter().any(|d| d.access != Access::NotAsked)
            && only.as_ref().is_none_or(|only| only.split(',').any(|name| r.name == name))
    };
    let (mut table, mut wrong) = (String::new(), Vec::new());
    for recipe in recipe::all().into_iter().filter(wanted) {
        let lab = LabSpec::new().host("it", 10, Kind::Refusing).start().unwrap();
        match lab.host("it").cook(recipe, &recipe.usual_ports()) {
            Ok(cooked) => verdicts(&lab, &cooked, &mut table, &mut wrong),
            Err(e) => wrong.push(format!("{} does not start: {e:#}", recipe.name)),
        }
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_open_is_proved_and_what_is_closed_is_not_called_open() {
    all_of(Suite::Fast);
}

#[test]
#[ignore = "slow: starts every server there is"]
fn every_server_is_called_open_exactly_when_it_is() {
    all_of(Suite::Slow);
}

/// A server that is set up in one particular way, and how one particular check has to end.
struct Expectation {
    recipe: Recipe,
    service: &'static str,
    product: Option<&'static str>,
    check: &'static str,
    verdict: Verdict,
}

static QUICK: &[Expectation] = &[
    Expectation {
        // Protected mode: commands from this machine only.
        recipe: Recipe::fast("redis-protected", &[Door::tcp("redis", 6379, &["redis"], &["Redis"])], |p| {
            p.write("redis.conf", "port {port}\nprotected-mode yes\nsave \"\"\ndir {dir}\n")?;
            p.line("redis-server {dir}/redis.conf")
        }),
        service: "redis",
        product: Some("Redis"),
        check: "redis-unauthenticated",
        verdict: Verdict::RefusesUs,
    },
    Expectation {
        recipe: Recipe::fast("memcached-password", &[Door::tcp("memcached", 11211, &["memcached"], &["memcached"])], |p| {
            p.write("users", "app:not-a-secret-of-anything-real\n")?;
            p.line("memcached -u root -p {port} -U 0 -m 16 -Y {dir}/users")
        }),
        service: "memcached",
        product: None,
        check: "memcached-unauthenticated",
        verdict: Verdict::NotProved,
    },
    Expectation {
        recipe: Recipe::fast("memcached-udp", &[Door::udp("memcached", 11211, &["memcached"], &["memcached"])], |p| {
            p.line("memcached -u nobody -p 0 -U {port} -m 16")
        }),
        service: "memcached",
        product: None,
        check: "memcached-udp-unauthenticated",
        verdict: Verdict::Proved,
    },
    Expectation {
        recipe: Recipe::fast("nats-token", &[Door::tcp("nats", 4222, &["nats"], &["NATS"])], |p| {
            p.line("nats-server -a 0.0.0.0 -p {port} --auth not-a-secret-of-anything-real")
        }),
        service: "nats",
        product: Some("NATS"),
        check: "nats-unauthenticated",
        verdict: Verdict::NotProved,
    },
    Expectation {
        recipe: Recipe::fast("rsync-users", &[Door::tcp("rsync", 873, &["rsync"], &[])], |p| {
            p.folder("pub")?;
            p.write("secrets", "app:not-a-secret-of-anything-real\n")?;
            p.run("chmod 600 {dir}/secrets")?;
            let text = "reverse lookup = no\nuse chroot = no\n[pub]\n path = {dir}/pub\n auth users = app\n secrets file = {dir}/secrets\n";
            p.write("rsyncd.conf", text)?;
            p.line("rsync --daemon --no-detach --port={port} --config={dir}/rsyncd.conf --log-file=/dev/stderr")
        }),
        service: "rsync",
        product: None,
        check: "rsync-unauthenticated",
        verdict: Verdict::NotProved,
    },
    Expectation {
        recipe: Recipe::fast("rsync-hosts", &[Door::tcp("rsync", 873, &["rsync"], &[])], |p| {
            p.folder("pub")?;
            let text = "reverse lookup = no\nuse chroot = no\n[pub]\n path = {dir}/pub\n hosts allow = 127.0.0.1\n";
            p.write("rsyncd.conf", text)?;
            p.line("rsync --daemon --no-detach --port={port} --config={dir}/rsyncd.conf --log-file=/dev/stderr")
        }),
        service: "rsync",
        product: None,
        check: "rsync-unauthenticated",
        verdict: Verdict::RefusesUs,
    },
    Expectation {
        recipe: sshd("ssh-password", |p| openssh(p, "PasswordAuthentication yes\n")),
        service: "ssh",
        product: Some("OpenSSH"),
        check: "ssh-password-offered",
        verdict: Verdict::Proved,
    },
    Expectation {
        recipe: sshd("ssh-keys", |p| openssh(p, "PasswordAuthentication no\nKbdInteractiveAuthentication no\n")),
        service: "ssh",
        product: Some("OpenSSH"),
        check: "ssh-password-offered",
        verdict: Verdict::NotProved,
    },
    Expectation {
        recipe: Recipe::fast("dropbear-password", SSH, |p| {
            p.run("dropbearkey -t ed25519 -f {dir}/key")?;
            p.line("dropbear -F -E -r {dir}/key -p 0.0.0.0:{port} -P {dir}/pid")
        }),
        service: "ssh",
        product: Some("Dropbear"),
        check: "ssh-password-offered",
        verdict: Verdict::Proved,
    },
    Expectation {
        recipe: Recipe::fast("dropbear-keys", SSH, |p| {
            p.run("dropbearkey -t ed25519 -f {dir}/key")?;
            p.line("dropbear -F -E -s -r {dir}/key -p 0.0.0.0:{port} -P {dir}/pid")
        }),
        service: "ssh",
        product: Some("Dropbear"),
        check: "ssh-password-offered",
        verdict: Verdict::NotProved,
    },
];

const SSH: &[Door] = &[Door::tcp("ssh", 22, &["ssh"], &["OpenSSH"])];

const fn sshd(name: &'static str, command: fn(&lab::recipe::Place) -> anyhow::Result<std::process::Command>) -> Recipe {
    Recipe::fast(name, SSH, command)
}

fn openssh(p: &lab::recipe::Place, more: &str) -> anyhow::Result<std::process::Command> {
    p.run_words(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "{dir}/key"])?;
    std::fs::create_dir_all("/run/sshd")?;
    p.write("sshd_config", &format!("Port {{port}}\nHostKey {{dir}}/key\nPidFile none\nUsePAM no\n{more}"))?;
    p.line("/usr/sbin/sshd -D -e -f {dir}/sshd_config")
}

static LONG: &[(&str, usize, Option<&str>, &str, Verdict)] = &[
    ("unbound", 1, None, "dns-recursion", Verdict::Proved),
    ("bind", 1, None, "dns-recursion", Verdict::NotProved),
    ("jdwp", 0, None, "jdwp-unauthenticated", Verdict::Proved),
    ("rmiregistry", 0, None, "rmi-registry-unauthenticated", Verdict::Proved),
    ("xrdp", 0, None, "rdp-without-nla", Verdict::Proved),
    ("rpcbind", 0, None, "rpcbind-list-tcp", Verdict::Proved),
    ("spark-master", 2, Some("Apache Spark"), "spark-rest-unauthenticated", Verdict::Proved),
];

/// Runs the one check and says what is wrong with its end, if anything.
fn held(
    lab: &Lab,
    cooked: &Cooked,
    n: usize,
    service: &str,
    product: Option<&str>,
    check_id: &str,
    verdict: Verdict,
) -> Option<String> {
    let door = &cooked.recipe.doors[n];
    let proto = if door.over == Over::Tcp { Proto::Tcp } else { Proto::Udp };
    let endpoint = admitted(cooked.place.address.into(), cooked.place.ports[n], proto);
    let found = identified(endpoint.get(), service, product, false);
    // With an approval, so that the checks that need one run too.
    let runs = check(lab, endpoint, &found, &crate::credentials::approved(1));
    let run = runs.iter().find(|r| r.check == check_id);
    println!(
        "{:<20} {check_id}: {:?}",
        cooked.recipe.name,
        run.map(|r| (r.verdict, &r.reason, r.evidence.as_ref().map(|e| &e.fields)))
    );
    match run {
        None => Some(format!("{}: {check_id} did not run: {runs:?}", cooked.recipe.name)),
        Some(run) if run.verdict != verdict => Some(format!("{}: expected {verdict}, got {run:?}", cooked.recipe.name)),
        Some(_) => None,
    }
}

#[test]
fn passwords_lists_and_tokens_are_told_from_open_doors() {
    let mut wrong = Vec::new();
    for (i, e) in QUICK.iter().enumerate() {
        let lab = LabSpec::new().host("it", 100 + u8::try_from(i).unwrap(), Kind::Refusing).start().unwrap();
        match lab.host("it").cook(&e.recipe, &e.recipe.usual_ports()) {
            Ok(cooked) => wrong.extend(held(&lab, &cooked, 0, e.service, e.product, e.check, e.verdict)),
            Err(error) => wrong.push(format!("{} does not start: {error:#}", e.recipe.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[ignore = "slow: name servers and virtual machines"]
fn debuggers_name_servers_and_registries_are_told_from_closed_ones() {
    let mut wrong = Vec::new();
    for (i, (name, n, product, check_id, verdict)) in LONG.iter().enumerate() {
        let recipe = recipe::named(name);
        let lab = LabSpec::new().host("it", 150 + u8::try_from(i).unwrap(), Kind::Refusing).start().unwrap();
        let service = recipe.doors[*n].service[0];
        match lab.host("it").cook(recipe, &recipe.usual_ports()) {
            Ok(cooked) => wrong.extend(held(&lab, &cooked, *n, service, *product, check_id, *verdict)),
            Err(error) => wrong.push(format!("{name} does not start: {error:#}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
