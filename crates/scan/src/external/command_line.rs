//! The command line of one job: the configured words with addresses, ports and pace in their places, and the file of targets.
//!
//! Only what `command` has restricted to the scope is written here. Which placeholders there are is `engine`'s.

use super::child;
use super::command::{CommandError, CommandJob};
use super::engine::{Engine, fill};
use model::address::{IpRange, from_u128, to_u128};
use std::path::Path;

/// Longest list of addresses on a command line; the kernel takes 128 KiB in one argument.
const MAX_ARGUMENT: usize = 64 << 10;

/// The command line for the job, with the file of targets written.
pub(super) fn command_line(
    engine: &Engine,
    job: &CommandJob,
    targets: &[IpRange],
    dir: &Path,
) -> Result<Vec<String>, CommandError> {
    let not_meant = |what: String| CommandError::NotMeant { engine: engine.name.clone(), what };
    let (template, work) = match job.ports {
        Some(_) => (&engine.sweep, "sweeps"),
        None => (&engine.liveness, "liveness passes"),
    };
    let Some(template) = template else {
        return Err(not_meant(format!(
            "is not set up for {work} here\nhint: give it a command line for them, or the task another engine"
        )));
    };
    let takes = |r: &IpRange| if r.first().is_ipv4() { engine.ipv4 } else { engine.ipv6 };
    if let Some(range) = targets.iter().find(|r| !takes(r)) {
        let family = if range.first().is_ipv4() { "IPv4" } else { "IPv6" };
        return Err(not_meant(format!(
            "is not set up for {family}, and {range} is to be probed\nhint: set its `family`, or give these ranges a task of their own"
        )));
    }
    let cidrs: Vec<String> = targets.iter().flat_map(cidrs).collect();
    let file = dir.join("targets");
    let list = cidrs.join(",");
    if list.len() > MAX_ARGUMENT && template.iter().any(|a| a.contains("{targets}")) {
        return Err(not_meant("has more targets than a command line holds\nhint: let it read {targets_file}".into()));
    }
    child::write(&file, &(cidrs.join("\n") + "\n"))
        .map_err(|source| CommandError::Files { engine: engine.name.clone(), source })?;
    let value = |word: &str| {
        Some(match word {
            "targets" => list.clone(),
            "targets_file" => file.to_string_lossy().into_owned(),
            "ports" => job.ports.as_ref().map(ToString::to_string).unwrap_or_default(),
            "rate" => job.rate_pps.max(1).to_string(),
            "retries" => job.retries.to_string(),
            // Both masscan's and nmap's seeds are 32 bits or more; a positive number is taken everywhere.
            "seed" => (job.seed & 0x7fff_ffff).to_string(),
            "output" => dir.join("output").to_string_lossy().into_owned(),
            _ => return None,
        })
    };
    template
        .iter()
        .map(|argument| {
            fill(argument, value).ok_or_else(|| not_meant(format!("has a placeholder in `{argument}` that does not exist")))
        })
        .collect()
}

/// The range as the fewest CIDRs.
fn cidrs(range: &IpRange) -> Vec<String> {
    let v4 = range.first().is_ipv4();
    let bits: u32 = if v4 { 32 } else { 128 };
    let (mut from, until) = (to_u128(range.first()), to_u128(range.last()));
    let mut all = Vec::new();
    loop {
        // As large as its own start allows, and no larger than what is left.
        let mut size = from.trailing_zeros().min(bits);
        while size > 0 && (size >= 128 || from.checked_add((1u128 << size) - 1).is_none_or(|last| last > until)) {
            size -= 1;
        }
        let prefix = bits - size;
        all.push(if prefix == bits { from_u128(from, v4).to_string() } else { format!("{}/{prefix}", from_u128(from, v4)) });
        match from.checked_add(1u128 << size) {
            Some(next) if next <= until => from = next,
            _ => return all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_become_the_cidrs_that_hold_exactly_them() {
        for (range, expected) in [
            ("10.0.0.7", vec!["10.0.0.7"]),
            ("10.0.0.0/24", vec!["10.0.0.0/24"]),
            ("10.0.0.1-10.0.0.6", vec!["10.0.0.1", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6"]),
            ("255.255.255.254-255.255.255.255", vec!["255.255.255.254/31"]),
            ("0.0.0.0-255.255.255.255", vec!["0.0.0.0/0"]),
            ("2001:db8::-2001:db8::2", vec!["2001:db8::/127", "2001:db8::2"]),
        ] {
            let range: IpRange = range.parse().unwrap();
            assert_eq!(cidrs(&range), expected, "{range}");
            let held: u128 = cidrs(&range).iter().map(|c| c.parse::<IpRange>().unwrap().len()).sum();
            assert_eq!(held, range.len());
        }
    }
}
