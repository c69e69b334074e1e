//! The control schema in its database: applied at start, and checked to be out of the clients' reach.

use std::time::Duration;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::pg::Explained;

/// Every version of the schema, in order; compiled in.
const MIGRATIONS: &[(i32, &str, &str)] =
    &[(1, "control", include_str!("../../../../migrations/control/0001_control.sql"))];

/// Any constant: replicas that start together take turns.
const LOCK: i64 = 0x7269_6e67_6665_6e63;

/// Why the control schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("control schema: {0}")]
    Server(#[from] Explained),
    #[error("control schema: migration {0} failed: {1}")]
    Migration(&'static str, Explained),
    #[error(
        "control schema: the login \"{login}\" may not create the schema ringfence; run as its owner: GRANT CREATE ON DATABASE \"{database}\" TO \"{login}\""
    )]
    NotAllowed { login: String, database: String },
    #[error("control schema: it has version {found}, this program knows {known}; run the newer program")]
    Newer { found: i32, known: i32 },
    #[error(
        "control schema: the schema ringfence belongs to \"{owner}\", not to the control login \"{login}\"; give --control that login, or another database"
    )]
    Foreign { owner: String, login: String },
}

impl From<Error> for SchemaError {
    fn from(error: Error) -> Self {
        Self::Server(Explained(error))
    }
}

/// Brings the schema to this program's version. Two replicas at once are fine.
pub async fn apply(client: &mut Client) -> Result<(), SchemaError> {
    let row = client
        .query_typed_one(
            "SELECT current_user::text, current_database()::text, \
                (SELECT pg_catalog.pg_get_userbyid(nspowner)::text FROM pg_catalog.pg_namespace WHERE nspname = 'ringfence'), \
                pg_catalog.has_database_privilege(current_database(), 'CREATE'), \
                CASE WHEN pg_catalog.has_schema_privilege((SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'ringfence'), 'USAGE') \
                     THEN pg_catalog.to_regclass('ringfence.migrations') IS NOT NULL ELSE false END",
            &[],
        )
        .await?;
    let (login, database): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let owner: Option<String> = row.try_get(2)?;
    match owner {
        None if !row.try_get::<_, bool>(3)? => return Err(SchemaError::NotAllowed { login, database }),
        Some(owner) if owner != login => return Err(SchemaError::Foreign { owner, login }),
        _ => {}
    }
    // The common start: nothing to do, and no lock to wait for.
    if row.try_get::<_, bool>(4)? && version(client).await? == newest() {
        return Ok(());
    }
    let transaction = client.transaction().await?;
    transaction
        .batch_execute(&format!(
            "SET LOCAL search_path = ringfence, pg_catalog; SELECT pg_catalog.pg_advisory_xact_lock({LOCK})"
        ))
        .await?;
    transaction
        .batch_execute(
            "CREATE SCHEMA IF NOT EXISTS ringfence; \
             CREATE TABLE IF NOT EXISTS ringfence.migrations ( \
                version int PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
        )
        .await?;
    let found: i32 = transaction
        .query_typed_one("SELECT coalesce(max(version), 0) FROM ringfence.migrations", &[])
        .await?
        .try_get(0)?;
    if found > newest() {
        return Err(SchemaError::Newer { found, known: newest() });
    }
    for (version, name, sql) in MIGRATIONS.iter().filter(|m| m.0 > found) {
        transaction.batch_execute(sql).await.map_err(|e| SchemaError::Migration(name, Explained(e)))?;
        transaction
            .execute_typed(
                "INSERT INTO ringfence.migrations (version, name) VALUES ($1, $2)",
                &[(version, Type::INT4), (name, Type::TEXT)],
            )
            .await?;
        tracing::info!(version, name, "control schema migrated");
    }
    transaction.commit().await?;
    Ok(())
}

async fn version(client: &Client) -> Result<i32, SchemaError> {
    let row = client.query_typed_one("SELECT coalesce(max(version), 0) FROM ringfence.migrations", &[]).await?;
    let found = row.try_get(0)?;
    if found > newest() {
        return Err(SchemaError::Newer { found, known: newest() });
    }
    Ok(found)
}

fn newest() -> i32 {
    MIGRATIONS.iter().map(|m| m.0).max().unwrap_or(0)
}

/// What a login that clients use can do that it must not (soundness 22).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Overreach {
    Superuser,
    /// It can act as the control schema's owner, or is it.
    ControlOwner(String),
    /// It has privileges in the control schema.
    ControlPrivilege,
}

impl std::fmt::Display for Overreach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Superuser => f.write_str("is superuser"),
            Self::ControlOwner(owner) => write!(f, "can act as \"{owner}\", who owns the control schema"),
            Self::ControlPrivilege => f.write_str("has privileges in the control schema"),
        }
    }
}

/// Looks at one login from the control database. A login that does not exist there (another server) reaches nothing.
pub async fn overreach(control: &Client, login: &str) -> Result<Option<Overreach>, Error> {
    let found = control
        .query_typed_opt(
            "SELECT r.rolsuper, \
                pg_catalog.pg_has_role(r.oid, n.nspowner, 'MEMBER'), \
                pg_catalog.pg_get_userbyid(n.nspowner)::text, \
                pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE') OR pg_catalog.has_schema_privilege(r.oid, n.oid, 'CREATE') \
                OR EXISTS (SELECT 1 FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'v') \
                    AND pg_catalog.has_table_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER, REFERENCES')) \
             FROM pg_catalog.pg_roles r, pg_catalog.pg_namespace n \
             WHERE r.rolname = $1 AND n.nspname = 'ringfence'",
            &[(&login, Type::TEXT)],
        )
        .await?;
    let Some(row) = found else { return Ok(None) };
    Ok(if row.try_get(0)? {
        Some(Overreach::Superuser)
    } else if row.try_get(1)? {
        Some(Overreach::ControlOwner(row.try_get(2)?))
    } else if row.try_get(3)? {
        Some(Overreach::ControlPrivilege)
    } else {
        None
    })
}

/// Queries of the control database are small; one that takes longer than this means that the database is away.
pub const LIMIT: Duration = Duration::from_secs(5);
