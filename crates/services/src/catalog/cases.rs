//! Holding every entry of the catalogue to its cases: the answers it must recognise, and those it must not.
//!
//! `portreeve catalog test` and the tests of this crate run the same. What the cases are is the catalogue's.

use super::panel::{Fetched, PanelRule, Site, Technology};
use super::rule::{On, Rule, Verdict};
use super::spec::PanelCase;
use super::{Origin, Rules};
use crate::bytes::unescape;
use crate::check::Library;
use crate::http::{self, Response};
use crate::protocol::{CODECS, Found, Reading};
use std::fmt;

/// A case that does not hold, or an entry without the cases it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseFailure {
    /// Where the entry is written.
    pub origin: Origin,
    /// The entry's id.
    pub id: String,
    /// What was expected and what came.
    pub message: String,
}

impl fmt::Display for CaseFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}`: {}", self.origin, self.id, self.message)
    }
}

/// How much was tested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Entries.
    pub entries: usize,
    /// Cases of theirs.
    pub cases: usize,
}

/// Runs every case of every entry of this process' catalogue.
pub fn test() -> (Tally, Vec<CaseFailure>) {
    let (mut tally, mut failures) = Rules::current().test();
    let checks = Library::in_use().test();
    tally.entries += checks.checks;
    tally.cases += checks.cases;
    failures.extend(checks.failures.into_iter().map(|f| CaseFailure {
        origin: Origin { file: f.file, line: 0, own: false },
        id: f.check,
        message: format!("case {}: {}", f.case, f.message),
    }));
    (tally, failures)
}

struct Court<'a> {
    rules: &'a Rules,
    tally: Tally,
    failures: Vec<CaseFailure>,
}

impl Court<'_> {
    fn fail(&mut self, origin: &Origin, id: &str, message: impl Into<String>) {
        self.failures.push(CaseFailure { origin: origin.clone(), id: id.to_owned(), message: message.into() });
    }

    /// Every entry has a case of each kind.
    fn count(&mut self, origin: &Origin, id: &str, no: impl Iterator<Item = bool>) {
        let no: Vec<bool> = no.collect();
        self.tally.entries += 1;
        self.tally.cases += no.len();
        if !no.contains(&true) || !no.contains(&false) {
            self.fail(origin, id, "needs a case that matches and one that does not (`no = true`)");
        }
    }

    fn bytes(&mut self, origin: &Origin, id: &str, text: &str) -> Option<Vec<u8>> {
        match unescape(text) {
            Ok(bytes) => Some(bytes),
            Err(e) => {
                self.fail(origin, id, format!("{e} in a case"));
                None
            }
        }
    }

    fn rule(&mut self, rule: &Rule) {
        self.count(&rule.origin, &rule.id, rule.cases.iter().map(|c| c.no));
        for case in &rule.cases {
            let Some(bytes) = self.bytes(&rule.origin, &rule.id, &case.bytes) else { continue };
            let (own, all) = judge(self.rules, rule, &bytes);
            if case.no {
                if let Some(found) = own {
                    self.fail(&rule.origin, &rule.id, format!("matches what it must not: {} → {}", case.bytes, told(&found)));
                }
                continue;
            }
            let expected = Found {
                service: rule.service.clone(),
                product: case.product.clone(),
                version: case.version.clone(),
                refuses: case.refuses,
                wants_certificate: case.wants_certificate,
                ..Found::default()
            };
            match (own, all) {
                (Some(own), Verdict::Is(all)) if told(&own) == told(&expected) && told(&all) == told(&expected) => {}
                (None, _) => self.fail(&rule.origin, &rule.id, format!("does not match {}", case.bytes)),
                (Some(own), all) => {
                    let all = match all {
                        Verdict::Is(found) => told(&found),
                        Verdict::Contradiction(what) => format!("a contradiction, {what}"),
                        Verdict::Unknown => "nothing".into(),
                    };
                    let message =
                        format!("{}: expected {}, got {}, with all rules {all}", case.bytes, told(&expected), told(&own));
                    self.fail(&rule.origin, &rule.id, message);
                }
            }
        }
    }

    fn panel(&mut self, panel: &PanelRule) {
        self.count(&panel.origin, &panel.id, panel.cases.iter().map(|c| c.no));
        for case in &panel.cases {
            let site = match site(panel, case) {
                Ok(site) => site,
                Err(e) => {
                    self.fail(&panel.origin, &panel.id, e);
                    continue;
                }
            };
            match (panel.judge(&site), case.no) {
                (Some(found), true) => {
                    self.fail(&panel.origin, &panel.id, format!("matches what it must not, by {}", found.evidence.join(", ")));
                }
                (None, false) => self.fail(&panel.origin, &panel.id, "two tokens of different kinds are not in its case"),
                (Some(found), false) if (&found.version, &found.path) != (&case.version, &case.path) => {
                    let message = format!(
                        "expected version {:?} at {:?}, got {:?} at {:?}",
                        case.version, case.path, found.version, found.path
                    );
                    self.fail(&panel.origin, &panel.id, message);
                }
                (Some(_), false) => {
                    let winner = self.rules.panel(&site).map(|f| f.product);
                    if winner.as_deref() != Some(&panel.product) {
                        self.fail(&panel.origin, &panel.id, format!("another panel takes its case: {winner:?}"));
                    }
                }
                (None, true) => {}
            }
        }
    }

    fn technology(&mut self, technology: &Technology) {
        self.count(&technology.origin, &technology.id, technology.cases.iter().map(|c| c.no));
        for case in &technology.cases {
            let Some(bytes) = self.bytes(&technology.origin, &technology.id, &case.bytes) else { continue };
            let shown = http::parse(&bytes).and_then(|r| technology.shown_by(&r));
            let expected = if case.no { None } else { case.shows.clone().or_else(|| Some(technology.name.clone())) };
            if shown != expected {
                let message = format!("{}: expected {expected:?}, got {shown:?}", case.bytes);
                self.fail(&technology.origin, &technology.id, message);
            }
        }
    }
}

/// What counts of a finding in a case, in words.
fn told(found: &Found) -> String {
    let words = [
        Some(found.service.clone()),
        found.product.clone(),
        found.version.clone(),
        found.refuses.then(|| "(refuses)".to_owned()),
        found.wants_certificate.then(|| "(wants a certificate)".to_owned()),
    ];
    // A separator that no name holds: `a b` with no version is not `a` with version `b`.
    words.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|").trim_end_matches('|').to_owned()
}

/// What the rule alone, and all rules together, make of an answer.
fn judge(rules: &Rules, rule: &Rule, bytes: &[u8]) -> (Option<Found>, Verdict) {
    match &rule.on {
        On::Codec(name) => {
            let read = CODECS.iter().find(|c| c.name == *name).map(|c| (c.read)(bytes));
            let own = match read {
                Some(Reading::Is(found)) => Some(found),
                _ => None,
            };
            (own, rules.text(Some(name), bytes))
        }
        On::Banner => (rule.text(bytes), rules.text(None, bytes)),
        On::Probe(name) => (rule.text(bytes), rules.text(Some(name), bytes)),
        On::Http(path) => match http::parse(bytes) {
            Some(response) => (rule.http(&response), rules.http(path, &response)),
            None => (None, Verdict::Unknown),
        },
    }
}

/// The site that a case describes, as it would be fetched.
fn site(panel: &PanelRule, case: &PanelCase) -> Result<Site, String> {
    let read = |text: &str| {
        let bytes = unescape(text).map_err(|e| format!("{e} in a case"))?;
        http::parse(&bytes).ok_or_else(|| format!("is no HTTP answer: {text}"))
    };
    let missing = Response { status: 404, headers: Vec::new(), body: b"not found".to_vec() };
    let elsewhere = case.elsewhere.as_deref().map(read).transpose()?.unwrap_or(missing);
    let page = |path: &str| case.pages.get(path).map_or_else(|| Ok(elsewhere.clone()), |text| read(text));
    let mut site = Site { front: vec![page("/")?], ..Site::default() };
    if let Some(icon) = case.pages.get("/favicon.ico") {
        site.favicon = Some(http::favicon_hash(&read(icon)?.body));
    }
    for path in panel.paths() {
        site.paths.insert(path.to_owned(), Fetched { page: page(path)?, control: Some(elsewhere.clone()) });
    }
    Ok(site)
}

impl Rules {
    /// Runs every case of every entry.
    pub(super) fn test(&self) -> (Tally, Vec<CaseFailure>) {
        let mut court = Court { rules: self, tally: Tally::default(), failures: Vec::new() };
        self.rules.iter().for_each(|rule| court.rule(rule));
        self.panels.iter().for_each(|panel| court.panel(panel));
        self.technologies.iter().for_each(|technology| court.technology(technology));
        for entry in &self.excluded {
            let (origin, id) = (Origin { file: "services/excluded.toml".into(), line: 1, own: false }, entry.ports.to_string());
            court.count(&origin, &id, entry.cases.iter().map(|c| !c.excluded));
            for case in &entry.cases {
                if entry.ports.contains(case.port) != case.excluded {
                    court.fail(&origin, &id, format!("port {}", case.port));
                }
            }
        }
        (court.tally, court.failures)
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::Folder;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_entry_is_accepted_and_holds_its_cases() {
        let (rules, errors) = Rules::load_builtin();
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(errors.is_empty(), "{}", errors.join("\n"));
        let (tally, failures) = rules.test();
        let shown: Vec<String> = failures.iter().map(ToString::to_string).collect();
        assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), shown.join("\n"));
        assert!(tally.entries > 180 && tally.cases > 500, "{tally:?}");
    }

    #[test]
    fn every_codec_has_a_rule() {
        for codec in CODECS {
            let rules = Rules::builtin();
            assert!(rules.rules.iter().any(|r| r.on == On::Codec(codec.name)), "{} has no rule", codec.name);
        }
    }

    #[test]
    fn an_ordinary_service_is_not_excluded() {
        let rules = Rules::builtin();
        for port in rules.http_ports.iter().chain(&rules.tls_ports).chain(&rules.banner_ports) {
            assert_eq!(rules.excluded(*port), None, "{port}");
        }
    }

    #[test]
    fn two_services_in_the_same_bytes_are_a_contradiction() {
        let verdict = Rules::builtin().text(None, b"220 ftp.example FTP server ready, ESMTP Postfix\r\n");
        assert_eq!(verdict, Verdict::Contradiction("ftp and smtp".into()));
    }

    #[test]
    fn the_worked_examples_of_the_guide_hold_their_cases() {
        let guide = include_str!("../../../../docs/guides/add-a-service.md");
        // Beside what is shipped: an id that is there already is refused, and bytes that another service claims are a failure.
        let (mut rules, _) = Rules::load_builtin();
        for (n, block) in guide.split("```toml\n").skip(1).enumerate() {
            let block = block.split("```").next().unwrap_or_default();
            let folder = if block.contains("[[panel]]") { Folder::Panels } else { Folder::Services };
            // As if under a list: the guide indents its blocks.
            let text: String = block.lines().map(|l| l.trim_start_matches("   ").to_owned() + "\n").collect();
            let errors = rules.add_file(folder, &format!("block {n}"), &text, true);
            assert!(errors.is_empty(), "{errors:?}");
        }
        let (tally, failures) = rules.test();
        assert!(failures.is_empty() && tally.entries >= 2, "{tally:?} {failures:?}");
    }

    /// An operator's directory with these files.
    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    const GOOD: &str = "service = 'acme'\nports = [4444]\nproved = 'transcript'\n[[rule]]\nid = 'acme'\non = 'banner'\n\
                        pattern = '^ACME ready (?P<version>[0-9.]+)'\nproduct = 'Acme'\n\
                        cases = [{ bytes = 'ACME ready 1.2', product = 'Acme', version = '1.2' }, { bytes = 'ACME', no = true }]\n";

    #[test]
    fn a_broken_entry_is_refused_with_file_and_line_and_the_others_stand() {
        let broken = GOOD.replace("id = 'acme'", "id = 'bad'").replace("[0-9.]+)", "[0-9.]+");
        let unknown = "service = 'x'\nproved = 'transcript'\n\n[[rule]]\nid = 'odd'\non = 'banner'\nwhat = 1\ncases = []\n";
        let dir = directory(&[
            ("services/a.toml", &format!("{}{}", broken, &GOOD[GOOD.find("[[rule]]").unwrap()..])),
            ("services/b.toml", unknown),
            ("services/c.toml", "service = 'x'\nproved =\n"),
            ("services/notes.txt", "not read"),
        ]);
        let (mut rules, _) = Rules::load_builtin();
        let errors: Vec<String> = rules.add_directory(dir.path()).iter().map(ToString::to_string).collect();
        for (at, said) in [("a.toml:4:", "`bad`"), ("b.toml:4:", "unknown field"), ("c.toml:2:", "")] {
            assert!(errors.iter().any(|e| e.contains(at) && e.contains(said)), "{at} {said}: {errors:#?}");
        }
        assert_eq!(errors.len(), 3, "{errors:#?}");
        let Verdict::Is(found) = rules.text(None, b"ACME ready 3.4\r\n") else { panic!("the good rule is not in use") };
        assert_eq!(told(&found), "acme|Acme|3.4");
        assert!(rules.test().1.is_empty());
    }

    #[test]
    fn an_operators_entry_takes_a_built_in_place_only_when_it_says_so() {
        let shadow = GOOD.replace("id = 'acme'", "id = 'nginx'");
        for (text, said) in [
            (shadow.clone(), Some("built-in entry (services/http.toml:")),
            (shadow.replace("\non = ", "\nreplaces = true\non = "), None),
            (GOOD.replace("\non = ", "\nreplaces = true\non = "), Some("there is none of this id")),
            (GOOD.to_owned(), None),
        ] {
            let dir = directory(&[("services/a.toml", &text)]);
            let (mut rules, _) = Rules::load_builtin();
            let errors: Vec<String> = rules.add_directory(dir.path()).iter().map(ToString::to_string).collect();
            assert_eq!(errors.is_empty(), said.is_none(), "{errors:?}");
            assert!(said.is_none_or(|said| errors[0].contains(said)), "{errors:?}");
        }
        let twice = format!("{GOOD}{}", &GOOD[GOOD.find("[[rule]]").unwrap()..]);
        let dir = directory(&[("services/a.toml", &twice)]);
        let errors = Rules::load_builtin().0.add_directory(dir.path());
        assert!(errors.len() == 1 && errors[0].message.contains("taken by"), "{errors:?}");
    }

    #[test]
    fn a_case_that_does_not_hold_is_named_with_its_place() {
        let wrong = GOOD.replace("version = '1.2'", "version = '9'");
        let dir = directory(&[("services/a.toml", &wrong)]);
        let (mut rules, _) = Rules::load_builtin();
        assert!(rules.add_directory(dir.path()).is_empty());
        let failures: Vec<String> = rules.test().1.iter().map(ToString::to_string).collect();
        assert!(failures.len() == 1 && failures[0].contains("a.toml:4: `acme`: ") && failures[0].contains("|9"), "{failures:?}");
    }

    #[test]
    fn an_operators_check_is_refused_alone_and_may_not_take_a_built_in_ones_place() {
        let head = "advice = { en = 'a', zh = 'b' }\n\n";
        let check = "[[check]]\nid = 'acme-unauthenticated'\ntitle = { en = 'x', zh = 'y' }\nkind = 'unauthenticated-access'\n\
                     severity = 'high'\nside_effect = 'benign'\nservices = ['http']\nproducts = ['Acme']\n\
                     source = 'https://acme.example/docs'\nproved = 'transcript'\ncases = [\n\
                     { answers = ['HTTP/1.1 200 OK\\r\\n\\r\\n{\"users\":[]}', 'HTTP/1.1 404 Not Found\\r\\n\\r\\n'], verdict = 'proved' },\n\
                     { answers = ['HTTP/1.1 401 Unauthorized\\r\\n\\r\\n'], verdict = 'not-proved' },\n]\n\n\
                     [check.http]\nget = ['/users']\nbody = ['^\\{\"users\":']\n\n";
        let broken = check.replace("acme-unauthenticated", "acme-broken").replace("severity = 'high'", "severity = 'dreadful'");
        let taken = check.replace("acme-unauthenticated", "redis-unauthenticated");
        let dir = directory(&[("checks/acme.toml", &format!("{head}{broken}{check}{taken}"))]);
        let (library, errors) = super::super::load::checks_of(dir.path());
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), 2, "{errors:#?}");
        assert!(errors[0].contains("acme.toml:3: "), "{errors:#?}");
        assert!(errors[1].contains("redis-unauthenticated"), "{errors:#?}");
        assert!(library.infos().get("acme-unauthenticated").is_some() && library.infos().get("acme-broken").is_none());
        let report = library.test();
        assert!(report.failures.is_empty(), "{:?}", report.failures);
    }

    #[test]
    fn hexadecimal_requests_are_sent_as_bytes() {
        let text = "service = 'hexed'\nproved = 'transcript'\n[[probe]]\nname = 'h'\nhex = '00 ff0a'\n";
        let mut rules = Rules::default();
        assert!(rules.add_file(Folder::Services, "x", text, true).is_empty());
        assert_eq!(rules.probes[0].request, [0, 255, 10]);
        for bad in ["0", "zz", "+1", ""] {
            assert!(!rules.add_file(Folder::Services, "x", &text.replace("00 ff0a", bad), true).is_empty(), "{bad}");
        }
    }

    #[test]
    fn ids_are_unique() {
        let rules = Rules::builtin();
        let mut seen = BTreeSet::new();
        let ids = rules.rules.iter().map(|r| &r.id).chain(rules.panels.iter().map(|p| &p.id));
        for id in ids.chain(rules.technologies.iter().map(|t| &t.id)) {
            assert!(seen.insert(id), "{id} twice");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_rules(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            Rules::builtin().feed_everything(&bytes);
        }

        #[test]
        fn truncated_and_damaged_cases_panic_nothing(pick in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(), flip in any::<u8>()) {
            let rules = Rules::builtin();
            let cases: Vec<&String> = rules.rules.iter().flat_map(|r| &r.cases).map(|c| &c.bytes)
                .chain(rules.panels.iter().flat_map(|p| &p.cases).flat_map(|c| c.pages.values())).collect();
            let mut bytes = unescape(pick.get::<&String>(&cases).as_str()).unwrap();
            if !bytes.is_empty() {
                let at = cut.index(bytes.len());
                bytes[at] ^= flip;
                rules.feed_everything(&bytes);
                rules.feed_everything(&bytes[..at]);
            }
        }

        #[test]
        fn no_text_panics_the_loader(text in "[a-z\\[\\]'=#\n0-9 {}.]{0,200}") {
            let mut rules = Rules::default();
            rules.add_file(Folder::Services, "x", &text, true);
            rules.add_file(Folder::Panels, "x", &text, true);
            rules.add_excluded("x", &text, true);
        }
    }
}
