//! Where labelled columns stand, as the second parser reads the statement.
//!
//! The arbiter has counted every occurrence, by position, with the rule that it would break. The shape can only allow:
//! it follows names through FROM items, subqueries and common table expressions, and permits an occurrence where
//! it finds the same column at the same position, bare, in a select list that feeds the outermost one (or in
//! RETURNING). Relations are looked up by their position in the arbiter's list, so a name that the two parsers read
//! differently resolves to nothing, and nothing is permitted by it.
#![deny(clippy::wildcard_enum_match_arm)]

mod dml;
mod from;
mod names;
mod position;
mod query;
mod select;

use foldhash::HashMap;
use smallvec::SmallVec;

use crate::arbiter::{self, MAX_DEPTH};
use crate::catalog::{ColumnId, LabelId};
use crate::facts::{Output, Use};
use crate::found::Found;
use crate::parse::{self, ast};
use crate::reach::Why;
use crate::resolve::Resolved;
use position::Positions;

/// One column of a FROM item or select list.
#[derive(Debug, Clone)]
struct Column {
    name: Box<str>,
    output: Output,
}

/// The columns of a query or FROM item; `None`: not known, but nothing labelled beyond `labels` is in them.
#[derive(Debug, Clone, Default)]
struct Columns {
    list: Option<Vec<Column>>,
    labels: Vec<(ColumnId, LabelId)>,
}

/// What the second parser's reading allows.
struct Shaper<'r, 's, 'a, 'c> {
    resolved: &'r Resolved<'s, 'a, 'c>,
    positions: Positions,
    /// Common table expressions in scope, innermost last.
    ctes: Vec<(Box<str>, Columns)>,
    /// Occurrences that are outputs: (position, columns).
    permits: Vec<(usize, Vec<(ColumnId, LabelId)>)>,
    /// Positions in ORDER BY that mean unlabelled columns.
    harmless: Vec<usize>,
}

/// Judges `found.candidates` and `found.ordinals`: what is permitted leaves them and becomes an output. Returns the
/// statement's columns.
pub(crate) fn explain(text: &str, resolved: &Resolved<'_, '_, '_>, found: &mut Found) -> Option<Vec<Output>> {
    if resolved.seen.depth > MAX_DEPTH {
        return None;
    }
    let explained = resolved.seen.explained();
    let statement_text = text.get(explained.clone())?;
    // Parsing, walking and dropping recurse.
    arbiter::with_deep_stack(resolved.seen.depth, || {
        let statement = parse::statement(statement_text)?;
        let mut shaper = Shaper {
            resolved,
            positions: Positions::new(statement_text, explained.start),
            ctes: Vec::new(),
            permits: Vec::new(),
            harmless: Vec::new(),
        };
        let columns = shaper.statement(&statement);
        shaper.settle(found);
        let list = columns.list?;
        Some(finished(list, found))
    })
}

impl Shaper<'_, '_, '_, '_> {
    fn statement(&mut self, statement: &ast::Statement) -> Columns {
        if let ast::Statement::Query(query) = statement {
            return self.query(query, true);
        }
        if let ast::Statement::Declare { stmts } = statement
            && let [declare] = stmts.as_slice()
            && let Some(query) = &declare.for_query
        {
            return self.query(query, true);
        }
        if let ast::Statement::Prepare { statement, .. } = statement {
            return self.statement(statement);
        }
        self.data_modifying(statement)
    }

    /// A bare column in a list that feeds the outermost one: labelled, or shown to be another one of the same name.
    fn permit(&mut self, position: Option<usize>, output: &Output) {
        let columns = match output {
            Output::Bare(columns) => columns.to_vec(),
            Output::Free => Vec::new(),
            Output::Carried(_) | Output::Derived { .. } | Output::CatalogText => return,
        };
        if let Some(position) = position {
            self.permits.push((position, columns));
        }
    }

    fn settle(self, found: &mut Found) {
        let mut outputs: Vec<(ColumnId, LabelId)> = Vec::new();
        let mut permits: HashMap<usize, Option<Vec<(ColumnId, LabelId)>>> = HashMap::default();
        for (position, columns) in self.permits {
            // Two readings of one place are no reading.
            permits.entry(position).and_modify(|known| *known = None).or_insert(Some(columns));
        }
        found.candidates.retain(|candidate| {
            let Some(Some(columns)) = permits.get(&candidate.position) else {
                return true;
            };
            let agreed = columns
                .iter()
                .all(|(id, label)| candidate.hits.iter().any(|(hit, why)| hit == id && *why == Why::Label(*label)));
            if agreed {
                for column in columns {
                    if !outputs.contains(column) {
                        outputs.push(*column);
                    }
                }
            }
            !agreed
        });
        for (column, label) in outputs {
            found.output(column, label);
        }
        found.ordinals.retain(|ordinal| !self.harmless.contains(&ordinal.position));
    }
}

/// Expressions carry the labels that have a violation somewhere: whoever gets to see them sees those plain.
fn finished(list: Vec<Column>, found: &Found) -> Vec<Output> {
    let mut labels: SmallVec<[LabelId; 1]> = SmallVec::new();
    for used in &found.columns {
        if matches!(used.how, Use::Violation(_)) && !labels.contains(&used.label) {
            labels.push(used.label);
        }
    }
    // What was not permitted after all is about to become a violation.
    for candidate in &found.candidates {
        for (_, why) in &candidate.hits {
            if let Why::Label(label) = why
                && !labels.contains(label)
            {
                labels.push(*label);
            }
        }
    }
    list.into_iter()
        .map(|column| match column.output {
            Output::Derived { .. } if labels.is_empty() => Output::Free,
            Output::Derived { droppable, .. } => Output::Derived { labels: labels.clone(), droppable },
            other @ (Output::Free | Output::Bare(_) | Output::Carried(_) | Output::CatalogText) => other,
        })
        .collect()
}

/// Some expression.
fn derived() -> Output {
    Output::Derived { labels: SmallVec::new(), droppable: false }
}
