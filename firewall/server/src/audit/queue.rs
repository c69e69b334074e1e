//! Lines on their way to the writer: bounded, in order, taken all at once. A sender wakes the writer only if it sleeps
//! because there was nothing to do for a while.

// The writer waits here, and may; senders hold the lock for as long as a line takes to copy.
#![allow(clippy::disallowed_methods)]

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes that may wait; beyond them the relay waits, or drops where nothing can be written.
pub(super) const CAPACITY: usize = 8 << 20;

#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    work: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Lines,
    /// The writer waits for `work`.
    asleep: bool,
    stop: bool,
}

/// Whole lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) text: String,
    pub(super) count: u64,
}

impl Queue {
    /// Adds a line; false if it is lost. If `patient`, a full queue is waited for (the writer is behind): a moment's
    /// wait loses nothing. A writer that is stuck (a pipe that nobody reads) must not take the connections with it.
    pub(super) fn push(&self, line: &str, patient: bool) -> bool {
        for attempt in 0..100 {
            if attempt > 0 {
                // Holds this thread up on purpose, and not for long.
                std::thread::sleep(Duration::from_millis(1));
            }
            let mut waiting = self.lock();
            if waiting.lines.text.len() + line.len() <= CAPACITY {
                waiting.lines.text.push_str(line);
                waiting.lines.count += 1;
                if std::mem::take(&mut waiting.asleep) {
                    self.work.notify_one();
                }
                return true;
            }
            if !patient {
                return false;
            }
        }
        false
    }

    /// The writer is to end once everything is written.
    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.work.notify_one();
    }

    /// Exchanges `empty` for what waits; true if the writer is to stop after it.
    pub(super) fn take(&self, empty: &mut Lines) -> bool {
        let mut waiting = self.lock();
        std::mem::swap(&mut waiting.lines, empty);
        waiting.stop
    }

    /// Returns when something waits or the writer is to stop. Gives the queue's memory back before.
    pub(super) fn sleep(&self) {
        let mut waiting = self.lock();
        if waiting.lines.text.is_empty() {
            waiting.lines.text = String::new();
        }
        while waiting.lines.text.is_empty() && !waiting.stop {
            waiting.asleep = true;
            waiting = self.work.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.asleep = false;
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stop
    }

    /// Lines that wait.
    pub(super) fn len(&self) -> u64 {
        self.lock().lines.count
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
