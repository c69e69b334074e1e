//! The client port: accepting, counting, draining.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};

use crate::connection;
use crate::shared::{Problem, Shared};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: u32 = 1024;
/// After an accept that failed for want of something (descriptors, memory).
const PAUSE: Duration = Duration::from_millis(100);
/// How often tokens of live connections are looked at again for expiry.
const EXPIRY: Duration = Duration::from_secs(5);
/// Busy sessions that outlived the grace get this long to take their last message.
const LAST_WORD: Duration = Duration::from_secs(3);

/// A bound client port.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    stop: Arc<Notify>,
}

/// Ends a [`Listener::run`].
#[derive(Debug, Clone)]
pub struct Stopper(Arc<Notify>);

impl Stopper {
    /// Stops accepting.
    pub fn stop(&self) {
        self.0.notify_one();
    }
}

impl Listener {
    /// Binds the address; the port may be 0.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        // Accepted sockets inherit it: peers that vanished without a word are noticed.
        socket.set_keepalive(true)?;
        socket.bind(address)?;
        Ok(Self { tcp: socket.listen(BACKLOG)?, stop: Arc::new(Notify::new()) })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// Accepts until it is stopped; the port is closed then, the connections go on.
    pub async fn run(self, shared: Arc<Shared>) {
        let pending = Arc::new(Semaphore::new(shared.net.max_pending));
        let mut expiry = tokio::time::interval(EXPIRY);
        loop {
            tokio::select! {
                () = self.stop.notified() => return,
                _ = expiry.tick() => end_expired(&shared),
                accepted = self.tcp.accept() => match accepted {
                    Ok((tcp, address)) => begin(tcp, address, &shared, &pending),
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        sleep(PAUSE).await;
                    }
                },
            }
        }
    }
}

fn begin(tcp: TcpStream, address: SocketAddr, shared: &Arc<Shared>, pending: &Arc<Semaphore>) {
    let _ = tcp.set_nodelay(true);
    match Arc::clone(pending).try_acquire_owned() {
        Ok(permit) => {
            tokio::spawn(connection::serve(tcp, address, Arc::clone(shared), permit));
        }
        Err(_) => turn_away(&tcp),
    }
}

/// Too many are at their startup already: says so if that costs no waiting.
fn turn_away(tcp: &TcpStream) {
    let mut out = Vec::new();
    let problem = Problem::new("53300", "sorry, too many connections are starting").hint("Try again in a moment.");
    crate::startup::fatal(&mut out, &problem);
    let _ = tcp.try_write(&out);
}

fn end_expired(shared: &Shared) {
    let now = std::time::SystemTime::now();
    let ended = shared
        .sessions
        .revoke_where(|context| shared.verifiers.valid_until(&context.kid).is_none_or(|until| until <= now));
    if ended > 0 {
        tracing::info!(connections = ended, "ended: their tokens are no longer valid");
    }
}

/// Ends all sessions: idle ones at once, busy ones between transactions or when the grace is over. Call after
/// [`Stopper::stop`].
pub async fn drain(shared: &Shared) {
    shared.sessions.drain();
    if timeout(shared.net.drain_grace, shared.sessions.empty()).await.is_err() {
        tracing::warn!(connections = shared.sessions.len(), "still busy when the drain's grace was over: ended");
        shared.sessions.stop();
        let _ = timeout(LAST_WORD, shared.sessions.empty()).await;
    }
}
