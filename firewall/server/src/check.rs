//! `ringfence check`: what is wrong with a classification, by itself or against a live database.

mod places;

use std::path::Path;
use std::process::ExitCode;

use ringfence_policy::{ConfigError as PolicyError, Policy, Severity, bind};
use serde_json::json;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::catalog::{self, Context};
use crate::cli::{CheckArgs, complain, say};
use crate::config::{ConfigError, Settings, upstream_url};
use crate::pg;

/// One line of the answer.
#[derive(Debug)]
struct Finding {
    severity: &'static str,
    /// `file:line:column`, where it is about a place.
    place: Option<(String, u32, u32)>,
    message: String,
    help: Option<String>,
    snippet: Option<String>,
    /// Of the database, where it is about one.
    object: Option<places::Object>,
}

impl Finding {
    fn of(severity: &'static str, error: &PolicyError) -> Self {
        Self {
            severity,
            place: Some((error.file.clone(), error.line, error.column)),
            message: error.message.clone(),
            help: error.fix.clone(),
            snippet: error.snippet.clone(),
            object: None,
        }
    }

    fn warning(message: String, help: &str) -> Self {
        Self { severity: "warning", place: None, message, help: Some(help.to_owned()), snippet: None, object: None }
    }

    fn print(&self) {
        let place = match &self.place {
            Some((file, line, column)) => format!("{file}:{line}:{column}: "),
            None => String::new(),
        };
        say(&format!("{place}{}: {}", self.severity, self.message));
        if let Some(snippet) = &self.snippet {
            say(snippet.trim_end());
        }
        if let Some(help) = &self.help {
            say(&format!("  help: {help}"));
        }
    }

    fn json(&self) -> serde_json::Value {
        let (file, line, column) = match &self.place {
            Some((file, line, column)) => (Some(file), Some(line), Some(column)),
            None => (None, None, None),
        };
        let mut document = json!({ "severity": self.severity, "file": file, "line": line, "column": column, "message": self.message, "help": self.help });
        if let (Some(object), Some(fields)) = (&self.object, document.as_object_mut()) {
            fields.insert("kind".into(), json!(object.kind));
            fields.insert("object".into(), json!(object.name));
            fields.insert("columns".into(), json!(object.columns));
            fields.insert("labels".into(), json!(object.labels));
        }
        document
    }
}

/// 0: nothing wrong (there may be warnings); 1: the database could not be asked; 2: the classification is wrong.
pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    let mut findings = Vec::new();
    let policy = match read(&args.classification) {
        Ok(Ok(policy)) => {
            findings.extend(policy.warnings.iter().map(|w| Finding::of("warning", w)));
            Some(policy)
        }
        Ok(Err(errors)) => {
            findings.extend(errors.iter().map(|e| Finding::of("error", e)));
            None
        }
        Err(error) => return complain(&error, 2),
    };
    let mut checked = None;
    if let Some(policy) = &policy {
        let settings = Settings {
            upstream: args.upstream.clone(),
            upstream_password_file: args.upstream_password_file.clone(),
            ..Settings::default()
        };
        let settings = match settings.with_environment() {
            Ok(settings) => settings,
            Err(error) => return complain(&error, 2),
        };
        if settings.upstream.is_some() {
            match against(policy, &settings) {
                Ok((database, more)) => {
                    findings.extend(more);
                    checked = Some(database);
                }
                Err(Failed::Config(error)) => return complain(&error, 2),
                Err(Failed::Server(error)) => return complain(&*error, 1),
            }
        }
    }
    let wrong = findings.iter().any(|f| f.severity == "error");
    report(args, &findings, checked.as_deref());
    if wrong { ExitCode::from(2) } else { ExitCode::SUCCESS }
}

fn report(args: &CheckArgs, findings: &[Finding], database: Option<&str>) {
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    if args.json {
        let document = json!({
            "ok": count("error") == 0,
            "database": database,
            "findings": findings.iter().map(Finding::json).collect::<Vec<_>>(),
        });
        say(&document.to_string());
        return;
    }
    for finding in findings {
        finding.print();
    }
    let against = database.map_or_else(String::new, |name| format!(" against database {name}"));
    say(&format!(
        "{}: {} errors, {} warnings{against}",
        args.classification.display(),
        count("error"),
        count("warning")
    ));
}

fn read(path: &Path) -> Result<Result<Policy, Vec<PolicyError>>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        flag: "classification",
        path: path.to_path_buf(),
        source,
    })?;
    Ok(ringfence_policy::parse(&text, &path.display().to_string()))
}

enum Failed {
    Config(ConfigError),
    Server(Box<dyn std::error::Error>),
}

fn against(policy: &Policy, settings: &Settings) -> Result<(String, Vec<Finding>), Failed> {
    let url = upstream_url(settings).map_err(Failed::Config)?;
    let database = url.database.clone().ok_or(Failed::Config(ConfigError::Missing(
        "the database in --upstream",
        "write --upstream postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
    )))?;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let server = |e: &dyn std::fmt::Display| Failed::Server(e.to_string().into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| server(&e))?;
    runtime.block_on(async {
        let (client, _notes) = pg::connect(&url, &database).await.map_err(|e| server(&e))?;
        let mut logins: Vec<String> =
            policy.clients().filter_map(|(_, c)| c.upstream.as_ref().map(|u| u.user.clone())).collect();
        logins.push(url.user.clone());
        let context = Context {
            upstream_logins: logins.clone(),
            trusted_extensions: policy.trusted_extensions.iter().cloned().collect(),
        };
        let loaded = catalog::load(&client, &context).await.map_err(|e| server(&pg::Explained(e)))?;
        let mut labelled = loaded.catalog;
        let binding = bind(policy, &mut labelled, &[]);
        let mut findings: Vec<Finding> = binding
            .diagnostics
            .iter()
            .map(|d| match d.severity {
                Severity::Error => Finding::of("error", &d.what),
                Severity::Warning => Finding::of("warning", &d.what),
            })
            .collect();
        findings.extend(privileges(&client, &logins).await.map_err(|e| server(&pg::Explained(e)))?);
        findings
            .extend(places::find(&client, &labelled, policy, &binding).await.map_err(|e| server(&pg::Explained(e)))?);
        Ok((database, findings))
    })
}

/// What the upstream logins may do beyond serving clients.
async fn privileges(client: &Client, logins: &[String]) -> Result<Vec<Finding>, Error> {
    let sql = "SELECT r.rolname::text, ARRAY_REMOVE(ARRAY[ \
            CASE WHEN r.rolsuper THEN 'is superuser' END, \
            CASE WHEN r.rolreplication THEN 'may replicate' END, \
            CASE WHEN r.rolbypassrls THEN 'bypasses row security' END, \
            CASE WHEN r.rolcreaterole THEN 'may create roles' END, \
            CASE WHEN r.rolcreatedb THEN 'may create databases' END, \
            CASE WHEN NOT r.rolsuper AND pg_has_role(r.oid, 'pg_read_server_files', 'MEMBER') THEN 'may read server files' END, \
            CASE WHEN NOT r.rolsuper AND pg_has_role(r.oid, 'pg_write_server_files', 'MEMBER') THEN 'may write server files' END, \
            CASE WHEN NOT r.rolsuper AND pg_has_role(r.oid, 'pg_execute_server_program', 'MEMBER') THEN 'may run programs on the server' END, \
            CASE WHEN NOT r.rolsuper AND pg_has_role(r.oid, 'pg_read_all_stats', 'MEMBER') THEN 'may read everybody''s statements' END, \
            CASE WHEN NOT r.rolsuper AND pg_has_role(r.oid, 'pg_signal_backend', 'MEMBER') THEN 'may end others'' sessions' END], NULL) \
        FROM pg_catalog.pg_roles r WHERE r.rolname = ANY ($1)";
    let rows = client.query_typed(sql, &[(&logins, Type::TEXT_ARRAY)]).await?;
    let mut findings = Vec::new();
    for row in rows {
        let (login, what): (String, Vec<String>) = (row.try_get(0)?, row.try_get(1)?);
        if !what.is_empty() {
            findings.push(Finding::warning(
                format!("upstream login \"{login}\" {}", what.join(", ")),
                "give the firewall a login with no more than its clients need",
            ));
        }
    }
    Ok(findings)
}
