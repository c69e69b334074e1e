//! The command line of `ringfence`, and its exit codes: 0, 1 failed, 2 usage or configuration.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError, Settings, secret};
use crate::{check, event_trigger, explain_command, logs, replay_command, serve};

/// A data firewall for PostgreSQL.
///
/// Every flag is also a variable (--admin-listen is RINGFENCE_ADMIN_LISTEN) and a key of the config file; flags win
/// over variables, variables over the file. Secrets may be given as NAME_FILE or in /run/secrets.
#[derive(Debug, Parser)]
#[command(name = "ringfence", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the firewall
    Serve(Box<ServeArgs>),
    /// Checks a classification, offline or against a live database
    Check(CheckArgs),
    /// What becomes of a statement of a client, from a schema dump: no server is asked
    Explain(ExplainArgs),
    /// What another classification would change for captured statements, from a schema dump: no server is asked
    Replay(ReplayArgs),
    /// Installs event triggers that tell the firewall of DDL at once (else it looks every --catalog-poll)
    InstallTrigger(InstallTriggerArgs),
    /// Makes a key file (32 random bytes in base64, mode 0600); never overwrites one
    Keygen {
        /// The file to make
        file: PathBuf,
    },
    /// Prints the JSON schema of classification.yaml
    Schema,
}

#[derive(Args, Debug)]
#[command(args_override_self = true)]
struct ServeArgs {
    /// YAML; keys are flag names, paths are relative to the file
    #[arg(long, env = "RINGFENCE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// `ringfence check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// The file to check
    #[arg(long, env = "RINGFENCE_CLASSIFICATION", value_name = "FILE", default_value = "classification.yaml")]
    pub(crate) classification: PathBuf,
    /// Also check against this database: postgresql://USER:PASSWORD@HOST:PORT/DATABASE
    /// [env: RINGFENCE_UPSTREAM, RINGFENCE_UPSTREAM_FILE]
    #[arg(long, value_name = "URL")]
    pub(crate) upstream: Option<String>,
    /// Password of the login, if not in the URL
    #[arg(long, env = "RINGFENCE_UPSTREAM_PASSWORD_FILE", value_name = "FILE")]
    pub(crate) upstream_password_file: Option<PathBuf>,
    /// One JSON document instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

/// A database without a database server.
#[derive(Args, Debug)]
pub(crate) struct OfflineArgs {
    /// What `pg_dump --schema-only DATABASE` printed
    #[arg(long, short, value_name = "FILE")]
    pub(crate) schema: PathBuf,
    /// The classification
    #[arg(long, env = "RINGFENCE_CLASSIFICATION", value_name = "FILE", default_value = "classification.yaml")]
    pub(crate) classification: PathBuf,
    /// The database's name, where the classification has entries for one database
    #[arg(long, short, value_name = "NAME", default_value = "")]
    pub(crate) database: String,
    /// A login of the firewall at the server (repeatable): clients could change functions that it owns, so those are
    /// opaque. Logins that the classification names are known
    #[arg(long, value_name = "NAME")]
    pub(crate) login: Vec<String>,
    /// One JSON document instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ringfence explain`.
#[derive(Args, Debug)]
#[command(after_help = EXPLAIN_EXAMPLES)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) offline: OfflineArgs,
    /// The client for whom it is decided
    #[arg(long, short, value_name = "NAME")]
    pub(crate) client: String,
    /// Reads the SQL from a file (- is standard input)
    #[arg(long, short, value_name = "FILE", conflicts_with = "sql")]
    pub(crate) file: Option<PathBuf>,
    /// Ends with 1 if the statement would be refused
    #[arg(long)]
    pub(crate) check: bool,
    /// The SQL; left out, or -: from standard input
    pub(crate) sql: Option<String>,
}

const EXPLAIN_EXAMPLES: &str = "Examples:
  pg_dump --schema-only bank > schema.sql
  ringfence explain --schema schema.sql --client analyst 'SELECT credit_card FROM users'
  ringfence explain --schema schema.sql --client users-api -f report.sql --check";

/// `ringfence replay`.
#[derive(Args, Debug)]
#[command(after_help = REPLAY_EXAMPLES)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    pub(crate) offline: OfflineArgs,
    /// The classification to compare with
    #[arg(long, short, value_name = "FILE")]
    pub(crate) policy: PathBuf,
    /// Only for this client [default: all]
    #[arg(long, short, value_name = "NAME")]
    pub(crate) client: Option<String>,
    /// Ends with 1 if anything would change
    #[arg(long)]
    pub(crate) fail_on_change: bool,
    /// SQL statements, or an audit log (JSON lines)
    pub(crate) file: PathBuf,
}

const REPLAY_EXAMPLES: &str = "Examples:
  ringfence replay --schema schema.sql --classification old.yaml --policy new.yaml statements.sql
  ringfence replay --schema schema.sql --policy new.yaml --client analyst --fail-on-change audit.jsonl";

/// `ringfence install-trigger`.
#[derive(Args, Debug)]
pub(crate) struct InstallTriggerArgs {
    /// The database, as a superuser: postgresql://USER:PASSWORD@HOST:PORT/DATABASE
    /// [env: RINGFENCE_UPSTREAM, RINGFENCE_UPSTREAM_FILE]
    #[arg(long, value_name = "URL")]
    pub(crate) upstream: Option<String>,
    /// Password of the login, if not in the URL
    #[arg(long, env = "RINGFENCE_UPSTREAM_PASSWORD_FILE", value_name = "FILE")]
    pub(crate) upstream_password_file: Option<PathBuf>,
    /// Removes them again
    #[arg(long)]
    pub(crate) remove: bool,
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    // clap exits with 2 on bad usage, 0 on --help.
    match Cli::parse().command {
        Command::Serve(args) => serve_command(*args),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain_command::run(&args),
        Command::Replay(args) => replay_command::run(&args),
        Command::InstallTrigger(args) => event_trigger::run(&args),
        Command::Keygen { file } => match secret::keygen(&file) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error @ secret::SecretError::Exists { .. }) => complain(&error, 2),
            Err(error) => complain(&error, 1),
        },
        Command::Schema => {
            say(&ringfence_policy::json_schema());
            ExitCode::SUCCESS
        }
    }
}

fn serve_command(args: ServeArgs) -> ExitCode {
    let settings = match layered(args) {
        Ok(settings) => settings,
        Err(error) => return complain(&error, 2),
    };
    if let Err(error) = logs::init(settings.log_format.as_deref(), settings.log_level.as_deref()) {
        return complain(&error, 2);
    }
    let config = match Config::new(settings) {
        Ok(config) => config,
        Err(error) => return complain(&error, 2),
    };
    match serve::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error, error.exit_code()),
    }
}

fn layered(args: ServeArgs) -> Result<Settings, ConfigError> {
    let said = args.settings.with_environment()?;
    Ok(match args.config {
        Some(path) => said.or(Settings::read(&path)?),
        None => said,
    })
}

/// One line on standard error: scripts read it, people too.
#[allow(clippy::print_stderr)]
pub(crate) fn complain(error: &dyn std::error::Error, code: u8) -> ExitCode {
    eprintln!("ringfence: {error}");
    ExitCode::from(code)
}

/// What should be known, and stands in no way: on standard error.
pub(crate) fn warn(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A closed pipe (`ringfence schema | head`) is no error.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
