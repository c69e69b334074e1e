//! Noticing a change cheaply: counts and sums of transaction ids over the catalogs that matter.

use tokio_postgres::{Client, Error};

/// Equal marks, equal catalog. (`xmin` changes with every new row version, the count with every deletion.)
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marks {
    /// Everything but temporary relations: sessions make and drop those all day.
    pub lasting: String,
    pub temporary: String,
}

/// Rows of the server's own objects are skipped: reading them each second would cost more than everything else.
const SQL: &str = "WITH m (temporary, kind, n, s) AS ( \
    SELECT relpersistence = 't', 1, count(*), sum(xmin::text::int8 + oid::int8) FROM pg_catalog.pg_class WHERE oid >= 16384 GROUP BY 1 \
    UNION ALL SELECT c.relpersistence = 't', 2, count(*), sum(a.xmin::text::int8 * (a.attnum + 10)) \
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid WHERE a.attrelid >= 16384 AND c.oid >= 16384 AND c.relkind NOT IN ('i', 'I', 't') GROUP BY 1 \
    UNION ALL SELECT false, 3, count(*), sum(xmin::text::int8 + oid::int8) FROM pg_catalog.pg_proc WHERE oid >= 16384 \
    UNION ALL SELECT false, 4, count(*), sum(xmin::text::int8 + oid::int8) FROM pg_catalog.pg_trigger WHERE oid >= 16384 \
    UNION ALL SELECT false, 5, count(*), sum(xmin::text::int8 + oid::int8) FROM pg_catalog.pg_rewrite WHERE oid >= 16384 \
    UNION ALL SELECT false, 6, count(*), sum(xmin::text::int8 + oid::int8) FROM pg_catalog.pg_constraint WHERE oid >= 16384 \
    UNION ALL SELECT false, 7, count(*), sum(xmin::text::int8 + inhparent::int8) FROM pg_catalog.pg_inherits \
    UNION ALL SELECT false, 8, count(*), sum(xmin::text::int8 + oid::int8) FROM pg_catalog.pg_type WHERE oid >= 16384 AND typrelid = 0 AND typelem = 0 \
    UNION ALL SELECT false, 9, count(*), sum(xmin::text::int8 + oid::int8) FROM pg_catalog.pg_operator WHERE oid >= 16384 \
    UNION ALL SELECT false, 10, count(*), sum(xmin::text::int8 + oid::int8) FROM pg_catalog.pg_cast WHERE oid >= 16384 \
    UNION ALL SELECT false, 11, count(*), sum(xmin::text::int8 + oid::int8) FROM pg_catalog.pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_(toast_)?temp_' \
    UNION ALL SELECT false, 12, count(*), sum(xmin::text::int8 + oid::int8) FROM pg_catalog.pg_extension \
    UNION ALL SELECT false, 13, count(*), sum(xmin::text::int8 + member::int8 + roleid::int8) FROM pg_catalog.pg_auth_members \
    UNION ALL SELECT false, 14, count(*), sum(xmin::text::int8 + oid::int8) FROM pg_catalog.pg_attrdef \
    UNION ALL SELECT false, 15, count(*), sum(xmin::text::int8 + oid::int8) FROM pg_catalog.pg_policy \
    UNION ALL SELECT false, 16, count(*), sum(xmin::text::int8 + oid::int8) FROM pg_catalog.pg_statistic_ext \
    UNION ALL SELECT false, 17, count(*), sum(xmin::text::int8) FROM pg_catalog.pg_database WHERE datname = current_database()) \
    SELECT coalesce(string_agg(kind || ':' || n || ':' || coalesce(s, 0), ' ' ORDER BY kind) FILTER (WHERE NOT temporary), ''), \
           coalesce(string_agg(kind || ':' || n || ':' || coalesce(s, 0), ' ' ORDER BY kind) FILTER (WHERE temporary), '') FROM m";

/// Looks once.
pub async fn marks(client: &Client) -> Result<Marks, Error> {
    let row = client.query_typed_one(SQL, &[]).await?;
    Ok(Marks { lasting: row.try_get(0)?, temporary: row.try_get(1)? })
}
