//! Policies over a catalog that was read from a schema dump: the same analysis and decisions, without a server.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use ringfence_analysis::dump::{self, Context, Dump};
use ringfence_analysis::text_hash;
use ringfence_engine::World;
use ringfence_policy::{Policy, Severity, bind};

use crate::cli::OfflineArgs;
use crate::policy_file::describe_as;

/// A policy, and the world that it makes of a dump.
#[derive(Debug)]
pub(crate) struct Offline {
    pub(crate) policy: Policy,
    pub(crate) world: Arc<World>,
    /// What should be known, and stands in no way.
    pub(crate) warnings: Vec<String>,
}

/// Why that could not be had: usage (exit code 2).
#[derive(Debug, thiserror::Error)]
pub(crate) enum OfflineError {
    #[error("cannot read {0}: {1}")]
    Unreadable(String, std::io::Error),
    #[error("{0} is not UTF-8; make the dump with: pg_dump --schema-only --encoding=UTF8")]
    Encoding(String),
    #[error("{0} is in pg_dump's own format; make plain SQL of it: pg_restore --schema-only -f schema.sql {0}")]
    Format(String),
    #[error("{0}")]
    Policy(String),
}

impl Offline {
    /// `version`: of the policy; statements of different policies are never confused.
    pub(crate) fn load(args: &OfflineArgs, classification: &Path, version: u64) -> Result<Self, OfflineError> {
        let name = classification.display().to_string();
        let text = std::fs::read_to_string(classification).map_err(|e| OfflineError::Unreadable(name.clone(), e))?;
        let policy = ringfence_policy::parse(&text, &name).map_err(|errors| {
            let all: Vec<String> = errors.iter().map(|error| describe_as("error", error)).collect();
            OfflineError::Policy(all.join("\n"))
        })?;
        let schema = schema(&args.schema)?;
        let mut logins = args.login.clone();
        logins.extend(policy.clients().filter_map(|(_, c)| c.upstream.as_ref().map(|u| u.user.clone())));
        let context = Context {
            database: args.database.clone(),
            trusted_extensions: policy.trusted_extensions.iter().map(|name| name.as_str().into()).collect(),
            logins,
        };
        let Dump { mut catalog, warnings: found, owned_functions } = dump::read(&schema, &context);
        let file = args.schema.display();
        let mut warnings: Vec<String> =
            found.iter().map(|w| format!("{file}:{}: warning: {}", w.line, w.message)).collect();
        if owned_functions && context.logins.is_empty() {
            warnings.push(format!(
                "{file}: warning: functions are explained as if no client could change them; name the firewall's logins with --login"
            ));
        }
        let binding = bind(&policy, &mut catalog, &[]);
        let mut errors = Vec::new();
        for diagnostic in &binding.diagnostics {
            match diagnostic.severity {
                Severity::Error => errors.push(describe_as("error", &diagnostic.what)),
                Severity::Warning => warnings.push(describe_as("warning", &diagnostic.what)),
            }
        }
        if !errors.is_empty() {
            return Err(OfflineError::Policy(errors.join("\n")));
        }
        // A dump holds the definitions, but not as the server would print them: all are taken for ones that may tell.
        if catalog.relations().iter().any(|relation| !relation.system && relation.has_labels()) {
            catalog.sensitive_texts.insert(text_hash(b"definitions are not known"));
        }
        let world = Arc::new(World::new(Arc::new(catalog), version, Arc::from("offline")));
        Ok(Self { policy, world, warnings })
    }
}

fn schema(path: &Path) -> Result<String, OfflineError> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|e| OfflineError::Unreadable(name.clone(), e))?;
    if bytes.starts_with(b"PGDMP") {
        return Err(OfflineError::Format(name));
    }
    String::from_utf8(bytes).map_err(|_| OfflineError::Encoding(name))
}

/// From the command line, a file, or standard input.
pub(crate) fn statement(sql: Option<&str>, file: Option<&Path>) -> Result<String, OfflineError> {
    match (sql, file) {
        (Some(sql), _) if sql != "-" => Ok(sql.to_owned()),
        (None, Some(path)) if path.as_os_str() != "-" => {
            std::fs::read_to_string(path).map_err(|e| OfflineError::Unreadable(path.display().to_string(), e))
        }
        _ => {
            let mut text = String::new();
            let read = std::io::stdin().lock().read_to_string(&mut text);
            read.map_err(|e| OfflineError::Unreadable(String::from("standard input"), e))?;
            Ok(text)
        }
    }
}
