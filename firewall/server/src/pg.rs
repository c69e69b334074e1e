//! The firewall's own connections: to the control database, and to each client database for its catalog.

use std::future::poll_fn;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::url::PgUrl;
use crate::tls::TlsError;
use crate::tls::upstream;

/// Why a connection could not be made, in words; never the password.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{url}: {source}")]
    Server { url: String, source: Explained },
    #[error("{url}: no answer within {seconds} s")]
    Timeout { url: String, seconds: u64 },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A `tokio_postgres::Error` with its cause: that crate's own text stops at "db error".
#[derive(Debug)]
pub struct Explained(pub tokio_postgres::Error);

impl std::fmt::Display for Explained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(db) = self.0.as_db_error() {
            return write!(f, "{} (SQLSTATE {})", db.message(), db.code().code());
        }
        write!(f, "{}", self.0)?;
        let mut cause = std::error::Error::source(&self.0);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Explained {}

/// A client, and the channel on which notifications arrive. The channel closes when the connection ends.
pub async fn connect(url: &PgUrl, database: &str) -> Result<(Client, mpsc::Receiver<String>), ConnectError> {
    let shown = || url.with_database(database).to_string();
    let mut config = tokio_postgres::Config::new();
    config
        .host(&url.host)
        .port(url.port)
        .user(&url.user)
        .dbname(database)
        .application_name("ringfence")
        .connect_timeout(url.connect_timeout)
        .keepalives_idle(Duration::from_secs(30))
        .tcp_user_timeout(Duration::from_secs(15));
    if let Some(password) = &url.password {
        config.password(password.expose());
    }
    let within = url.connect_timeout;
    let tls = upstream::config(url.ssl_mode, &url.ssl_files)?;
    let connecting = async {
        match tls {
            None => {
                config.ssl_mode(tokio_postgres::config::SslMode::Disable);
                config.connect(NoTls).await.map(|(client, connection)| (client, drive(connection)))
            }
            Some(tls) => {
                config.ssl_mode(tokio_postgres::config::SslMode::Require);
                let tls = MakeRustlsConnect::new(std::sync::Arc::unwrap_or_clone(tls));
                config.connect(tls).await.map(|(client, connection)| (client, drive(connection)))
            }
        }
    };
    match tokio::time::timeout(within, connecting).await {
        Ok(Ok(connected)) => Ok(connected),
        Ok(Err(source)) => Err(ConnectError::Server { url: shown(), source: Explained(source) }),
        Err(_) => Err(ConnectError::Timeout { url: shown(), seconds: within.as_secs() }),
    }
}

fn drive<S, T>(mut connection: Connection<S, T>) -> mpsc::Receiver<String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    // Notifications are hints, so a full channel may drop them.
    let (sender, receiver) = mpsc::channel(64);
    tokio::spawn(async move {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            match message {
                Ok(AsyncMessage::Notification(note)) => {
                    let _ = sender.try_send(note.payload().to_owned());
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!("connection ended: {}", Explained(error));
                    return;
                }
            }
        }
    });
    receiver
}

/// Runs a query under a time limit: a server that stopped answering must not stop the firewall.
pub async fn within<T>(
    limit: Duration,
    query: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, QueryError> {
    match tokio::time::timeout(limit, query).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(QueryError::Server(Explained(error))),
        Err(_) => Err(QueryError::Timeout(limit)),
    }
}

/// A query that failed.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error(transparent)]
    Server(#[from] Explained),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}
