//! Loads one database's catalog: a handful of queries, sent together, answered from one snapshot.

mod dependencies;
mod marks;
mod names;
mod sql;
pub mod texts;

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use ringfence_analysis::Catalog;
use ringfence_analysis::catalog::{Column, Function, FunctionKind, Relation, RelationKind, Volatility};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Row};

pub use marks::{Marks, marks};

/// First OID of objects that are not the server's own.
pub const FIRST_USER_OID: u32 = 16384;

/// What the loader must know beside the database.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Every login under which clients reach this server.
    pub upstream_logins: Vec<String>,
    /// `trusted_extensions:` of the policy.
    pub trusted_extensions: HashSet<String>,
}

/// A catalog before labels, and the marks by which a later change shows.
#[derive(Debug)]
pub struct Loaded {
    pub catalog: Catalog,
    pub marks: Marks,
    /// Upstream logins that are superuser.
    pub superusers: Vec<String>,
}

/// One foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    pub from: u32,
    pub from_columns: Vec<i16>,
    pub to: u32,
    pub to_columns: Vec<i16>,
}

/// Reads everything. The client must not be in a transaction.
pub async fn load(client: &Client, context: &Context) -> Result<Loaded, Error> {
    let began = Instant::now();
    client.batch_execute(sql::BEGIN).await?;
    let loaded = read(client, context).await;
    // Also where reading failed: the connection is kept.
    let ended = client.batch_execute("COMMIT").await;
    let loaded = loaded?;
    ended?;
    tracing::debug!(
        database = &*loaded.catalog.database,
        relations = loaded.catalog.relations().len(),
        elapsed = ?began.elapsed(),
        "catalog read"
    );
    Ok(loaded)
}

async fn read(client: &Client, context: &Context) -> Result<Loaded, Error> {
    let head = client.query_typed_one(sql::HEAD, &[]).await?;
    let version: i32 = head.try_get(1)?;
    let functions_sql = sql::functions(version);
    let logins = &context.upstream_logins;
    let trusted: Vec<&str> = context.trusted_extensions.iter().map(String::as_str).collect();
    let login_parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 1] = [(logins, Type::TEXT_ARRAY)];
    let trusted_parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 1] = [(&trusted, Type::TEXT_ARRAY)];
    // All are sent before the first is answered.
    let (
        marks,
        relations,
        columns,
        types,
        wire_types,
        inherits,
        constrained,
        generated,
        default_calls,
        asks,
        rules,
        rule_depends,
        views,
        functions,
        triggers,
        keys,
        foreign,
        domains,
        roles,
    ) = tokio::try_join!(
        marks(client),
        client.query_typed(sql::RELATIONS, &[]),
        client.query_typed(sql::COLUMNS, &[]),
        client.query_typed(sql::TYPES, &[]),
        client.query_typed(sql::WIRE_TYPES, &[]),
        client.query_typed(sql::INHERITS, &[]),
        client.query_typed(sql::CONSTRAINED, &[]),
        client.query_typed(sql::GENERATED, &[]),
        client.query_typed(sql::DEFAULT_CALLS, &[]),
        client.query_typed(sql::ASKS, &[]),
        client.query_typed(sql::RULES, &[]),
        client.query_typed(sql::RULE_DEPENDS, &[]),
        client.query_typed(sql::VIEWS, &[]),
        client.query_typed(&functions_sql, &[]),
        client.query_typed(sql::TRIGGERS, &[]),
        client.query_typed(sql::FOREIGN_KEYS, &[]),
        client.query_typed(sql::FOREIGN_NAMES, &trusted_parameters),
        client.query_typed(sql::DOMAINS, &[]),
        client.query_typed(sql::ROLES, &login_parameters),
    )?;

    let mut relations = read_relations(&relations)?;
    add_columns(&mut relations, &columns, &type_names(&types)?)?;
    add_constrained(&mut relations, &constrained)?;
    add_generated(&mut relations, &generated)?;
    add_default_calls(&mut relations, &default_calls)?;
    add_asks(&mut relations, &asks)?;
    add_definitions(&mut relations, &views)?;
    let functions = read_functions(&functions)?;
    let foreign_keys = read_foreign_keys(&keys)?;
    dependencies::add(
        &mut relations,
        &dependencies::Sources {
            inherits: pairs(&inherits)?,
            rules: dependencies::read_rules(&rules)?,
            rule_depends: dependencies::read_rule_depends(&rule_depends)?,
            triggers: pairs(&triggers)?,
            foreign_keys: &foreign_keys,
            functions: &functions,
        },
    );

    let mut catalog = Catalog::new(relations, functions);
    catalog.database_oid = head.try_get(0)?;
    catalog.server_version = u32::try_from(version).unwrap_or(0);
    catalog.database = head.try_get::<_, &str>(2)?.into();
    catalog.trusted_extensions = context.trusted_extensions.iter().map(|name| name.as_str().into()).collect();
    let rows: HashSet<u32> = catalog.relations().iter().filter(|r| !r.system).map(|r| r.row_type).collect();
    let types = read_wire_types(&wire_types, &rows)?;
    catalog.wire_types.extend(types.looks_like);
    catalog.row_types.extend(types.holds_rows_of);
    names::add(&mut catalog, &foreign, &domains)?;
    let mut superusers = Vec::new();
    for row in &roles {
        catalog.client_roles.insert(row.try_get(0)?);
        if row.try_get::<_, bool>(2)? {
            superusers.push(row.try_get(1)?);
        }
    }
    Ok(Loaded { catalog, marks, superusers })
}

fn read_relations(rows: &[Row]) -> Result<Vec<Relation>, Error> {
    let mut relations = Vec::with_capacity(rows.len());
    for row in rows {
        let schema: &str = row.try_get(1)?;
        let kind = match letter(row, 3)? {
            b'r' => RelationKind::Table,
            b'p' => RelationKind::PartitionedTable,
            b'v' => RelationKind::View,
            b'm' => RelationKind::MaterializedView,
            b'f' => RelationKind::ForeignTable,
            b'S' => RelationKind::Sequence,
            b't' => RelationKind::Toast,
            b'c' => RelationKind::CompositeType,
            _ => RelationKind::Index,
        };
        relations.push(Relation {
            oid: row.try_get(0)?,
            schema: schema.into(),
            name: row.try_get::<_, &str>(2)?.into(),
            kind,
            owner: row.try_get(4)?,
            temporary: schema.starts_with("pg_temp_") || schema.starts_with("pg_toast_temp_"),
            system: matches!(schema, "pg_catalog" | "information_schema" | "pg_toast"),
            row_type: row.try_get(5)?,
            row_security: row.try_get(6)?,
            ..Relation::default()
        });
    }
    Ok(relations)
}

fn type_names(rows: &[Row]) -> Result<HashMap<u32, Box<str>>, Error> {
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get::<_, &str>(1)?.into()))).collect()
}

#[derive(Default)]
struct UserTypes {
    /// Types that travel as one of the server's own: domains all the way down, citext, arrays of both.
    looks_like: HashMap<u32, u32>,
    /// Arrays of, and domains over, rows of a relation.
    holds_rows_of: HashMap<u32, u32>,
}

/// Types that users made. `row_types`: those of relations.
fn read_wire_types(rows: &[Row], row_types: &HashSet<u32>) -> Result<UserTypes, Error> {
    // (oid, base type of a domain, element of an array, array of this type, text-like)
    let mut types: HashMap<u32, (u32, u32, u32, bool)> = HashMap::with_capacity(rows.len());
    for row in rows {
        types.insert(row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?));
    }
    const TEXT: u32 = 25;
    let scalar = |mut oid: u32| {
        // Domains of domains end; the bound is for a catalog in disorder.
        for _ in 0..32 {
            match types.get(&oid) {
                Some(&(base, ..)) if base != 0 => oid = base,
                Some(&(.., true)) => return TEXT,
                _ => return oid,
            }
        }
        oid
    };
    let mut found = UserTypes::default();
    for (&oid, &(_, element, ..)) in types.iter().filter(|(oid, _)| **oid >= FIRST_USER_OID) {
        let mut like = scalar(oid);
        if like == oid && element != 0 {
            let of = scalar(element);
            like = types.get(&of).map_or(oid, |&(_, _, array, _)| if array == 0 { oid } else { array });
        }
        if like != oid && like < FIRST_USER_OID {
            found.looks_like.insert(oid, like);
        }
        if let Some(row) = rows_in(oid, &types, row_types) {
            found.holds_rows_of.insert(oid, row);
        }
    }
    Ok(found)
}

/// The row type under arrays and domains.
fn rows_in(mut oid: u32, types: &HashMap<u32, (u32, u32, u32, bool)>, row_types: &HashSet<u32>) -> Option<u32> {
    for _ in 0..32 {
        if oid == 0 {
            return None;
        }
        if row_types.contains(&oid) {
            return Some(oid);
        }
        let &(base, element, ..) = types.get(&oid)?;
        oid = if base == 0 { element } else { base };
    }
    None
}

fn add_constrained(relations: &mut [Relation], rows: &[Row]) -> Result<(), Error> {
    let at: HashMap<u32, usize> = relations.iter().enumerate().map(|(i, r)| (r.oid, i)).collect();
    for row in rows {
        if let Some(relation) = at.get(&row.try_get(0)?).and_then(|&i| relations.get_mut(i)) {
            relation.constrained.push(row.try_get(1)?);
        }
    }
    Ok(())
}

fn add_generated(relations: &mut [Relation], rows: &[Row]) -> Result<(), Error> {
    for row in rows {
        let oid: u32 = row.try_get(0)?;
        if let Some(relation) = relations.iter_mut().find(|r| r.oid == oid) {
            relation.generated.push((row.try_get(1)?, row.try_get(2)?));
        }
    }
    Ok(())
}

fn add_default_calls(relations: &mut [Relation], rows: &[Row]) -> Result<(), Error> {
    for row in rows {
        let oid: u32 = row.try_get(0)?;
        if let Some(relation) = relations.iter_mut().find(|r| r.oid == oid) {
            relation.default_calls.push((row.try_get(1)?, row.try_get(2)?));
        }
    }
    Ok(())
}

fn add_asks(relations: &mut [Relation], rows: &[Row]) -> Result<(), Error> {
    for row in rows {
        let oid: u32 = row.try_get(0)?;
        if let Some(relation) = relations.iter_mut().find(|r| r.oid == oid) {
            relation.asks.push(row.try_get(1)?);
        }
    }
    Ok(())
}

fn add_columns(relations: &mut [Relation], rows: &[Row], types: &HashMap<u32, Box<str>>) -> Result<(), Error> {
    let at: HashMap<u32, usize> = relations.iter().enumerate().map(|(i, r)| (r.oid, i)).collect();
    for row in rows {
        let Some(relation) = at.get(&row.try_get(0)?).and_then(|&i| relations.get_mut(i)) else {
            continue;
        };
        let type_oid: u32 = row.try_get(3)?;
        relation.columns.push(Column {
            attnum: row.try_get(1)?,
            name: row.try_get::<_, &str>(2)?.into(),
            type_oid,
            typmod: row.try_get(4)?,
            type_name: types.get(&type_oid).cloned().unwrap_or_else(|| "-".into()),
            label: None,
        });
    }
    Ok(())
}

fn add_definitions(relations: &mut [Relation], rows: &[Row]) -> Result<(), Error> {
    let at: HashMap<u32, usize> = relations.iter().enumerate().map(|(i, r)| (r.oid, i)).collect();
    for row in rows {
        if let Some(relation) = at.get(&row.try_get(0)?).and_then(|&i| relations.get_mut(i)) {
            // NULL if it was dropped meanwhile.
            relation.definition = row.try_get::<_, Option<&str>>(1)?.map(Into::into);
        }
    }
    Ok(())
}

fn read_functions(rows: &[Row]) -> Result<Vec<Function>, Error> {
    rows.iter().map(read_function).collect()
}

fn read_function(row: &Row) -> Result<Function, Error> {
    let boxed = |texts: Option<Vec<&str>>| texts.unwrap_or_default().into_iter().map(Box::from).collect();
    Ok(Function {
        oid: row.try_get(0)?,
        schema: row.try_get::<_, &str>(1)?.into(),
        name: row.try_get::<_, &str>(2)?.into(),
        kind: match letter(row, 7)? {
            b'p' => FunctionKind::Procedure,
            b'a' => FunctionKind::Aggregate,
            b'w' => FunctionKind::Window,
            _ => FunctionKind::Function,
        },
        owner: row.try_get(3)?,
        language: row.try_get::<_, &str>(4)?.into(),
        body: row.try_get::<_, Option<&str>>(5)?.map(Into::into),
        extension: row.try_get::<_, Option<&str>>(6)?.map(Into::into),
        arguments: row.try_get::<_, Vec<u32>>(8)?.into(),
        returns: row.try_get(9)?,
        returns_set: row.try_get(10)?,
        volatility: match letter(row, 11)? {
            b'i' => Volatility::Immutable,
            b's' => Volatility::Stable,
            _ => Volatility::Volatile,
        },
        security_definer: row.try_get(12)?,
        defaults: row.try_get::<_, Option<&str>>(13)?.map(Into::into),
        settings: boxed(row.try_get(14)?),
        parts: row.try_get::<_, Option<Vec<u32>>>(15)?.unwrap_or_default().into(),
        server_parts: boxed(row.try_get(16)?),
    })
}

/// A value of type "char".
fn letter(row: &Row, at: usize) -> Result<u8, Error> {
    Ok(u8::try_from(row.try_get::<_, i8>(at)?).unwrap_or(0))
}

fn read_foreign_keys(rows: &[Row]) -> Result<Vec<ForeignKey>, Error> {
    rows.iter()
        .map(|row| {
            Ok(ForeignKey {
                from: row.try_get(0)?,
                to: row.try_get(1)?,
                from_columns: row.try_get(2)?,
                to_columns: row.try_get(3)?,
            })
        })
        .collect()
}

fn pairs(rows: &[Row]) -> Result<Vec<(u32, u32)>, Error> {
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}
