//! States from observations: refused, filtered with its reasons, vanished before confirmation, pseudo-open; and what a page shows.

use crate::world::{Db, SOON, World};
use lab::{Kind, LabSpec, Server, eventually};
use serde_json::json;
use std::time::Duration;

#[test]
fn an_open_port_that_answers_rst_closes_and_one_that_falls_silent_is_filtered_first() {
    let spec =
        LabSpec::new().host("web", 10, Kind::Refusing).host("drop", 20, Kind::Dropping).host("gate", 30, Kind::Prohibiting);
    let world = World::start(spec, Db::Sqlite);
    let hosts = ["web", "drop", "gate"].map(|name| world.lab.host(name).clone());
    let servers = hosts.each_ref().map(|host| host.serve(Server::Memcached { port: 11211 }).unwrap());
    world.asset("10.99.7.0/24", "payments");
    let targets = ["10.99.7.10", "10.99.7.20", "10.99.7.30"];
    world.run("full-all", &targets, Some("11000-11300"));
    for host in &hosts {
        world.until_phase(host.v4(), 11211, "open", SOON);
    }
    // One server stops; the others are walled off, the one by silence, the other by an ICMP prohibition.
    servers[0].stop();
    hosts[1].forbid(11211).unwrap();
    hosts[2].namespace().nft("delete element inet lab open { 11211 }").unwrap();
    world.run("open-recheck", &targets, None);
    for (host, state, reason) in
        [(&hosts[0], "closed", "rst"), (&hosts[1], "filtered", "timeout"), (&hosts[2], "filtered", "icmp-prohibited")]
    {
        let seen = world.endpoint(host.v4(), 11211).unwrap();
        assert_eq!((seen["state"].as_str(), seen["reason"].as_str()), (Some(state), Some(reason)), "{}: {seen}", host.name());
        assert_eq!(seen["phase"], "open", "one observation closes nothing: {seen}");
    }
    // By the default hysteresis a refusal closes within a quarter of a minute, without anybody asking for a recheck.
    let closed = world.until_phase(hosts[0].v4(), 11211, "closed", SOON);
    assert_eq!(closed["reason"], "rst", "{closed}");
    let exposure = world.exposure(hosts[0].v4(), 11211).unwrap();
    assert_eq!((&exposure["phase"], &exposure["close_reason"]), (&json!("closed"), &json!("rst")), "{exposure}");
    // What comes back within the hysteresis never was closed.
    hosts[1].permit(11211).unwrap();
    world.run("open-recheck", &targets, None);
    eventually("the walled port is open as before", SOON, || {
        world.endpoint(hosts[1].v4(), 11211).filter(|e| e["state"] == "open")
    });
    let events = world.api.items(&format!("/events?ip={}", hosts[1].v4())).unwrap();
    assert!(events.iter().all(|e| e["kind"] != "endpoint.closed"), "{events:?}");
}

#[test]
fn a_host_that_accepts_on_every_port_is_one_finding_and_its_real_services_are_kept() {
    let spec = LabSpec::new().host("wall", 50, Kind::AcceptsAll).host("web", 10, Kind::Refusing);
    let world = World::start(spec, Db::Sqlite);
    let (wall, web) = (world.lab.host("wall").clone(), world.lab.host("web").clone());
    wall.serve(Server::Redis { port: 6379 }).unwrap();
    web.serve(Server::Nginx { port: 8080, title: "Shop".into() }).unwrap();
    let (smtp, webhook) = world.receivers(false);
    world.asset("10.99.7.0/24", "network");
    world.run("full-all", &["10.99.7.50", "10.99.7.10"], Some("1-12000"));
    eventually("the wall is recognised", SOON, || {
        let hosts = world.api.items("/hosts?search=10.99.7.50").unwrap();
        hosts.iter().any(|h| h["pseudo_open_ports"].as_u64().unwrap_or(0) > 1_000).then_some(())
    });
    // Its real service is found among twelve thousand pretended ones, and its neighbour is not touched by the verdict.
    let redis =
        eventually("redis behind the wall", SOON, || world.endpoint(wall.v4(), 6379).filter(|e| e["service"]["name"] == "redis"));
    assert_eq!(redis["pseudo_open"], false, "{redis}");
    world.until_phase(web.v4(), 8080, "open", SOON);
    eventually("what is open on its own account is the truth", SOON, || (world.open_endpoints() == world.truth()).then_some(()));
    std::thread::sleep(Duration::from_secs(5));
    // Forty-two high-risk numbers accept there; people hear of a wall, not of forty-two services.
    assert!(smtp.messages().len() <= 3, "{:#?}", smtp.messages());
    let told: usize = webhook.messages().iter().map(|m| m.to_string().matches("10.99.7.50:").count()).sum();
    assert!(told < 10, "{:#?}", webhook.messages());
}

#[test]
fn tls_panels_on_odd_ports_are_fetched() {
    let spec = LabSpec::new().host("web", 10, Kind::Refusing);
    let world = World::start(spec, Db::Sqlite);
    let web = world.lab.host("web").clone();
    web.serve(Server::NginxTls { port: 17443, title: "Router Console".into() }).unwrap();
    web.serve(Server::Nginx { port: 17080, title: "Plain Console".into() }).unwrap();
    web.serve(Server::Redis { port: 17379 }).unwrap();
    world.asset("10.99.7.10", "network");
    world.run("full-all", &["10.99.7.10"], Some("17000-17500"));
    for port in [17443, 17080, 17379] {
        world.until_phase(web.v4(), port, "open", SOON);
    }
    world.run("service-identification", &["10.99.7.10"], None);
    world.run("panels", &["10.99.7.10"], None);
    for (port, scheme, title) in [(17443, "https", "Router Console"), (17080, "http", "Plain Console")] {
        let seen = eventually(&format!("the panel of port {port}"), SOON, || {
            world.endpoint(web.v4(), port).filter(|e| e["panel"].is_object())
        });
        assert_eq!((&seen["panel"]["scheme"], &seen["panel"]["title"]), (&json!(scheme), &json!(title)), "{seen}");
        assert_eq!(seen["panel"]["status"], 200, "{seen}");
        assert_eq!(seen["service"]["name"], "http", "{seen}");
        assert_eq!(seen["service"]["tls"].is_object(), scheme == "https", "{seen}");
    }
    let tls = world.endpoint(web.v4(), 17443).unwrap()["service"]["tls"].clone();
    assert_eq!((&tls["self_signed"], &tls["names"]), (&json!(true), &json!(["panel.lab.test"])), "{tls}");
    let redis = world.endpoint(web.v4(), 17379).unwrap();
    assert!(redis["panel"].is_null() && redis["service"]["name"] == "redis", "{redis}");
}

#[test]
fn every_real_server_of_the_lab_is_identified_on_a_port_that_is_not_its_own() {
    let spec = LabSpec::new().host("web", 10, Kind::Refusing);
    let world = World::start(spec, Db::Sqlite);
    let web = world.lab.host("web").clone();
    let first = 21000;
    let servers: Vec<Server> = vec![
        Server::Redis { port: first },
        Server::MariaDb { port: first + 1 },
        Server::Nginx { port: first + 2, title: "Shop".into() },
        Server::NginxTls { port: first + 3, title: "Panel".into() },
        Server::Sshd { port: first + 4 },
        Server::Vsftpd { port: first + 5 },
        Server::Memcached { port: first + 6 },
        Server::PostgreSql { port: first + 7 },
        Server::Dropbear { port: first + 8 },
        Server::Rsync { port: first + 9 },
        Server::Silent { port: first + 10 },
        Server::ClosesAtOnce { port: first + 11 },
    ];
    for server in servers {
        web.serve(server).unwrap();
    }
    world.asset("10.99.7.10", "payments");
    world.asset("fd99:7::10", "payments");
    world.run("full-all", &["10.99.7.10", "fd99:7::10"], Some("20990-21020"));
    let truth = world.lab.truth();
    eventually("all of them are open", Duration::from_secs(60), || {
        let open = world.api.items("/endpoints?phase=open").unwrap();
        (open.len() == truth.len()).then_some(())
    });
    world.run("service-identification", &["10.99.7.10", "fd99:7::10"], None);
    let mut wrong = Vec::new();
    for open in &truth {
        let seen = world.endpoint(open.ip, open.port).unwrap_or_else(|| panic!("{open:?} is not known"));
        let (name, product) = (seen["service"]["name"].as_str().unwrap_or(""), seen["service"]["product"].as_str());
        let same_product = match (product, open.product) {
            (Some(seen), Some(real)) => seen.eq_ignore_ascii_case(real),
            (None, None) => true,
            // A protocol whose greeting does not name its maker.
            (None, Some(_)) => open.service == "rsync",
            (Some(_), None) => false,
        };
        if name != open.service || !same_product || seen["service"]["tls"].is_object() != open.tls {
            wrong.push(format!("{open:?} was taken for {} ({})", seen["service"], seen["identity"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let identity = |port: u16| world.endpoint(web.v4(), port).unwrap()["identity"].clone();
    assert_eq!((identity(first + 10), identity(first + 11)), (json!("silent"), json!("closes-at-once")));
}
