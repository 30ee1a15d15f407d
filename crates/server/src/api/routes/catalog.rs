//! The catalogue of high-risk services, for the console's advice and for whoever wants to know what is watched.

use crate::api::views::system::CatalogServiceView;
use crate::api::{Api, Use};
use axum::Json;
use axum::extract::State;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> Vec<UtoipaMethodRouter<Api>> {
    vec![routes!(services)]
}

/// Lists the high-risk services of the catalogue.
#[utoipa::path(get, path = "/api/v1/catalog/services", tag = "system", operation_id = "listCatalogServices",
    responses((status = 200, description = "All entries, in the order of the catalogue.", body = Vec<CatalogServiceView>)))]
async fn services(State(api): Use) -> Json<Vec<CatalogServiceView>> {
    Json(api.context().catalog.entries().iter().map(CatalogServiceView::from).collect())
}
