//! Cancel requests. Clients get keys of the firewall's own making; what they open is known only here.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::Rng;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use crate::shared::Shared;
use crate::upstream::Target;

/// Cancel requests under way to the server at once.
const AT_ONCE: usize = 32;
/// From connecting upstream to the server closing that connection.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The secret of protocol 3.0 has four bytes; from 3.2 on, it may be longer.
const SHORT: usize = 4;
const LONG: usize = 32;

/// All keys that clients hold now.
pub struct CancelKeys {
    next: AtomicU32,
    keys: Mutex<HashMap<i32, Key>>,
    under_way: Semaphore,
}

impl fmt::Debug for CancelKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CancelKeys(…)")
    }
}

#[derive(Clone)]
struct Key {
    secret: Secret,
    upstream: Arc<UpstreamKey>,
}

/// Fixed size, so that comparing takes the same time whatever a stranger sends.
#[derive(Clone)]
struct Secret {
    bytes: [u8; LONG],
    len: usize,
}

/// What cancels at the server.
pub(crate) struct UpstreamKey {
    pub target: Arc<Target>,
    pub pid: i32,
    pub secret: Vec<u8>,
}

impl Default for CancelKeys {
    fn default() -> Self {
        Self::new()
    }
}

impl CancelKeys {
    pub fn new() -> Self {
        Self { next: AtomicU32::new(1), keys: Mutex::default(), under_way: Semaphore::new(AT_ONCE) }
    }

    /// The number of a new connection, from 1.
    pub(crate) fn number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes the key of a connection. It holds until the guard is dropped. The pid is the server's own: clients
    /// compare it with `pg_backend_pid()` and with the sender of notifications; only the secret opens anything.
    pub(crate) fn issue(shared: &Arc<Shared>, minor: u16, upstream: UpstreamKey) -> CancelGuard {
        let mut bytes = [0; LONG];
        let len = if minor >= 2 { LONG } else { SHORT };
        if let Some(part) = bytes.get_mut(..len) {
            rand::rng().fill_bytes(part);
        }
        let secret = Secret { bytes, len };
        let pid = upstream.pid;
        let key = Key { secret, upstream: Arc::new(upstream) };
        shared.cancel_keys.lock().insert(pid, key.clone());
        CancelGuard { shared: Arc::clone(shared), pid, key }
    }

    /// The upstream key that this key opens.
    fn open(&self, pid: i32, secret: &[u8]) -> Option<Arc<UpstreamKey>> {
        let found = self.lock().get(&pid).cloned();
        let nobody = Secret { bytes: [0; LONG], len: LONG };
        let expected = found.as_ref().map_or(&nobody, |k| &k.secret);
        let mut given = [0; LONG];
        for (to, from) in given.iter_mut().zip(secret) {
            *to = *from;
        }
        let same = given.ct_eq(&expected.bytes) & secret.len().ct_eq(&expected.len);
        found.filter(|_| bool::from(same)).map(|k| k.upstream)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Key>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's key; withdrawn when dropped.
pub(crate) struct CancelGuard {
    shared: Arc<Shared>,
    pid: i32,
    key: Key,
}

impl CancelGuard {
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    pub(crate) fn secret(&self) -> &[u8] {
        self.key.secret.bytes.get(..self.key.secret.len).unwrap_or_default()
    }

    /// Cancels what the server does for this connection now.
    pub(crate) fn interrupt(&self) -> impl Future<Output = ()> + use<> {
        let upstream = Arc::clone(&self.key.upstream);
        async move { deliver(&upstream).await }
    }
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        let mut keys = self.shared.cancel_keys.lock();
        // The server may have given the pid to another connection since.
        if keys.get(&self.pid).is_some_and(|k| Arc::ptr_eq(&k.upstream, &self.key.upstream)) {
            keys.remove(&self.pid);
        }
    }
}

/// Passes a client's request on, if its key is one of ours. Says nothing either way, as a server does.
pub(crate) async fn serve(shared: &Shared, address: IpAddr, pid: i32, secret: &[u8]) {
    if !shared.limiter.cancel(address) {
        return;
    }
    let found = shared.cancel_keys.open(pid, secret);
    shared.metrics.cancel(found.is_some());
    let Some(key) = found else { return };
    let Ok(_permit) = shared.cancel_keys.under_way.acquire().await else { return };
    deliver(&key).await;
}

async fn deliver(key: &UpstreamKey) {
    match tokio::time::timeout(TIMEOUT, send(key)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "a cancel request did not reach the database server"),
        Err(_) => tracing::warn!("a cancel request did not reach the database server in time"),
    }
}

async fn send(key: &UpstreamKey) -> std::io::Result<()> {
    let mut stream = crate::upstream::open(&key.target).await?;
    let mut packet = Vec::new();
    ringfence_wire::encode::cancel(&mut packet, key.pid, &key.secret);
    stream.write_all(&packet).await?;
    stream.flush().await?;
    // The server acts before it closes; the client is told by the closing of its own connection.
    let mut rest = [0; 64];
    while matches!(stream.read(&mut rest).await, Ok(n) if n > 0) {}
    Ok(())
}
