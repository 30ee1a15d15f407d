//! What `--rate auto` adds to a walker: canaries among its probes, and every hundredth of a second a look at what became of
//! them. The deciding is `congestion`'s; what is asked again is the walks' own.

use crate::ask::{Answer, Ask, Said};
use crate::canary::Canaries;
use crate::congestion::{Congestion, Counts};
use crate::gate::Gate;
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;
use tokio::time::Instant;

/// The ceiling where none was asked for: twice what a core sends.
pub(crate) const CEILING_PPS: u32 = 2_000_000;

/// How often the rate is looked at.
const TICK: Duration = Duration::from_millis(10);

/// How much of a stall is caught up. Less than at a fixed rate: what a path takes in a second it need not take at once.
const CATCH_UP_NS: u64 = 5_000_000;

/// Where there is little to ask, a sweep starts so slowly that all of it would take half a second, but no slower than this. As
/// the rate doubles every tenth of a second, it costs two or three of these.
const START_SHARE: f64 = 2.0;
const LEAST_START_PPS: f64 = 500.0;

/// How much of the rate is left at least when repetitions are answered in part: hosts may drop what they do not answer.
const LEAST_EASE: f64 = 0.25;

/// The rate of a sweep that adapts.
#[derive(Debug)]
pub(crate) struct Tempo {
    epoch: Instant,
    ceiling_pps: u32,
    congestion: Congestion,
    canaries: Canaries,
    next_tick: Instant,
    /// As far as they were known when the rate was last looked at.
    counts: Counts,
    /// Stretches of the pass under way that lost too much.
    again: Vec<Range<u64>>,
    /// No canaries and no change of the rate for now.
    paused: bool,
    /// How many probes go before the next canary.
    until_canary: u64,
}

impl Tempo {
    /// Up to this rate.
    pub fn new(ceiling_pps: u32) -> Self {
        let epoch = Instant::now();
        Tempo {
            epoch,
            ceiling_pps,
            congestion: Congestion::new(ceiling_pps, 0),
            canaries: Canaries::default(),
            next_tick: epoch,
            counts: Counts::default(),
            again: Vec::new(),
            paused: false,
            until_canary: 0,
        }
    }

    /// The gate whose rate this is.
    pub fn gate(&self) -> Gate {
        Gate::new(self.congestion.rate_pps(), self.ceiling_pps, CATCH_UP_NS)
    }

    /// The rate that the path took, if it has a limit.
    pub fn path_rate_pps(&self) -> Option<u32> {
        self.congestion.path_rate_pps()
    }

    /// The share of canaries that went unanswered.
    pub fn loss(&self) -> Option<f64> {
        self.congestion.loss()
    }

    /// Canaries that were answered.
    pub fn answered(&self) -> u64 {
        self.canaries.answered()
    }

    fn nanos(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    /// Answers have arrived.
    pub fn heard(&mut self, answers: &[Answer], now: Instant) {
        let now = self.nanos(now);
        self.counts.answers += answers.len() as u64;
        for answer in answers {
            // What routers and firewalls say for others is limited by all of them.
            let open = match answer.said {
                Said::SynAck => true,
                Said::Rst | Said::EchoReply => false,
                _ => continue,
            };
            self.canaries.heard(answer.ip, answer.ask, open, now);
        }
    }

    /// Whether the next probe should be a canary.
    pub fn canary_is_due(&mut self) -> bool {
        let due = self.until_canary == 0 && !self.paused;
        if due {
            self.until_canary = self.congestion.canary_gap();
        }
        due
    }

    /// A probe has left.
    pub fn probe_left(&mut self) {
        self.until_canary = self.until_canary.saturating_sub(1);
    }

    /// The question of the canary.
    pub fn canary(&mut self, now: Instant) -> Option<(IpAddr, Ask)> {
        self.canaries.next(self.congestion.epoch(), self.nanos(now))
    }

    /// The canary just drawn could not be sent; `gone` when its host is not at work any more.
    pub fn unsent(&mut self, gone: Option<IpAddr>) {
        self.canaries.unsent();
        if let Some(ip) = gone {
            self.canaries.leave(ip);
        }
    }

    /// When the rate is looked at next.
    pub fn next_tick(&self) -> Instant {
        self.next_tick
    }

    /// Looks at the rate if it is time: what it is from now on. To be called when all answers that have arrived were heard.
    pub fn tick(&mut self, now: Instant, sent: u64, drops: u64, position: u64) -> Option<u32> {
        if now < self.next_tick {
            return None;
        }
        self.next_tick = now + TICK;
        self.counts = Counts { sent, drops, position, ..self.counts };
        if self.paused {
            return None;
        }
        let before = self.congestion.rate_pps();
        let again = self.congestion.tick(self.nanos(now), self.counts, &mut self.canaries);
        let after = self.congestion.rate_pps();
        if after != before || !again.is_empty() {
            tracing::debug!(rate_pps = after, position, ?again, "{}", self.congestion);
        }
        self.again.extend(again);
        if after < before {
            // What was far off at the higher rate is too far off at this.
            self.until_canary = self.until_canary.min(self.congestion.canary_gap());
        }
        Some(self.congestion.rate_pps())
    }

    /// A pass begins: the walk stands at its beginning.
    pub fn begin_pass(&mut self, now: Instant) {
        self.counts.position = 0;
        self.congestion.begin_pass(self.nanos(now));
        self.again.clear();
    }

    /// Whether canaries are in the air whose fate would tell what has to be asked again.
    pub fn undecided(&self, now: Instant) -> bool {
        !self.paused && self.canaries.undecided(self.nanos(now))
    }

    /// A pass is over: the stretches of it that lost too much.
    pub fn end_pass(&mut self, now: Instant) -> Vec<Range<u64>> {
        if !self.paused {
            let again = self.congestion.finish(self.nanos(now), self.counts, &mut self.canaries);
            self.again.extend(again);
        }
        std::mem::take(&mut self.again)
    }

    /// Only this share of what was asked again was answered: that much of the rate is what the path takes. The new rate.
    pub fn ease(&mut self, share: f64, now: Instant) -> u32 {
        let pps = f64::from(self.congestion.rate_pps()) * share.clamp(LEAST_EASE, 1.0);
        self.congestion.ease(pps, self.nanos(now));
        tracing::debug!(rate_pps = self.congestion.rate_pps(), share, "eased, {}", self.congestion);
        self.congestion.rate_pps()
    }

    /// There is so much to ask: the rate to start at.
    pub fn start(&mut self, cells: u64, now: Instant) -> u32 {
        let pps = (START_SHARE * cells as f64).max(LEAST_START_PPS);
        self.congestion.start_at(pps, self.nanos(now));
        self.congestion.rate_pps()
    }

    /// No faster than this until [`Tempo::rise`]. The new rate.
    pub fn calm(&mut self, pps: u32, now: Instant) -> u32 {
        self.congestion.calm(f64::from(pps), self.nanos(now));
        self.congestion.rate_pps()
    }

    /// The rate follows the path again.
    pub fn rise(&mut self) {
        self.congestion.rise();
    }

    /// Sends no canaries and keeps the rate until told otherwise.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }
}
