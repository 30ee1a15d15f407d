//! What may be checked where: the most specific range holds, approvals have their time, held addresses are left alone.

use model::asset::{Asset, CheckCeiling, Zone};
use model::finding::{Approval, CheckPolicy, SideEffect, SpentAttempt};
use model::{ApprovalId, AssetId, Duration, Endpoint, IpRange, Ts};
use plan::checks::{policies, policy_for, restricted, tried};
use std::net::IpAddr;
use uuid::Uuid;

const NOW: Ts = Ts(1_795_262_400_000);

fn r(s: &str) -> IpRange {
    s.parse().unwrap()
}

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn asset(range: &str, check_ceiling: CheckCeiling) -> Asset {
    Asset {
        id: AssetId(Uuid::nil()),
        range: r(range),
        name: range.into(),
        owner: None,
        zone: Zone::Dmz,
        weight: 5,
        tags: vec![],
        observe_until: None,
        rate_pps: None,
        per_target_pps: None,
        check_ceiling,
        created_at: NOW,
        updated_at: NOW,
    }
}

fn approval(n: u128, range: &str) -> Approval {
    Approval {
        id: ApprovalId(Uuid::from_u128(n)),
        range: r(range),
        owner: "payments".into(),
        reason: "CHG-1".into(),
        not_before: NOW,
        until: NOW.plus(Duration::days(n as u64)),
        max_attempts: 2,
        created_by: "user:alice".into(),
        asked_by: "user:alice".into(),
        created_at: NOW,
        granted_at: Some(NOW),
        granted_by: Some("user:carol".into()),
        revoked_at: None,
        revoked_by: None,
    }
}

/// What may be done to an address, as `ceiling` and the number of the approval.
fn at(policies: &[CheckPolicy], address: &str) -> Option<(Option<SideEffect>, Option<u128>)> {
    let policy = policy_for(ip(address), policies)?;
    Some((policy.ceiling, policy.credentials.as_ref().map(|c| c.approval.0.as_u128())))
}

#[test]
fn the_most_specific_range_holds_and_an_approval_has_effect_only_where_the_asset_lets_it() {
    use CheckCeiling::{Benign, Intrusive, None as Off, Session};
    use SideEffect as S;
    let assets =
        [asset("10.0.0.0/16", Intrusive), asset("10.0.5.0/24", Session), asset("10.0.5.7", Off), asset("10.1.0.0/24", Benign)];
    let ended = Approval { until: NOW, ..approval(9, "10.0.9.0/24") };
    let ahead = Approval { not_before: NOW.plus(Duration::secs(1)), ..approval(10, "10.0.10.0/24") };
    let revoked = Approval { revoked_at: Some(NOW), ..approval(11, "10.0.11.0/24") };
    let approvals = [
        approval(1, "10.0.0.0/17"),
        approval(2, "10.0.3.0/24"),
        approval(3, "10.0.3.0/24"),
        approval(4, "10.0.5.8"),
        approval(5, "10.1.0.0/28"),
        ended,
        ahead,
        revoked,
    ];
    let made = policies(&assets, &approvals, &[], &[], &[r("10.0.0.0/8")], NOW);
    for (address, expected) in [
        ("10.0.200.1", Some((Some(S::Intrusive), None))),
        ("10.0.1.1", Some((Some(S::Intrusive), Some(1)))),
        // Of two for the same range the longer one.
        ("10.0.3.1", Some((Some(S::Intrusive), Some(3)))),
        // An asset inside the approved range keeps its own ceiling.
        ("10.0.5.1", Some((Some(S::Session), None))),
        ("10.0.5.7", Some((None, None))),
        ("10.0.5.8", Some((Some(S::Session), None))),
        ("10.1.0.1", Some((Some(S::Benign), None))),
        ("10.0.9.1", Some((Some(S::Intrusive), Some(1)))),
        ("10.0.10.1", Some((Some(S::Intrusive), Some(1)))),
        ("10.0.11.1", Some((Some(S::Intrusive), Some(1)))),
        ("192.0.2.1", None),
    ] {
        assert_eq!(at(&made, address), expected, "{address}");
    }
    let few = policies(&assets, &approvals, &[], &[], &[r("10.1.0.0/30")], NOW);
    assert_eq!(few.len(), 1, "a job is told what it needs and no more: {few:?}");
}

#[test]
fn where_attempts_are_held_nothing_is_tried_and_what_was_spent_goes_along() {
    let assets = [asset("10.0.0.0/24", CheckCeiling::Intrusive)];
    let approvals = [approval(1, "10.0.0.0/24")];
    let spent = |address: &str| SpentAttempt {
        endpoint: Endpoint::tcp(ip(address), 3306),
        account: "root".into(),
        attempts: 1,
        last_at: NOW,
    };
    let all = [spent("10.0.0.7"), spent("10.9.0.7")];
    let made = policies(&assets, &approvals, &all, &[ip("10.0.0.8"), ip("10.9.9.9")], &[r("10.0.0.0/24")], NOW);
    assert_eq!(at(&made, "10.0.0.7"), Some((Some(SideEffect::Intrusive), Some(1))));
    assert_eq!(at(&made, "10.0.0.8"), Some((Some(SideEffect::Intrusive), None)), "held by another lease");
    let grant = policy_for(ip("10.0.0.7"), &made).unwrap().credentials.clone().unwrap();
    assert_eq!(grant.spent, [spent("10.0.0.7")], "and only what concerns the range");
    let wanted = tried(["10.0.0.7", "10.0.0.8", "10.0.1.1"].map(ip), &made);
    assert_eq!(wanted, [ip("10.0.0.7")]);
}

#[test]
fn a_job_is_called_back_when_less_may_be_done_and_not_when_more_may() {
    use CheckCeiling::{Benign, Intrusive, Session};
    let wide = r("10.0.0.0/24");
    let of = |assets: &[Asset], approvals: &[Approval]| policies(assets, approvals, &[], &[], &[wide], NOW);
    let plain = of(&[asset("10.0.0.0/24", Intrusive)], &[]);
    let approved = of(&[asset("10.0.0.0/24", Intrusive)], &[approval(1, "10.0.0.16/28")]);
    let lowered = of(&[asset("10.0.0.0/24", Session)], &[]);
    let nested = of(&[asset("10.0.0.0/24", Intrusive), asset("10.0.0.7", Benign)], &[]);
    let other = of(&[asset("10.0.0.0/24", Intrusive)], &[approval(2, "10.0.0.16/28")]);
    for (given, now, called) in [
        (&plain, &plain, false),
        (&plain, &approved, false),
        (&approved, &plain, true),
        (&approved, &other, true),
        (&plain, &lowered, true),
        (&lowered, &plain, false),
        (&plain, &nested, true),
        (&nested, &plain, false),
        (&plain, &vec![], true),
    ] {
        assert_eq!(restricted(given, now), called, "{given:?} {now:?}");
    }
}
