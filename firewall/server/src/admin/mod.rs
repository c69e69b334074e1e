//! The admin API: its own address, JSON, a root token. Health and metrics are open.

mod explain;
pub mod guard;
pub mod health;
pub mod openapi;
mod replay;
mod routes;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::audit::Audit;
use crate::config::AuditTarget;
use crate::config::secret::Secret;
use crate::metrics::Metrics;
use crate::reload::Reloader;
use crate::shared::Shared;
use crate::store::Store;
use crate::tls::TlsError;
use crate::worlds::Worlds;

/// What the handlers need.
pub struct State {
    pub root_token: Secret,
    pub store: Store,
    pub worlds: Worlds,
    pub shared: Arc<Shared>,
    pub metrics: Arc<Metrics>,
    pub audit: Arc<Audit>,
    pub reloader: Arc<Reloader>,
    pub guard: guard::Guard,
    /// False before the client port accepts and after the drain began.
    pub ready: AtomicBool,
    pub upstream_health: health::Upstream,
    pub facts: Facts,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// The configuration as it may be shown: no secret in it.
#[derive(Debug, Clone)]
pub struct Facts {
    pub listen: SocketAddr,
    pub advertise: (String, u16),
    pub tls: bool,
    pub tls_required: bool,
    pub upstream: String,
    pub control: String,
    pub control_grace: Duration,
    pub control_freshness: Duration,
    pub classification: PathBuf,
    pub admin_listen: SocketAddr,
    pub admin_tls: bool,
    pub audit: AuditTarget,
    pub catalog_poll: Duration,
    pub max_connections: usize,
    pub unsafe_superuser_upstream: bool,
}

/// Serves until the task is aborted.
pub fn spawn(
    listener: TcpListener,
    tls: Option<(PathBuf, PathBuf)>,
    state: Arc<State>,
) -> Result<JoinHandle<()>, TlsError> {
    let service = routes::router(state).into_make_service_with_connect_info::<tls::Peer>();
    Ok(match tls {
        None => tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, service).await {
                tracing::error!("admin API: {error}");
            }
        }),
        Some((cert, key)) => {
            let listener = tls::TlsListener::new(listener, &cert, &key)?;
            tokio::spawn(async move {
                if let Err(error) = axum::serve(listener, service).await {
                    tracing::error!("admin API: {error}");
                }
            })
        }
    })
}
