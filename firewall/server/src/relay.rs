//! The loop between two sockets and a session: one task, both directions, no allocation while bytes pass.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ringfence_engine::{Fatal, Goodbye, Need, Session};

use crate::sessions::{Order, Signal};
use crate::shared::{Boxed, CloseReason, ConnectionContext, Problem, Shared, View};
use crate::sink::{Buffers, Side, Sink};

/// Turns before other tasks get theirs.
const TURNS: u32 = 32;
/// A client that does not read its answers is not read either beyond this.
const UNREAD_ANSWERS: usize = 256 * 1024;
/// How often a busy connection reports what it moved.
const REPORT: Duration = Duration::from_secs(10);

/// Everything of a live connection.
pub(crate) struct Relay {
    session: Session,
    client: Side,
    server: Side,
    /// Bytes that the session did not take yet, because it waits for the server or for a catalog.
    held: Held,
    /// The direction toward the server is shut after the client's end.
    server_shut: bool,
    refresh: Option<Boxed<'static, Result<View, Problem>>>,
    /// `refresh` is new: no waker is in it.
    unpolled: bool,
    generation: u64,
    signal: Arc<Signal>,
    /// The waker that `signal` has.
    waker: Option<Waker>,
    shared: Arc<Shared>,
    context: Arc<ConnectionContext>,
    reported: Reported,
}

#[derive(Default)]
struct Held {
    client: Vec<u8>,
    server: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Origin {
    Client,
    Server,
}

struct Reported {
    at: Instant,
    to_client: u64,
    to_server: u64,
}

impl Relay {
    pub(crate) fn new(
        shared: Arc<Shared>,
        context: Arc<ConnectionContext>,
        signal: Arc<Signal>,
        generation: u64,
        session: Session,
        (client, server): (Side, Side),
    ) -> Self {
        let reported = Reported { at: Instant::now(), to_client: 0, to_server: 0 };
        Self {
            session,
            client,
            server,
            held: Held::default(),
            server_shut: false,
            refresh: None,
            unpolled: false,
            generation,
            signal,
            waker: None,
            shared,
            context,
            reported,
        }
    }

    /// Prepares the first poll: the end of authentication, the server's greeting with the firewall's own cancel key
    /// in it, and what the client said early. All of it goes out in one write.
    pub(crate) fn greet(&mut self, last: &[u8], greeting: &[u8], key: &[u8], ready: Vec<u8>, early: Vec<u8>) {
        let mut nobody = Context::from_waker(Waker::noop());
        let now = Instant::now();
        self.client.queue(last);
        Buffers::lend(|buffers| {
            // What it does not take, or does not understand, shows again in the first turn.
            let _ = self.turn(&mut nobody, buffers, now, |session, sink| session.server_bytes(now, greeting, sink));
        });
        self.client.queue(key);
        self.held = Held { client: early, server: ready };
    }

    /// Ready when the connection is over; what was last said may still have to be written ([`Relay::poll_close`]).
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.listen_for_orders(cx);
        (self.client.dry, self.server.dry) = (false, false);
        Buffers::lend(|buffers| {
            for _ in 0..TURNS {
                match self.step(cx, buffers) {
                    Ok(true) => {}
                    Ok(false) => return Poll::Pending,
                    Err(reason) => return Poll::Ready(reason),
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }

    /// Moves what can be moved once. False if that was nothing: every waker is in place then.
    fn step(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Result<bool, CloseReason> {
        self.obey(cx, buffers)?;
        self.poll_refresh(cx, buffers)?;
        self.client.push(cx);
        self.server.push(cx);
        let moved = self.pump_server(cx, buffers)? | self.pump_client(cx, buffers)?;
        if self.client.broken {
            return Err(CloseReason::Client);
        }
        Ok(moved || self.unpolled)
    }

    fn pump_server(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Result<bool, CloseReason> {
        if self.client.is_blocked() {
            return Ok(false);
        }
        if !self.held.server.is_empty() {
            let mut bytes = std::mem::take(&mut self.held.server);
            let taken = self.feed(cx, buffers, Origin::Server, &bytes)?;
            bytes.drain(..taken);
            self.held.server = bytes;
            return Ok(taken > 0);
        }
        if self.server.dry {
            return Ok(false);
        }
        let Poll::Ready(read) = self.server.poll_read(cx, &mut buffers.read) else { return Ok(false) };
        match read {
            Ok(n) if n > 0 => self.feed_read(cx, buffers, Origin::Server, n).map(|()| true),
            _ => Err(self.server_gone(cx, buffers)),
        }
    }

    fn pump_client(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Result<bool, CloseReason> {
        if self.server.is_blocked() || self.client.backlog() > UNREAD_ANSWERS || self.refresh.is_some() {
            return Ok(false);
        }
        if !self.held.client.is_empty() {
            let mut bytes = std::mem::take(&mut self.held.client);
            let taken = self.feed(cx, buffers, Origin::Client, &bytes)?;
            bytes.drain(..taken);
            self.held.client = bytes;
            return Ok(taken > 0);
        }
        if self.client.ended {
            return self.shut_server(cx);
        }
        if self.client.dry {
            return Ok(false);
        }
        let Poll::Ready(read) = self.client.poll_read(cx, &mut buffers.read) else { return Ok(false) };
        match read {
            Ok(0) => {
                self.client.ended = true;
                Ok(true)
            }
            Ok(n) => self.feed_read(cx, buffers, Origin::Client, n).map(|()| true),
            // A TLS peer that left without a word, or a reset.
            Err(_) => Err(CloseReason::Client),
        }
    }

    /// The client has said everything; the server may still answer.
    fn shut_server(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        if !self.server_shut && self.server.poll_shutdown(cx).is_ready() {
            self.server_shut = true;
        }
        Ok(false)
    }

    fn server_gone(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> CloseReason {
        // After Terminate the server closes first, and the client's own end is next to be read.
        if !self.client.ended && !matches!(self.client.poll_read(cx, &mut buffers.read), Poll::Ready(Ok(0) | Err(_))) {
            self.goodbye(cx, buffers, Goodbye::UpstreamLost);
            return CloseReason::Upstream;
        }
        self.client.ended = true;
        CloseReason::Client
    }

    /// Passes on the first `n` bytes of the thread's buffer, and keeps what the session does not take.
    #[inline]
    fn feed_read(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut Buffers,
        from: Origin,
        n: usize,
    ) -> Result<(), CloseReason> {
        let read = std::mem::take(&mut buffers.read);
        let bytes = read.get(..n).unwrap_or_default();
        let fed = self.feed(cx, buffers, from, bytes).map(|taken| {
            if taken < n {
                let rest = bytes.get(taken..).unwrap_or_default();
                match from {
                    Origin::Client => self.held.client.extend_from_slice(rest),
                    Origin::Server => self.held.server.extend_from_slice(rest),
                }
            }
        });
        buffers.read = read;
        fed
    }

    #[inline]
    fn feed(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut Buffers,
        from: Origin,
        bytes: &[u8],
    ) -> Result<usize, CloseReason> {
        let now = Instant::now();
        let fed = self.turn(cx, buffers, now, |session, sink| match from {
            Origin::Client => session.client_bytes(now, bytes, sink),
            Origin::Server => session.server_bytes(now, bytes, sink),
        });
        if now.saturating_duration_since(self.reported.at) > REPORT {
            self.report();
        }
        fed.map_err(|error| self.broken_off(&error))
    }

    fn broken_off(&self, error: &Fatal) -> CloseReason {
        tracing::warn!(client = %self.context.client, address = %self.context.address, %error, "a connection was ended");
        CloseReason::Protocol
    }

    /// One call of the session, and everything that follows from it.
    #[inline]
    fn turn<T>(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut Buffers,
        now: Instant,
        call: impl FnOnce(&mut Session, &mut Sink<'_, '_>) -> T,
    ) -> T {
        let mut sink = Sink {
            client: &mut self.client,
            server: &mut self.server,
            for_client: &mut buffers.client,
            for_server: &mut buffers.server,
            cx,
        };
        let result = call(&mut self.session, &mut sink);
        sink.finish();
        while let Some(event) = self.session.next_event() {
            self.shared.audit.record(&self.context, now, &event);
        }
        if let Some(need) = self.session.need() {
            self.ask(need);
        }
        result
    }

    #[cold]
    fn ask(&mut self, need: Need) {
        let (shared, context) = (Arc::clone(&self.shared), Arc::clone(&self.context));
        match need {
            Need::Refresh(reason) => {
                tracing::debug!(client = %self.context.client, ?reason, "a session asks for the catalog");
                self.unpolled = true;
                self.refresh =
                    Some(Box::pin(async move { shared.worlds.refresh(&context.database, &context.client).await }));
            }
            // The others are to see what an unrestricted session changed; that one need not wait.
            Need::Stale => {
                tokio::spawn(async move {
                    let _ = shared.worlds.refresh(&context.database, &context.client).await;
                });
            }
        }
    }

    fn poll_refresh(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Result<(), CloseReason> {
        self.unpolled = false;
        let Some(refresh) = &mut self.refresh else { return Ok(()) };
        let Poll::Ready(answer) = refresh.as_mut().poll(cx) else { return Ok(()) };
        self.refresh = None;
        match answer {
            Ok(view) => self.take_over(cx, buffers, view, true),
            // Without knowing what it reaches, the statement cannot go on.
            Err(problem) => {
                tracing::warn!(database = %self.context.database, error = %problem, "the catalog could not be read again");
                let now = Instant::now();
                let told = self.turn(cx, buffers, now, |session, sink| session.world_failed(now, sink));
                told.map_err(|error| self.broken_off(&error))
            }
        }
    }

    fn take_over(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut Buffers,
        view: View,
        asked: bool,
    ) -> Result<(), CloseReason> {
        let now = Instant::now();
        let View { world, client } = view;
        let taken = self.turn(cx, buffers, now, |session, sink| session.world(now, world, client, asked, sink));
        taken.map_err(|error| self.broken_off(&error))
    }

    fn listen_for_orders(&mut self, cx: &mut Context<'_>) {
        if !self.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            self.signal.register(cx.waker());
            self.waker = Some(cx.waker().clone());
        }
    }

    /// What the rest of the process wants of this connection: two loads, when it wants nothing.
    #[inline]
    fn obey(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Result<(), CloseReason> {
        match self.signal.order() {
            Order::GoOn => {}
            Order::Drain if !self.is_idle() => {}
            Order::Drain | Order::Stop => {
                self.goodbye(cx, buffers, Goodbye::Shutdown);
                return Err(CloseReason::Shutdown);
            }
            Order::Revoke => {
                self.goodbye(cx, buffers, Goodbye::Revoked);
                return Err(CloseReason::Revoked);
            }
        }
        let generation = self.shared.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.generation = generation;
            match self.shared.worlds.current(&self.context.database, &self.context.client) {
                Some(view) => self.take_over(cx, buffers, view, false)?,
                None => {
                    self.goodbye(cx, buffers, Goodbye::Revoked);
                    return Err(CloseReason::Revoked);
                }
            }
        }
        Ok(())
    }

    /// No transaction is open, nothing is owed, nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.session.is_idle() && self.held.client.is_empty() && !self.client.is_blocked()
    }

    fn goodbye(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers, why: Goodbye) {
        self.turn(cx, buffers, Instant::now(), |session, sink| session.terminate(why, sink));
    }

    /// Writes what is left for the client and closes, so that the client can read it: a socket that is closed with
    /// unread input takes back what it sent.
    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.client.push(cx);
        if self.client.broken {
            return Poll::Ready(());
        }
        if self.client.is_blocked() || self.client.poll_shutdown(cx).is_pending() {
            return Poll::Pending;
        }
        Buffers::lend(|buffers| {
            while !self.client.ended {
                match self.client.poll_read(cx, &mut buffers.read) {
                    Poll::Ready(Ok(n)) if n > 0 => {}
                    Poll::Ready(_) => self.client.ended = true,
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(())
        })
    }

    /// Tells the metrics what moved since the last time.
    pub(crate) fn report(&mut self) {
        let (to_client, to_server) = (self.client.written, self.server.written);
        self.shared.metrics.relayed(to_client - self.reported.to_client, to_server - self.reported.to_server);
        let (unpresentable, disagreements) = self.session.take_counts();
        self.shared.metrics.surprises(unpresentable, disagreements);
        self.reported = Reported { at: Instant::now(), to_client, to_server };
    }
}
