//! What the canaries of a time came to: counted by host and by what was asked, and what that says about the path rather than
//! about a host. What follows for the rate is `congestion`'s, which cuts the time.

use crate::canary::{Canaries, Kind};

const SECOND: f64 = 1e9;

/// Loss up to here above what is expected is nothing to slow down for: retransmission costs less.
pub(crate) const TOLERATED: f64 = 0.02;
/// One host in so many may limit its answers without anybody noticing yet.
const WORST_ONE_IN: usize = 4;
/// RSTs that come at this rate are not limited by who sends them (systems that limit allow up to some hundreds a second), so
/// that missing ones are the path's.
const UNLIMITED_RSTS: f64 = 1_000.0;

/// What has happened so far; every number counts from the beginning of the sweep.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Probes sent, canaries included.
    pub sent: u64,
    /// Answers heard.
    pub answers: u64,
    /// Frames that our own kernel or receiver dropped.
    pub drops: u64,
    /// How far the walk has come, in its own steps.
    pub position: u64,
}

/// Canaries of one kind at one host in one epoch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub decided: u32,
    pub lost: u32,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        self.decided += other.decided;
        self.lost += other.lost;
    }
    pub fn loss(self) -> f64 {
        if self.decided == 0 { 0.0 } else { f64::from(self.lost) / f64::from(self.decided) }
    }
    /// More than can be chance where this share is expected.
    pub fn exceeds(self, expected: f64) -> bool {
        let (n, p) = (f64::from(self.decided), (expected + TOLERATED).min(0.99));
        self.lost >= 2 && f64::from(self.lost) > n * p + 3.0 * (n * p * (1.0 - p)).sqrt()
    }
    /// Enough above what is expected to be worth another look at what stayed silent: one deviation rather than two, because
    /// looking twice is cheap and a missed port is not.
    pub fn suspicious(self, expected: f64) -> bool {
        let n = f64::from(self.decided);
        self.lost >= 1 && f64::from(self.lost) > n * expected + (n * expected * (1.0 - expected)).sqrt()
    }
}

/// A time of one rate.
#[derive(Debug)]
pub(crate) struct Epoch {
    pub number: u64,
    pub began: u64,
    /// When the next began.
    pub ended: Option<u64>,
    pub at_start: Counts,
    pub at_end: Counts,
    /// Told to the walker, or found not to be worth it.
    pub closed: bool,
    /// Lossy for a reason that canaries do not show.
    pub lossy: bool,
    /// By slot of the host.
    pub tallies: Vec<Tallies>,
}

/// Canaries of one host in one epoch, or of several, by their kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tallies {
    open: Tally,
    closed: Tally,
    echo: Tally,
}

impl Tallies {
    pub fn of(&mut self, kind: Kind) -> &mut Tally {
        match kind {
            Kind::Open => &mut self.open,
            Kind::Closed => &mut self.closed,
            Kind::Echo => &mut self.echo,
        }
    }
    fn add(&mut self, other: Tallies) {
        self.open.add(other.open);
        self.closed.add(other.closed);
        self.echo.add(other.echo);
    }
    fn all(mut self) -> Tally {
        self.open.add(self.closed);
        self.open.add(self.echo);
        self.open
    }
}

impl Epoch {
    /// What the canaries say about the path, given the counts of now: open ports first, then echoes. Closed ports are heard
    /// when they answer better than those, and when there is nothing else and they answer so often that nobody limits them.
    ///
    /// Without the hosts that have answered worst of late, if so asked: what only they lose is theirs.
    pub fn evidence(&self, counts: Counts, canaries: &Canaries, without_worst: bool) -> Tally {
        let tallies = self.tallies.iter().enumerate();
        let mut slots: Vec<u32> = tallies.filter(|(_, t)| t.all().decided > 0).map(|(i, _)| i as u32).collect();
        slots.retain(|slot| !canaries.is_limited(*slot));
        if without_worst {
            slots.sort_by(|a, b| canaries.answering(*b).total_cmp(&canaries.answering(*a)));
            slots.truncate(slots.len() - slots.len() / WORST_ONE_IN);
        }
        let mut sum = Tallies::default();
        slots.iter().for_each(|slot| sum.add(self.tallies[*slot as usize]));
        let Tallies { open, closed, echo } = sum;
        if let Some(first) = [open, echo].into_iter().find(|tally| tally.decided > 0) {
            // Where one kind gets through, the path carries it, and who does not answer the other kind limits that.
            let better = |other: Tally, than: Tally| other.loss() <= than.loss() && other.decided >= than.decided.min(8);
            return [echo, closed].into_iter().fold(first, |best, other| if better(other, best) { other } else { best });
        }
        let end = if self.ended.is_some() { self.at_end } else { counts };
        let answers = end.answers.saturating_sub(self.at_start.answers) as f64;
        let seconds = self.ended.map_or(0.0, |at| (at - self.began) as f64 / SECOND);
        let trusted = if seconds > 0.0 { answers >= UNLIMITED_RSTS * seconds } else { answers >= UNLIMITED_RSTS / 10.0 };
        if trusted { closed } else { Tally::default() }
    }

    /// Whether what an epoch lost was lost by many hosts rather than often by a few.
    pub fn is_spread(&self) -> bool {
        let lost = self.tallies.iter().map(|t| t.all().lost);
        let (hosts, lost) = lost.filter(|n| *n > 0).fold((0, 0), |(hosts, all), n| (hosts + 1, all + n));
        let among = self.tallies.iter().filter(|t| t.all().decided > 0).count() as u32;
        // As many hosts as losses, as far as there are hosts: with fewer, some are hit twice by chance.
        3 * hosts >= 2 * lost.min(among / 2) && hosts > among / WORST_ONE_IN as u32 / 2
    }
}
