//! The columns of a view: their names, and their types where a name says them.

use super::build::Builder;
use crate::arbiter::dump::{From, Query, Target};

/// A column as far as it is known; type 0 is none.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) name: Box<str>,
    pub(super) type_oid: u32,
    pub(super) typmod: i32,
}

type With = Vec<(Box<str>, Vec<Known>)>;

/// Subqueries within subqueries are followed this far.
const DEEPEST: usize = 32;

impl Builder {
    pub(super) fn columns_of(&self, query: &Query) -> Vec<Known> {
        self.query_columns(query, &With::new(), DEEPEST)
    }

    fn query_columns(&self, query: &Query, outer: &With, depth: usize) -> Vec<Known> {
        if depth == 0 {
            return Vec::new();
        }
        let mut with = outer.clone();
        for (name, aliases, inner) in &query.with {
            let mut columns = self.query_columns(inner, &with, depth - 1);
            rename(&mut columns, aliases);
            with.push((name.clone(), columns));
        }
        let from: Vec<(&str, Vec<Known>)> = query
            .from
            .iter()
            .map(|source| {
                let mut columns = match &source.what {
                    From::Query(inner) => self.query_columns(inner, &with, depth - 1),
                    From::Relation(name) => {
                        let common = with.iter().rev().find(|(with, _)| name.schema.is_none() && *with == name.name);
                        match common {
                            Some((_, columns)) => columns.clone(),
                            None => self.relation_columns(name),
                        }
                    }
                };
                rename(&mut columns, &source.columns);
                (&*source.alias, columns)
            })
            .collect();
        let mut found = Vec::new();
        for target in &query.columns {
            match target {
                Target::Star(qualifier) => {
                    let of = from.iter().filter(|(alias, _)| qualifier.as_deref().is_none_or(|q| q == *alias));
                    found.extend(of.flat_map(|(_, columns)| columns.iter().cloned()));
                }
                Target::Column { name, qualifier, column } => {
                    let mut of = from
                        .iter()
                        .filter(|(alias, _)| qualifier.as_deref().is_none_or(|q| q == *alias))
                        .filter_map(|(_, columns)| columns.iter().find(|known| known.name == *column));
                    let known = of.next();
                    found.push(Known {
                        name: name.clone(),
                        type_oid: known.map_or(0, |known| known.type_oid),
                        typmod: known.map_or(-1, |known| known.typmod),
                    });
                }
                Target::Typed { name, of } => {
                    let type_oid = self.types.find(of).unwrap_or(0);
                    found.push(Known { name: name.clone(), type_oid, typmod: -1 });
                }
                Target::Other(name) => found.push(Known { name: name.clone(), type_oid: 0, typmod: -1 }),
            }
        }
        found
    }
}

pub(super) fn rename(columns: &mut [Known], aliases: &[Box<str>]) {
    for (column, alias) in columns.iter_mut().zip(aliases) {
        column.name.clone_from(alias);
    }
}
