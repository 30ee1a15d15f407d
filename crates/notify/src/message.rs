//! What a notification says: subject, text, HTML and the facts behind them, in the receiver's language.
//!
//! Texts from outside (asset names, banners) go in as data, never as template or markup. How it travels is `receivers`'.

use crate::words;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use model::alert::{Alert, AlertKind, Language, Notification, NotificationState, Receiver};
use model::catalog::Catalog;
use model::check::Checks;
use model::exposure::Severity;
use model::{NotificationId, ReceiverId, Ts};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// The group of a test message.
pub const TEST_GROUP: &str = "test";

/// Alerts that a mail lists; the rest is a number and a link. Fifty lines are what a person reads on a phone, and keep a
/// mail under the 100 kB at which some clients begin to cut.
const MAX_LISTED: usize = 50;

/// Longest subject, in characters; RFC 5322 allows lines of 998 bytes, people see about 80.
const MAX_SUBJECT: usize = 160;

/// A message that shows whether a receiver is set up well. Pass it to [`crate::send`] without alerts.
pub fn test_message(receiver: ReceiverId, id: NotificationId, now: Ts) -> Notification {
    Notification {
        id,
        receiver,
        group: TEST_GROUP.to_owned(),
        digest: false,
        alerts: Vec::new(),
        state: NotificationState::Sending,
        attempts: 1,
        next_try_at: now,
        receipt: None,
        error: None,
        created_at: now,
        sent_at: None,
    }
}

/// A notification with everything that its text needs.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    pub notification: &'a Notification,
    pub receiver: &'a Receiver,
    pub alerts: &'a [Alert],
    pub console_url: Option<&'a str>,
}

/// What the templates are given.
#[derive(Serialize)]
struct Page<'a> {
    subject: String,
    labels: &'a words::Labels,
    lines: Vec<Line>,
    more: usize,
    hosts: usize,
    digest: bool,
    test: bool,
    console_url: Option<&'a str>,
    id: String,
}

/// One alert as the templates show it.
#[derive(Serialize)]
struct Line {
    kind: &'static str,
    closed: bool,
    critical: bool,
    endpoint: String,
    risk: &'static str,
    severity: &'static str,
    service: Option<String>,
    asset: Option<String>,
    owner: Option<String>,
    observed: String,
    evidence: Option<String>,
    /// What checks have proved, the worst first.
    proved: Vec<String>,
    advice: Option<String>,
    url: Option<String>,
    /// It speaks of a segment, not of an endpoint.
    segment: bool,
}

impl<'a> Message<'a> {
    /// The alerts, the most severe and then the oldest first.
    pub fn sorted(&self) -> Vec<&'a Alert> {
        let mut alerts: Vec<&Alert> = self.alerts.iter().collect();
        alerts.sort_by_key(|a| (Reverse(a.severity), a.observed_at, a.id));
        alerts
    }

    /// Whether it only shows that the receiver works.
    pub fn is_test(&self) -> bool {
        self.notification.group == TEST_GROUP
    }

    /// The highest severity in it.
    pub fn severity(&self) -> Option<Severity> {
        self.alerts.iter().map(|a| a.severity).max()
    }

    /// Alerts that it speaks for, listed or not.
    pub fn total(&self) -> usize {
        self.alerts.len().max(self.notification.alerts.len())
    }

    /// What to do about what was proved, or else about the alert's service, where the catalogue knows.
    pub fn advice(&self, alert: &Alert) -> Option<&'static str> {
        let proved = alert.findings.first().and_then(|f| Checks::in_use().get(&f.check));
        if let Some(check) = proved {
            return Some(match self.receiver.language {
                Language::En => &check.advice.en,
                Language::Zh => &check.advice.zh,
            });
        }
        let text = &Catalog::builtin().get(alert.entry.as_deref()?)?.advice;
        Some(match self.receiver.language {
            Language::En => &text.en,
            Language::Zh => &text.zh,
        })
    }

    /// The console's page of the alert's endpoint.
    pub fn url(&self, alert: &Alert) -> Option<String> {
        let base = self.console_url?.trim_end_matches('/');
        let at = &alert.endpoint;
        if alert.segment.is_some() {
            return Some(format!("{base}/segments"));
        }
        Some(format!("{base}/endpoints/{}/{}/{}", at.ip, at.proto, at.port))
    }

    /// One line that says it all, without control characters.
    pub fn subject(&self) -> String {
        let zh = self.receiver.language == Language::Zh;
        let lang = self.receiver.language;
        let sorted = self.sorted();
        let hosts = sorted.iter().map(|a| a.endpoint.ip).collect::<BTreeSet<_>>().len();
        let closed = sorted.iter().filter(|a| a.kind == AlertKind::Closed).count();
        let text = match (sorted.first(), self.severity()) {
            _ if self.is_test() && zh => "测试消息".to_owned(),
            _ if self.is_test() => "test message".to_owned(),
            (Some(_), Some(severity)) if self.notification.digest => {
                let severity = words::severity(severity, lang);
                match zh {
                    true => format!("[{severity}] 摘要：{hosts} 台主机，{} 条告警", self.total()),
                    false => format!("[{severity}] digest: {} alerts on {hosts} hosts", self.total()),
                }
            }
            (Some(first), Some(severity)) if first.segment.is_some() => {
                format!("[{}] {}", words::severity(severity, lang), self.segments(&sorted))
            }
            (Some(first), Some(severity)) => {
                let word = words::severity(severity, lang);
                let what = first.service.clone().or_else(|| first.entry.clone()).unwrap_or_default();
                // Of a finding the subject says what it is.
                let kind = match first.findings.first().filter(|_| first.kind == AlertKind::FindingProved) {
                    Some(finding) => words::finding(finding, lang),
                    None => words::kind(first.kind, lang).to_owned(),
                };
                let owner = first.owner.as_deref().unwrap_or(words::labels(lang).nobody);
                let all_closed = closed == sorted.len();
                match (sorted.len(), zh) {
                    (1, true) => format!("[{word}] {} {kind} {what}（{owner}）", first.endpoint),
                    (1, false) => format!("[{word}] {} {kind} {what} ({owner})", first.endpoint),
                    (n, true) if all_closed => format!("[{word}] {} 上 {n} 个暴露面已关闭（{owner}）", first.endpoint.ip),
                    (n, false) if all_closed => format!("[{word}] {n} exposures closed on {} ({owner})", first.endpoint.ip),
                    (n, true) => format!("[{word}] {} 上有 {n} 条告警，其中关闭 {closed} 条（{owner}）", first.endpoint.ip),
                    (n, false) if closed > 0 => {
                        format!("[{word}] {n} alerts on {}, {closed} of them closings ({owner})", first.endpoint.ip)
                    }
                    (n, false) => format!("[{word}] {n} alerts on {} ({owner})", first.endpoint.ip),
                }
            }
            _ if zh => "告警".to_owned(),
            _ => "alerts".to_owned(),
        };
        let line: String = format!("portreeve {text}").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        line.chars().take(MAX_SUBJECT).collect()
    }

    /// Alerts of segments in one line. They are a group of their own, so there is nothing else among them.
    fn segments(&self, sorted: &[&Alert]) -> String {
        let zh = self.receiver.language == Language::Zh;
        let notes: Vec<_> = sorted.iter().filter_map(|a| Some((a.kind, a.segment.as_ref()?))).collect();
        if let [(kind, note)] = notes[..] {
            let (range, vantage, since) = (note.range, &note.vantage, seconds(note.since));
            return match (kind, zh) {
                (AlertKind::SegmentKnown, true) => format!("网段 {range} 恢复可观测（探测视角 {vantage}，未知自 {since} UTC）"),
                (AlertKind::SegmentKnown, false) => {
                    format!("segment {range} as seen from {vantage} is known again; it was unknown since {since}")
                }
                (_, true) => {
                    format!("网段 {range} 状态未知（探测视角 {vantage}，自 {since} UTC）：{}", words::silent(note, Language::Zh))
                }
                (_, false) => {
                    format!(
                        "segment {range} as seen from {vantage} is unknown since {since}: {}",
                        words::silent(note, Language::En)
                    )
                }
            };
        }
        let over = notes.iter().filter(|(kind, _)| *kind == AlertKind::SegmentKnown).count();
        let (dark, vantage) = (notes.len() - over, notes.first().map(|(_, n)| n.vantage.0.as_str()).unwrap_or_default());
        match zh {
            true => format!("探测视角 {vantage}：{dark} 个网段状态未知，{over} 个恢复可观测"),
            false => format!("segments as seen from {vantage}: {dark} unknown, {over} known again"),
        }
    }

    /// The plain text.
    pub fn text(&self) -> Result<String, minijinja::Error> {
        self.render("mail.txt")
    }

    /// The HTML page.
    pub fn html(&self) -> Result<String, minijinja::Error> {
        self.render("mail.html")
    }

    fn render(&self, template: &str) -> Result<String, minijinja::Error> {
        let mut env = Environment::new();
        env.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        env.set_auto_escape_callback(|name| if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None });
        env.add_template("mail.txt", include_str!("../templates/mail.txt"))?;
        env.add_template("mail.html", include_str!("../templates/mail.html"))?;
        let sorted = self.sorted();
        let lines: Vec<Line> = sorted.iter().take(MAX_LISTED).map(|a| self.line(a)).collect();
        let page = Page {
            subject: self.subject(),
            labels: words::labels(self.receiver.language),
            more: self.total().saturating_sub(lines.len()),
            lines,
            hosts: sorted.iter().map(|a| a.endpoint.ip).collect::<BTreeSet<_>>().len(),
            digest: self.notification.digest,
            test: self.is_test(),
            console_url: self.console_url,
            id: self.notification.id.to_string(),
        };
        env.get_template(template)?.render(Serde(&page))
    }

    fn line(&self, alert: &Alert) -> Line {
        let lang = self.receiver.language;
        Line {
            kind: words::kind(alert.kind, lang),
            closed: matches!(alert.kind, AlertKind::Closed | AlertKind::SegmentKnown),
            critical: alert.severity == Severity::Critical,
            endpoint: match &alert.segment {
                Some(note) => words::segment(note, lang),
                None => alert.endpoint.to_string(),
            },
            risk: words::risk(alert.risk, lang),
            severity: words::severity(alert.severity, lang),
            service: alert.service.clone(),
            asset: alert.asset_name.clone(),
            owner: alert.owner.clone(),
            observed: seconds(alert.observed_at),
            evidence: match &alert.segment {
                Some(note) => Some(words::silent(note, lang)),
                None => alert.reason.map(|r| words::reason(r, lang).to_owned()),
            },
            proved: alert.findings.iter().map(|f| words::finding(f, lang)).collect(),
            // a closed door needs no advice, and a digest is to be short
            advice: match alert.kind {
                AlertKind::Opened | AlertKind::FindingProved if !self.notification.digest => {
                    self.advice(alert).map(str::to_owned)
                }
                AlertKind::SegmentUnknown => Some(words::blind_advice(lang).to_owned()),
                _ => None,
            },
            url: self.url(alert),
            segment: alert.segment.is_some(),
        }
    }
}

/// An instant as people read it, to the second, UTC.
fn seconds(at: Ts) -> String {
    at.to_string().replace('T', " ").split('.').next().unwrap_or_default().to_owned()
}
