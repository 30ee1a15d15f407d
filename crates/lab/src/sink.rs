//! Where notifications arrive: a real SMTP server and a webhook endpoint, inside a namespace, that keep what they are given.
//!
//! Both can be made to fail and to recover. Whether what arrives is right is left to the tests.

use crate::http::{header, read_body, read_head};
use crate::namespace::Namespace;
use crate::proc::Proc;
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use std::io::{BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// One message that the SMTP server took.
#[derive(Clone, Debug, Deserialize)]
pub struct Mail {
    /// Envelope sender.
    pub from: String,
    /// Envelope recipients.
    pub to: Vec<String>,
    /// Message-ID header.
    pub message_id: Option<String>,
    /// Subject, decoded.
    pub subject: String,
    /// Plain text, decoded.
    pub text: String,
    /// HTML, decoded.
    pub html: String,
}

/// aiosmtpd, storing one JSON line per message. Its answers can be turned into temporary failures.
const SMTP_SCRIPT: &str = r#"
import asyncio, email, email.policy, json, os, sys
from aiosmtpd.controller import Controller

out, refuse, port = sys.argv[1], sys.argv[2], int(sys.argv[3])

class Sink:
    async def handle_DATA(self, server, session, envelope):
        if os.path.exists(refuse):
            return "451 4.3.0 the sink was told to refuse"
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        parts = lambda kind: "\n".join(p.get_content() for p in message.walk() if p.get_content_type() == kind)
        line = json.dumps({"from": envelope.mail_from, "to": envelope.rcpt_tos, "message_id": message["Message-ID"],
                           "subject": str(message["Subject"]), "text": parts("text/plain"), "html": parts("text/html")})
        with open(out, "a") as f:
            f.write(line + "\n")
        return "250 2.0.0 stored by the sink"

Controller(Sink(), hostname="127.0.0.1", port=port).start()
asyncio.new_event_loop().run_forever()
"#;

/// A real SMTP server on the namespace's loopback. Ends when dropped.
#[derive(Debug)]
pub struct SmtpSink {
    namespace: Namespace,
    dir: PathBuf,
    port: u16,
    proc: Option<Proc>,
}

impl SmtpSink {
    /// Starts one on `127.0.0.1:port`, with `dir` for what it takes.
    pub fn start(namespace: &Namespace, dir: PathBuf, port: u16) -> Result<Self> {
        std::fs::write(dir.join("sink.py"), SMTP_SCRIPT)?;
        let mut sink = SmtpSink { namespace: namespace.clone(), dir, port, proc: None };
        sink.resume()?;
        Ok(sink)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Everything taken so far, in order.
    pub fn messages(&self) -> Vec<Mail> {
        let text = std::fs::read_to_string(self.dir.join("mails")).unwrap_or_default();
        // The last line may still be in the making.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Answers every message with a temporary failure (451) from now on, or takes them again.
    pub fn refuse(&self, refuse: bool) -> Result<()> {
        let flag = self.dir.join("refuse");
        if refuse {
            std::fs::write(flag, "").context("telling the SMTP sink to refuse")
        } else {
            std::fs::remove_file(flag).or_else(|e| if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e.into()) })
        }
    }

    /// Takes the server away: connections are refused.
    pub fn stop(&mut self) {
        self.proc = None;
    }

    /// Brings it back.
    pub fn resume(&mut self) -> Result<()> {
        // By its path: another python3 that comes first would not see Debian's modules.
        let mut command = Command::new("/usr/bin/python3");
        command.arg(self.dir.join("sink.py")).arg(self.dir.join("mails")).arg(self.dir.join("refuse")).arg(self.port.to_string());
        let mut proc = Proc::start("smtp sink", Some(&self.namespace), &mut command, &self.dir.join("log"))?;
        proc.wait_for_port(Some(&self.namespace), self.port)
            .context("an SMTP server for the tests\nhint: it needs the Debian package python3-aiosmtpd")?;
        self.proc = Some(proc);
        Ok(())
    }
}

/// One request that the webhook endpoint got.
#[derive(Clone, Debug)]
pub struct Post {
    /// `POST /path`.
    pub request: String,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Bytes of the body, for checking signatures.
    pub raw: Vec<u8>,
    /// The body as JSON; null when it is none.
    pub body: Value,
    /// Status it was answered with.
    pub answered: u16,
}

impl Post {
    /// The value of the first header of this name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

/// An HTTP endpoint on the namespace's loopback that keeps what is posted to it. Ends when dropped.
#[derive(Debug)]
pub struct WebhookSink {
    port: u16,
    posts: Arc<Mutex<Vec<Post>>>,
    status: Arc<AtomicU16>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl WebhookSink {
    /// Starts one on a free port of the namespace's loopback.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        let listener = namespace.enter(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).context("listening for webhooks")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let (posts, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let status = Arc::new(AtomicU16::new(200));
        let thread = std::thread::spawn({
            let (posts, stop, status) = (posts.clone(), stop.clone(), status.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    match listener.accept() {
                        Ok((stream, _)) => {
                            let _ = take(stream, status.load(Ordering::Relaxed), &posts);
                        }
                        Err(_) => std::thread::sleep(Duration::from_millis(10)),
                    }
                }
            }
        });
        Ok(WebhookSink { port, posts, status, stop, thread: Some(thread) })
    }

    /// Where to post to.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    /// Answers with this status from now on.
    pub fn answer(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// Every request so far, whatever it was answered with, in order.
    pub fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// The bodies of the requests that were answered with success, in order.
    pub fn messages(&self) -> Vec<Value> {
        self.posts().into_iter().filter(|p| p.answered < 300).map(|p| p.body).collect()
    }
}

fn take(stream: std::net::TcpStream, status: u16, posts: &Mutex<Vec<Post>>) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let (request, headers) = read_head(&mut reader)?;
    let raw = read_body(&mut reader, &headers, false)?;
    let body = serde_json::from_slice(&raw).unwrap_or(Value::Null);
    let request = request.trim_end_matches(" HTTP/1.1").to_owned();
    posts.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(Post { request, headers, raw, body, answered: status });
    (&stream).write_all(format!("HTTP/1.1 {status} As told\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes())?;
    Ok(())
}

impl Drop for WebhookSink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
