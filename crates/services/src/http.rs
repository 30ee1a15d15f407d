//! HTTP/1.x as far as identification needs it: one GET, and what came back taken apart without trusting a byte of it.
//!
//! Which product an answer means is left to the catalogue's rules.

use crate::bytes::tidy;
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
}

/// `Host` for an address and port, IPv6 in brackets.
pub(crate) fn host(endpoint: Endpoint) -> String {
    endpoint.socket_addr().to_string()
}

/// The one request we make. The agent names us, so that whoever reads the target's log knows who asked. With `more`, the
/// connection is to stay open for a further path: connections are what the budget has least of.
pub(crate) fn get(endpoint: Endpoint, path: &str, more: bool) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: portreeve/{} (exposure inventory)\r\nAccept: */*\r\nConnection: {}\r\n\r\n",
        host(endpoint),
        env!("CARGO_PKG_VERSION"),
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
                prop_assert!(response.body.len() <= bytes.len());
            }
        }
    }
}
