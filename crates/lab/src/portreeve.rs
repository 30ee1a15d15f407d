//! The real binary, run in a namespace: `serve` with its API, and any other subcommand to its end.
//!
//! The path of the binary comes from the test (`env!("CARGO_BIN_EXE_portreeve")`); what it should do is the test's business.

use crate::http::{Http, Reply};
use crate::namespace::Namespace;
use crate::proc::Proc;
use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How to run `portreeve serve`.
#[derive(Clone, Debug)]
pub struct ServeSpec {
    /// The binary.
    pub binary: PathBuf,
    /// Data directory (`--data`).
    pub data: PathBuf,
    /// Database (`--db`) when it is not the embedded one.
    pub db: Option<String>,
    /// Port of the namespace's loopback for the API (`--listen`).
    pub port: u16,
    /// Further arguments.
    pub args: Vec<String>,
    /// Further environment.
    pub env: Vec<(String, String)>,
}

impl ServeSpec {
    /// With the embedded database in `data`, on port 8460.
    pub fn new(binary: &str, data: PathBuf) -> Self {
        ServeSpec { binary: binary.into(), data, db: None, port: 8460, args: Vec::new(), env: Vec::new() }
    }
    /// On this database.
    pub fn db(mut self, url: &str) -> Self {
        self.db = Some(url.to_owned());
        self
    }
    /// On this port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }
    /// With one more argument.
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }
    /// With one more environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn place(&self) -> Vec<String> {
        let mut args = vec!["--data".to_owned(), self.data.display().to_string()];
        if let Some(url) = &self.db {
            args.extend(["--db".to_owned(), url.clone()]);
        }
        args
    }
}

/// What a command that ran to its end left behind.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

/// A running `portreeve serve`. Dropping it kills it.
#[derive(Debug)]
pub struct Portreeve {
    namespace: Namespace,
    spec: ServeSpec,
    proc: Proc,
    logs: PathBuf,
    token: Option<String>,
}

impl Portreeve {
    /// Starts it in the namespace and waits until `/healthz` says ok.
    pub fn serve(namespace: &Namespace, spec: ServeSpec) -> Result<Self> {
        let mut it = Self::spawn(namespace, spec)?;
        it.wait_healthy()?;
        Ok(it)
    }

    /// Starts it without waiting for anything, for tests in which it does not get far.
    pub fn spawn(namespace: &Namespace, spec: ServeSpec) -> Result<Self> {
        // Beside the data directory, not in it: what is in there is portreeve's.
        let logs = spec.data.with_extension("log");
        std::fs::create_dir_all(&logs)?;
        let proc = start(namespace, &spec, &logs)?;
        Ok(Portreeve { namespace: namespace.clone(), spec, proc, logs, token: None })
    }

    /// Waits until `/healthz` says ok, up to thirty seconds.
    pub fn wait_healthy(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        let http = self.http();
        let mut last = String::from("nothing");
        while Instant::now() < deadline {
            if let Some(status) = self.proc.ended() {
                bail!("portreeve serve ended with {status} before it was healthy\n{}", self.log());
            }
            match http.request("GET", "/healthz", &[], None) {
                Ok(reply) if reply.status == 200 => return Ok(()),
                Ok(reply) => last = format!("{} {}", reply.status, reply.text()),
                Err(e) => last = format!("{e:#}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("portreeve serve is not healthy after 30 s, /healthz last said: {last}\n{}", self.log())
    }

    /// A client without credentials.
    pub fn http(&self) -> Http {
        Http::new(&self.namespace, SocketAddr::from((Ipv4Addr::LOCALHOST, self.spec.port)))
    }

    /// A client with an administrator's token, which is made on first use.
    pub fn api(&mut self) -> Result<Api> {
        let token = match &self.token {
            Some(token) => token.clone(),
            None => self.create_token("e2e", "admin")?,
        };
        self.token = Some(token.clone());
        Ok(Api { http: self.http(), token })
    }

    /// A client with a new token of the role.
    pub fn api_as(&self, role: &str) -> Result<Api> {
        Ok(Api { http: self.http(), token: self.create_token(&format!("e2e-{role}"), role)? })
    }

    /// Runs `portreeve token create` beside the running server and gives the secret that it prints.
    pub fn create_token(&self, name: &str, role: &str) -> Result<String> {
        let mut args = vec!["token", "create", "--name", name, "--role", role];
        let place = self.spec.place();
        args.extend(place.iter().map(String::as_str));
        let output = run_cli(&self.namespace, &self.spec.binary, &args, Duration::from_secs(30))?;
        let token = output.stdout.split_whitespace().find(|word| word.starts_with("prt_"));
        token.map(str::to_owned).with_context(|| format!("portreeve token create printed no token: {output:?}"))
    }

    /// Its address as a browser in the namespace would write it.
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.spec.port)
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.proc.pid()
    }

    /// How it was started.
    pub fn spec(&self) -> &ServeSpec {
        &self.spec
    }

    /// `kill -9`.
    pub fn kill9(&mut self) {
        self.proc.kill();
    }

    /// SIGTERM, and how it ended; an error when it has not within `timeout`.
    pub fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.proc.signal(Signal::TERM);
        self.proc.wait(timeout).with_context(|| self.log())
    }

    /// Waits for it to end by itself.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.proc.wait(timeout)
    }

    /// Starts it again on the same data and waits until it is healthy. Kills it before if it still runs.
    pub fn restart(&mut self) -> Result<()> {
        self.proc.kill();
        self.proc = start(&self.namespace, &self.spec, &self.logs)?;
        self.wait_healthy()
    }

    /// Everything printed on standard output since the first start.
    pub fn stdout(&self) -> String {
        read(&self.logs.join("stdout"))
    }

    /// Everything printed on standard error since the first start.
    pub fn stderr(&self) -> String {
        read(&self.logs.join("stderr"))
    }

    /// Both, for a failing test to show.
    pub fn log(&self) -> String {
        let err = self.stderr();
        let lines: Vec<&str> = err.lines().collect();
        format!("stdout:\n{}\nstderr (last 60 lines):\n{}", self.stdout(), lines[lines.len().saturating_sub(60)..].join("\n"))
    }
}

impl Drop for Portreeve {
    fn drop(&mut self) {
        // The first thing that whoever reads a failed test wants to see.
        if std::thread::panicking() {
            eprintln!("--- portreeve serve, pid {}\n{}", self.proc.pid(), self.log());
        }
    }
}

fn start(namespace: &Namespace, spec: &ServeSpec, logs: &Path) -> Result<Proc> {
    let append = |name: &str| File::options().create(true).append(true).open(logs.join(name));
    let mut command = Command::new(&spec.binary);
    command.arg("serve").args(spec.place()).args(["--listen", &format!("127.0.0.1:{}", spec.port)]).args(&spec.args);
    command.envs(spec.env.iter().map(|(k, v)| (k, v)));
    command.stdin(Stdio::null()).stdout(append("stdout")?).stderr(append("stderr")?);
    Proc::start_with_stdio("portreeve serve", Some(namespace), &mut command, &logs.join("stderr"))
}

fn read(path: &Path) -> String {
    std::fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
}

/// Runs the binary in the namespace with these arguments to its end. One that takes longer than `timeout` is killed, and
/// that is an error.
pub fn run_cli(namespace: &Namespace, binary: &Path, args: &[&str], timeout: Duration) -> Result<Output> {
    // Files rather than pipes: a full pipe that nobody reads would look like a hang.
    let dir = tempfile::Builder::new().prefix("prl-cli-").tempdir()?;
    let (out, err) = (dir.path().join("stdout"), dir.path().join("stderr"));
    let mut command = Command::new(binary);
    command.args(args).stdin(Stdio::null()).stdout(File::create(&out)?).stderr(File::create(&err)?);
    let began = Instant::now();
    let mut proc = Proc::start_with_stdio(&format!("portreeve {}", args.join(" ")), Some(namespace), &mut command, &err)?;
    let status = proc.wait(timeout)?;
    Ok(Output { code: status.code(), stdout: read(&out), stderr: read(&err), took: began.elapsed() })
}

/// A client of the API with a token.
#[derive(Clone, Debug)]
pub struct Api {
    http: Http,
    token: String,
}

impl Api {
    /// The token it presents.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Sends a request and gives whatever comes back. Paths begin after `/api/v1` unless they are written with it.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Reply> {
        let text = body.map(|b| b.to_string());
        self.send(method, path, "application/json", text.as_deref().map(str::as_bytes))
    }

    /// The same with a body that is not JSON.
    pub fn send(&self, method: &str, path: &str, content_type: &str, body: Option<&[u8]>) -> Result<Reply> {
        let rooted = path.starts_with("/api/") || path == "/metrics" || path == "/healthz";
        let full = if rooted { path.to_owned() } else { format!("/api/v1{path}") };
        let bearer = format!("Bearer {}", self.token);
        let mut headers = vec![("Authorization", bearer.as_str())];
        if body.is_some() {
            headers.push(("Content-Type", content_type));
        }
        self.http.request(method, &full, &headers, body).with_context(|| format!("{method} {full}"))
    }

    /// GET; an error unless it succeeds.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.expect_success("GET", path, None)
    }
    /// POST of JSON; an error unless it succeeds.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.expect_success("POST", path, Some(body))
    }
    /// PUT of JSON; an error unless it succeeds.
    pub fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.expect_success("PUT", path, Some(body))
    }
    /// DELETE; an error unless it succeeds.
    pub fn delete(&self, path: &str) -> Result<Value> {
        self.expect_success("DELETE", path, None)
    }

    /// The items of a list, all of them, page by page.
    pub fn items(&self, path: &str) -> Result<Vec<Value>> {
        let (mut items, mut separator) = (Vec::new(), '?');
        if path.contains('?') {
            separator = '&';
        }
        loop {
            let page = self.get(&format!("{path}{separator}limit=500&offset={}", items.len()))?;
            let got = page["items"].as_array().with_context(|| format!("{path} gives no items: {page}"))?;
            items.extend(got.iter().cloned());
            if got.is_empty() || items.len() as u64 >= page["total"].as_u64().unwrap_or(0) {
                return Ok(items);
            }
        }
    }

    fn expect_success(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let reply = self.call(method, path, body)?;
        if !(200..300).contains(&reply.status) {
            bail!("{method} {path} was answered with {}: {}", reply.status, reply.text());
        }
        Ok(reply.json())
    }
}
