//! The way out by one interface: a short queue of batches in front of those who put frames on the wire, with back pressure,
//! used buffers handed back, and an account of what left and when. What is in the frames is the walker's; how they get onto
//! the wire is the [`Carrier`]'s.

use super::Batch;
use crate::tap::Tapped;
use std::cell::Cell;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::Instant;

/// Batches that may wait for the sender. Enough to bridge the time until the walker runs again, few enough that a frame
/// handed over leaves within milliseconds.
const DEPTH: usize = 16;

/// Puts frames on the wire. It runs on a thread of its own and may block.
pub(super) trait Carrier: Send {
    /// Sends the batch and says in the account what became of each frame. An error is the end of this way out; what the
    /// account then has no word of is lost.
    fn carry(&mut self, batch: &Batch, account: &Account<'_>) -> io::Result<()>;
}

/// What became of the frames of one batch, entered in the ledger at once.
pub(super) struct Account<'a> {
    ledger: &'a Ledger,
    settled: Cell<u64>,
}

/// What left an outlet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// Frames that left.
    pub frames: u64,
    /// Frames that could not be sent: the device had no room for a long time, or refused the frame.
    pub lost: u64,
    /// When the last one left.
    pub at: Instant,
}

/// What became of frames; shared by both sides of an outlet.
pub(super) struct Ledger {
    tapped: Tapped,
    /// Given up by whoever fills batches.
    handed: AtomicU64,
    left: AtomicU64,
    lost: AtomicU64,
    epoch: Instant,
    /// Microseconds from the epoch to the last frame.
    last_us: AtomicU64,
    failed: OnceLock<(io::ErrorKind, String)>,
    spent: Mutex<Vec<Batch>>,
    moved: Notify,
}

/// The way out by one interface. Clones are the same way.
#[derive(Clone)]
pub(crate) struct Outlet {
    ledger: Arc<Ledger>,
    way: Way,
}

#[derive(Clone)]
enum Way {
    /// To a sender thread.
    Queue(mpsc::Sender<Batch>),
    /// At once, by whoever hands the batch over: links that need no wire.
    Inline(Arc<Mutex<dyn Carrier>>),
}

/// Room for one batch.
pub(crate) struct Room<'a> {
    outlet: &'a Outlet,
    permit: Option<mpsc::Permit<'a, Batch>>,
}

impl Outlet {
    /// An outlet with a thread for each of its senders, which share one queue. They end when all clones are gone and the queue
    /// is empty.
    pub(super) fn threaded<C: Carrier + 'static>(tapped: Tapped, carriers: impl IntoIterator<Item = C>) -> io::Result<Outlet> {
        let (tx, rx) = mpsc::channel::<Batch>(DEPTH);
        let queue = Arc::new(Mutex::new(rx));
        let name = format!("scan-send-{}", tapped.interface);
        let ledger = Arc::new(Ledger::new(tapped));
        let carriers: Vec<C> = carriers.into_iter().collect();
        let several = carriers.len() > 1;
        for (nth, mut carrier) in carriers.into_iter().enumerate() {
            let (ledger, queue) = (ledger.clone(), queue.clone());
            let send = move || {
                if several {
                    keep_to_core(nth);
                }
                // Who waits for a batch holds the queue meanwhile; who has one carries it while another waits.
                let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
                while let Some(batch) = next() {
                    if !ledger.settle(batch, &mut carrier) {
                        break;
                    }
                }
                // Whoever waits for room must learn that there will be none.
                let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
                queue.close();
                while let Some(batch) = queue.blocking_recv() {
                    ledger.lost.fetch_add(batch.len() as u64, Ordering::Release);
                }
                ledger.moved.notify_waiters();
            };
            std::thread::Builder::new().name(name.clone()).spawn(send)?;
        }
        Ok(Outlet { ledger, way: Way::Queue(tx) })
    }

    /// An outlet without a thread: batches are carried while they are handed over.
    pub(super) fn inline(tapped: Tapped, carrier: impl Carrier + 'static) -> Outlet {
        Outlet { ledger: Arc::new(Ledger::new(tapped)), way: Way::Inline(Arc::new(Mutex::new(carrier))) }
    }

    /// An empty batch to fill, one that was used before if there is one.
    pub fn batch(&self) -> Batch {
        self.ledger.spent.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Waits until there is room for a batch. An error is why no frame will ever leave again.
    pub async fn reserve(&self) -> io::Result<Room<'_>> {
        let permit = match &self.way {
            Way::Queue(queue) => Some(queue.reserve().await.map_err(|_| self.ledger.failure())?),
            Way::Inline(_) => None,
        };
        self.room(permit)
    }

    /// Room for a batch if there is some just now.
    pub fn try_reserve(&self) -> io::Result<Option<Room<'_>>> {
        let permit = match &self.way {
            Way::Queue(queue) => match queue.try_reserve() {
                Ok(permit) => Some(permit),
                Err(TrySendError::Full(())) => return Ok(None),
                Err(TrySendError::Closed(())) => return Err(self.ledger.failure()),
            },
            Way::Inline(_) => None,
        };
        self.room(permit).map(Some)
    }

    fn room<'a>(&'a self, permit: Option<mpsc::Permit<'a, Batch>>) -> io::Result<Room<'a>> {
        if self.ledger.failed.get().is_some() {
            return Err(self.ledger.failure());
        }
        Ok(Room { outlet: self, permit })
    }

    /// What has left so far.
    pub fn left(&self) -> Left {
        let ledger = &self.ledger;
        // The count is read first: a frame counted left no later than the instant read after it.
        let frames = ledger.left.load(Ordering::Acquire);
        let at = ledger.epoch + Duration::from_micros(ledger.last_us.load(Ordering::Acquire));
        Left { frames, lost: ledger.lost.load(Ordering::Acquire), at }
    }

    /// Frames handed over that are still on their way out.
    pub fn waiting(&self) -> u64 {
        let Left { frames, lost, .. } = self.left();
        self.ledger.handed.load(Ordering::Acquire).saturating_sub(frames + lost)
    }

    /// Why no frame will leave any more, once that is so.
    pub fn check(&self) -> io::Result<()> {
        if self.ledger.failed.get().is_some() { Err(self.ledger.failure()) } else { Ok(()) }
    }

    /// Waits until everything handed over so far has left or is lost.
    pub async fn drained(&self) -> io::Result<Left> {
        loop {
            let moved = self.ledger.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            self.check()?;
            if self.waiting() == 0 {
                return Ok(self.left());
            }
            moved.await;
        }
    }
}

/// Keeps the thread to the n-th of the cores that this process may use. Senders sleep and wake every tenth of a millisecond, and
/// the kernel wakes a thread where its waker runs: left alone, all of them were seen to share one core while the other idled.
fn keep_to_core(nth: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).cycle();
    let mut own = CpuSet::new();
    if let Some(core) = cores.nth(nth) {
        own.set(core);
        // Where that is forbidden, sending goes on, slower.
        if let Err(e) = sched_setaffinity(None, &own) {
            tracing::debug!(core, error = %e, "a sender cannot be kept to its core");
        }
    }
}

impl Room<'_> {
    /// Hands the batch over and gives an empty one back.
    pub fn send(self, batch: Batch) -> Batch {
        let outlet = self.outlet;
        outlet.ledger.handed.fetch_add(batch.len() as u64, Ordering::Release);
        match (self.permit, &outlet.way) {
            (Some(permit), _) => permit.send(batch),
            (None, Way::Inline(carrier)) => {
                outlet.ledger.settle(batch, &mut *carrier.lock().unwrap_or_else(PoisonError::into_inner));
            }
            (None, Way::Queue(_)) => unreachable!("a queue gives permits"),
        }
        outlet.batch()
    }
}

impl<'a> Account<'a> {
    /// Of a batch of which nothing is known yet.
    pub fn new(ledger: &'a Ledger) -> Self {
        Account { ledger, settled: Cell::new(0) }
    }

    /// Frames of the batch that have left just now, one after the other.
    pub fn left(&self, batch: &Batch, frames: Range<usize>) {
        let ledger = self.ledger;
        ledger.tapped.sent(frames.clone().map(|n| batch.frame(n)));
        ledger.last_us.fetch_max(ledger.epoch.elapsed().as_micros() as u64, Ordering::Release);
        ledger.left.fetch_add(frames.len() as u64, Ordering::Release);
        self.settled.update(|n| n + frames.len() as u64);
    }

    /// A frame of the batch that could not be sent.
    pub fn lost(&self, _batch: &Batch, _frame: usize) {
        self.ledger.lost.fetch_add(1, Ordering::Release);
        self.settled.update(|n| n + 1);
    }
}

impl Ledger {
    /// An account that belongs to no outlet.
    #[cfg(test)]
    pub fn detached(interface: u32) -> Self {
        Self::new(Tapped { interface, framing: packet::Framing::Ethernet, tap: None })
    }

    fn new(tapped: Tapped) -> Self {
        Ledger {
            tapped,
            handed: AtomicU64::new(0),
            left: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            epoch: Instant::now(),
            last_us: AtomicU64::new(0),
            failed: OnceLock::new(),
            spent: Mutex::default(),
            moved: Notify::new(),
        }
    }

    /// Has the batch carried and keeps its memory. `false` when the way has come to its end.
    fn settle(&self, mut batch: Batch, carrier: &mut dyn Carrier) -> bool {
        let account = Account::new(self);
        let carried = carrier.carry(&batch, &account);
        let unsettled = (batch.len() as u64).saturating_sub(account.settled.get());
        self.lost.fetch_add(unsettled, Ordering::Release);
        batch.clear();
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.len() <= DEPTH {
            spent.push(batch);
        }
        drop(spent);
        let alive = match carried {
            Ok(()) => true,
            Err(e) => {
                let _ = self.failed.set((e.kind(), e.to_string()));
                false
            }
        };
        self.moved.notify_waiters();
        alive
    }

    fn failure(&self) -> io::Error {
        match self.failed.get() {
            Some((kind, what)) => io::Error::new(*kind, what.clone()),
            None => io::Error::new(io::ErrorKind::BrokenPipe, "the sender thread has ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc as std_mpsc;

    /// Waits for leave before each batch; a batch of no frames is the end of the wire.
    struct Gate(std_mpsc::Receiver<()>);

    impl Carrier for Gate {
        fn carry(&mut self, batch: &Batch, account: &Account<'_>) -> io::Result<()> {
            let _ = self.0.recv();
            if batch.is_empty() {
                return Err(io::Error::from_raw_os_error(libc::ENETDOWN));
            }
            account.lost(batch, 0);
            account.left(batch, 1..batch.len());
            Ok(())
        }
    }

    const TAPPED: Tapped = Tapped { interface: 7, framing: packet::Framing::Bare, tap: None };

    fn batch(outlet: &Outlet, frames: usize) -> Batch {
        let mut batch = outlet.batch();
        for _ in 0..frames {
            batch.push(&[0; 60]);
        }
        batch
    }

    #[tokio::test]
    async fn a_full_queue_holds_the_walker_back_and_every_frame_is_accounted_for() {
        let (leave, gate) = std_mpsc::channel();
        let outlet = Outlet::threaded(TAPPED, [Gate(gate)]).unwrap();
        let mut handed = 0;
        // The sender takes one more out of the queue and waits with it.
        while let Some(room) = outlet.try_reserve().unwrap() {
            room.send(batch(&outlet, 10));
            handed += 10;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!((outlet.waiting(), outlet.left().frames), (handed, 0));
        assert!(tokio::time::timeout(Duration::from_millis(20), outlet.reserve()).await.is_err());
        (0..handed).for_each(|_| leave.send(()).unwrap());
        let left = outlet.drained().await.unwrap();
        assert_eq!((left.frames, left.lost), (handed / 10 * 9, handed / 10));
        assert!(left.at <= Instant::now());
        let used = outlet.batch();
        assert_eq!(used, Batch::default(), "used memory comes back empty");
    }

    /// Sends half of each batch; with the three hundredth the device is gone.
    struct Rough(Arc<AtomicU64>);

    impl Carrier for Rough {
        fn carry(&mut self, batch: &Batch, account: &Account<'_>) -> io::Result<()> {
            std::thread::sleep(Duration::from_micros(50));
            let n = self.0.fetch_add(1, Ordering::Relaxed);
            account.left(batch, 0..batch.len() / 2);
            if n == 299 {
                return Err(io::Error::from_raw_os_error(libc::ENETDOWN));
            }
            (batch.len() / 2..batch.len()).for_each(|frame| account.lost(batch, frame));
            Ok(())
        }
    }

    #[tokio::test]
    async fn senders_that_share_a_queue_account_for_every_frame_even_when_one_breaks() {
        let batches = Arc::new(AtomicU64::new(0));
        let outlet = Outlet::threaded(TAPPED, (0..3).map(|_| Rough(batches.clone()))).unwrap();
        let mut handed = 0;
        while let Ok(room) = outlet.reserve().await {
            room.send(batch(&outlet, 10));
            handed += 10;
        }
        while outlet.waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let Left { frames, lost, .. } = outlet.left();
        assert_eq!(frames + lost, handed);
        assert!(batches.load(Ordering::Relaxed) >= 300 && frames >= 1_500, "{frames} of {handed}");
    }

    #[tokio::test]
    async fn a_broken_wire_is_said_to_everybody_who_waits() {
        let (leave, gate) = std_mpsc::channel();
        let outlet = Outlet::threaded(TAPPED, [Gate(gate)]).unwrap();
        outlet.reserve().await.unwrap().send(Batch::default());
        outlet.reserve().await.unwrap().send(batch(&outlet, 3));
        leave.send(()).unwrap();
        let error = loop {
            match outlet.reserve().await {
                Ok(room) => drop(room),
                Err(e) => break e,
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(error.kind(), io::Error::from_raw_os_error(libc::ENETDOWN).kind());
        assert!(outlet.drained().await.is_err() && outlet.check().is_err() && outlet.try_reserve().is_err());
    }
}
