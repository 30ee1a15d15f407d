//! Mail against a real SMTP server on loopback (aiosmtpd, started per test): what arrives, and how each refusal reads.

use crate::common::{alert, mail_receiver, notification, segment};
use model::alert::{Alert, AlertKind, Destination, FindingNote, Language, MailSecurity, Receiver};
use model::check::Checks;
use model::exposure::Severity;
use model::finding::FindingKind;
use model::{Reason, Ts};
use notify::{Receipt, SendError, send};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The server, stopped by closing its stdin when this goes.
struct Sink {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    port: u16,
}

impl Sink {
    fn start(mode: &str, certificate: Option<&Certificates>) -> Sink {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sink.py");
        let mut command = python();
        command.arg(script).arg(mode);
        if let Some(c) = certificate {
            command.args([c.path("server.pem"), c.path("server.key")]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 with python3-aiosmtpd is needed for this test (apt-get install python3-aiosmtpd)");
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let first = read(&mut lines);
        let port = first["port"].as_u64().expect("the sink says its port") as u16;
        Sink { child, lines, port }
    }

    /// The next mail it took.
    fn mail(&mut self) -> Value {
        read(&mut self.lines)
    }
}

/// Debian's Python, for which python3-aiosmtpd is installed, even where another one comes first in PATH.
fn python() -> Command {
    let debian = Path::new("/usr/bin/python3");
    Command::new(if debian.exists() { debian } else { Path::new("python3") })
}

fn read(lines: &mut impl BufRead) -> Value {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|e| panic!("the sink said {line:?}: {e}"))
}

impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// An authority of the test's own and a certificate for `localhost` by it, made with the openssl command.
struct Certificates(tempfile::TempDir);

impl Certificates {
    fn make() -> Self {
        let made = Certificates(tempfile::tempdir().unwrap());
        let openssl = |args: &[&str]| {
            let out =
                Command::new("openssl").args(args).current_dir(made.0.path()).output().expect("openssl is needed for this test");
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        };
        let common = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
        openssl(&[&common[..], &["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority"]].concat());
        let server =
            ["-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "server.key", "-out", "server.pem", "-subj", "/CN=localhost"];
        let extensions = ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"];
        openssl(&[&common[..], &server, &extensions].concat());
        made
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// The receiver with other recipients or another login.
fn with(receiver: Receiver, recipients: &[&str], login: Option<(&str, &str)>) -> Receiver {
    let Destination::Mail { host, port, security, from, .. } = receiver.destination.clone() else { unreachable!() };
    let destination = Destination::Mail {
        host,
        port,
        security,
        from,
        to: recipients.iter().map(|r| (*r).to_owned()).collect(),
        username: login.map(|(u, _)| u.to_owned()),
        password: login.map(|(_, p)| p.to_owned()),
    };
    Receiver { destination, ..receiver }
}

async fn deliver(receiver: &Receiver, alerts: &[Alert]) -> Result<Receipt, SendError> {
    send(&notification(0xabc, alerts), receiver, alerts, Some("https://portreeve.example.net/")).await
}

/// The parts of a mail decoded by Python's mail library: an independent reader of what lettre wrote.
fn parse(data: &str) -> Value {
    let reader = "import sys, json, html, email, email.policy\n\
        m = email.message_from_string(sys.stdin.read(), policy=email.policy.default)\n\
        part = lambda kind: m.get_body((kind,)).get_content()\n\
        print(json.dumps({'headers': [[k, str(v)] for k, v in m.items()], 'plain': part('plain'), 'html': part('html'), \
         'shown': html.unescape(part('html'))}))";
    let mut child = python().args(["-c", reader]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), data.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    serde_json::from_slice(&out.stdout).expect("the mail parses")
}

fn header<'a>(mail: &'a Value, name: &str) -> Vec<&'a str> {
    let all = mail["headers"].as_array().unwrap();
    all.iter().filter(|h| h[0].as_str().unwrap().eq_ignore_ascii_case(name)).map(|h| h[1].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_mail_arrives_with_both_parts_and_its_id() {
    let mut sink = Sink::start("plain", None);
    let receipt = deliver(&mail_receiver(sink.port, MailSecurity::None), &[alert(1, 7, 0), alert(2, 7, 5)]).await.unwrap();
    assert_eq!(receipt.0, "250 2.0.0 queued as 4F2A");
    let taken = sink.mail();
    assert_eq!((taken["from"].as_str(), taken["to"][0].as_str()), (Some("portreeve@example.net"), Some("soc@example.net")));
    let mail = parse(taken["data"].as_str().unwrap());
    assert_eq!(header(&mail, "Message-ID"), ["<00000000-0000-7000-8000-000000000abc@example.net>"]);
    assert_eq!(header(&mail, "Subject"), ["portreeve [high] 2 alerts on 10.0.0.7 (payments)"]);
    assert_eq!(header(&mail, "Auto-Submitted"), ["auto-generated"]);
    let (text, html) = (mail["plain"].as_str().unwrap(), mail["shown"].as_str().unwrap());
    for part in [text, html] {
        for expected in [
            "10.0.0.7:6379/tcp",
            "Redis 7.0.15",
            "high-risk service",
            "payments",
            "office",
            "protected-mode",
            "1970-01-01 00:00:00",
        ] {
            assert!(part.contains(expected), "{expected} is missing in:\n{part}");
        }
        assert!(part.contains("https://portreeve.example.net/endpoints/10.0.0.7/tcp/6379"), "{part}");
    }
}

#[tokio::test]
async fn the_receivers_language_is_spoken() {
    let mut sink = Sink::start("plain", None);
    let closed = Alert { kind: AlertKind::Closed, reason: Some(Reason::Rst), ..alert(1, 7, 0) };
    let receiver = Receiver { language: Language::Zh, ..mail_receiver(sink.port, MailSecurity::None) };
    deliver(&receiver, &[closed]).await.unwrap();
    let mail = parse(sink.mail()["data"].as_str().unwrap());
    assert_eq!(header(&mail, "Subject"), ["portreeve [高] 10.0.0.7:6379/tcp 已关闭 Redis 7.0.15（payments）"]);
    for part in ["plain", "shown"] {
        let part = mail[part].as_str().unwrap();
        assert!(part.contains("高危服务") && part.contains("主机拒绝（RST）") && part.contains("资产"), "{part}");
        assert!(!part.contains("protected-mode"), "a closed door needs no advice: {part}");
    }
}

#[tokio::test]
async fn a_segment_that_cannot_be_observed_is_told_in_both_languages() {
    let mut sink = Sink::start("plain", None);
    let dark = |kind| Alert { kind, entry: None, service: None, segment: Some(segment(7, "uplink")), ..alert(1, 7, 0) };
    let (unknown, known) = (AlertKind::SegmentUnknown, AlertKind::SegmentKnown);
    for (language, alerts, subject, said) in [
        (
            Language::En,
            vec![dark(unknown)],
            "portreeve [high] segment 10.0.7.0/24 as seen from uplink is unknown since 2026-11-21 09:30:00: 7 of 8 canaries silent",
            "Check the scanner's uplink",
        ),
        (
            Language::Zh,
            vec![dark(unknown)],
            "portreeve [高] 网段 10.0.7.0/24 状态未知（探测视角 uplink，自 2026-11-21 09:30:00 UTC）：8 个金丝雀端口中 7 个无应答",
            "请检查扫描节点的上联链路",
        ),
        (
            Language::En,
            vec![dark(known)],
            "portreeve [high] segment 10.0.7.0/24 as seen from uplink is known again; it was unknown since 2026-11-21 09:30:00",
            "known again",
        ),
        (
            Language::Zh,
            vec![dark(unknown), dark(unknown), dark(known)],
            "portreeve [高] 探测视角 uplink：2 个网段状态未知，1 个恢复可观测",
            "恢复可观测",
        ),
    ] {
        let receiver = Receiver { language, ..mail_receiver(sink.port, MailSecurity::None) };
        deliver(&receiver, &alerts).await.unwrap();
        let mail = parse(sink.mail()["data"].as_str().unwrap());
        assert_eq!(header(&mail, "Subject"), [subject]);
        for part in ["plain", "shown"] {
            let part = mail[part].as_str().unwrap();
            assert!(part.contains(said), "{said}: {part}");
            assert!(!part.contains("6379") && !part.contains("not identified") && !part.contains("未识别"), "{part}");
        }
    }
}

#[tokio::test]
async fn text_from_outside_stays_text() {
    let mut sink = Sink::start("plain", None);
    let hostile = Alert {
        asset_name: Some("<img src=x onerror=alert(1)>\r\nBcc: everybody@example.net".into()),
        service: Some("x\r\nBcc: victim@example.net\r\n\r\n<script>alert(1)</script> {{ 7 * 7 }}".into()),
        owner: Some("a\u{0}\u{1b}[31m\r\n.\r\nMAIL FROM:<evil@example.net>".into()),
        severity: Severity::Critical,
        ..alert(1, 7, 0)
    };
    deliver(&mail_receiver(sink.port, MailSecurity::None), &[hostile]).await.unwrap();
    let taken = sink.mail();
    assert_eq!(taken["to"].as_array().unwrap().len(), 1);
    let mail = parse(taken["data"].as_str().unwrap());
    assert!(header(&mail, "Bcc").is_empty(), "{mail}");
    assert_eq!(header(&mail, "Subject").len(), 1);
    let html = mail["html"].as_str().unwrap();
    assert!(!html.contains("<script>") && !html.contains("<img") && html.contains("&lt;script&gt;"), "{html}");
    assert!(html.contains("{{ 7 * 7 }}"), "a banner is not a template: {html}");
}

#[tokio::test]
async fn a_digest_lists_the_worst_and_counts_the_rest() {
    let mut sink = Sink::start("plain", None);
    let mut alerts: Vec<Alert> = (1..=80).map(|n| alert(n, n as u8, 0)).collect();
    alerts[79].severity = Severity::Critical;
    let digest = model::alert::Notification { digest: true, group: "digest".into(), ..notification(1, &alerts) };
    send(&digest, &mail_receiver(sink.port, MailSecurity::None), &alerts, None).await.unwrap();
    let mail = parse(sink.mail()["data"].as_str().unwrap());
    assert_eq!(header(&mail, "Subject"), ["portreeve [critical] digest: 80 alerts on 80 hosts"]);
    let text = mail["plain"].as_str().unwrap();
    assert_eq!(text.matches(":6379/tcp").count(), 50);
    assert!(text.find("10.0.0.80:").unwrap() < text.find("10.0.0.1:").unwrap(), "the worst comes first");
    assert!(text.contains("+ 30 further alerts"), "{text}");
}

#[tokio::test]
async fn a_test_message_says_that_it_is_one() {
    let mut sink = Sink::start("plain", None);
    let receiver = mail_receiver(sink.port, MailSecurity::None);
    let test = notify::test_message(receiver.id, crate::common::id(3), Ts(0));
    send(&test, &receiver, &[], None).await.unwrap();
    let mail = parse(sink.mail()["data"].as_str().unwrap());
    assert_eq!(header(&mail, "Subject"), ["portreeve test message"]);
    assert!(mail["plain"].as_str().unwrap().contains("This is a test message"));
}

#[tokio::test]
async fn a_refused_recipient_is_named_and_costs_the_others_nothing() {
    let mut sink = Sink::start("plain", None);
    let to = |recipients: &[&str]| with(mail_receiver(sink.port, MailSecurity::None), recipients, None);
    let all_bad = to(&["nobody@example.net"]);
    let some_bad = to(&["nobody@example.net", "soc@example.net"]);
    let busy = to(&["busy@example.net"]);

    let err = deliver(&all_bad, &[alert(1, 7, 0)]).await.unwrap_err();
    assert!(!err.transient && err.message.contains("nobody@example.net") && err.message.contains("550"), "{err}");
    assert!(err.hint.is_some());

    let receipt = deliver(&some_bad, &[alert(1, 7, 0)]).await.unwrap();
    assert!(receipt.0.contains("1 of 2 recipients refused") && receipt.0.contains("nobody@example.net"), "{receipt}");
    assert_eq!(sink.mail()["to"], serde_json::json!(["soc@example.net"]));

    let err = deliver(&busy, &[alert(1, 7, 0)]).await.unwrap_err();
    assert!(err.transient && err.message.contains("451"), "{err}");
}

#[tokio::test]
async fn what_cannot_be_reached_is_tried_again() {
    // a port that was just free: nothing listens there
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let err = deliver(&mail_receiver(port, MailSecurity::None), &[alert(1, 7, 0)]).await.unwrap_err();
    assert!(err.transient && err.message.contains(&format!("localhost:{port}")), "{err}");
    assert!(err.message.to_lowercase().contains("refused"), "{err}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_with_a_hint() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let begun = std::time::Instant::now();
    let err = deliver(&mail_receiver(port, MailSecurity::None), &[alert(1, 7, 0)]).await.unwrap_err();
    assert!(err.transient && err.message.contains("did not answer within 10 s"), "{err}");
    assert!(err.hint.as_deref().is_some_and(|h| h.contains("TLS")), "{err}");
    assert!(begun.elapsed().as_secs() < 15);
}

#[tokio::test]
async fn wrong_addresses_are_found_before_anything_is_sent() {
    for bad in ["", "soc", "soc@example.net\r\nDATA", "a b@example.net", "soc@example.net>, <x@example.net"] {
        let err = deliver(&with(mail_receiver(1, MailSecurity::None), &[bad], None), &[alert(1, 7, 0)]).await.unwrap_err();
        assert!(!err.transient && err.message.contains("is not a mail address"), "{bad:?}: {err}");
    }
    let err = deliver(&with(mail_receiver(1, MailSecurity::None), &[], None), &[alert(1, 7, 0)]).await.unwrap_err();
    assert!(err.message.contains("no recipient"), "{err}");
}

#[tokio::test]
async fn an_untrusted_certificate_is_refused_with_a_hint() {
    let certificates = Certificates::make();
    for (mode, security) in [("starttls", MailSecurity::StartTls), ("tls", MailSecurity::Tls)] {
        let sink = Sink::start(mode, Some(&certificates));
        let err = deliver(&mail_receiver(sink.port, security), &[alert(1, 7, 0)]).await.unwrap_err();
        assert!(err.message.contains("certificate"), "{mode}: {err}");
        assert!(!err.transient && err.hint.as_deref().is_some_and(|h| h.contains("trust store")), "{mode}: {err}");
    }
}

#[tokio::test]
async fn protection_that_the_server_does_not_have_is_never_done_without() {
    let plain = Sink::start("plain", None);
    let err = deliver(&mail_receiver(plain.port, MailSecurity::StartTls), &[alert(1, 7, 0)]).await.unwrap_err();
    assert!(!err.transient && err.message.contains("does not offer STARTTLS"), "{err}");
    let err = deliver(&mail_receiver(plain.port, MailSecurity::Tls), &[alert(1, 7, 0)]).await.unwrap_err();
    assert!(err.hint.as_deref().is_some_and(|h| h.contains("starttls")), "{err}");
}

/// Trust comes from the operating system, which reads `SSL_CERT_FILE` once in a process: the test runs itself again with it.
#[tokio::test]
async fn with_a_trusted_certificate_the_login_goes_through_and_a_wrong_one_is_said() {
    const NAME: &str = "mail::with_a_trusted_certificate_the_login_goes_through_and_a_wrong_one_is_said";
    const MARK: &str = "PORTREEVE_TEST_CERTIFICATES";
    let Some(directory) = std::env::var_os(MARK) else {
        let certificates = Certificates::make();
        let out = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(MARK, certificates.0.path())
            .env("SSL_CERT_FILE", certificates.path("ca.pem"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && said.contains("1 passed"), "{said}");
        return;
    };
    let directory = PathBuf::from(directory);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sink.py");
    let mut child = python()
        .arg(script)
        .arg("login")
        .args([directory.join("server.pem"), directory.join("server.key")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let port = read(&mut lines)["port"].as_u64().unwrap() as u16;
    let mut sink = Sink { child, lines, port };

    let receiver = |login| with(mail_receiver(port, MailSecurity::StartTls), &["soc@example.net"], login);
    deliver(&receiver(Some(("portreeve", "right-horse"))), &[alert(1, 7, 0)]).await.unwrap();
    let taken = sink.mail();
    assert_eq!((taken["tls"].as_bool(), taken["login"].as_str()), (Some(true), Some("portreeve")));

    let err = deliver(&receiver(Some(("portreeve", "wr0ng-h0rse"))), &[alert(1, 7, 0)]).await.unwrap_err();
    assert!(!err.transient && err.message.contains("535"), "{err:?}");
    assert!(err.hint.as_deref().is_some_and(|h| h.contains("password")), "{err}");
    assert!(!format!("{err:?} {err}").contains("wr0ng-h0rse"), "{err:?}");

    let err = deliver(&receiver(None), &[alert(1, 7, 0)]).await.unwrap_err();
    assert!(err.message.contains("530"), "the server wants a login: {err}");
}

#[tokio::test]
async fn a_finding_is_told_with_what_it_is_and_what_to_do_in_both_languages() {
    let mut sink = Sink::start("plain", None);
    let note = |check: &str| FindingNote {
        check: check.into(),
        kind: FindingKind::UnauthenticatedAccess,
        severity: Severity::Critical,
        proved_at: Ts(1_500),
    };
    let check = Checks::builtin().get("redis-unauthenticated").expect("redis is checked");
    for (language, title, advice, unknown) in [
        (Language::En, &check.title.en, &check.advice.en, "access without credentials (their-own)"),
        (Language::Zh, &check.title.zh, &check.advice.zh, "未授权访问（their-own）"),
    ] {
        let findings = vec![note("redis-unauthenticated"), note("their-own")];
        let told = Alert { kind: AlertKind::FindingProved, severity: Severity::Critical, findings, ..alert(1, 7, 0) };
        let receiver = Receiver { language, ..mail_receiver(sink.port, MailSecurity::None) };
        deliver(&receiver, &[told]).await.unwrap();
        let mail = parse(sink.mail()["data"].as_str().unwrap());
        let subject = header(&mail, "Subject").join(" ");
        assert!(subject.contains(title.as_str()), "{subject}");
        for part in ["plain", "shown"] {
            let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let part = flat(mail[part].as_str().unwrap());
            for said in [title.as_str(), advice.as_str(), unknown] {
                assert!(part.contains(&flat(said)), "{part} lacks {said}");
            }
        }
    }
}
