//! The audit log: one JSON line per statement, written by a thread of its own.
//!
//! The relay hands an event over (a bounded queue, well under a microsecond) and goes on. When lines cannot be written
//! they are kept and tried again, `healthy` is false, and the engine refuses what must not go unrecorded.

mod line;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

pub use line::{NameSource, Names};

use crate::config::AuditTarget;
use crate::metrics::Metrics;
use crate::shared::{AuditSink, ConnectionContext, ConnectionEvent};
use ringfence_engine::Event;
use writer::{Output, Writer};

/// Events that may wait for the writer; beyond them the relay waits, or drops where nothing can be written.
const QUEUE: usize = 8192;

enum Item {
    Statement { time: SystemTime, connection: u32, pid: i32, event: Event },
    Opened { time: SystemTime, connection: u32 },
    Closed { time: SystemTime, connection: u32, reason: &'static str },
    LoginFailed { time: SystemTime, login: Box<str>, address: std::net::SocketAddr, reason: &'static str },
    Admin { time: SystemTime, action: &'static str, client: Box<str>, kids: Vec<Arc<str>> },
    Stop,
}

/// What a connection's lines begin with, and its database.
struct Who {
    prefix: String,
    database: Arc<str>,
}

/// The sink behind [`AuditSink`].
pub struct Audit {
    queue: Option<SyncSender<Item>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Common>,
}

/// What the queue's two ends share.
struct Common {
    healthy: Arc<AtomicBool>,
    reopen: AtomicBool,
    connections: Mutex<HashMap<u32, Arc<Who>>>,
    metrics: Arc<Metrics>,
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
            connections: Mutex::default(),
            metrics,
        });
        let output = match target {
            AuditTarget::None => return Ok(Self { queue: None, thread: Mutex::new(None), shared }),
            AuditTarget::Stdout => Output::Stdout,
            AuditTarget::File(path) => Output::open(path)?,
        };
        let (queue, items) = sync_channel(QUEUE);
        let writer = Writer::new(items, output, shared.clone(), names);
        let thread = std::thread::Builder::new().name(String::from("audit")).spawn(move || writer.run())?;
        Ok(Self { queue: Some(queue), thread: Mutex::new(Some(thread)), shared })
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
        self.send(|| Item::Admin { time: SystemTime::now(), action, client: client.into(), kids: kids.to_vec() });
    }

    /// Writes what is queued, and ends the writer. Blocks for as long as the disk takes (at most a few seconds).
    pub fn close(&self) {
        let thread = lock(&self.thread).take();
        if let (Some(queue), Some(thread)) = (&self.queue, thread) {
            let _ = queue.send(Item::Stop);
            let _ = thread.join();
        }
    }

    fn send(&self, item: impl FnOnce() -> Item) {
        let Some(queue) = &self.queue else { return };
        let Err(refused) = queue.try_send(item()) else { return };
        if let TrySendError::Full(item) = refused
            && self.healthy()
            && wait_for_room(queue, item)
        {
            return;
        }
        self.shared.healthy.store(false, Ordering::Relaxed);
        self.shared.metrics.audit_lost.increment();
    }
}

/// The writer is behind: a moment's wait loses nothing. A writer that is stuck (a pipe that nobody reads) must not take
/// the connections with it.
#[allow(clippy::disallowed_methods)] // holds this thread up on purpose, and not for long
fn wait_for_room(queue: &SyncSender<Item>, mut item: Item) -> bool {
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(1));
        match queue.try_send(item) {
            Ok(()) => return true,
            Err(TrySendError::Full(back)) => item = back,
            Err(TrySendError::Disconnected(_)) => return false,
        }
    }
    false
}

impl AuditSink for Audit {
    fn record(&self, context: &ConnectionContext, event: Event) {
        self.shared.metrics.statement(&event);
        self.send(|| Item::Statement {
            time: SystemTime::now(),
            connection: context.id,
            pid: context.upstream_pid(),
            event,
        });
    }

    fn connection(&self, event: ConnectionEvent<'_>) {
        if self.queue.is_none() {
            return;
        }
        let time = SystemTime::now();
        match event {
            ConnectionEvent::Opened(context) => {
                let who = Who { prefix: line::prefix(context), database: context.database.clone() };
                lock(&self.shared.connections).insert(context.id, Arc::new(who));
                self.send(|| Item::Opened { time, connection: context.id });
            }
            ConnectionEvent::Closed { context, reason } => {
                self.send(|| Item::Closed { time, connection: context.id, reason: reason.as_str() });
            }
            ConnectionEvent::LoginFailed { login, address, reason } => {
                self.send(|| Item::LoginFailed { time, login: login.into(), address, reason: reason.as_str() });
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
