//! The front page of an endpoint and the paths that tell what console it is: in the clear or inside TLS, over the few
//! redirects that stay on the endpoint.
//!
//! What names a console is the catalogue's; whether it lets anybody in is left to the checks.

use crate::bytes::tidy;
use crate::catalog::{Fetched, PanelFound, Rules, Site};
use crate::connection::{Ending, Stream, Visit, now};
use crate::http::Response;
use crate::order::affinity;
use crate::tls::Handshake;
use crate::{Budget, Permit, http, tls};
use model::service::{Panel, PanelObservation};
use model::{Endpoint, InScope, Proto};
use std::time::Duration;

/// Redirects followed: `/` to `/login` to `/login/` is the longest honest chain seen.
const REDIRECTS: usize = 3;

/// Paths asked beyond the front page and the icon, controls not counted: the console that the front page promises has at most
/// three, and what shares its port with others (8080) is worth a try of each.
const PATHS: usize = 10;

/// The same where only a name is wanted, in the six seconds of an identification.
const FEW_PATHS: usize = 6;

/// A front page may be made by a program that has just been woken.
const WAIT: Duration = Duration::from_millis(3_000);

/// Fetches the front page, TLS or not, on any port, and asks what console it is. `panel` is `None` when the endpoint does not
/// speak HTTP, or is on the never-probe list, in which case nothing is sent. Only GET is ever sent.
pub async fn fetch_panel(endpoint: InScope<Endpoint>, budget: &Budget, permit: &dyn Permit) -> PanelObservation {
    let at = endpoint.get();
    let rules = Rules::current();
    let mut visit = Visit::new(endpoint, budget, permit);
    let panel = match at.proto == Proto::Tcp && rules.excluded(at.port).is_none() {
        true => look(&mut visit, rules).await,
        false => None,
    };
    PanelObservation { endpoint: at, panel, observed_at: now() }
}

/// Pages of one endpoint, over one connection as long as it holds.
struct Browser<'v, 'a> {
    visit: &'v mut Visit<'a>,
    kept: Option<(bool, Stream)>,
    /// Every path that was asked for, in order.
    asked: Vec<String>,
}

impl Browser<'_, '_> {
    /// One GET; `None` when what comes back is no HTTP, or the budget is spent.
    async fn get(&mut self, encrypted: bool, path: &str) -> Option<Response> {
        self.asked.push(path.to_owned());
        if let Some((_, stream)) = self.kept.take().filter(|(kept, _)| *kept == encrypted)
            && let Some(response) = self.over(stream, encrypted, path).await
        {
            return Some(response);
        }
        let mut stream = self.visit.dial().await.ok()?;
        if encrypted {
            let Handshake::Done(inside, ..) = tls::handshake(self.visit, stream, WAIT, tls::HTTP1).await else {
                return None;
            };
            stream = inside;
        }
        self.over(stream, encrypted, path).await
    }

    async fn over(&mut self, mut stream: Stream, encrypted: bool, path: &str) -> Option<Response> {
        let request = http::get(self.visit.endpoint(), path, true);
        let answer = self.visit.ask(&mut stream, &request, WAIT, http::whole).await;
        let response = http::parse(&answer.bytes)?;
        let closes = response.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        if answer.ending == Ending::Whole && !closes {
            self.kept = Some((encrypted, stream));
        }
        Some(response)
    }
}

/// A path beside that one that no site has: in the same folder, with the same ending, of letters that mean nothing.
fn sibling(path: &str) -> String {
    let (bare, query) = path.split_once('?').map_or((path, None), |(bare, query)| (bare, Some(query)));
    let trimmed = bare.trim_end_matches('/');
    let (folder, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
    let extension = name.rsplit_once('.').map_or(String::new(), |(_, ext)| format!(".{ext}"));
    let slash = if bare.ends_with('/') { "/" } else { "" };
    let query = query.map_or(String::new(), |q| format!("?{q}"));
    format!("{folder}/qzvnkxwjrt{extension}{slash}{query}")
}

/// The icon's address on this endpoint, from what the page says.
fn icon_path(endpoint: Endpoint, encrypted: bool, path: &str, page: &Response) -> Option<String> {
    match page.icon() {
        Some(written) if written.starts_with("data:") => None,
        Some(written) => {
            let (scheme, target) = same_endpoint(endpoint, encrypted, path, &written)?;
            (scheme == encrypted).then_some(target)
        }
        None => Some("/favicon.ico".to_owned()),
    }
}

/// What names the console whose front page this is: its own tokens, and those of the paths that the front page and the port
/// promise, over the same connection. Last comes whether that is in TLS, and the port, if its promise counts. The icon is left out,
/// which costs a request and seldom decides. With it the paths that were asked for, whatever came of them.
pub(crate) async fn console(
    visit: &mut Visit<'_>,
    rules: &Rules,
    first: Response,
    kept: Option<Stream>,
    encrypted: bool,
    promise: Option<u16>,
) -> (Option<PanelFound>, Vec<String>) {
    let mut browser = Browser { visit, kept: kept.map(|stream| (encrypted, stream)), asked: Vec::new() };
    let mut site = Site { front: vec![first], ..Site::default() };
    let (encrypted, _) = follow(&mut browser, &mut site, encrypted).await;
    ask_paths(&mut browser, rules, &mut site, encrypted, promise, FEW_PATHS).await;
    (rules.panel(&site), browser.asked)
}

/// Goes on from the front page while it redirects and stays on the endpoint. Where that ends: whether in TLS, and the path.
async fn follow(browser: &mut Browser<'_, '_>, site: &mut Site, encrypted: bool) -> (bool, String) {
    let endpoint = browser.visit.endpoint();
    let mut at = (encrypted, "/".to_owned());
    for _ in 0..REDIRECTS {
        let Some(last) = site.front.last().filter(|r| matches!(r.status, 301 | 302 | 303 | 307 | 308)) else { break };
        let Some(target) = last.header("location").and_then(|l| same_endpoint(endpoint, at.0, &at.1, l)) else { break };
        if target == at {
            break;
        }
        at = target;
        let Some(next) = browser.get(at.0, &at.1).await else { break };
        // A redirect's own headers can give the product away where the page behind it does not.
        site.front.push(next);
    }
    at
}

async fn look(visit: &mut Visit<'_>, rules: &Rules) -> Option<Panel> {
    let endpoint = visit.endpoint();
    let mut browser = Browser { visit, kept: None, asked: Vec::new() };
    let mut encrypted = affinity(endpoint.port, &rules.tls_ports) == 3;
    let mut first = browser.get(encrypted, "/").await;
    // Nothing, or a complaint: the other way then. A complaint that stands in both is the answer.
    if first.as_ref().is_none_or(|r| matches!(r.status, 400 | 497))
        && let Some(other) = browser.get(!encrypted, "/").await
    {
        (first, encrypted) = (Some(other), !encrypted);
    }
    let first = first?;
    let location = first.header("location").filter(|_| (300..400).contains(&first.status)).map(str::to_owned);
    let mut site = Site { front: vec![first], ..Site::default() };
    let (encrypted, path) = follow(&mut browser, &mut site, encrypted).await;
    let last = site.front.last()?.clone();
    if let Some(icon) = icon_path(endpoint, encrypted, &path, &last)
        && let Some(answer) = browser.get(encrypted, &icon).await
        && answer.status == 200
        && !answer.body.is_empty()
        && !answer.header("content-type").is_some_and(|t| t.starts_with("text/html"))
    {
        site.favicon = Some(http::favicon_hash(&answer.body));
    }
    ask_paths(&mut browser, rules, &mut site, encrypted, Some(endpoint.port), PATHS).await;
    let found = rules.panel(&site);
    let short = |text: &str| Some(tidy(text, 256)).filter(|t| !t.is_empty());
    let (product, version, at, evidence) = match found {
        Some(found) => (Some(found.product), found.version, found.path, found.evidence),
        None => (None, None, None, Vec::new()),
    };
    Some(Panel {
        scheme: if encrypted { "https" } else { "http" }.into(),
        status: last.status,
        title: last.title(),
        server: last.header("server").and_then(short),
        product,
        version,
        path: at,
        evidence,
        favicon: site.favicon,
        technologies: rules.technologies(&site.front),
        location: location.as_deref().map(http::without_query).and_then(short),
    })
}

/// Asks the paths of the consoles that the front page or the port promises. A page that has what is looked for is worth a
/// second request for a made-up path beside it.
async fn ask_paths(
    browser: &mut Browser<'_, '_>,
    rules: &Rules,
    site: &mut Site,
    encrypted: bool,
    promise: Option<u16>,
    most: usize,
) {
    let mut asked = 0;
    for panel in rules.promising(promise, site) {
        let complete = |site: &Site| panel.judge(site).is_some_and(|found| found.version.is_some() || !panel.tells_version());
        for path in panel.paths() {
            if asked == most {
                return;
            }
            if complete(site) {
                break;
            }
            if site.paths.contains_key(path) {
                continue;
            }
            asked += 1;
            let Some(page) = browser.get(encrypted, path).await else { continue };
            let control = match panel.has_token(path, &page) {
                true => browser.get(encrypted, &sibling(path)).await,
                false => None,
            };
            site.paths.insert(path.to_owned(), Fetched { page, control });
        }
        if panel.judge(site).is_some() {
            return;
        }
    }
}

/// Where a redirect leads, if it stays on the endpoint: scheme and path. Another host, even another name of this one, is
/// somebody else's until the scope says otherwise.
fn same_endpoint(endpoint: Endpoint, encrypted: bool, path: &str, location: &str) -> Option<(bool, String)> {
    let location = location.trim().split('#').next().unwrap_or_default();
    // It goes into a request line: nothing that could end or split one, and no longer than servers accept.
    if location.is_empty() || location.len() > 2_048 || !location.bytes().all(|b| (b'!'..=b'~').contains(&b)) {
        return None;
    }
    let lower = location.to_ascii_lowercase();
    let (encrypted, rest) = match (lower.strip_prefix("http://"), lower.strip_prefix("https://")) {
        (Some(_), _) => (false, &location[7..]),
        (_, Some(_)) => (true, &location[8..]),
        _ if location.starts_with("//") => (encrypted, &location[2..]),
        // Some other scheme.
        _ if lower.split(['/', '?']).next().is_some_and(|first| first.contains(':')) => return None,
        _ if location.starts_with('/') => return Some((encrypted, location.to_owned())),
        _ if location.starts_with('?') => return Some((encrypted, format!("{}{location}", http::without_query(path)))),
        _ => {
            let base = http::without_query(path);
            let folder = &base[..base.rfind('/').map_or(0, |n| n + 1)];
            return Some((encrypted, format!("/{}{location}", folder.trim_start_matches('/'))));
        }
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let standard = if encrypted { 443 } else { 80 };
    let with_port = authority.parse::<std::net::SocketAddr>().ok();
    let bare =
        authority.trim_start_matches('[').trim_end_matches(']').parse().ok().map(|ip| std::net::SocketAddr::new(ip, standard));
    if with_port.or(bare)? != endpoint.socket_addr() {
        return None;
    }
    Some((encrypted, if tail.starts_with('/') { tail.to_owned() } else { format!("/{tail}") }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_redirects_to_the_same_endpoint_are_followed() {
        let v4 = Endpoint::tcp("192.0.2.7".parse().unwrap(), 8080);
        for (path, location, expected) in [
            ("/", "/login", Some((false, "/login"))),
            ("/", "login?next=1#top", Some((false, "/login?next=1"))),
            ("/a/b?x", "c", Some((false, "/a/c"))),
            ("/a?x=1", "?y=2", Some((false, "/a?y=2"))),
            ("/", "http://192.0.2.7:8080/ui/", Some((false, "/ui/"))),
            ("/", "https://192.0.2.7:8080", Some((true, "/"))),
            ("/", "HTTPS://192.0.2.7:8080?q", Some((true, "/?q"))),
            ("/", "//192.0.2.7:8080/x", Some((false, "/x"))),
            ("/", "http://192.0.2.7/x", None),
            ("/", "https://192.0.2.7:8443/", None),
            ("/", "http://192.0.2.8:8080/", None),
            ("/", "http://192.0.2.7:8080@evil.example/", None),
            ("/", "//evil.example/", None),
            ("/", "javascript:alert(1)", None),
            ("/", "/x\r\nHost: evil", None),
            ("/", "/with space", None),
            ("/", "", None),
        ] {
            let got = same_endpoint(v4, false, path, location);
            assert_eq!(got.as_ref().map(|(tls, p)| (*tls, p.as_str())), expected, "{path} → {location}");
        }
        let v6 = Endpoint::tcp("2001:db8::1".parse().unwrap(), 443);
        assert_eq!(same_endpoint(v6, false, "/", "https://[2001:db8::1]/x"), Some((true, "/x".into())));
        assert_eq!(same_endpoint(v6, false, "/", "https://[2001:db8::1]:443/x"), Some((true, "/x".into())));
    }

    #[test]
    fn the_control_is_asked_beside_the_path() {
        for (path, beside) in [
            ("/api/health", "/api/qzvnkxwjrt"),
            ("/druid/index.html", "/druid/qzvnkxwjrt.html"),
            ("/nacos/", "/qzvnkxwjrt/"),
            ("/nacos/v1/x?pageNo=1", "/nacos/v1/qzvnkxwjrt?pageNo=1"),
            ("/settings", "/qzvnkxwjrt"),
        ] {
            assert_eq!(sibling(path), beside, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_location_panics_or_leaves(path in "/[a-z?#;/]{0,8}", location in ".{0,40}") {
            let endpoint = Endpoint::tcp("192.0.2.7".parse().unwrap(), 80);
            if let Some((_, target)) = same_endpoint(endpoint, false, &path, &location) {
                prop_assert!(target.starts_with('/') && !target.contains(['\r', '\n', ' ']), "{}", target);
            }
        }
    }
}
