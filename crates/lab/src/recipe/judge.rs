//! What is claimed of a port, held to what is true of it. Pure.
//!
//! The same rules for every scanner: names are right when one of the accepted names is in them, whatever the case; a version is
//! right when it is the package's ([`same_version`]). Getting the claims is left to whoever has a scanner.

use super::{Door, same_version};
use serde::Serialize;
use std::collections::BTreeMap;

/// What a scanner says of one port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// Protocol; empty when it names none.
    pub service: String,
    /// Product.
    pub product: Option<String>,
    /// Version.
    pub version: Option<String>,
    /// TLS in front.
    pub tls: bool,
    /// How the attempt ended, where the scanner has words for that.
    pub identity: Option<String>,
    /// What it bases that on: name of the request, first bytes of the answer.
    pub evidence: Option<String>,
}

impl Claim {
    /// `redis Redis 7.0.15`.
    pub fn line(&self) -> String {
        let tls = self.tls.then_some("tls");
        let words = [tls, Some(self.service.as_str()), self.product.as_deref(), self.version.as_deref()];
        let words: Vec<&str> = words.into_iter().flatten().filter(|w| !w.is_empty()).collect();
        match (words.is_empty(), &self.identity) {
            (true, Some(identity)) => format!("({identity})"),
            (true, None) => "(nothing)".to_owned(),
            (false, Some(identity)) if identity != "identified" => format!("{} ({identity})", words.join(" ")),
            _ => words.join(" "),
        }
    }
}

/// How a claim stands to the truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// Service and product are right.
    pub right: bool,
    /// The protocol is right.
    pub service: bool,
    /// A product is named, and it is another's.
    pub wrong_product: bool,
    /// A protocol is named, and it is another.
    pub wrong_service: bool,
    /// The server tells its version to whoever asks.
    pub disclosed: bool,
    /// The version is named, exactly.
    pub version: bool,
    /// A version is named, and it is not the server's, or the server tells none.
    pub wrong_version: bool,
}

fn is_in(said: &str, names: &[&str]) -> bool {
    let said = said.to_ascii_lowercase();
    names.iter().any(|n| !n.is_empty() && said.contains(&n.to_ascii_lowercase()))
}

/// Judges a claim of a port. `version` is the package's, `None` where the server tells none.
pub fn judge(claim: &Claim, door: &Door, version: Option<&str>) -> Judgement {
    let named = !claim.service.is_empty();
    let service = match named {
        true => door.service.iter().any(|s| s.eq_ignore_ascii_case(&claim.service)),
        false => door.service.contains(&"") && (!door.tls || claim.tls),
    };
    let product = claim.product.as_deref().filter(|p| !p.is_empty());
    let product_right = match product {
        Some(p) => is_in(p, door.product),
        None => door.product.is_empty() || door.product.contains(&""),
    };
    let tls_right = !door.tls || claim.tls;
    // A product of another name on a port whose protocol tells none is an invention as well.
    let below = product.is_some_and(|p| is_in(p, door.beneath));
    let wrong_product = product.is_some() && !product_right && !below;
    let said = claim.version.as_deref().filter(|v| !v.is_empty());
    let exact = said.is_some_and(|s| version.is_some_and(|v| same_version(s, v)));
    Judgement {
        right: service && product_right && tls_right,
        service,
        wrong_product,
        wrong_service: named && !service,
        disclosed: version.is_some(),
        version: exact,
        // Of what stands beneath, the version is its own.
        wrong_version: said.is_some() && !exact && (!below || product_right),
    }
}

/// What may be said of a listener that only pretends.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// Protocols that its bytes do prove.
    pub service: &'static [&'static str],
    /// Products that they name.
    pub product: &'static [&'static str],
}

/// Whether a claim of a pretender says more than its bytes prove: a product, a version, or another protocol.
pub fn invents(claim: &Claim, allowed: Allowed) -> bool {
    let product = claim.product.as_deref().filter(|p| !p.is_empty());
    let wrong_product = product.is_some_and(|p| !is_in(p, allowed.product));
    let wrong_service = !claim.service.is_empty() && !allowed.service.iter().any(|s| s.eq_ignore_ascii_case(&claim.service));
    let version = claim.version.is_some() && allowed.product.is_empty();
    wrong_product || wrong_service || version
}

/// Counts of a group of judgements.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Ports judged.
    pub ports: usize,
    /// Service and product right.
    pub right: usize,
    /// Protocol right.
    pub service: usize,
    /// Another's product named.
    pub wrong_product: usize,
    /// Another protocol named.
    pub wrong_service: usize,
    /// Versions that are told.
    pub disclosed: usize,
    /// Versions that are right.
    pub version: usize,
    /// Versions that are wrong or invented.
    pub wrong_version: usize,
}

impl Tally {
    /// Counts them.
    pub fn of<'a>(judgements: impl IntoIterator<Item = &'a Judgement>) -> Tally {
        let mut t = Tally::default();
        for j in judgements {
            t.ports += 1;
            t.right += usize::from(j.right);
            t.service += usize::from(j.service);
            t.wrong_product += usize::from(j.wrong_product);
            t.wrong_service += usize::from(j.wrong_service);
            t.disclosed += usize::from(j.disclosed);
            t.version += usize::from(j.version);
            t.wrong_version += usize::from(j.wrong_version);
        }
        t
    }
}

/// `41 of 43 (95 %)`.
pub fn share(part: usize, whole: usize) -> String {
    match whole {
        0 => "–".to_owned(),
        _ => format!("{part} of {whole} ({:.1} %)", 100.0 * part as f64 / whole as f64),
    }
}

/// Verdicts of one kind against what is so: for precision and recall.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Proofs {
    /// Proved, and so it is.
    pub right: usize,
    /// Proved, and it is not so.
    pub wrong: usize,
    /// So it is, and not proved.
    pub missed: usize,
    /// Not so, and not proved.
    pub rightly_not: usize,
    /// By name: what was wrong or missed.
    pub failures: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Version;

    const REDIS: Door = Door::tcp("redis", 6379, &["redis"], &["Redis"]).version(Version::Package("redis-server"));
    const RSYNC: Door = Door::tcp("rsync", 873, &["rsync"], &["", "rsync"]);
    const GUARDED: Door = Door::tcp("guarded", 2376, &["", "http"], &[]).tls();

    fn claim(service: &str, product: &str, version: &str, tls: bool) -> Claim {
        let some = |s: &str| Some(s.to_owned()).filter(|s| !s.is_empty());
        Claim { service: service.into(), product: some(product), version: some(version), tls, ..Claim::default() }
    }

    #[test]
    fn claims_are_held_to_the_truth() {
        let v = Some("5:7.0.15-1~deb12u5");
        // (claim, door, version, right, wrong product, version exact, version wrong)
        let cases = [
            (claim("redis", "Redis", "7.0.15", false), REDIS, v, true, false, true, false),
            (claim("redis", "Redis key-value store", "7.0.15", false), REDIS, v, true, false, true, false),
            (claim("redis", "", "", false), REDIS, v, false, false, false, false),
            (claim("redis", "Valkey", "7.0", false), REDIS, v, false, true, false, true),
            (claim("http", "", "", false), REDIS, v, false, false, false, false),
            (claim("", "", "", false), REDIS, v, false, false, false, false),
            (claim("rsync", "", "", false), RSYNC, None, true, false, false, false),
            (claim("rsync", "rsync", "31", false), RSYNC, None, true, false, false, true),
            (claim("rsync", "Synology", "", false), RSYNC, None, false, true, false, false),
            (claim("", "", "", true), GUARDED, None, true, false, false, false),
            (claim("", "", "", false), GUARDED, None, false, false, false, false),
            (claim("http", "nginx", "", true), GUARDED, None, false, true, false, false),
        ];
        for (claim, door, version, right, wrong_product, exact, wrong_version) in cases {
            let j = judge(&claim, &door, version);
            let got = (j.right, j.wrong_product, j.version, j.wrong_version);
            assert_eq!(got, (right, wrong_product, exact, wrong_version), "{} on {}", claim.line(), door.name);
        }
    }

    #[test]
    fn a_pretender_may_be_called_what_its_bytes_prove() {
        let http = Allowed { service: &["http"], product: &[] };
        assert!(!invents(&claim("http", "", "", false), http));
        assert!(!invents(&claim("", "", "", false), http));
        assert!(invents(&claim("http", "Grafana", "", false), http));
        assert!(invents(&claim("redis", "", "", false), http));
        assert!(invents(&claim("http", "", "1.0", false), http));
    }

    #[test]
    fn tallies_count() {
        let j = Judgement { right: true, service: true, disclosed: true, version: true, ..Judgement::default() };
        let t = Tally::of([&j, &Judgement { wrong_product: true, ..Judgement::default() }]);
        assert_eq!((t.ports, t.right, t.wrong_product, t.disclosed, t.version), (2, 1, 1, 1, 1));
        assert_eq!((share(1, 2).as_str(), share(0, 0).as_str()), ("1 of 2 (50.0 %)", "–"));
    }
}
