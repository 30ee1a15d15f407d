//! Admin consoles and technologies as the catalogue describes them: which tokens give one away, and when they are enough.
//!
//! A console is named only when two tokens of different kinds are seen, and a token on a path of its own counts only where a
//! made-up path beside it shows something else. Fetching the pages is left to the crate's `panel`.

use super::rule::{captured, compile, compile_headers, headers_match};
use super::spec::{PanelCase, PanelSpec, Reached, TechnologyCase, TechnologySpec, TokenSpec};
use crate::http::Response;
use crate::order::affinity;
use regex::bytes::{Captures, Regex};
use std::collections::{BTreeMap, BTreeSet};

/// How many tokens of different kinds name a product.
const ENOUGH: usize = 2;

/// What a token looks at.
enum Look {
    Title(Regex),
    Body(Regex),
    Asset(Regex),
    Cookie(Regex),
    Headers(Vec<(String, Regex)>),
    Favicon(Vec<i32>),
}

impl Look {
    fn kind(&self) -> &'static str {
        match self {
            Look::Title(_) => "title",
            Look::Body(_) => "body",
            Look::Asset(_) => "asset",
            Look::Cookie(_) => "cookie",
            Look::Headers(_) => "header",
            Look::Favicon(_) => "favicon",
        }
    }
}

struct Token {
    get: Option<String>,
    status: Option<u16>,
    look: Look,
}

/// A compiled console.
pub(crate) struct PanelRule {
    pub(super) id: String,
    pub(super) product: String,
    pub(super) proved: Reached,
    pub(super) origin: super::Origin,
    ports: Vec<u16>,
    after: Option<Regex>,
    tokens: Vec<Token>,
    pub(super) cases: Vec<PanelCase>,
}

/// A page at a path of its own, and what a made-up path beside it shows.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) page: Response,
    pub(crate) control: Option<Response>,
}

/// What was fetched of a site.
#[derive(Clone, Debug, Default)]
pub(crate) struct Site {
    /// The front page: every answer on the way to it, and the last.
    pub(crate) front: Vec<Response>,
    pub(crate) favicon: Option<i32>,
    pub(crate) paths: BTreeMap<String, Fetched>,
}

/// A console that the tokens name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PanelFound {
    pub(crate) product: String,
    pub(crate) version: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) evidence: Vec<String>,
}

impl Token {
    fn compile(spec: TokenSpec) -> Result<Token, String> {
        let mut looks = Vec::new();
        if let Some(p) = &spec.title {
            looks.push(Look::Title(compile(p)?));
        }
        if let Some(p) = &spec.body {
            looks.push(Look::Body(compile(p)?));
        }
        if let Some(p) = &spec.asset {
            looks.push(Look::Asset(compile(p)?));
        }
        if let Some(p) = &spec.cookie {
            looks.push(Look::Cookie(compile(p)?));
        }
        if !spec.headers.is_empty() {
            looks.push(Look::Headers(compile_headers(&spec.headers)?));
        }
        if !spec.favicon.is_empty() {
            looks.push(Look::Favicon(spec.favicon));
        }
        let (Some(look), true) = (looks.pop(), looks.is_empty()) else {
            return Err("a token has one of title, body, asset, cookie, headers, favicon".into());
        };
        if let Some(path) = &spec.get {
            if !path.starts_with('/') || path.len() < 2 || !path.bytes().all(|b| (b'!'..=b'~').contains(&b)) {
                return Err(format!("`{path}`: a path to GET starts with `/`, is not `/` alone, and has no spaces"));
            }
            if matches!(look, Look::Favicon(_)) {
                return Err("the icon is fetched by itself; a token of it has no `get`".into());
            }
        }
        Ok(Token { get: spec.get, status: spec.status, look })
    }

    /// Whether the answer has the token, with the version if it states one.
    fn seen_in(&self, response: &Response) -> Option<Option<String>> {
        if self.status.is_some_and(|status| status != response.status) {
            return None;
        }
        let version = |captures: &[Captures<'_>]| captured(captures, "version");
        match &self.look {
            Look::Title(pattern) => Some(version(&[pattern.captures(response.title()?.as_bytes())?])),
            Look::Body(pattern) => Some(version(&[pattern.captures(&response.body)?])),
            Look::Asset(pattern) => response.assets().iter().find_map(|a| Some(version(&[pattern.captures(a.as_bytes())?]))),
            Look::Cookie(pattern) => response.cookies().find_map(|c| Some(version(&[pattern.captures(c.as_bytes())?]))),
            Look::Headers(patterns) => Some(version(&headers_match(patterns, response)?)),
            Look::Favicon(_) => None,
        }
    }

    fn seen_on(&self, site: &Site) -> Option<Option<String>> {
        match (&self.look, &self.get) {
            (Look::Favicon(hashes), _) => site.favicon.filter(|hash| hashes.contains(hash)).map(|_| None),
            (_, None) => site.front.iter().rev().find_map(|response| self.seen_in(response)),
            (_, Some(path)) => {
                let fetched = site.paths.get(path)?;
                let version = self.seen_in(&fetched.page)?;
                // A site that shows the same at a made-up path shows nothing of its own here.
                let control = fetched.control.as_ref()?;
                self.seen_in(control).is_none().then_some(version)
            }
        }
    }

    fn label(&self) -> String {
        let what = match &self.look {
            Look::Headers(patterns) => {
                let names: Vec<&str> = patterns.iter().map(|(name, _)| name.as_str()).collect();
                format!("header {}", names.join(" "))
            }
            look => look.kind().to_owned(),
        };
        match &self.get {
            Some(path) => format!("http-get {path}: {what}"),
            None => what,
        }
    }
}

impl PanelRule {
    pub(super) fn compile(spec: PanelSpec, origin: super::Origin) -> Result<PanelRule, String> {
        let tokens = spec.token.into_iter().map(Token::compile).collect::<Result<Vec<_>, _>>()?;
        let kinds: BTreeSet<_> = tokens.iter().map(|t| (&t.get, t.look.kind())).collect();
        if kinds.len() < ENOUGH {
            return Err(format!("has tokens of {} kind; {ENOUGH} kinds name a product", kinds.len()));
        }
        Ok(PanelRule {
            id: spec.id,
            product: spec.product,
            proved: spec.proved,
            origin,
            ports: spec.ports,
            after: spec.after.as_deref().map(compile).transpose()?,
            tokens,
            cases: spec.cases,
        })
    }

    /// The console, when enough tokens are seen.
    pub(crate) fn judge(&self, site: &Site) -> Option<PanelFound> {
        let mut kinds = BTreeSet::new();
        let mut found = PanelFound { product: self.product.clone(), ..PanelFound::default() };
        let mut on_front = false;
        for token in &self.tokens {
            let Some(version) = token.seen_on(site) else { continue };
            on_front |= token.get.is_none();
            found.version = found.version.or(version);
            found.path = found.path.or_else(|| token.get.clone());
            if kinds.insert((&token.get, token.look.kind())) {
                found.evidence.push(token.label());
            }
        }
        if on_front {
            found.path = None;
        }
        (kinds.len() >= ENOUGH).then_some(found)
    }

    /// How much the front page and the port promise this console: 0 nothing, more is better.
    pub(crate) fn promise(&self, port: Option<u16>, site: &Site) -> usize {
        let seen = self.tokens.iter().filter(|t| t.get.is_none() && t.seen_on(site).is_some()).count();
        let last = site.front.last();
        let after = self.after.as_ref().zip(last).is_some_and(|(after, page)| {
            after.is_match(&page.body) || page.headers.iter().any(|(n, v)| after.is_match(format!("{n}: {v}").as_bytes()))
        });
        2 * seen + usize::from(after) + usize::from(port.is_some_and(|port| affinity(port, &self.ports) == 3))
    }

    /// The paths that could still tell something.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        let mut seen = BTreeSet::new();
        self.tokens.iter().filter_map(|t| t.get.as_deref()).filter(move |path| seen.insert(*path))
    }

    /// Whether any of its tokens can state a version.
    pub(crate) fn tells_version(&self) -> bool {
        let states = |p: &Regex| p.capture_names().flatten().any(|name| name == "version");
        self.tokens.iter().any(|token| match &token.look {
            Look::Title(p) | Look::Body(p) | Look::Asset(p) | Look::Cookie(p) => states(p),
            Look::Headers(patterns) => patterns.iter().any(|(_, p)| states(p)),
            Look::Favicon(_) => false,
        })
    }

    /// Whether the page has what one of the tokens looks for at that path: only then a control is worth a request.
    pub(crate) fn has_token(&self, path: &str, page: &Response) -> bool {
        self.tokens.iter().any(|t| t.get.as_deref() == Some(path) && t.seen_in(page).is_some())
    }
}

/// A compiled technology.
pub(crate) struct Technology {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) origin: super::Origin,
    headers: Vec<(String, Regex)>,
    cookie: Option<Regex>,
    generator: Option<Regex>,
    body: Option<Regex>,
    pub(super) cases: Vec<TechnologyCase>,
}

impl Technology {
    pub(super) fn compile(spec: TechnologySpec, origin: super::Origin) -> Result<Technology, String> {
        let optional = |p: &Option<String>| p.as_deref().map(compile).transpose();
        if spec.headers.is_empty() && spec.cookie.is_none() && spec.generator.is_none() && spec.body.is_none() {
            return Err("has at least one of headers, cookie, generator, body".into());
        }
        Ok(Technology {
            headers: compile_headers(&spec.headers)?,
            cookie: optional(&spec.cookie)?,
            generator: optional(&spec.generator)?,
            body: optional(&spec.body)?,
            id: spec.id,
            name: spec.name,
            origin,
            cases: spec.cases,
        })
    }

    /// The technology's name, with its version where the answer states it.
    pub(crate) fn shown_by(&self, response: &Response) -> Option<String> {
        let mut captures = headers_match(&self.headers, response)?;
        if let Some(pattern) = &self.cookie {
            captures.push(response.cookies().find_map(|c| pattern.captures(c.as_bytes()))?);
        }
        let generator = response.generator();
        if let Some(pattern) = &self.generator {
            captures.push(pattern.captures(generator.as_deref()?.as_bytes())?);
        }
        if let Some(pattern) = &self.body {
            captures.push(pattern.captures(&response.body)?);
        }
        Some(match captured(&captures, "version") {
            Some(version) => format!("{} {version}", self.name),
            None => self.name.clone(),
        })
    }
}
