//! The cases: one world, one question, the scanners that can take part, and what portreeve has to reach there.
//!
//! A new case is one more entry of `all`. Judging is a function of the samples; running and printing are left to `mod` and
//! `report`.

use super::peers::{Ask, Contender, Rate, Tool};
use super::stats::{median, paired_ratio, spread};
use super::world::{Closed, Dice, HIGH_RISK, Host, Open, Path, Sink, World, network};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What is measured of a run, and so which columns its table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Frames per second.
    Speed,
    /// Time, and how true the open endpoints are.
    Sweep,
    /// How exactly so many probes per second are kept.
    Exact(u32),
    /// Time, and how many of the hosts are found.
    Alive,
    /// How soon the first frame comes and how much memory it takes; the run is ended by its limit.
    Start,
}

/// What portreeve has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// The median of the paired ratios of a value, ours to that of the named row, is at most this.
    RatioAtMost(&'static str, &'static str, f64),
    /// The same, at least.
    RatioAtLeast(&'static str, &'static str, f64),
    /// The median of a value is at most this.
    AtMost(&'static str, f64),
    /// Every run's value is at most this.
    AlwaysAtMost(&'static str, f64),
    /// Every run's value is at least this.
    AlwaysAtLeast(&'static str, f64),
    /// The median time is no longer than that of the fastest other row.
    Fastest,
    /// The lowest recall of any run is no lower than the median of any other row.
    RecallOfPeers,
}

pub struct Case {
    pub id: &'static str,
    pub title: &'static str,
    pub kind: Kind,
    pub world: fn() -> World,
    pub ask: Ask,
    /// Endpoints or addresses asked about.
    pub targets: u64,
    pub contenders: Vec<Contender>,
    pub goals: Vec<Goal>,
}

/// The numbers of one run, by name.
pub type Sample = BTreeMap<Cow<'static, str>, f64>;

/// The runs of one contender, one for each repetition; `None` where it was not run.
pub struct Row {
    pub name: String,
    pub tool: Tool,
    /// The command of the first run.
    pub command: String,
    pub samples: Vec<Option<Sample>>,
}

impl Row {
    pub fn of(&self, value: &str) -> Vec<Option<f64>> {
        self.samples.iter().map(|s| s.as_ref()?.get(value).copied()).collect()
    }

    pub fn present(&self, value: &str) -> Vec<f64> {
        self.of(value).into_iter().flatten().collect()
    }
}

/// Whether a goal is reached: what it asks, what was measured, and `None` where it cannot be judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub goal: String,
    pub measured: Option<f64>,
    pub met: Option<bool>,
}

/// Two values nearer than this are equal: 98 of 100 is two percent too few, and not more.
const GRAIN: f64 = 1e-9;

impl Goal {
    pub fn judge(&self, rows: &[Row]) -> Verdict {
        let Some(ours) = rows.iter().find(|r| r.tool == Tool::Portreeve) else {
            return Verdict { goal: self.words(), measured: None, met: None };
        };
        let others = || rows.iter().filter(|r| r.tool != Tool::Portreeve);
        let ratio = |value: &str, name: &str| {
            let theirs = others().find(|r| r.name == name)?;
            paired_ratio(&ours.of(value), &theirs.of(value))
        };
        let (measured, met) = match *self {
            Goal::RatioAtMost(value, name, bound) => with(ratio(value, name), |m| Some(m <= bound + GRAIN)),
            Goal::RatioAtLeast(value, name, bound) => with(ratio(value, name), |m| Some(m >= bound - GRAIN)),
            Goal::AtMost(value, bound) => with(median(&ours.present(value)), |m| Some(m <= bound + GRAIN)),
            Goal::AlwaysAtMost(value, bound) => with(spread(&ours.present(value)).map(|s| s.1), |m| Some(m <= bound + GRAIN)),
            Goal::AlwaysAtLeast(value, bound) => with(spread(&ours.present(value)).map(|s| s.0), |m| Some(m >= bound - GRAIN)),
            Goal::Fastest => {
                // a run that was cut counts with its limit, which is less than it would have taken
                let best = others().filter_map(|r| median(&r.present("wall_s"))).min_by(f64::total_cmp);
                with(median(&ours.present("wall_s")), |m| Some(m <= best?))
            }
            Goal::RecallOfPeers => {
                let best = others().filter_map(|r| median(&r.present("recall"))).max_by(f64::total_cmp);
                with(spread(&ours.present("recall")).map(|s| s.0), |m| Some(m >= best?))
            }
        };
        Verdict { goal: self.words(), measured, met }
    }

    fn words(&self) -> String {
        match *self {
            Goal::RatioAtMost(value, name, bound) => format!("{} at most {bound} of {name}'s", spoken(value)),
            Goal::RatioAtLeast(value, name, bound) => format!("{} at least {bound} of {name}'s", spoken(value)),
            Goal::AtMost(value, bound) => format!("{} at most {bound}", spoken(value)),
            Goal::AlwaysAtMost(value, bound) => format!("{} at most {bound} in every run", spoken(value)),
            Goal::AlwaysAtLeast(value, bound) => format!("{} at least {bound} in every run", spoken(value)),
            Goal::Fastest => "no slower than the fastest other".to_owned(),
            Goal::RecallOfPeers => "recall in every run no lower than any other's median".to_owned(),
        }
    }
}

fn with(measured: Option<f64>, met: impl Fn(f64) -> Option<bool>) -> (Option<f64>, Option<bool>) {
    (measured, measured.and_then(met))
}

/// What a value is called in tables.
pub fn spoken(value: &str) -> &str {
    match value {
        "wall_s" => "seconds",
        "frames_per_s" => "frames/s",
        "frames_per_cpu_s" => "frames per CPU second",
        "cpu_s_per_mframe" => "CPU s per million frames",
        "probes_per_target" => "probes per target",
        "frames" => "frames",
        "peak_mb" => "peak MB",
        "on_open_hosts" => "lines about the open host",
        "mean_percent" => "mean error %",
        "over_percent" => "worst second over %",
        "under_percent" => "worst second under %",
        "first_frame_s" => "seconds to the first frame",
        "others_cpu_s" => "CPU s of others",
        other => other,
    }
}

/// The first address of most worlds: 10.1.0.0.
const BASE: u32 = 0x0a01_0000;

fn list(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

fn sixteen() -> World {
    World::of(network(BASE, 65_536, 50, &HIGH_RISK, 16))
}

fn lossy(per_mille: u16) -> World {
    World { path: Path { loss_per_mille: per_mille, ..Path::default() }, ..sixteen() }
}

/// One host with twenty open ports.
fn one_host(closed: Closed) -> World {
    World::of(vec![Host::new(BASE + 7, closed, Dice(1).ports(20, u16::MAX))])
}

/// A /24 with two dozen hosts: eight refuse, fifteen drop, one is open on every port.
fn all_ports() -> World {
    let mut dice = Dice(24);
    let mut hosts: Vec<Host> = (0..23)
        .map(|i| {
            let count = 3 + dice.below(10) as usize;
            let closed = if i % 3 == 0 { Closed::Rst } else { Closed::Drop };
            Host::new(BASE + 3 + i * 11, closed, dice.ports(count, u16::MAX))
        })
        .collect();
    hosts.push(Host { open: Open::All, ..Host::new(BASE + 2, Closed::Rst, []) });
    World::of(hosts)
}

fn storm() -> World {
    let mut dice = Dice(12);
    World::of((0..12).map(|i| Host::new(BASE + 16 + i, Closed::Rst, dice.ports(10, u16::MAX))).collect())
}

/// Four hosts with sixty open ports each among the first ten thousand, which send at most fifty SYN-ACKs a second.
fn slow_syn_acks() -> World {
    let mut dice = Dice(4);
    let hosts = (0..4).map(|i| Host::new(BASE + 1 + i * 3, Closed::Rst, dice.ports(60, 10_000))).collect();
    World { path: Path { syn_ack_pps: Some(50), ..Path::default() }, ..World::of(hosts) }
}

fn policed() -> World {
    World { path: Path { police_pps: Some(20_000), ..Path::default() }, ..World::of(network(BASE, 4_096, 100, &HIGH_RISK, 20)) }
}

/// A rate given as a contender's name, its seconds of sending and its range of addresses.
fn exact(id: &'static str, title: &'static str, pps: u32, targets: u32) -> Case {
    let last = std::net::Ipv4Addr::from(0x0a40_0000 + targets - 1);
    Case {
        id,
        title,
        kind: Kind::Exact(pps),
        world: || World { sink: Sink::Counted, ..World::default() },
        ask: Ask::Ports { targets: format!("10.64.0.0-{last}"), ports: "80".into() },
        targets: u64::from(targets),
        contenders: vec![Contender::new(Tool::Portreeve, 40).at(Rate::Fixed(pps)).with(&["--retries", "0"])],
        goals: vec![Goal::AlwaysAtMost("over_percent", 2.0), Goal::AtMost("under_percent", 2.0)],
    }
}

/// nmap as its users run it, and with the rate that the others have; both bounded, because they may take minutes.
fn nmaps() -> [Contender; 2] {
    [
        Contender::new(Tool::Nmap, 20).named("nmap -T4"),
        Contender::new(Tool::Nmap, 20).named("nmap --min-rate 50000").with(&["--min-rate", "50000"]),
    ]
}

pub fn all() -> Vec<Case> {
    let ours = |limit_s| Contender::new(Tool::Portreeve, limit_s);
    let masscan = |limit_s| Contender::new(Tool::Masscan, limit_s);
    let zmap = |limit_s| Contender::new(Tool::Zmap, limit_s);
    let two = |c: Contender| Contender { threads: 2, ..c.named("zmap, two threads") };
    let on = |targets: &str, ports: String| Ask::Ports { targets: targets.into(), ports };
    let true_sweep = |more: &[Goal]| [&[Goal::AlwaysAtLeast("precision", 1.0), Goal::RecallOfPeers], more].concat();
    let with_nmap =
        |first: Vec<Contender>| first.into_iter().chain(nmaps()).chain([Contender::new(Tool::Rustscan, 60)]).collect();
    vec![
        Case {
            id: "speed",
            title: "SYN frames per second into a link that drops them",
            kind: Kind::Speed,
            world: World::default,
            ask: on("10.64.0.0/11", "80".into()),
            targets: 1 << 21,
            contenders: vec![ours(60).with(&["--retries", "0"]), masscan(60), zmap(60), two(zmap(60))],
            goals: vec![Goal::RatioAtLeast("frames_per_s", "zmap", 1.3)],
        },
        Case {
            id: "one-port",
            title: "/12 × one port, one address in two hundred alive",
            kind: Kind::Sweep,
            world: || World::of(network(0x0a10_0000, 1 << 20, 5, &[80, 81], 80)),
            ask: on("10.16.0.0/12", "80".into()),
            targets: 1 << 20,
            contenders: vec![ours(90), masscan(90), zmap(90), two(zmap(90))],
            goals: true_sweep(&[]),
        },
        Case {
            id: "net16",
            title: "/16 × 42 high-risk ports, no loss",
            kind: Kind::Sweep,
            world: sixteen,
            ask: on("10.1.0.0/16", list(&HIGH_RISK)),
            targets: 65_536 * 42,
            contenders: vec![ours(90), masscan(90)],
            goals: true_sweep(&[Goal::RatioAtMost("wall_s", "masscan", 0.45)]),
        },
        Case {
            id: "net24",
            title: "/24 × 65,535 ports, one host open on all",
            kind: Kind::Sweep,
            world: all_ports,
            ask: on("10.1.0.0/24", "1-65535".into()),
            targets: 256 * 65_535,
            contenders: vec![ours(180), masscan(180)],
            // nineteen are told before it is recognised, and the forty-two that are high risk
            goals: true_sweep(&[Goal::RatioAtMost("wall_s", "masscan", 0.55), Goal::AlwaysAtMost("on_open_hosts", 100.0)]),
        },
        Case {
            id: "host-rst",
            title: "one host × 65,535, closed ports answer RST",
            kind: Kind::Sweep,
            world: || one_host(Closed::Rst),
            ask: on("10.1.0.7", "1-65535".into()),
            targets: 65_535,
            contenders: with_nmap(vec![ours(60), masscan(60)]),
            goals: vec![Goal::AlwaysAtLeast("recall", 1.0), Goal::AlwaysAtLeast("precision", 1.0), Goal::Fastest],
        },
        Case {
            id: "host-drop",
            title: "one host × 65,535, closed ports dropped",
            kind: Kind::Sweep,
            world: || one_host(Closed::Drop),
            ask: on("10.1.0.7", "1-65535".into()),
            targets: 65_535,
            contenders: with_nmap(vec![ours(60), masscan(60)]),
            goals: vec![
                Goal::AlwaysAtLeast("recall", 1.0),
                Goal::AlwaysAtLeast("precision", 1.0),
                Goal::Fastest,
                Goal::AtMost("wall_s", 2.0),
            ],
        },
        Case {
            id: "host-slow-rst",
            title: "one host × 65,535, ten RSTs a second",
            kind: Kind::Sweep,
            world: || World { path: Path { rst_pps: Some(10), ..Path::default() }, ..one_host(Closed::Rst) },
            ask: on("10.1.0.7", "1-65535".into()),
            targets: 65_535,
            contenders: with_nmap(vec![ours(60), masscan(60)]),
            goals: vec![
                Goal::AlwaysAtLeast("recall", 1.0),
                Goal::AlwaysAtLeast("precision", 1.0),
                Goal::Fastest,
                Goal::AtMost("wall_s", 2.0),
            ],
        },
        Case {
            id: "storm",
            title: "12 hosts × 65,535, all answer RST, at full rate",
            kind: Kind::Sweep,
            world: storm,
            ask: on("10.1.0.16/29 10.1.0.24/30", "1-65535".into()),
            targets: 12 * 65_535,
            contenders: vec![ours(90), masscan(90), Contender::new(Tool::Nmap, 60).named("nmap -T4")],
            goals: vec![Goal::AlwaysAtLeast("recall", 1.0), Goal::AlwaysAtLeast("precision", 1.0), Goal::Fastest],
        },
        Case {
            id: "loss1",
            title: "/16 × 42 high-risk ports, 1 % lost each way",
            kind: Kind::Sweep,
            world: || lossy(10),
            ask: on("10.1.0.0/16", list(&HIGH_RISK)),
            targets: 65_536 * 42,
            contenders: vec![ours(90), masscan(90)],
            goals: true_sweep(&[Goal::AlwaysAtLeast("recall", 0.999), Goal::AlwaysAtMost("probes_per_target", 1.5)]),
        },
        Case {
            id: "loss3",
            title: "/16 × 42 high-risk ports, 3 % lost each way",
            kind: Kind::Sweep,
            world: || lossy(30),
            ask: on("10.1.0.0/16", list(&HIGH_RISK)),
            targets: 65_536 * 42,
            contenders: vec![ours(90), masscan(90)],
            goals: true_sweep(&[Goal::AlwaysAtLeast("recall", 0.998), Goal::AlwaysAtMost("probes_per_target", 1.5)]),
        },
        Case {
            id: "slow-syn-ack",
            title: "4 hosts × 10,000 ports, fifty SYN-ACKs a second from each",
            kind: Kind::Sweep,
            world: slow_syn_acks,
            ask: on("10.1.0.0/28", "1-10000".into()),
            targets: 16 * 10_000,
            contenders: vec![ours(90).at(Rate::Auto), masscan(90)],
            goals: true_sweep(&[Goal::AlwaysAtLeast("recall", 0.995)]),
        },
        Case {
            id: "policer",
            title: "/20 × 42 high-risk ports behind a policer of 20,000 packets a second",
            kind: Kind::Sweep,
            world: policed,
            ask: on("10.1.0.0/20", list(&HIGH_RISK)),
            targets: 4_096 * 42,
            contenders: vec![ours(90).at(Rate::Auto), masscan(90)],
            goals: true_sweep(&[Goal::AlwaysAtLeast("recall", 0.995)]),
        },
        exact("rate-1", "a rate of 1 probe a second", 1, 8),
        exact("rate-100", "a rate of 100 probes a second", 100, 600),
        exact("rate-10k", "a rate of 10,000 probes a second", 10_000, 50_000),
        exact("rate-200k", "a rate of 200,000 probes a second", 200_000, 1_000_000),
        Case {
            id: "alive16",
            title: "which of a /16 are up",
            kind: Kind::Alive,
            world: sixteen,
            ask: Ask::Alive { targets: "10.1.0.0/16".into() },
            targets: 65_536,
            contenders: vec![
                ours(120),
                Contender::new(Tool::Nmap, 60).named("nmap -T4"),
                Contender::new(Tool::Nmap, 60).named("nmap --min-rate 50000").with(&["--min-rate", "50000"]),
            ],
            goals: vec![
                Goal::RecallOfPeers,
                Goal::RatioAtMost("wall_s", "nmap -T4", 0.1),
                Goal::RatioAtMost("wall_s", "nmap --min-rate 50000", 0.1),
            ],
        },
        Case {
            id: "start8",
            title: "the first six seconds of a /8 × 42 high-risk ports",
            kind: Kind::Start,
            world: World::default,
            ask: on("10.0.0.0/8", list(&HIGH_RISK)),
            targets: 42 << 24,
            contenders: vec![ours(6), masscan(6)],
            goals: vec![Goal::AtMost("first_frame_s", 1.0), Goal::AtMost("peak_mb", 256.0)],
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn row(tool: Tool, name: &str, samples: &[&[(&'static str, f64)]]) -> Row {
        let samples =
            samples.iter().map(|s| (!s.is_empty()).then(|| s.iter().map(|(k, v)| (Cow::Borrowed(*k), *v)).collect())).collect();
        Row { name: name.into(), tool, command: String::new(), samples }
    }

    #[test]
    fn every_case_has_a_name_of_its_own_and_portreeve_takes_part() {
        let cases = all();
        let ids: BTreeSet<&str> = cases.iter().map(|c| c.id).collect();
        assert_eq!(ids.len(), cases.len());
        for case in &cases {
            assert!(case.contenders.iter().any(|c| c.tool == Tool::Portreeve), "{}", case.id);
            let names: BTreeSet<&str> = case.contenders.iter().map(|c| c.name.as_str()).collect();
            assert_eq!(names.len(), case.contenders.len(), "{}", case.id);
        }
    }

    #[test]
    fn goals_name_rows_that_are_there() {
        for case in all() {
            for goal in &case.goals {
                if let Goal::RatioAtMost(_, name, _) | Goal::RatioAtLeast(_, name, _) = goal {
                    assert!(case.contenders.iter().any(|c| c.name == *name), "{}: {name}", case.id);
                }
            }
        }
    }

    #[test]
    fn goals_are_judged_by_pairs_by_medians_and_by_the_worst_run() {
        let rows = [
            row(Tool::Portreeve, "portreeve", &[&[("wall_s", 2.0), ("recall", 1.0)], &[("wall_s", 8.0), ("recall", 0.99)]]),
            row(Tool::Masscan, "masscan", &[&[("wall_s", 4.0), ("recall", 0.98)], &[("wall_s", 16.0), ("recall", 0.98)]]),
            row(Tool::Nmap, "nmap -T4", &[&[("wall_s", 6.0)], &[]]),
        ];
        for (goal, measured, met) in [
            (Goal::RatioAtMost("wall_s", "masscan", 0.5), Some(0.5), Some(true)),
            (Goal::RatioAtMost("wall_s", "masscan", 0.4), Some(0.5), Some(false)),
            (Goal::RatioAtLeast("wall_s", "nmap -T4", 0.3), Some(2.0 / 6.0), Some(true)),
            (Goal::RatioAtMost("wall_s", "zmap", 0.5), None, None),
            (Goal::AtMost("wall_s", 5.0), Some(5.0), Some(true)),
            (Goal::AlwaysAtMost("wall_s", 5.0), Some(8.0), Some(false)),
            (Goal::AlwaysAtLeast("recall", 0.999), Some(0.99), Some(false)),
            (Goal::Fastest, Some(5.0), Some(true)),
            (Goal::RecallOfPeers, Some(0.99), Some(true)),
            (Goal::AtMost("no such value", 1.0), None, None),
        ] {
            let verdict = goal.judge(&rows);
            assert_eq!((verdict.measured, verdict.met), (measured, met), "{}", verdict.goal);
        }
        assert_eq!(Goal::Fastest.judge(&rows[1..]).met, None, "without portreeve nothing can be judged");
    }

    #[test]
    fn worlds_hold_what_their_cases_say() {
        assert_eq!(all_ports().open_everywhere().len(), 1);
        assert_eq!(all_ports().alive().len(), 24);
        assert_eq!(storm().open_endpoints().len(), 120);
        assert_eq!(slow_syn_acks().open_endpoints().len(), 240);
        assert_eq!(one_host(Closed::Drop).open_endpoints().len(), 20);
    }
}
