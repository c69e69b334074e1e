//! From the first byte to the parameters of a StartupMessage: encryption requests, cancel requests, versions.

use std::io;
use std::sync::Arc;

use ringfence_wire::encode;
use ringfence_wire::startup::{Initial, TLS_HANDSHAKE, body_len};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::shared::{NetConfig, Problem};
use crate::stream::{Stream, invalid};
use crate::tls::Identity;

/// The newest protocol 3 that is spoken.
pub(crate) const NEWEST_MINOR: u16 = 2;
/// Parameters with this prefix ask for extensions of the protocol; none is spoken.
const PROTOCOL_OPTION: &[u8] = b"_pq_.";

/// What a new connection wants.
pub(crate) enum Opening {
    Session(Greeting),
    /// To interrupt another one; the stream is closed after that was tried.
    Cancel {
        stream: Stream,
        pid: i32,
        secret: Vec<u8>,
    },
    /// It left without a word, as port scanners and load balancers do.
    Gone,
    /// It is refused; the stream is there to say so.
    Refused {
        stream: Stream,
        problem: Problem,
    },
}

/// A client that wants a session, not yet authenticated.
pub(crate) struct Greeting {
    pub stream: Stream,
    /// The certificate that this connection's TLS showed.
    pub identity: Option<Arc<Identity>>,
    /// What is spoken: at most [`NEWEST_MINOR`].
    pub minor: u16,
    pub parameters: Parameters,
    /// NegotiateProtocolVersion, where the client asked for more.
    pub negotiation: Vec<u8>,
}

/// The StartupMessage's parameters, options of the protocol apart.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Parameters(pub Vec<(Vec<u8>, Vec<u8>)>);

impl Parameters {
    /// The value that counts is the last.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_slice())
    }
}

/// Reads packets until the client says what it wants. Reads exactly what belongs to each packet: bytes that a third
/// party puts before the TLS handshake become part of that handshake, and fail it.
pub(crate) async fn open(tcp: TcpStream, config: &NetConfig) -> io::Result<Opening> {
    let mut first = [0];
    if tcp.peek(&mut first).await? == 0 {
        return Ok(Opening::Gone);
    }
    let direct = first == [TLS_HANDSHAKE];
    let mut tcp = tcp;
    let mut gss_asked = false;
    if !direct {
        loop {
            let Some(packet) = read_packet(&mut tcp).await? else { return Ok(Opening::Gone) };
            match Initial::parse(&packet).map_err(invalid)? {
                Initial::Gss if !gss_asked => {
                    gss_asked = true;
                    tcp.write_all(b"N").await?;
                }
                Initial::Ssl if config.tls.is_some() => break,
                Initial::Ssl => {
                    // Said once; a second request is a peer that does not understand.
                    tcp.write_all(b"N").await?;
                    let Some(packet) = read_packet(&mut tcp).await? else { return Ok(Opening::Gone) };
                    return plain(tcp, &packet, config);
                }
                _ => return plain(tcp, &packet, config),
            }
        }
    }
    let Some(tls) = &config.tls else {
        return Err(io::Error::other("TLS at once, and no certificate is configured"));
    };
    if !direct {
        refuse_early_bytes(&tcp)?;
        tcp.write_all(b"S").await?;
    }
    let identity = tls.identity();
    let stream = TlsAcceptor::from(Arc::clone(&identity.config)).accept(tcp).await?;
    if direct && stream.get_ref().1.alpn_protocol() != Some(crate::tls::ALPN) {
        return Err(io::Error::other("TLS at once needs ALPN \"postgresql\""));
    }
    let mut stream = Stream::Tls(Box::new(stream.into()));
    let Some(packet) = read_packet(&mut stream).await? else { return Ok(Opening::Gone) };
    decide(stream, Some(identity), &packet)
}

/// A client waits for the answer to its SSLRequest before it says more.
fn refuse_early_bytes(tcp: &TcpStream) -> io::Result<()> {
    let mut one = [0];
    match futures_peek(tcp, &mut one) {
        Some(n) if n > 0 => Err(io::Error::other("bytes before the TLS handshake")),
        _ => Ok(()),
    }
}

/// What can be peeked at without waiting.
fn futures_peek(tcp: &TcpStream, buf: &mut [u8]) -> Option<usize> {
    use std::task::{Context, Poll, Waker};
    let mut buf = tokio::io::ReadBuf::new(buf);
    match tcp.poll_peek(&mut Context::from_waker(Waker::noop()), &mut buf) {
        Poll::Ready(Ok(n)) => Some(n),
        Poll::Ready(Err(_)) | Poll::Pending => None,
    }
}

fn plain(tcp: TcpStream, packet: &[u8], config: &NetConfig) -> io::Result<Opening> {
    let opening = decide(Stream::Plain(tcp), None, packet)?;
    match opening {
        Opening::Session(greeting) if !config.allow_plaintext => Ok(Opening::Refused {
            stream: greeting.stream,
            problem: Problem::new("28000", "connections without TLS are not accepted")
                .hint("Add sslmode=require (or verify-full) to the connection string."),
        }),
        other => Ok(other),
    }
}

fn decide(stream: Stream, identity: Option<Arc<Identity>>, packet: &[u8]) -> io::Result<Opening> {
    match Initial::parse(packet).map_err(invalid)? {
        Initial::Ssl | Initial::Gss => Err(io::Error::other("a second request for encryption")),
        Initial::Cancel { pid, secret } => Ok(Opening::Cancel { stream, pid, secret: secret.to_vec() }),
        Initial::Startup { major: 3, minor, parameters } => {
            let (options, settings): (Vec<_>, Vec<_>) =
                parameters.iter().partition(|(name, _)| name.starts_with(PROTOCOL_OPTION));
            let spoken = minor.min(NEWEST_MINOR);
            let mut negotiation = Vec::new();
            if spoken != minor || !options.is_empty() {
                let newest = (3 << 16) | u32::from(spoken);
                encode::negotiate_protocol_version(&mut negotiation, newest, options.iter().map(|(name, _)| *name));
            }
            let parameters = Parameters(settings.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect());
            Ok(Opening::Session(Greeting { stream, identity, minor: spoken, parameters, negotiation }))
        }
        Initial::Startup { major, minor, .. } => Ok(Opening::Refused {
            stream,
            problem: Problem::new(
                "0A000",
                format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{NEWEST_MINOR}"),
            ),
        }),
    }
}

/// Exactly one packet; `None` if the peer closed before it began.
async fn read_packet(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut word = [0; 4];
    let mut have = 0;
    while have < word.len() {
        let n = stream.read(word.get_mut(have..).unwrap_or_default()).await?;
        if n == 0 {
            return if have == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        have += n;
    }
    let len = body_len(&word).map_err(invalid)?.unwrap_or_default();
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await?;
    Ok(Some(body))
}

/// Appends a FATAL ErrorResponse.
pub(crate) fn fatal(out: &mut Vec<u8>, problem: &Problem) {
    use ringfence_wire::backend::field;
    let mut fields: Vec<(u8, &str)> = vec![
        (field::SEVERITY, "FATAL"),
        (field::SEVERITY_PLAIN, "FATAL"),
        (field::CODE, problem.sqlstate),
        (field::MESSAGE, &problem.message),
    ];
    if let Some(hint) = &problem.hint {
        fields.push((field::HINT, hint));
    }
    encode::error(out, &fields);
}
