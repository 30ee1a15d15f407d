//! What observations mean, as scripts a security engineer can read and as properties over random sequences.
mod findings;
mod properties;
mod risk;
mod scenarios;
mod script;
mod segments;
