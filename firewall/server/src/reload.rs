//! Reloading: the classification and the client port's certificate, on SIGHUP or when a file changes. All or nothing;
//! no connection is dropped but those of clients that the file no longer has.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;

use crate::metrics::Metrics;
use crate::policy_file::{LoadedPolicy, PolicyErrors, content_of};
use crate::shared::{Shared, TlsFiles};
use crate::store::Store;
use crate::worlds::Worlds;

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// Everything that a reload touches.
pub struct Reloader {
    classification: PathBuf,
    tls: Option<TlsFiles>,
    worlds: Worlds,
    shared: Arc<Shared>,
    store: Store,
    metrics: Arc<Metrics>,
    default_login: String,
    unsafe_superuser: bool,
    seen: Mutex<Seen>,
}

/// What was tried last: a broken file is complained of once, not every second.
#[derive(Default)]
struct Seen {
    modified: Option<SystemTime>,
    policy: Option<u64>,
    certificate: Option<u64>,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").field("classification", &self.classification).finish_non_exhaustive()
    }
}

impl Reloader {
    #[allow(clippy::too_many_arguments)] // once, in `serve`
    pub fn new(
        classification: PathBuf,
        tls: Option<TlsFiles>,
        worlds: Worlds,
        shared: Arc<Shared>,
        store: Store,
        metrics: Arc<Metrics>,
        default_login: String,
        unsafe_superuser: bool,
    ) -> Self {
        let seen = Seen {
            modified: None,
            policy: Some(content_of(std::slice::from_ref(&classification))),
            certificate: tls.as_ref().map(certificate_content),
        };
        Self {
            classification,
            tls,
            worlds,
            shared,
            store,
            metrics,
            default_login,
            unsafe_superuser,
            seen: Mutex::new(seen),
        }
    }

    /// Looks at the files until the process ends.
    pub async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let (policy, certificate) = self.changes().await;
            if policy {
                let _ = self.reload_policy("the file changed").await;
            }
            if certificate {
                self.reload_certificate("the file changed");
            }
        }
    }

    /// Reads everything again, changed or not.
    pub async fn reload(&self, why: &'static str) -> Result<(), PolicyErrors> {
        let _ = self.changes().await;
        self.reload_certificate(why);
        self.reload_policy(why).await
    }

    /// Whether the classification, and whether the certificate, differs from what was last tried.
    async fn changes(&self) -> (bool, bool) {
        let mut seen = self.seen.lock().await;
        let modified = std::fs::metadata(&self.classification).and_then(|m| m.modified()).ok();
        let mut policy = false;
        if modified != seen.modified {
            let content = content_of(std::slice::from_ref(&self.classification));
            policy = seen.policy != Some(content);
            seen.policy = Some(content);
            seen.modified = modified;
        }
        let content = self.tls.as_ref().map(certificate_content);
        let certificate = content != seen.certificate;
        seen.certificate = content;
        (policy, certificate)
    }

    async fn reload_policy(&self, why: &str) -> Result<(), PolicyErrors> {
        let result = self.try_policy().await;
        match &result {
            Ok(version) => {
                self.metrics.policy_reloads.add("ok", 1);
                tracing::info!(version, why, "classification reloaded");
            }
            Err(errors) => {
                self.metrics.policy_reloads.add("failed", 1);
                for error in &errors.0 {
                    tracing::error!("{error}");
                }
                tracing::error!(why, "classification not reloaded: the old one stays in force");
            }
        }
        result.map(drop)
    }

    async fn try_policy(&self) -> Result<u64, PolicyErrors> {
        let old = self.worlds.policy();
        let fresh = LoadedPolicy::load(&self.classification, old.version + 1)?;
        fresh.log();
        if !self.unsafe_superuser {
            for login in fresh.login_names(&self.default_login) {
                match self.store.overreach(&login).await {
                    Ok(None) => {}
                    Ok(Some(what)) => {
                        return Err(PolicyErrors(vec![format!(
                            "upstream login \"{login}\" {what}: a client could use that to get around the firewall"
                        )]));
                    }
                    // Known logins were looked at before; a new one waits for the control database.
                    Err(_) if old.login_names(&self.default_login).contains(&login) => {}
                    Err(error) => {
                        return Err(PolicyErrors(vec![format!(
                            "upstream login \"{login}\" cannot be checked: {error}"
                        )]));
                    }
                }
            }
        }
        let version = fresh.version;
        self.worlds.reload(fresh).await?;
        let policy = self.worlds.policy();
        let ended = self.shared.sessions.revoke_where(|context| !policy.knows(&context.client));
        if ended > 0 {
            tracing::info!(connections = ended, "ended: their clients left the classification");
        }
        Ok(version)
    }

    fn reload_certificate(&self, why: &str) {
        let Some(tls) = &self.shared.net.tls else { return };
        match tls.reload() {
            Ok(()) => tracing::info!(why, not_after = %tls.not_after(), "certificate reloaded"),
            Err(error) => tracing::error!(why, "certificate not reloaded, the old one stays in use: {error}"),
        }
    }
}

fn certificate_content(files: &TlsFiles) -> u64 {
    let mut all = vec![files.cert.clone(), files.key.clone()];
    all.extend(files.client_ca.clone());
    content_of(&all)
}
