//! One connection: from the accepted socket to the end of its relay.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ringfence_engine::{Session, SessionConfig};
use ringfence_wire::encode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::auth::{self, Outcome};
use crate::cancel::{self, CancelGuard, CancelKeys, UpstreamKey};
use crate::relay::Relay;
use crate::sessions::{Full, Registration, Sessions};
use crate::shared::{
    ClientLogin, CloseReason, ConnectionContext, ConnectionEvent, LoginFailure, Problem, Shared, View,
};
use crate::sink::Side;
use crate::startup::{self, Greeting, Opening, fatal};
use crate::startup_settings;
use crate::stream::{Messages, Stream};
use crate::upstream::{self, ConnectError, Connected};

/// A peer that was told why its connection ends gets this long to read it.
const LINGER: Duration = Duration::from_secs(2);

/// Serves one accepted socket. `pending` counts it among the unauthenticated until it is not.
pub(crate) async fn serve(tcp: TcpStream, address: SocketAddr, shared: Arc<Shared>, pending: OwnedSemaphorePermit) {
    shared.metrics.accepted();
    let opened = timeout(shared.net.startup_timeout, admit(tcp, address, &shared)).await;
    drop(pending);
    let admitted = match opened {
        Ok(Some(admitted)) => admitted,
        Ok(None) => return,
        Err(_) => {
            tracing::debug!(%address, "a connection did not authenticate in time");
            return;
        }
    };
    // The handshake's future is large; the relay gets a task of its own size, and this one ends.
    if let Some(relay) = Box::pin(establish(admitted, &shared)).await {
        tokio::spawn(relay.run());
    }
}

/// A client that proved who it is.
struct Admitted {
    messages: Messages,
    greeting_rest: GreetingRest,
    context: Arc<ConnectionContext>,
    registration: Registration,
    login: ClientLogin,
    /// Not yet sent: AuthenticationOk and what belongs before it.
    last: Vec<u8>,
}

/// What is still needed of the greeting.
struct GreetingRest {
    minor: u16,
    parameters: startup::Parameters,
}

/// Startup and authentication. `None`: the connection was dealt with.
async fn admit(tcp: TcpStream, address: SocketAddr, shared: &Arc<Shared>) -> Option<Admitted> {
    match startup::open(tcp, &shared.net).await {
        Ok(Opening::Session(greeting)) => log_in(greeting, address, shared).await,
        Ok(Opening::Cancel { mut stream, pid, secret }) => {
            cancel::serve(shared, address.ip(), pid, &secret).await;
            let _ = stream.shutdown().await;
            None
        }
        Ok(Opening::Gone) => None,
        Ok(Opening::Refused { stream, problem }) => {
            failed(shared, "", address, LoginFailure::PlaintextRefused);
            refuse(stream, &[], &problem).await;
            None
        }
        Err(error) => {
            tracing::debug!(%address, %error, "a connection broke off before its startup message");
            shared.metrics.login_failed(LoginFailure::Protocol);
            None
        }
    }
}

async fn log_in(greeting: Greeting, address: SocketAddr, shared: &Arc<Shared>) -> Option<Admitted> {
    let Greeting { stream, identity, minor, parameters, negotiation } = greeting;
    let user = parameters.get(b"user").unwrap_or_default().to_vec();
    let name = String::from_utf8_lossy(&user).into_owned();
    let mut messages = Messages::new(stream);
    if user.is_empty() {
        let problem = Problem::new("28000", "no PostgreSQL user name specified in startup packet");
        failed(shared, "", address, LoginFailure::Protocol);
        refuse(messages.into_parts().0, &negotiation, &problem).await;
        return None;
    }
    if !negotiation.is_empty() && messages.send(&negotiation).await.is_err() {
        return None;
    }
    let outcome = auth::authenticate(&mut messages, shared, identity.as_deref(), address.ip(), &user).await;
    let (verifier, last) = match outcome {
        Ok(Outcome::Proved { verifier, last }) => (verifier, last),
        Ok(Outcome::Gone) => return None,
        Ok(Outcome::Refused { problem, reason }) => {
            failed(shared, &name, address, reason);
            refuse(messages.into_parts().0, &[], &problem).await;
            return None;
        }
        Err(error) => {
            tracing::debug!(%address, %error, "authentication broke off");
            failed(shared, &name, address, LoginFailure::Protocol);
            let problem = Problem::new("08P01", "invalid message during authentication");
            refuse(messages.into_parts().0, &[], &problem).await;
            return None;
        }
    };
    let checked = check(&verifier.client, &parameters, shared);
    let login = match checked {
        Ok(login) => login,
        Err((problem, reason)) => {
            failed(shared, &name, address, reason);
            refuse(messages.into_parts().0, &last, &problem).await;
            return None;
        }
    };
    let context = Arc::new(ConnectionContext {
        id: shared.cancel_keys.number(),
        address,
        database: String::from_utf8_lossy(database(&parameters, &verifier.client)).into(),
        upstream_login: login.own.as_ref().map_or_else(|| shared.net.upstream.user.clone(), |l| l.user.clone()),
        upstream_pid: AtomicI32::new(0),
        application_name: String::from_utf8_lossy(parameters.get(b"application_name").unwrap_or_default()).into(),
        tls: identity.is_some(),
        audit_prefix: OnceLock::new(),
        client: verifier.client,
        kid: verifier.kid,
    });
    match Sessions::register(shared, &context, login.max_connections) {
        Ok(registration) => {
            let greeting_rest = GreetingRest { minor, parameters };
            Some(Admitted { messages, greeting_rest, context, registration, login, last })
        }
        Err(full) => {
            let problem = match full {
                Full::Server => Problem::new("53300", "sorry, too many clients already"),
                Full::Client => {
                    Problem::new("53300", format!("too many connections for client \"{}\"", context.client))
                }
                Full::Draining => Problem::new("57P03", "the firewall is shutting down").hint("Connect again."),
            };
            failed(shared, &name, address, LoginFailure::TooManyConnections);
            refuse(messages.into_parts().0, &last, &problem).await;
            None
        }
    }
}

/// The database that a client gets if it names none: the one called like it.
fn database<'a>(parameters: &'a startup::Parameters, client: &'a str) -> &'a [u8] {
    parameters.get(b"database").filter(|d| !d.is_empty()).unwrap_or(client.as_bytes())
}

/// What a known client may not ask for at startup.
fn check(
    client: &str,
    parameters: &startup::Parameters,
    shared: &Shared,
) -> Result<ClientLogin, (Problem, LoginFailure)> {
    let Some(login) = shared.worlds.login(client) else {
        let problem = Problem::new("28000", format!("client \"{client}\" is no longer in the classification"));
        return Err((problem, LoginFailure::Credentials));
    };
    startup_settings::check(parameters, login.restricted).map_err(|p| (p, LoginFailure::Protocol))?;
    if std::str::from_utf8(database(parameters, client)).is_err() {
        return Err((Problem::new("22021", "the database name is not UTF-8"), LoginFailure::Protocol));
    }
    Ok(login)
}

/// Everything that the relay's task owns.
pub(crate) struct Established {
    relay: Relay,
    shared: Arc<Shared>,
    context: Arc<ConnectionContext>,
    /// Held until the end: the place in the registry, and the cancel key.
    registration: Registration,
    cancel: CancelGuard,
}

/// Logs in upstream and sets the session up. `None`: the client was told why not.
async fn establish(admitted: Admitted, shared: &Arc<Shared>) -> Option<Established> {
    let Admitted { mut messages, greeting_rest, context, registration, login, last } = admitted;
    let generation = shared.generation.load(Ordering::Acquire);
    let opened = open_upstream(&context, &greeting_rest, &login, shared).await;
    let opened = match opened {
        Ok(connected) => match shared.worlds.open(&context.database, &context.client).await {
            Ok(view) => Ok((connected, view)),
            Err(problem) => Err(problem_bytes(&problem)),
        },
        Err(bytes) => Err(bytes),
    };
    let (connected, view) = match opened {
        Ok(both) => both,
        Err(error) => {
            failed(shared, &context.client, context.address, LoginFailure::Upstream);
            let mut out = last;
            out.extend_from_slice(&error);
            let _ = timeout(LINGER, messages.send(&out)).await;
            linger(messages.into_parts().0).await;
            return None;
        }
    };
    context.upstream_pid.store(connected.pid, Ordering::Relaxed);
    let key = UpstreamKey { target: shared.net.upstream.clone(), pid: connected.pid, secret: connected.secret };
    let cancel = CancelKeys::issue(shared, greeting_rest.minor, key);
    let mut key_data = Vec::new();
    // A server that gave no key (some poolers) cannot be asked to cancel.
    if cancel.pid() != 0 {
        encode::backend_key_data(&mut key_data, cancel.pid(), cancel.secret());
    }

    let (stream, early) = messages.into_parts();
    let session = session(view, shared);
    let signal = Arc::clone(&registration.signal);
    let sides = (Side::new(stream), Side::new(connected.stream));
    let mut relay = Relay::new(Arc::clone(shared), Arc::clone(&context), signal, generation, session, sides);
    relay.greet(&last, &connected.greeting, &key_data, connected.ready, early);
    shared.metrics.opened();
    shared.audit.connection(ConnectionEvent::Opened(&context));
    Some(Established { relay, shared: Arc::clone(shared), context, registration, cancel })
}

fn session(view: View, shared: &Shared) -> Session {
    let budget = shared.budgets.for_client(&view.client.name);
    Session::new(SessionConfig {
        client: view.client,
        world: view.world,
        plans: Arc::clone(&shared.plans),
        presenter: Arc::clone(&shared.presenter),
        limits: shared.limits,
        audit_healthy: Arc::clone(&shared.audit_healthy),
        budget,
        control_fresh: Arc::clone(&shared.control_fresh),
    })
}

/// The error is what the client is to receive.
async fn open_upstream(
    context: &ConnectionContext,
    greeting: &GreetingRest,
    login: &ClientLogin,
    shared: &Shared,
) -> Result<Connected, Vec<u8>> {
    let target = &shared.net.upstream;
    let password = match &login.own {
        Some(own) => own.password.as_ref(),
        None => target.password.as_ref(),
    };
    let session = upstream::Opening {
        user: &context.upstream_login,
        password: password.map(|p| p.as_str()),
        database: context.database.as_bytes(),
        statement_timeout: login.statement_timeout,
        parameters: &greeting.parameters,
        minor: greeting.minor,
    };
    let connecting = upstream::connect(target, &session);
    let connected = match timeout(shared.net.connect_timeout, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(upstream::unreachable_server("no answer within the connect timeout".to_owned())),
    };
    connected.map_err(|error| match error {
        ConnectError::Server(bytes) => bytes,
        ConnectError::Own { problem, detail } => {
            tracing::error!(client = %context.client, login = %context.upstream_login, upstream = ?target, error = %detail, "{}", problem.message);
            problem_bytes(&problem)
        }
    })
}

fn problem_bytes(problem: &Problem) -> Vec<u8> {
    let mut out = Vec::new();
    fatal(&mut out, problem);
    out
}

fn failed(shared: &Shared, login: &str, address: SocketAddr, reason: LoginFailure) {
    shared.metrics.login_failed(reason);
    shared.audit.connection(ConnectionEvent::LoginFailed { login, address, reason });
}

/// Says why, and closes.
async fn refuse(mut stream: Stream, before: &[u8], problem: &Problem) {
    let mut out = before.to_vec();
    fatal(&mut out, problem);
    let said = async {
        stream.write_all(&out).await?;
        stream.flush().await
    };
    if matches!(timeout(LINGER, said).await, Ok(Ok(()))) {
        linger(stream).await;
    }
}

/// Closes so that the peer can read what was sent last: a socket closed with unread input takes it back.
async fn linger(mut stream: Stream) {
    let until_closed = async {
        let _ = stream.shutdown().await;
        let mut rest = [0; 512];
        while matches!(stream.read(&mut rest).await, Ok(n) if n > 0) {}
    };
    let _ = timeout(LINGER, until_closed).await;
}

impl Established {
    async fn run(self) {
        let Self { mut relay, shared, context, registration, cancel } = self;
        let reason = poll_fn(|cx| relay.poll(cx)).await;
        if matches!(reason, CloseReason::Revoked | CloseReason::Shutdown | CloseReason::Protocol) && !relay.is_idle() {
            // Nobody waits for the statement under way any more.
            tokio::spawn(cancel.interrupt());
        }
        let _ = timeout(LINGER, poll_fn(|cx| relay.poll_close(cx))).await;
        relay.report();
        drop((registration, cancel));
        shared.metrics.closed(reason);
        shared.audit.connection(ConnectionEvent::Closed { context: &context, reason });
    }
}
