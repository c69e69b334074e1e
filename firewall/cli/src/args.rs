//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Operates a Ringfence server: issues and revokes tokens, shows what it is doing.
///
/// Settings come from flags, then from variables (RFCTL_URL, RFCTL_TOKEN, …), then from ~/.config/rfctl/.
/// Exit codes: 0; 1 the server refused or failed; 2 usage or settings.
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
    /// Prints the manual page (roff)
    Man,
}

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
