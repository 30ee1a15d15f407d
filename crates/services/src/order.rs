//! What to try next on an endpoint: the port number as a prior, the answers so far as evidence. Pure.
//!
//! A port number never rules a service out (R4); it only decides what is tried while the budget lasts. Trying it is left
//! to `identify`.

use crate::catalog::Rules;
use std::collections::VecDeque;

/// One thing to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// GET /.
    Http,
    /// A TLS handshake, and then the rest inside.
    Tls,
    /// The probe of that index.
    Ask(usize),
}

/// How much a port number promises a service with these canonical ports: 3 it is one of them, 2 it is one of them with a
/// digit more (16379, 33890), 1 it is one of them with two digits more (28389) or within ten of one (3307), 0 nothing.
pub(crate) fn affinity(port: u16, canonical: &[u16]) -> u8 {
    let digits = port.to_string();
    let one = |&known: &u16| {
        let known_digits = known.to_string();
        let within = known_digits.len() >= 3 && (digits.starts_with(&known_digits) || digits.ends_with(&known_digits));
        match () {
            () if port == known => 3,
            () if within && digits.len() == known_digits.len() + 1 => 2,
            () if within => 1,
            () if port.abs_diff(known) <= 10 && known >= 1000 => 1,
            () => 0,
        }
    };
    canonical.iter().map(one).max().unwrap_or(0)
}

fn line_probe(rules: &Rules) -> Option<Step> {
    rules.probes.iter().position(|p| p.name == "redis-info").map(Step::Ask)
}

fn named(rules: &Rules, name: &str) -> Option<Step> {
    rules.probes.iter().position(|p| p.name == name).map(Step::Ask)
}

/// Probes by affinity, best first; those of one affinity in catalogue order.
fn by_affinity(rules: &Rules, port: u16) -> Vec<(u8, Step)> {
    let mut list: Vec<(u8, Step)> =
        rules.probes.iter().enumerate().map(|(i, p)| (affinity(port, &p.ports), Step::Ask(i))).collect();
    list.sort_by_key(|(affinity, _)| std::cmp::Reverse(*affinity));
    list
}

fn distinct(steps: impl IntoIterator<Item = Step>) -> VecDeque<Step> {
    let mut plan = VecDeque::new();
    for step in steps {
        if !plan.contains(&step) {
            plan.push_back(step);
        }
    }
    plan
}

/// The plan for a port that has accepted and said nothing.
///
/// What the number promises comes first. Then one line of text that Redis answers, every text protocol survives and HTTP
/// and TLS betray themselves by: so a Redis on an odd port is never sent HTTP (R13). Then HTTP, TLS, and the rest.
pub(crate) fn silent(rules: &Rules, port: u16) -> VecDeque<Step> {
    let asks = by_affinity(rules, port);
    let mut steps = Vec::new();
    for (step, ports) in [(Step::Tls, &rules.tls_ports), (Step::Http, &rules.http_ports)] {
        if affinity(port, ports) == 3 {
            steps.push(step);
        }
    }
    steps.extend(asks.iter().filter(|(a, _)| *a == 3).map(|(_, s)| *s));
    // Without a promise, a resemblance is worth one try, not several: the budget has four connections.
    if steps.is_empty() {
        steps.extend(asks.iter().filter(|(a, _)| matches!(a, 1 | 2)).map(|(_, s)| *s).take(1));
    }
    steps.extend(line_probe(rules));
    steps.extend([Step::Http, Step::Tls]);
    steps.extend(asks.iter().map(|(_, s)| *s));
    distinct(steps)
}

/// The plan once TLS stands: what the number promises, then HTTP, then the rest.
pub(crate) fn inside_tls(rules: &Rules, port: u16) -> VecDeque<Step> {
    let asks = by_affinity(rules, port);
    let mut steps: Vec<Step> = asks.iter().filter(|(a, _)| *a == 3).map(|(_, s)| *s).collect();
    steps.push(Step::Http);
    steps.extend(line_probe(rules));
    steps.extend(asks.iter().map(|(_, s)| *s));
    distinct(steps)
}

/// The plan once TLS stands and the server has chosen HTTP/2: its preface.
pub(crate) fn inside_http2(rules: &Rules, port: u16) -> VecDeque<Step> {
    distinct(named(rules, "http2-preface").into_iter().chain(inside_tls(rules, port)))
}

/// The rest of the plan after a connection was closed on our text without an answer. HTTP servers answer nonsense with an
/// error; what hangs up wants a binary protocol: TLS, and then HTTP (a MongoDB says so to a GET; a CUPS hangs up on nonsense too,
/// and after half of PostgreSQL's question it would hear nobody else for five seconds), and PostgreSQL.
pub(crate) fn closed_on_text(rules: &Rules, rest: &VecDeque<Step>) -> VecDeque<Step> {
    let first = [Some(Step::Tls), Some(Step::Http), named(rules, "postgresql-startup"), named(rules, "rdp-x224")];
    let first = first.into_iter().flatten().filter(|s| rest.contains(s));
    distinct(first.chain(rest.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(plan: &VecDeque<Step>) -> Vec<String> {
        let rules = Rules::builtin();
        let name = |s: &Step| match s {
            Step::Http => "http".to_owned(),
            Step::Tls => "tls".to_owned(),
            Step::Ask(i) => rules.probes[*i].name.clone(),
        };
        plan.iter().map(name).collect()
    }

    #[test]
    fn a_port_number_resembles_its_service() {
        for (port, canonical, expected) in [
            (6379, 6379, 3),
            (16379, 6379, 2),
            (63790, 6379, 2),
            (6380, 6379, 1),
            (33890, 3389, 2),
            (3307, 3306, 1),
            (8080, 80, 0),
            (90, 80, 0),
            (22, 23, 0),
            (28389, 389, 1),
            (5000, 6379, 0),
        ] {
            assert_eq!(affinity(port, &[canonical]), expected, "{port} and {canonical}");
        }
    }

    #[test]
    fn the_port_number_decides_what_is_tried_first_and_rules_nothing_out() {
        for (port, first) in [
            (80, &["http", "redis-info", "tls"][..]),
            (443, &["tls", "redis-info", "http"]),
            (6379, &["redis-info", "http", "tls"]),
            (16379, &["redis-info", "http", "tls"]),
            (5432, &["postgresql-startup", "redis-info", "http", "tls"]),
            (25432, &["postgresql-startup", "redis-info", "http", "tls"]),
            (3389, &["rdp-x224", "redis-info", "http", "tls"]),
            (49123, &["redis-info", "http", "tls"]),
        ] {
            let plan = silent(Rules::builtin(), port);
            assert_eq!(names(&plan)[..first.len()], *first, "{port}");
            assert_eq!(plan.len(), Rules::builtin().probes.len() + 2, "{port}: everything is in the plan, once");
        }
    }

    #[test]
    fn http_is_never_the_first_thing_a_redis_hears() {
        let rules = Rules::builtin();
        for port in 1..=u16::MAX {
            // On ports promised to the web a Redis would have to be sought, and that is what they are for.
            if affinity(port, &rules.http_ports) == 3 || affinity(port, &rules.tls_ports) == 3 {
                continue;
            }
            let plan = names(&silent(rules, port));
            let at = |name: &str| plan.iter().position(|n| n == name);
            assert!(at("redis-info") < at("http"), "{port}: {plan:?}");
        }
    }

    #[test]
    fn the_thorough_budget_has_a_connection_for_every_question() {
        let steps = silent(Rules::builtin(), 49123).len();
        assert!(usize::from(crate::Budget::thorough().max_unanswered) >= steps, "{steps} steps");
    }

    #[test]
    fn what_hangs_up_on_text_is_offered_binary_protocols() {
        let rules = Rules::builtin();
        let mut plan = silent(rules, 49123);
        plan.pop_front();
        assert_eq!(names(&closed_on_text(rules, &plan))[..4], ["tls", "http", "postgresql-startup", "rdp-x224"]);
    }
}
