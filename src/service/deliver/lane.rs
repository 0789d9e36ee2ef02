//! The queue and thread of one receiver.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use super::connection::{Connection, Sent, connection};
use super::message::Message;
use super::{DeliveryChange, DeliveryError, DeliveryOptions, Target, TargetCounters};
use crate::lock::Lock;

/// Changes kept for whoever asks next. There are at most three an outage.
const KEPT_CHANGES: usize = 64;

#[derive(Debug)]
pub(super) struct Lane {
    state: Arc<State>,
    queue: Sender<Arc<Message>>,
    /// Its other end: a full queue gives up the oldest.
    oldest: Receiver<Arc<Message>>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
}

/// Shared by the thread and those who watch it.
#[derive(Debug, Default)]
struct State {
    target: String,
    delivered: AtomicU64,
    lost: AtomicU64,
    refused: AtomicU64,
    retries: AtomicU64,
    waiting: AtomicU64,
    failing: AtomicBool,
    told: Lock<Told>,
    /// Dropped when the run ends.
    closing: Lock<Option<Sender<()>>>,
    /// When to give up, once the run ends.
    deadline: Lock<Option<Instant>>,
}

/// What was said of the present outage.
#[derive(Debug, Default)]
struct Told {
    changes: Vec<DeliveryChange>,
    failing: bool,
    losing: bool,
    /// When the last outage began that was told.
    began: Option<Instant>,
    /// The present one follows it so soon that nothing is said of it.
    untold: bool,
    /// Lost in this outage, and in those that were not told.
    lost: u64,
}

/// Outages are told this far apart: a receiver that refuses every other message
/// must not fill the log.
const TELL_EVERY: Duration = Duration::from_secs(60);

impl Lane {
    /// `name` is what it is shown as.
    pub(super) fn start(
        target: &Target,
        name: String,
        options: &DeliveryOptions,
    ) -> Result<Self, DeliveryError> {
        let connection = connection(target, options)?;
        let (queue, messages) = bounded(options.queue.max(1));
        let (closing, woken) = bounded(0);
        let (end, ended) = bounded(0);
        let state =
            Arc::new(State { target: name, closing: Lock::new(Some(closing)), ..State::default() });
        let carrier = Carrier {
            state: Arc::clone(&state),
            connection,
            messages: messages.clone(),
            woken,
            options: options.clone(),
        };
        std::thread::Builder::new()
            .name("deliver".to_owned())
            .spawn(move || {
                carrier.run();
                drop(end);
            })
            .map_err(|source| DeliveryError::Thread { target: target.to_string(), source })?;
        Ok(Self { state, queue, oldest: messages, ended })
    }

    /// As it is shown.
    pub(super) fn target(&self) -> &str {
        &self.state.target
    }

    /// Never blocks.
    pub(super) fn offer(&self, message: Arc<Message>) {
        let mut message = message;
        self.state.waiting.fetch_add(1, Relaxed);
        // The thread may take messages meanwhile; then the next round fits.
        while let Err(TrySendError::Full(back)) = self.queue.try_send(message) {
            if self.oldest.try_recv().is_ok() {
                self.state.waiting.fetch_sub(1, Relaxed);
                self.state.lose(1, "the queue is full");
            }
            message = back;
        }
    }

    pub(super) fn counters(&self) -> TargetCounters {
        let state = &self.state;
        TargetCounters {
            target: state.target.clone(),
            delivered: state.delivered.load(Relaxed),
            lost: state.lost.load(Relaxed),
            refused: state.refused.load(Relaxed),
            retries: state.retries.load(Relaxed),
            waiting: state.waiting.load(Relaxed),
            failing: state.failing.load(Relaxed),
        }
    }

    pub(super) fn take_changes(&self) -> Vec<DeliveryChange> {
        std::mem::take(&mut self.state.told.lock().changes)
    }

    /// From here on it drains.
    pub(super) fn close(&self, deadline: Instant) {
        *self.state.deadline.lock() = Some(deadline);
        // Wakes the thread from a pause.
        drop(self.state.closing.lock().take());
    }

    /// Until the thread has drained the queue, or should have. One that hangs
    /// in a system call (looking up a name, a Unix socket that nobody accepts
    /// from) ends with the process; what it has not delivered is counted here.
    pub(super) fn wait(&self, deadline: Instant) {
        if self.ended.recv_deadline(deadline + LAST_ATTEMPT) == Err(RecvTimeoutError::Timeout) {
            self.state.give_up(self.oldest.try_iter().count() as u64);
            // The one in its hands.
            let left = self.state.waiting.swap(0, Relaxed);
            self.state.lose(left, "the run has ended");
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.close(Instant::now());
    }
}

/// What an attempt at the deadline may take longer.
const LAST_ATTEMPT: Duration = Duration::from_millis(100);
/// The shortest time that is worth an attempt; sockets refuse a time-out of 0.
const SHORTEST: Duration = Duration::from_millis(1);
/// Pause between attempts while it drains: there is little time.
const DRAINING_PAUSE: Duration = Duration::from_millis(100);

impl State {
    fn lose(&self, count: u64, why: &str) {
        if count == 0 {
            return;
        }
        self.lost.fetch_add(count, Relaxed);
        self.tell_loss(count, why);
    }

    /// Messages that were still in the queue.
    fn give_up(&self, count: u64) {
        let left = self.waiting.load(Relaxed).saturating_sub(count);
        self.waiting.store(left, Relaxed);
        self.lose(count, "the run has ended");
    }

    fn tell_loss(&self, count: u64, why: &str) {
        let mut told = self.told.lock();
        told.begin();
        told.lost += count;
        if !std::mem::replace(&mut told.losing, true) {
            told.push(DeliveryChange::Losing { target: self.target.clone(), why: why.to_owned() });
        }
    }

    fn fail(&self, error: &std::io::Error) {
        self.retries.fetch_add(1, Relaxed);
        self.failing.store(true, Relaxed);
        let mut told = self.told.lock();
        told.begin();
        if !std::mem::replace(&mut told.failing, true) {
            let (target, error) = (self.target.clone(), error.to_string());
            told.push(DeliveryChange::Failing { target, error });
        }
    }

    fn succeed(&self) {
        self.delivered.fetch_add(1, Relaxed);
        self.failing.store(false, Relaxed);
        let mut told = self.told.lock();
        if told.failing || told.losing {
            let (target, lost) = (self.target.clone(), told.lost);
            told.push(DeliveryChange::Recovered { target, lost });
            (told.failing, told.losing) = (false, false);
            if !told.untold {
                told.lost = 0;
            }
        }
    }
}

impl Told {
    fn begin(&mut self) {
        if self.failing || self.losing {
            return;
        }
        self.untold = self.began.is_some_and(|began| began.elapsed() < TELL_EVERY);
        if !self.untold {
            self.began = Some(Instant::now());
        }
    }

    fn push(&mut self, change: DeliveryChange) {
        if self.untold {
            return;
        }
        if self.changes.len() == KEPT_CHANGES {
            self.changes.remove(0);
        }
        self.changes.push(change);
    }
}

/// The thread.
struct Carrier {
    state: Arc<State>,
    connection: Box<dyn Connection>,
    messages: Receiver<Arc<Message>>,
    /// Closed when the run ends.
    woken: Receiver<()>,
    options: DeliveryOptions,
}

impl Carrier {
    fn run(mut self) {
        while let Some(message) = self.next() {
            let done = self.carry(&message);
            self.state.waiting.fetch_sub(1, Relaxed);
            if !done {
                self.state.lose(1, "the run has ended");
                self.state.give_up(self.messages.try_iter().count() as u64);
                return;
            }
        }
    }

    fn next(&self) -> Option<Arc<Message>> {
        crossbeam_channel::select! {
            recv(self.messages) -> message => message.ok(),
            // What is in the queue then goes out; nothing more comes in.
            recv(self.woken) -> _ => self.messages.try_recv().ok(),
        }
    }

    /// Until the receiver has it or refuses it; false when time is up.
    fn carry(&mut self, message: &Message) -> bool {
        let mut pause = self.options.first_pause;
        loop {
            let Some(timeout) = self.time_left(self.options.timeout) else { return false };
            match self.connection.send(message, timeout) {
                Ok(Sent::Delivered) => {
                    self.state.succeed();
                    return true;
                }
                Ok(Sent::Refused(why)) => {
                    self.state.refused.fetch_add(1, Relaxed);
                    self.state.tell_loss(1, &why);
                    return true;
                }
                Err(error) => self.state.fail(&error),
            }
            let draining = self.woken.recv_timeout(pause) != Err(RecvTimeoutError::Timeout);
            if draining {
                let Some(pause) = self.time_left(DRAINING_PAUSE.min(pause)) else { return false };
                std::thread::sleep(pause);
            }
            pause = (pause * 2).min(self.options.longest_pause);
        }
    }

    /// `wanted`, or what is left until the deadline.
    fn time_left(&self, wanted: Duration) -> Option<Duration> {
        let Some(deadline) = *self.state.deadline.lock() else { return Some(wanted) };
        let left = deadline.saturating_duration_since(Instant::now());
        (left >= SHORTEST).then(|| wanted.min(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outages_in_quick_succession_are_told_once_and_all_their_losses_later() {
        let state = State { target: "x".to_owned(), ..State::default() };
        let changes = || std::mem::take(&mut state.told.lock().changes);
        let losing = || DeliveryChange::Losing { target: "x".to_owned(), why: "full".to_owned() };
        let recovered = |lost| DeliveryChange::Recovered { target: "x".to_owned(), lost };
        state.lose(2, "full");
        state.succeed();
        assert_eq!(changes(), [losing(), recovered(2)]);
        for _ in 0..10 {
            state.lose(1, "full");
            state.succeed();
        }
        assert_eq!(changes(), []);
        state.told.lock().began = Instant::now().checked_sub(TELL_EVERY);
        state.lose(1, "full");
        state.succeed();
        assert_eq!(changes(), [losing(), recovered(11)]);
        assert_eq!((state.lost.load(Relaxed), state.delivered.load(Relaxed)), (13, 12));
    }
}
