//! A table for people, sorted by address and port, printed at the end.

use super::{Outcome, Record, Sink};
use comfy_table::{ContentArrangement, Table as Grid, TableStyle};
use std::io::{self, Write};

/// The sink.
pub struct Table {
    out: Box<dyn Write>,
    records: Vec<Record>,
}

impl Table {
    /// Writes to `out`.
    pub fn new(out: Box<dyn Write>) -> Self {
        Table { out, records: Vec::new() }
    }
}

impl Sink for Table {
    fn record(&mut self, record: Record) -> io::Result<()> {
        self.records.push(record);
        Ok(())
    }

    fn finish(&mut self, _: &Outcome) -> io::Result<()> {
        if self.records.is_empty() {
            return Ok(());
        }
        self.records.sort_by_key(|r| (r.ip, r.proto, r.port));
        let mut grid = Grid::new();
        grid.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Dynamic);
        let proofs = self.records.iter().any(|r| r.proof.is_some());
        let mut header = vec!["ADDRESS", "PORT", "STATE", "REASON", "SERVICE", "RISK"];
        if proofs {
            header.insert(5, "PROOF");
        }
        grid.set_header(header);
        let mut last = None;
        for r in &self.records {
            // An address is printed once, so that hosts stand out.
            let address = if last == Some(r.ip) { String::new() } else { r.ip.to_string() };
            last = Some(r.ip);
            let risk = r.risk.as_ref().map(|risk| format!("{}: {}", risk.kind, risk.name)).unwrap_or_default();
            let risk = if r.pseudo_open { "answers on every port".to_owned() } else { risk };
            let mut row = vec![
                address,
                format!("{}/{}", r.port, r.proto),
                r.state.to_string(),
                r.reason.to_string(),
                r.service_line(),
                risk,
            ];
            if proofs {
                row.insert(5, r.proof_line());
            }
            grid.add_row(row);
        }
        for line in grid.lines() {
            // The grid pads every cell; the first one's padding would indent everything by one.
            writeln!(self.out, "{}", line.strip_prefix(' ').unwrap_or(&line).trim_end())?;
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{printed, record, service};
    use crate::cli::Format;

    #[test]
    fn hosts_and_ports_are_in_order_and_an_address_stands_once() {
        let text = printed(
            Format::Table,
            vec![
                record("192.0.2.10", 22, Some(service("ssh", Some("OpenSSH"), Some("9.2p1")))),
                record("192.0.2.9", 6379, None),
                record("192.0.2.10", 21, None),
            ],
        );
        let words: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["ADDRESS", "PORT", "STATE", "REASON", "SERVICE", "RISK"]);
        assert_eq!(words[1], ["192.0.2.9", "6379/tcp", "open", "syn-ack", "high-risk-port:", "Redis"]);
        assert_eq!(words[2][..4], ["192.0.2.10", "21/tcp", "open", "syn-ack"]);
        assert!(text.lines().nth(3).unwrap().starts_with("    "), "columns stay aligned below an address: {text}");
        assert_eq!(words[3], ["22/tcp", "open", "syn-ack", "ssh", "OpenSSH", "9.2p1", "high-risk-port:", "SSH"]);
    }
}
