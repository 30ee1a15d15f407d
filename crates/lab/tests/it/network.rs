//! How the hosts of the lab answer, seen with plain connects from the scanner, and what is left of a lab afterwards.

use lab::{Kind, Lab, LabSpec, SCANNER_V4, Server};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

/// What a plain connect from the scanner says. Two and a half seconds: when an ICMP error comes back within the very call
/// that sent the SYN, Linux reports it only after the first retransmission, a second later.
fn knock(lab: &Lab, ip: impl Into<IpAddr>, port: u16) -> Result<(), ErrorKind> {
    let addr = SocketAddr::new(ip.into(), port);
    lab.scanner().enter(|| TcpStream::connect_timeout(&addr, Duration::from_millis(2500)).map(drop).map_err(|e| e.kind()))
}

fn pings(lab: &Lab, ip: impl Into<IpAddr>) -> bool {
    let ip = ip.into().to_string();
    lab.scanner().run(Command::new("ping").args(["-n", "-c", "1", "-W", "1", &ip])).is_ok()
}

#[test]
fn every_kind_of_host_has_its_manners_over_both_families() {
    let lab = LabSpec::new()
        .host("open", 10, Kind::Refusing)
        .host("drop", 20, Kind::Dropping)
        .host("dark", 30, Kind::Dark)
        .host("gate", 40, Kind::Prohibiting)
        .host("wall", 50, Kind::AcceptsAll)
        .start()
        .unwrap();
    let refused = Err(ErrorKind::ConnectionRefused);
    let silence = Err(ErrorKind::TimedOut);
    // Linux gives EHOSTUNREACH for "administratively prohibited" over IPv4, EACCES over IPv6.
    let cases = [
        ("open", true, refused, refused),
        ("drop", true, silence, silence),
        ("dark", false, silence, silence),
        ("gate", true, Err(ErrorKind::HostUnreachable), Err(ErrorKind::PermissionDenied)),
        ("wall", true, Ok(()), Ok(())),
    ];
    // Side by side, because silence takes its time.
    std::thread::scope(|scope| {
        for (name, answers_ping, closed_v4, closed_v6) in cases {
            let (lab, host) = (&lab, lab.host(name));
            scope.spawn(move || {
                assert_eq!(pings(lab, host.v4()), answers_ping, "{name}");
                assert_eq!(pings(lab, host.v6()), answers_ping, "{name} v6");
                assert_eq!(knock(lab, host.v4(), 81), closed_v4, "{name}");
                assert_eq!(knock(lab, host.v6(), 81), closed_v6, "{name} v6");
                host.serve(Server::Silent { port: 6380 }).unwrap();
                assert_eq!(knock(lab, host.v4(), 6380), Ok(()), "{name}");
                assert_eq!(knock(lab, host.v6(), 6380), Ok(()), "{name} v6");
            });
        }
    });
    let open = lab.host("open");
    open.forbid(6380).unwrap();
    assert_eq!(knock(&lab, open.v4(), 6380), silence);
    open.permit(6380).unwrap();
    assert_eq!(knock(&lab, open.v4(), 6380), Ok(()));
    assert_eq!(lab.truth().len(), 10, "five hosts, two families");
    assert!(!pings(&lab, Ipv4Addr::new(10, 99, 7, 99)), "nobody is there");
}

#[test]
fn the_border_counts_what_the_scanner_sends_to_each_address() {
    let lab = LabSpec::new().host("web", 10, Kind::Refusing).start().unwrap();
    let (web, dead) = (lab.host("web"), IpAddr::from([10, 99, 7, 77]));
    assert_eq!(lab.packets_to(web.v4().into()).unwrap(), 0);
    let _ = knock(&lab, web.v4(), 81);
    let _ = knock(&lab, web.v6(), 81);
    let _ = knock(&lab, dead, 81);
    assert_eq!(lab.packets_to(web.v4().into()).unwrap(), 1, "one SYN, answered by RST");
    assert_eq!(lab.packets_to(web.v6().into()).unwrap(), 1);
    assert!(lab.packets_to(dead).unwrap() >= 1);
    assert_eq!(lab.packets_to([10, 99, 7, 78].into()).unwrap(), 0);
}

#[test]
fn a_lab_that_ends_leaves_nothing_behind_even_after_a_panic() {
    let ended = std::panic::catch_unwind(|| {
        let lab = LabSpec::new().host("web", 10, Kind::Refusing).start().unwrap();
        let redis = lab.host("web").serve(Server::Redis { port: 6379 }).unwrap();
        assert_eq!(knock(&lab, lab.host("web").v4(), 6379), Ok(()));
        assert_eq!(Lab::namespaces_left(lab.prefix()).len(), 3);
        std::panic::panic_any((lab.prefix().to_owned(), redis.log()));
    });
    let (prefix, log) = *ended.unwrap_err().downcast::<(String, std::path::PathBuf)>().unwrap();
    assert_eq!(Lab::namespaces_left(&prefix), Vec::<String>::new());
    assert!(!log.exists(), "the lab's directory is gone with it: {}", log.display());
}

#[test]
fn what_a_killed_lab_left_behind_is_removed_by_the_next() {
    // A process id that no process has: the one of a child that has ended and been waited for.
    let mut child = Command::new("true").spawn().unwrap();
    let gone = child.id();
    child.wait().unwrap();
    let left = format!("prl{gone}-0-");
    assert!(Command::new("ip").args(["netns", "add", &format!("{left}web")]).status().unwrap().success());
    let lab = LabSpec::new().start().unwrap();
    assert_eq!(Lab::namespaces_left(&left), Vec::<String>::new());
    assert_eq!(
        lab.scanner().run(Command::new("ip").args(["-4", "-o", "addr"])).unwrap().matches(&SCANNER_V4.to_string()).count(),
        1
    );
}
