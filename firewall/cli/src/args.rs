//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Operates a Ringfence server: issues and revokes tokens, shows what it is doing.
///
/// Settings come from flags, then from variables (RFCTL_URL, RFCTL_TOKEN, …), then from ~/.config/rfctl/.
/// Exit codes: 0; 1 the server refused or failed (or --check, --fail-on-change found something); 2 usage or settings.
#[derive(Debug, Parser)]
#[command(name = "rfctl", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Machine-readable output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which server, and with what right.
#[derive(Args, Debug, Default)]
pub(crate) struct Connection {
    /// Address of the admin API [default: http://127.0.0.1:6433]
    #[arg(long, env = "RFCTL_URL", global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// File with the root token (mode 0600) [env: RFCTL_TOKEN_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The root token itself; other users of this machine can see command lines, so better a file or the variable
    /// [env: RFCTL_TOKEN]
    #[arg(long, global = true, value_name = "TOKEN", conflicts_with = "token_file")]
    pub(crate) token: Option<String>,
    /// Authorities that the server's certificate may come from (PEM) [default: the system's]
    #[arg(long, env = "RFCTL_CA", global = true, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Clients of the classification, and their tokens
    #[command(subcommand)]
    Client(ClientCommand),
    /// Tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Labels that columns were ever found to have
    #[command(subcommand)]
    Label(LabelCommand),
    /// What becomes of a statement, and why: result columns with lineage, labels and handling, writes, predicates
    Explain(ExplainArgs),
    /// What a new classification would change for statements that were captured
    Replay(ReplayArgs),
    /// What the server is doing
    Status,
    /// Whether the server answers and the root token is right
    Ping,
    /// Who the server takes you for
    Whoami,
    /// Makes the server read its classification and certificate again
    Reload,
    /// The server's configuration, and rfctl's own
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Prints a completion script
    Completions { shell: clap_complete::Shell },
    /// Prints the manual page (roff), or writes one for every command into a directory
    Man {
        /// Writes rfctl.1, rfctl-explain.1, … there
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// `rfctl explain`.
#[derive(Args, Debug)]
#[command(after_help = EXPLAIN_EXAMPLES)]
pub(crate) struct ExplainArgs {
    /// The client for whom it is decided
    #[arg(long, short, value_name = "NAME")]
    pub(crate) client: String,
    /// The database that it would be sent to [default: the one that --upstream names, or the only one in use]
    #[arg(long, short, env = "RFCTL_DATABASE", value_name = "NAME")]
    pub(crate) database: Option<String>,
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
  rfctl explain --client analyst 'SELECT credit_card FROM users'
  rfctl explain --client users-api -d bank -f report.sql --check
  git show HEAD:report.sql | rfctl explain --client analyst --json";

/// `rfctl replay`.
#[derive(Args, Debug)]
#[command(after_help = REPLAY_EXAMPLES)]
pub(crate) struct ReplayArgs {
    /// SQL statements, or an audit log (JSON lines)
    pub(crate) file: PathBuf,
    /// The classification to compare with the one in force
    #[arg(long, short, value_name = "FILE")]
    pub(crate) policy: PathBuf,
    /// Only for this client [default: all]
    #[arg(long, short, value_name = "NAME")]
    pub(crate) client: Option<String>,
    /// The database of SQL statements [default: the one that --upstream names, or the only one in use]
    #[arg(long, short, env = "RFCTL_DATABASE", value_name = "NAME")]
    pub(crate) database: Option<String>,
    /// Ends with 1 if anything would change
    #[arg(long)]
    pub(crate) fail_on_change: bool,
}

const REPLAY_EXAMPLES: &str = "Examples:
  rfctl replay statements.sql --policy new.yaml
  rfctl replay /var/log/ringfence/audit.jsonl --policy new.yaml --client analyst
  rfctl replay statements.sql --policy new.yaml --fail-on-change --json";

#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Issues a token: the password in the client's connection string, shown only now
    Token(IssueArgs),
    /// All clients
    List,
    /// One client: its tokens, and what it sees of each label
    Get { name: String },
    /// Revokes all tokens of a client; its connections end within a second
    Revoke { name: String },
}

#[derive(Args, Debug)]
pub(crate) struct IssueArgs {
    /// A client of the classification
    pub(crate) name: String,
    /// How long the token lives: 12h, 90d, …
    #[arg(long, default_value = "90d", value_name = "TIME")]
    pub(crate) ttl: String,
    /// How to print it
    #[arg(long, short, value_enum, default_value_t = Format::Url)]
    pub(crate) format: Format,
    /// Database that connection strings name
    #[arg(long, env = "RFCTL_DATABASE", value_name = "NAME")]
    pub(crate) database: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A connection string for psql and drivers
    Url,
    /// PGHOST=… lines
    Env,
    Yaml,
    /// The token alone
    Raw,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// All tokens, dead ones included
    List,
    /// Revokes one token (KID or NAME~KID); its connections end within a second
    Revoke { kid: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LabelCommand {
    /// The record of one database
    List { database: String },
    /// Takes a column (schema.table.column) off the record: it is labelled by the classification alone again
    Release { database: String, column: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// What rfctl uses, and what the server runs with
    Show,
    /// Keeps a setting in ~/.config/rfctl/: url, ca, database, or token (read from standard input)
    Set {
        key: Key,
        /// The value; not for `token`, which does not belong on a command line
        value: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Key {
    Url,
    Ca,
    Database,
    Token,
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
