//! The way to the database server: connecting, TLS, logging in.

mod login;
pub mod target;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ringfence_wire::auth::Authentication;
use ringfence_wire::backend::{self, BackendKeyData, Diagnostic, field};
use ringfence_wire::encode;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

pub use target::Target;

use crate::shared::Problem;
use crate::startup::Parameters;
use crate::stream::{Message, Messages, Stream, invalid};
use login::Login;

/// Names and authentication messages are short; a diagnostic may not be.
const CAP: usize = 1 << 20;

/// A server connection that is ready for its first query.
pub(crate) struct Connected {
    pub stream: Stream,
    /// ParameterStatus and notices, as they came.
    pub greeting: Vec<u8>,
    /// The first ReadyForQuery, and whatever came after it.
    pub ready: Vec<u8>,
    pub pid: i32,
    pub secret: Vec<u8>,
}

/// Why there is none.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// The server's own ErrorResponse, for the client.
    Server(Vec<u8>),
    /// The server cannot be reached, or does not let the firewall in. What exactly is for the log.
    Own { problem: Problem, detail: String },
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        unreachable_server(error.to_string())
    }
}

pub(crate) fn unreachable_server(detail: String) -> ConnectError {
    let problem = Problem::new("08006", "the firewall cannot reach the database server")
        .hint("Try again later; the firewall's log says why.");
    ConnectError::Own { problem, detail }
}

fn not_let_in(detail: String) -> ConnectError {
    let problem = Problem::new("08001", "the firewall could not log in to the database server")
        .hint("This is for the firewall's operator to mend: its log says what the server answered.");
    ConnectError::Own { problem, detail }
}

/// Connects, with TLS if the target says so. Exactly one byte is read before TLS begins: bytes that someone
/// put behind the server's answer become part of the handshake, and fail it.
pub(crate) async fn open(target: &Target) -> io::Result<Stream> {
    if target.host.starts_with('/') {
        let path = format!("{}/.s.PGSQL.{}", target.host, target.port);
        return Ok(Stream::Unix(UnixStream::connect(path).await?));
    }
    let mut tcp = tcp(target).await?;
    let Some(tls) = &target.tls else { return Ok(Stream::Plain(tcp)) };
    let mut request = Vec::new();
    encode::ssl_request(&mut request);
    tcp.write_all(&request).await?;
    let mut answer = [0];
    tcp.read_exact(&mut answer).await?;
    if answer != *b"S" {
        let text = format!("the server does not speak TLS, and sslmode={} asks for it", target.mode.as_str());
        return Err(io::Error::other(text));
    }
    let name = ServerName::try_from(target.host.clone()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await?;
    Ok(Stream::Tls(Box::new(stream.into())))
}

/// Tries every address that the name has.
async fn tcp(target: &Target) -> io::Result<TcpStream> {
    let mut last = io::Error::other("the host name has no address");
    for address in tokio::net::lookup_host((target.host.as_str(), target.port)).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_keepalive(true)?;
        socket.set_nodelay(true)?;
        match socket.connect(address).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What a session upstream begins with.
#[derive(Clone, Copy)]
pub(crate) struct Opening<'a> {
    pub user: &'a str,
    pub password: Option<&'a str>,
    pub database: &'a [u8],
    /// The client's parameters; its user and database are not passed on.
    pub parameters: &'a Parameters,
    /// A default that the client may have set otherwise in its parameters.
    pub statement_timeout: Option<Duration>,
    pub minor: u16,
}

/// Opens a session.
pub(crate) async fn connect(target: &Target, opening: &Opening<'_>) -> Result<Connected, ConnectError> {
    let stream = open(target).await?;
    let mut login = Login::new(opening.user, opening.password, &stream);
    let mut messages = Messages::new(stream);
    messages.send(&startup(opening)).await?;
    authenticate(&mut messages, &mut login).await?;
    greeting(messages).await
}

fn startup(opening: &Opening<'_>) -> Vec<u8> {
    let timeout = opening.statement_timeout.map(|t| t.as_millis().to_string());
    let own: [(&[u8], &[u8]); 2] = [(b"user", opening.user.as_bytes()), (b"database", opening.database)];
    let limit = timeout.as_ref().map(|t| (&b"statement_timeout"[..], t.as_bytes()));
    let theirs = opening.parameters.0.iter().map(|(n, v)| (n.as_slice(), v.as_slice()));
    let theirs = theirs.filter(|(n, _)| !matches!(*n, b"user" | b"database" | b"replication"));
    let mut out = Vec::new();
    encode::startup(&mut out, 3, opening.minor, own.into_iter().chain(limit).chain(theirs));
    out
}

async fn authenticate(messages: &mut Messages, login: &mut Login<'_>) -> Result<(), ConnectError> {
    loop {
        let message = next(messages).await?;
        match message.tag {
            backend::AUTHENTICATION => {
                let request = Authentication::parse(message.body()).map_err(invalid)?;
                if request == Authentication::Ok {
                    return login.done().map_err(not_let_in);
                }
                let answer = login.answer(request).map_err(not_let_in)?;
                if !answer.is_empty() {
                    messages.send(&answer).await?;
                }
            }
            backend::ERROR_RESPONSE => return Err(server_error(message)),
            // An older server's minor version; nothing that is used here depends on it.
            backend::NEGOTIATE_PROTOCOL_VERSION | backend::NOTICE_RESPONSE => {}
            tag => return Err(unexpected(tag)),
        }
    }
}

async fn greeting(mut messages: Messages) -> Result<Connected, ConnectError> {
    let (mut greeting, mut pid, mut secret) = (Vec::new(), 0, Vec::new());
    loop {
        let message = next(&mut messages).await?;
        match message.tag {
            backend::PARAMETER_STATUS | backend::NOTICE_RESPONSE => greeting.extend_from_slice(&message.bytes),
            backend::BACKEND_KEY_DATA => {
                let key = BackendKeyData::parse(message.body()).map_err(invalid)?;
                (pid, secret) = (key.pid, key.secret.to_vec());
            }
            backend::READY_FOR_QUERY => {
                let mut ready = message.bytes;
                let (stream, beyond) = messages.into_parts();
                ready.extend_from_slice(&beyond);
                return Ok(Connected { stream, greeting, ready, pid, secret });
            }
            backend::ERROR_RESPONSE => return Err(server_error(message)),
            tag => return Err(unexpected(tag)),
        }
    }
}

async fn next(messages: &mut Messages) -> Result<Message, ConnectError> {
    match messages.next(CAP).await? {
        Some(message) => Ok(message),
        None => Err(unreachable_server("the server closed the connection during login".to_owned())),
    }
}

fn unexpected(tag: u8) -> ConnectError {
    unreachable_server(format!("the server sent an unexpected message ({:?}) during login", char::from(tag)))
}

/// What is wrong with the firewall's own login is not the client's to read; the rest is.
fn server_error(message: Message) -> ConnectError {
    let Ok(diagnostic) = Diagnostic::parse(message.body()) else {
        return unreachable_server("the server sent a malformed error during login".to_owned());
    };
    let code = diagnostic.get(field::CODE).unwrap_or_default();
    if code.starts_with(b"28") {
        let text = String::from_utf8_lossy(diagnostic.get(field::MESSAGE).unwrap_or_default());
        return not_let_in(text.into_owned());
    }
    ConnectError::Server(message.bytes)
}
