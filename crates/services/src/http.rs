//! HTTP/1.x as far as identification needs it: one GET, and what came back taken apart without trusting a byte of it.
//!
//! Which product an answer means is left to the catalogue's rules.

use crate::bytes::tidy;
use base64::Engine;
use model::Endpoint;

/// How many headers of an answer are looked at; more than any honest server sends.
const HEADERS: usize = 96;

/// A response taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Lower-case names, in order.
    pub(crate) headers: Vec<(String, String)>,
    /// As far as it was received; chunks joined.
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The first header of that (lower-case) name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The page's title, entities resolved, at most 256 characters.
    pub(crate) fn title(&self) -> Option<String> {
        title(&self.body)
    }

    /// Names of the cookies it sets; their values can be secrets and are nobody's business.
    pub(crate) fn cookies(&self) -> impl Iterator<Item = &str> {
        let set = self.headers.iter().filter(|(name, _)| name == "set-cookie");
        set.map(|(_, value)| value.split(['=', ';']).next().unwrap_or_default().trim())
    }

    /// Addresses of the scripts, style sheets and pictures of the page, as it writes them.
    pub(crate) fn assets(&self) -> Vec<String> {
        tags(&self.body, &["script", "link", "img"])
            .filter_map(|tag| attribute(&tag, "src").or_else(|| attribute(&tag, "href")))
            .take(ASSETS)
            .collect()
    }

    /// What the page says it was made with.
    pub(crate) fn generator(&self) -> Option<String> {
        let named = tags(&self.body, &["meta"])
            .find(|tag| attribute(tag, "name").is_some_and(|name| name.eq_ignore_ascii_case("generator")))?;
        Some(tidy(&resolve_entities(&attribute(&named, "content")?), 128)).filter(|g| !g.is_empty())
    }

    /// Address of the site's icon, as the page writes it.
    pub(crate) fn icon(&self) -> Option<String> {
        tags(&self.body, &["link"])
            .find(|tag| {
                attribute(tag, "rel").is_some_and(|rel| rel.split_whitespace().any(|word| word.eq_ignore_ascii_case("icon")))
            })
            .and_then(|tag| attribute(&tag, "href"))
    }
}

/// How many scripts and pictures of a page are looked at.
const ASSETS: usize = 200;

/// The tags of those names, without their brackets, in order.
fn tags<'a>(body: &[u8], names: &'a [&'a str]) -> impl Iterator<Item = String> + use<'a> {
    let text = String::from_utf8_lossy(body).into_owned();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + text.get(at..)?.find('<')? + 1;
            let end = start + text[start..].find('>')?;
            at = end;
            let tag = &text[start..end];
            let name = tag.split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or_default();
            if names.iter().any(|n| n.eq_ignore_ascii_case(name)) {
                return Some(tag.to_owned());
            }
        }
    })
}

/// The value of a tag's attribute, quoted or not.
fn attribute(tag: &str, name: &str) -> Option<String> {
    // ASCII lowering keeps every byte offset.
    let lower = tag.to_ascii_lowercase();
    let mut from = 0;
    loop {
        let at = from + lower.get(from..)?.find(name)?;
        from = at + name.len();
        let apart = lower[..at].ends_with(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
        let Some(value) = tag[from..].trim_start().strip_prefix('=') else { continue };
        if !apart {
            continue;
        }
        let value = value.trim_start();
        return Some(match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].split(quote).next().unwrap_or_default().to_owned(),
            _ => value.split_whitespace().next().unwrap_or_default().to_owned(),
        });
    }
}

/// The hash of an icon as search engines for exposed services write it: MurmurHash3 (x86, 32 bits, seed 0) of its base64 in
/// lines of 76 characters (RFC 2045), each with its line feed.
pub(crate) fn favicon_hash(icon: &[u8]) -> i32 {
    let encoded = base64::engine::general_purpose::STANDARD.encode(icon);
    let mut lines = Vec::with_capacity(encoded.len() + encoded.len() / 76 + 1);
    for line in encoded.as_bytes().chunks(76) {
        lines.extend_from_slice(line);
        lines.push(b'\n');
    }
    // Reading from memory does not fail.
    murmur3::murmur3_32(&mut lines.as_slice(), 0).unwrap_or_default().cast_signed()
}

/// `Host` for an address and port, IPv6 in brackets.
pub(crate) fn host(endpoint: Endpoint) -> String {
    endpoint.socket_addr().to_string()
}

/// What names us, so that whoever reads the target's log knows who asked.
pub(crate) const AGENT: &str = concat!("portreeve/", env!("CARGO_PKG_VERSION"), " (exposure inventory)");

/// The one request we make. With `more`, the
/// connection is to stay open for a further path: connections are what the budget has least of.
pub(crate) fn get(endpoint: Endpoint, path: &str, more: bool) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {AGENT}\r\nAccept: */*\r\nConnection: {}\r\n\r\n",
        host(endpoint),
        if more { "keep-alive" } else { "close" },
    )
    .into_bytes()
}

/// Takes a response apart. `None` when it is not HTTP/1.x, or its head is not whole.
pub(crate) fn parse(bytes: &[u8]) -> Option<Response> {
    // httparse skips leading empty lines; a banner that merely contains a response is not one.
    if !bytes.starts_with(b"HTTP/1.") {
        return None;
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let mut config = httparse::ParserConfig::default();
    config.allow_spaces_after_header_name_in_responses(true).ignore_invalid_headers_in_responses(true);
    let head = match config.parse_response(&mut response, bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        _ => return None,
    };
    let headers: Vec<(String, String)> = response
        .headers
        .iter()
        .map(|h| (h.name.to_ascii_lowercase(), String::from_utf8_lossy(h.value).trim().to_owned()))
        .collect();
    let status = response.code?;
    let raw = bytes.get(head..)?;
    let chunked = headers.iter().any(|(n, v)| n == "transfer-encoding" && v.to_ascii_lowercase().contains("chunked"));
    let body = if chunked { unchunk(raw).0 } else { raw.to_vec() };
    Some(Response { status, headers, body })
}

/// Whether the response is all there, by its own declaration. Without one, only closing ends it.
pub(crate) fn whole(bytes: &[u8]) -> bool {
    if bytes.len() >= 8 && !bytes.starts_with(b"HTTP/1.") {
        return false;
    }
    let Some(response) = parse(bytes) else { return false };
    if matches!(response.status, 204 | 304) {
        return true;
    }
    if response.header("transfer-encoding").is_some_and(|v| v.to_ascii_lowercase().contains("chunked")) {
        let head = bytes.windows(4).position(|w| w == b"\r\n\r\n").map_or(bytes.len(), |p| p + 4);
        return unchunk(&bytes[head..]).1;
    }
    match response.header("content-length").and_then(|v| v.parse::<usize>().ok()) {
        Some(length) => response.body.len() >= length,
        None => false,
    }
}

/// Joins the chunks of a body; whether the last chunk was there. Stops at the first thing that is no chunk.
fn unchunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(line) = rest.windows(2).position(|w| w == b"\r\n") else {
            return (body, false);
        };
        let digits = rest[..line].split(|&b| b == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(digits).ok().and_then(|d| usize::from_str_radix(d.trim(), 16).ok());
        rest = &rest[line + 2..];
        match size {
            None => return (body, false),
            Some(0) => return (body, true),
            Some(n) if n <= rest.len() => {
                body.extend_from_slice(&rest[..n]);
                rest = rest[n..].strip_prefix(b"\r\n").unwrap_or(&rest[n..]);
            }
            Some(_) => {
                body.extend_from_slice(rest);
                return (body, false);
            }
        }
    }
}

/// What of a response is kept as evidence: the status line and the headers, but no cookie, no challenge's nonce and no
/// query of a redirect, because those can be secrets (R10).
pub(crate) fn shown(response: &Response) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {}\r\n", response.status);
    for (name, value) in &response.headers {
        let value = match name.as_str() {
            "set-cookie" => value.split('=').next().unwrap_or_default().to_owned() + "=…",
            "location" => without_query(value).to_owned(),
            "www-authenticate" | "proxy-authenticate" => value.split("nonce").next().unwrap_or_default().to_owned(),
            "date" | "etag" | "last-modified" | "expires" | "content-security-policy" => continue,
            _ => value.clone(),
        };
        out.push_str(&format!("{name}: {}\r\n", tidy(&value, 160).replace('…', "...")));
    }
    out.into_bytes()
}

/// A URL without its query, fragment and path parameters: those carry session ids.
pub(crate) fn without_query(url: &str) -> &str {
    url.split(['?', '#', ';']).next().unwrap_or_default()
}

/// The text of the first `<title>` of a page.
fn title(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    // ASCII lowering keeps every byte offset, so positions in the one are positions in the other.
    let lower = text.to_ascii_lowercase();
    let open = lower
        .match_indices("<title")
        .find(|(at, _)| matches!(lower.as_bytes().get(at + 6), Some(b'>' | b' ' | b'\t' | b'\r' | b'\n')))?;
    let start = open.0 + lower[open.0..].find('>')? + 1;
    let end = lower[start..].find("</title").map_or(lower.len(), |n| start + n);
    let title = tidy(&resolve_entities(&text[start..end]), 256);
    (!title.is_empty()).then_some(title)
}

/// The five named entities of XML, `&nbsp;`, and numeric ones; anything else stays as it is.
fn resolve_entities(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        // The longest entity we know is `&#x10ffff;`.
        let end = rest.bytes().take(11).position(|b| b == b';');
        let resolved = end.and_then(|end| {
            let c = match &rest[1..end] {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                "nbsp" => ' ',
                "middot" => '·',
                number => {
                    let number = number.strip_prefix('#')?;
                    let code = match number.strip_prefix(['x', 'X']) {
                        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                        None => number.parse().ok()?,
                    };
                    char::from_u32(code)?
                }
            };
            Some((c, end))
        });
        match resolved {
            Some((c, end)) => {
                out.push(c);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn titles_are_found_and_cleaned() {
        for (page, expected) in [
            ("<html><head><title>Grafana</title>", Some("Grafana")),
            ("<TITLE lang=en>\n  Apache2 &amp; Debian:\r\n It works </TITLE>", Some("Apache2 & Debian: It works")),
            ("<title>\u{767b}\u{5f55} &#45; &#x7ba1;&#x7406;</title>", Some("登录 - 管理")),
            ("<title>cut off", Some("cut off")),
            ("<title></title>", None),
            ("<titlebar>x</titlebar>", None),
            ("no page", None),
            ("<title>a &bogus; b &#99999999; & c</title>", Some("a &bogus; b &#99999999; & c")),
        ] {
            assert_eq!(title(page.as_bytes()).as_deref(), expected, "{page}");
        }
        assert_eq!(title(format!("<title>{}</title>", "x".repeat(9000)).as_bytes()).unwrap().len(), 256);
    }

    #[test]
    fn what_a_page_refers_to_is_found_however_it_is_written() {
        let page = parse(
            b"HTTP/1.1 200 OK\r\nSet-Cookie: grafana_session=x; Path=/\r\nset-cookie: b\r\n\r\n<html><HEAD><LINK REL='shortcut icon' \
              HREF=fav32.png><link rel=stylesheet data-href=\"no\" href=\"/a.css?v=1\"><script async src = '/app.js'></script>\
              <meta content=\"WordPress 6.4 &amp; x\" name=generator><img/src=\"i.png\"><a href=\"/not\">",
        )
        .unwrap();
        assert_eq!(page.assets(), ["fav32.png", "/a.css?v=1", "/app.js"]);
        assert_eq!(page.cookies().collect::<Vec<_>>(), ["grafana_session", "b"]);
        assert_eq!((page.icon().as_deref(), page.generator().as_deref()), (Some("fav32.png"), Some("WordPress 6.4 & x")));
    }

    #[test]
    fn icons_are_hashed_as_the_convention_has_it() {
        // Computed with Python's base64.encodebytes and an independent MurmurHash3.
        for (icon, hash) in [(&b""[..], 0), (b"portreeve", -939_513_348), (&[0x5a; 200], 283_984_027)] {
            assert_eq!(favicon_hash(icon), hash, "{} bytes", icon.len());
        }
    }

    #[test]
    fn an_answer_is_whole_by_its_own_declaration() {
        for (bytes, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", false),
            ("HTTP/1.1 204 No Content\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", false),
            ("HTTP/1.0 200 OK\r\n\r\nok", false),
            ("HTTP/1.1 200 OK\r\nContent-Le", false),
            ("SSH-2.0-x\r\n", false),
        ] {
            assert_eq!(whole(bytes.as_bytes()), expected, "{bytes}");
        }
        let chunked =
            parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").unwrap();
        assert_eq!(chunked.body, b"abcde");
    }

    #[test]
    fn evidence_holds_no_cookie_and_no_query() {
        let response = parse(
            b"HTTP/1.1 302 Found\r\nServer: x\r\nSet-Cookie: JSESSIONID=SECRET; Path=/\r\nLocation: /login;jsessionid=SECRET?token=SECRET\r\n\
              WWW-Authenticate: Digest realm=\"r\", nonce=\"SECRET\"\r\n\r\n",
        )
        .unwrap();
        let shown = String::from_utf8(shown(&response)).unwrap();
        assert!(!shown.contains("SECRET"), "{shown}");
        assert!(
            shown.contains("server: x") && shown.contains("JSESSIONID=...") && shown.contains("location: /login\r\n"),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_parser(
            head in prop::sample::select(vec![&b""[..], b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"<title>&"]),
            rest in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [head, &rest[..]].concat();
            whole(&bytes);
            title(&bytes);
            if let Some(response) = parse(&bytes) {
                shown(&response);
                let _ = (response.assets(), response.icon(), response.generator(), response.cookies().count());
                prop_assert!(response.body.len() <= bytes.len());
            }
        }
    }
}
