//! What sweep, liveness and recheck have in common: the link, the walker, the ways to the hosts, and the summary at the end.
//! Which hosts are asked what is `engine`'s.

use crate::admission::Admission;
use crate::api::{Found, Method, Progress, ScanError, Summary};
use crate::capability::{capability, try_raw};
use crate::connect::{ConnectAsker, LONGEST};
use crate::cookie::{Secret, SourcePorts};
use crate::hear::Inbox;
use crate::hosts::Hosts;
use crate::link::dry::DryLink;
use crate::link::memory::{MemoryLink, MemoryNetwork};
use crate::link::raw::RawLink;
use crate::link::{Link, Sink};
use crate::live::{LiveWalk, NeighborWalk};
use crate::pace::{Lease, Pacer};
use crate::ports::PortWalk;
use crate::syn::SynAsker;
use crate::tap::{Seen, Tap};
use crate::tempo::{CEILING_PPS, Tempo};
use crate::walk::{Asker, End, Tally, WalkAgain, Walker};
use crate::waves::KNOCK_PPS;
use crate::way::{Way, WayId, Ways};
use model::{IpRange, Scope};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A neighbour that does not answer is asked three times, as Linux does (`mcast_solicit`). On a link answers take
/// milliseconds; a third of a second each leaves room for stations that sleep.
const NEIGHBOR_TRIES: u8 = 3;
const NEIGHBOR_WAIT: Duration = Duration::from_millis(300);

/// Added to the time an answer may take: for the scheduler, and for the task that makes a `connect` to run.
const GRACE: Duration = Duration::from_millis(30);

/// How often a pass is made over what it lost. Each time the rate is closer to what the path takes, and less is left.
const MOST_AGAIN: u32 = 6;

/// Where probes go: this machine's network, or one in memory.
pub(crate) enum Wire {
    Real(Method),
    Memory(Arc<MemoryNetwork>),
}

/// Opens a link that hands its frames to the sink.
type MakeLink = Box<dyn FnOnce(SourcePorts, Arc<dyn Sink>) -> io::Result<Arc<dyn Link>>>;

/// What all three kinds of work are given.
pub(crate) struct Common {
    pub scope: Scope,
    pub pace: Arc<Pacer>,
    pub rate_pps: Option<u32>,
    /// The rate is a ceiling, and follows the path.
    pub adapt: bool,
    pub timeout: Duration,
    pub out: Sender<Found>,
    pub progress: Arc<Progress>,
    pub cancel: CancellationToken,
    /// Sees every frame.
    pub tap: Option<Arc<dyn Tap>>,
    /// Frames go to the tap and nowhere else.
    pub dry_run: bool,
}

impl Common {
    /// Without a tap.
    pub fn new(
        scope: Scope,
        pace: Arc<Pacer>,
        rate_pps: Option<u32>,
        timeout: Duration,
        (out, progress, cancel): (Sender<Found>, Arc<Progress>, CancellationToken),
    ) -> Self {
        Common { scope, pace, rate_pps, adapt: false, timeout, out, progress, cancel, tap: None, dry_run: false }
    }
}

/// A tap that nobody looks at.
struct Blind;

impl Tap for Blind {
    fn see(&self, _: &Seen<'_>) {}
}

/// One piece of work under way.
pub(crate) struct Run {
    pub walker: Walker,
    method: Method,
    note: String,
    started: Instant,
    /// How long an answer may take.
    pub timeout: Duration,
    pub hosts_total: u64,
    pub not_probed: u64,
    pub out_of_scope: u128,
    pub duplicates: u64,
    pub loss: Option<f64>,
    /// What the progress said at the beginning: hosts up, open endpoints. It may be older than this work.
    before: (u64, u64),
}

impl Run {
    pub fn begin(wire: Wire, common: Common) -> Result<Run, ScanError> {
        let Common { scope, pace, rate_pps, adapt, timeout, out, progress, cancel, tap, dry_run } = common;
        let (method, note) = if dry_run { (Method::Syn, "nothing is sent".into()) } else { choose(&wire)? };
        let before = (progress.hosts_up.load(Ordering::Relaxed), progress.open_found.load(Ordering::Relaxed));
        let make: Option<MakeLink> = match wire {
            _ if dry_run => Some(Box::new(|_, _| Ok(Arc::new(DryLink::new(tap.unwrap_or_else(|| Arc::new(Blind)))?)))),
            Wire::Real(_) if method == Method::Syn => {
                Some(Box::new(|ports, sink| Ok(Arc::new(RawLink::tapped(ports, sink, tap)?))))
            }
            Wire::Real(_) => None,
            Wire::Memory(network) => Some(Box::new(|_, sink| Ok(Arc::new(MemoryLink::tapped(network, sink, tap))))),
        };
        let inbox = Arc::new(Inbox::default());
        let syn = make.map(|make| SynAsker::new(Secret::random(), inbox.clone(), make)).transpose();
        let syn = syn.map_err(|source| ScanError::RawSockets { source })?;
        let connect = ConnectAsker::new(inbox.clone(), timeout);
        // What `connect` does on the way is the kernel's, and a dry run meets no path.
        let tempo = (adapt && syn.is_some() && !dry_run).then(|| Tempo::new(rate_pps.unwrap_or(CEILING_PPS).min(CEILING_PPS)));
        let lease = match &tempo {
            Some(tempo) => Lease::with(pace, Some(tempo.gate())),
            None => Lease::new(pace, rate_pps),
        };
        let walker = Walker {
            asker: Asker { syn, connect, ways: Ways::new() },
            inbox,
            out,
            progress,
            cancel,
            lease,
            tempo,
            again: Vec::new(),
            admission: Admission::new(scope),
            tally: Tally::default(),
            found: Vec::new(),
            answers: Vec::new(),
        };
        let timeout = GRACE + if method == Method::Syn { timeout } else { timeout.min(LONGEST) };
        Ok(Run {
            walker,
            method,
            note,
            started: Instant::now(),
            timeout,
            hosts_total: 0,
            not_probed: 0,
            out_of_scope: 0,
            duplicates: 0,
            loss: None,
            before,
        })
    }

    pub fn end(self, end: End) -> Summary {
        let Walker { progress, asker, inbox, tally, tempo, .. } = &self.walker;
        let syn = asker.syn.as_ref();
        let sending = tally.sending.as_secs_f64();
        Summary {
            probes_sent: tally.sent,
            hosts_total: self.hosts_total,
            hosts_up: progress.hosts_up.load(Ordering::Relaxed) - self.before.0,
            open_found: progress.open_found.load(Ordering::Relaxed) - self.before.1,
            method: self.method,
            elapsed: self.started.elapsed(),
            cancelled: end == End::Cancelled,
            drops: syn.map_or(0, SynAsker::drops) + inbox.overrun(),
            rate_pps: if sending > 0.0 { tally.sent as f64 / sending } else { 0.0 },
            path_rate_pps: tempo.as_ref().and_then(Tempo::path_rate_pps),
            loss: self.loss.or_else(|| tempo.as_ref().and_then(Tempo::loss)),
            // What was asked again on purpose was answered again.
            duplicates: self.duplicates.saturating_sub(tempo.as_ref().map_or(0, Tempo::answered)),
            rejected: syn.map_or(0, SynAsker::rejected),
            retransmitted: tally.repeated,
            not_probed: self.not_probed,
            out_of_scope: self.out_of_scope,
            method_note: self.note,
        }
    }

    /// Finds out which way these ranges lie, and expects to be asked for the scope there. `false` when cancelled.
    pub async fn find_ways(&mut self, ranges: &[IpRange]) -> Result<bool, ScanError> {
        self.walker.admission.expect(ranges);
        let Walker { asker: Asker { syn, ways, .. }, cancel, .. } = &mut self.walker;
        let Some(syn) = syn else { return Ok(true) };
        let mut regions = Vec::new();
        for range in ranges {
            let found = tokio::select! {
                biased;
                found = syn.ways(*range) => found,
                () = cancel.cancelled() => return Ok(false),
            };
            let found = found.map_err(|source| ScanError::Link { what: format!("looking up the route to {range}"), source })?;
            regions.extend(found);
            // Looking up the routes of ten thousand ranges must not keep others waiting.
            tokio::task::yield_now().await;
            if cancel.is_cancelled() {
                return Ok(false);
            }
        }
        ways.set_regions(regions);
        Ok(true)
    }

    /// The hosts with the neighbours among them asked for. `None` when cancelled.
    pub async fn neighbors(&mut self, hosts: Hosts, report: bool) -> Result<Option<Hosts>, ScanError> {
        self.walker.asker.ways.forget_neighbors();
        let mut walk = NeighborWalk::new(hosts, report, WayId::is_neighbor);
        for attempt in 0..NEIGHBOR_TRIES {
            if crate::walk::Walk::outstanding(&walk) == 0 {
                break;
            }
            walk.begin(attempt);
            if self.walker.pass(&mut walk, NEIGHBOR_WAIT).await? == End::Cancelled {
                return Ok(None);
            }
        }
        let mut hosts = walk.hosts;
        let Asker { syn, ways, .. } = &mut self.walker.asker;
        for i in 0..hosts.len() as u32 {
            if let (Some(syn), Way::Neighbor(path)) = (&syn, ways.get(hosts.get(i).way))
                && let Some(way) = syn.neighbor(path, hosts.ip(i))
            {
                hosts.get_mut(i).way = ways.add(way);
            }
        }
        Ok(Some(hosts))
    }

    /// Asks the hosts not known to be up for a sign of life, so many times. `None` when cancelled.
    pub async fn ping(&mut self, hosts: Hosts, tries: u8) -> Result<Option<LiveWalk>, ScanError> {
        let mut walk = LiveWalk::new(hosts);
        for attempt in 0..tries {
            if crate::walk::Walk::outstanding(&walk) == 0 {
                break;
            }
            walk.begin(attempt);
            if self.pass_over(&mut walk).await? == End::Cancelled {
                return Ok(None);
            }
        }
        Ok(Some(walk))
    }

    /// Asks every silent cell so many times, and tells what stayed silent.
    pub async fn ports(&mut self, walk: &mut PortWalk<'_>, tries: u8) -> Result<End, ScanError> {
        let began = Instant::now();
        self.begin_following(walk);
        for attempt in 0..tries {
            if crate::walk::Walk::outstanding(walk) == 0 {
                walk.spare(u64::from(tries - attempt));
                break;
            }
            walk.begin(attempt);
            if self.pass_over(walk).await? == End::Cancelled {
                self.duplicates += walk.duplicates;
                return Ok(End::Cancelled);
            }
            walk.passed();
        }
        if self.ask_limited(walk, tries, began).await? == End::Cancelled {
            self.duplicates += walk.duplicates;
            return Ok(End::Cancelled);
        }
        self.tell_silent(walk, tries).await
    }

    /// Where the rate follows the path: hosts with open ports are looked after, and where there are few hosts, what tells of
    /// the path is asked first and the rate is modest at first.
    fn begin_following(&mut self, walk: &mut PortWalk<'_>) {
        let Some(tempo) = &mut self.walker.tempo else { return };
        walk.limited = Some(Default::default());
        if walk.begin_calling() {
            let now = Instant::now();
            self.walker.lease.set_rate(tempo.start(walk.cells.len(), now), now);
        }
    }

    /// One pass, and again over the stretches of it that the path lost, at the rate that it was found to take.
    async fn pass_over(&mut self, walk: &mut impl WalkAgain) -> Result<End, ScanError> {
        for _ in 0..MOST_AGAIN {
            if self.walker.pass(walk, self.timeout).await? == End::Cancelled {
                return Ok(End::Cancelled);
            }
            let again = std::mem::take(&mut self.walker.again);
            if again.is_empty() || walk.outstanding() == 0 {
                break;
            }
            walk.walk_again(&again);
        }
        Ok(End::Done)
    }

    /// Asks every cell once and then those again that are worth it, and tells what stayed silent.
    pub async fn ports_choosing(&mut self, walk: &mut PortWalk<'_>) -> Result<End, ScanError> {
        let began = Instant::now();
        self.begin_following(walk);
        walk.begin_choosing();
        let mut knocked = false;
        let mut first_sent = None;
        let mut more = true;
        while more {
            if self.pass_over(walk).await? == End::Cancelled {
                self.duplicates += walk.duplicates;
                return Ok(End::Cancelled);
            }
            // Hosts never heard of are waited for once, from the first pass on, and while others are asked again.
            let last_sent = *first_sent.get_or_insert(self.walker.tally.last_sent.unwrap_or(Instant::now()));
            walk.limited_path = self.walker.tempo.as_ref().is_some_and(|tempo| tempo.path_rate_pps().is_some());
            more = walk.next_wave();
            if let Some(tempo) = &mut self.walker.tempo {
                let now = Instant::now();
                let pps = match walk.answered_share() {
                    _ if walk.is_knocking() => Some(tempo.calm(KNOCK_PPS, now)),
                    share => share.map(|share| tempo.ease(share, now)),
                };
                pps.into_iter().for_each(|pps| self.walker.lease.set_rate(pps, now));
                if std::mem::replace(&mut knocked, walk.is_knocking()) && !knocked {
                    tempo.rise();
                }
            }
            let left = (last_sent + self.timeout).saturating_duration_since(Instant::now());
            if left.is_zero() {
                walk.passed();
            }
            if !more && walk.begin_listening() {
                if self.walker.pass(walk, left).await? == End::Cancelled {
                    self.duplicates += walk.duplicates;
                    return Ok(End::Cancelled);
                }
                walk.passed();
                more = walk.late_wave();
            }
        }
        self.loss = walk.loss().or(self.loss);
        if self.ask_limited(walk, 1, began).await? == End::Cancelled {
            self.duplicates += walk.duplicates;
            return Ok(End::Cancelled);
        }
        if walk.begin_udp(1) && self.walker.pass(walk, self.timeout).await? == End::Cancelled {
            self.duplicates += walk.duplicates;
            return Ok(End::Cancelled);
        }
        self.tell_silent(walk, 2).await
    }

    /// Asks hosts again that limit their answers, after passes that began then.
    async fn ask_limited(&mut self, walk: &mut PortWalk<'_>, tries: u8, began: Instant) -> Result<End, ScanError> {
        if !walk.begin_limited(tries, began.elapsed(), Instant::now()) {
            return Ok(End::Done);
        }
        // Canaries would use up what these hosts answer at all.
        self.walker.tempo.iter_mut().for_each(|tempo| tempo.pause(true));
        let end = self.walker.pass(walk, self.timeout).await;
        self.walker.tempo.iter_mut().for_each(|tempo| tempo.pause(false));
        if let Some(limited) = walk.limited.as_ref().filter(|limited| limited.found() > 0) {
            tracing::info!(hosts = limited.found(), "hosts limit their answers and were asked again slowly");
        }
        end
    }

    /// The walk is over but for UDP ports that are asked slowly: what stayed silent is told.
    async fn tell_silent(&mut self, walk: &mut PortWalk<'_>, tries: u8) -> Result<End, ScanError> {
        let slowly = walk.begin_slowly(tries, Instant::now());
        if slowly && self.walker.pass(walk, self.timeout).await? == End::Cancelled {
            self.duplicates += walk.duplicates;
            return Ok(End::Cancelled);
        }
        self.duplicates += walk.duplicates;
        self.not_probed += walk.not_probed();
        walk.finish(&mut self.walker.found);
        let mut from = Some(0);
        while let Some(cell) = from {
            if self.walker.flush().await == End::Cancelled {
                return Ok(End::Cancelled);
            }
            from = walk.silent(cell, 256, &mut self.walker.found);
        }
        Ok(self.walker.flush().await)
    }
}

/// The method to use and why.
fn choose(wire: &Wire) -> Result<(Method, String), ScanError> {
    match wire {
        Wire::Memory(_) => Ok((Method::Syn, "a network in memory".into())),
        Wire::Real(Method::Auto) => {
            let choice = capability();
            Ok((choice.method, choice.note))
        }
        Wire::Real(Method::Syn) => {
            try_raw().map_err(|source| ScanError::RawSockets { source })?;
            Ok((Method::Syn, "asked for".into()))
        }
        Wire::Real(Method::Connect) => Ok((Method::Connect, "asked for".into())),
    }
}
