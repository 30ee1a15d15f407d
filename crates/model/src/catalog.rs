//! The built-in catalogue of high-risk services: which ports and which identities are dangerous, and what to do instead.
//!
//! The entries are data (`catalog/ports/*.toml`); this parses and indexes them. Identification rules live in `services`.

use crate::observation::words;
use crate::port::PortSet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

words! {
    /// Why the national bulletin lists a service.
    Category: "catalogue category" {
        /// 不应暴露在互联网上: has no business on the internet.
        ShouldNotBeExposed = "should-not-be-exposed",
        /// 经常被黑客攻击利用、易存在漏洞: attacked often, prone to vulnerabilities.
        OftenExploited = "often-exploited",
        /// 没有实际价值但默认开放: of no practical value, open by default.
        OpenByDefault = "open-by-default",
    }
}

/// A sentence in both languages.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// English.
    pub en: String,
    /// Simplified Chinese.
    pub zh: String,
}

/// One high-risk service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HighRisk {
    /// Stable id, lower-case, e.g. `redis`.
    pub id: String,
    /// Name as people know it, e.g. `Redis`.
    pub name: String,
    /// Its number in the national bulletin; absent for entries from other sources.
    #[serde(default)]
    pub bulletin: Option<u8>,
    /// TCP ports that are high-risk by number.
    pub ports: Vec<u16>,
    /// UDP ports that are high-risk by number.
    #[serde(default)]
    pub udp_ports: Vec<u16>,
    /// Why it is listed.
    pub categories: Vec<Category>,
    /// [`crate::Service::name`]s that are this service on whatever port.
    pub services: Vec<String>,
    /// Products (compared without case) that are this service where the service name alone does not tell.
    #[serde(default)]
    pub products: Vec<String>,
    /// Where it comes from.
    pub source: String,
    /// What to do.
    pub advice: Text,
    /// Secure alternative, where there is one.
    #[serde(default)]
    pub alternative: Option<Text>,
    /// Cases that the tests hold the entry to.
    pub cases: Vec<Case>,
}

/// An endpoint that an entry must, or must not, recognise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// TCP port.
    pub port: u16,
    /// Identified service name.
    #[serde(default)]
    pub service: Option<String>,
    /// Identified product.
    #[serde(default)]
    pub product: Option<String>,
    /// What the entry says: `port`, `service` or `no`.
    pub expect: CaseVerdict,
}

words! {
    /// What a catalogue entry says of a case.
    CaseVerdict: "verdict" {
        /// High-risk by its number.
        Port = "port",
        /// High-risk by its identity.
        Service = "service",
        /// Not this entry.
        No = "no",
    }
}

/// Why the catalogue could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Not TOML of the expected shape.
    #[error("catalogue file {file} cannot be read: {message}")]
    Malformed {
        /// File name.
        file: String,
        /// Parser's message with line.
        message: String,
    },
    /// Two entries share an id or a port.
    #[error("catalogue entry `{id}` repeats {what}")]
    Repeated {
        /// Entry.
        id: String,
        /// `its id` or `port 6379 of redis`.
        what: String,
    },
}

/// All entries, indexed by port and by service name.
#[derive(Debug)]
pub struct Catalog {
    entries: Vec<HighRisk>,
    by_port: HashMap<u16, usize>,
    by_service: BTreeMap<String, usize>,
    by_product: BTreeMap<String, usize>,
    common: PortSet,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HighRiskFile {
    service: Vec<HighRisk>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommonFile {
    #[allow(dead_code)]
    source: String,
    /// Ports that belong to no group.
    #[serde(default)]
    ports: PortSet,
    /// Ports by what one expects on them; the names are for readers of the file.
    #[serde(default)]
    groups: BTreeMap<String, PortSet>,
}

impl Catalog {
    /// The catalogue that ships with portreeve.
    pub fn builtin() -> &'static Catalog {
        static BUILTIN: OnceLock<Catalog> = OnceLock::new();
        BUILTIN.get_or_init(|| {
            Catalog::parse(
                include_str!("../../../catalog/ports/high-risk.toml"),
                include_str!("../../../catalog/ports/common.toml"),
            )
            .expect("the built-in catalogue is held to its cases by the tests")
        })
    }

    /// A catalogue from the text of its two files.
    pub fn parse(high_risk: &str, common: &str) -> Result<Catalog, CatalogError> {
        let malformed =
            |file: &str, e: toml::de::Error| CatalogError::Malformed { file: file.to_owned(), message: e.to_string() };
        let file: HighRiskFile = toml::from_str(high_risk).map_err(|e| malformed("ports/high-risk.toml", e))?;
        let common: CommonFile = toml::from_str(common).map_err(|e| malformed("ports/common.toml", e))?;
        let (mut by_port, mut by_service, mut by_product) = (HashMap::new(), BTreeMap::new(), BTreeMap::new());
        for (i, entry) in file.service.iter().enumerate() {
            let repeated = |what: String| CatalogError::Repeated { id: entry.id.clone(), what };
            if file.service[..i].iter().any(|other| other.id == entry.id) {
                return Err(repeated("its id".into()));
            }
            for &port in &entry.ports {
                if let Some(other) = by_port.insert(port, i) {
                    return Err(repeated(format!("port {port} of {}", file.service[other].id)));
                }
            }
            for name in &entry.services {
                if let Some(other) = by_service.insert(name.clone(), i) {
                    return Err(repeated(format!("service `{name}` of {}", file.service[other].id)));
                }
            }
            for product in &entry.products {
                if let Some(other) = by_product.insert(product.to_lowercase(), i) {
                    return Err(repeated(format!("product `{product}` of {}", file.service[other].id)));
                }
            }
        }
        let common = common.groups.values().fold(common.ports, |all, group| all.union(group));
        Ok(Catalog { entries: file.service, by_port, by_service, by_product, common })
    }

    /// All entries in file order.
    pub fn entries(&self) -> &[HighRisk] {
        &self.entries
    }
    /// The entry with this id.
    pub fn get(&self, id: &str) -> Option<&HighRisk> {
        self.entries.iter().find(|e| e.id == id)
    }
    /// The entry that lists this TCP port.
    pub fn by_port(&self, port: u16) -> Option<&HighRisk> {
        self.by_port.get(&port).map(|&i| &self.entries[i])
    }
    /// The entry that lists this UDP port.
    pub fn by_udp_port(&self, port: u16) -> Option<&HighRisk> {
        self.entries.iter().find(|e| e.udp_ports.contains(&port))
    }
    /// The entry that this identity belongs to, on whatever port; the product decides where the name does not.
    pub fn by_identity(&self, service: &str, product: Option<&str>) -> Option<&HighRisk> {
        product
            .and_then(|p| self.by_product.get(&p.to_lowercase()))
            .or_else(|| self.by_service.get(service))
            .map(|&i| &self.entries[i])
    }
    /// All TCP ports that are high-risk by number (`--ports high-risk`).
    pub fn high_risk_ports(&self) -> PortSet {
        self.entries.iter().flat_map(|e| e.ports.iter().copied()).collect()
    }
    /// About a thousand ports that services commonly use (`--ports common`).
    pub fn common_ports(&self) -> &PortSet {
        &self.common
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bulletin_is_complete() {
        let catalog = Catalog::builtin();
        let mut numbers: Vec<u8> = catalog.entries().iter().filter_map(|e| e.bulletin).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=30).collect::<Vec<_>>(), "the bulletin lists 30 services");
        let ports: usize =
            catalog.entries().iter().filter(|e| e.bulletin.is_some()).map(|e| e.ports.len() + e.udp_ports.len()).sum();
        assert!(ports >= 35, "{ports}");
        assert!((900..=1100).contains(&catalog.common_ports().len()), "{}", catalog.common_ports().len());
        assert!(catalog.common_ports().contains(8460), "our own console: a first look at a bare machine finds something");
        let high_risk = catalog.high_risk_ports();
        assert!(high_risk.iter().all(|p| catalog.common_ports().contains(p)), "every high-risk port is a common port");
    }

    #[test]
    fn every_entry_holds_its_cases() {
        let catalog = Catalog::builtin();
        for entry in catalog.entries() {
            assert!(!entry.cases.is_empty(), "{} has no case", entry.id);
            assert!(entry.cases.iter().any(|c| c.expect == CaseVerdict::No), "{} has no negative case", entry.id);
            for case in &entry.cases {
                let by_port = catalog.by_port(case.port).is_some_and(|e| e.id == entry.id);
                let by_identity = case
                    .service
                    .as_deref()
                    .and_then(|s| catalog.by_identity(s, case.product.as_deref()))
                    .is_some_and(|e| e.id == entry.id);
                let verdict = match (by_port, by_identity) {
                    (true, _) => CaseVerdict::Port,
                    (false, true) => CaseVerdict::Service,
                    (false, false) => CaseVerdict::No,
                };
                assert_eq!(verdict, case.expect, "{}: {case:?}", entry.id);
            }
        }
    }

    #[test]
    fn every_entry_advises_in_both_languages() {
        let chinese = |text: &str| text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
        for entry in Catalog::builtin().entries() {
            for text in std::iter::once(&entry.advice).chain(&entry.alternative) {
                assert!(text.en.len() > 20 && !chinese(&text.en), "{}: {}", entry.id, text.en);
                assert!(chinese(&text.zh), "{}: {}", entry.id, text.zh);
            }
            assert!(!entry.categories.is_empty() && !entry.source.is_empty(), "{}", entry.id);
        }
    }

    #[test]
    fn a_broken_catalogue_names_the_file_and_the_entry() {
        let err = Catalog::parse("service = 3", "source = 'x'\nports = '1'").unwrap_err().to_string();
        assert!(err.contains("ports/high-risk.toml"), "{err}");
    }
}
