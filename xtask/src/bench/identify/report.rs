//! What came of a run, for people and for programs. Pure: what the numbers mean is explained in docs/benchmarks.md.

use super::phases::{Asked, FAST_LANE, Pairs, Pretended, Result, Scored};
use crate::bench::report::Facts;
use lab::recipe::judge::{Tally, share};
use serde_json::{Value, json};
use std::fmt::Write as _;

const TOOLS: [&str; 2] = ["portreeve", "nmap"];

/// What is to be reached: what, for portreeve; whether it is.
struct Goal {
    what: &'static str,
    to_reach: &'static str,
    values: [String; 2],
    met: Option<bool>,
}

fn tally(asked: &Asked, tool: &str) -> Tally {
    Tally::of(asked.ports.iter().filter_map(|p| p.scores.get(tool)).map(|s| &s.judgement))
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn goals(result: &Result) -> Vec<Goal> {
    let mut goals = Vec::new();
    let mut add = |what, to_reach, values: [Option<String>; 2], met| {
        let values = values.map(|v| v.unwrap_or_else(|| "–".to_owned()));
        goals.push(Goal { what, to_reach, values, met });
    };
    let of = |asked: &Asked, f: &dyn Fn(&Tally) -> String| {
        TOOLS.map(|tool| asked.seconds.contains_key(tool).then(|| f(&tally(asked, tool))))
    };
    if let Some(a) = &result.usual {
        let t = tally(a, "portreeve");
        add(
            "service and product right, usual ports",
            "≥ 95 %",
            of(a, &|t| share(t.right, t.ports)),
            Some(ratio(t.right, t.ports) >= 0.95),
        );
    }
    if let Some(a) = &result.odd {
        let t = tally(a, "portreeve");
        add("the same on odd ports", "≥ 90 %", of(a, &|t| share(t.right, t.ports)), Some(ratio(t.right, t.ports) >= 0.90));
        let quick = tally(a, FAST_LANE);
        add("of which in the fast lane", "–", [Some(share(quick.right, quick.ports)), None], None);
    }
    for (asked, what) in
        [(&result.usual, "wrong product claimed, usual ports"), (&result.odd, "wrong product claimed, odd ports")]
    {
        if let Some(a) = asked {
            let t = tally(a, "portreeve");
            add(what, "≤ 0.5 %", of(a, &|t| share(t.wrong_product, t.ports)), Some(ratio(t.wrong_product, t.ports) <= 0.005));
        }
    }
    for (asked, what) in
        [(&result.usual, "exact version where told, usual ports"), (&result.odd, "exact version where told, odd ports")]
    {
        if let Some(a) = asked {
            let t = tally(a, "portreeve");
            let values = of(a, &|t| format!("{}, {} false", share(t.version, t.disclosed), t.wrong_version));
            add(what, "≥ 98 %, none invented", values, Some(ratio(t.version, t.disclosed) >= 0.98 && t.wrong_version == 0));
        }
    }
    if let Some(p) = &result.lookalikes {
        let count = |tool| p.invented.get(tool).map(|i: &Vec<String>| format!("{} of {}", i.len(), p.listeners.len()));
        add(
            "claims beyond the bytes, lookalikes",
            "none",
            TOOLS.map(count),
            Some(p.invented.get("portreeve").is_some_and(Vec::is_empty)),
        );
    }
    if let Some(p) = &result.everywhere {
        let count = |tool| p.invented.get(tool).map(|i: &Vec<String>| i.len().to_string());
        add(
            "the same, hosts open on every port",
            "none",
            TOOLS.map(count),
            Some(p.invented.get("portreeve").is_some_and(Vec::is_empty)),
        );
    }
    for (asked, what) in [(&result.usual, "the usual ports at once"), (&result.odd, "the odd ports at once")] {
        if let Some(a) = asked {
            let seconds = |tool: &str| a.seconds.get(tool).map(|s| format!("{s:.1} s"));
            let quick = seconds(FAST_LANE).map_or(String::new(), |s| format!(", the fast lane {s}"));
            add(what, "–", [seconds("portreeve").map(|s| s + &quick), seconds("nmap")], None);
        }
    }
    if let Some(a) = &result.twenty {
        let seconds = |tool: &str| a.seconds.get(tool).copied();
        let values = TOOLS.map(|t| seconds(t).map(|s| format!("{s:.1} s{}", if a.cut.contains(&t) { " (cut)" } else { "" })));
        add("20 real servers at once", "≤ 3 s", values, seconds("portreeve").map(|s| s <= 3.0));
    }
    if let Some(s) = &result.silent {
        let line = |t: &str| {
            let cut = if s.cut.contains(&TOOLS[usize::from(t == "nmap")]) { " (cut)" } else { "" };
            Some(format!(
                "{:.1} s{cut}, at most {} connections each, {} named",
                s.seconds.get(t)?,
                s.most.get(t)?,
                s.named.get(t)?
            ))
        };
        let met = s.seconds.get("portreeve").zip(s.most.get("portreeve")).map(|(t, most)| *t <= 15.0 && *most <= 4);
        add("50 silent ports", "≤ 15 s, ≤ 4 connections each", TOOLS.map(line), met);
    }
    let asked: Vec<&Asked> = [&result.usual, &result.odd].into_iter().flatten().collect();
    if !asked.is_empty() {
        let line = |t: &str| {
            let changed: Vec<&str> = asked.iter().filter_map(|a| a.changed.get(t)).flatten().map(|c| c.0.as_str()).collect();
            let any = asked.iter().any(|a| a.changed.contains_key(t));
            let compared: usize = asked.iter().map(|a| a.states.len()).sum();
            any.then(|| {
                if changed.is_empty() {
                    format!("none of {compared}")
                } else {
                    format!("{}: {}", changed.len(), changed.join(", "))
                }
            })
        };
        let none = asked.iter().all(|a| a.changed.get("portreeve").is_some_and(Vec::is_empty));
        add("state changed on a target", "none", TOOLS.map(line), Some(none));
        if asked.iter().any(|a| a.changed.contains_key("checks")) {
            // A ZooKeeper session is a transaction, opened and closed: the one thing a check of class `session` leaves.
            let others = |a: &&&Asked| a.changed.get("checks").is_some_and(|c| c.iter().any(|c| !c.0.starts_with("zookeeper")));
            add(
                "state changed by the checks",
                "none but sessions",
                [line("checks"), None],
                Some(!asked.iter().any(|a| others(&a))),
            );
        }
    }
    if let Some(p) = result.usual.as_ref().and_then(|a| a.proofs.as_ref()) {
        let precision = share(p.right, p.right + p.wrong);
        let recall = share(p.right, p.right + p.missed);
        let met = p.wrong == 0 && ratio(p.right, p.right + p.missed) >= 0.97;
        let value = format!("precision {precision}, recall {recall}");
        add("access without credentials", "precision 100 %, recall ≥ 97 %", [Some(value), None], Some(met));
    }
    if let Some(p) = &result.credentials {
        let (of, met) = (&p.proofs, p.proofs.wrong == 0 && p.most <= 2);
        let value = format!(
            "precision {}, recall {}, at most {} attempts with an account",
            share(of.right, of.right + of.wrong),
            share(of.right, of.right + of.missed),
            p.most
        );
        add("default pairs", "precision 100 %, at most 2 attempts", [Some(value), None], Some(met));
    }
    goals
}

fn word(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "",
    }
}

/// For the terminal.
pub fn summary(result: &Result) -> String {
    let mut text = String::new();
    for g in goals(result) {
        let _ = writeln!(
            text,
            "{:<42} portreeve {:<46} nmap {:<40} {} ({})",
            g.what,
            g.values[0],
            g.values[1],
            word(g.met),
            g.to_reach
        );
    }
    text
}

fn wrong(port: &Scored, tool: &str) -> Option<String> {
    let score = port.scores.get(tool)?;
    let j = &score.judgement;
    let mut why = Vec::new();
    if j.wrong_product {
        why.push("wrong product");
    } else if j.wrong_service {
        why.push("wrong service");
    } else if !j.service {
        why.push("not identified");
    } else if !j.right {
        why.push("product missing");
    }
    if j.wrong_version {
        why.push(if j.disclosed { "wrong version" } else { "invented version" });
    } else if j.disclosed && !j.version {
        why.push("version missing");
    }
    (!why.is_empty()).then(|| why.join(", "))
}

fn worlds(result: &Result) -> Vec<(&'static str, &Asked)> {
    let all = [("usual ports", &result.usual), ("odd ports", &result.odd), ("twenty at once", &result.twenty)];
    all.into_iter().filter_map(|(name, asked)| Some((name, asked.as_ref()?))).collect()
}

/// Every failure of portreeve, a line each.
pub fn failures(result: &Result) -> String {
    let mut text = String::new();
    for (name, asked) in worlds(result) {
        for port in &asked.ports {
            if let Some(why) = wrong(port, "portreeve") {
                let version = port.version.as_deref().unwrap_or("not told");
                let _ = writeln!(
                    text,
                    "- {name}: `{}` on {}{}: {why}; said `{}`, is `{}` {version}",
                    port.server,
                    port.port,
                    if port.udp { "/udp" } else { "" },
                    port.scores["portreeve"].claim.line(),
                    port.truth
                );
            }
        }
        for (server, before, after) in asked.changed.get("portreeve").into_iter().flatten() {
            let _ = writeln!(text, "- {name}: `{server}` changed from `{before}` to `{after}`");
        }
        for (server, failure) in asked.proofs.iter().flat_map(|p| &p.failures) {
            let _ = writeln!(text, "- {name}: access to `{server}`: {failure}");
        }
    }
    for (server, failure) in result.credentials.iter().flat_map(|p| &p.proofs.failures) {
        let _ = writeln!(text, "- default pair of `{server}`: {failure}");
    }
    for (name, pretended) in [("lookalike", &result.lookalikes), ("host open everywhere", &result.everywhere)] {
        for line in pretended.iter().filter_map(|p| p.invented.get("portreeve")).flatten() {
            let _ = writeln!(text, "- {name}: {line}");
        }
    }
    text
}

/// The same with what the ports answered, for whoever mends it.
pub fn failures_with_bytes(result: &Result) -> String {
    let mut text = failures(result);
    for (name, asked) in worlds(result) {
        for port in &asked.ports {
            if let (Some(why), Some((banner, http))) = (wrong(port, "portreeve"), &port.bytes) {
                let _ = writeln!(
                    text,
                    "\n## {} ({name}, {}): {why}\nis: {} {}\nsaid: {}\nunasked:  {banner}\nto GET /: {http}",
                    port.server,
                    port.port,
                    port.truth,
                    port.version.as_deref().unwrap_or("(version not told)"),
                    port.scores["portreeve"].claim.line()
                );
            }
        }
    }
    text
}

pub fn markdown(date: &str, facts: &Facts, result: &Result) -> String {
    let mut text = format!("# Identification benchmark, {date}\n\n");
    let _ = writeln!(
        text,
        "Made by `cargo xtask bench identify`; how to repeat and how to read it: [benchmarks](../benchmarks.md). Both scanners asked the \
         same ports of the same servers in the same run; what is true comes from the packages.\n"
    );
    text.push_str("| machine | |\n|---|---|\n");
    for (key, value) in facts {
        let _ = writeln!(text, "| {key} | {value} |");
    }
    text.push_str("\n## Result\n\n| | portreeve | nmap -sV | to reach | |\n|---|---|---|---|---|\n");
    for g in goals(result) {
        let _ = writeln!(text, "| {} | {} | {} | {} | {} |", g.what, g.values[0], g.values[1], g.to_reach, word(g.met));
    }
    text.push_str("\n## Every failure of portreeve\n\n");
    let failures = failures(result);
    text.push_str(if failures.is_empty() { "None.\n" } else { &failures });
    for (name, asked) in worlds(result) {
        servers(&mut text, name, asked);
    }
    pretended(&mut text, "Listeners that pretend", result.lookalikes.as_ref());
    pretended(&mut text, "Hosts open on every port", result.everywhere.as_ref());
    if let Some(asked) = &result.usual {
        checks(&mut text, "Checks, usual ports", &asked.checks);
    }
    if let Some(p) = &result.credentials {
        pairs(&mut text, p);
    }
    text
}

fn checks(text: &mut String, title: &str, all: &[(String, Vec<super::tools::Checked>)]) {
    if all.iter().all(|(_, runs)| runs.is_empty()) {
        return;
    }
    let _ = writeln!(text, "\n## {title}\n\n| server | check | verdict | |\n|---|---|---|---|");
    for (server, run) in all.iter().flat_map(|(server, runs)| runs.iter().map(move |r| (server, r))) {
        let attempts: Vec<String> = run.attempts.iter().map(|(account, how)| format!("{account}: {how}")).collect();
        let more = [run.reason.clone(), attempts.join(", ")].into_iter().filter(|w| !w.is_empty()).collect::<Vec<_>>().join("; ");
        let _ = writeln!(text, "| {server} | {} | {} | {} |", run.check, run.verdict, more.replace('|', "\\|"));
    }
}

fn pairs(text: &mut String, p: &Pairs) {
    checks(text, "Checks with default pairs allowed, two attempts for each account", &p.checks);
    let logged: Vec<String> = p.logged.iter().map(|(server, n)| format!("{server} {n}")).collect();
    let _ = writeln!(
        text,
        "\nProved rightly {}, wrongly {}, missed {}, rightly not proved {}. Failures that the servers logged for the account of the pair: {}.",
        p.proofs.right,
        p.proofs.wrong,
        p.proofs.missed,
        p.proofs.rightly_not,
        if logged.is_empty() { "not asked".to_owned() } else { logged.join(", ") }
    );
    for (server, why) in &p.absent {
        let _ =
            writeln!(text, "\nNot scored, because it could not be started: {server}: {}", why.lines().next().unwrap_or_default());
    }
}

fn servers(text: &mut String, name: &str, asked: &Asked) {
    let _ = writeln!(
        text,
        "\n## Servers, {name}\n\n| server | port | is | portreeve | | nmap -sV | |\n|---|---|---|---|---|---|---|"
    );
    for port in &asked.ports {
        let cells = TOOLS.map(|tool| match port.scores.get(tool) {
            None => ("–".to_owned(), String::new()),
            Some(score) => (score.claim.line().replace('|', "\\|"), wrong(port, tool).unwrap_or_else(|| "right".into())),
        });
        let _ = writeln!(
            text,
            "| {} | {}{} | {} {} | {} | {} | {} | {} |",
            port.server,
            port.port,
            if port.udp { "/udp" } else { "" },
            port.truth,
            port.version.as_deref().unwrap_or(""),
            cells[0].0,
            cells[0].1,
            cells[1].0,
            cells[1].1
        );
    }
    for (tool, seconds) in &asked.seconds {
        let _ = writeln!(text, "\n{tool}: {seconds:.1} s{}", if asked.cut.contains(tool) { ", ended by its limit" } else { "" });
    }
    if !asked.states.is_empty() {
        let _ = writeln!(text, "\nState compared before and after: {}.", asked.states.join(", "));
    }
    for (tool, changes) in &asked.changed {
        for (server, before, after) in changes {
            let _ = writeln!(
                text,
                "\n{tool} changed {server}: `{}` became `{}`.",
                before.replace('\n', " "),
                after.replace('\n', " ")
            );
        }
    }
    if let Some(p) = &asked.proofs {
        let _ = writeln!(
            text,
            "\nAccess without credentials: {} proved rightly, {} wrongly, {} missed, {} rightly not proved.",
            p.right, p.wrong, p.missed, p.rightly_not
        );
    }
    for (server, why) in &asked.absent {
        let _ =
            writeln!(text, "\nNot scored, because it could not be started: {server}: {}", why.lines().next().unwrap_or_default());
    }
    text.push_str("\n```sh\n");
    for command in asked.commands.values() {
        let _ = writeln!(text, "{command}");
    }
    text.push_str("```\n");
}

fn pretended(text: &mut String, title: &str, pretended: Option<&Pretended>) {
    let Some(p) = pretended else { return };
    let _ = writeln!(text, "\n## {title}\n\n| listener | port | portreeve | nmap -sV |\n|---|---|---|---|");
    for (name, port, claims) in &p.listeners {
        let cell = |tool| claims.get(tool).map_or_else(|| "–".to_owned(), |c| c.line().replace('|', "\\|"));
        let port = if *port == 0 { String::new() } else { port.to_string() };
        let _ = writeln!(text, "| {name} | {port} | {} | {} |", cell("portreeve"), cell("nmap"));
    }
    for (tool, invented) in &p.invented {
        let _ = writeln!(
            text,
            "\n{tool}: {} claims that the bytes do not prove, {:.1} s",
            invented.len(),
            p.seconds.get(tool).unwrap_or(&0.0)
        );
        for line in invented {
            let _ = writeln!(text, "- {line}");
        }
    }
}

pub fn json(date: &str, facts: &Facts, result: &Result) -> Value {
    let facts: serde_json::Map<String, Value> = facts.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
    let goals: Vec<Value> = goals(result)
        .into_iter()
        .map(|g| json!({ "what": g.what, "to_reach": g.to_reach, "portreeve": g.values[0], "nmap": g.values[1], "met": g.met }))
        .collect();
    json!({ "date": date, "machine": facts, "goals": goals, "result": result })
}
