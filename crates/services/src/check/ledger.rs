//! How often one account of one address has been tried, so that no approval is ever exceeded: the node's own count, beside
//! what the server says was spent.
//!
//! An attempt is written down before it is made. Many endpoints of one host are checked at once, and two of them may know
//! the same account, so the count is one for the whole process. Which pairs are tried is left to `login`.

use model::check::{ATTEMPT_SPACING_S, MAX_ATTEMPTS};
use model::finding::CredentialGrant;
use model::{Duration, Endpoint, Ts};
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

/// What an attempt counts for: a day.
const WINDOW: Duration = Duration::hours(24);

/// Beyond so many accounts, those of long ago are forgotten first. One is some hundred bytes.
const ACCOUNTS: usize = 100_000;

/// Whether an attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Now; it is written down already.
    Now,
    /// Not before this instant; nothing is written down.
    At(Ts),
    /// Not any more, in this window.
    Never(&'static str),
}

/// The attempts of this process in the last day.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    tried: Mutex<HashMap<(Endpoint, String), Vec<Ts>>>,
}

impl Ledger {
    /// The one that this process keeps.
    pub(crate) fn of_the_process() -> &'static Ledger {
        static LEDGER: OnceLock<Ledger> = OnceLock::new();
        LEDGER.get_or_init(Ledger::default)
    }

    /// Asks to try the account now, under the grant. `most` is what the check itself allows, 1 where a lockout is known.
    pub(crate) fn ask(&self, endpoint: Endpoint, account: &str, grant: &CredentialGrant, most: u8, now: Ts) -> Leave {
        if now < grant.not_before || now >= grant.until {
            return Leave::Never("the approval is not in force");
        }
        let most = usize::from(grant.max_attempts.min(most).min(MAX_ATTEMPTS));
        // Two servers of one host may know the same account, and lock it for both.
        self.leave(endpoint, account, |at| at.ip == endpoint.ip, Some(grant), most, now)
    }

    /// Asks to try the account with an empty password now, which needs no approval and counts like any attempt. Only what was
    /// tried at the endpoint itself stands against it: each server on a host has an account of that name, and an empty password
    /// is all there is to try, so that one server's does not hide another's.
    pub(crate) fn ask_empty(&self, endpoint: Endpoint, account: &str, grant: Option<&CredentialGrant>, now: Ts) -> Leave {
        self.leave(endpoint, account, |at| *at == endpoint, grant, usize::from(MAX_ATTEMPTS), now)
    }

    /// The place that is asked for, if fewer than `most` attempts with the account are known where it counts.
    fn leave(
        &self,
        endpoint: Endpoint,
        account: &str,
        counts: impl Fn(&Endpoint) -> bool,
        grant: Option<&CredentialGrant>,
        most: usize,
        now: Ts,
    ) -> Leave {
        let reported = grant.map_or(&[][..], |grant| &grant.spent);
        let since = now.minus(WINDOW);
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        for times in tried.values_mut() {
            times.retain(|at| *at > since);
        }
        tried.retain(|_, times| !times.is_empty());
        // The server knows some of ours, and some that another process made: of each endpoint, ours since its last.
        let (mut count, mut last) = (0usize, None::<Ts>);
        let spent = |e: &Endpoint| reported.iter().find(|s| s.endpoint == *e && s.account == account);
        for s in reported.iter().filter(|s| counts(&s.endpoint) && s.account == account && s.last_at > since) {
            count += usize::from(s.attempts);
            last = last.max(Some(s.last_at));
        }
        for ((at, who), times) in tried.iter().filter(|((at, who), _)| counts(at) && who == account) {
            debug_assert_eq!(who, account);
            let known = spent(at).map(|s| s.last_at);
            count += times.iter().filter(|t| known.is_none_or(|known| **t > known)).count();
            last = last.max(times.iter().max().copied());
        }
        if count >= most {
            return Leave::Never("the attempts for this account and address are spent");
        }
        let next = last.map(|last| last.plus(Duration::secs(ATTEMPT_SPACING_S as u64)));
        if let Some(next) = next.filter(|next| *next > now) {
            return if grant.is_none_or(|grant| next < grant.until) {
                Leave::At(next)
            } else {
                Leave::Never("the approval ends before the next attempt")
            };
        }
        if tried.len() >= ACCOUNTS {
            return Leave::Never("too many accounts are being tried");
        }
        tried.entry((endpoint, account.to_owned())).or_default().push(now);
        Leave::Now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::finding::SpentAttempt;
    use model::{ApprovalId, Duration};

    fn endpoint(ip: &str, port: u16) -> Endpoint {
        Endpoint::tcp(ip.parse().unwrap(), port)
    }

    fn grant(max_attempts: u8, spent: Vec<SpentAttempt>) -> CredentialGrant {
        let approval = ApprovalId("00000000-0000-7000-8000-000000000001".parse().unwrap());
        CredentialGrant { approval, not_before: Ts(0), until: Ts(10_000_000_000), max_attempts, spent }
    }

    const NOW: Ts = Ts(1_000_000_000);

    #[test]
    fn an_account_gets_what_the_grant_the_check_and_the_policy_all_allow() {
        for (granted, check, allowed) in [(1, 2, 1), (2, 2, 2), (2, 1, 1), (9, 9, 2), (0, 2, 0)] {
            let ledger = Ledger::default();
            let mut now = NOW;
            let mut got = 0;
            for _ in 0..5 {
                if ledger.ask(endpoint("10.0.0.1", 22), "root", &grant(granted, vec![]), check, now) == Leave::Now {
                    got += 1;
                }
                now = now.plus(Duration::secs(61));
            }
            assert_eq!(got, allowed, "grant {granted}, check {check}");
        }
    }

    #[test]
    fn two_attempts_with_one_account_are_a_minute_apart_even_on_two_ports() {
        let ledger = Ledger::default();
        let grant = grant(2, vec![]);
        assert_eq!(ledger.ask(endpoint("10.0.0.1", 22), "root", &grant, 2, NOW), Leave::Now);
        let next = NOW.plus(Duration::secs(60));
        assert_eq!(ledger.ask(endpoint("10.0.0.1", 3306), "root", &grant, 2, NOW), Leave::At(next));
        assert_eq!(ledger.ask(endpoint("10.0.0.1", 22), "admin", &grant, 2, NOW), Leave::Now, "another account");
        assert_eq!(ledger.ask(endpoint("10.0.0.2", 22), "root", &grant, 2, NOW), Leave::Now, "another address");
        assert_eq!(ledger.ask(endpoint("10.0.0.1", 3306), "root", &grant, 2, next), Leave::Now);
        assert!(matches!(
            ledger.ask(endpoint("10.0.0.1", 22), "root", &grant, 2, next.plus(Duration::hours(1))),
            Leave::Never(_)
        ));
        let next_day = next.plus(Duration::hours(24));
        assert_eq!(ledger.ask(endpoint("10.0.0.1", 22), "root", &grant, 2, next_day), Leave::Now, "a day later it begins anew");
    }

    #[test]
    fn an_empty_password_is_tried_twice_a_day_at_each_server_and_counts_for_the_pairs() {
        let ledger = Ledger::default();
        let (one, two) = (endpoint("10.0.0.1", 3306), endpoint("10.0.0.1", 3307));
        assert_eq!(ledger.ask_empty(one, "root", None, NOW), Leave::Now);
        assert_eq!(ledger.ask_empty(two, "root", None, NOW), Leave::Now, "another server of the host");
        let next = NOW.plus(Duration::secs(60));
        assert_eq!(ledger.ask_empty(one, "root", None, NOW), Leave::At(next), "not twice in a minute");
        assert!(matches!(ledger.ask(one, "root", &grant(2, vec![]), 2, next), Leave::Never(_)), "pairs count them all");
        assert_eq!(ledger.ask_empty(one, "root", None, next), Leave::Now);
        let later = NOW.plus(Duration::hours(23));
        assert!(matches!(ledger.ask_empty(one, "root", None, later), Leave::Never(_)), "nor three times a day");
        assert_eq!(ledger.ask_empty(one, "root", None, next.plus(Duration::hours(24))), Leave::Now);
        // What another process tried there is known where an approval is in force.
        let other = Ledger::default();
        let spent = vec![SpentAttempt { endpoint: one, account: "root".into(), attempts: 2, last_at: NOW }];
        assert!(matches!(other.ask_empty(one, "root", Some(&grant(1, spent)), later), Leave::Never(_)));
    }

    #[test]
    fn what_the_server_says_was_spent_counts_once() {
        let spent =
            |at: Ts| vec![SpentAttempt { endpoint: endpoint("10.0.0.1", 22), account: "root".into(), attempts: 1, last_at: at }];
        let ledger = Ledger::default();
        let hour = NOW.minus(Duration::hours(1));
        assert_eq!(ledger.ask(endpoint("10.0.0.1", 22), "root", &grant(2, spent(hour)), 2, NOW), Leave::Now);
        let later = NOW.plus(Duration::minutes(5));
        assert!(matches!(ledger.ask(endpoint("10.0.0.1", 22), "root", &grant(2, spent(hour)), 2, later), Leave::Never(_)));
        // The server has heard of ours by now: it is the same attempt.
        let both = vec![SpentAttempt { endpoint: endpoint("10.0.0.1", 22), account: "root".into(), attempts: 1, last_at: NOW }];
        assert_eq!(ledger.ask(endpoint("10.0.0.1", 22), "root", &grant(2, both), 2, later), Leave::Now);
    }

    #[test]
    fn nothing_is_tried_outside_the_window_nor_promised_beyond_its_end() {
        let ledger = Ledger::default();
        let mut grant = grant(2, vec![]);
        grant.not_before = NOW.plus(Duration::secs(1));
        assert!(matches!(ledger.ask(endpoint("10.0.0.1", 22), "root", &grant, 2, NOW), Leave::Never(_)));
        grant.not_before = NOW;
        grant.until = NOW.plus(Duration::secs(30));
        assert_eq!(ledger.ask(endpoint("10.0.0.1", 22), "root", &grant, 2, NOW), Leave::Now);
        assert!(matches!(ledger.ask(endpoint("10.0.0.1", 22), "root", &grant, 2, NOW.plus(Duration::secs(5))), Leave::Never(_)));
    }
}
