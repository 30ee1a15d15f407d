//! The front page of an endpoint: one GET, in the clear or inside TLS, and the few redirects that stay on the endpoint.
//!
//! First form of the search for admin panels: identity only. Whether a panel lets anybody in is left to the checks.

use crate::bytes::tidy;
use crate::catalog::Rules;
use crate::connection::{Visit, now};
use crate::order::affinity;
use crate::tls::Handshake;
use crate::{Budget, Permit, http, tls};
use model::service::{Panel, PanelObservation};
use model::{Endpoint, InScope, Proto};
use std::time::Duration;

/// Redirects followed: `/` to `/login` to `/login/` is the longest honest chain seen.
const REDIRECTS: usize = 3;

/// A front page may be made by a program that has just been woken.
const WAIT: Duration = Duration::from_millis(3_000);

/// Fetches the front page, TLS or not, on any port. `panel` is `None` when the endpoint does not speak HTTP, or is on the
/// never-probe list, in which case nothing is sent.
pub async fn fetch_panel(endpoint: InScope<Endpoint>, budget: &Budget, permit: &dyn Permit) -> PanelObservation {
    let at = endpoint.get();
    let rules = Rules::builtin();
    let mut visit = Visit::new(endpoint, budget, permit);
    let panel = match at.proto == Proto::Tcp && rules.excluded(at.port).is_none() {
        true => front_page(&mut visit, rules).await,
        false => None,
    };
    PanelObservation { endpoint: at, panel, observed_at: now() }
}

/// One GET on a connection of its own; `None` when what comes back is no HTTP.
async fn get(visit: &mut Visit<'_>, encrypted: bool, path: &str) -> Option<http::Response> {
    let mut stream = visit.dial().await.ok()?;
    if encrypted {
        let Handshake::Done(inside, _) = tls::handshake(visit, stream, WAIT).await else {
            return None;
        };
        stream = inside;
    }
    let request = http::get(visit.endpoint(), path, false);
    let answer = visit.ask(&mut stream, &request, WAIT, http::whole).await;
    http::parse(&answer.bytes)
}

async fn front_page(visit: &mut Visit<'_>, rules: &Rules) -> Option<Panel> {
    let mut encrypted = affinity(visit.endpoint().port, &rules.tls_ports) == 3;
    let mut response = get(visit, encrypted, "/").await;
    // Nothing, or a complaint: the other way then. A complaint that stands in both is the answer.
    if response.as_ref().is_none_or(|r| matches!(r.status, 400 | 497))
        && let Some(other) = get(visit, !encrypted, "/").await
    {
        (response, encrypted) = (Some(other), !encrypted);
    }
    let mut response = response?;
    let location = response.header("location").filter(|_| (300..400).contains(&response.status)).map(str::to_owned);
    let mut path = "/".to_owned();
    let mut product = rules.panel(&response);
    for _ in 0..REDIRECTS {
        if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
            break;
        }
        let Some(target) = response.header("location").and_then(|l| same_endpoint(visit.endpoint(), encrypted, &path, l)) else {
            break;
        };
        if (target.0, target.1.as_str()) == (encrypted, path.as_str()) {
            break;
        }
        (encrypted, path) = target;
        let Some(next) = get(visit, encrypted, &path).await else {
            break;
        };
        response = next;
        // A redirect's own headers can give the product away where the page behind it does not.
        product = rules.panel(&response).or(product);
    }
    let short = |text: &str| Some(tidy(text, 256)).filter(|t| !t.is_empty());
    Some(Panel {
        scheme: if encrypted { "https" } else { "http" }.into(),
        status: response.status,
        title: response.title(),
        server: response.header("server").and_then(short),
        product,
        location: location.as_deref().map(http::without_query).and_then(short),
    })
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
