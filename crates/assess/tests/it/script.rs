//! Runs scripts against the judgement: a small world of doors that open, refuse and fall silent, a sweep that goes round,
//! and the follow-ups that the judgement asks for. No network, no clock: time is a number.
//!
//! ```text
//! asset  10.0.0.0/24 owner=payments weight=8 observe=1h
//! sweep  10m
//! at 0m  open 10.0.0.7:6379/tcp redis Redis 7.0.15
//! run    5m
//! expect exposure 10.0.0.7:6379/tcp open critical kind=high-risk-port owner=payments
//! ```

use assess::ports::FollowUp;
use assess::{Dossier, Judge};
use model::alert::{Alert, AlertKind, AlertPolicy, AlertState};
use model::asset::{Asset, Zone};
use model::catalog::Catalog;
use model::event::Event;
use model::exposure::{Disposition, DispositionKind};
use model::observation::{Observation, Reason, State};
use model::port_state::Phase;
use model::service::{Identification, Identity};
use model::settings::Hysteresis;
use model::{AssetId, Duration, Endpoint, Proto, Service, Ts, Vantage};
use std::collections::BTreeMap;
use uuid::Uuid;

const START: Ts = Ts(1_700_000_000_000);

/// A catalogue small enough to have in mind.
pub fn catalog() -> Catalog {
    let entry = |id: &str, ports: &str, category: &str, services: &str| {
        format!(
            "[[service]]\nid = \"{id}\"\nname = \"{id}\"\nports = [{ports}]\ncategories = [\"{category}\"]\nservices = [{services}]\n\
             source = \"test\"\nadvice = {{ en = \"close it\", zh = \"关闭\" }}\ncases = []\n"
        )
    };
    let text = [
        entry("redis", "6379", "should-not-be-exposed", "\"redis\""),
        entry("mysql", "3306", "should-not-be-exposed", "\"mysql\""),
        entry("ssh", "22", "often-exploited", "\"ssh\""),
    ]
    .concat();
    Catalog::parse(&text, "source = 'test'\nports = '22,80'").unwrap()
}

#[derive(Clone)]
enum Door {
    Open(Option<Box<Service>>),
    Refuses,
    Drops,
}

struct World {
    now: Ts,
    catalog: Catalog,
    hysteresis: Hysteresis,
    policy: AlertPolicy,
    vantage: Vantage,
    assets: Vec<Asset>,
    doors: BTreeMap<Endpoint, Door>,
    changed_at: BTreeMap<Endpoint, Ts>,
    sweep: Duration,
    last_sweep: Option<Ts>,
    pseudo: Vec<std::net::IpAddr>,
    known: BTreeMap<Endpoint, Dossier>,
    wanted: Vec<(Ts, Endpoint, bool)>,
    events: Vec<Event>,
    alerts: Vec<Alert>,
    minted: u128,
}

/// Runs the script; a line that does not hold panics with its number and what was there instead.
pub fn check(script: &str) {
    let mut world = World::new();
    for (number, line) in script.lines().enumerate() {
        let words: Vec<&str> = line.split('#').next().unwrap_or("").split_whitespace().collect();
        if let Err(why) = world.step(&words) {
            panic!("line {}: `{}`: {why}\nports: {:#?}\nalerts: {:#?}", number + 1, line.trim(), world.known, world.alerts);
        }
    }
}

fn duration(word: &str) -> Duration {
    let (n, unit) = word.split_at(word.len() - 1);
    let n: u64 = n.parse().unwrap_or_else(|_| panic!("`{word}` is not a duration"));
    match unit {
        "s" => Duration::secs(n),
        "m" => Duration::minutes(n),
        "h" => Duration::hours(n),
        "d" => Duration::days(n),
        _ => panic!("`{word}` is not a duration"),
    }
}

fn options<'a>(words: &[&'a str]) -> BTreeMap<&'a str, &'a str> {
    words.iter().filter_map(|w| w.split_once('=')).collect()
}

impl World {
    fn new() -> World {
        World {
            now: START,
            catalog: catalog(),
            hysteresis: Hysteresis::default(),
            policy: AlertPolicy::default(),
            vantage: Vantage("outside".into()),
            assets: vec![],
            doors: BTreeMap::new(),
            changed_at: BTreeMap::new(),
            sweep: Duration::minutes(10),
            last_sweep: None,
            pseudo: vec![],
            known: BTreeMap::new(),
            wanted: vec![],
            events: vec![],
            alerts: vec![],
            minted: 0,
        }
    }

    fn step(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            [] => {}
            ["asset", range, rest @ ..] => self.add_asset(range, &options(rest)),
            ["sweep", every] => self.sweep = duration(every),
            ["at", at, what, target, rest @ ..] => {
                let at = START.plus(duration(at));
                self.run_until(at);
                self.act(what, target, rest);
            }
            ["run", span] => self.run_until(self.now.plus(duration(span))),
            ["expect", rest @ ..] => self.expect(rest)?,
            other => panic!("unknown line {other:?}"),
        }
        Ok(())
    }

    fn add_asset(&mut self, range: &str, with: &BTreeMap<&str, &str>) {
        self.minted += 1;
        self.assets.push(Asset {
            id: AssetId(Uuid::from_u128(self.minted)),
            range: range.parse().unwrap(),
            name: range.into(),
            owner: with.get("owner").map(|o| o.to_string()),
            zone: Zone::Dmz,
            weight: with.get("weight").map_or(5, |w| w.parse().unwrap()),
            tags: vec![],
            observe_until: with.get("observe").map(|d| self.now.plus(duration(d))),
            rate_pps: None,
            per_target_pps: None,
            check_ceiling: Default::default(),
            created_at: self.now,
            updated_at: self.now,
        });
    }

    fn act(&mut self, what: &str, target: &str, rest: &[&str]) {
        if what == "pseudo" {
            return self.pseudo.push(target.parse().unwrap());
        }
        let endpoint: Endpoint = target.parse().unwrap();
        let door = match what {
            "open" => Door::Open(rest.first().map(|name| {
                Box::new(Service {
                    name: name.to_string(),
                    product: rest.get(1).map(|p| p.to_string()),
                    version: rest.get(2).map(|v| v.to_string()),
                    tls: None,
                    ..Service::default()
                })
            })),
            "refuse" => Door::Refuses,
            "drop" => Door::Drops,
            "decide" => return self.decide(endpoint, rest),
            _ => panic!("unknown act {what}"),
        };
        self.doors.insert(endpoint, door);
        self.changed_at.insert(endpoint, self.now);
    }

    fn decide(&mut self, endpoint: Endpoint, rest: &[&str]) {
        let until = options(rest).get("until").map(|d| self.now.plus(duration(d)));
        let exposure = self.known.get_mut(&endpoint).and_then(|d| d.exposure.as_mut()).expect("something to decide about");
        let kind: DispositionKind = rest[0].parse().unwrap();
        exposure.disposition = Disposition { kind, until, by: Some("alice".into()), note: None, at: Some(self.now) };
    }

    /// Lets time pass to the instant given: sweeps and wanted looks in the order of their times.
    fn run_until(&mut self, until: Ts) {
        loop {
            let sweep_at = self.last_sweep.map_or(self.now, |at| at.plus(self.sweep));
            let look = self.wanted.iter().enumerate().min_by_key(|(_, w)| w.0).map(|(i, w)| (w.0, i));
            match look {
                Some((at, i)) if at <= sweep_at && at < until => {
                    let (_, endpoint, identify) = self.wanted.remove(i);
                    self.now = self.now.max(at);
                    self.look(endpoint, identify, true);
                }
                _ if sweep_at < until => {
                    self.now = self.now.max(sweep_at);
                    for endpoint in self.doors.keys().copied().collect::<Vec<_>>() {
                        let known =
                            self.known.get(&endpoint).and_then(|d| d.port.as_ref()).is_some_and(|p| p.phase != Phase::Closed);
                        self.look(endpoint, false, known);
                    }
                    self.last_sweep = Some(self.now);
                }
                _ => {
                    self.now = until;
                    return;
                }
            }
        }
    }

    /// One probe of one door: reported when it is open, or when its state was asked for by name.
    fn look(&mut self, endpoint: Endpoint, identify: bool, report_not_open: bool) {
        let udp = endpoint.proto == Proto::Udp;
        let (state, reason, service) = match self.doors.get(&endpoint) {
            Some(Door::Open(service)) if udp => (State::Open, Reason::UdpResponse, service.clone()),
            Some(Door::Open(service)) => {
                (State::Open, if identify { Reason::Connected } else { Reason::SynAck }, service.clone())
            }
            Some(Door::Refuses) if udp => (State::Closed, Reason::IcmpPortUnreachable, None),
            Some(Door::Refuses) => (State::Closed, Reason::Rst, None),
            _ if udp => (State::OpenFiltered, Reason::Timeout, None),
            _ => (State::Filtered, Reason::Timeout, None),
        };
        if state != State::Open && !report_not_open {
            return;
        }
        let observation = Observation { endpoint, state, reason, observed_at: self.now };
        let before = self.known.remove(&endpoint);
        let mut d = Dossier::new(endpoint, before.as_ref().and_then(|d| d.port.clone()), before.and_then(|d| d.exposure));
        d.host_pseudo = self.pseudo.contains(&endpoint.ip);
        d.last_covered = self.last_sweep;
        let opening = d.exposure.as_ref().map(|e| (e.id, e.opening));
        d.told = self.alerts.iter().any(|a| {
            Some((a.exposure, a.opening)) == opening && a.kind == AlertKind::Opened && a.state != AlertState::Suppressed
        });
        let judge = Judge {
            vantage: &self.vantage,
            assets: &self.assets,
            catalog: &self.catalog,
            policy: &self.policy,
            hysteresis: &self.hysteresis,
            now: self.now,
        };
        let minted = &mut self.minted;
        let mut mint = || {
            *minted += 1;
            Uuid::from_u128(*minted)
        };
        judge.observe(&mut d, &observation, &mut mint);
        if identify && state == State::Open {
            let identity = if service.is_some() { Identity::Identified } else { Identity::Silent };
            let seen = Identification { service: service.map(|s| *s), ..Identification::bare(endpoint, identity, self.now) };
            judge.identify(&mut d, &seen, &mut mint);
        }
        judge.settle(&mut d, &mut mint);
        self.events.append(&mut d.events);
        match d.follow_up.take() {
            Some(FollowUp::Confirm) => self.wanted.push((self.now.plus(Duration::secs(1)), endpoint, true)),
            Some(FollowUp::Recheck { at }) => self.wanted.push((at, endpoint, false)),
            None => {}
        }
        // As the store does it: at most one per exposure, opening, kind and risk kind.
        if let Some(alert) = d.alert.take() {
            let key = |a: &Alert| (a.exposure, a.opening, a.kind, a.risk);
            if self.alerts.iter().all(|a| key(a) != key(&alert)) {
                self.alerts.push(alert);
            }
        }
        d.change = None;
        self.known.insert(endpoint, d);
    }

    fn expect(&self, words: &[&str]) -> Result<(), String> {
        let dossier = |word: &str| self.known.get(&word.parse::<Endpoint>().unwrap());
        match words {
            ["port", target, "absent"] => match dossier(target).and_then(|d| d.port.as_ref()) {
                None => Ok(()),
                Some(p) => Err(format!("it is {}", p.phase)),
            },
            ["port", target, phase, rest @ ..] => {
                let port = dossier(target).and_then(|d| d.port.as_ref()).ok_or("never seen open")?;
                self.compare("phase", port.phase, phase)?;
                for (key, wanted) in options(rest) {
                    match key {
                        "reason" => self.compare(key, port.last_reason, wanted)?,
                        "openings" => self.compare(key, port.openings, wanted)?,
                        "bound" => {
                            self.compare(key, port.detection_bound().map_or(0, |b| b.0 / 1000), wanted.trim_end_matches('s'))?
                        }
                        "lag" => {
                            let at = if port.phase == Phase::Closed { port.closed_at } else { port.opened_at };
                            let lag = at.ok_or("no instant")?.since(self.changed_at[&port.endpoint]);
                            let (least, most) = wanted.split_once("..").ok_or("lag is a range")?;
                            if lag < duration(least) || lag > duration(most) {
                                return Err(format!("lag is {} ms", lag.0));
                            }
                        }
                        _ => panic!("unknown key {key}"),
                    }
                }
                Ok(())
            }
            ["no", "exposure", target] => match dossier(target).and_then(|d| d.exposure.as_ref()) {
                None => Ok(()),
                Some(e) => Err(format!("there is one, {}", e.phase)),
            },
            ["exposure", target, phase, severity, rest @ ..] => {
                let e = dossier(target).and_then(|d| d.exposure.as_ref()).ok_or("there is none")?;
                self.compare("phase", e.phase, phase)?;
                self.compare("severity", e.risk.severity, severity)?;
                for (key, wanted) in options(rest) {
                    match key {
                        "kind" => self.compare(key, e.risk.kind, wanted)?,
                        "owner" => self.compare(key, e.owner.as_deref().unwrap_or("-"), wanted)?,
                        "entry" => self.compare(key, e.risk.entry.as_deref().unwrap_or("-"), wanted)?,
                        "opening" => self.compare(key, e.opening, wanted)?,
                        "disposition" => self.compare(key, e.disposition.effective(self.now), wanted)?,
                        "reason" => self.compare(key, e.close_reason.map_or("-", Reason::as_str), wanted)?,
                        _ => panic!("unknown key {key}"),
                    }
                }
                Ok(())
            }
            ["alerts", rest @ ..] => {
                let shown: Vec<String> = self
                    .alerts
                    .iter()
                    .map(|a| {
                        format!(
                            "{}:{}:{}{}",
                            a.kind,
                            a.risk,
                            a.severity,
                            a.suppressed_by.as_ref().map_or(String::new(), |w| format!(":{w}"))
                        )
                    })
                    .collect();
                self.compare("alerts", shown.join(" "), &rest.join(" "))
            }
            ["events", target, rest @ ..] => {
                let endpoint: Endpoint = target.parse().unwrap();
                let shown: Vec<_> =
                    self.events.iter().filter(|e| e.endpoint == Some(endpoint)).map(|e| e.kind.as_str()).collect();
                self.compare("events", shown.join(" "), &rest.join(" "))
            }
            other => panic!("unknown expectation {other:?}"),
        }
    }

    fn compare(&self, what: &str, is: impl ToString, wanted: &str) -> Result<(), String> {
        let is = is.to_string();
        if is == wanted { Ok(()) } else { Err(format!("{what} is `{is}`, not `{wanted}`")) }
    }
}
