//! What each route of the API does, a file per group. Every handler has the same shape: read what there is, check what
//! came, decide, write with an audit entry, show.
//!
//! Rights have been checked before a handler runs (`access`); what a handler shows is built in `views`.

pub mod access;
pub mod alerts;
pub mod approvals;
pub mod assets;
pub mod catalog;
pub mod dashboard;
pub mod endpoints;
pub mod exposures;
pub mod files;
pub mod findings;
pub mod health;
pub mod import;
mod kept;
pub mod live;
pub mod receivers;
pub mod restrictions;
pub mod results;
pub mod runs;
pub mod segments;
pub mod session;
pub mod settings;
pub mod tasks;
pub mod trail;

use super::Api;
use super::extract::page;
use super::problem::Problem;
use store::Paging;
use utoipa_axum::router::UtoipaMethodRouter;

/// Every route.
pub(super) fn all() -> Vec<UtoipaMethodRouter<Api>> {
    [
        session::routes(),
        dashboard::routes(),
        exposures::routes(),
        endpoints::routes(),
        findings::routes(),
        approvals::routes(),
        tasks::routes(),
        results::routes(),
        runs::routes(),
        assets::routes(),
        import::routes(),
        restrictions::routes(),
        segments::routes(),
        settings::routes(),
        receivers::routes(),
        alerts::routes(),
        access::routes(),
        trail::routes(),
        catalog::routes(),
        live::routes(),
        health::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn paging(offset: Option<u64>, limit: Option<u64>) -> Result<Paging, Problem> {
    page(offset, limit).map(|(offset, limit)| Paging { offset, limit })
}

/// A sort word with an optional minus.
fn order<K: Copy>(fields: &mut super::problem::Fields, word: Option<&str>, keys: &[(&str, K)]) -> Option<store::Order<K>> {
    let word = word?.trim();
    let (name, descending) = word.strip_prefix('-').map_or((word, false), |rest| (rest, true));
    match keys.iter().find(|(k, _)| *k == name) {
        Some(&(_, by)) => Some(store::Order { by, descending }),
        None => {
            let known = keys.iter().map(|k| k.0).collect::<Vec<_>>().join(", ");
            fields.add(
                "sort",
                "bad-word",
                format!("`{word}` is not a sort key: one of {known}, with `-` before it for descending"),
            );
            None
        }
    }
}
