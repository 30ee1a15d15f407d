//! Real servers on ports that promise nothing: every one of the lab's list that starts quickly here, all of them in `make test-slow`.
//!
//! What is true comes from the packages (`lab::recipe`); what is claimed must be true, and what changes nothing must have changed
//! nothing. `cargo xtask bench identify` does the same beside nmap and counts; here a failure fails.

use lab::recipe::judge::{Claim, invents, judge};
use lab::recipe::street::{At, Odd, Street, lookalikes, pretend};
use lab::recipe::{self, Recipe, Suite};
use lab::{Kind, Lab, LabSpec};
use model::{Endpoint, InScope, Proto, Scope};
use services::{Budget, Identified, Unpaced, identify_all};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Ports of which we do not know the product, and why. What is said of them must still be true; one that is mended fails the test
/// until it goes from the list.
const NOT_YET: &[(&str, &str)] = &[
    ("jdwp", "the handshake would resume a suspended machine, and is not made without leave"),
    ("distcc", "says nothing to anybody who does not send it work"),
];

/// An endpoint of the lab as the crate wants it: admitted.
fn admitted(at: At) -> InScope<Endpoint> {
    let scope = Scope::new(&["10.99.7.0/24".parse().unwrap()], &[]);
    let endpoint = match at.1 {
        'u' => Endpoint { proto: Proto::Udp, ..Endpoint::tcp(IpAddr::V4(at.0), at.2) },
        _ => Endpoint::tcp(IpAddr::V4(at.0), at.2),
    };
    scope.admit(endpoint).unwrap()
}

/// Identifies all of them at once from the lab's scanner.
pub fn identified(lab: &Lab, endpoints: &BTreeSet<At>, budget: &Budget) -> Vec<Identified> {
    let list: Vec<_> = endpoints.iter().map(|at| admitted(*at)).collect();
    lab.scanner().enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (out, mut results) = mpsc::channel(16);
            let cancel = CancellationToken::new();
            let collect = async {
                let mut all = Vec::new();
                while let Some(result) = results.recv().await {
                    all.push(result);
                }
                all
            };
            tokio::join!(identify_all(list, budget, &Unpaced, 64, 8, out, &cancel), collect).1
        })
    })
}

/// The other way round.
fn place(e: Endpoint) -> At {
    match e.ip {
        IpAddr::V4(ip) => (ip, if e.proto == Proto::Udp { 'u' } else { 't' }, e.port),
        IpAddr::V6(_) => unreachable!("the lab was asked over IPv4"),
    }
}

fn claims(results: &[Identified]) -> BTreeMap<At, Claim> {
    let claim = |result: &Identified| {
        let i = &result.identification;
        let service = i.service.clone().unwrap_or_default();
        // These say that no protocol is known.
        let name = Some(service.name).filter(|name| !matches!(name.as_str(), "text" | "binary" | "tls"));
        Claim {
            service: name.unwrap_or_default(),
            product: service.product,
            version: service.version,
            tls: service.tls.is_some(),
            identity: Some(i.identity.to_string()),
            evidence: i.evidence.clone(),
        }
    };
    results.iter().map(|r| (place(r.identification.endpoint), claim(r))).collect()
}

/// All of them; with `RECIPE=name,name` in the environment those, while one of them is being looked into.
fn chosen() -> Vec<&'static Recipe> {
    let only = std::env::var("RECIPE").ok();
    recipe::all().into_iter().filter(|r| only.as_ref().is_none_or(|only| only.split(',').any(|name| name == r.name))).collect()
}

/// Starts them, asks them, and says what is wrong with the answers.
fn held_to_the_truth(recipes: &[&'static Recipe], odd: Option<Odd>) -> Vec<String> {
    let elsewhere = odd.is_some();
    let street = Street::start(recipes, odd).unwrap();
    let mut wrong: Vec<String> = street.absent.iter().map(|(name, why)| format!("{name} does not start: {why}")).collect();
    // A datagram says nothing without knowing what to ask, and on an odd port nothing says what.
    let endpoints: BTreeSet<At> = street.endpoints().into_iter().filter(|at| at.1 == 't' || !elsewhere).collect();
    let before = street.states();
    let quick = identified(&street.lab, &endpoints, &Budget::default());
    let mut claimed = claims(&quick);
    assert_eq!(claimed.len(), endpoints.len(), "each gets exactly one answer");
    // What the fast lane leaves unknown is for the slow lane, as it would be in service.
    let unexplained = |r: &&Identified| r.identification.identity.is_unexplained(r.identification.service.as_ref());
    let left: BTreeSet<At> = quick.iter().filter(unexplained).map(|r| place(r.identification.endpoint)).collect();
    claimed.extend(claims(&identified(&street.lab, &left, &Budget::thorough())));
    for ((name, before), (_, after)) in before.iter().zip(street.states()) {
        if *before != after {
            wrong.push(format!("{name} was changed from {before:?} to {after:?}"));
        }
    }
    for truth in street.truths.iter().filter(|t| endpoints.contains(&t.at)) {
        let claim = &claimed[&truth.at];
        let j = judge(claim, &truth.door, truth.version.as_deref());
        let not_yet = NOT_YET.iter().find(|(name, _)| *name == truth.door.name).map(|(_, why)| *why);
        let whole = j.right && (!j.disclosed || j.version);
        let version = truth.version.as_deref().unwrap_or("(no version told)");
        let line = format!("{} on {} {version}: {} by {:?}", truth.door.name, truth.at.2, claim.line(), claim.evidence);
        if j.wrong_product || j.wrong_service || j.wrong_version {
            wrong.push(format!("claims what is not so: {line}"));
        } else if whole != not_yet.is_none() {
            let what = not_yet.map_or("not known".to_owned(), |why| format!("mended, take it from NOT_YET (`{why}`)"));
            wrong.push(format!("{what}: {line}"));
        }
    }
    wrong
}

#[test]
fn quick_servers_on_odd_ports_are_what_their_packages_say() {
    let fast: Vec<_> = recipe::all().into_iter().filter(|r| r.suite == Suite::Fast).collect();
    assert!(fast.len() >= 18, "{} servers", fast.len());
    let wrong = held_to_the_truth(&fast, Some(Odd::new(3)));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[ignore = "make test-slow: a hundred ports of real servers, of which many take half a minute to start"]
fn every_real_server_on_its_usual_port_is_what_its_package_says() {
    assert!(recipe::all().len() >= 40, "{} servers", recipe::all().len());
    let wrong = held_to_the_truth(&chosen(), None);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[ignore = "make test-slow: a hundred ports of real servers, of which many take half a minute to start"]
fn every_real_server_on_an_odd_port_is_what_its_package_says() {
    let wrong = held_to_the_truth(&chosen(), Some(Odd::new(5)));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_only_pretends_is_never_called_a_product() {
    let list = lookalikes();
    let lab = LabSpec::new().host("odd", 10, Kind::Refusing).host("usual", 11, Kind::Refusing).start().unwrap();
    let mut odd = Odd::new(17);
    let odd_ports: Vec<u16> = list.iter().map(|_| odd.port()).collect();
    let known: BTreeSet<u16> = recipe::all().iter().flat_map(|r| r.usual_ports()).collect();
    let usual_ports: Vec<u16> = known.into_iter().take(list.len()).collect();
    assert_eq!(usual_ports.len(), list.len());
    let hosts = [(lab.host("odd"), odd_ports), (lab.host("usual"), usual_ports)];
    let _pretenders: Vec<_> = hosts.iter().map(|(host, ports)| pretend(host, &list, ports).unwrap()).collect();
    let endpoints: BTreeSet<At> = hosts.iter().flat_map(|(h, ports)| ports.iter().map(|p| (h.v4(), 't', *p))).collect();
    let claimed = claims(&identified(&lab, &endpoints, &Budget::default()));
    let mut invented = Vec::new();
    for (host, ports) in &hosts {
        for (lookalike, port) in list.iter().zip(ports) {
            let claim = &claimed[&(host.v4(), 't', *port)];
            if invents(claim, lookalike.allowed) {
                invented.push(format!(
                    "{} on {port} of {}: {} by {:?}",
                    lookalike.name,
                    host.name(),
                    claim.line(),
                    claim.evidence
                ));
            }
        }
    }
    assert!(invented.is_empty(), "{}", invented.join("\n"));
}
