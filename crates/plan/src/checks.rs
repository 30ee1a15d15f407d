//! What may be checked where: from assets and approvals to the policies that go out with a job.
//!
//! The most specific range holds, so an asset inside a larger one keeps its own ceiling. Counting attempts and reserving them is
//! left to the server and the store, looking at everything again before each check to the node.

use model::address::IpRange;
use model::asset::{Asset, CheckCeiling};
use model::finding::{Approval, CheckPolicy, CredentialGrant, SpentAttempt};
use model::{Duration, Ts};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How long an attempt to sign in counts against the next.
pub const ATTEMPTS_SPAN: Duration = Duration::hours(24);

/// The policies for these addresses at `now`. `spent` are the attempts of the last [`ATTEMPTS_SPAN`]; at the addresses in `held`
/// attempts may be going on, or have been lost sight of, so that nothing is tried there.
pub fn policies(
    assets: &[Asset],
    approvals: &[Approval],
    spent: &[SpentAttempt],
    held: &[IpAddr],
    targets: &[IpRange],
    now: Ts,
) -> Vec<CheckPolicy> {
    let concerned = |range: &IpRange| targets.iter().any(|t| t.overlaps(range));
    let mut by_range: BTreeMap<IpRange, CheckPolicy> = BTreeMap::new();
    for asset in assets.iter().filter(|a| concerned(&a.range)) {
        let ceiling = asset.check_ceiling.side_effect();
        by_range.insert(asset.range, CheckPolicy { range: asset.range, ceiling, credentials: None });
    }
    let mut active: Vec<&Approval> = approvals.iter().filter(|a| a.in_force(now) && concerned(&a.range)).collect();
    // Of two for the same range the one that lasts longer is written last.
    active.sort_by_key(|a| (a.until, a.id));
    for approval in active {
        let Some(asset) = approvable(approval.range, assets) else { continue };
        let grant = CredentialGrant {
            approval: approval.id,
            not_before: approval.not_before,
            until: approval.until,
            max_attempts: approval.max_attempts,
            spent: spent.iter().filter(|s| approval.range.contains(s.endpoint.ip)).cloned().collect(),
        };
        let policy = CheckPolicy { range: approval.range, ceiling: asset.check_ceiling.side_effect(), credentials: Some(grant) };
        by_range.insert(approval.range, policy);
    }
    for ip in held {
        let Some(policy) = policy_for(*ip, by_range.values()) else { continue };
        let range = IpRange::single(*ip);
        let without = CheckPolicy { range, ceiling: policy.ceiling, credentials: None };
        by_range.insert(range, without);
    }
    by_range.into_values().collect()
}

/// The asset whose ceiling decides about a range: the most specific one that holds all of it, if it lets intrusive questions pass.
pub fn approvable(range: IpRange, assets: &[Asset]) -> Option<&Asset> {
    holder(range, assets).filter(|a| a.check_ceiling == CheckCeiling::Intrusive)
}

/// The most specific asset that holds the whole range.
pub fn holder(range: IpRange, assets: &[Asset]) -> Option<&Asset> {
    let whole = assets.iter().filter(|a| a.range.contains(range.first()) && a.range.contains(range.last()));
    whole.min_by_key(|a| (a.range.len(), a.created_at, a.id))
}

/// The policy that holds for an address: that of the most specific range.
pub fn policy_for<'a>(ip: IpAddr, policies: impl IntoIterator<Item = &'a CheckPolicy>) -> Option<&'a CheckPolicy> {
    policies.into_iter().filter(|p| p.range.contains(ip)).min_by_key(|p| p.range.len())
}

/// Whether less may be done now than what was handed out: a ceiling was lowered, an asset with a lower one came, an approval has
/// ended or was taken back. Looked at where any of the ranges begins and ends.
pub fn restricted(given: &[CheckPolicy], now: &[CheckPolicy]) -> bool {
    let ends = given.iter().chain(now).flat_map(|p| [p.range.first(), p.range.last()]);
    let approval = |p: Option<&CheckPolicy>| p.and_then(|p| p.credentials.as_ref()).map(|c| c.approval);
    ends.into_iter().any(|ip| {
        let (was, is) = (policy_for(ip, given), policy_for(ip, now));
        is.and_then(|p| p.ceiling) < was.and_then(|p| p.ceiling) || (approval(was).is_some() && approval(was) != approval(is))
    })
}

/// The addresses at which the policies would have an account tried: those whose attempts have to be reserved.
pub fn tried(ips: impl IntoIterator<Item = IpAddr>, policies: &[CheckPolicy]) -> Vec<IpAddr> {
    let tried = |ip: &IpAddr| policy_for(*ip, policies).is_some_and(|p| p.credentials.is_some());
    ips.into_iter().filter(tried).collect()
}
