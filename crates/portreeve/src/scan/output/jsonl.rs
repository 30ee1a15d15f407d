//! One JSON object a line, written as found. The schema is docs/reference/scan-output.md's.

use super::{Outcome, Record, Sink};
use std::io::{self, Write};

/// The sink.
pub struct Jsonl(Box<dyn Write>);

impl Jsonl {
    /// Writes to `out`.
    pub fn new(out: Box<dyn Write>) -> Self {
        Jsonl(out)
    }
}

impl Sink for Jsonl {
    fn record(&mut self, record: Record) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, &record)?;
        self.0.write_all(b"\n")?;
        self.0.flush()
    }
    fn finish(&mut self, _: &Outcome) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{printed, record, service};
    use crate::cli::Format;
    use serde_json::{Value, json};

    #[test]
    fn every_line_has_the_documented_fields() {
        let text = printed(
            Format::Jsonl,
            vec![record("192.0.2.1", 8080, Some(service("http", Some("nginx"), None))), record("2001:db8::1", 22, None)],
        );
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(
            lines[0],
            json!({"ip": "192.0.2.1", "port": 8080, "proto": "tcp", "state": "open", "reason": "syn-ack",
                   "service": {"name": "http", "product": "nginx", "version": null, "tls": null},
                   "risk": null, "ts": "1970-01-01T00:00:00.000Z"})
        );
        assert_eq!(lines[1]["service"], Value::Null);
        assert_eq!(lines[1]["risk"]["kind"], "high-risk-port");
        assert_eq!(lines[1]["risk"]["id"], "ssh");
    }
}
