//! The crate against real servers and against listeners that misbehave, on loopback.

mod behaviour;
mod check_guide;
mod checks;
mod corpus;
mod credentials;
mod documentation;
mod empty_password;
mod ground_truth;
mod hostile;
mod lookalikes;
mod many;
mod panels;
mod real;
mod servers;
mod small;
mod transcripts;

use model::service::{Identification, Identity};
use model::{Endpoint, InScope, Scope};
use services::{Budget, Identified, Unpaced};

/// A loopback port as the crate wants it: admitted.
fn loopback(port: u16) -> InScope<Endpoint> {
    let scope = Scope::new(&["127.0.0.0/8".parse().unwrap()], &[]);
    scope.admit(Endpoint::tcp("127.0.0.1".parse().unwrap(), port)).unwrap()
}

/// Identifies a loopback port under the default budget.
async fn identify(port: u16) -> Identified {
    services::identify(loopback(port), &Budget::default(), &Unpaced).await
}

/// Service, product, and version as one line: `mysql MariaDB 10.11.19`.
fn line(identification: &Identification) -> String {
    match &identification.service {
        None => identification.identity.to_string(),
        Some(s) => {
            let words = [
                Some(identification.identity.to_string()).filter(|_| identification.identity != Identity::Identified),
                s.tls.as_ref().map(|_| "tls".to_owned()),
                Some(s.name.clone()).filter(|n| n != "tls" || s.tls.is_none()),
                s.product.clone(),
                s.version.clone(),
            ];
            words.into_iter().flatten().collect::<Vec<_>>().join(" ")
        }
    }
}
