//! The record of labels: which columns, by OID and attribute number, were ever found to have which label.

use ringfence_cipher::ControlMac;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::schema::LIMIT;
use crate::pg::{Explained, QueryError, within};

/// One recorded label. Names are those of the time, for people.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Recorded {
    pub table_oid: u32,
    pub attnum: i16,
    pub label: String,
    pub table_name: String,
    pub column_name: String,
}

impl Recorded {
    fn over<T>(&self, database_oid: u32, with: impl FnOnce(&[&[u8]]) -> T) -> T {
        with(&[
            &database_oid.to_be_bytes(),
            &self.table_oid.to_be_bytes(),
            &self.attnum.to_be_bytes(),
            self.label.as_bytes(),
        ])
    }
}

/// A database's record, and how many rows had a wrong MAC. Those count all the same: here the safe side is to protect.
pub(super) async fn read(
    client: &Client,
    mac: &ControlMac,
    database_oid: u32,
) -> Result<(Vec<Recorded>, u64), QueryError> {
    let sql = "SELECT table_oid, attnum, label, table_name, column_name, mac FROM ringfence.column_labels WHERE database_oid = $1";
    let (mut found, mut bad) = (Vec::new(), 0);
    for row in within(LIMIT, client.query_typed(sql, &[(&database_oid, Type::OID)])).await? {
        let (recorded, tag) = parse(&row).map_err(Explained)?;
        if !recorded.over(database_oid, |fields| mac.verify("column_labels", fields, &tag)) {
            bad += 1;
        }
        found.push(recorded);
    }
    Ok((found, bad))
}

fn parse(row: &tokio_postgres::Row) -> Result<(Recorded, Vec<u8>), Error> {
    let recorded = Recorded {
        table_oid: row.try_get(0)?,
        attnum: row.try_get(1)?,
        label: row.try_get(2)?,
        table_name: row.try_get(3)?,
        column_name: row.try_get(4)?,
    };
    Ok((recorded, row.try_get(5)?))
}

pub(super) async fn write(
    client: &Client,
    mac: &ControlMac,
    database_oid: u32,
    database: &str,
    new: &[Recorded],
) -> Result<(), QueryError> {
    let tables: Vec<u32> = new.iter().map(|r| r.table_oid).collect();
    let attnums: Vec<i16> = new.iter().map(|r| r.attnum).collect();
    let labels: Vec<&str> = new.iter().map(|r| r.label.as_str()).collect();
    let table_names: Vec<&str> = new.iter().map(|r| r.table_name.as_str()).collect();
    let column_names: Vec<&str> = new.iter().map(|r| r.column_name.as_str()).collect();
    let tags: Vec<Vec<u8>> =
        new.iter().map(|r| r.over(database_oid, |fields| mac.tag("column_labels", fields)).to_vec()).collect();
    let sql = "INSERT INTO ringfence.column_labels (database_oid, database, table_oid, attnum, label, table_name, column_name, mac) \
               SELECT $1, $2, t.table_oid, t.attnum, t.label, t.table_name, t.column_name, t.mac \
               FROM unnest($3::oid[], $4::int2[], $5::text[], $6::text[], $7::text[], $8::bytea[]) \
                    AS t (table_oid, attnum, label, table_name, column_name, mac) \
               ON CONFLICT DO NOTHING";
    within(
        LIMIT,
        client.execute_typed(
            sql,
            &[
                (&database_oid, Type::OID),
                (&database, Type::TEXT),
                (&tables, Type::OID_ARRAY),
                (&attnums, Type::INT2_ARRAY),
                (&labels, Type::TEXT_ARRAY),
                (&table_names, Type::TEXT_ARRAY),
                (&column_names, Type::TEXT_ARRAY),
                (&tags, Type::BYTEA_ARRAY),
            ],
        ),
    )
    .await?;
    Ok(())
}

/// Forgets a column's labels: by the name it had when recorded.
pub(super) async fn release(client: &Client, database_oid: u32, column: &str) -> Result<u64, QueryError> {
    let sql = "DELETE FROM ringfence.column_labels WHERE database_oid = $1 AND table_name || '.' || column_name = $2";
    within(LIMIT, client.execute_typed(sql, &[(&database_oid, Type::OID), (&column, Type::TEXT)])).await
}
