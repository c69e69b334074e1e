//! The classification file as loaded: the policy, the clients' own upstream logins, and a fingerprint of all of it.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringfence_policy::{ConfigError, Policy};
use zeroize::Zeroizing;

use crate::config::secret;
use crate::shared::{ClientLogin, UpstreamLogin};

/// One version of the policy. Replaced as a whole.
#[derive(Debug)]
pub struct LoadedPolicy {
    pub policy: Policy,
    /// Counts the versions that this process has used.
    pub version: u64,
    /// Of the file and of every password file that it names.
    pub content: u64,
    logins: HashMap<Box<str>, UpstreamLogin>,
}

/// Why a classification cannot be used: every mistake that was found.
#[derive(Debug)]
pub struct PolicyErrors(pub Vec<String>);

impl std::fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for PolicyErrors {}

impl LoadedPolicy {
    /// Reads and understands the file.
    pub fn load(path: &Path, version: u64) -> Result<Self, PolicyErrors> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| PolicyErrors(vec![format!("cannot read the classification {}: {e}", path.display())]))?;
        let policy = ringfence_policy::parse(&text, &path.display().to_string())
            .map_err(|errors| PolicyErrors(errors.iter().map(describe).collect()))?;
        let base = path.parent().unwrap_or(Path::new(""));
        let mut logins = HashMap::new();
        let mut errors = Vec::new();
        for (name, entry) in policy.clients() {
            let Some(upstream) = &entry.upstream else { continue };
            let password = upstream.password_file.as_ref().map(|file| {
                secret::read_file("upstream password file", &base.join(file), true)
                    .map_err(|e| errors.push(format!("client \"{name}\": {e}")))
            });
            let password = match password {
                None => None,
                Some(Ok(secret)) => Some(Arc::new(Zeroizing::new(secret.expose().to_owned()))),
                Some(Err(())) => continue,
            };
            logins.insert(name.into(), UpstreamLogin { user: upstream.user.as_str().into(), password });
        }
        if !errors.is_empty() {
            return Err(PolicyErrors(errors));
        }
        let content = content(path, &policy);
        Ok(Self { policy, version, content, logins })
    }

    /// A policy to try out: its text, and what to call it. Password files are not read, since nobody logs in.
    pub fn trial(text: &str, file: &str) -> Result<Self, PolicyErrors> {
        let policy = ringfence_policy::parse(text, file)
            .map_err(|errors| PolicyErrors(errors.iter().map(describe).collect()))?;
        let login = |user: &str| UpstreamLogin { user: user.into(), password: None };
        let logins =
            policy.clients().filter_map(|(name, c)| Some((name.into(), login(&c.upstream.as_ref()?.user)))).collect();
        Ok(Self { policy, version: 0, content: 0, logins })
    }

    /// Says loudly what is only worth knowing, and who is only observed.
    pub fn log(&self) {
        for warning in &self.policy.warnings {
            tracing::warn!("{}", describe_as("warning", warning));
        }
        for (name, _) in self.policy.clients().filter(|(_, entry)| entry.policy.observe) {
            tracing::warn!(client = name, "enforce: observe: what would be refused is let through, and only recorded");
        }
    }

    pub fn knows(&self, client: &str) -> bool {
        self.policy.client(client).is_some()
    }

    /// The client's place upstream.
    pub fn login(&self, client: &str) -> Option<ClientLogin> {
        let entry = self.policy.client(client)?;
        Some(ClientLogin {
            own: self.logins.get(client).cloned(),
            max_connections: entry.policy.max_connections,
            restricted: entry.policy.restricted,
            statement_timeout: entry.policy.statement_timeout,
        })
    }

    /// The login under which the client's statements run.
    pub fn login_name<'a>(&'a self, client: &str, default: &'a str) -> &'a str {
        self.logins.get(client).map_or(default, |login| &login.user)
    }

    /// Every login that some client uses, the default one included.
    pub fn login_names(&self, default: &str) -> BTreeSet<String> {
        self.logins.values().map(|l| l.user.to_string()).chain([default.to_owned()]).collect()
    }
}

/// `file:line:col: error: … / help: …`
pub fn describe(error: &ConfigError) -> String {
    describe_as("error", error)
}

/// The same for what is only worth knowing.
pub fn describe_as(severity: &str, error: &ConfigError) -> String {
    let mut text = format!("{}:{}:{}: {severity}: {}", error.file, error.line, error.column, error.message);
    if let Some(fix) = &error.fix {
        text.push_str("\n  help: ");
        text.push_str(fix);
    }
    text
}

fn content(path: &Path, policy: &Policy) -> u64 {
    let base = path.parent().unwrap_or(Path::new(""));
    let mut files: Vec<PathBuf> = vec![path.to_path_buf()];
    for (_, entry) in policy.clients() {
        files.extend(entry.upstream.as_ref().and_then(|u| u.password_file.as_ref()).map(|f| base.join(f)));
    }
    content_of(&files)
}

/// A fingerprint of files' contents; an unreadable file counts as such.
pub fn content_of(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        std::fs::read(file).map(Zeroizing::new).ok().as_deref().map(Vec::as_slice).hash(&mut hasher);
    }
    hasher.finish()
}
