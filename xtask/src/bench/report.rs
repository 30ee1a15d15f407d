//! What was measured, for people and for programs: a table for each case on the terminal and in markdown, and the same with
//! every single value as JSON.
//!
//! Pure but for `machine`, which asks the machine what it is. What the values mean is explained in docs/benchmarks.md.

use super::cases::{Case, Kind, Row, Verdict, spoken};
use super::peers::Tool;
use super::stats::{median, paired_ratio, spread};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;

/// The machine and the versions, each with its value.
pub type Facts = Vec<(String, String)>;

/// What the kernel says of the machine.
pub fn machine() -> Facts {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = after(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".into());
    let memory = after(&read("/proc/meminfo"), "MemTotal").unwrap_or_else(|| "unknown".into());
    let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
    let system = read("/etc/os-release");
    let system = system.lines().find_map(|l| l.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown").trim_matches('"').to_owned();
    let facts = [("cores", cores.to_string()), ("cpu", cpu), ("memory", memory), ("kernel", kernel), ("system", system)];
    facts.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

/// A case with its rows and what came of its goals.
pub struct Measured<'a> {
    pub case: &'a Case,
    pub rows: &'a [Row],
}

impl Measured<'_> {
    fn verdicts(&self) -> Vec<Verdict> {
        self.case.goals.iter().map(|g| g.judge(self.rows)).collect()
    }

    /// How many paired runs were made.
    fn runs(&self) -> usize {
        self.rows.iter().map(|r| r.samples.len()).max().unwrap_or(0)
    }

    /// Whether any run was made.
    fn is_there(&self) -> bool {
        self.rows.iter().any(|r| r.samples.iter().any(Option::is_some))
    }
}

/// The columns of a kind of case.
fn columns(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Speed => &["frames_per_s", "frames_per_cpu_s", "wall_s", "cpu_s_per_mframe", "peak_mb"],
        Kind::Sweep => {
            &["wall_s", "recall", "precision", "probes_per_target", "frames", "cpu_s_per_mframe", "peak_mb", "on_open_hosts"]
        }
        Kind::Exact(_) => &["mean_percent", "over_percent", "under_percent", "cpu_s_per_mframe"],
        Kind::Alive => &["wall_s", "recall", "precision", "frames", "peak_mb"],
        Kind::Start => &["first_frame_s", "frames", "peak_mb"],
    }
}

/// The value whose ratio to the peers stands in the last columns.
fn compared(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Speed => Some("frames_per_s"),
        Kind::Sweep | Kind::Alive => Some("wall_s"),
        Kind::Exact(_) | Kind::Start => None,
    }
}

/// A number with as many digits as mean something.
fn number(value: f64, name: &str) -> String {
    match name {
        "recall" | "precision" => format!("{value:.4}"),
        "frames" | "on_open_hosts" => grouped(value),
        "frames_per_s" | "frames_per_cpu_s" => format!("{:.3} M", value / 1e6),
        "mean_percent" | "over_percent" | "under_percent" => format!("{value:.2}"),
        "peak_mb" => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

/// Thousands apart.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(c);
    }
    text
}

/// Median and spread of a column; a run ended by its limit makes a time a lower bound.
fn cell(row: &Row, name: &str) -> String {
    let values = row.present(name);
    let (Some(middle), Some((low, high))) = (median(&values), spread(&values)) else { return "–".into() };
    let cut = name == "wall_s" && row.present("cut").iter().any(|c| *c > 0.0);
    let middle = if cut { format!(">{middle:.0}") } else { number(middle, name) };
    if values.len() == 1 || low == high { middle } else { format!("{middle} ({}–{})", number(low, name), number(high, name)) }
}

/// The cells of a case: a head and its rows.
fn cells(measured: &Measured) -> (Vec<String>, Vec<Vec<String>>) {
    let columns = columns(measured.case.kind);
    // only a case with a host that is open everywhere has lines about it
    let shown: Vec<&str> = columns
        .iter()
        .copied()
        .filter(|c| *c != "on_open_hosts" || measured.rows.iter().any(|r| r.present(c).iter().any(|v| *v > 0.0)))
        .collect();
    let ours = measured.rows.iter().find(|r| r.tool == Tool::Portreeve);
    let compared = compared(measured.case.kind);
    let mut head = vec![String::new()];
    head.extend(shown.iter().map(|c| spoken(c).to_owned()));
    if compared.is_some() {
        head.push("portreeve's ratio to it".into());
    }
    let mut lines = Vec::new();
    for row in measured.rows.iter().filter(|r| r.samples.iter().any(Option::is_some)) {
        let mut line = vec![row.name.clone()];
        line.extend(shown.iter().map(|c| cell(row, c)));
        if let Some(value) = compared {
            let ratio = ours.filter(|o| o.name != row.name).and_then(|o| paired_ratio(&o.of(value), &row.of(value)));
            line.push(ratio.map_or(String::new(), |r| format!("{r:.2}")));
        }
        lines.push(line);
    }
    (head, lines)
}

fn verdict_line(verdict: &Verdict) -> String {
    let measured = verdict
        .measured
        .map_or("not measured".to_owned(), |m| format!("{m:.4}").trim_end_matches('0').trim_end_matches('.').to_owned());
    let word = match verdict.met {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "open",
    };
    format!("{word}: {} ({measured})", verdict.goal)
}

/// One case for the terminal.
pub fn terminal(measured: &Measured) -> String {
    let (head, lines) = cells(measured);
    let width = |i: usize| lines.iter().chain([&head]).filter_map(|l| Some(l.get(i)?.chars().count())).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = format!("{}: {}\n", measured.case.id, measured.case.title);
    for line in std::iter::once(&head).chain(&lines) {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "  {cell:<width$}");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    for verdict in measured.verdicts() {
        let _ = writeln!(text, "  {}", verdict_line(&verdict));
    }
    text
}

/// The head of a result and everything measured.
pub struct Report<'a> {
    pub date: String,
    pub facts: Facts,
    pub cases: Vec<Measured<'a>>,
}

/// What zmap 4's development version reached beside the same masscan on a machine of this size, from the requirements. Debian's zmap
/// asks one port in a run and cannot take part there.
const ZMAP4: &[(&str, f64)] = &[("net16", 0.65), ("net24", 0.73)];

impl Report<'_> {
    fn measured(&self) -> impl Iterator<Item = &Measured<'_>> {
        self.cases.iter().filter(|c| c.is_there())
    }

    pub fn markdown(&self) -> String {
        let mut text = format!("# Scan benchmark, {}\n\n", self.date);
        let _ = writeln!(
            text,
            "Made by `cargo xtask bench scan`; how to repeat and how to read it: [benchmarks](../benchmarks.md). Medians of paired \
             runs, in parentheses the smallest and the largest value. Only ratios within one run compare: the machine is small and \
             shared, and both ends of the link share its processors.\n"
        );
        text.push_str("| machine | |\n|---|---|\n");
        for (key, value) in &self.facts {
            let _ = writeln!(text, "| {key} | {value} |");
        }
        for measured in self.measured() {
            let (head, lines) = cells(measured);
            let _ = writeln!(
                text,
                "\n## {}\n\n`{}`, {} targets, {} runs\n",
                measured.case.title,
                measured.case.id,
                grouped(measured.case.targets as f64),
                measured.runs()
            );
            let _ = writeln!(text, "| {} |", head.join(" | "));
            let _ = writeln!(text, "|{}", "---|".repeat(head.len()));
            for line in lines {
                let _ = writeln!(text, "| {} |", line.join(" | "));
            }
            if let Some((_, ratio)) = ZMAP4.iter().find(|(id, _)| *id == measured.case.id) {
                let _ = writeln!(
                    text,
                    "\nFor reference, not measured here: zmap 4's development version took {ratio} of masscan's time on such a case."
                );
            }
            text.push('\n');
            for verdict in measured.verdicts() {
                let _ = writeln!(text, "- {}", verdict_line(&verdict));
            }
            text.push_str("\n```sh\n");
            for row in measured.rows.iter().filter(|r| !r.command.is_empty()) {
                let _ = writeln!(text, "{}", row.command);
            }
            text.push_str("```\n");
        }
        text
    }

    pub fn json(&self) -> Value {
        let case = |m: &Measured| {
            let rows: Vec<Value> = m
                .rows
                .iter()
                .map(|r| json!({ "name": r.name, "tool": r.tool.name(), "command": r.command, "runs": r.samples }))
                .collect();
            let goals: Vec<Value> =
                m.verdicts().into_iter().map(|v| json!({ "goal": v.goal, "measured": v.measured, "met": v.met })).collect();
            json!({ "id": m.case.id, "title": m.case.title, "targets": m.case.targets, "rows": rows, "goals": goals })
        };
        let facts: serde_json::Map<String, Value> = self.facts.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        json!({ "date": self.date, "machine": facts, "cases": self.measured().map(case).collect::<Vec<_>>() })
    }
}

/// Puts the runs of an earlier result into the rows of the same names. Refused unless machine and builds are the same: runs of
/// two builds have no common median.
pub fn read_back(earlier: &Value, facts: &Facts, cases: &[Case], rows: &mut [Vec<Row>]) -> anyhow::Result<()> {
    for (key, value) in facts {
        if earlier["machine"][key] != json!(value) {
            anyhow::bail!("the earlier result has {} for {key}, and this is {value}", earlier["machine"][key]);
        }
    }
    let named = |list: &Value, key: &str, name: &str| -> Option<Value> {
        list.as_array()?.iter().find(|entry| entry[key] == name).cloned()
    };
    for (case, rows) in cases.iter().zip(rows) {
        let Some(found) = named(&earlier["cases"], "id", case.id) else { continue };
        for row in rows {
            let Some(found) = named(&found["rows"], "name", &row.name) else { continue };
            row.command = found["command"].as_str().unwrap_or_default().to_owned();
            row.samples = serde_json::from_value(found["runs"].clone())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::cases::{Sample, all};
    use super::*;

    fn rows() -> Vec<Row> {
        let sample = |wall: f64, cut: f64| -> Option<Sample> {
            let values = [("wall_s", wall), ("recall", 1.0), ("precision", 1.0), ("cut", cut), ("frames", 65_535.0)];
            Some(values.map(|(name, value)| (name.into(), value)).into())
        };
        vec![
            Row {
                name: "portreeve".into(),
                tool: Tool::Portreeve,
                command: "portreeve scan".into(),
                samples: vec![sample(1.0, 0.0), sample(2.0, 0.0)],
            },
            Row {
                name: "masscan".into(),
                tool: Tool::Masscan,
                command: "masscan".into(),
                samples: vec![sample(4.0, 0.0), sample(4.0, 0.0)],
            },
            Row { name: "nmap -T4".into(), tool: Tool::Nmap, command: String::new(), samples: vec![sample(60.0, 1.0), None] },
        ]
    }

    #[test]
    fn a_table_holds_median_spread_ratio_and_bounds() {
        let cases = all();
        let case = cases.iter().find(|c| c.id == "host-rst").unwrap();
        let rows = rows();
        let text = terminal(&Measured { case, rows: &rows });
        for word in ["1.50 (1.00–2.00)", "4.00", "0.38", ">60", "65,535", "met: recall at least 1 in every run (1)"] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }

    #[test]
    fn the_files_hold_every_case_that_was_run_and_no_other() {
        let cases = all();
        let rows = rows();
        let none: Vec<Row> = Vec::new();
        let measured = cases.iter().map(|case| Measured { case, rows: if case.id == "net16" { &rows } else { &none } }).collect();
        let report = Report { date: "2026-01-02".into(), facts: vec![("cores".into(), "2".into())], cases: measured };
        let markdown = report.markdown();
        assert!(markdown.contains("took 0.65 of masscan's time") && !markdown.contains("65,535 ports"), "{markdown}");
        let json = report.json();
        assert_eq!(json["cases"].as_array().unwrap().len(), 1);
        assert_eq!(json["cases"][0]["rows"][0]["runs"][1]["wall_s"], 2.0);
        assert_eq!(json["machine"]["cores"], "2");
    }

    #[test]
    fn runs_are_added_to_an_earlier_result_of_the_same_build_only() {
        let cases = all();
        let at = cases.iter().position(|c| c.id == "net16").unwrap();
        let rows = rows();
        let facts: Facts = vec![("commit".into(), "a".into())];
        let measured = vec![Measured { case: &cases[at], rows: &rows }];
        let earlier = Report { date: "2026-01-02".into(), facts: facts.clone(), cases: measured }.json();
        let empty = |name: &str| Row { name: name.into(), tool: Tool::Masscan, command: String::new(), samples: Vec::new() };
        let mut now: Vec<Vec<Row>> = cases.iter().map(|_| vec![empty("masscan"), empty("new")]).collect();
        read_back(&earlier, &facts, &cases, &mut now).unwrap();
        assert_eq!((now[at][0].of("wall_s"), now[at][1].samples.len()), (vec![Some(4.0), Some(4.0)], 0));
        let other = vec![("commit".to_owned(), "b".to_owned())];
        assert!(read_back(&earlier, &other, &cases, &mut now).unwrap_err().to_string().contains("commit"));
    }

    #[test]
    fn thousands_stand_apart() {
        for (value, text) in [(0.0, "0"), (999.0, "999"), (1000.0, "1,000"), (2_752_512.0, "2,752,512")] {
            assert_eq!(grouped(value), text);
        }
    }
}
