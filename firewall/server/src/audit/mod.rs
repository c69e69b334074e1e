//! The audit log: one JSON line per statement, written by a thread of its own.
//!
//! The relay makes the line itself (a few hundred nanoseconds, and nothing that it allocated is freed on another
//! thread), adds it to the lines that wait, and goes on. When lines cannot be written they are kept and tried again,
//! `healthy` is false, and the engine refuses what must not go unrecorded.

mod clock;
mod line;
mod queue;
#[cfg(test)]
mod tests;
mod writer;

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

pub use line::{NameSource, Names};

use crate::config::AuditTarget;
use crate::metrics::Metrics;
use crate::shared::{AuditSink, ConnectionContext, ConnectionEvent};
use clock::Clock;
use queue::Queue;
use ringfence_engine::Event;
use ringfence_engine::Plan;
use writer::{Output, Writer};

/// Worlds whose names are kept at hand.
const WORLDS: usize = 8;

/// The sink behind [`AuditSink`].
pub struct Audit {
    /// Nothing is recorded without one.
    enabled: bool,
    thread: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Common>,
    names: Arc<dyn NameSource>,
    known_names: Mutex<Vec<(u64, Names)>>,
}

/// What the relays and the writer share.
struct Common {
    healthy: Arc<AtomicBool>,
    reopen: AtomicBool,
    queue: Queue,
    metrics: Arc<Metrics>,
}

thread_local! {
    /// The line at hand, and the thread's clock.
    static DESK: RefCell<(String, Clock)> = RefCell::default();
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").field("healthy", &self.healthy()).finish_non_exhaustive()
    }
}

impl Audit {
    /// Opens the target; an error here stops the start.
    pub fn open(target: &AuditTarget, metrics: Arc<Metrics>, names: Arc<dyn NameSource>) -> std::io::Result<Self> {
        let shared = Arc::new(Common {
            healthy: Arc::new(AtomicBool::new(true)),
            reopen: AtomicBool::new(false),
            queue: Queue::default(),
            metrics,
        });
        let output = match target {
            AuditTarget::None => None,
            AuditTarget::Stdout => Some(Output::Stdout),
            AuditTarget::File(path) => Some(Output::open(path)?),
        };
        let enabled = output.is_some();
        let thread = match output {
            None => None,
            Some(output) => {
                let writer = Writer::new(output, shared.clone());
                Some(std::thread::Builder::new().name(String::from("audit")).spawn(move || writer.run())?)
            }
        };
        Ok(Self { enabled, thread: Mutex::new(thread), shared, names, known_names: Mutex::default() })
    }

    /// False while lines cannot be written.
    pub fn healthy(&self) -> bool {
        self.shared.healthy.load(Ordering::Relaxed)
    }

    /// The flag that the engine asks.
    pub fn health_flag(&self) -> Arc<AtomicBool> {
        self.shared.healthy.clone()
    }

    /// Opens the file again (it was rotated) before the next line.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Relaxed);
    }

    /// An administrator's act.
    pub fn admin(&self, action: &'static str, client: &str, kids: &[Arc<str>]) {
        self.line(Instant::now(), |out, clock, now| line::admin(out, clock, now, action, client, kids));
    }

    /// Writes what waits, and ends the writer. Blocks for as long as the disk takes (at most a few seconds).
    pub fn close(&self) {
        if let Some(thread) = lock(&self.thread).take() {
            self.shared.queue.stop();
            let _ = thread.join();
        }
    }

    /// Makes a line and hands it over.
    fn line(&self, now: Instant, make: impl FnOnce(&mut String, &mut Clock, Instant)) {
        if !self.enabled {
            return;
        }
        DESK.with_borrow_mut(|(out, clock)| {
            out.clear();
            make(out, clock, now);
            if !self.shared.queue.push(out, self.healthy()) {
                self.shared.healthy.store(false, Ordering::Relaxed);
                self.shared.metrics.audit_lost.increment();
            }
            // One line with hundreds of names is no reason to keep its space.
            out.shrink_to(4096);
        });
    }

    /// The names for the plan's numbers.
    fn names_of(&self, plan: &Plan) -> Option<Names> {
        let find = |known: &Vec<(u64, Names)>| known.iter().find(|(id, _)| *id == plan.world).map(|(_, n)| n.clone());
        if let Some(names) = find(&lock(&self.known_names)) {
            return Some(names);
        }
        let names = self.names.names(plan.world)?;
        let mut known = lock(&self.known_names);
        if find(&known).is_none() {
            // Worlds come and go; what is asked again is found again.
            if known.len() >= WORLDS {
                known.remove(0);
            }
            known.push((plan.world, names.clone()));
        }
        Some(names)
    }
}

impl AuditSink for Audit {
    fn record(&self, context: &ConnectionContext, now: Instant, event: &Event) {
        self.shared.metrics.statement(event);
        self.line(now, |out, clock, now| {
            let names = || match &event.plan {
                Some(plan) => self.names_of(plan),
                None if event.handled.is_empty() => None,
                None => self.names.newest(&context.database),
            };
            line::statement(out, clock, now, context, event, names);
        });
    }

    fn connection(&self, event: ConnectionEvent<'_>) {
        self.line(Instant::now(), |out, clock, now| match event {
            ConnectionEvent::Opened(context) => line::connection(out, clock, now, "connected", context, None),
            ConnectionEvent::Closed { context, reason } => {
                line::connection(out, clock, now, "disconnected", context, Some(reason.as_str()));
            }
            ConnectionEvent::LoginFailed { login, address, reason } => {
                line::login_failed(out, clock, now, login, address, reason.as_str());
            }
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
