//! Writing to both peers. What fits into a socket goes there at once; what does not is kept, and keeps its side
//! from being asked for more.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use ringfence_engine::{Cleared, Peers};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stream::Stream;

/// Bytes read at once. The buffer belongs to the thread, so that an idle connection holds none.
const READ: usize = 64 * 1024;
/// Small pieces are gathered up to here before they are written.
const GATHER: usize = 32 * 1024;
/// Pieces from here on are written from where they are.
const DIRECT: usize = 8 * 1024;

/// What a thread lends to the connection that it is working for.
pub(crate) struct Buffers {
    pub read: Box<[u8]>,
    /// Gathered for the client and the server; empty between turns.
    pub client: Vec<u8>,
    pub server: Vec<u8>,
}

thread_local! {
    static BUFFERS: Cell<Option<Box<Buffers>>> = const { Cell::new(None) };
}

impl Buffers {
    /// Lends the thread's buffers to `work`.
    pub(crate) fn lend<T>(work: impl FnOnce(&mut Self) -> T) -> T {
        let mut buffers = BUFFERS.take().unwrap_or_else(|| {
            Box::new(Self {
                read: vec![0; READ].into_boxed_slice(),
                client: Vec::with_capacity(GATHER),
                server: Vec::with_capacity(GATHER),
            })
        });
        let result = work(&mut buffers);
        BUFFERS.set(Some(buffers));
        result
    }
}

/// One peer's socket, and what waits to be written to it.
#[derive(Debug)]
pub(crate) struct Side {
    stream: Stream,
    waiting: Vec<u8>,
    /// How much of `waiting` is written.
    at: usize,
    /// TLS took bytes that are not on their way yet.
    unflushed: bool,
    /// The last read found nothing, and left a waker there: asking again in the same poll would find no more.
    pub dry: bool,
    /// Nothing more comes from there.
    pub ended: bool,
    /// Nothing more can be written.
    pub broken: bool,
    /// Bytes written.
    pub written: u64,
}

impl Side {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            waiting: Vec::new(),
            at: 0,
            unflushed: false,
            dry: false,
            ended: false,
            broken: false,
            written: 0,
        }
    }

    /// To be written with the next [`Side::push`].
    pub(crate) fn queue(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// Bytes that the socket has not taken.
    pub(crate) fn backlog(&self) -> usize {
        self.waiting.len() - self.at
    }

    pub(crate) fn is_blocked(&self) -> bool {
        !self.waiting.is_empty() || self.unflushed
    }

    /// Reads into `buffer`; 0 is the end.
    #[inline]
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
        self.dry = read.is_pending();
        read.map_ok(|()| buffer.filled().len())
    }

    /// Tries to write what waits.
    pub(crate) fn push(&mut self, cx: &mut Context<'_>) {
        if !self.waiting.is_empty() {
            let waiting = std::mem::take(&mut self.waiting);
            let rest = waiting.get(self.at..).unwrap_or_default();
            self.at += self.write_some(cx, rest);
            if self.at < waiting.len() && !self.broken {
                self.waiting = waiting;
                return;
            }
            self.at = 0;
        }
        self.flush(cx);
    }

    /// Ends the direction toward the peer.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Takes `bytes`, gathering small pieces in `gathered`.
    #[inline]
    fn write(&mut self, cx: &mut Context<'_>, gathered: &mut Vec<u8>, bytes: &[u8]) {
        if !self.waiting.is_empty() {
            self.waiting.extend_from_slice(bytes);
        } else if gathered.len() + bytes.len() <= GATHER && (bytes.len() < DIRECT || !gathered.is_empty()) {
            gathered.extend_from_slice(bytes);
        } else {
            self.send(cx, gathered);
            self.write_or_keep(cx, bytes);
        }
    }

    /// Writes what was gathered; the end of a turn.
    #[inline]
    fn send(&mut self, cx: &mut Context<'_>, gathered: &mut Vec<u8>) {
        if !gathered.is_empty() {
            self.write_or_keep(cx, gathered);
            gathered.clear();
        }
    }

    fn write_or_keep(&mut self, cx: &mut Context<'_>, bytes: &[u8]) {
        let taken = if self.waiting.is_empty() { self.write_some(cx, bytes) } else { 0 };
        if !self.broken {
            self.waiting.extend_from_slice(bytes.get(taken..).unwrap_or_default());
        }
    }

    fn write_some(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|r| !r.is_empty() && !self.broken) {
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(n)) if n > 0 => taken += n,
                Poll::Ready(_) => self.broken = true,
                Poll::Pending => break,
            }
        }
        self.written += taken as u64;
        self.unflushed |= taken > 0 && self.stream.is_tls();
        taken
    }

    fn flush(&mut self, cx: &mut Context<'_>) {
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(_)) => (self.broken, self.unflushed) = (true, false),
                Poll::Pending => {}
            }
        }
    }
}

/// Both peers, as the session sees them during one turn.
pub(crate) struct Sink<'a, 'c> {
    pub client: &'a mut Side,
    pub server: &'a mut Side,
    pub for_client: &'a mut Vec<u8>,
    pub for_server: &'a mut Vec<u8>,
    pub cx: &'a mut Context<'c>,
}

impl Peers for Sink<'_, '_> {
    #[inline]
    fn to_client(&mut self, bytes: &[u8]) {
        self.client.write(self.cx, self.for_client, bytes);
    }

    #[inline]
    fn to_server(&mut self, message: Cleared<'_>) {
        self.server.write(self.cx, self.for_server, message.bytes());
    }
}

impl Sink<'_, '_> {
    /// The session is done with this turn: everything goes out.
    #[inline]
    pub(crate) fn finish(self) {
        self.client.send(self.cx, self.for_client);
        self.client.flush(self.cx);
        self.server.send(self.cx, self.for_server);
        self.server.flush(self.cx);
    }
}
