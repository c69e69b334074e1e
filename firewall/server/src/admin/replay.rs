//! `POST /api/v1/replay`. Neither the statements nor the classification are logged, and nothing takes effect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State as Extract};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use ringfence_report::Replay;
use ringfence_report::replay::Request as Asked;

use super::State;
use super::explain::{body, database, unavailable};
use super::routes::{Answer, Failure, Shared, no_client};
use crate::policy_file::LoadedPolicy;
use crate::replay::{self, LONGEST, Seat, Seats};
use crate::worlds::{Side, Trial, TrialError};

/// A body beyond this is not read.
pub(super) const LARGEST: usize = 32 << 20;

/// Both sides of every client, by database and name.
type Sides = BTreeMap<(String, String), (Option<Side>, Option<Side>)>;

pub(super) async fn replay(Extract(state): Shared, request: Request) -> Answer {
    let asked: Asked = body(request).await?;
    if asked.sql.as_ref().is_some_and(|sql| sql.len() > LONGEST) {
        return Err(Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the statements are longer than {LONGEST} bytes; replay a part of them, or offline: ringfence replay"
            ),
        ));
    }
    if asked.sql.is_none() && asked.recorded.is_empty() {
        return Err(Failure::bad_request("nothing to replay: there are neither statements nor audit lines"));
    }
    let of_texts = match asked.sql {
        Some(_) => Some(database(&state, asked.database.clone())?),
        None => None,
    };
    let mut databases: BTreeSet<String> = asked.recorded.iter().map(|one| one.database.clone()).collect();
    databases.extend(of_texts.clone());
    let policy = LoadedPolicy::trial(&asked.policy.text, &asked.policy.name)
        .map_err(|errors| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, errors.to_string()))?;
    let needed: Vec<String> = databases.iter().cloned().collect();
    let trial = state.worlds.trial(policy, &needed).await.map_err(|error| match error {
        TrialError::Policy(errors) => Failure::new(StatusCode::UNPROCESSABLE_ENTITY, errors.to_string()),
        TrialError::Database(problem) => unavailable(&problem),
    })?;
    let clients = clients(&state, &trial, &asked)?;
    let mut sides = Sides::new();
    for database in &databases {
        for client in &clients {
            if let Some(found) = trial.sides(database, client) {
                sides.insert((database.clone(), client.clone()), found);
            }
        }
    }
    let warnings = trial.warnings;
    // Long files take a while, and connections must not wait for them.
    let task = tokio::task::spawn_blocking(move || {
        let mut replay = compared(&asked, of_texts.as_deref(), &clients, &sides);
        replay.notes.splice(0..0, warnings);
        replay
    });
    let replay = task.await.map_err(|_| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the replay failed"))?;
    Ok(Json(replay).into_response())
}

/// The one that is asked for, or all that either classification has.
fn clients(state: &Arc<State>, trial: &Trial, asked: &Asked) -> Result<Vec<String>, Failure> {
    let old = state.worlds.policy();
    match &asked.client {
        Some(name) if old.knows(name) || trial.policy.knows(name) => Ok(vec![name.clone()]),
        Some(name) => Err(no_client(state, name)),
        None => {
            let both = old.policy.clients().chain(trial.policy.policy.clients());
            let all: BTreeSet<&str> = both.map(|(name, _)| name).collect();
            Ok(all.into_iter().map(str::to_owned).collect())
        }
    }
}

fn compared(asked: &Asked, of_texts: Option<&str>, clients: &[String], sides: &Sides) -> Replay {
    let seats = |database: &str, client: &str| {
        let found = sides.get(&(database.to_owned(), client.to_owned()));
        Seats {
            old: found.and_then(|(old, _)| seat(old.as_ref(), client)),
            new: found.and_then(|(_, new)| seat(new.as_ref(), client)),
        }
    };
    match (&asked.sql, of_texts) {
        (Some(sql), Some(database)) => {
            let all: Vec<(String, Seats<'_>)> =
                clients.iter().map(|client| (client.clone(), seats(database, client))).collect();
            replay::texts(sql, &all)
        }
        _ => replay::recorded(&asked.recorded, seats),
    }
}

fn seat<'a>(side: Option<&'a Side>, client: &str) -> Option<Seat<'a>> {
    let (policy, world) = side?;
    Some(Seat { entry: policy.policy.client(client)?, world })
}
