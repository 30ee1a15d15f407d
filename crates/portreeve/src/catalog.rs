//! `portreeve catalog …`: what can be recognised and checked, how far that is proved, and whether it holds its cases.
//!
//! Reading entries and holding them to their cases is `services`'; here it is printed.

use crate::cli::CatalogCommand;
use anyhow::bail;
use comfy_table::{ContentArrangement, Table, TableStyle};
use services::rules;
use services::rules::CatalogError;
use std::io::{self, Write};
use std::path::Path;

fn load(directory: &Path) -> anyhow::Result<Vec<CatalogError>> {
    if !directory.is_dir() {
        bail!(
            "catalogue directory `{}` does not exist\nhint: it holds folders named services, panels and checks, with TOML files",
            directory.display()
        );
    }
    Ok(rules::add_directory(directory))
}

/// Loads an operator's directory for this process. Entries that are refused are named on standard error; the others hold.
pub fn add(directory: &Path) -> anyhow::Result<()> {
    for error in load(directory)? {
        anstream::eprintln!("refused: {error}");
    }
    Ok(())
}

/// Runs the command.
pub fn run(command: CatalogCommand) -> anyhow::Result<()> {
    match command {
        CatalogCommand::Test { directory } => test(directory.as_deref()),
        CatalogCommand::List { directory } => {
            if let Some(directory) = &directory {
                add(directory)?;
            }
            Ok(list(&mut io::stdout().lock())?)
        }
    }
}

fn test(directory: Option<&Path>) -> anyhow::Result<()> {
    let refused = directory.map(load).transpose()?.unwrap_or_default();
    let (tally, failures) = rules::test();
    let mut out = io::stdout().lock();
    for error in &refused {
        writeln!(out, "refused: {error}")?;
    }
    for failure in &failures {
        writeln!(out, "failed: {failure}")?;
    }
    let (entries, cases) = (tally.entries, tally.cases);
    writeln!(out, "{entries} entries, {cases} cases, {} failed, {} refused", failures.len(), refused.len())?;
    if failures.is_empty() && refused.is_empty() {
        return Ok(());
    }
    bail!("the catalogue does not hold its cases")
}

fn grid(header: &[&str]) -> Table {
    let mut grid = Table::new();
    grid.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Dynamic);
    grid.set_header(header.to_vec());
    grid
}

fn print(out: &mut impl Write, title: &str, grid: &Table) -> io::Result<()> {
    writeln!(out, "{title}")?;
    for line in grid.lines() {
        writeln!(out, "{}", line.strip_prefix(' ').unwrap_or(&line).trim_end())?;
    }
    writeln!(out)
}

fn list(out: &mut impl Write) -> io::Result<()> {
    let mut services = grid(&["SERVICE", "PRODUCTS", "PORTS", "RULES", "PROVED", "FILE"]);
    for s in rules::summaries() {
        services.add_row(vec![
            s.name.clone(),
            s.products.iter().cloned().collect::<Vec<_>>().join(", "),
            s.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", "),
            s.rules.to_string(),
            s.proved.as_str().to_owned(),
            s.file.clone(),
        ]);
    }
    print(out, "Services", &services)?;
    let mut panels = grid(&["PANEL", "PRODUCT", "PROVED", "FILE"]);
    for p in rules::panel_summaries() {
        panels.add_row(vec![p.id, p.product, p.proved.as_str().to_owned(), p.origin.to_string()]);
    }
    print(out, "Panels", &panels)?;
    let mut checks = grid(&["CHECK", "PROVES", "SIDE EFFECT", "SERVICES", "PROVED"]);
    for c in rules::checks().all() {
        let (proves, effect) = (c.kind.to_string(), c.side_effect.to_string());
        checks.add_row(vec![c.id.clone(), proves, effect, c.services.join(", "), c.proved.to_string()]);
    }
    print(out, "Checks", &checks)
}
