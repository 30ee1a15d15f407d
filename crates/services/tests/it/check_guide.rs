//! The guide to adding a check, and the reference of checks, against the catalogue: the example is taken as it stands there.

use model::check::Checks;
use services::check::Library;
use std::path::Path;

fn doc(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// The first block of TOML in the guide.
fn example() -> String {
    let text = doc("guides/add-a-check.md");
    let (_, rest) = text.split_once("```toml\n").expect("the guide has an example");
    let (block, _) = rest.split_once("```").expect("the example ends");
    block.lines().map(|l| l.strip_prefix("   ").unwrap_or(l)).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_of_the_guide_is_a_check_that_holds_its_cases() {
    let mut library = Library::default();
    library.add("checks/mine.toml", &example()).unwrap();
    let report = library.test();
    assert_eq!(report.failures, [], "{}", example());
    assert!(report.cases >= 4);
    assert!(Checks::builtin().get(&library.infos().all()[0].id).is_none(), "the example is of a service that has no check yet");
}

#[test]
fn what_the_guide_says_is_refused_is_refused() {
    for (from, to, word) in [
        ("verdict = \"proved\"", "verdict = \"inconclusive\"", "no case that proves"),
        ("[0-9]+\\n'", "[0-9+\\n'", "unclosed"),
        ("farewell = ", "farwell = ", "farwell"),
    ] {
        let changed = example().replacen(from, to, 1);
        assert_ne!(changed, example(), "{from}");
        let err = Library::default().add("checks/mine.toml", &changed).unwrap_err().to_string();
        assert!(err.contains(word) && err.contains("checks/mine.toml"), "{err}");
    }
    let (head, _) = example().split_once("[check.line]").map(|(h, t)| (h.to_owned(), t.to_owned())).unwrap();
    let writes = format!("{head}[check.http]\npost = ['/v3/kv/put']\nbody = ['x']\n");
    let err = Library::default().add("checks/mine.toml", &writes).unwrap_err().to_string();
    assert!(err.contains("read only"), "{err}");
}

#[test]
fn the_reference_lists_every_check_as_the_catalogue_has_it() {
    let text = doc("reference/checks.md");
    let mut missing = Vec::new();
    for check in Checks::builtin().all() {
        let row = format!(
            "| `{}` | {} | {} | {} | {} | {} |",
            check.id,
            check.title.en.replace('|', "\\|"),
            check.kind,
            check.severity,
            check.side_effect,
            check.proved.as_str().replace('-', " "),
        );
        if !text.lines().any(|line| line == row) {
            missing.push(row);
        }
    }
    assert!(missing.is_empty(), "docs/reference/checks.md lacks these rows:\n{}", missing.join("\n"));
    let rows = text.lines().filter(|l| l.starts_with("| `")).count();
    assert_eq!(rows, Checks::builtin().all().len(), "a row of a check that is not there any more");
}
