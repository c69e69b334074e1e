//! `POST /api/v1/explain`. The text is the asker's own and is not logged.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::State;
use super::routes::{Answer, Failure, Shared, no_client};
use crate::explain::{self, LONGEST};
use crate::shared::Problem;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    client: String,
    #[serde(default)]
    database: Option<String>,
    sql: String,
}

pub(super) async fn explain(axum::extract::State(state): Shared, request: Request) -> Answer {
    let asked: Asked = body(request).await?;
    if asked.sql.len() > LONGEST {
        return Err(Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the statement is longer than {LONGEST} bytes; explain a part of it"),
        ));
    }
    let database = database(&state, asked.database.clone())?;
    if !state.worlds.policy().knows(&asked.client) {
        return Err(no_client(&state, &asked.client));
    }
    let explanation = {
        let first = explained(&state, &database, &asked, false).await?;
        // As for a session: what the snapshot does not know may have been made a moment ago.
        if first.statements.iter().any(|statement| !statement.unknown.is_empty()) {
            explained(&state, &database, &asked, true).await?
        } else {
            first
        }
    };
    Ok(Json(explanation).into_response())
}

async fn explained(
    state: &Arc<State>,
    database: &str,
    asked: &Asked,
    fresh: bool,
) -> Result<ringfence_report::Explanation, Failure> {
    let found = state.worlds.world(database, &asked.client, fresh).await.map_err(|p| unavailable(&p))?;
    let (policy, world) = found.ok_or_else(|| no_client(state, &asked.client))?;
    let (client, sql) = (asked.client.clone(), asked.sql.clone());
    // Long texts take a while, and connections must not wait for them.
    let task = tokio::task::spawn_blocking(move || {
        policy.policy.client(&client).map(|entry| explain::of(entry, &world, &sql))
    });
    let done = task.await.map_err(|_| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the explanation failed"))?;
    done.ok_or_else(|| no_client(state, &asked.client))
}

/// A JSON body. Mistakes in it are named; its content is not repeated.
pub(super) async fn body<T: DeserializeOwned>(request: Request) -> Result<T, Failure> {
    let bytes = Bytes::from_request(request, &())
        .await
        .map_err(|rejection| Failure::new(rejection.status(), "the body is too large, or could not be read"))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => error.to_string(),
            _ => format!("no JSON at line {}, column {}", error.line(), error.column()),
        };
        Failure::bad_request(format!("the body is not as expected: {what}"))
    })
}

/// The database that is meant where none is named: the one of `--upstream`, or the only one in use.
pub(super) fn database(state: &State, named: Option<String>) -> Result<String, Failure> {
    if let Some(name) = named {
        return Ok(name);
    }
    state.worlds.only_database().ok_or_else(|| {
        Failure::bad_request("which database? name it (rfctl: --database NAME): the upstream has several")
    })
}

pub(super) fn unavailable(problem: &Problem) -> Failure {
    let status = if problem.sqlstate == "3D000" { StatusCode::NOT_FOUND } else { StatusCode::SERVICE_UNAVAILABLE };
    Failure::new(status, problem.message.clone())
}
