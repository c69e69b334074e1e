//! What a view's own columns show: the lineage of its query, so that a view over protected columns can be used like a
//! table (soundness 10).

mod owner;

use smallvec::SmallVec;

use crate::catalog::{Catalog, LabelId, Relation};
use crate::facts::{Kind, Output, Rule, Use};
use crate::{SessionNames, builtin};

/// What one column of a view shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Labels of what it shows; empty: nothing labelled.
    pub labels: SmallVec<[LabelId; 1]>,
    /// Its values are made from labelled ones, not labelled ones themselves.
    pub computed: bool,
}

/// The columns of a view or materialised view, in order, by the labels that `catalog` has now; views that it reads must
/// have theirs. An error says why that cannot be told: the view is then refused as a whole.
pub fn columns(view: &Relation, catalog: &Catalog) -> Result<Vec<Shown>, String> {
    let nothing = Shown { labels: SmallVec::new(), computed: false };
    if catalog.index().of(view.oid).is_none_or(|reach| reach.view.is_empty() && reach.opaque.is_none()) {
        return Ok(vec![nothing; view.columns.len()]);
    }
    let text = view.definition.as_deref().ok_or("its query is not known")?;
    let analysis = crate::analyse(text, catalog, &SessionNames::default()).map_err(|_| "its query cannot be read")?;
    let [statement] = analysis.statements.as_slice() else {
        return Err("its query cannot be read".into());
    };
    if statement.kind != Kind::Select || statement.unexplained || !statement.unknown.is_empty() {
        return Err("its query cannot be read".into());
    }
    if let Some(violation) = statement.violations.first() {
        return Err(format!("its query uses {}", violation.construct));
    }
    // The server's own list of what the view reads.
    if !view.reads.iter().all(|oid| statement.relations.iter().any(|used| used.oid == *oid)) {
        return Err("its query reads relations that its text does not name".into());
    }
    let mut filtered = false;
    for used in &statement.columns {
        match &used.how {
            Use::Output | Use::Derived { .. } => {}
            Use::Filter { at, .. } if owner::MAY_FILTER.contains(&&*at.construct) => filtered = true,
            Use::Violation(at) if at.rule == Rule::Filter && owner::MAY_FILTER.contains(&&*at.construct) => {
                filtered = true;
            }
            Use::Filter { at, .. } | Use::Violation(at) => {
                return Err(format!("its query has a labelled column in {}", at.construct));
            }
            Use::Stored(_) => return Err("its query writes".into()),
        }
    }
    if filtered {
        let names = statement.columns.iter().filter_map(|used| catalog.column(used.column)).map(|c| c.name.clone());
        owner::only_constants(text, names.collect(), catalog)?;
    }
    let outputs = match &statement.outputs {
        Some(outputs) => outputs,
        None if statement.columns.is_empty() => return Ok(vec![nothing; view.columns.len()]),
        None => return Err("the lineage of its columns is not known".into()),
    };
    if outputs.len() != view.columns.len() {
        return Err("its columns are not those of its query".into());
    }
    outputs.iter().map(shown).collect()
}

fn shown(output: &Output) -> Result<Shown, String> {
    let mut shown = match output {
        Output::Free => Shown { labels: SmallVec::new(), computed: false },
        Output::Bare(columns) | Output::Carried(columns) => {
            Shown { labels: columns.iter().map(|(_, label)| *label).collect(), computed: false }
        }
        Output::Derived { labels, droppable: _ } => Shown { labels: labels.clone(), computed: true },
        Output::CatalogText => return Err("it shows catalog texts".into()),
    };
    shown.labels.sort();
    shown.labels.dedup();
    if shown.labels.contains(&builtin::CATALOG_TEXT) {
        return Err("it shows catalog texts".into());
    }
    Ok(shown)
}
