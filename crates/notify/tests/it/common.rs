//! Alerts, receivers and notifications for the tests, told apart by small numbers.

use model::alert::{Alert, AlertKind, AlertState, Destination, Language, MailSecurity, Notification, Receiver};
use model::exposure::{RiskKind, Severity};
use model::segment::SegmentNote;
use model::{AlertId, AssetId, Endpoint, ExposureId, NotificationId, ReceiverId, Ts, Vantage};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// The id with this number. Goes through text, because notify's tests have no need of a uuid crate of their own.
pub fn id<T: std::str::FromStr<Err = String>>(n: u64) -> T {
    format!("00000000-0000-7000-8000-{n:012x}").parse().expect("a constant id")
}

/// An opened Redis of host 10.0.0.`host`, owned by payments, high, raised at `at_ms`.
pub fn alert(n: u64, host: u8, at_ms: i64) -> Alert {
    Alert {
        id: id::<AlertId>(n),
        kind: AlertKind::Opened,
        state: AlertState::Pending,
        suppressed_by: None,
        exposure: id::<ExposureId>(n),
        opening: 1,
        endpoint: Endpoint::tcp(IpAddr::V4(Ipv4Addr::new(10, 0, 0, host)), 6379),
        risk: RiskKind::HighRiskService,
        severity: Severity::High,
        entry: Some("redis".into()),
        service: Some("Redis 7.0.15".into()),
        asset: Some(id::<AssetId>(1)),
        asset_name: Some("office".into()),
        owner: Some("payments".into()),
        reason: None,
        observed_at: Ts(at_ms),
        created_at: Ts(at_ms),
        segment: None,
        findings: vec![],
    }
}

/// Segment 10.0.`n`.0/24 from that vantage, unknown since 2026-11-21 09:30:00.
pub fn segment(n: u8, vantage: &str) -> SegmentNote {
    SegmentNote {
        range: format!("10.0.{n}.0/24").parse().unwrap(),
        vantage: Vantage(vantage.into()),
        canaries: 8,
        silent: 7,
        since: "2026-11-21T09:30:00Z".parse().unwrap(),
    }
}

/// A webhook receiver of everything. Nothing is sent to it unless a test sets the destination.
pub fn receiver(n: u64) -> Receiver {
    Receiver {
        id: id::<ReceiverId>(n),
        name: format!("receiver {n}"),
        enabled: true,
        destination: Destination::Webhook { url: "http://127.0.0.1:9/".into(), secret: None, headers: BTreeMap::new() },
        language: Language::En,
        min_severity: Severity::Low,
        send_closed: true,
        owners: Vec::new(),
        created_at: Ts(0),
    }
}

/// A receiver of mail on a port of loopback.
pub fn mail_receiver(port: u16, security: MailSecurity) -> Receiver {
    let destination = Destination::Mail {
        host: "localhost".into(),
        port,
        security,
        username: None,
        password: None,
        from: "Portreeve <portreeve@example.net>".into(),
        to: vec!["soc@example.net".into()],
    };
    Receiver { destination, ..receiver(1) }
}

/// A notification of these alerts.
pub fn notification(n: u64, alerts: &[Alert]) -> Notification {
    Notification {
        group: "10.0.0.1/payments".into(),
        alerts: alerts.iter().map(|a| a.id).collect(),
        ..notify::test_message(id(1), id::<NotificationId>(n), Ts(1_763_712_000_000))
    }
}
