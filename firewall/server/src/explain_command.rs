//! `ringfence explain`: an explanation from a schema dump.

use std::io::IsTerminal;
use std::process::ExitCode;

use ringfence_policy::explain::nearest_client;
use ringfence_report::explain::Verdict;

use crate::cli::{ExplainArgs, complain, say, warn};
use crate::explain;
use crate::offline::{Offline, OfflineError, statement};

/// 0: explained; 1: it would be refused, and `--check` asks; 2: what is needed is missing or wrong.
pub(crate) fn run(args: &ExplainArgs) -> ExitCode {
    match explained(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => complain(&error, 2),
    }
}

fn explained(args: &ExplainArgs) -> Result<bool, OfflineError> {
    let offline = Offline::load(&args.offline, &args.offline.classification, 1)?;
    let entry = offline.policy.client(&args.client).ok_or_else(|| {
        let nearest = nearest_client(&offline.policy, &args.client).map(|name| format!("; did you mean \"{name}\"?"));
        OfflineError::Policy(format!(
            "client \"{}\" is not in {}{}",
            args.client,
            offline.policy.file,
            nearest.unwrap_or_default()
        ))
    })?;
    let sql = statement(args.sql.as_deref(), args.file.as_deref())?;
    offline.warnings.iter().for_each(|warning| warn(warning));
    let explanation = explain::of(entry, &offline.world, &sql);
    if args.offline.json {
        say(&serde_json::to_string_pretty(&explanation).unwrap_or_default());
    } else {
        say(explanation.render(coloured()).trim_end());
    }
    Ok(!args.check || explanation.verdict != Verdict::Refuse)
}

/// Colours only on a terminal.
pub(crate) fn coloured() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}
