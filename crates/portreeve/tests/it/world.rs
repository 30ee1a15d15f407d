//! A lab with portreeve serving in it, and the words the scenarios are written in.
//!
//! Nothing here expects anything of portreeve beyond that it starts and keeps its API's promises; that is the scenarios' part.

use lab::{Api, Lab, LabSpec, Portreeve, ServeSpec, SmtpSink, TempPostgres, WebhookSink, eventually};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_portreeve");

/// Long enough for anything that has to happen within seconds, on two busy cores.
pub const SOON: Duration = Duration::from_secs(45);

/// Where portreeve keeps its state.
#[derive(Clone, Copy, Debug)]
pub enum Db {
    /// The embedded one.
    Sqlite,
    /// A temporary cluster in the scanner's namespace.
    Postgres,
}

/// A lab with portreeve serving in its scanner namespace. The fields end in this order.
pub struct World {
    pub serve: Portreeve,
    pub api: Api,
    pub postgres: Option<TempPostgres>,
    pub lab: Lab,
}

impl World {
    /// Starts the lab and portreeve in it, with no asset, no task of a preset, and a pace that suits a lab.
    pub fn start(spec: LabSpec, db: Db) -> World {
        Self::start_with(spec, db, |serve, _| serve)
    }

    /// The same with more for `serve`, which may lie in the lab's directories.
    pub fn start_with(spec: LabSpec, db: Db, more: impl FnOnce(ServeSpec, &Lab) -> ServeSpec) -> World {
        let lab = spec.start().unwrap();
        let mut serve_spec = more(ServeSpec::new(BINARY, lab.fresh_dir("data").unwrap()), &lab);
        let postgres = match db {
            Db::Sqlite => None,
            Db::Postgres => Some(TempPostgres::start_in(lab.scanner()).unwrap()),
        };
        if let Some(postgres) = &postgres {
            serve_spec = serve_spec.db(&postgres.url());
        }
        let mut serve = Portreeve::serve(lab.scanner(), serve_spec).unwrap();
        let api = serve.api().unwrap();
        let mut world = World { serve, api, postgres, lab };
        // The lab's links are memory and its hosts have nobody else to serve: ten thousand a second harm no one.
        world.settings(|s| s["pace"] = json!({"node_pps": 10_000, "per_network_pps": 10_000, "per_target_pps": 10_000}));
        for task in world.api.get("/tasks").unwrap().as_array().unwrap() {
            world.api.delete(&format!("/tasks/{}", task["id"].as_str().unwrap())).unwrap();
        }
        world
    }

    /// Changes the settings.
    pub fn settings(&mut self, change: impl FnOnce(&mut Value)) {
        let mut settings = self.api.get("/settings").unwrap();
        change(&mut settings);
        self.api.put("/settings", &settings).unwrap();
    }

    /// Adds an asset that alerts from the start, and gives its id.
    pub fn asset(&self, range: &str, owner: &str) -> String {
        let body = json!({"range": range, "name": format!("{owner} {range}"), "owner": owner, "observe_until": null});
        id(&self.api.post("/assets", &body).unwrap())
    }

    /// Makes a one-off task, which starts at once, and gives its id.
    pub fn once(&self, kind: &str, ranges: &[&str], ports: Option<&str>) -> String {
        self.task(kind, ranges, ports, json!({"type": "once"}))
    }

    /// Makes a task that fires every so many seconds, and gives its id.
    pub fn every(&self, seconds: u64, kind: &str, ranges: &[&str], ports: Option<&str>) -> String {
        self.task(kind, ranges, ports, json!({"type": "interval", "every": seconds * 1_000}))
    }

    fn task(&self, kind: &str, ranges: &[&str], ports: Option<&str>, trigger: Value) -> String {
        let mut body = json!({
            "kind": kind, "name": format!("{kind} of {}", ranges.join(", ")),
            "target": {"type": "ranges", "ranges": ranges}, "trigger": trigger, "retries": 1,
        });
        if let Some(ports) = ports {
            body["ports"] = json!(ports);
        }
        id(&self.api.post("/tasks", &body).unwrap())
    }

    /// Waits until the last run of the task has ended, and gives it.
    pub fn ended(&self, task: &str, timeout: Duration) -> Value {
        eventually(&format!("the run of task {task} has ended"), timeout, || {
            let run = self.api.get(&format!("/tasks/{task}")).unwrap()["last_run"].clone();
            (run.is_object() && run["state"] != "running").then_some(run)
        })
    }

    /// Makes a one-off task, waits for its end, and expects it to have succeeded.
    pub fn run(&self, kind: &str, ranges: &[&str], ports: Option<&str>) -> Value {
        let run = self.ended(&self.once(kind, ranges, ports), Duration::from_secs(90));
        assert_eq!(run["state"], "succeeded", "{kind} of {ranges:?}: {run}");
        run
    }

    /// The endpoint as this vantage sees it, if it was ever seen open.
    pub fn endpoint(&self, ip: impl Into<IpAddr>, port: u16) -> Option<Value> {
        let reply = self.api.call("GET", &format!("/endpoints/{}/tcp/{port}", ip.into()), None).unwrap();
        match reply.status {
            404 => None,
            200 => reply.json()["endpoints"].get(0).cloned(),
            status => panic!("GET /endpoints: {status} {}", reply.text()),
        }
    }

    /// Waits until the endpoint is in the phase.
    pub fn until_phase(&self, ip: impl Into<IpAddr>, port: u16, phase: &str, timeout: Duration) -> Value {
        let ip = ip.into();
        eventually(&format!("{ip} port {port} is {phase}"), timeout, || self.endpoint(ip, port).filter(|e| e["phase"] == phase))
    }

    /// The exposure of the endpoint, open or closed.
    pub fn exposure(&self, ip: impl Into<IpAddr>, port: u16) -> Option<Value> {
        let found = self.api.items(&format!("/exposures?search={}", ip.into())).unwrap();
        found.into_iter().find(|e| e["port"] == port)
    }

    /// Waits until the exposure satisfies `wanted`.
    pub fn until_exposure(&self, ip: impl Into<IpAddr>, port: u16, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let ip = ip.into();
        eventually(&format!("{what}: exposure of {ip} port {port}"), SOON, || self.exposure(ip, port).filter(&wanted))
    }

    /// Every endpoint in phase open that answers on its own account, as `address:port`, sorted.
    pub fn open_endpoints(&self) -> Vec<String> {
        let found = self.api.items("/endpoints?phase=open&pseudo_open=false").unwrap();
        let mut open: Vec<String> = found.iter().map(|e| format!("{}:{}", e["ip"].as_str().unwrap(), e["port"])).collect();
        open.sort();
        open
    }

    /// The same as the lab knows it to be, over IPv4.
    pub fn truth(&self) -> Vec<String> {
        let mut open: Vec<String> = self.lab.truth_v4().iter().map(|o| format!("{}:{}", o.ip, o.port)).collect();
        open.sort();
        open
    }

    /// Starts an SMTP sink and a webhook sink and makes a receiver for each.
    pub fn receivers(&self, send_closed: bool) -> (SmtpSink, WebhookSink) {
        let smtp = SmtpSink::start(self.lab.scanner(), self.lab.fresh_dir("smtp").unwrap(), 2525).unwrap();
        let webhook = WebhookSink::start(self.lab.scanner()).unwrap();
        let common = json!({"enabled": true, "language": "en", "min_severity": "low", "send_closed": send_closed, "owners": []});
        let destinations = [
            (
                "soc by mail",
                json!({"type": "mail", "host": "127.0.0.1", "port": smtp.port(), "security": "none",
                                   "from": "portreeve@lab.test", "to": ["soc@lab.test"]}),
            ),
            ("soc by webhook", json!({"type": "webhook", "url": webhook.url(), "secret": "a-key"})),
        ];
        for (name, destination) in destinations {
            let mut body = common.clone();
            body["name"] = json!(name);
            body["destination"] = destination;
            self.api.post("/receivers", &body).unwrap();
        }
        (smtp, webhook)
    }
}

/// The instant so many days from now, as the API writes it.
pub fn in_days(days: u64) -> String {
    let when = format!("+{days} days");
    let output = std::process::Command::new("date").args(["-u", "-d", &when, "+%FT%TZ"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The id of a view.
pub fn id(view: &Value) -> String {
    view["id"].as_str().unwrap_or_else(|| panic!("no id in {view}")).to_owned()
}

/// How many of these texts speak of the address and port.
pub fn mentions<'a>(texts: impl IntoIterator<Item = &'a str>, ip: impl Into<IpAddr>, port: u16) -> usize {
    let endpoint = format!("{}:{port}", ip.into());
    let speaks = |text: &&str| {
        text.match_indices(&endpoint).any(|(at, _)| {
            let next = text.as_bytes().get(at + endpoint.len());
            !next.is_some_and(u8::is_ascii_digit)
        })
    };
    texts.into_iter().filter(speaks).count()
}
