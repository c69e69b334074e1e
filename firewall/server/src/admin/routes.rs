//! The routes. Every one of them is in `openapi.json` (a test compares).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest, Path, Request, State as Extract};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use ringfence_policy::explain::nearest_client;
use serde::Deserialize;
use serde_json::{Value, json};

use super::State;
use super::guard::Admission;
use super::tls::Peer;
use crate::config::AuditTarget;
use crate::config::duration::Span;
use crate::metrics::Readings;
use crate::store::StoreError;
use crate::store::token::{Status, Token};

/// Unless a request says otherwise, a token lives this long.
const DEFAULT_TTL: Duration = Duration::from_secs(90 * 86_400);
const LONGEST_TTL: Duration = Duration::from_secs(10 * 366 * 86_400);

pub(super) type Shared = Extract<Arc<State>>;

/// Routes without credentials.
pub(super) fn open_routes() -> Vec<(&'static str, MethodRouter<Arc<State>>)> {
    vec![("/livez", get(livez)), ("/readyz", get(readyz)), ("/metrics", get(metrics))]
}

/// Routes that need the root token.
pub(super) fn guarded_routes() -> Vec<(&'static str, MethodRouter<Arc<State>>)> {
    vec![
        ("/api/v1/openapi.json", get(openapi)),
        ("/api/v1/ping", get(ping)),
        ("/api/v1/whoami", get(whoami)),
        ("/api/v1/status", get(status)),
        ("/api/v1/config", get(config)),
        ("/api/v1/reload", post(reload)),
        ("/api/v1/explain", post(super::explain::explain)),
        ("/api/v1/replay", post(super::replay::replay).layer(DefaultBodyLimit::max(super::replay::LARGEST))),
        ("/api/v1/clients", get(clients)),
        ("/api/v1/clients/{name}", get(client)),
        ("/api/v1/clients/{name}/tokens", post(issue).delete(revoke_client)),
        ("/api/v1/tokens", get(tokens)),
        ("/api/v1/tokens/{kid}", delete(revoke_token)),
        ("/api/v1/labels/{database}", get(labels)),
        ("/api/v1/labels/{database}/{column}", delete(release_label)),
    ]
}

pub(super) fn router(state: Arc<State>) -> Router {
    let add = |router: Router<Arc<State>>, (path, method): (&str, MethodRouter<Arc<State>>)| router.route(path, method);
    let guarded = guarded_routes()
        .into_iter()
        .fold(Router::new(), add)
        .layer(middleware::from_fn_with_state(state.clone(), authorise));
    open_routes()
        .into_iter()
        .fold(Router::new(), add)
        .merge(guarded)
        .fallback(|| async { Failure::new(StatusCode::NOT_FOUND, "there is no such route") })
        .method_not_allowed_fallback(|| async {
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, "this route does not take that method")
        })
        .layer(middleware::map_response(no_store))
        .with_state(state)
}

/// An error, as JSON: `{"error": …}`.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    message: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.message }))).into_response()
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        tracing::error!("admin API: {error}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

pub(super) type Answer = Result<Response, Failure>;

fn ok(value: Value) -> Answer {
    Ok(Json(value).into_response())
}

async fn authorise(
    Extract(state): Shared,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let failure = match state.guard.check(peer.0.ip(), given, state.root_token.expose(), Instant::now()) {
        Admission::Admitted => return next.run(request).await,
        Admission::Denied => {
            Failure::new(StatusCode::UNAUTHORIZED, "the root token is missing or wrong (Authorization: Bearer …)")
        }
        Admission::Slowed => {
            Failure::new(StatusCode::TOO_MANY_REQUESTS, "too many wrong root tokens from this address; wait a minute")
        }
    };
    state.metrics.admin_denied.increment();
    tracing::warn!(address = %peer.0, "admin API: a request without a valid root token");
    let mut response = failure.into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Answers hold tokens: nobody on the way may keep them.
async fn no_store(mut response: Response) -> Response {
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(Extract(state): Shared) -> Response {
    let mut missing = Vec::new();
    if !state.ready.load(Ordering::Relaxed) {
        missing.push("stopping");
    }
    if state.store.age() > state.facts.control_grace {
        missing.push("control database away");
    }
    if !state.upstream_health.reachable().await {
        missing.push("upstream unreachable");
    }
    if missing.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", missing.join(", "))).into_response()
}

async fn metrics(Extract(state): Shared) -> Response {
    let (plan_hits, plan_misses) = state.shared.plans.counts();
    let now = Readings {
        plan_hits,
        plan_misses,
        plan_bytes: state.shared.plans.weight(),
        audit_healthy: state.audit.healthy(),
        control_connected: state.store.connected(),
        certificate_not_after: state.shared.net.tls.as_ref().map(|tls| tls.not_after().as_second()),
        databases: state.worlds.status().len(),
        live_tokens: state.store.snapshot().live(SystemTime::now()).count(),
    };
    let text = state.metrics.render(&now);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], super::openapi::DOCUMENT).into_response()
}

async fn ping() -> Answer {
    ok(json!({ "pong": true, "version": env!("CARGO_PKG_VERSION") }))
}

async fn whoami() -> Answer {
    ok(json!({ "identity": "root" }))
}

async fn status(Extract(state): Shared) -> Answer {
    let policy = state.worlds.policy();
    ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "ready": state.ready.load(Ordering::Relaxed),
        "listen": state.facts.listen,
        "advertise": address(&state),
        "connections": state.shared.sessions.len(),
        "upstream": { "url": state.facts.upstream, "reachable": state.upstream_health.reachable().await },
        "control": {
            "url": state.facts.control,
            "connected": state.store.connected(),
            "age_seconds": state.store.age().as_secs(),
        },
        "policy": {
            "file": state.facts.classification,
            "version": policy.version,
            "clients": policy.policy.clients().count(),
            "labels": declared(policy.policy.labels()),
        },
        "databases": state.worlds.status(),
        "audit": { "healthy": state.audit.healthy() },
        "certificate_not_after": state.shared.net.tls.as_ref().map(|tls| tls.not_after().to_string()),
    }))
}

async fn config(Extract(state): Shared) -> Answer {
    let facts = &state.facts;
    ok(json!({
        "listen": facts.listen,
        "advertise": address(&state),
        "tls": facts.tls,
        "allow-plaintext": !facts.tls_required,
        "upstream": facts.upstream,
        "control": facts.control,
        "control-grace": Span(facts.control_grace).to_string(),
        "control-freshness": Span(facts.control_freshness).to_string(),
        "classification": facts.classification,
        "admin-listen": facts.admin_listen,
        "admin-tls": facts.admin_tls,
        "audit": match &facts.audit {
            AuditTarget::File(path) => json!(path),
            AuditTarget::Stdout => json!("-"),
            AuditTarget::None => Value::Null,
        },
        "catalog-poll": Span(facts.catalog_poll).to_string(),
        "max-connections": facts.max_connections,
        "unsafe-superuser-upstream": facts.unsafe_superuser_upstream,
    }))
}

async fn reload(Extract(state): Shared) -> Answer {
    match state.reloader.reload("asked by an administrator").await {
        Ok(()) => ok(json!({ "policy_version": state.worlds.policy().version })),
        Err(errors) => Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, errors.to_string())),
    }
}

async fn clients(Extract(state): Shared) -> Answer {
    let policy = state.worlds.policy();
    let connections = connections(&state);
    let all: Vec<Value> =
        policy.policy.clients().filter_map(|(name, _)| client_json(&state, name, &connections)).collect();
    ok(json!({ "clients": all }))
}

async fn client(Extract(state): Shared, Path(name): Path<String>) -> Answer {
    let connections = connections(&state);
    let mut found = client_json(&state, &name, &connections).ok_or_else(|| no_client(&state, &name))?;
    let snapshot = state.store.snapshot();
    if let Some(object) = found.as_object_mut() {
        let tokens: Vec<Value> = snapshot.of_client(&name).map(|t| token_json(t, &connections)).collect();
        object.insert(String::from("tokens"), json!(tokens));
        let policy = state.worlds.policy();
        let handlings: serde_json::Map<String, Value> =
            policy.policy.client(&name).map_or_else(Default::default, |entry| {
                let declared = entry.policy.labels.iter().skip(ringfence_analysis::builtin::NAMES.len());
                declared.map(|l| (l.name.to_string(), json!(format!("{:?}", l.handling).to_lowercase()))).collect()
            });
        object.insert(String::from("labels"), json!(handlings));
    }
    ok(found)
}

/// The body of a token request; all of it may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TokenRequest {
    ttl: Option<String>,
}

async fn issue(Extract(state): Shared, Path(name): Path<String>, request: Request) -> Answer {
    let body = axum::body::Bytes::from_request(request, &())
        .await
        .map_err(|_| Failure::bad_request("the body could not be read"))?;
    let asked: TokenRequest = if body.is_empty() {
        TokenRequest::default()
    } else {
        serde_json::from_slice(&body).map_err(|e| Failure::bad_request(format!("the body is not as expected: {e}")))?
    };
    if !state.worlds.policy().knows(&name) {
        return Err(no_client(&state, &name));
    }
    let ttl = match asked.ttl.as_deref().map(str::parse::<Span>) {
        None => DEFAULT_TTL,
        Some(Ok(span)) => span.0,
        Some(Err(error)) => return Err(Failure::bad_request(format!("ttl: {error}"))),
    };
    if ttl < Duration::from_secs(1) || ttl > LONGEST_TTL {
        return Err(Failure::bad_request("ttl must be from 1s to 3660d"));
    }
    let issued = state.store.issue(&name, ttl, "root").await?;
    let kid: Arc<str> = Arc::from(issued.kid.as_str());
    state.audit.admin("token_issued", &name, &[kid]);
    tracing::info!(client = name, kid = issued.kid, "token issued");
    let body = json!({
        "client": name,
        "kid": issued.kid,
        "login": format!("{name}~{}", issued.kid),
        "token": *issued.token,
        "created_at": stamp(issued.created_at),
        "expires_at": stamp(issued.expires_at),
        "server": address(&state),
    });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

async fn revoke_client(Extract(state): Shared, Path(name): Path<String>) -> Answer {
    let snapshot = state.store.snapshot();
    let kids: Vec<Arc<str>> =
        snapshot.of_client(&name).filter(|t| t.revoked_at.is_none()).map(|t| t.verifier.kid.clone()).collect();
    if kids.is_empty() && !state.worlds.policy().knows(&name) {
        return Err(no_client(&state, &name));
    }
    let revoked = state.store.revoke(&kids).await?;
    state.audit.admin("token_revoked", &name, &revoked);
    tracing::info!(client = name, tokens = revoked.len(), "tokens revoked");
    ok(json!({ "revoked": revoked.iter().map(|kid| format!("{name}~{kid}")).collect::<Vec<_>>() }))
}

async fn tokens(Extract(state): Shared) -> Answer {
    let connections = connections(&state);
    let snapshot = state.store.snapshot();
    let all: Vec<Value> = snapshot.all().into_iter().map(|t| token_json(t, &connections)).collect();
    ok(json!({ "tokens": all }))
}

async fn revoke_token(Extract(state): Shared, Path(kid): Path<String>) -> Answer {
    // NAME~KID is what people have in front of them.
    let kid = kid.rsplit_once('~').map_or(kid.as_str(), |(_, kid)| kid);
    let snapshot = state.store.snapshot();
    let token = snapshot.get(kid).ok_or_else(|| Failure::not_found(format!("there is no token \"{kid}\"")))?;
    let revoked = state.store.revoke(std::slice::from_ref(&token.verifier.kid)).await?;
    state.audit.admin("token_revoked", &token.verifier.client, &revoked);
    tracing::info!(login = token.login(), "token revoked");
    ok(json!({ "revoked": revoked.iter().map(|_| token.login()).collect::<Vec<_>>() }))
}

async fn labels(Extract(state): Shared, Path(database): Path<String>) -> Answer {
    let oid = database_oid(&state, &database).await?;
    let recorded = state.store.recorded_labels(oid).await?;
    let all: Vec<Value> = recorded
        .iter()
        .map(|r| json!({ "column": format!("{}.{}", r.table_name, r.column_name), "label": r.label, "table_oid": r.table_oid, "attnum": r.attnum }))
        .collect();
    ok(json!({ "database": database, "labels": all }))
}

async fn release_label(Extract(state): Shared, Path((database, column)): Path<(String, String)>) -> Answer {
    let oid = database_oid(&state, &database).await?;
    let released = state.store.release_labels(oid, &column).await?;
    if released == 0 {
        return Err(Failure::not_found(format!(
            "no label is recorded for column \"{column}\" of database \"{database}\""
        )));
    }
    state.audit.admin("label_released", &format!("{database}.{column}"), &[]);
    tracing::warn!(database, column, "recorded label released");
    let bound = state.worlds.rebind().await;
    bound.map_err(|e| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, e.to_string()))?;
    ok(json!({ "released": released }))
}

async fn database_oid(state: &State, database: &str) -> Result<u32, Failure> {
    let found = state.worlds.database_oid(database).await;
    found.map_err(|problem| Failure::not_found(problem.message))
}

pub(super) fn no_client(state: &State, name: &str) -> Failure {
    let policy = state.worlds.policy();
    let nearest = nearest_client(&policy.policy, name).map(|found| format!("; did you mean \"{found}\"?"));
    Failure::not_found(format!("client \"{name}\" is not in the classification{}", nearest.unwrap_or_default()))
}

/// Open connections by token.
fn connections(state: &State) -> HashMap<Arc<str>, usize> {
    let mut by_kid = HashMap::new();
    for context in state.shared.sessions.list() {
        *by_kid.entry(context.kid.clone()).or_insert(0) += 1;
    }
    by_kid
}

fn client_json(state: &State, name: &str, connections: &HashMap<Arc<str>, usize>) -> Option<Value> {
    let policy = state.worlds.policy();
    let entry = policy.policy.client(name)?;
    let snapshot = state.store.snapshot();
    let now = SystemTime::now();
    let live = snapshot.of_client(name).filter(|t| t.status(now) == Status::Live).count();
    let open: usize = snapshot.of_client(name).filter_map(|t| connections.get(&t.verifier.kid)).sum();
    Some(json!({
        "name": name,
        "restricted": entry.policy.restricted,
        "admin": entry.policy.admin,
        "observe": entry.policy.observe,
        "upstream_login": entry.upstream.as_ref().map(|u| u.user.clone()),
        "max_connections": entry.policy.max_connections,
        "live_tokens": live,
        "connections": open,
    }))
}

fn token_json(token: &Token, connections: &HashMap<Arc<str>, usize>) -> Value {
    json!({
        "login": token.login(),
        "client": &*token.verifier.client,
        "kid": &*token.verifier.kid,
        "status": token.status(SystemTime::now()).as_str(),
        "created_at": stamp(token.created_at),
        "expires_at": stamp(token.expires_at),
        "revoked_at": token.revoked_at.map(stamp),
        "created_by": token.created_by,
        "connections": connections.get(&token.verifier.kid).copied().unwrap_or(0),
    })
}

/// Where clients connect, and whether with TLS.
fn address(state: &State) -> Value {
    let (host, port) = &state.facts.advertise;
    json!({
        "host": host,
        "port": port,
        "sslmode": if state.facts.tls { "require" } else { "disable" },
    })
}

fn declared(labels: &[Arc<str>]) -> Vec<&str> {
    labels.iter().skip(ringfence_analysis::builtin::NAMES.len()).map(|l| &**l).collect()
}

/// RFC 3339, to the second.
fn stamp(time: SystemTime) -> String {
    let seconds = crate::store::token::micros(time).div_euclid(1_000_000);
    Timestamp::from_second(seconds).map_or_else(|_| String::from("?"), |t| t.to_string())
}
