//! Identifies endpoints and runs the checks that apply, as a node does, and prints what came of it, a JSON object for each:
//! `cargo run -p services --example verdicts -- --within 10.99.7.0/24 [--ceiling session] [--credentials N] 10.99.7.2:6379/tcp …`.
//!
//! For `cargo xtask bench identify`, which knows what is true. A node takes scope and policy from the server; here they are
//! what the command line says, and nothing outside of `--within` is spoken to.

use futures::StreamExt;
use model::finding::{CheckPolicy, CredentialGrant, SideEffect};
use model::{Endpoint, IpRange, Scope, Ts};
use services::{Budget, Unpaced, check, identify};
use std::time::Instant;

fn usage(why: &str) -> ! {
    eprintln!("error: {why}\nusage: verdicts --within RANGE [--ceiling CLASS] [--credentials N] ADDRESS:PORT/PROTO…");
    std::process::exit(2);
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (mut within, mut ceiling, mut credentials) = (None::<IpRange>, SideEffect::Session, None::<u8>);
    let mut endpoints: Vec<Endpoint> = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| usage(&format!("{word} needs a value")));
        match word.as_str() {
            "--within" => within = value().parse().ok(),
            "--ceiling" => ceiling = value().parse().unwrap_or_else(|_| usage("no such class")),
            "--credentials" => credentials = value().parse().ok(),
            _ => endpoints.push(word.parse().unwrap_or_else(|_| usage(&format!("`{word}` is no endpoint")))),
        }
    }
    let Some(range) = within else { usage("--within is missing") };
    let scope = Scope::new(&[range], &[]);
    let grant = |max_attempts| CredentialGrant {
        approval: "00000000-0000-7000-8000-000000000000".parse().unwrap_or_else(|e: String| usage(&e)),
        not_before: Ts(0),
        until: Ts(i64::MAX),
        max_attempts,
        spent: Vec::new(),
    };
    let policy = CheckPolicy { range, ceiling: Some(ceiling), credentials: credentials.map(grant) };
    let budget = Budget::default();
    let admitted: Vec<_> =
        endpoints.into_iter().map(|e| scope.admit(e).unwrap_or_else(|| usage(&format!("{e} is not within {range}")))).collect();
    let work = futures::stream::iter(admitted.into_iter().map(|endpoint| {
        let (policy, budget) = (&policy, &budget);
        async move {
            let begun = Instant::now();
            let found = identify(endpoint, budget, &Unpaced).await.identification;
            let checks = check::run(endpoint, &found, policy, budget, &Unpaced).await;
            serde_json::json!({ "identification": found, "checks": checks, "took_ms": begun.elapsed().as_millis() as u64 })
        }
    }));
    let mut results = work.buffer_unordered(32);
    while let Some(result) = results.next().await {
        println!("{result}");
    }
}
