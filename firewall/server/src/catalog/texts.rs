//! Catalog texts that would tell of labelled columns: hashed, so that a restricted client gets NULL in their place.

use std::collections::{BTreeSet, HashSet};

use ringfence_analysis::{Catalog, text_hash};
use ringfence_engine::literals;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};

use super::FIRST_USER_OID;
use super::dependencies::{named_relations, user_names};

/// Fills `sensitive_texts` of a catalog whose columns have their labels.
pub async fn add(client: &Client, catalog: &mut Catalog) -> Result<(), Error> {
    let relations = sensitive_relations(catalog);
    if relations.is_empty() {
        return Ok(());
    }
    let functions = sensitive_functions(catalog, &relations);
    let relations: Vec<u32> = relations.into_iter().collect();
    let version = catalog.server_version;
    let (tables, attnums): (Vec<u32>, Vec<i16>) = catalog
        .relations()
        .iter()
        .filter(|r| r.oid >= FIRST_USER_OID)
        .flat_map(|r| r.columns.iter().filter(|c| c.label.is_some()).map(|c| (r.oid, c.attnum)))
        .unzip();
    let parameters: [(&(dyn ToSql + Sync), Type); 3] =
        [(&relations, Type::OID_ARRAY), (&tables, Type::OID_ARRAY), (&attnums, Type::INT2_ARRAY)];
    let function_parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&functions, Type::OID_ARRAY)];
    let (of_relations, of_functions) = (relations_sql(version), functions_sql(version));
    // The server qualifies names by the session's search_path: as this login's sessions see them, and in full (as
    // pg_dump asks for them).
    let mut rows = Vec::new();
    for path in ["DEFAULT", "pg_catalog"] {
        client.batch_execute(&format!("BEGIN READ ONLY; SET LOCAL search_path TO {path}")).await?;
        let found = tokio::try_join!(
            client.query_typed(&of_relations, &parameters),
            client.query_typed(&of_functions, &function_parameters),
        );
        // Also where reading failed: the connection is kept.
        let ended = client.batch_execute("COMMIT").await;
        let (of_relations, of_functions) = found?;
        ended?;
        rows.extend(of_relations);
        rows.extend(of_functions);
    }
    let names: HashSet<Box<str>> = catalog
        .relations()
        .iter()
        .filter(|r| r.oid >= FIRST_USER_OID)
        .flat_map(|r| r.columns.iter().filter(|c| c.label.is_some()).map(|c| c.name.clone()))
        .collect();
    for row in &rows {
        let Some(text) = row.try_get::<_, Option<&str>>(0)? else { continue };
        if is_commonplace(text) {
            continue;
        }
        catalog.sensitive_texts.insert(text_hash(text.as_bytes()));
        // The same definition can be worded otherwise; its constants stay.
        if row.try_get::<_, bool>(1)? || mentions(text, &names) {
            catalog.sensitive_texts.extend(literals::hashes(text.as_bytes()));
        }
    }
    Ok(())
}

/// What stands in every other table too, and tells nothing of this one.
fn is_commonplace(text: &str) -> bool {
    matches!(text, "" | "now()" | "CURRENT_TIMESTAMP" | "true" | "false" | "0")
        || text.starts_with("''::")
        || text.starts_with("NULL::")
}

/// Whether one of the names stands in a text, as a word.
fn mentions(text: &str, names: &HashSet<Box<str>>) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).any(|word| names.contains(word))
        || text.split('"').skip(1).step_by(2).any(|word| names.contains(word))
}

/// Relations with labels, and views over them, however far.
fn sensitive_relations(catalog: &Catalog) -> BTreeSet<u32> {
    let mut found: BTreeSet<u32> =
        catalog.relations().iter().filter(|r| r.oid >= FIRST_USER_OID && r.has_labels()).map(|r| r.oid).collect();
    loop {
        let before = found.len();
        for relation in catalog.relations().iter().filter(|r| r.oid >= FIRST_USER_OID) {
            if relation.reads.iter().chain(&relation.parents).any(|oid| found.contains(oid)) {
                found.insert(relation.oid);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// Functions whose body names one of the relations.
fn sensitive_functions(catalog: &Catalog, relations: &BTreeSet<u32>) -> Vec<u32> {
    let names = user_names(catalog.relations());
    catalog
        .all_functions()
        .filter(|f| {
            let body = f.body.as_deref().unwrap_or_default();
            named_relations(body, &names).iter().any(|oid| relations.contains(oid))
        })
        .map(|f| f.oid)
        .collect()
}

/// What the server prints about relations ($1) and could hold a value: an expression, a predicate, a bound. $2 and $3
/// are the labelled columns. Texts that only name columns (`PRIMARY KEY (id)`) are everybody's, and stay readable.
fn relations_sql(version: u32) -> String {
    let mut parts = vec![
        // What old rows show in a labelled column that was added later.
        (
            true,
            "SELECT a.attmissingval::text FROM pg_attribute a JOIN l ON l.r = a.attrelid AND l.a = a.attnum WHERE a.atthasmissing",
        ),
        // Defaults of labelled columns, and generation expressions.
        (
            true,
            "SELECT unnest(ARRAY[pg_get_expr(d.adbin, d.adrelid), pg_get_expr(d.adbin, d.adrelid, true), d.adbin::text]) \
            FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum \
            WHERE d.adrelid = ANY ($1) AND (a.attgenerated <> '' OR EXISTS (SELECT 1 FROM l WHERE l.r = d.adrelid AND l.a = d.adnum))",
        ),
        // Checks and exclusions. information_schema cuts off the word CHECK.
        (
            false,
            "SELECT unnest(ARRAY[pg_get_constraintdef(oid), pg_get_constraintdef(oid, true), substring(pg_get_constraintdef(oid) from 7), \
            pg_get_expr(conbin, conrelid), pg_get_expr(conbin, conrelid, true), conbin::text]) \
            FROM pg_constraint WHERE conrelid = ANY ($1) AND contype IN ('c', 'x')",
        ),
        // Indexes over expressions or with a predicate: whole, by column, and their parts.
        (
            false,
            "SELECT unnest(ARRAY[pg_get_indexdef(indexrelid), pg_get_indexdef(indexrelid, 0, true), pg_get_indexdef(indexrelid, 0, false), \
            pg_get_expr(indexprs, indrelid), pg_get_expr(indexprs, indrelid, true), indexprs::text, \
            pg_get_expr(indpred, indrelid), pg_get_expr(indpred, indrelid, true), indpred::text]) \
            FROM pg_index WHERE indrelid = ANY ($1) AND (indexprs IS NOT NULL OR indpred IS NOT NULL)",
        ),
        (
            false,
            "SELECT unnest(ARRAY[pg_get_indexdef(indexrelid, k, true), pg_get_indexdef(indexrelid, k, false)]) \
            FROM pg_index, generate_series(1, indnatts) k \
            WHERE indrelid = ANY ($1) AND indexprs IS NOT NULL AND indkey[k - 1] = 0",
        ),
        // Views and rules, their own and those that name them.
        (
            false,
            "SELECT unnest(ARRAY[pg_get_viewdef(oid), pg_get_viewdef(oid, true), pg_get_viewdef(oid, false)]) \
            FROM pg_class WHERE oid = ANY ($1) AND relkind IN ('v', 'm')",
        ),
        (
            false,
            "SELECT unnest(ARRAY[pg_get_ruledef(r.oid), pg_get_ruledef(r.oid, true), r.ev_action::text]) \
            FROM pg_rewrite r WHERE r.ev_class >= 16384 AND (r.ev_class = ANY ($1) OR EXISTS (SELECT 1 FROM pg_depend d \
                WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY ($1)))",
        ),
        // Triggers; information_schema shows the condition apart.
        (
            false,
            "SELECT unnest(ARRAY[pg_get_triggerdef(oid), pg_get_triggerdef(oid, true), tgqual::text, \
            (regexp_match(pg_get_triggerdef(oid), '.{35,} WHEN \\((.+)\\) EXECUTE FUNCTION'))[1]]) \
            FROM pg_trigger WHERE tgrelid = ANY ($1) AND NOT tgisinternal AND tgqual IS NOT NULL",
        ),
        // Bounds of partitions by a labelled column or an expression are values.
        (
            true,
            "SELECT unnest(ARRAY[pg_get_partition_constraintdef(c.oid), pg_get_expr(c.relpartbound, c.oid), \
            pg_get_expr(c.relpartbound, c.oid, true), c.relpartbound::text]) \
            FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid JOIN pg_partitioned_table p ON p.partrelid = i.inhparent \
            WHERE c.oid = ANY ($1) AND (p.partexprs IS NOT NULL OR EXISTS (SELECT 1 FROM l WHERE l.r = p.partrelid AND l.a = ANY (p.partattrs::int2[])))",
        ),
        (
            false,
            "SELECT unnest(ARRAY[pg_get_partkeydef(partrelid), pg_get_expr(partexprs, partrelid), pg_get_expr(partexprs, partrelid, true), partexprs::text]) \
            FROM pg_partitioned_table WHERE partrelid = ANY ($1) AND partexprs IS NOT NULL",
        ),
        // Row security.
        (
            false,
            "SELECT unnest(ARRAY[pg_get_expr(polqual, polrelid), pg_get_expr(polqual, polrelid, true), polqual::text, \
            pg_get_expr(polwithcheck, polrelid), pg_get_expr(polwithcheck, polrelid, true), polwithcheck::text]) \
            FROM pg_policy WHERE polrelid = ANY ($1)",
        ),
    ];
    if version >= 150_000 {
        parts.push((
            false,
            "SELECT unnest(ARRAY[pg_get_expr(prqual, prrelid), pg_get_expr(prqual, prrelid, true), prqual::text]) \
                FROM pg_publication_rel WHERE prrelid = ANY ($1) AND prqual IS NOT NULL",
        ));
    }
    if version >= 140_000 {
        parts.push(
            (false, "SELECT unnest(ARRAY[pg_get_statisticsobjdef(oid), pg_get_statisticsobjdef_columns(oid), stxexprs::text] || coalesce(pg_get_statisticsobjdef_expressions(oid), '{}')) \
                FROM pg_statistic_ext WHERE stxrelid = ANY ($1) AND stxexprs IS NOT NULL"),
        );
    }
    format!("WITH l (r, a) AS (SELECT * FROM unnest($2::oid[], $3::int2[])) {}", union(&parts))
}

/// Every text that the server prints about functions ($1).
fn functions_sql(version: u32) -> String {
    let mut parts = vec![
        (false, "SELECT prosrc FROM pg_proc WHERE oid = ANY ($1)"),
        (
            true,
            "SELECT unnest(ARRAY[pg_get_function_arguments(oid), pg_get_expr(proargdefaults, 0), proargdefaults::text]) \
            FROM pg_proc WHERE oid = ANY ($1) AND pronargdefaults > 0",
        ),
        (false, "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE oid = ANY ($1) AND prokind <> 'a'"),
        (
            true,
            "SELECT pg_get_function_arg_default(oid, k) FROM pg_proc, generate_series(1, pronargs) k WHERE oid = ANY ($1) AND pronargdefaults > 0",
        ),
    ];
    if version >= 140_000 {
        parts.push((
            false,
            "SELECT unnest(ARRAY[pg_get_function_sqlbody(oid), prosqlbody::text]) FROM pg_proc WHERE oid = ANY ($1)",
        ));
    }
    union(&parts)
}

/// (text, whether its constants are values of a labelled column although it does not name one)
fn union(parts: &[(bool, &str)]) -> String {
    let parts: Vec<String> =
        parts.iter().map(|(values, sql)| format!("SELECT t, {values} FROM ({sql}) x (t)")).collect();
    parts.join(" UNION ALL ")
}
