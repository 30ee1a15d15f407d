//! The OpenAPI 3.1 document: collected from the handlers, completed with what holds for every route.
//!
//! Security comes from the access table, problem replies from one list, so that no handler can forget them. The console
//! generates its client from the committed copy in `web/openapi.json`.

use super::access::{Access, access_of};
use super::problem::Problem;
use super::{Api, access, routes};
use utoipa::ToSchema;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{ArrayBuilder, Object, Schema};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder,
};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

/// The document.
pub fn openapi() -> OpenApi {
    let (_, mut document) = mounted().split_for_parts();
    complete(&mut document);
    document
}

/// The document as it is committed and served: pretty-printed, with a final newline.
pub fn openapi_json() -> String {
    let mut text = serde_json::to_string_pretty(&openapi()).expect("a document of strings and numbers serialises");
    text.push('\n');
    text
}

/// Every route with its part of the document.
pub(super) fn mounted() -> OpenApiRouter<Api> {
    let info = InfoBuilder::new()
        .title("portreeve")
        .version(crate::VERSION)
        .description(Some(
            "Watches every port an organisation exposes, says what answers there and whether it may, and drives each exposure to a decision.",
        ))
        .license(Some(LicenseBuilder::new().name("Apache-2.0 OR MIT").build()))
        .build();
    let empty = OpenApiBuilder::new().info(info).build();
    routes::all().into_iter().fold(OpenApiRouter::with_openapi(empty), mount)
}

/// Adds a route; one that the access table does not know is a defect that shows at once.
fn mount(router: OpenApiRouter<Api>, route: UtoipaMethodRouter<Api>) -> OpenApiRouter<Api> {
    for (path, item) in &route.1.paths {
        for (method, _) in operations(item) {
            assert!(access_of(method, path).is_some(), "route {method} {path} has no entry in access::ROUTES");
        }
    }
    router.routes(route)
}

/// The operations of a path with their methods.
pub fn operations(item: &PathItem) -> Vec<(&'static str, &Operation)> {
    [("GET", &item.get), ("PUT", &item.put), ("POST", &item.post), ("DELETE", &item.delete)]
        .into_iter()
        .filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
        .collect()
}

const COOKIE: &str = "session";
const TOKEN: &str = "token";
const PROBLEM: &str = "Problem";

fn complete(document: &mut OpenApi) {
    let components = document.components.get_or_insert_with(Components::new);
    let mut nested = Vec::new();
    <Problem as ToSchema>::schemas(&mut nested);
    components.schemas.extend(nested);
    components.schemas.insert(PROBLEM.to_owned(), <Problem as utoipa::PartialSchema>::schema());
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(PROBLEM))).build();
    let problem = ResponseBuilder::new()
        .description("Why the request was not done, as a problem document (RFC 9457).")
        .content("application/problem+json", content)
        .build();
    components.responses.insert(PROBLEM.to_owned(), RefOr::T(problem));
    let cookie = ApiKey::Cookie(ApiKeyValue::with_description(
        access::COOKIE,
        "Set by signing in. Changes also carry the header `X-Portreeve-Csrf: 1`.",
    ));
    components.add_security_scheme(COOKIE, SecurityScheme::ApiKey(cookie));
    components.add_security_scheme(TOKEN, SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    for (name, schema) in &mut components.schemas {
        if let (Some(item), RefOr::T(Schema::Object(page))) = (name.strip_prefix("Page_"), &mut *schema) {
            // utoipa writes the item of a generic page out in full; a client wants the one type it knows.
            let items = ArrayBuilder::new().items(Ref::from_schema_name(item)).description(Some("The items of the slice."));
            page.properties.insert("items".to_owned(), items.into());
        }
        // Inputs may leave fields out, a problem shows only what it has; every other schema is a view and shows all.
        if !name.ends_with("Input")
            && name != PROBLEM
            && let RefOr::T(schema) = schema
        {
            require_all(schema);
        }
    }
    for (path, item) in &mut document.paths.paths {
        let slots = [("GET", &mut item.get), ("PUT", &mut item.put), ("POST", &mut item.post), ("DELETE", &mut item.delete)];
        for (method, slot) in slots {
            if let (Some(operation), Some(access)) = (slot.as_mut(), access_of(method, path)) {
                complete_operation(operation, access, path.contains('{'));
            }
        }
    }
}

fn complete_operation(operation: &mut Operation, access: Access, names_a_thing: bool) {
    let schemes = match access {
        Access::Public => vec![],
        _ => [COOKIE, TOKEN].map(|scheme| SecurityRequirement::new(scheme, Vec::<String>::new())).to_vec(),
    };
    operation.security = Some(schemes);
    if let Access::Needs(permission) = access {
        let text = format!("Permission: `{permission}`.");
        operation.description = Some(match operation.description.take() {
            Some(before) if !before.is_empty() => format!("{before}\n\n{text}"),
            _ => text,
        });
    }
    let takes_something = operation.parameters.as_ref().is_some_and(|p| !p.is_empty()) || operation.request_body.is_some();
    let replies = [
        ("400", takes_something),
        ("401", access != Access::Public),
        ("403", access != Access::Public),
        ("404", names_a_thing),
        ("422", takes_something),
        ("500", true),
        ("503", true),
    ];
    for (status, _) in replies.into_iter().filter(|r| r.1) {
        let reply = || RefOr::Ref(Ref::from_response_name(PROBLEM));
        operation.responses.responses.entry(status.to_owned()).or_insert_with(reply);
    }
}

fn require_all(schema: &mut Schema) {
    match schema {
        Schema::Object(Object { properties, required, .. }) => {
            *required = properties.keys().cloned().collect();
            for property in properties.values_mut() {
                if let RefOr::T(inner) = property {
                    require_all(inner);
                }
            }
        }
        Schema::OneOf(one) => one.items.iter_mut().for_each(require_all_of),
        Schema::AllOf(all) => all.items.iter_mut().for_each(require_all_of),
        _ => {}
    }
}

fn require_all_of(item: &mut RefOr<Schema>) {
    if let RefOr::T(schema) = item {
        require_all(schema);
    }
}
