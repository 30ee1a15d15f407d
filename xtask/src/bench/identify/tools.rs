//! Runs portreeve and nmap on the same ports from the lab's scanner and reads what they claim. What is true is left to `lab`.

use anyhow::{Context, bail};
use lab::Lab;
use lab::recipe::judge::Claim;
use lab::recipe::street::At;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What one run of a scanner claimed.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Claims by endpoint; an open port of which nothing is known has an empty one.
    pub claims: BTreeMap<At, Claim>,
    /// Seconds from start to end.
    pub seconds: f64,
    /// The command.
    pub command: String,
    /// Ended by its limit of time.
    pub cut: bool,
}

/// What to run on.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub lab: &'a Lab,
    pub folder: &'a Path,
    /// Name of the run, for its files.
    pub name: &'a str,
    pub endpoints: &'a BTreeSet<At>,
    pub limit: Duration,
}

impl Ask<'_> {
    fn hosts(&self) -> Vec<String> {
        let hosts: BTreeSet<Ipv4Addr> = self.endpoints.iter().map(|e| e.0).collect();
        hosts.iter().map(Ipv4Addr::to_string).collect()
    }

    fn ports(&self, kind: char) -> String {
        let ports: BTreeSet<u16> = self.endpoints.iter().filter(|e| e.1 == kind).map(|e| e.2).collect();
        ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
    }

    /// Runs a command to its end or its limit; what it prints goes to two files, whose names end in `.out` and `.log`.
    fn run(&self, tool: &str, argv: &[String]) -> anyhow::Result<(f64, bool)> {
        let file = |end: &str| File::create(self.folder.join(format!("{}.{tool}.{end}", self.name)));
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).current_dir(self.folder).env("LC_ALL", "C");
        command.stdin(Stdio::null()).stdout(file("out")?).stderr(file("log")?);
        let began = Instant::now();
        let mut child = self.lab.scanner().spawn(&mut command).with_context(|| format!("{} cannot be started", argv[0]))?;
        loop {
            if let Some(status) = child.try_wait()? {
                let seconds = began.elapsed().as_secs_f64();
                if !status.success() {
                    let log = fs::read_to_string(self.folder.join(format!("{}.{tool}.log", self.name))).unwrap_or_default();
                    bail!("{} ended with {status}: {}", argv.join(" "), log.trim());
                }
                return Ok((seconds, false));
            }
            if began.elapsed() >= self.limit {
                child.kill()?;
                child.wait()?;
                return Ok((began.elapsed().as_secs_f64(), true));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `portreeve scan --identify`.
    pub fn portreeve(&self, binary: &Path, more: &[&str]) -> anyhow::Result<Told> {
        let mut argv = vec![binary.to_string_lossy().into_owned(), "scan".into()];
        argv.extend(self.hosts());
        let (tcp, udp) = (self.ports('t'), self.ports('u'));
        argv.extend(["-p".to_owned(), if tcp.is_empty() { "1".to_owned() } else { tcp }]);
        if !udp.is_empty() {
            argv.extend(["--udp".to_owned(), udp]);
        }
        argv.extend(["--no-ping", "--identify", "--quiet", "--format", "jsonl"].map(str::to_owned));
        argv.extend(more.iter().map(|w| (*w).to_owned()));
        let (seconds, cut) = self.run("portreeve", &argv)?;
        let text = fs::read_to_string(self.folder.join(format!("{}.portreeve.out", self.name)))?;
        argv[0] = "portreeve".into();
        Ok(Told { claims: read_portreeve(&text)?, seconds, command: argv.join(" "), cut })
    }

    /// The checks that a node would run after it has identified the endpoints, by the example of `services` that runs them.
    pub fn checks(&self, binary: &Path, more: &[&str]) -> anyhow::Result<BTreeMap<At, Vec<Checked>>> {
        let mut argv = vec![binary.to_string_lossy().into_owned(), "--within".into(), lab::NETWORK_V4.into()];
        argv.extend(more.iter().map(|w| (*w).to_owned()));
        let proto = |kind| if kind == 'u' { "udp" } else { "tcp" };
        argv.extend(self.endpoints.iter().map(|at| format!("{}:{}/{}", at.0, at.2, proto(at.1))));
        let (_, cut) = self.run("checks", &argv)?;
        if cut {
            bail!("the checks did not end within {:?}", self.limit);
        }
        let text = fs::read_to_string(self.folder.join(format!("{}.checks.out", self.name)))?;
        let mut all = BTreeMap::new();
        for line in text.lines() {
            let object: Value = serde_json::from_str(line).with_context(|| format!("the checks printed: {line}"))?;
            let endpoint = &object["identification"]["endpoint"];
            let (Some(ip), Some(port)) = (endpoint["ip"].as_str().and_then(|i| i.parse().ok()), endpoint["port"].as_u64()) else {
                bail!("no endpoint in {line}");
            };
            let word = |v: &Value| v.as_str().unwrap_or_default().to_owned();
            let run = |c: &Value| Checked {
                check: word(&c["check"]),
                kind: word(&c["kind"]),
                verdict: word(&c["verdict"]),
                reason: word(&c["reason"]),
                attempts: c["attempts"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|a| (word(&a["account"]), format!("{} {}", word(&a["pair"]), word(&a["outcome"]))))
                    .collect(),
            };
            let at: At = (ip, if endpoint["proto"] == "udp" { 'u' } else { 't' }, port as u16);
            all.insert(at, object["checks"].as_array().into_iter().flatten().map(run).collect());
        }
        Ok(all)
    }

    /// `nmap -sV`, as anybody would run it, without the name service and the ping that the lab has no use for.
    pub fn nmap(&self) -> anyhow::Result<Told> {
        let (tcp, udp) = (self.ports('t'), self.ports('u'));
        let mut argv: Vec<String> = ["nmap", "-n", "-Pn", "-sV", "-oX", "-"].map(str::to_owned).into();
        argv.push("-sS".into());
        let mut ports = format!("T:{tcp}");
        if !udp.is_empty() {
            argv.push("-sU".into());
            ports += &format!(",U:{udp}");
        }
        argv.extend(["-p".to_owned(), ports]);
        argv.extend(self.hosts());
        let (seconds, cut) = self.run("nmap", &argv)?;
        let text = fs::read_to_string(self.folder.join(format!("{}.nmap.out", self.name)))?;
        Ok(Told { claims: read_nmap(&text), seconds, command: argv.join(" "), cut })
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|s| !s.is_empty()).map(str::to_owned)
}

/// One check of one endpoint, as it ended.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// Id of the check.
    pub check: String,
    /// `unauthenticated-access`, `default-credential`, …
    pub kind: String,
    /// `proved`, `not-proved`, …
    pub verdict: String,
    /// Why, where it says.
    pub reason: String,
    /// Accounts that were tried, in order, with how that ended.
    pub attempts: Vec<(String, String)>,
}

/// Open ports of portreeve's JSON lines.
fn read_portreeve(out: &str) -> anyhow::Result<BTreeMap<At, Claim>> {
    let mut claims = BTreeMap::new();
    for line in out.lines().filter(|l| !l.trim().is_empty()) {
        let object: Value = serde_json::from_str(line).with_context(|| format!("portreeve printed: {line}"))?;
        let (Some(ip), Some(port)) = (object["ip"].as_str().and_then(|i| i.parse().ok()), object["port"].as_u64()) else {
            continue;
        };
        if object["state"] != "open" {
            continue;
        }
        let at: At = (ip, if object["proto"] == "udp" { 'u' } else { 't' }, port as u16);
        let service = &object["service"];
        let claim = Claim {
            // These three say what kind of bytes came, and name no service.
            service: text(&service["name"]).filter(|n| !matches!(n.as_str(), "text" | "binary" | "tls")).unwrap_or_default(),
            product: text(&service["product"]),
            version: text(&service["version"]),
            tls: service["tls"].is_object(),
            identity: text(&object["identity"]),
            evidence: text(&object["evidence"]),
        };
        claims.insert(at, claim);
    }
    Ok(claims)
}

/// An attribute of an XML element, with the few entities that nmap writes put back.
fn attribute(element: &str, name: &str) -> Option<String> {
    let rest = element.split(&format!(" {name}=\"")).nth(1)?;
    let value = rest.split('"').next()?;
    let plain = [("&quot;", "\""), ("&lt;", "<"), ("&gt;", ">"), ("&apos;", "'"), ("&amp;", "&")];
    Some(plain.iter().fold(value.to_owned(), |v, (from, to)| v.replace(from, to)))
}

/// Open ports of nmap's XML, which nmap writes in one order and with one style of quotes. A name that it only looked up in its
/// table of port numbers is no claim.
fn read_nmap(xml: &str) -> BTreeMap<At, Claim> {
    let mut claims = BTreeMap::new();
    for host in xml.split("<host ").skip(1) {
        let Some(ip) = host
            .split("<address ")
            .skip(1)
            .find(|a| a.split('>').next().unwrap_or_default().contains("addrtype=\"ipv4\""))
            .and_then(|a| attribute(&format!(" {a}"), "addr"))
            .and_then(|a| a.parse().ok())
        else {
            continue;
        };
        for port in host.split("<port ").skip(1) {
            let port = port.split("</port>").next().unwrap_or_default();
            let head = format!(" {}", port.split('>').next().unwrap_or_default());
            if attribute(port.split("<state").nth(1).unwrap_or_default(), "state").as_deref() != Some("open") {
                continue;
            }
            let Some(number) = attribute(&head, "portid").and_then(|p| p.parse().ok()) else { continue };
            let kind = if attribute(&head, "protocol").as_deref() == Some("udp") { 'u' } else { 't' };
            let service = port.split("<service").nth(1).unwrap_or_default();
            let service = service.split('>').next().unwrap_or_default();
            let mut claim = Claim::default();
            if attribute(service, "method").as_deref() == Some("probed") {
                claim.service = attribute(service, "name").filter(|n| n != "unknown" && n != "tcpwrapped").unwrap_or_default();
                claim.product = attribute(service, "product");
                claim.version = attribute(service, "version");
            }
            claim.tls = attribute(service, "tunnel").as_deref() == Some("ssl");
            claims.insert((ip, kind, number), claim);
        }
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_print_is_read() {
        let lines = "{\"ip\":\"10.99.7.2\",\"port\":6379,\"proto\":\"tcp\",\"state\":\"open\",\"service\":{\"name\":\"redis\",\"product\":\"Redis\",\"version\":\"7.0.15\"}}\n\
                     {\"ip\":\"10.99.7.2\",\"port\":9,\"proto\":\"tcp\",\"state\":\"open\",\"service\":null}\n\
                     {\"ip\":\"10.99.7.2\",\"port\":10,\"proto\":\"tcp\",\"state\":\"closed\",\"service\":null}\n";
        let claims = read_portreeve(lines).unwrap();
        let at = |port| (Ipv4Addr::new(10, 99, 7, 2), 't', port);
        assert_eq!(
            (claims.len(), claims[&at(6379)].line().as_str(), claims[&at(9)].line().as_str()),
            (2, "redis Redis 7.0.15", "(nothing)")
        );
        let xml = "<host starttime=\"1\"><status state=\"up\"/><address addr=\"02:00:00:00:07:02\" addrtype=\"mac\"/><address addr=\"10.99.7.2\" addrtype=\"ipv4\"/>\
            <ports><port protocol=\"tcp\" portid=\"443\"><state state=\"open\" reason=\"syn-ack\"/><service name=\"http\" product=\"nginx &amp; co\" version=\"1.22\" tunnel=\"ssl\" method=\"probed\" conf=\"10\"><cpe>x</cpe></service></port>\
            <port protocol=\"tcp\" portid=\"8080\"><state state=\"open\" reason=\"syn-ack\"/><service name=\"http-proxy\" method=\"table\" conf=\"3\"/></port>\
            <port protocol=\"tcp\" portid=\"1\"><state state=\"closed\" reason=\"reset\"/><service name=\"tcpmux\" method=\"table\" conf=\"3\"/></port></ports></host>";
        let claims = read_nmap(xml);
        let lines: Vec<String> = claims.values().map(Claim::line).collect();
        assert_eq!(lines, ["tls http nginx & co 1.22", "(nothing)"]);
    }
}
