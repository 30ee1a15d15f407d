//! Comma-separated values with a header, written as found, for spreadsheets.

use super::{Outcome, Record, Sink};
use std::io::{self, Write};

const HEADER: [&str; 15] = [
    "ip",
    "port",
    "proto",
    "state",
    "reason",
    "service",
    "product",
    "version",
    "tls",
    "risk_kind",
    "risk",
    "ts",
    "identity",
    "confidence",
    "evidence",
];

/// The sink. The header is written with the first record, or at the end when there is none.
pub struct Csv {
    out: ::csv::Writer<Box<dyn Write>>,
    header_written: bool,
}

impl Csv {
    /// Writes to `out`, which has its header already when it is `continued`.
    pub fn new(out: Box<dyn Write>, continued: bool) -> Self {
        Csv { out: ::csv::Writer::from_writer(out), header_written: continued }
    }

    fn header(&mut self) -> io::Result<()> {
        if !self.header_written {
            self.out.write_record(HEADER)?;
            self.header_written = true;
        }
        Ok(())
    }
}

/// Text from a target in a cell that a spreadsheet would run as a formula is quoted with an apostrophe
/// (OWASP, CSV injection).
fn inert(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

impl Sink for Csv {
    fn record(&mut self, r: Record) -> io::Result<()> {
        self.header()?;
        let service = r.service.as_ref();
        let text = |s: Option<&String>| s.map(|s| inert(s)).unwrap_or_default();
        self.out.write_record([
            r.ip.to_string(),
            r.port.to_string(),
            r.proto.to_string(),
            r.state.to_string(),
            r.reason.to_string(),
            text(service.map(|s| &s.name)),
            text(service.and_then(|s| s.product.as_ref())),
            text(service.and_then(|s| s.version.as_ref())),
            text(service.and_then(|s| s.tls.as_ref()).map(|t| &t.version)),
            r.risk.as_ref().map(|r| r.kind.to_string()).unwrap_or_default(),
            r.risk.as_ref().map(|r| r.name.to_owned()).unwrap_or_default(),
            r.ts.to_string(),
            r.proof.as_ref().map(|p| p.identity.to_string()).unwrap_or_default(),
            r.proof.as_ref().and_then(|p| p.confidence).map(|c| c.to_string()).unwrap_or_default(),
            text(r.proof.as_ref().and_then(|p| p.evidence.as_ref())),
        ])?;
        self.out.flush()
    }
    fn finish(&mut self, _: &Outcome) -> io::Result<()> {
        self.header()?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{printed, record, service};
    use crate::cli::Format;

    #[test]
    fn cells_from_targets_cannot_be_formulas() {
        let text =
            printed(Format::Csv, vec![record("192.0.2.1", 8080, Some(service("http", Some("=cmd|' /C calc'!A0"), Some("1,2"))))]);
        let mut lines = text.lines();
        assert_eq!(
            lines.next(),
            Some("ip,port,proto,state,reason,service,product,version,tls,risk_kind,risk,ts,identity,confidence,evidence")
        );
        assert_eq!(
            lines.next(),
            Some("192.0.2.1,8080,tcp,open,syn-ack,http,'=cmd|' /C calc'!A0,\"1,2\",,,,1970-01-01T00:00:00.000Z,,,")
        );
    }

    #[test]
    fn nothing_found_still_has_a_header() {
        assert!(printed(Format::Csv, vec![]).starts_with("ip,port"));
    }
}
