//! An empty password against a real MariaDB: it is an attempt to sign in, reported as one, and made no more often than one.
//!
//! The server's own log is the witness. Default pairs are held in `credentials`.

use crate::checks::{admitted, check, identified, policy};
use crate::credentials::{MARIADB, mariadb, now, recipe};
use lab::recipe::{Ready, Recipe};
use lab::{Kind, LabSpec};
use model::Proto;
use model::finding::{AttemptOutcome, CheckRun, SideEffect, Verdict};

static CLOSED: Recipe = recipe("mariadb-closed", MARIADB, |p| mariadb(p, "CREATE USER 'root'@'%' IDENTIFIED BY 'root1';\n"))
    .ready(Ready::Logs("ready for connections"));
static OPEN: Recipe =
    recipe("mariadb-open", MARIADB, |p| mariadb(p, "CREATE USER 'root'@'%';\n")).ready(Ready::Logs("ready for connections"));

/// Runs the check for an empty password so often: the runs, the server's own log of them, and the seconds that they took.
fn with_an_empty_password(recipe: &'static Recipe, host: u8, times: usize) -> (Vec<CheckRun>, usize, u64) {
    let lab = LabSpec::new().host("it", host, Kind::Refusing).start().unwrap();
    let cooked = lab.host("it").cook(recipe, &recipe.usual_ports()).unwrap();
    let endpoint = admitted(cooked.place.address.into(), cooked.place.ports[0], Proto::Tcp);
    let found = identified(endpoint.get(), "mysql", Some("MariaDB"), false);
    let begun = now();
    let run = |_| {
        let runs = check(&lab, endpoint, &found, &policy(SideEffect::Session));
        runs.into_iter().find(|r| r.check == "mysql-unauthenticated").unwrap()
    };
    let runs = (0..times).map(run).collect();
    let text = std::fs::read_to_string(cooked.place.dir.join("general.log")).unwrap();
    let seen = text.lines().filter(|l| l.contains("Connect") && l.contains("root@")).count();
    (runs, seen, now().since(begun).0 / 1_000)
}

fn told(run: &CheckRun) -> Vec<(&str, &str, AttemptOutcome)> {
    run.attempts.iter().map(|a| (a.account.as_str(), a.pair.as_str(), a.outcome)).collect()
}

#[test]
fn an_empty_password_is_an_attempt_and_is_reported_as_one() {
    for (recipe, host, verdict, outcome) in
        [(&CLOSED, 57, Verdict::NotProved, AttemptOutcome::Rejected), (&OPEN, 58, Verdict::Proved, AttemptOutcome::Accepted)]
    {
        let (runs, seen, _) = with_an_empty_password(recipe, host, 1);
        assert_eq!((runs[0].verdict, told(&runs[0])), (verdict, vec![("root", "empty-password", outcome)]), "{runs:?}");
        assert_eq!(seen, 1, "{runs:?}");
        let request = runs[0].evidence.as_ref().map(|e| e.request.as_str());
        assert_eq!(request, (verdict == Verdict::Proved).then_some("SELECT CURRENT_USER()"));
    }
}

#[test]
#[ignore = "slow: waits a minute between two attempts"]
fn an_empty_password_is_tried_twice_a_day_and_not_a_third_time() {
    let (runs, seen, seconds) = with_an_empty_password(&CLOSED, 59, 3);
    let refused = vec![("root", "empty-password", AttemptOutcome::Rejected)];
    assert_eq!((runs[0].verdict, told(&runs[0])), (Verdict::NotProved, refused.clone()), "{runs:?}");
    assert_eq!((runs[1].verdict, told(&runs[1])), (Verdict::NotProved, refused), "{runs:?}");
    assert_eq!((runs[2].verdict, told(&runs[2])), (Verdict::Inconclusive, Vec::new()), "{runs:?}");
    assert_eq!(seen, 2, "{runs:?}");
    assert!((60..120).contains(&seconds), "{seconds} s: a minute lies between two attempts");
}
