//! Logs: people's on a terminal, JSON for machines. Never a secret, never a value of a row.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use crate::config::ConfigError;

/// Installs the process's subscriber; standard error, so that `--audit -` has standard output to itself.
pub(crate) fn init(format: Option<&str>, level: Option<&str>) -> Result<(), ConfigError> {
    let level = level.unwrap_or("info");
    let filter = EnvFilter::try_new(level).map_err(|_| ConfigError::Choice {
        flag: "log-level",
        value: level.to_owned(),
        known: "error, warn, info, debug, trace, or module=level, …",
    })?;
    // tokio-postgres logs statements and server notices of its own accord.
    let filter = ["tokio_postgres=warn", "hyper=warn", "rustls=warn"]
        .iter()
        .filter(|_| !level.contains("tokio_postgres"))
        .filter_map(|d| d.parse().ok())
        .fold(filter, EnvFilter::add_directive);
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_timer(SystemTime);
    match format.unwrap_or("human") {
        "human" => base.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
        "json" => base.json().flatten_event(true).init(),
        other => {
            return Err(ConfigError::Choice { flag: "log-format", value: other.to_owned(), known: "human or json" });
        }
    }
    Ok(())
}
