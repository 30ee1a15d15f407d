//! The table of risks, row by row, and what replaces what in an identification.

use crate::script::catalog;
use assess::exposure::{one_line, risk};
use assess::ports::{fetch, fold, identify, is_pseudo};
use model::asset::{Asset, Zone};
use model::exposure::{RiskKind, Severity};
use model::observation::{Observation, Reason, State};
use model::service::{Identification, Identity, Panel, PanelObservation, Tls};
use model::settings::Hysteresis;
use model::{AssetId, Endpoint, Service, Ts, Vantage};
use uuid::Uuid;

fn service(name: &str) -> Service {
    Service { name: name.into(), ..Service::default() }
}

fn state(port: u16) -> model::port_state::PortState {
    let obs = |at| Observation {
        endpoint: Endpoint::tcp("10.0.0.7".parse().unwrap(), port),
        state: State::Open,
        reason: Reason::SynAck,
        observed_at: Ts(at),
    };
    let (v, h) = (Vantage("outside".into()), Hysteresis::default());
    let first = fold(None, &obs(1), &v, None, &h).state;
    fold(first, &obs(2), &v, None, &h).state.unwrap()
}

fn asset(weight: u8) -> Asset {
    Asset {
        id: AssetId(Uuid::nil()),
        range: "10.0.0.0/24".parse().unwrap(),
        name: "web".into(),
        owner: None,
        zone: Zone::Dmz,
        weight,
        tags: vec![],
        observe_until: None,
        rate_pps: None,
        per_target_pps: None,
        check_ceiling: Default::default(),
        created_at: Ts(0),
        updated_at: Ts(0),
    }
}

#[test]
fn every_row_of_the_table_holds() {
    use RiskKind::*;
    use Severity::*;
    for (port, name, pseudo, light, heavy, reasons) in [
        (6379, None, false, (HighRiskPort, High), (HighRiskPort, Critical), 2),
        (22, None, false, (HighRiskPort, High), (HighRiskPort, High), 2),
        (6380, Some("redis"), false, (HighRiskService, High), (HighRiskService, Critical), 2),
        (2222, Some("ssh"), false, (HighRiskService, High), (HighRiskService, High), 2),
        (6379, Some("redis"), false, (HighRiskPort, High), (HighRiskPort, Critical), 3),
        (22, Some("redis"), false, (HighRiskPort, High), (HighRiskPort, Critical), 3),
        (8080, Some("http"), false, (ExposedPort, Low), (ExposedPort, Medium), 1),
        (8080, None, false, (ExposedPort, Low), (ExposedPort, Medium), 1),
        (6379, None, true, (ExposedPort, Low), (ExposedPort, Low), 2),
    ] {
        let mut state = state(port);
        state.service = name.map(service);
        state.pseudo_open = pseudo;
        for (weight, expected) in [(6, light), (7, heavy)] {
            let got = risk(&state, &catalog(), Some(&asset(weight)), &[]);
            assert_eq!((got.kind, got.severity), expected, "{port} {name:?} pseudo={pseudo} weight={weight}");
            let raised = usize::from(light.1 != heavy.1 && weight == 7);
            assert_eq!(got.reasons.len(), reasons + raised, "{:?}", got.reasons);
            assert_eq!(got.entry.is_some(), got.kind != ExposedPort);
        }
        assert_eq!(risk(&state, &catalog(), None, &[]).severity, light.1, "no asset counts as light");
    }
}

#[test]
fn only_bytes_replace_what_bytes_proved() {
    let seen = |identity, name: Option<&str>, at| Identification {
        service: name.map(service),
        ..Identification::bare(Endpoint::tcp("10.0.0.7".parse().unwrap(), 3307), identity, Ts(at))
    };
    let mut s = state(3307);
    for (step, changed, now) in [
        (seen(Identity::Unreachable, None, 5), false, None),
        (seen(Identity::Silent, None, 6), true, None),
        (seen(Identity::Identified, Some("mysql"), 7), true, Some("mysql")),
        (seen(Identity::Identified, Some("mysql"), 8), false, Some("mysql")),
        (seen(Identity::Silent, None, 9), false, Some("mysql")),
        (seen(Identity::Unreachable, None, 10), false, Some("mysql")),
        (seen(Identity::Identified, Some("ssh"), 4), false, Some("mysql")),
        (seen(Identity::Identified, Some("ssh"), 11), true, Some("ssh")),
        (seen(Identity::ProtocolOnly, Some("text"), 12), true, Some("text")),
        (seen(Identity::Middlebox, None, 13), true, None),
    ] {
        assert_eq!(identify(&mut s, &step), changed, "{step:?}");
        assert_eq!(s.service.as_ref().map(|s| s.name.as_str()), now, "{step:?}");
    }
    assert!(is_pseudo(true, Some(Identity::Silent)) && is_pseudo(true, None));
    assert!(is_pseudo(false, Some(Identity::Middlebox)) && !is_pseudo(true, Some(Identity::ProtocolOnly)));
    assert!(!is_pseudo(true, Some(Identity::Identified)) && !is_pseudo(false, None));
}

#[test]
fn front_pages_change_by_the_newest() {
    let page = |title: &str, at| PanelObservation {
        endpoint: Endpoint::tcp("10.0.0.7".parse().unwrap(), 8443),
        panel: Some(Panel { scheme: "https".into(), status: 200, title: Some(title.into()), ..Panel::default() }),
        observed_at: Ts(at),
    };
    let mut s = state(8443);
    assert!(
        fetch(&mut s, &page("a", 5))
            && !fetch(&mut s, &page("a", 6))
            && !fetch(&mut s, &page("old", 4))
            && fetch(&mut s, &page("b", 7))
    );
}

#[test]
fn services_read_as_one_line() {
    let tls = Tls { version: "TLSv1.3".into(), self_signed: true, ..Tls::default() };
    let of = |name: &str, product: Option<&str>, version: Option<&str>, tls: Option<&Tls>| Service {
        name: name.into(),
        product: product.map(Into::into),
        version: version.map(Into::into),
        tls: tls.cloned(),
        ..Service::default()
    };
    for (service, line) in [
        (of("mysql", Some("MariaDB"), Some("10.11.19"), None), "MariaDB 10.11.19"),
        (of("redis", None, None, None), "redis"),
        (of("http", Some("nginx"), None, Some(&tls)), "nginx over TLS"),
        (of("", None, None, Some(&tls)), "TLS"),
        (of("", None, None, None), ""),
    ] {
        assert_eq!(one_line(&service), line);
    }
}
