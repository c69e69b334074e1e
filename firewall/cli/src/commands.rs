//! What the commands do.

use clap::CommandFactory;
use serde_json::{Value, json};

use crate::api::{Api, ApiError, segment};
use crate::args::{Cli, ClientCommand, Command, ConfigCommand, Format, IssueArgs, LabelCommand, TokenCommand};
use crate::explain;
use crate::output::{Output, field, list, print, render};
use crate::settings::{self, Settings, SettingsError};
use ringfence_report::Table;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("the manual page could not be written: {0}")]
    Man(std::io::Error),
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
}

impl Error {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Api(error) => error.exit_code(),
            Self::Settings(_) | Self::File { .. } => 2,
            Self::Man(_) => 1,
        }
    }
}

/// False: done, and the answer is no (`--check`, `--fail-on-change`).
pub(crate) fn run(cli: Cli) -> Result<bool, Error> {
    let out = Output { json: cli.json };
    match cli.command {
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "rfctl", &mut std::io::stdout());
            return Ok(true);
        }
        Command::Man { dir: None } => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(Error::Man)?;
            print(&String::from_utf8_lossy(&page));
            return Ok(true);
        }
        Command::Man { dir: Some(dir) } => {
            std::fs::create_dir_all(&dir).map_err(Error::Man)?;
            clap_mangen::generate_to(Cli::command(), &dir).map_err(Error::Man)?;
            return Ok(true);
        }
        Command::Config(ConfigCommand::Set { key, value }) => {
            let path = settings::set(key, value)?;
            out.show(&json!({ "written": path }), |_| format!("written: {}\n", path.display()));
            return Ok(true);
        }
        _ => {}
    }
    let settings = Settings::load(&cli.connection)?;
    let api = Api::new(&settings)?;
    let asked = match cli.command {
        Command::Explain(args) => return explain::explain(&api, &settings, out, &args),
        Command::Replay(args) => return explain::replay(&api, &settings, out, &args),
        Command::Client(command) => client(&api, &settings, out, command),
        Command::Token(command) => token(&api, out, command),
        Command::Label(command) => label(&api, out, command),
        Command::Status => {
            out.show(&api.get("status")?, status_text);
            Ok(())
        }
        Command::Ping => {
            out.show(&api.get("ping")?, |v| format!("pong from version {}\n", field(v, "version")));
            Ok(())
        }
        Command::Whoami => {
            out.show(&api.get("whoami")?, |v| {
                format!("{} (token from {})\n", field(v, "identity"), settings.token_from)
            });
            Ok(())
        }
        Command::Reload => {
            out.show(&api.post("reload", &json!({}))?, |v| {
                format!("classification version {} in force\n", field(v, "policy_version"))
            });
            Ok(())
        }
        Command::Config(_) => {
            let server = api.get("config")?;
            let both = json!({
                "rfctl": { "url": settings.url, "ca": settings.ca, "database": settings.database, "token": settings.token_from },
                "server": server,
            });
            out.show(&both, |v| format!("{}{}", pairs("rfctl", v.get("rfctl")), pairs("server", v.get("server"))));
            Ok(())
        }
        // Done above.
        Command::Completions { .. } | Command::Man { .. } => Ok(()),
    };
    asked.map(|()| true)
}

fn client(api: &Api, settings: &Settings, out: Output, command: ClientCommand) -> Result<(), Error> {
    match command {
        ClientCommand::Token(args) => issue(api, settings, out, &args),
        ClientCommand::List => {
            out.show(&api.get("clients")?, |v| {
                let mut table =
                    Table::new(&["CLIENT", "RESTRICTED", "ADMIN", "UPSTREAM LOGIN", "LIVE TOKENS", "CONNECTIONS"]);
                for c in list(v, "clients") {
                    table.row(
                        ["name", "restricted", "admin", "upstream_login", "live_tokens", "connections"]
                            .map(|f| field(c, f))
                            .to_vec(),
                    );
                }
                render(&table)
            });
            Ok(())
        }
        ClientCommand::Get { name } => {
            out.show(&api.get(&format!("clients/{}", segment(&name)))?, client_text);
            Ok(())
        }
        ClientCommand::Revoke { name } => {
            out.show(&api.delete(&format!("clients/{}/tokens", segment(&name)))?, revoked_text);
            Ok(())
        }
    }
}

fn issue(api: &Api, settings: &Settings, out: Output, args: &IssueArgs) -> Result<(), Error> {
    let issued = api.post(&format!("clients/{}/tokens", segment(&args.name)), &json!({ "ttl": args.ttl }))?;
    let database = args.database.clone().or_else(|| settings.database.clone());
    let format = if out.json { Format::Json } else { args.format };
    print(&issued_text(&issued, database.as_deref(), format));
    Ok(())
}

/// A token in the asked form. The login is NAME~KID throughout, so that another token breaks nobody.
fn issued_text(issued: &Value, database: Option<&str>, format: Format) -> String {
    let server = issued.get("server").cloned().unwrap_or_default();
    let (host, port, mode) = (field(&server, "host"), field(&server, "port"), field(&server, "sslmode"));
    let (login, token) = (field(issued, "login"), field(issued, "token"));
    let url = connection_url(&login, &token, &host, &port, &mode, database);
    match format {
        Format::Raw => format!("{token}\n"),
        Format::Url => format!("{url}\n"),
        Format::Env => {
            let mut text = format!(
                "PGHOST={host}\nPGPORT={port}\nPGUSER={}\nPGPASSWORD={token}\nPGSSLMODE={mode}\n",
                shell_word(&login)
            );
            if let Some(database) = database {
                text.push_str(&format!("PGDATABASE={}\n", shell_word(database)));
            }
            text
        }
        Format::Yaml => {
            let mut text = format!(
                "host: {}\nport: {port}\nuser: {}\npassword: {}\nsslmode: {mode}\n",
                json!(host),
                json!(login),
                json!(token)
            );
            if let Some(database) = database {
                text.push_str(&format!("database: {}\n", json!(database)));
            }
            text.push_str(&format!("expires_at: {}\n", json!(field(issued, "expires_at"))));
            text
        }
        Format::Json => {
            let mut all = issued.clone();
            if let Some(object) = all.as_object_mut() {
                object.insert(String::from("url"), json!(url));
                object.insert(String::from("database"), json!(database));
            }
            format!("{}\n", serde_json::to_string_pretty(&all).unwrap_or_default())
        }
    }
}

fn connection_url(login: &str, token: &str, host: &str, port: &str, mode: &str, database: Option<&str>) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let database = segment(database.unwrap_or_default());
    format!("postgresql://{}:{}@{host}:{port}/{database}?sslmode={mode}", segment(login), segment(token))
}

/// Quoted where a shell would read more than a word.
fn shell_word(text: &str) -> String {
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~@:/".contains(&b)) && !text.starts_with('~') {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn token(api: &Api, out: Output, command: TokenCommand) -> Result<(), Error> {
    match command {
        TokenCommand::List => out.show(&api.get("tokens")?, |v| tokens_text(list(v, "tokens"))),
        TokenCommand::Revoke { kid } => out.show(&api.delete(&format!("tokens/{}", segment(&kid)))?, revoked_text),
    }
    Ok(())
}

fn label(api: &Api, out: Output, command: LabelCommand) -> Result<(), Error> {
    match command {
        LabelCommand::List { database } => out.show(&api.get(&format!("labels/{}", segment(&database)))?, |v| {
            let mut table = Table::new(&["COLUMN", "LABEL"]);
            for l in list(v, "labels") {
                table.row(vec![field(l, "column"), field(l, "label")]);
            }
            render(&table)
        }),
        LabelCommand::Release { database, column } => {
            let answer = api.delete(&format!("labels/{}/{}", segment(&database), segment(&column)))?;
            out.show(&answer, |v| format!("released: {}\n", field(v, "released")));
        }
    }
    Ok(())
}

fn tokens_text(tokens: &[Value]) -> String {
    let mut table = Table::new(&["LOGIN", "STATUS", "CREATED", "EXPIRES", "CONNECTIONS"]);
    for t in tokens {
        table.row(["login", "status", "created_at", "expires_at", "connections"].map(|f| field(t, f)).to_vec());
    }
    render(&table)
}

fn revoked_text(value: &Value) -> String {
    let revoked = list(value, "revoked");
    if revoked.is_empty() {
        return String::from("nothing to revoke\n");
    }
    revoked.iter().filter_map(Value::as_str).map(|login| format!("revoked: {login}\n")).collect()
}

fn client_text(value: &Value) -> String {
    let mut text = pairs(
        &field(value, "name"),
        Some(&json!({
            "restricted": value.get("restricted"),
            "admin": value.get("admin"),
            "observe": value.get("observe"),
            "upstream login": value.get("upstream_login"),
            "connections": value.get("connections"),
        })),
    );
    text.push_str(&pairs("labels", value.get("labels")));
    text.push_str(&tokens_text(list(value, "tokens")));
    text
}

fn status_text(value: &Value) -> String {
    let sub = |name: &str| value.get(name).cloned().unwrap_or_default();
    let (upstream, control, policy, audit) = (sub("upstream"), sub("control"), sub("policy"), sub("audit"));
    let mut text = pairs(
        "ringfence",
        Some(&json!({
            "version": value.get("version"),
            "ready": value.get("ready"),
            "listen": value.get("listen"),
            "connections": value.get("connections"),
            "upstream": field(&upstream, "url"),
            "upstream reachable": upstream.get("reachable"),
            "control": field(&control, "url"),
            "control connected": control.get("connected"),
            "classification": field(&policy, "file"),
            "classification version": policy.get("version"),
            "clients": policy.get("clients"),
            "audit healthy": audit.get("healthy"),
            "certificate ends": value.get("certificate_not_after"),
        })),
    );
    let databases = list(value, "databases");
    if !databases.is_empty() {
        let mut table = Table::new(&["DATABASE", "SERVER", "RELATIONS", "LABELLED COLUMNS", "EPOCH"]);
        for d in databases {
            table.row(
                ["database", "server_version", "relations", "labelled_columns", "epoch"].map(|f| field(d, f)).to_vec(),
            );
        }
        text.push_str(&render(&table));
    }
    text
}

/// A heading and its pairs, indented.
fn pairs(title: &str, value: Option<&Value>) -> String {
    let Some(object) = value.and_then(Value::as_object) else { return String::new() };
    let wide = object.keys().map(|k| k.chars().count()).max().unwrap_or(0);
    let mut text = format!("{title}\n");
    for key in object.keys() {
        let value = value.map(|v| field(v, key)).unwrap_or_default();
        text.push_str(&format!("  {key:wide$}  {value}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issued() -> Value {
        json!({
            "client": "users-api", "kid": "k3f9x2aa", "login": "users-api~k3f9x2aa", "token": "rft_k3f9x2aa_ab-_",
            "expires_at": "2026-01-01T00:00:00Z",
            "server": { "host": "127.0.0.1", "port": 6432, "sslmode": "require" },
        })
    }

    #[test]
    fn formats_are_as_documented() {
        let text = |format| issued_text(&issued(), Some("bank"), format);
        assert_eq!(text(Format::Raw), "rft_k3f9x2aa_ab-_\n");
        assert_eq!(
            text(Format::Url),
            "postgresql://users-api~k3f9x2aa:rft_k3f9x2aa_ab-_@127.0.0.1:6432/bank?sslmode=require\n"
        );
        assert_eq!(
            text(Format::Env),
            "PGHOST=127.0.0.1\nPGPORT=6432\nPGUSER=users-api~k3f9x2aa\nPGPASSWORD=rft_k3f9x2aa_ab-_\nPGSSLMODE=require\nPGDATABASE=bank\n"
        );
        assert!(text(Format::Yaml).contains("user: \"users-api~k3f9x2aa\"\n"));
        assert!(text(Format::Json).contains("\"url\": \"postgresql://users-api~k3f9x2aa:"));
    }

    #[test]
    fn odd_names_stay_one_word() {
        assert_eq!(shell_word("it's"), "'it'\\''s'");
        let url = connection_url("a b~k", "t", "::1", "1", "disable", None);
        assert_eq!(url, "postgresql://a%20b~k:t@[::1]:1/?sslmode=disable");
    }
}
