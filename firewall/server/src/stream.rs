//! A socket with or without TLS, and message-wise reading of it until the relay begins.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use ringfence_wire::frame::Header;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

/// One side of a connection. TLS is boxed: its state is ten times a socket's.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    /// Upstream only.
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Unix(unix) => Pin::new(unix).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Unix(unix) => Pin::new(unix).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_write(cx, bytes),
        }
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
        }
    }
}

/// Reads whole messages during a handshake; what arrived beyond them goes to the relay.
#[derive(Debug)]
pub(crate) struct Messages {
    pub(crate) stream: Stream,
    buffer: Vec<u8>,
    at: usize,
}

/// One message: its tag, and its body.
#[derive(Debug)]
pub(crate) struct Message {
    pub tag: u8,
    pub bytes: Vec<u8>,
}

impl Message {
    pub(crate) fn body(&self) -> &[u8] {
        self.bytes.get(Header::LEN..).unwrap_or_default()
    }
}

impl Messages {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, buffer: Vec::new(), at: 0 }
    }

    /// The next message, whose body must not be longer than `cap`; `None` at the end of the stream.
    pub(crate) async fn next(&mut self, cap: usize) -> io::Result<Option<Message>> {
        loop {
            let unread = self.buffer.get(self.at..).unwrap_or_default();
            if let Some(header) = Header::read(unread).map_err(invalid)? {
                if header.body > cap {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "message too long"));
                }
                if let Some(bytes) = unread.get(..header.frame_len()) {
                    let bytes = bytes.to_vec();
                    self.at += bytes.len();
                    return Ok(Some(Message { tag: header.tag, bytes }));
                }
            }
            self.buffer.drain(..self.at);
            self.at = 0;
            self.buffer.reserve(4096);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// The stream, and what was read beyond the last message.
    pub(crate) fn into_parts(mut self) -> (Stream, Vec<u8>) {
        self.buffer.drain(..self.at);
        (self.stream, self.buffer)
    }
}

pub(crate) fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
