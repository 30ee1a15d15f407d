//! Talks that a pattern cannot lead: lengths that add up, salts, names inside answers that the next question needs.
//!
//! A codec is a [`Dialogue`](super::dialogue::Dialogue) in a file of its own and a line in the list. What it proves and how bad
//! that is stands in `catalog/checks/`, with the cases it is held to.

mod amqp;
mod ldap;
mod mysql;
mod postgresql;
mod rsync;
mod smb;
mod ssh;

use super::dialogue::Dialogue;

/// Every codec by the name that the catalogue calls it.
const CODECS: &[(&str, &dyn Dialogue)] = &[
    ("amqp-login", &amqp::SignIn),
    ("ldap-one-level", &ldap::OneLevel),
    ("mysql-login", &mysql::SignIn),
    ("postgresql-login", &postgresql::SignIn),
    ("rsync-module", &rsync::Module),
    ("smb-null-session", &smb::NullSession),
    ("ssh-methods", &ssh::Methods),
];

/// The codec of that name.
pub(crate) fn named(name: &str) -> Result<&'static dyn Dialogue, String> {
    CODECS.iter().find(|(n, _)| *n == name).map(|(_, codec)| *codec).ok_or_else(|| {
        let names: Vec<&str> = CODECS.iter().map(|(n, _)| *n).collect();
        format!("`{name}` is no codec\nhint: one of {}", names.join(", "))
    })
}
