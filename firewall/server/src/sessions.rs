//! The connections past authentication: who they are, and how word reaches them.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use tokio::sync::Notify;

use crate::shared::ConnectionContext;

/// Every connection past authentication.
#[derive(Default)]
pub struct Sessions {
    entries: Mutex<HashMap<u32, Entry>>,
    count: AtomicUsize,
    /// No more are admitted.
    draining: AtomicBool,
    /// Notified when one ends.
    ended: Notify,
}

struct Entry {
    context: Arc<ConnectionContext>,
    signal: Arc<Signal>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("count", &self.len()).finish()
    }
}

/// What a connection may be told from outside. Checked by its relay with one load per wake-up.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    order: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

/// In rising order of urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Order {
    GoOn = 0,
    /// End once no transaction is open.
    Drain = 1,
    /// End now.
    Stop = 2,
    /// The token is no longer good: end now.
    Revoke = 3,
}

impl Signal {
    #[inline]
    pub(crate) fn order(&self) -> Order {
        match self.order.load(Ordering::Acquire) {
            0 => Order::GoOn,
            1 => Order::Drain,
            2 => Order::Stop,
            _ => Order::Revoke,
        }
    }

    /// The relay's task, to be called once per task (a task's waker does not change its target).
    pub(crate) fn register(&self, waker: &Waker) {
        *lock(&self.waker) = Some(waker.clone());
    }

    fn give(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::AcqRel);
        self.wake();
    }

    fn wake(&self) {
        let waker = lock(&self.waker).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A connection's place in the registry; leaves it when dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    shared: Arc<crate::shared::Shared>,
    id: u32,
    pub(crate) signal: Arc<Signal>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.shared.sessions.remove(self.id);
    }
}

/// Why a connection was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    Server,
    Client,
    /// It is about to stop.
    Draining,
}

impl Sessions {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everyone connected now.
    pub fn list(&self) -> Vec<Arc<ConnectionContext>> {
        lock(&self.entries).values().map(|e| Arc::clone(&e.context)).collect()
    }

    /// Ends the connections that came with this token, at once. Returns how many.
    pub fn revoke(&self, kid: &str) -> usize {
        self.each(|c| &*c.kid == kid, Order::Revoke)
    }

    /// Ends the connections of this client, at once.
    pub fn revoke_client(&self, client: &str) -> usize {
        self.each(|c| &*c.client == client, Order::Revoke)
    }

    /// Ends every connection whose context says so: expired tokens, for one.
    pub fn revoke_where(&self, dead: impl Fn(&ConnectionContext) -> bool) -> usize {
        self.each(dead, Order::Revoke)
    }

    /// Lets every connection look at the newest policy and catalog.
    pub fn wake_all(&self) {
        for entry in lock(&self.entries).values() {
            entry.signal.wake();
        }
    }

    /// Asks everyone to end between transactions.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.each(|_| true, Order::Drain);
    }

    /// Ends everyone now.
    pub(crate) fn stop(&self) {
        self.each(|_| true, Order::Stop);
    }

    /// Returns when no connection is left.
    pub(crate) async fn empty(&self) {
        loop {
            let ended = self.ended.notified();
            if self.is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// Admits one more, if neither the server nor the client has too many.
    pub(crate) fn register(
        shared: &Arc<crate::shared::Shared>,
        context: &Arc<ConnectionContext>,
        client_max: Option<u32>,
    ) -> Result<Registration, Full> {
        let sessions = &shared.sessions;
        let signal = Arc::new(Signal::default());
        let mut entries = lock(&sessions.entries);
        // Set before `drain` takes the lock: whoever is admitted here is told there.
        if sessions.draining.load(Ordering::Acquire) {
            return Err(Full::Draining);
        }
        if entries.len() >= shared.net.max_connections {
            return Err(Full::Server);
        }
        if let Some(max) = client_max {
            let same = entries.values().filter(|e| e.context.client == context.client).count();
            if same >= usize::try_from(max).unwrap_or(usize::MAX) {
                return Err(Full::Client);
            }
        }
        entries.insert(context.id, Entry { context: Arc::clone(context), signal: Arc::clone(&signal) });
        sessions.count.store(entries.len(), Ordering::Relaxed);
        drop(entries);
        Ok(Registration { shared: Arc::clone(shared), id: context.id, signal })
    }

    fn remove(&self, id: u32) {
        let mut entries = lock(&self.entries);
        entries.remove(&id);
        self.count.store(entries.len(), Ordering::Relaxed);
        drop(entries);
        self.ended.notify_waiters();
    }

    fn each(&self, which: impl Fn(&ConnectionContext) -> bool, order: Order) -> usize {
        let entries = lock(&self.entries);
        let chosen = entries.values().filter(|e| which(&e.context));
        chosen.map(|e| e.signal.give(order)).count()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
