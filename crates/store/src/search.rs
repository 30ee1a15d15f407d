//! What people type into a search box: an address, the start of one, a network, a range, an endpoint, a port, or words.
//!
//! Which columns it is compared with is left to the lists that offer a search.

use crate::sql::{Field, Sql};
use model::{Endpoint, IpRange};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A search, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    Range(IpRange),
    Door(IpAddr, u16),
    Port(u16),
    Words(String),
}

impl Search {
    /// `None` for an empty search.
    pub(crate) fn parse(typed: &str) -> Option<Search> {
        let typed = typed.trim();
        if typed.is_empty() {
            return None;
        }
        if let Ok(range) = typed.parse::<IpRange>() {
            return Some(Search::Range(range));
        }
        if let Ok(endpoint) = typed.parse::<Endpoint>() {
            return Some(Search::Door(endpoint.ip.to_canonical(), endpoint.port));
        }
        if let Ok(addr) = typed.parse::<SocketAddr>() {
            return Some(Search::Door(addr.ip().to_canonical(), addr.port()));
        }
        if let Ok(port) = typed.trim_start_matches(':').parse::<u16>() {
            return Some(Search::Port(port));
        }
        Some(start_of_v4(typed).map_or_else(|| Search::Words(typed.to_owned()), Search::Range))
    }

    /// Appends the condition. Columns are `ip`, `port`, and `words`, which holds lower-case text.
    pub(crate) fn and(&self, sql: &mut Sql, words_column: Option<&str>) {
        match self {
            Search::Range(range) => {
                sql.push(" AND ip >= ").bind(range.first().value()).push(" AND ip <= ").bind(range.last().value());
            }
            Search::Door(ip, port) => {
                sql.push(" AND ip = ").bind(ip.value()).push(" AND port = ").bind(port.value());
            }
            Search::Port(port) if words_column.is_some() => {
                sql.push(" AND port = ").bind(port.value());
            }
            Search::Words(words) if words_column.is_some() => {
                sql.and_contains(words_column.unwrap_or_default(), words);
            }
            Search::Port(_) | Search::Words(_) => {
                sql.push(" AND 1 = 0");
            }
        }
    }
}

/// `10.0.` and `10.0` are the start of 10.0.0.0-10.0.255.255. A bare `10` is a port.
fn start_of_v4(typed: &str) -> Option<IpRange> {
    let octets: Vec<u8> = typed.trim_end_matches('.').split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    if octets.len() > 3 || !typed.contains('.') {
        return None;
    }
    let (mut first, mut last) = ([0; 4], [255; 4]);
    first[..octets.len()].copy_from_slice(&octets);
    last[..octets.len()].copy_from_slice(&octets);
    IpRange::new(Ipv4Addr::from(first).into(), Ipv4Addr::from(last).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_understood_as_people_mean_it() {
        let range = |s: &str| Some(Search::Range(s.parse().unwrap()));
        for (typed, understood) in [
            ("", None),
            ("  ", None),
            ("10.0.0.7", range("10.0.0.7")),
            ("10.0.0.0/24", range("10.0.0.0/24")),
            ("10.0.0.1-10.0.0.9", range("10.0.0.1-10.0.0.9")),
            ("10.0.", range("10.0.0.0/16")),
            ("10.0.3", range("10.0.3.0/24")),
            ("2001:db8::/64", range("2001:db8::/64")),
            ("6379", Some(Search::Port(6379))),
            (":6379", Some(Search::Port(6379))),
            ("10.0.0.7:6379", Some(Search::Door("10.0.0.7".parse().unwrap(), 6379))),
            ("10.0.0.7:6379/tcp", Some(Search::Door("10.0.0.7".parse().unwrap(), 6379))),
            ("[2001:db8::1]:22", Some(Search::Door("2001:db8::1".parse().unwrap(), 22))),
            ("MariaDB 10.11", Some(Search::Words("MariaDB 10.11".into()))),
            ("300.1", Some(Search::Words("300.1".into()))),
            ("70000", Some(Search::Words("70000".into()))),
        ] {
            assert_eq!(Search::parse(typed), understood, "{typed}");
        }
    }
}
