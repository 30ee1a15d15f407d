//! Checks over HTTP: a page that only an authorised user could see, and the same request to a page that cannot exist, which
//! has to be answered otherwise. All of it data (`[check.http]`).
//!
//! Only GET is sent, and the few POSTs that read, which stand in a list here and not in the catalogue. Redirects are not
//! followed: a page that sends us elsewhere did not show itself.

use super::dialogue::{Decision, Dialogue, Turn, Vars};
use crate::bytes::tidy;
use crate::catalog::compile;
use crate::http::{self, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::exposure::Severity;
use model::finding::Verdict;
use regex::bytes::Regex;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// POSTs that read: path, and the whole body they may have. etcd 3 reads its keys by POST only, at three paths over its
/// versions; `count_only` makes it a number.
const READING_POSTS: &[(&str, &str)] = &[
    ("/v3/kv/range", r#"{"key":"AA==","range_end":"AA==","count_only":true}"#),
    ("/v3beta/kv/range", r#"{"key":"AA==","range_end":"AA==","count_only":true}"#),
    ("/v3alpha/kv/range", r#"{"key":"AA==","range_end":"AA==","count_only":true}"#),
];

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpSpec {
    /// Paths to GET, one after the other until one proves.
    #[serde(default)]
    get: Vec<String>,
    /// Paths to POST, with the body that the list of reading POSTs has for them.
    #[serde(default)]
    post: Vec<String>,
    /// The page that cannot exist, where one beside the page asked for would be answered alike.
    control: Option<String>,
    #[serde(default = "ok")]
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Vec<String>,
    #[serde(default)]
    json: BTreeMap<String, toml::Value>,
    /// What the body must not hold although all else fits.
    #[serde(default)]
    not: Vec<String>,
    #[serde(default)]
    not_proved: Vec<String>,
    #[serde(default)]
    refuses: Vec<String>,
    #[serde(default)]
    locked: Vec<String>,
    #[serde(default)]
    fields: BTreeMap<String, String>,
    #[serde(default)]
    counts: BTreeMap<String, String>,
    #[serde(default)]
    raise: Vec<RaiseSpec>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RaiseSpec {
    severity: Severity,
    #[serde(default)]
    json: BTreeMap<String, toml::Value>,
    #[serde(default)]
    body: Vec<String>,
}

fn ok() -> u16 {
    200
}

/// A talk over HTTP, compiled.
pub(crate) struct Http {
    pages: Vec<Page>,
    /// With the account and password of an attempt, and without the page that cannot exist.
    signs_in: bool,
    control: Option<String>,
    wants: Wants,
    verdicts: Vec<(Regex, Verdict)>,
    fields: Vec<(String, Source)>,
    counts: Vec<(String, Source)>,
    raise: Vec<(Severity, Wants)>,
}

struct Page {
    path: String,
    body: Option<&'static str>,
}

/// What an answer has to be.
#[derive(Default)]
struct Wants {
    status: Option<u16>,
    headers: Vec<(String, Regex)>,
    body: Vec<Regex>,
    json: Vec<(String, Shape)>,
    not: Vec<Regex>,
}

/// What a value inside JSON has to be.
enum Shape {
    Any,
    Array,
    Object,
    Text,
    Number,
    Boolean,
    /// Array, object or text that holds something.
    Filled,
    Like(Regex),
    Is(Value),
}

/// Where a field of the evidence comes from.
enum Source {
    Json(String),
    Body(Regex),
    Header(String),
}

impl Shape {
    fn compile(value: &toml::Value) -> Result<Shape, String> {
        Ok(match value {
            toml::Value::Boolean(b) => Shape::Is(Value::Bool(*b)),
            toml::Value::Integer(n) => Shape::Is(Value::from(*n)),
            toml::Value::String(word) => match word.as_str() {
                "any" => Shape::Any,
                "array" => Shape::Array,
                "object" => Shape::Object,
                "string" => Shape::Text,
                "number" => Shape::Number,
                "boolean" => Shape::Boolean,
                "filled" => Shape::Filled,
                other => match (other.strip_prefix('~'), other.strip_prefix('=')) {
                    (Some(pattern), _) => Shape::Like(compile(pattern)?),
                    (_, Some(text)) => Shape::Is(Value::from(text)),
                    _ => {
                        return Err(format!(
                            "`{other}` is no shape of a JSON value\nhint: any, array, object, string, number, boolean, filled, =text or ~pattern"
                        ));
                    }
                },
            },
            other => return Err(format!("`{other}` is no shape of a JSON value")),
        })
    }

    fn fits(&self, value: Option<&Value>) -> bool {
        let Some(value) = value else { return false };
        match self {
            Shape::Any => true,
            Shape::Array => value.is_array(),
            Shape::Object => value.is_object(),
            Shape::Text => value.is_string(),
            Shape::Number => value.is_number(),
            Shape::Boolean => value.is_boolean(),
            Shape::Filled => match value {
                Value::Array(list) => !list.is_empty(),
                Value::Object(map) => !map.is_empty(),
                Value::String(text) => !text.is_empty(),
                _ => false,
            },
            Shape::Like(pattern) => value.as_str().is_some_and(|s| pattern.is_match(s.as_bytes())),
            Shape::Is(wanted) => value == wanted,
        }
    }
}

impl Source {
    /// A JSON pointer, `re:` and a pattern, or `header:` and a name.
    fn compile(text: &str) -> Result<Source, String> {
        if let Some(pattern) = text.strip_prefix("re:") {
            return Ok(Source::Body(compile(pattern)?));
        }
        if let Some(name) = text.strip_prefix("header:") {
            return Ok(Source::Header(name.to_ascii_lowercase()));
        }
        if text.is_empty() || text.starts_with('/') {
            return Ok(Source::Json(text.to_owned()));
        }
        Err(format!("`{text}` is no place in an answer\nhint: a JSON pointer such as /version/number, re:pattern or header:name"))
    }

    fn text(&self, response: &Response, json: Option<&Value>) -> Option<String> {
        let text = match self {
            Source::Json(pointer) => match json?.pointer(pointer)? {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(yes) => yes.to_string(),
                _ => return None,
            },
            Source::Body(pattern) => String::from_utf8_lossy(pattern.captures(&response.body)?.get(1)?.as_bytes()).into_owned(),
            Source::Header(name) => response.header(name)?.to_owned(),
        };
        Some(tidy(&text, 96)).filter(|t| !t.is_empty())
    }

    fn count(&self, response: &Response, json: Option<&Value>) -> Option<String> {
        match self {
            Source::Json(pointer) => match json?.pointer(pointer)? {
                Value::Array(list) => Some(list.len().to_string()),
                Value::Object(map) => Some(map.len().to_string()),
                Value::Number(number) => Some(number.to_string()),
                // JSON gateways write 64-bit numbers as text.
                Value::String(digits) if digits.len() <= 20 && digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.clone()),
                _ => None,
            },
            Source::Body(pattern) => Some(pattern.find_iter(&response.body).count().to_string()),
            Source::Header(_) => self.text(response, json),
        }
    }
}

impl Wants {
    fn compile(
        status: Option<u16>,
        headers: &BTreeMap<String, String>,
        body: &[String],
        json: &BTreeMap<String, toml::Value>,
        not: &[String],
    ) -> Result<Wants, String> {
        let patterns = |list: &[String]| list.iter().map(|p| compile(p)).collect::<Result<Vec<_>, _>>();
        Ok(Wants {
            status,
            headers: headers.iter().map(|(n, p)| Ok((n.to_ascii_lowercase(), compile(p)?))).collect::<Result<_, String>>()?,
            body: patterns(body)?,
            json: json.iter().map(|(p, s)| Ok((p.clone(), Shape::compile(s)?))).collect::<Result<_, String>>()?,
            not: patterns(not)?,
        })
    }

    fn met(&self, response: &Response, json: Option<&Value>) -> bool {
        self.status.is_none_or(|s| s == response.status)
            && self.headers.iter().all(|(n, p)| response.headers.iter().any(|(name, v)| name == n && p.is_match(v.as_bytes())))
            && self.body.iter().all(|p| p.is_match(&response.body))
            && self.json.iter().all(|(pointer, shape)| shape.fits(json.and_then(|j| j.pointer(pointer))))
            && !self.not.iter().any(|p| p.is_match(&response.body))
    }
}

impl Http {
    pub(crate) fn compile(spec: &HttpSpec, signs_in: bool) -> Result<Http, String> {
        let mut pages: Vec<Page> = spec.get.iter().map(|path| Page { path: path.clone(), body: None }).collect();
        for path in &spec.post {
            let Some((_, body)) = READING_POSTS.iter().find(|(known, _)| known == path) else {
                return Err(format!("a POST to `{path}` is not known to read only\nhint: checks never write; use `get`"));
            };
            pages.push(Page { path: path.clone(), body: Some(body) });
        }
        if pages.is_empty() {
            return Err("`get` names no path".into());
        }
        if let Some(page) = pages.iter().find(|p| !p.path.starts_with('/') || !p.path.bytes().all(|b| (b'!'..=b'~').contains(&b)))
        {
            return Err(format!("`{}` is no path: it starts with / and has no spaces", page.path));
        }
        if spec.body.is_empty() && spec.json.is_empty() {
            return Err("a status or a header is no proof: `body` or `json` says what only an authorised user could see".into());
        }
        let mut verdicts = Vec::new();
        for (patterns, verdict) in
            [(&spec.refuses, Verdict::RefusesUs), (&spec.locked, Verdict::Locked), (&spec.not_proved, Verdict::NotProved)]
        {
            for pattern in patterns {
                verdicts.push((compile(pattern)?, verdict));
            }
        }
        let sources = |map: &BTreeMap<String, String>| {
            map.iter().map(|(n, s)| Ok((n.clone(), Source::compile(s)?))).collect::<Result<Vec<_>, String>>()
        };
        let mut raise = Vec::new();
        for more in &spec.raise {
            raise.push((more.severity, Wants::compile(None, &BTreeMap::new(), &more.body, &more.json, &[])?));
        }
        Ok(Http {
            pages,
            signs_in,
            control: spec.control.clone(),
            wants: Wants::compile(Some(spec.status), &spec.headers, &spec.body, &spec.json, &spec.not)?,
            verdicts,
            fields: sources(&spec.fields)?,
            counts: sources(&spec.counts)?,
            raise,
        })
    }

    fn request(&self, page: &Page, path: &str, vars: &Vars<'_>) -> Vec<u8> {
        let filled = path.replace("{account}", &percent(vars.account)).replace("{password}", &percent(vars.password));
        let path = if self.signs_in { filled.as_str() } else { path };
        let mut out = format!(
            "{} {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: portreeve/{} (exposure inventory)\r\nAccept: application/json, */*\r\n",
            if page.body.is_some() { "POST" } else { "GET" },
            http::host(vars.endpoint),
            env!("CARGO_PKG_VERSION"),
        );
        if self.signs_in && path == page.path {
            let pair = STANDARD.encode(format!("{}:{}", vars.account, vars.password));
            out.push_str(&format!("Authorization: Basic {pair}\r\n"));
        }
        if let Some(body) = page.body {
            out.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        out.push_str("Connection: keep-alive\r\n\r\n");
        out.push_str(page.body.unwrap_or_default());
        out.into_bytes()
    }

    /// What an answer that does not prove means.
    fn otherwise(&self, request: &str, answer: &[u8], response: Option<&Response>) -> Decision {
        let Some(response) = response else {
            let why = if answer.is_empty() { "no answer" } else { "the answer is not HTTP" };
            return Decision::inconclusive(request, why);
        };
        if let Some((_, verdict)) = self.verdicts.iter().find(|(p, _)| p.is_match(&response.body)) {
            return Decision::new(*verdict, request).because(format!("HTTP {}", response.status));
        }
        match response.status {
            401 | 407 => {
                Decision::new(Verdict::NotProved, request).because(format!("asks for credentials (HTTP {})", response.status))
            }
            // Signed in and not allowed is not the same as not signed in.
            403 if !self.signs_in => Decision::new(Verdict::NotProved, request).because("forbidden (HTTP 403)"),
            429 => Decision::new(Verdict::Locked, request).because("too many requests (HTTP 429)"),
            301 | 302 | 303 | 307 | 308 if !self.signs_in => {
                Decision::new(Verdict::NotProved, request).because(format!("sends elsewhere (HTTP {})", response.status))
            }
            status => Decision::inconclusive(request, format!("the answer proves neither (HTTP {status})")),
        }
    }

    fn proved(&self, request: &str, response: &Response, json: Option<&Value>) -> Decision {
        let mut decision = Decision::new(Verdict::Proved, request).shows(&http::shown(response));
        for (name, source) in &self.fields {
            if let Some(value) = source.text(response, json) {
                decision = decision.field(name, value);
            }
        }
        for (name, source) in &self.counts {
            if let Some(value) = source.count(response, json) {
                decision = decision.field(name, value);
            }
        }
        decision.severity = self.raise.iter().filter(|(_, wants)| wants.met(response, json)).map(|(s, _)| *s).max();
        decision
    }
}

/// Text as it stands in a query: everything but letters and digits as `%NN`.
fn percent(text: &str) -> String {
    let one = |b: u8| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(one).collect()
}

/// The same path with another last part, which nobody has: `/_cat/indices?h=index` becomes `/_cat/prt3f…?h=index`.
pub(crate) fn sibling(path: &str, seed: u64) -> String {
    let cut = path.find(['?', '#']).unwrap_or(path.len());
    let (plain, tail) = path.split_at(cut);
    let folder = plain.trim_end_matches('/').rfind('/').map_or(0, |at| at + 1);
    format!("/{}prt{seed:016x}{tail}", plain[..folder].trim_start_matches('/'))
}

/// Which of several verdicts says most.
fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Locked => 4,
        Verdict::RefusesUs => 3,
        Verdict::NotProved => 2,
        Verdict::OtherService => 1,
        Verdict::Proved | Verdict::Inconclusive => 0,
    }
}

impl Dialogue for Http {
    fn separate(&self) -> bool {
        true
    }

    fn turn(&self, vars: &Vars<'_>, heard: &[&[u8]], ended: bool) -> Turn {
        if !ended && heard.last().is_some_and(|answer| !http::whole(answer)) {
            return Turn::More;
        }
        let mut answers = heard.iter();
        let mut best: Option<Decision> = None;
        for page in &self.pages {
            let method = if page.body.is_some() { "post" } else { "get" };
            let name = format!("http-{method} {}", http::without_query(&page.path));
            let Some(answer) = answers.next() else { return Turn::Say(self.request(page, &page.path, vars)) };
            let response = http::parse(answer);
            let json: Option<Value> = response.as_ref().and_then(|r| serde_json::from_slice(&r.body).ok());
            let Some(response) = response.filter(|r| self.wants.met(r, json.as_ref())) else {
                let otherwise = self.otherwise(&name, answer, http::parse(answer).as_ref());
                if best.as_ref().is_none_or(|b| rank(b.verdict) < rank(otherwise.verdict)) {
                    best = Some(otherwise);
                }
                continue;
            };
            if self.signs_in {
                return self.proved(&name, &response, json.as_ref()).end();
            }
            let nowhere = self.control.clone().unwrap_or_else(|| sibling(&page.path, vars.seed));
            let Some(control) = answers.next() else { return Turn::Say(self.request(page, &nowhere, vars)) };
            let Some(control) = http::parse(control) else {
                return Decision::inconclusive(&name, "no answer for a page that does not exist, so nothing to compare with")
                    .end();
            };
            let control_json: Option<Value> = serde_json::from_slice(&control.body).ok();
            if self.wants.met(&control, control_json.as_ref()) || control.body == response.body && !response.body.is_empty() {
                return Decision::new(Verdict::OtherService, &name)
                    .because("answers the same for a page that does not exist")
                    .end();
            }
            return self.proved(&name, &response, json.as_ref()).end();
        }
        best.unwrap_or_else(|| Decision::inconclusive("http-get", "nothing was asked")).end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_that_does_not_exist_is_beside_the_one_asked_for() {
        for (path, expected) in [
            ("/", "/prt0000000000000007"),
            ("/_cat/indices?h=index", "/_cat/prt0000000000000007?h=index"),
            ("/pods", "/prt0000000000000007"),
            ("/nacos/v1/ns/service/list?pageNo=1", "/nacos/v1/ns/service/prt0000000000000007?pageNo=1"),
            ("/admin/", "/prt0000000000000007"),
        ] {
            assert_eq!(sibling(path, 7), expected, "{path}");
        }
    }

    #[test]
    fn a_post_that_is_not_known_to_read_is_refused() {
        let spec: HttpSpec = toml::from_str("post = ['/v3/kv/put']\nbody = ['x']").unwrap();
        assert!(Http::compile(&spec, false).err().unwrap().contains("read only"));
    }

    #[test]
    fn a_status_alone_is_no_proof() {
        let spec: HttpSpec = toml::from_str("get = ['/x']\nstatus = 200").unwrap();
        assert!(Http::compile(&spec, false).err().unwrap().contains("no proof"));
    }
}
