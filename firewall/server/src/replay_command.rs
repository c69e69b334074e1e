//! `ringfence replay`: what another classification would change, from a schema dump.

use std::collections::BTreeSet;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::process::ExitCode;

use ringfence_policy::explain::nearest_client;
use ringfence_report::{Replay, audit};

use crate::cli::{ReplayArgs, complain, say, warn};
use crate::explain_command::coloured;
use crate::offline::{Offline, OfflineError};
use crate::replay::{self, Seat, Seats};

/// 0: done; 1: something would change, and `--fail-on-change` asks; 2: what is needed is missing or wrong.
pub(crate) fn run(args: &ReplayArgs) -> ExitCode {
    match replayed(args) {
        Ok(replay) => {
            if args.offline.json {
                say(&serde_json::to_string_pretty(&replay).unwrap_or_default());
            } else {
                say(replay.render(coloured()).trim_end());
            }
            if args.fail_on_change && !replay.changes.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => complain(&error, 2),
    }
}

fn replayed(args: &ReplayArgs) -> Result<Replay, OfflineError> {
    let old = Offline::load(&args.offline, &args.offline.classification, 1)?;
    let new = Offline::load(&args.offline, &args.policy, 2)?;
    let warnings: BTreeSet<&String> = old.warnings.iter().chain(&new.warnings).collect();
    warnings.iter().for_each(|warning| warn(warning));
    let seats = |client: &str| Seats { old: seat(&old, client), new: seat(&new, client) };
    let clients: Vec<String> = match &args.client {
        Some(name) if seats(name).old.is_none() && seats(name).new.is_none() => {
            let nearest = nearest_client(&new.policy, name).map(|found| format!("; did you mean \"{found}\"?"));
            let text = format!("client \"{name}\" is in neither classification{}", nearest.unwrap_or_default());
            return Err(OfflineError::Policy(text));
        }
        Some(name) => vec![name.clone()],
        None => {
            let all: BTreeSet<&str> = old.policy.clients().chain(new.policy.clients()).map(|(name, _)| name).collect();
            all.into_iter().map(str::to_owned).collect()
        }
    };
    let broken = |error| OfflineError::Unreadable(args.file.display().to_string(), error);
    let mut file = std::fs::File::open(&args.file).map_err(broken)?;
    let mut beginning = [0; 4096];
    let length = file.read(&mut beginning).map_err(broken)?;
    file.seek(SeekFrom::Start(0)).map_err(broken)?;
    if audit::is_audit(&String::from_utf8_lossy(beginning.get(..length).unwrap_or_default())) {
        let log = audit::read(BufReader::new(file), args.client.as_deref()).map_err(broken)?;
        let mut replay = replay::recorded(&log.recorded, |_, client| seats(client));
        replay.notes.splice(0..0, log.notes());
        return Ok(replay);
    }
    let mut sql = String::new();
    file.read_to_string(&mut sql).map_err(broken)?;
    let clients: Vec<(String, Seats<'_>)> = clients.iter().map(|name| (name.clone(), seats(name))).collect();
    Ok(replay::texts(&sql, &clients))
}

fn seat<'a>(side: &'a Offline, client: &str) -> Option<Seat<'a>> {
    side.policy.client(client).map(|entry| Seat { entry, world: &side.world })
}
