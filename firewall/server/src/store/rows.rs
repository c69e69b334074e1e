//! Rows of `ringfence.tokens`, and the marks by which a change is noticed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ringfence_cipher::ControlMac;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::schema::LIMIT;
use super::token::{Row, Status, Token};
use crate::pg::{QueryError, within};

/// All tokens as last read.
#[derive(Debug, Default)]
pub struct Snapshot {
    by_kid: HashMap<Arc<str>, Token>,
    /// Ids, oldest token first.
    by_client: HashMap<Arc<str>, Vec<Arc<str>>>,
}

impl Snapshot {
    pub fn get(&self, kid: &str) -> Option<&Token> {
        self.by_kid.get(kid)
    }

    /// One client's tokens, oldest first.
    pub fn of_client(&self, name: &str) -> impl Iterator<Item = &Token> {
        self.by_client.get(name).into_iter().flatten().filter_map(|kid| self.by_kid.get(kid))
    }

    /// All tokens, by client and age.
    pub fn all(&self) -> Vec<&Token> {
        let mut clients: Vec<_> = self.by_client.keys().collect();
        clients.sort_unstable();
        clients.into_iter().flat_map(|name| self.of_client(name)).collect()
    }

    pub fn live(&self, now: SystemTime) -> impl Iterator<Item = &Token> {
        self.by_kid.values().filter(move |t| t.status(now) == Status::Live)
    }

    /// Unrevoked tokens whose time ran out less than `ago` before now.
    pub fn expired_within(&self, now: SystemTime, ago: Duration) -> impl Iterator<Item = &Token> {
        self.by_kid.values().filter(move |t| {
            t.status(now) == Status::Expired && now.duration_since(t.expires_at).is_ok_and(|since| since < ago)
        })
    }

    fn new(mut tokens: Vec<Token>) -> Self {
        tokens.sort_by(|a, b| (a.created_at, &a.verifier.kid).cmp(&(b.created_at, &b.verifier.kid)));
        let mut snapshot = Self::default();
        for token in tokens {
            let (kid, client) = (token.verifier.kid.clone(), token.verifier.client.clone());
            snapshot.by_client.entry(client).or_default().push(kid.clone());
            snapshot.by_kid.insert(kid, token);
        }
        snapshot
    }
}

/// What changes when a table does: count and sum of the rows' transaction ids.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) tokens: String,
    pub(super) catalogs: HashMap<String, i64>,
}

pub(super) async fn marks(client: &Client) -> Result<Marks, QueryError> {
    let sql = "SELECT NULL::text, 0::int8, count(*)::text || ':' || coalesce(sum(xmin::text::int8), 0)::text FROM ringfence.tokens \
               UNION ALL SELECT database, version, NULL FROM ringfence.catalog_versions";
    let mut marks = Marks::default();
    for row in within(LIMIT, client.query_typed(sql, &[])).await? {
        let read = || -> Result<_, Error> { Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)) };
        let (database, version, tokens): (Option<String>, i64, Option<String>) =
            read().map_err(crate::pg::Explained)?;
        match database {
            Some(database) => {
                marks.catalogs.insert(database, version);
            }
            None => marks.tokens = tokens.unwrap_or_default(),
        }
    }
    Ok(marks)
}

/// The tokens, and how many rows had a wrong MAC.
pub(super) async fn read(client: &Client, mac: &ControlMac) -> Result<(Snapshot, u64), QueryError> {
    let sql =
        "SELECT kid, client, scram_verifier, created_at, expires_at, revoked_at, created_by, mac FROM ringfence.tokens";
    let (mut tokens, mut bad) = (Vec::new(), 0);
    for row in within(LIMIT, client.query_typed(sql, &[])).await? {
        let (row, tag) = parse(&row).map_err(crate::pg::Explained)?;
        match row.verify(mac, &tag) {
            Some(token) => tokens.push(token),
            None => bad += 1,
        }
    }
    Ok((Snapshot::new(tokens), bad))
}

fn parse(row: &tokio_postgres::Row) -> Result<(Row, Vec<u8>), Error> {
    let parsed = Row {
        kid: row.try_get(0)?,
        client: row.try_get(1)?,
        scram_verifier: row.try_get(2)?,
        created_at: row.try_get(3)?,
        expires_at: row.try_get(4)?,
        revoked_at: row.try_get(5)?,
        created_by: row.try_get(6)?,
    };
    Ok((parsed, row.try_get(7)?))
}

pub(super) async fn insert(client: &Client, row: &Row, tag: &[u8; 32]) -> Result<(), QueryError> {
    let sql = "INSERT INTO ringfence.tokens (kid, client, scram_verifier, created_at, expires_at, created_by, mac) \
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let tag = tag.as_slice();
    within(
        LIMIT,
        client.execute_typed(
            sql,
            &[
                (&row.kid, Type::TEXT),
                (&row.client, Type::TEXT),
                (&row.scram_verifier, Type::TEXT),
                (&row.created_at, Type::TIMESTAMPTZ),
                (&row.expires_at, Type::TIMESTAMPTZ),
                (&row.created_by, Type::TEXT),
                (&tag, Type::BYTEA),
            ],
        ),
    )
    .await?;
    Ok(())
}

/// Marks one token revoked; false if there is none, or it already was.
pub(super) async fn revoke(client: &Client, mac: &ControlMac, kid: &str, now: SystemTime) -> Result<bool, QueryError> {
    let sql = "SELECT kid, client, scram_verifier, created_at, expires_at, revoked_at, created_by, mac \
               FROM ringfence.tokens WHERE kid = $1";
    let Some(found) = within(LIMIT, client.query_typed_opt(sql, &[(&kid, Type::TEXT)])).await? else {
        return Ok(false);
    };
    let (mut row, _) = parse(&found).map_err(crate::pg::Explained)?;
    if row.revoked_at.is_some() {
        return Ok(false);
    }
    row.revoked_at = Some(now);
    let tag = row.mac(mac);
    let tag = tag.as_slice();
    let sql = "UPDATE ringfence.tokens SET revoked_at = $2, mac = $3 WHERE kid = $1 AND revoked_at IS NULL";
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
        [(&kid, Type::TEXT), (&now, Type::TIMESTAMPTZ), (&tag, Type::BYTEA)];
    Ok(within(LIMIT, client.execute_typed(sql, &parameters)).await? == 1)
}
