//! What every database has, and what extensions bring: bundled lists, since no dump holds them.

use crate::catalog::{Column, Relation, RelationKind};

const TYPES: &str = include_str!("../system/types.txt");
const RELATIONS: &str = include_str!("../system/relations.txt");
const EXTENSIONS: &str = include_str!("../system/extensions.txt");

/// A type of the server's own.
pub(super) struct Type {
    pub(super) oid: u32,
    pub(super) name: &'static str,
    /// As `format_type` prints it.
    pub(super) printed: &'static str,
}

/// What statements can name of an extension.
pub(super) struct Extension {
    pub(super) functions: Vec<&'static str>,
    pub(super) types: Vec<&'static str>,
}

fn lines(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.lines().filter(|line| !line.starts_with('#'))
}

pub(super) fn types() -> impl Iterator<Item = Type> {
    lines(TYPES).filter_map(|line| {
        let mut parts = line.splitn(3, ' ');
        Some(Type { oid: parts.next()?.parse().ok()?, name: parts.next()?, printed: parts.next()? })
    })
}

pub(super) fn relations(printed: impl Fn(u32) -> Box<str>) -> Vec<Relation> {
    lines(RELATIONS).filter_map(|line| relation(line, &printed)).collect()
}

fn relation(line: &'static str, printed: &impl Fn(u32) -> Box<str>) -> Option<Relation> {
    let mut parts = line.split(' ');
    let kind = if parts.next()? == "v" { RelationKind::View } else { RelationKind::Table };
    let oid = parts.next()?.parse().ok()?;
    let (schema, name) = parts.next()?.split_once('.')?;
    let columns = parts.zip(1..).filter_map(|(column, attnum)| {
        let (name, type_oid) = column.rsplit_once(':')?;
        let type_oid = type_oid.parse().ok()?;
        Some(Column { attnum, name: name.into(), type_oid, typmod: -1, type_name: printed(type_oid), label: None })
    });
    Some(Relation {
        oid,
        schema: schema.into(),
        name: name.into(),
        kind,
        owner: 10,
        system: true,
        columns: columns.collect(),
        ..Relation::default()
    })
}

pub(super) fn extension(name: &str) -> Option<Extension> {
    let line = lines(EXTENSIONS).find(|line| line.split(' ').next() == Some(name))?;
    let mut parts = line.split(' ').skip(1);
    let mut list = || {
        let names = parts.next().unwrap_or("-");
        if names == "-" { Vec::new() } else { names.split(',').collect() }
    };
    Some(Extension { functions: list(), types: list() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn the_lists_are_read_whole() {
        assert_eq!(types().count(), lines(TYPES).count());
        let relations = relations(|oid| oid.to_string().into());
        assert_eq!(relations.len(), lines(RELATIONS).count());
        assert!(relations.iter().all(|r| !r.columns.is_empty() && r.oid < 16_384));
        let stats = relations.iter().find(|r| &*r.name == "pg_stats").unwrap();
        assert_eq!(stats.kind, RelationKind::View);
        assert!(stats.column("most_common_vals").is_some());
        // Everything that has a built-in label is there (but for an extension's view, and what later versions added).
        for known in crate::builtin::COLUMNS.iter().filter(|known| known.relation != "pg_stat_statements") {
            let relation = relations.iter().find(|r| &*r.name == known.relation);
            let later = ["range_length_histogram", "range_empty_frac", "range_bounds_histogram"];
            let relation = relation.unwrap_or_else(|| unreachable!("{}", known.relation));
            let new = known.relation == "pg_stats_ext_exprs" || later.contains(&known.column);
            assert!(relation.column(known.column).is_some() || new, "{}.{}", known.relation, known.column);
        }
        assert_eq!(extension("citext").unwrap().types, ["citext"]);
        assert!(extension("pgcrypto").unwrap().functions.contains(&"crypt"));
        assert!(extension("dblink").is_none());
    }
}
