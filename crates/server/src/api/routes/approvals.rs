//! Approvals: who asked that default pairs may be tried where, for how long, and how often, and who agreed: two people.
//!
//! Without one that was granted nothing is tried. What it comes to for a job is decided by `plan`, counted when the job is handed
//! out, and looked at again by the node.

use crate::api::access::{Caller, Who};
use crate::api::extract::{Body, Path, Query, page};
use crate::api::problem::{Fields, Problem};
use crate::api::views::Page;
use crate::api::views::finding::{ApprovalInput, ApprovalState, ApprovalView};
use crate::api::{Answer, Api, Use};
use crate::live::Topic;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::address::IpRange;
use model::asset::{Asset, CheckCeiling};
use model::check::MAX_ATTEMPTS;
use model::finding::Approval;
use model::{ApprovalId, Duration, Ts};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Longest reason, in characters.
const MAX_REASON: usize = 2_000;
/// How far ahead one may begin.
const AHEAD: Duration = Duration::days(90);

pub(super) fn routes() -> Vec<UtoipaMethodRouter<Api>> {
    vec![routes!(list, create), routes!(grant), routes!(revoke)]
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only those that hold and have an effect now, or only the others.
    active: Option<bool>,
    /// How they stand: words separated by commas.
    state: Option<String>,
    /// Items to skip; 0 when absent.
    offset: Option<u64>,
    /// Items to return, at most 500; 50 when absent.
    limit: Option<u64>,
}

/// Lists approvals, those that end last first.
#[utoipa::path(get, path = "/api/v1/approvals", tag = "findings", operation_id = "listApprovals", params(ListQuery),
    responses((status = 200, description = "A page of approvals.", body = Page<ApprovalView>)))]
async fn list(State(api): Use, Query(q): Query<ListQuery>) -> Answer<Json<Page<ApprovalView>>> {
    let slice = page(q.offset, q.limit)?;
    let mut fields = Fields::default();
    let words = q.state.as_deref().unwrap_or_default().split(',').map(str::trim).filter(|w| !w.is_empty());
    let read = |word: &str| serde_json::from_value::<ApprovalState>(json!(word)).map_err(|_| format!("`{word}` is no state"));
    let states: Vec<_> = words.filter_map(|word| fields.take("state", "bad-word", read(word))).collect();
    fields.done()?;
    let (assets, now) = (api.store().assets().await?, api.now());
    let wanted = |a: &ApprovalView| {
        q.active.is_none_or(|wanted| a.active_now == wanted) && (states.is_empty() || states.contains(&a.state))
    };
    let all = api.store().approvals().await?.into_iter().map(|a| ApprovalView::new(a, &assets, now));
    Ok(Json(Page::slice(all.filter(wanted).collect(), slice)))
}

/// The approval, if everything it needs is there. It lies inside one asset, so that one owner answers for all of it.
fn check(input: &ApprovalInput, assets: &[Asset], by: String, person: String, now: Ts) -> Answer<Approval> {
    let mut fields = Fields::default();
    let word = input.range.trim();
    let range = fields.take("range", "bad-range", word.parse::<IpRange>().and_then(|r| r.require_unicast(word)));
    let owner = fields.text("owner", &input.owner, 200);
    let reason = fields.text("reason", &input.reason, MAX_REASON);
    let not_before = input.not_before.map_or(now, |t| t.0);
    let until = input.until.0;
    let max_attempts = input.max_attempts.unwrap_or(1);
    if let Some(range) = range {
        match plan::checks::holder(range, assets) {
            None => fields.add("range", "no-asset", format!("`{range}` is not inside one asset")),
            Some(asset) => fields.check(
                asset.check_ceiling == CheckCeiling::Intrusive,
                "range",
                "below-ceiling",
                format!(
                    "asset `{}` allows checks up to `{}`; an approval has an effect only where it allows `intrusive`",
                    asset.name, asset.check_ceiling
                ),
            ),
        }
    }
    fields.check(not_before <= now.plus(AHEAD), "not_before", "too-far", format!("`{not_before}` is more than 90 days ahead"));
    fields.check(until > now, "until", "in-the-past", format!("`{until}` is in the past"));
    fields.check(until > not_before, "until", "before-start", format!("`{until}` is not after the start"));
    fields.check(
        until <= not_before.max(now).plus(Approval::LONGEST),
        "until",
        "too-far",
        format!("`{until}` is more than 30 days after the start"),
    );
    fields.check(
        (1..=MAX_ATTEMPTS).contains(&max_attempts),
        "max_attempts",
        "out-of-range",
        format!("`{max_attempts}` is not between 1 and {MAX_ATTEMPTS}"),
    );
    let parts = range.zip(owner).zip(reason);
    let ((range, owner), reason) = fields.finish(parts)?;
    Ok(Approval {
        id: ApprovalId(Uuid::now_v7()),
        range,
        owner,
        reason,
        not_before,
        until,
        max_attempts,
        created_by: by,
        asked_by: person,
        created_at: now,
        granted_at: None,
        granted_by: None,
        revoked_at: None,
        revoked_by: None,
    })
}

/// Asks for an approval. Once a second person has granted it, and while it holds, default pairs may be tried at its addresses.
#[utoipa::path(post, path = "/api/v1/approvals", tag = "findings", operation_id = "createApproval", request_body = ApprovalInput,
    responses((status = 201, description = "The approval.", body = ApprovalView)))]
async fn create(State(api): Use, caller: Caller, Body(input): Body<ApprovalInput>) -> Answer<(StatusCode, Json<ApprovalView>)> {
    let (assets, now) = (api.store().assets().await?, api.now());
    let approval = check(&input, &assets, caller.actor(), caller.person(), now)?;
    let entry = caller.audit(now, "approval.create", format!("approval:{}", approval.id), json!({ "approval": approval }));
    api.store().insert_approval(&approval, &entry).await?;
    api.changed(Topic::Findings);
    Ok((StatusCode::CREATED, Json(ApprovalView::new(approval, &assets, now))))
}

/// Agrees to what another person asked for. A person only, signed in: what a program agrees to nobody has agreed to.
#[utoipa::path(post, path = "/api/v1/approvals/{id}/grant", tag = "findings", operation_id = "grantApproval",
    params(("id" = Uuid, Path, description = "Approval.")),
    responses((status = 200, description = "The approval.", body = ApprovalView),
              (status = 409, description = "It was granted, declined or over before, or the caller asked for it or is no person.", body = Problem, content_type = "application/problem+json")))]
async fn grant(State(api): Use, caller: Caller, Path(id): Path<Uuid>) -> Answer<Json<ApprovalView>> {
    if !matches!(caller.who, Who::User(..)) {
        let problem = Problem::conflict("an approval is granted by a person, not by a token");
        return Err(problem.hint("sign in and grant it in the console"));
    }
    let (id, now) = (ApprovalId(id), api.now());
    let missing = || Problem::not_found(format!("approval {id} does not exist"));
    let before = api.store().approval(id).await?.ok_or_else(missing)?;
    let by = caller.person();
    if before.asked_by == by || before.created_by == by {
        let problem = Problem::conflict("who asked for an approval may not be who grants it");
        return Err(problem.hint("ask another person with the role approver or admin"));
    }
    let entry = caller.audit(now, "approval.grant", format!("approval:{id}"), json!({ "approval": before }));
    api.store().grant_approval(id, &by, now, &entry).await?;
    api.changed(Topic::Findings);
    let approval = api.store().approval(id).await?.ok_or_else(missing)?;
    Ok(Json(ApprovalView::new(approval, &api.store().assets().await?, now)))
}

/// Declines or takes an approval back. Who is trying something under it stops with the next heartbeat; the record stays.
#[utoipa::path(post, path = "/api/v1/approvals/{id}/revoke", tag = "findings", operation_id = "revokeApproval",
    params(("id" = Uuid, Path, description = "Approval.")),
    responses((status = 200, description = "The approval.", body = ApprovalView),
              (status = 409, description = "It has been taken back before.", body = Problem, content_type = "application/problem+json")))]
async fn revoke(State(api): Use, caller: Caller, Path(id): Path<Uuid>) -> Answer<Json<ApprovalView>> {
    let (id, now) = (ApprovalId(id), api.now());
    let missing = || Problem::not_found(format!("approval {id} does not exist"));
    let before = api.store().approval(id).await?.ok_or_else(missing)?;
    let entry = caller.audit(now, "approval.revoke", format!("approval:{id}"), json!({ "approval": before }));
    api.store().revoke_approval(id, &caller.actor(), now, &entry).await?;
    api.changed(Topic::Findings);
    let approval = api.store().approval(id).await?.ok_or_else(missing)?;
    Ok(Json(ApprovalView::new(approval, &api.store().assets().await?, now)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::views::words::Instant;
    use model::AssetId;
    use model::asset::Zone;

    fn asset(range: &str, check_ceiling: CheckCeiling) -> Asset {
        Asset {
            id: AssetId(Uuid::nil()),
            range: range.parse().unwrap(),
            name: range.into(),
            owner: None,
            zone: Zone::Dmz,
            weight: 5,
            tags: vec![],
            observe_until: None,
            rate_pps: None,
            per_target_pps: None,
            check_ceiling,
            created_at: Ts(0),
            updated_at: Ts(0),
        }
    }

    #[test]
    fn an_approval_is_short_counted_and_inside_one_asset_that_allows_it() {
        let assets = [asset("10.0.0.0/16", CheckCeiling::Intrusive), asset("10.0.5.0/24", CheckCeiling::Session)];
        let now = Ts(1_000_000_000);
        let days = |n: u64| now.plus(Duration::days(n));
        for (range, from, until, attempts, bad) in [
            ("10.0.1.0/24", None, days(30), None, None),
            ("10.0.1.0/24", None, days(30), Some(2), None),
            ("10.0.1.0/24", None, days(31), None, Some("until")),
            ("10.0.1.0/24", Some(days(10)), days(40), None, None),
            ("10.0.1.0/24", Some(days(10)), days(41), None, Some("until")),
            ("10.0.1.0/24", Some(days(10)), days(9), None, Some("until")),
            ("10.0.1.0/24", Some(days(91)), days(92), None, Some("not_before")),
            ("10.0.1.0/24", None, now, None, Some("until")),
            ("10.0.1.0/24", None, days(1), Some(0), Some("max_attempts")),
            ("10.0.1.0/24", None, days(1), Some(3), Some("max_attempts")),
            ("10.0.5.7", None, days(1), None, Some("range")),
            ("10.0.5.0/24", None, days(1), None, Some("range")),
            // Part of it in an asset of its own with a ceiling of its own: that one keeps it.
            ("10.0.4.0-10.0.5.9", None, days(1), None, None),
            ("10.1.0.0/24", None, days(1), None, Some("range")),
            ("10.0.255.0-10.1.0.9", None, days(1), None, Some("range")),
        ] {
            let input = ApprovalInput {
                range: range.into(),
                owner: "payments".into(),
                reason: "CHG-1".into(),
                not_before: from.map(Instant),
                until: Instant(until),
                max_attempts: attempts,
            };
            let field =
                check(&input, &assets, "user:a".into(), "user:a".into(), now).err().and_then(|p| p.fields.into_iter().next());
            assert_eq!(field.map(|f| f.field).as_deref(), bad, "{range} {from:?} {until} {attempts:?}");
        }
    }
}
