//! The console's files, inside the binary: what a browser gets for a path. It stands at the very end of an exposure's
//! life, where people look at it; serving over HTTP, and every header but the content's own, is left to `server`.

use rust_embed::RustEmbed;
use std::borrow::Cow;

#[derive(RustEmbed)]
#[folder = "../../web/dist"]
struct Dist;

/// The policy the pages are written for: everything from this server, no inline script. Element Plus sets inline styles.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// A file for a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Its contents.
    pub bytes: Cow<'static, [u8]>,
    /// Value of `Content-Type`.
    pub mime: &'static str,
    /// Value of `ETag`, quotes included.
    pub etag: String,
    /// Its name changes with its contents, so a browser may keep it for ever.
    pub immutable: bool,
}

/// Shown at `/` when the binary was built without the console (debug and test builds).
const PLACEHOLDER: &str = include_str!("placeholder.html");

/// Whether the console was built before this crate was.
pub fn is_built() -> bool {
    Dist::get("index.html").is_some()
}

/// The file at a path such as `/assets/index-1a2b.js`.
///
/// A path that names no file is a page of the application, so it gets `index.html`; but a missing file with an
/// extension, or below `assets/`, is `None`: a script tag must not be answered with a page. Paths of the API are never
/// answered here.
pub fn asset(path: &str) -> Option<Asset> {
    let path = path.trim_start_matches('/');
    if path == "api" || path.starts_with("api/") {
        return None;
    }
    if !path.is_empty() && path != "index.html" {
        if let Some(found) = file(path) {
            return Some(found);
        }
        if path.starts_with("assets/") || names_a_file(path) {
            return None;
        }
    }
    file("index.html").or_else(|| Some(placeholder()))
}

fn file(path: &str) -> Option<Asset> {
    // The build's own marks, such as `.source-hash`, are nobody's business.
    if path.split('/').any(|part| part.starts_with('.')) {
        return None;
    }
    let embedded = Dist::get(path)?;
    let hash = embedded.metadata.sha256_hash();
    let etag = format!("\"{}\"", hash[..12].iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    // Only what the bundler names by its contents may be kept; index.html and theme.js keep their names.
    Some(Asset { bytes: embedded.data, mime: mime(path), etag, immutable: path.starts_with("assets/") })
}

fn placeholder() -> Asset {
    Asset {
        bytes: Cow::Borrowed(PLACEHOLDER.as_bytes()),
        mime: "text/html; charset=utf-8",
        etag: "\"placeholder\"".into(),
        immutable: false,
    }
}

/// Whether the last part of the path has an extension of letters. Addresses in paths of the application
/// (`/endpoints/10.0.0.7/tcp/6379`) end in digits and are no files.
fn names_a_file(path: &str) -> bool {
    path.rsplit('/')
        .next()
        .and_then(|name| name.rsplit_once('.'))
        .is_some_and(|(_, extension)| !extension.is_empty() && extension.chars().all(|c| c.is_ascii_alphabetic()))
}

/// The types the bundler emits; anything else is bytes.
fn mime(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "json" | "map" => "application/json",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_of_the_application_gets_the_same_html() {
        let root = asset("/").unwrap();
        assert_eq!(root.mime, "text/html; charset=utf-8");
        assert!(!root.immutable, "a browser must ask for the page again after an upgrade");
        for path in [
            "",
            "/index.html",
            "/exposures",
            "/endpoints/10.0.0.7/tcp/6379",
            "/endpoints/2001:db8::1/tcp/22",
            "/sign-in",
            "/apiary",
        ] {
            assert_eq!(asset(path).unwrap(), root, "{path}");
        }
    }

    #[test]
    fn what_is_no_page_is_not_answered_with_one() {
        for path in
            ["/api", "/api/v1/exposures", "/assets/gone-1a2b.js", "/robots.txt", "/.source-hash", "/assets/../../Cargo.toml"]
        {
            let got = asset(path);
            assert!(got.as_ref().is_none_or(|a| a.mime.starts_with("text/html") && path == "/.source-hash"), "{path}: {got:?}");
        }
    }

    #[test]
    fn named_files_have_their_type_and_may_be_kept() {
        for name in Dist::iter().filter(|name| !name.starts_with('.')) {
            let found = asset(&name).unwrap();
            assert_ne!(found.mime, "application/octet-stream", "{name} has no type");
            assert_eq!(found.immutable, name.starts_with("assets/"), "{name}");
            assert!(found.etag.starts_with('"') && found.etag.ends_with('"'), "{name}");
        }
    }

    #[test]
    fn without_a_build_the_page_says_how_to_make_one() {
        let page = String::from_utf8(placeholder().bytes.into_owned()).unwrap();
        assert!(page.contains("cargo xtask build") && page.contains("make run"), "{page}");
        assert!(!page.contains("<script"), "the policy forbids inline scripts");
        if !is_built() {
            assert_eq!(asset("/").unwrap(), placeholder());
        }
    }
}
