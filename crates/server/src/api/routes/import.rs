//! Assets from and to CSV: a preview of what a file would change, the import that does exactly that, and the export.
//!
//! The digest in the preview names the file and the assets it was compared with, so that nobody imports what they did
//! not see. An import never removes anything.

use super::assets::{check, scope_changed};
use crate::api::access::Caller;
use crate::api::extract::{CSV_LIMIT, Csv, Query};
use crate::api::problem::{FieldError, Fields, Problem};
use crate::api::views::asset::{ImportAction, ImportChange, ImportCounts, ImportPreview, ImportResult, ImportRow};
use crate::api::{Answer, Api, Use};
use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use model::asset::{Asset, CheckCeiling, Zone};
use model::{AssetId, IpRange, Ts};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use utoipa::IntoParams;
use utoipa_axum::router::{UtoipaMethodRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;
use uuid::Uuid;

/// Columns of the file, in the order of the export.
const COLUMNS: &[&str] =
    &["range", "name", "owner", "zone", "weight", "tags", "observe_until", "rate_pps", "per_target_pps", "check_ceiling"];
/// Most rows of one file; more belong in several.
const MAX_ROWS: usize = 100_000;

pub(super) fn routes() -> Vec<UtoipaMethodRouter<Api>> {
    vec![
        routes!(preview).layer(DefaultBodyLimit::max(CSV_LIMIT)),
        routes!(import).layer(DefaultBodyLimit::max(CSV_LIMIT)),
        routes!(export),
    ]
}

/// Keeps a spreadsheet from taking a stranger's text for a formula: such a text gets an apostrophe before it.
pub(super) fn guard(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

/// The text without the apostrophe that [`guard`] put before it.
fn unguard(text: &str) -> &str {
    let rest = text.strip_prefix('\'').filter(|rest| rest.starts_with(['=', '+', '-', '@']));
    rest.unwrap_or(text)
}

struct Import {
    preview: ImportPreview,
    inserts: Vec<Asset>,
    updates: Vec<Asset>,
}

struct Defaults {
    now: Ts,
    observe_until: Ts,
    authorized: bool,
}

/// What the file would do to these assets. Decides only; nothing is written.
fn compare(text: &str, assets: &[Asset], defaults: &Defaults) -> Answer<Import> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|e| Problem::bad_request(format!("the file is not CSV: {e}")))?.clone();
    let columns = columns(&header)?;
    let known: HashMap<IpRange, &Asset> = assets.iter().map(|a| (a.range, a)).collect();
    let mut seen: HashSet<IpRange> = HashSet::new();
    let (mut rows, mut counts) = (Vec::new(), ImportCounts::default());
    let (mut inserts, mut updates) = (Vec::new(), Vec::new());
    for record in reader.records() {
        let record = record.map_err(|e| Problem::bad_request(format!("the file is not CSV: {e}")))?;
        if rows.len() == MAX_ROWS {
            return Err(Problem::bad_request(format!("the file has more than {MAX_ROWS} rows")).hint("import it in parts"));
        }
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |name: &str| columns.get(name).map(|&i| unguard(record.get(i).unwrap_or_default()));
        let mut fields = Fields::default();
        if record.len() != header.len() {
            fields.add("range", "bad-row", format!("the row has {} cells, the header {}", record.len(), header.len()));
        }
        let range = cell("range").unwrap_or_default();
        let before = range.parse::<IpRange>().ok().and_then(|r| known.get(&r).copied());
        let asset = read_row(&mut fields, &cell, before, defaults);
        if let Some(asset) = &asset
            && !seen.insert(asset.range)
        {
            fields.add("range", "repeated", format!("`{range}` is in the file twice"));
        }
        let mut row = ImportRow {
            line,
            action: ImportAction::Error,
            range: range.to_owned(),
            name: cell("name").unwrap_or_default().to_owned(),
            changes: vec![],
            errors: fields.into_errors(),
        };
        match asset.filter(|_| row.errors.is_empty()) {
            None => counts.error += 1,
            Some(asset) => match before {
                None => {
                    row.action = ImportAction::Create;
                    counts.create += 1;
                    inserts.push(asset);
                }
                Some(before) => {
                    row.changes = changes(before, &asset);
                    if row.changes.is_empty() {
                        row.action = ImportAction::Unchanged;
                        counts.unchanged += 1;
                    } else {
                        row.action = ImportAction::Update;
                        counts.update += 1;
                        updates.push(asset);
                    }
                }
            },
        }
        rows.push(row);
    }
    let preview = ImportPreview { digest: digest(text, assets, defaults.authorized), counts, rows };
    Ok(Import { preview, inserts, updates })
}

/// Where each column is. An unknown one is refused by name: a misspelt `owner` would otherwise be lost without a word.
fn columns(header: &csv::StringRecord) -> Answer<HashMap<String, usize>> {
    let mut columns = HashMap::new();
    let mut fields = Fields::default();
    for (i, name) in header.iter().enumerate() {
        let name = name.to_lowercase();
        if !COLUMNS.contains(&name.as_str()) {
            fields.add("header", "unknown-column", format!("`{name}` is not a column: one of {}", COLUMNS.join(", ")));
        } else if columns.insert(name.clone(), i).is_some() {
            fields.add("header", "repeated-column", format!("column `{name}` is there twice"));
        }
    }
    for needed in ["range", "name"] {
        fields.check(columns.contains_key(needed), "header", "missing-column", format!("column `{needed}` is missing"));
    }
    fields.done()?;
    Ok(columns)
}

/// The asset that a row describes. A column that the file does not have, and an empty cell of zone, weight, check_ceiling and
/// observe_until, leave what is there; `none` in observe_until ends the observe mode.
fn read_row<'a>(
    fields: &mut Fields,
    cell: &impl Fn(&str) -> Option<&'a str>,
    before: Option<&Asset>,
    defaults: &Defaults,
) -> Option<Asset> {
    let filled = |name: &str| cell(name).filter(|text| !text.is_empty());
    let owner = cell("owner").map_or_else(|| before.and_then(|b| b.owner.clone()), |o| Some(o.to_owned()));
    let zone = match filled("zone") {
        Some(word) => fields.parse::<Zone>("zone", "bad-word", &word.to_lowercase()),
        None => Some(before.map_or(Zone::Dmz, |b| b.zone)),
    };
    let weight = match filled("weight") {
        Some(word) => {
            let weight = word.parse::<u8>().ok().filter(|w| *w <= 10).ok_or_else(|| format!("`{word}` is not between 0 and 10"));
            fields.take("weight", "out-of-range", weight)
        }
        None => Some(before.map_or(5, |b| b.weight)),
    };
    let tags: Vec<String> = match cell("tags") {
        Some(text) => text.split(';').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect(),
        None => before.map(|b| b.tags.clone()).unwrap_or_default(),
    };
    let observe_until = match filled("observe_until") {
        Some("none") => Some(None),
        Some(word) => fields.parse::<Ts>("observe_until", "bad-instant", word).map(Some),
        None => Some(before.map_or(Some(defaults.observe_until), |b| b.observe_until)),
    };
    let mut cap = |name: &'static str, kept: Option<u32>| match cell(name) {
        None => Some(kept),
        Some("") => Some(None),
        Some(word) => {
            let number = word.parse::<u32>().map_err(|_| format!("`{word}` is not a number of probes per second"));
            fields.take(name, "bad-number", number).map(Some)
        }
    };
    let rate_pps = cap("rate_pps", before.and_then(|b| b.rate_pps));
    let per_target_pps = cap("per_target_pps", before.and_then(|b| b.per_target_pps));
    let check_ceiling = match filled("check_ceiling") {
        Some(word) => fields.parse::<CheckCeiling>("check_ceiling", "bad-word", &word.to_lowercase()),
        None => Some(before.map_or_else(CheckCeiling::default, |b| b.check_ceiling)),
    };
    let caps = [("rate_pps", rate_pps.flatten()), ("per_target_pps", per_target_pps.flatten())];
    let authorized = defaults.authorized || before.is_some();
    let range = cell("range").unwrap_or_default();
    let name = cell("name").unwrap_or_default();
    let until = observe_until.flatten();
    let checked =
        check(fields, range, name, owner.as_deref(), &tags, weight.unwrap_or(5), caps, until, authorized, defaults.now)?;
    Some(Asset {
        id: before.map_or_else(|| AssetId(Uuid::now_v7()), |b| b.id),
        range: checked.range,
        name: checked.name,
        owner: checked.owner,
        zone: zone?,
        weight: weight?,
        tags: checked.tags,
        observe_until: observe_until?,
        rate_pps: rate_pps?,
        per_target_pps: per_target_pps?,
        check_ceiling: check_ceiling?,
        created_at: before.map_or(defaults.now, |b| b.created_at),
        updated_at: defaults.now,
    })
}

/// The cells of an asset, in the order of [`COLUMNS`], as the export writes them.
fn cells(a: &Asset) -> [String; 10] {
    [
        a.range.to_string(),
        a.name.clone(),
        a.owner.clone().unwrap_or_default(),
        a.zone.to_string(),
        a.weight.to_string(),
        a.tags.join(";"),
        a.observe_until.map(|t| t.to_string()).unwrap_or_default(),
        a.rate_pps.map(|n| n.to_string()).unwrap_or_default(),
        a.per_target_pps.map(|n| n.to_string()).unwrap_or_default(),
        a.check_ceiling.to_string(),
    ]
}

fn changes(from: &Asset, to: &Asset) -> Vec<ImportChange> {
    let pairs = cells(from).into_iter().zip(cells(to));
    let named = COLUMNS.iter().zip(pairs).filter(|(_, (from, to))| from != to);
    named.map(|(field, (from, to))| ImportChange { field: (*field).to_owned(), from, to }).collect()
}

/// Names the file, what is said about it, and the assets it is compared with.
fn digest(text: &str, assets: &[Asset], authorized: bool) -> String {
    let mut rows: Vec<_> = assets.iter().map(|a| (a.id, a.updated_at)).collect();
    rows.sort_unstable();
    let mut hash = Sha256::new();
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text.as_bytes());
    hash.update([u8::from(authorized)]);
    for (id, updated_at) in rows {
        hash.update(id.0.as_bytes());
        hash.update(updated_at.0.to_be_bytes());
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

async fn compared(api: &Api, text: &str, authorized: bool) -> Answer<Import> {
    let now = api.now();
    let observe_until = now.plus(api.store().settings().await?.alerts.observe);
    let assets = api.store().assets().await?;
    compare(text, &assets, &Defaults { now, observe_until, authorized })
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PreviewQuery {
    /// Says that probing ranges with more than 256 public addresses is authorised.
    authorized: Option<bool>,
}

/// Says what an import of the file would do.
#[utoipa::path(post, path = "/api/v1/assets/import/preview", tag = "assets", operation_id = "previewAssetImport", params(PreviewQuery),
    request_body(content = String, content_type = "text/csv", description = "Columns range, name, owner, zone, weight, tags (separated by ;), observe_until, rate_pps, per_target_pps, check_ceiling; the header is required, range is the key."),
    responses((status = 200, description = "What would happen, row by row.", body = ImportPreview)))]
async fn preview(State(api): Use, Query(q): Query<PreviewQuery>, Csv(text): Csv) -> Answer<Json<ImportPreview>> {
    Ok(Json(compared(&api, &text, q.authorized == Some(true)).await?.preview))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ImportQuery {
    /// The digest of the preview.
    digest: String,
    /// As in the preview.
    authorized: Option<bool>,
}

/// Does what the preview said, all of it or nothing.
#[utoipa::path(post, path = "/api/v1/assets/import", tag = "assets", operation_id = "importAssets", params(ImportQuery),
    request_body(content = String, content_type = "text/csv", description = "The file that was previewed."),
    responses((status = 200, description = "What was done.", body = ImportResult),
              (status = 409, description = "The file or the assets are not those of the preview.", body = Problem, content_type = "application/problem+json")))]
async fn import(State(api): Use, caller: Caller, Query(q): Query<ImportQuery>, Csv(text): Csv) -> Answer<Json<ImportResult>> {
    let _one_at_a_time = api.deciding().await;
    let import = compared(&api, &text, q.authorized == Some(true)).await?;
    let preview = import.preview;
    if preview.digest != q.digest {
        return Err(Problem::conflict("the file or the assets are not those of the preview").hint("preview the file again"));
    }
    if preview.counts.error > 0 {
        let errors = preview.rows.iter().flat_map(|row| {
            row.errors.iter().map(|e| FieldError {
                field: format!("line {}: {}", row.line, e.field),
                code: e.code.clone(),
                message: e.message.clone(),
            })
        });
        // The preview has them all; a hundred are enough for whoever skipped it.
        return Err(Problem::bad_fields(errors.take(100).collect()));
    }
    let result = ImportResult {
        created: preview.counts.create,
        updated: preview.counts.update,
        deleted: 0,
        unchanged: preview.counts.unchanged,
    };
    if result.created + result.updated > 0 {
        let detail = json!({
            "created": result.created, "updated": result.updated, "unchanged": result.unchanged, "digest": preview.digest,
            "ranges": import.inserts.iter().chain(&import.updates).take(100).map(|a| a.range.to_string()).collect::<Vec<_>>(),
        });
        let entry = caller.audit(api.now(), "asset.import", format!("assets:{}", result.created + result.updated), detail);
        api.store().apply_asset_import(&import.inserts, &import.updates, &[], &entry).await?;
        scope_changed(&api).await;
    }
    Ok(Json(result))
}

/// Exports the assets in the form that an import takes.
#[utoipa::path(get, path = "/api/v1/assets/export", tag = "assets", operation_id = "exportAssets",
    responses((status = 200, description = "All assets.", body = String, content_type = "text/csv")))]
async fn export(State(api): Use) -> Answer<Response> {
    let mut assets = api.store().assets().await?;
    assets.sort_by_key(|a| (a.range, a.id));
    let text = write(&assets).map_err(Problem::internal)?;
    let headers =
        [(header::CONTENT_TYPE, "text/csv; charset=utf-8"), (header::CONTENT_DISPOSITION, "attachment; filename=\"assets.csv\"")];
    Ok((headers, text).into_response())
}

fn write(assets: &[Asset]) -> Result<Vec<u8>, String> {
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(COLUMNS).map_err(|e| e.to_string())?;
    for asset in assets {
        out.write_record(cells(asset).iter().map(|cell| guard(cell))).map_err(|e| e.to_string())?;
    }
    out.into_inner().map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Ts = Ts(1_800_000_000_000);

    fn run(text: &str, assets: &[Asset]) -> Answer<Import> {
        compare(text, assets, &Defaults { now: NOW, observe_until: Ts(NOW.0 + 86_400_000), authorized: false })
    }

    #[test]
    fn a_file_that_was_exported_changes_nothing_when_it_comes_back() {
        let text = "range,name,owner,zone,weight,tags,observe_until,rate_pps,per_target_pps,check_ceiling\n\
                    10.0.0.0/24,=SUM(A1),'quoted',high,10,a;b,2027-03-01T00:00:00Z,100,10,intrusive\n\
                    2001:db8::/64,+x,,dmz,0,,,,,none\n192.0.2.1-192.0.2.9,\"a, b\",@team,,,,none,,,\n";
        let first = run(text, &[]).unwrap();
        assert_eq!(first.preview.counts, ImportCounts { create: 3, ..ImportCounts::default() }, "{:?}", first.preview.rows);
        let exported = String::from_utf8(write(&first.inserts).unwrap()).unwrap();
        assert!(exported.contains("'=SUM(A1)") && exported.contains("'+x") && exported.contains("'@team"), "{exported}");
        let second = run(&exported, &first.inserts).unwrap();
        assert_eq!(second.preview.counts, ImportCounts { unchanged: 3, ..ImportCounts::default() }, "{:?}", second.preview.rows);
    }

    #[test]
    fn each_wrong_cell_is_named_with_its_line() {
        let text = "range,name,zone,weight,observe_until,rate_pps\n\
                    10.0.0.0/33,a,dmz,5,,\n10.0.0.0/24,,dmz,5,,\n10.0.1.0/24,a,moon,5,,\n10.0.2.0/24,a,dmz,11,,\n\
                    10.0.3.0/24,a,dmz,5,tomorrow,\n10.0.4.0/24,a,dmz,5,,fast\n224.0.0.1,a,dmz,5,,\n8.0.0.0/8,a,dmz,5,,\n\
                    10.0.5.0/24,a,dmz,5,,\n10.0.5.0/24,b,dmz,5,,\n10.0.6.0/24,a\n";
        let preview = run(text, &[]).unwrap().preview;
        let found: Vec<_> = preview.rows.iter().map(|r| (r.line, r.errors.first().map(|e| e.field.as_str()))).collect();
        let expected = [
            (2, Some("range")),
            (3, Some("name")),
            (4, Some("zone")),
            (5, Some("weight")),
            (6, Some("observe_until")),
            (7, Some("rate_pps")),
            (8, Some("range")),
            (9, Some("authorized")),
            (10, None),
            (11, Some("range")),
            (12, Some("range")),
        ];
        assert_eq!(found, expected, "{:?}", preview.rows);
        assert_eq!((preview.counts.error, preview.counts.create), (10, 1));
    }

    #[test]
    fn an_unknown_column_is_refused_by_name() {
        for (header, word) in
            [("range,name,onwer", "`onwer`"), ("range", "`name`"), ("range,name,range", "`range`"), ("", "`range`")]
        {
            let problem = run(&format!("{header}\n"), &[]).err().unwrap();
            assert!(problem.detail.contains(word), "{header}: {}", problem.detail);
        }
    }

    #[test]
    fn what_changes_is_shown_and_what_a_file_does_not_have_stays() {
        let before = run("range,name,owner,tags\n10.0.0.0/24,Shop,web,eu\n", &[]).unwrap().inserts;
        let import = run("name,range\nStore,10.0.0.0/24\n", &before).unwrap();
        let change = ImportChange { field: "name".into(), from: "Shop".into(), to: "Store".into() };
        assert_eq!(import.preview.rows[0].changes, [change]);
        assert_eq!(import.updates[0].owner.as_deref(), Some("web"));
        assert_eq!(import.updates[0].id, before[0].id);
    }

    #[test]
    fn the_digest_names_the_file_and_the_assets() {
        let assets = run("range,name\n10.0.0.0/24,Shop\n", &[]).unwrap().inserts;
        let mut later = assets.clone();
        later[0].updated_at = Ts(NOW.0 + 1);
        let digests = [
            digest("a", &assets, false),
            digest("b", &assets, false),
            digest("a", &later, false),
            digest("a", &assets, true),
            digest("a", &[], false),
        ];
        let distinct: HashSet<_> = digests.iter().collect();
        assert_eq!(distinct.len(), digests.len());
    }
}
