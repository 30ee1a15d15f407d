//! The repetitions of a sweep that repeats where it buys most: which cells are asked in which wave. How much a cell is worth
//! is `retransmit`'s; this keeps the account of what has been asked again, and what came of it.
//!
//! The first wave asks a few hundred endpoints again that are known to be open, and so measures loss, together with the most
//! promising hundredth of the silent cells. If neither shows a lost answer there is nothing to repair, and that was all. Else
//! hosts never heard of are asked for an echo, where that finds more of them than their ports would, and waves go down the ranking,
//! each asking whatever is still silent and worth it, as far as the budget goes. Hosts that turn out to lose answers are asked
//! beyond it. Endpoints known by name are asked twice more in any case. Two bits for each cell while this lasts.
//!
//! Where the rate follows the path and there are few hosts, nothing heard at all may be the path's doing: then the most
//! promising cells are asked again slowly, and if that is answered, everything. And of few cells, all may be repeated: that
//! costs seconds.

use crate::api::Found;
use crate::ask::{Answer, Ask, Said};
use crate::cells::Bits;
use crate::hosts::{Host, TICK};
use crate::ports::{Plan, PortWalk, SMALL};
use crate::retransmit::{BUDGET_SHARE, LossSample, MOST_AGAIN, OpenCell, Ranking};
use crate::stretch::Stretches;
use crate::walk::{Draw, Walk};
use crate::way::WayId;
use model::catalog::Catalog;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// So many cells or fewer are repeated blindly once: it costs nothing, and nothing can be learnt from so few.
const FEW: u64 = 256;

/// Open endpoints that are asked again to measure loss. Of 300, at a loss of one in fifty, six are missing, give or take two.
const SAMPLE: usize = 300;
/// Where few are open, each is asked up to so many times.
const SAMPLE_TIMES: usize = 3;

/// Share of the cells that are looked into before anything is decided, and the least of them.
const SCOUTED: u64 = 100;
const LEAST_SCOUTED: u64 = 256;

/// Open cells that are remembered; more add nothing to what ports are worth.
const MOST_OPENS: usize = 1 << 20;

/// Cells looked at in one draw: a microsecond and a half.
const LOOKED_AT: u32 = 64;

/// A host that answers so many of a wave's questions, and this share of them, loses answers rather than drops questions. What
/// else it left unanswered is then asked until nothing more comes, whatever the budget says: that is for what is silent for
/// good. One in twenty is far more than repetitions find on a host that drops, whose open ports are a few in a thousand.
const LOSING: u32 = 4;
const LOSING_SHARE: f64 = 0.05;
/// So many such waves without an answer are enough, when no other host needs them.
const QUIET: u8 = 2;
/// And so many at most. At a loss of one half, 0.5^12 is one answer in four thousand.
const MOST_INSISTING: u8 = 12;
/// A host is insisted on as long as one in so many questions is answered.
const INSIST_ONE_IN: u32 = 200;

/// How many cells of hosts that nothing was heard of are asked again slowly, and how slowly: two seconds, at a rate at which a
/// path that carries anything carries a good part.
const KNOCKS: u64 = 2_000;
pub(crate) const KNOCK_PPS: u32 = 1_000;

/// Where more than one in so many is lost, few hosts are walked anew: by then the rate is another one.
const LOST_ONE_IN: u32 = 4;

/// What is taken for lost at least where a path has shown a limit: what the sweep lost until it knew, and at every step above it.
/// One repetition of everything makes that negligible.
const LIMITED_LOSS: f64 = 0.01;

/// How often waves start over because hosts have been heard of that had been silent.
const MOST_LATE: u8 = 2;

/// The account of a walk's repetitions.
pub(crate) struct Again {
    /// How often each cell has been repeated, two bits of it.
    low: Bits,
    high: Bits,
    /// Host and cell of what is open.
    opens: Vec<(u32, u32)>,
    ranking: Option<Ranking>,
    /// The worth down to which cells are asked in this wave, and in those that follow.
    threshold: u8,
    tiers: VecDeque<u8>,
    /// What may still be asked, in all and in this wave.
    budget: u64,
    wave_left: u64,
    /// Asked in this wave.
    asked: u64,
    /// Open endpoints asked again: how often, and how many answers came.
    sample: HashMap<u32, (u32, u32)>,
    since: Instant,
    loss: LossSample,
    stage: Stage,
    late: u8,
    /// Cells whose repetition was answered while loss was measured.
    repaired: u64,
    /// Hosts never heard of have been asked for an echo.
    called: bool,
    /// It has been looked whether it was the path that nothing was heard of, or all has been walked anew for what was lost.
    anew: bool,
    /// Hosts that were up when they were ranked.
    ranked_up: u64,
    /// This wave asks hosts never heard of, so it is waited for as long as they may take.
    asks_unheard: bool,
    /// What this wave asks of each host, for as long as it lasts.
    wave: HashMap<u32, Share>,
    /// Hosts that lose answers, and how many waves in a row nothing has come of.
    losing: HashMap<u32, u8>,
    /// Share of the last wave's questions to hosts that lose answers which were answered.
    share: Option<f64>,
}

/// What a wave asks of a host.
#[derive(Clone, Copy, Debug)]
struct Share {
    asked: u32,
    /// What was settled when the wave began.
    settled: u32,
}

/// Whether a host loses answers that answers so many of a wave's questions.
fn loses(asked: u32, answered: u32) -> bool {
    answered >= LOSING && f64::from(answered) >= LOSING_SHARE * f64::from(asked)
}

/// After how many waves without an answer a host stands that is insisted on; `None` when it is insisted on no longer.
fn insist(quiet: u8, asked: u32, answered: u32) -> Option<u8> {
    match answered {
        0 => Some(quiet + 1).filter(|quiet| *quiet < QUIET),
        n => (n.saturating_mul(INSIST_ONE_IN) >= asked).then_some(0),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The first pass is under way, or over.
    First,
    /// There are so few cells that all of them have been repeated.
    Few,
    /// Nothing has been heard at all, and the most promising cells are asked slowly.
    Knocking,
    Scouting,
    /// Hosts never heard of are asked for an echo.
    Calling,
    /// A wave down to a place in the ranking; at its end, the n-th.
    Wave(u8),
    /// The n-th over what is silent on hosts that lose answers.
    Insisting(u8),
    Done,
}

impl Again {
    fn repeated(&self, cell: u64) -> u8 {
        u8::from(self.low.get(cell)) + 2 * u8::from(self.high.get(cell))
    }

    fn repeat(&mut self, cell: u64) {
        if self.low.set(cell) {
            return;
        }
        self.high.set(cell);
        if self.repeated(cell) < MOST_AGAIN {
            self.low.clear(cell);
        }
    }

    /// Whether an answer is waited for as long as hosts never heard of may take.
    pub fn waits_for_unheard(&self) -> bool {
        self.asks_unheard
    }

    /// Whether a settled cell is asked again.
    pub fn samples(&self, cell: u64) -> bool {
        !self.sample.is_empty() && self.sample.contains_key(&(cell as u32))
    }

    /// Settled cells asked again that have not been answered as often.
    pub fn sampled(&self) -> impl Iterator<Item = u64> + '_ {
        self.sample.iter().filter(|(_, (asked, answered))| answered < asked).map(|(cell, _)| u64::from(*cell))
    }

    /// A cell has turned out to be open.
    pub fn opened(&mut self, host: u32, cell: u64) {
        if self.opens.len() < MOST_OPENS {
            self.opens.push((host, cell as u32));
        }
    }

    /// A cell was answered, so many ticks after it was asked.
    pub fn settled(&mut self, cell: u64, rtt: Option<u8>) {
        let looks = matches!(self.stage, Stage::Scouting | Stage::Knocking);
        let repaired = looks && self.repeated(cell) > 0 && is_since(rtt, self.since.elapsed());
        self.repaired += u64::from(repaired);
    }

    /// A settled cell was answered once more. True when it had been asked for that.
    pub fn answered(&mut self, cell: u64, answer: &Answer) -> bool {
        let Some((asked, answered)) = self.sample.get_mut(&(cell as u32)) else { return false };
        let accepts = matches!(answer.said, Said::SynAck | Said::Connected);
        // What was sent before is an answer that comes twice.
        let recent = is_since(answer.rtt, self.since.elapsed());
        if accepts && recent && *answered < *asked {
            *answered += 1;
        }
        accepts && recent
    }
}

/// Whether a host never heard of can be asked for an echo.
fn is_callable(host: &Host) -> bool {
    host.up.is_none() && host.way.is_open() && host.way != WayId::KERNEL
}

/// Whether an answer that took so many ticks answers a question of the time since, rather than one of before.
fn is_since(rtt: Option<u8>, since: Duration) -> bool {
    rtt.is_none_or(|ticks| u128::from(ticks) <= since.as_millis() / TICK.as_millis() + 1)
}

impl PortWalk<'_> {
    /// Begins the first pass of a walk whose repetitions are chosen.
    pub fn begin_choosing(&mut self) {
        let cells = self.cells.len();
        self.begin(0);
        self.again = Some(Box::new(Again {
            low: Bits::new(cells),
            high: Bits::new(cells),
            opens: Vec::new(),
            ranking: None,
            threshold: 0,
            tiers: VecDeque::new(),
            budget: self.budget(),
            wave_left: 0,
            asked: 0,
            sample: HashMap::new(),
            since: Instant::now(),
            loss: LossSample::default(),
            stage: Stage::First,
            late: 0,
            repaired: 0,
            called: false,
            anew: false,
            ranked_up: 0,
            asks_unheard: false,
            wave: HashMap::new(),
            losing: HashMap::new(),
            share: None,
        }));
    }

    /// How many repetitions there may be.
    fn budget(&self) -> u64 {
        let share = (self.cells.len() as f64 * BUDGET_SHARE) as u64;
        if self.few { share.max(SMALL.min(2 * self.cells.len())) } else { share }
    }

    /// Begins the next wave. False when there is none.
    pub fn next_wave(&mut self) -> bool {
        let Some(mut again) = self.again.take() else { return false };
        let next = self.plan_wave(&mut again);
        self.again = Some(again);
        next
    }

    /// Where a wave follows because hosts lose answers: the share of their questions that were answered in the last one, which
    /// is what the path took of the rate.
    pub fn answered_share(&self) -> Option<f64> {
        self.again.as_ref().filter(|again| matches!(again.stage, Stage::Insisting(_))).and_then(|again| again.share)
    }

    /// Whether the wave under way asks slowly, because nothing has been heard at all.
    pub fn is_knocking(&self) -> bool {
        self.again.as_ref().is_some_and(|again| match again.stage {
            Stage::Knocking => true,
            Stage::Few => self.is_unheard_of(),
            _ => false,
        })
    }

    /// Whether there are few hosts and nothing has been heard of any.
    fn is_unheard_of(&self) -> bool {
        self.few && self.hosts.iter().all(|host| host.up.is_none()) && self.hosts.iter().any(is_callable)
    }

    /// Share of questions that got lost, as far as it could be measured.
    pub fn loss(&self) -> Option<f64> {
        self.again.as_ref().and_then(|again| again.loss.measured())
    }

    /// Hosts never heard of have had their time. Begins a wave for those that were heard of late. False when there is none.
    pub fn late_wave(&mut self) -> bool {
        let Some(mut again) = self.again.take() else { return false };
        let up = self.hosts.iter().filter(|host| host.up.is_some()).count() as u64;
        let next = up > again.ranked_up && again.late < MOST_LATE && self.outstanding() > 0 && self.cells.len() > FEW && {
            again.late += 1;
            if again.loss.asked == 0 {
                // Nothing had been heard when loss was to be measured.
                self.scout(&mut again)
            } else {
                again.stage = Stage::Scouting;
                self.plan_wave(&mut again)
            }
        };
        self.again = Some(again);
        next
    }

    /// Begins to listen for hosts never heard of, asking nothing. False when there is nobody to listen for.
    pub fn begin_listening(&mut self) -> bool {
        let Some(again) = &mut self.again else { return false };
        again.asks_unheard = true;
        again.wave_left = 0;
        self.plan = Plan::Listed(Vec::new(), 0);
        let questions = self.cells.questions();
        self.hosts.iter().any(|host| host.up.is_none() && host.way.is_open() && host.settled < questions)
    }

    fn plan_wave(&mut self, again: &mut Again) -> bool {
        self.attempt = self.attempt.saturating_add(1);
        if self.outstanding() == 0 {
            again.stage = Stage::Done;
            return false;
        }
        let asked = std::mem::take(&mut again.asked);
        again.asks_unheard = false;
        self.judge_hosts(again);
        match again.stage {
            Stage::First if self.cells.len() <= FEW => {
                again.stage = Stage::Few;
                let attempt = self.attempt;
                self.begin(attempt);
                again.asks_unheard = true;
                true
            }
            Stage::Few => {
                again.stage = Stage::Done;
                again.asks_unheard = true;
                let named = self.named_cells();
                let some = !named.is_empty();
                self.plan = Plan::Listed(named, 0);
                some
            }
            Stage::First if !again.anew && self.is_unheard_of() => self.knock(again),
            Stage::Knocking if again.repaired > 0 => {
                // Of the first pass, as good as nothing came through.
                self.walk_anew(again)
            }
            Stage::First | Stage::Knocking => self.scout(again),
            Stage::Scouting | Stage::Calling => {
                for (asked, answered) in std::mem::take(&mut again.sample).into_values() {
                    again.loss.asked += asked;
                    again.loss.answered += answered;
                }
                let LossSample { asked, answered } = again.loss;
                if self.few && !again.anew && asked >= 3 && asked.saturating_sub(answered) * LOST_ONE_IN > asked {
                    // So much is lost at this rate that the first pass is worth little; what the next loses is another matter.
                    again.loss = LossSample::default();
                    return self.walk_anew(again);
                }
                let named = self.named_cells();
                let clean = again.loss.lost() == 0 && again.repaired == 0 && !self.repeats_all();
                if clean && (again.late == 0 || again.loss.measured().is_some()) {
                    // Nothing was lost and nothing was found.
                    again.stage = Stage::Done;
                    self.plan = Plan::Listed(named, 0);
                    again.wave_left = 0;
                    return !matches!(&self.plan, Plan::Listed(cells, _) if cells.is_empty());
                }
                self.rank(again);
                let found = again.opens.len() as u64;
                let unheard = self.hosts.iter().filter(|host| is_callable(host)).count() as u64;
                if !again.called && unheard < again.budget / 2 && again.ranking.as_ref().is_some_and(|r| r.call(found)) {
                    again.called = true;
                    again.budget -= unheard;
                    again.stage = Stage::Calling;
                    self.plan = Plan::Echoes(0);
                    return true;
                }
                again.tiers = again.ranking.as_ref().map(|ranking| ranking.tiers(again.budget, found)).unwrap_or_default();
                let first = again.tiers.pop_front();
                (again.threshold, again.wave_left) = (first.unwrap_or(0), first.map_or(0, |_| again.budget));
                again.stage = Stage::Wave(1);
                self.plan = Plan::Listed(named, 0);
                true
            }
            Stage::Wave(n) if again.budget > 0 && (!again.tiers.is_empty() || n < MOST_AGAIN && asked > 0) => {
                self.rank(again);
                // Down the ranking, and at its end until nothing there is worth it any more.
                let next = again.tiers.pop_front();
                again.stage = Stage::Wave(if next.is_some() { 1 } else { n + 1 });
                again.threshold = next.unwrap_or(again.threshold);
                again.wave_left = again.budget;
                self.plan = Plan::Listed(Vec::new(), 0);
                true
            }
            Stage::Wave(_) if !again.losing.is_empty() => self.insist(again, 1),
            Stage::Insisting(n) if n < MOST_INSISTING && !again.losing.is_empty() => self.insist(again, n + 1),
            Stage::Wave(_) | Stage::Insisting(_) | Stage::Done => {
                again.stage = Stage::Done;
                false
            }
        }
    }

    /// Whether the path has shown a limit, and there are so few cells that all can be repeated.
    fn repeats_all(&self) -> bool {
        self.limited_path && self.few && self.cells.len() <= SMALL
    }

    /// Everything silent once more, as if for the first time.
    fn walk_anew(&mut self, again: &mut Again) -> bool {
        (again.stage, again.anew) = (Stage::First, true);
        self.plan = Plan::Parts(Stretches::new(std::iter::once(0..self.cells.len()).collect()));
        true
    }

    /// The wave that looks whether it was the path that nothing was heard of: the ports on which services usually listen
    /// first, then those asked first.
    fn knock(&mut self, again: &mut Again) -> bool {
        (again.stage, again.anew, again.asks_unheard) = (Stage::Knocking, true, true);
        again.since = Instant::now();
        let common = Catalog::builtin().common_ports();
        let is_common = |cell: &u64| match self.cells.at(*cell, &self.hosts).1 {
            Ask::Syn(port) => common.contains(port),
            _ => false,
        };
        let all = || (0..self.cells.len()).filter(|cell| !self.settled.get(*cell));
        let cells: Vec<u64> =
            all().filter(is_common).chain(all().filter(|cell| !is_common(cell))).take(KNOCKS as usize).collect();
        cells.iter().for_each(|cell| again.repeat(*cell));
        self.plan = Plan::Listed(cells, 0);
        true
    }

    /// A wave is over: which hosts lose answers.
    fn judge_hosts(&self, again: &mut Again) {
        let (mut all_asked, mut all_answered) = (0, 0);
        for (host, Share { asked, settled }) in std::mem::take(&mut again.wave) {
            let answered = self.hosts.get(host).settled.saturating_sub(settled).min(asked);
            let quiet = again.losing.remove(&host);
            let quiet = match quiet {
                Some(quiet) if matches!(again.stage, Stage::Insisting(_)) => insist(quiet, asked, answered),
                _ => (quiet.is_some() || loses(asked, answered)).then_some(0),
            };
            if let Some(quiet) = quiet {
                again.losing.insert(host, quiet);
                (all_asked, all_answered) = (all_asked + asked, all_answered + answered);
            }
        }
        again.share = (all_answered > 0).then(|| f64::from(all_answered) / f64::from(all_asked));
    }

    /// A wave over all that is silent on hosts that lose answers.
    fn insist(&mut self, again: &mut Again, n: u8) -> bool {
        again.stage = Stage::Insisting(n);
        self.plan = Plan::Listed(Vec::new(), 0);
        true
    }

    /// The wave that measures: endpoints known to be open, those known by name, and the best of the rest.
    fn scout(&mut self, again: &mut Again) -> bool {
        again.stage = Stage::Scouting;
        again.since = Instant::now();
        let mut cells = self.named_cells();
        let real: Vec<u32> =
            again.opens.iter().filter(|(host, _)| !self.hosts.get(*host).pseudo).map(|(_, cell)| *cell).collect();
        let most = SAMPLE.min((again.budget / 4) as usize).min(real.len() * SAMPLE_TIMES);
        for n in 0..most {
            // Evenly over all of them, in rounds where there are few.
            let cell = if most <= real.len() { real[n * real.len() / most] } else { real[n % real.len()] };
            again.sample.entry(cell).or_default().0 += 1;
            cells.push(cell.into());
        }
        again.budget -= most as u64;
        self.rank(again);
        let scouted = (self.cells.len() / SCOUTED).max(LEAST_SCOUTED).min(again.budget / 4);
        again.threshold = again.ranking.as_ref().map_or(0, |ranking| ranking.best(scouted));
        again.wave_left = scouted;
        self.plan = Plan::Listed(cells, 0);
        true
    }

    fn rank(&self, again: &mut Again) {
        let opens: Vec<OpenCell> = again
            .opens
            .iter()
            .filter_map(|&(host, cell)| Some(OpenCell { host, question: self.cells.question(cell.into(), &self.hosts)?.1 }))
            .collect();
        let common = Catalog::builtin().common_ports();
        let is_common = |question| self.cells.port_of(question).is_some_and(|port| common.contains(port));
        let least = if self.repeats_all() { LIMITED_LOSS } else { 0.0 };
        let loss = again.loss.loss().max(least);
        let ranking = Ranking::new(&self.hosts, self.cells.all_questions(), &opens, loss, is_common);
        again.ranking = Some(if again.called { ranking.called() } else { ranking });
        again.ranked_up = self.hosts.iter().filter(|host| host.up.is_some()).count() as u64;
    }

    /// Silent cells known by name.
    fn named_cells(&self) -> Vec<u64> {
        self.telling.named.iter().filter_map(|named| self.place(named)).filter(|&cell| !self.settled.get(cell)).collect()
    }

    /// An echo to the next host never heard of.
    pub fn draw_echo(&mut self, mut next: u32) -> Draw {
        for _ in 0..LOOKED_AT {
            if u64::from(next) >= self.hosts.len() {
                return Draw::End;
            }
            next += 1;
            self.plan = Plan::Echoes(next);
            if is_callable(self.hosts.get(next - 1)) {
                return Draw::Ask(next - 1, Ask::Echo, self.attempt);
            }
        }
        Draw::Skipped
    }

    /// The next silent cell that is worth asking again.
    pub fn draw_chosen(&mut self, next: u64, before: u64, found: &mut Vec<Found>) -> Draw {
        let Some(mut again) = self.again.take() else { return Draw::End };
        let drawn = self.choose(&mut again, next, before, found);
        self.again = Some(again);
        drawn
    }

    fn choose(&mut self, again: &mut Again, mut next: u64, before: u64, found: &mut Vec<Found>) -> Draw {
        let Some(ranking) = &again.ranking else { return Draw::End };
        let insisting = matches!(again.stage, Stage::Insisting(_));
        for _ in 0..LOOKED_AT {
            if again.wave_left == 0 && !insisting || next >= self.cells.len() {
                return Draw::End;
            }
            let cell = self.settled.next_clear(next, crate::ports::MOST_SKIPPED);
            if cell >= self.cells.len() {
                return Draw::End;
            }
            next = cell + 1;
            self.plan = Plan::Chosen(next, before);
            let Some((host, question)) = self.cells.question(cell, &self.hosts) else { return Draw::End };
            let repeated = again.repeated(cell);
            let worthy = || ranking.worth(host, self.hosts.ip(host), question, repeated) <= again.threshold;
            if self.settled.get(cell) || !(if insisting { again.losing.contains_key(&host) } else { worthy() }) {
                continue;
            }
            again.asks_unheard |= ranking.is_unheard(host);
            again.repeat(cell);
            again.asked += 1;
            if !insisting {
                (again.budget, again.wave_left) = (again.budget - 1, again.wave_left - 1);
            }
            let settled = self.hosts.get(host).settled;
            again.wave.entry(host).or_insert(Share { asked: 0, settled }).asked += 1;
            return self.question(cell, found);
        }
        Draw::Skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_whose_repetitions_are_answered_is_asked_until_nothing_more_comes() {
        for (asked, answered, expected) in
            [(1_000, 600, true), (80, 4, true), (81, 4, false), (10, 3, false), (60_000, 31, false)]
        {
            assert_eq!(loses(asked, answered), expected, "{answered} of {asked}");
        }
        // Two waves without an answer end it, with one between them they do not.
        assert_eq!(insist(0, 50, 0), Some(1));
        assert_eq!(insist(1, 50, 0), None);
        assert_eq!(insist(1, 50, 1), Some(0));
        // What is silent for good is not asked for the sake of one in a thousand.
        assert_eq!((insist(0, 1_000, 1), insist(0, 1_000, 5)), (None, Some(0)));
    }

    #[test]
    fn an_answer_to_what_was_asked_before_is_no_repair() {
        let ms = Duration::from_millis;
        assert!(is_since(None, ms(0)) && is_since(Some(0), ms(0)) && is_since(Some(1), ms(3)));
        assert!(!is_since(Some(4), ms(20)) && is_since(Some(4), ms(70)));
        // What comes after the first pass was listened to for long enough is older than anything asked since.
        assert!(!is_since(Some(8), ms(60)));
    }
}
