//! Checks against real servers, open and closed, each in a namespace of its own: what is open is proved, what is not is never
//! called so, and nothing is changed by asking.
//!
//! What the servers are is the recipe's to say, so these tests hold the checks alone; what identification makes of them is
//! tested elsewhere.

use lab::recipe::{self, Access, Cooked, Door, Over, Recipe, Suite};
use lab::{Kind, Lab, LabSpec};
use model::finding::{CheckPolicy, CheckRun, FindingKind, SideEffect, Verdict};
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
    let said = Identification {
        endpoint,
        identity: Identity::Identified,
        service: Some(Service {
            name: service.to_owned(),
            product: product.map(str::to_owned),
            tls: tls.then(Tls::default),
            ..Service::default()
        }),
        evidence: None,
        banner: None,
        observed_at: Ts(0),
    };
    said
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
            assert!(run.attempts.is_empty(), "nothing was approved: {run:?}");
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
