//! `rfctl explain` and `rfctl replay`: the text goes to the server, the answer to the terminal.

use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use ringfence_report::explain::Verdict;
use ringfence_report::replay::{File, Request};
use ringfence_report::{Explanation, Replay, audit};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::{Api, ApiError};
use crate::args::{ExplainArgs, ReplayArgs};
use crate::commands::Error;
use crate::output::{Output, coloured};
use crate::settings::Settings;

/// True: the statement would go through, or nobody asked.
pub(crate) fn explain(api: &Api, settings: &Settings, out: Output, args: &ExplainArgs) -> Result<bool, Error> {
    let sql = statement(args)?;
    let database = args.database.clone().or_else(|| settings.database.clone());
    let answer = api.post("explain", &json!({ "client": args.client, "database": database, "sql": sql }))?;
    let explanation: Explanation = known("explain", &answer)?;
    out.show(&answer, |_| explanation.render(coloured()));
    Ok(!args.check || explanation.verdict != Verdict::Refuse)
}

/// From the command line, a file, or standard input.
fn statement(args: &ExplainArgs) -> Result<String, Error> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|source| Error::File { path: path.display().to_string(), source })
    };
    match (&args.sql, &args.file) {
        (Some(sql), _) if sql != "-" => Ok(sql.clone()),
        (None, Some(path)) if path.as_os_str() != "-" => read(path),
        _ => std::io::read_to_string(std::io::stdin())
            .map_err(|source| Error::File { path: String::from("standard input"), source }),
    }
}

/// True: nothing would change, or nobody asked.
pub(crate) fn replay(api: &Api, settings: &Settings, out: Output, args: &ReplayArgs) -> Result<bool, Error> {
    let broken = |path: &Path| {
        let path = path.display().to_string();
        move |source| Error::File { path, source }
    };
    let policy = std::fs::read_to_string(&args.policy).map_err(broken(&args.policy))?;
    let mut request = Request {
        database: args.database.clone().or_else(|| settings.database.clone()),
        client: args.client.clone(),
        policy: File { name: args.policy.display().to_string(), text: policy },
        ..Request::default()
    };
    let mut source = std::fs::File::open(&args.file).map_err(broken(&args.file))?;
    let mut beginning = [0; 4096];
    let length = source.read(&mut beginning).map_err(broken(&args.file))?;
    source.seek(SeekFrom::Start(0)).map_err(broken(&args.file))?;
    let mut notes = Vec::new();
    if audit::is_audit(&String::from_utf8_lossy(beginning.get(..length).unwrap_or_default())) {
        let log = audit::read(BufReader::new(source), args.client.as_deref()).map_err(broken(&args.file))?;
        notes = log.notes();
        request.recorded = log.recorded;
    } else {
        let mut sql = String::new();
        source.read_to_string(&mut sql).map_err(broken(&args.file))?;
        request.sql = Some(sql);
    }
    let answer = api.post("replay", &json!(request))?;
    let mut replay: Replay = known("replay", &answer)?;
    replay.notes.splice(0..0, notes);
    out.show(&json!(replay), |_| replay.render(coloured()));
    Ok(!args.fail_on_change || replay.changes.is_empty())
}

fn known<T: DeserializeOwned>(what: &str, answer: &Value) -> Result<T, Error> {
    T::deserialize(answer).map_err(|_| Error::Api(ApiError::Strange(what.to_owned())))
}
