//! Labels of views' columns, by the lineage of their queries.

use std::collections::HashMap;

use ringfence_analysis::catalog::RelationKind;
use ringfence_analysis::views::{self, Shown};
use ringfence_analysis::{Catalog, ColumnId, LabelId, Relation};

use super::{Binding, CONTESTED, Diagnostic, Labels, OpaqueView, Severity};
use crate::policy::Policy;

/// Views of views of views … are followed this far.
const MAX_DEPTH: usize = 64;

/// Labels the columns of every view whose query is understood; the others keep what the classification says of them,
/// and are refused as a whole if they read something labelled.
pub(super) fn settle(policy: &Policy, catalog: &mut Catalog, labels: &Labels, binding: &mut Binding) {
    let mut levels: Vec<Vec<u32>> = Vec::new();
    let mut depths = HashMap::new();
    for view in catalog.relations().iter().filter(|relation| is_view(relation)) {
        let depth = depth(view, catalog, &mut depths, 0);
        if levels.len() <= depth {
            levels.resize(depth + 1, Vec::new());
        }
        if let Some(level) = levels.get_mut(depth) {
            level.push(view.oid);
        }
    }
    // Each level's labels are what the next one is read by.
    for level in levels {
        let mut found: HashMap<u32, Vec<Option<LabelId>>> = HashMap::new();
        for view in level.iter().filter_map(|oid| catalog.by_oid(*oid)) {
            match columns(view, policy, catalog, labels, &mut binding.diagnostics) {
                Ok(columns) => _ = found.insert(view.oid, columns),
                Err(reason) => {
                    binding.opaque_views.push(OpaqueView { name: format!("{}.{}", view.schema, view.name), reason });
                }
            }
        }
        if found.is_empty() {
            continue;
        }
        for relation in catalog.relations_mut() {
            let Some(labels) = found.remove(&relation.oid) else { continue };
            relation.settled = true;
            for (column, label) in relation.columns.iter_mut().zip(labels) {
                column.label = label;
            }
        }
    }
}

fn is_view(relation: &Relation) -> bool {
    !relation.system && matches!(relation.kind, RelationKind::View | RelationKind::MaterializedView)
}

fn depth(view: &Relation, catalog: &Catalog, known: &mut HashMap<u32, usize>, level: usize) -> usize {
    if let Some(depth) = known.get(&view.oid) {
        return *depth;
    }
    if level >= MAX_DEPTH {
        return 0;
    }
    let below = view.reads.iter().filter_map(|oid| catalog.by_oid(*oid)).filter(|r| is_view(r) && r.oid != view.oid);
    let depth = below.map(|r| depth(r, catalog, known, level + 1) + 1).max().unwrap_or(0);
    known.insert(view.oid, depth);
    depth
}

fn columns(
    view: &Relation,
    policy: &Policy,
    catalog: &Catalog,
    labels: &Labels,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Vec<Option<LabelId>>, String> {
    let shown = views::columns(view, catalog)?;
    let mut found = Vec::with_capacity(shown.len());
    for (column, shown) in view.columns.iter().zip(&shown) {
        let derived = one_label(shown, policy)
            .ok_or_else(|| format!("its column {} shows values of several labels", column.name))?;
        let declared = labels.get(ColumnId { relation: view.oid, attnum: column.attnum });
        found.push(match (derived, declared) {
            (derived, None) => derived,
            (None, Some(declared)) => Some(declared.label),
            (Some(derived), Some(declared)) if derived == declared.label => Some(derived),
            (Some(derived), Some(declared)) if derived == policy.computed(declared.label) => Some(derived),
            (Some(derived), Some(declared)) => {
                diagnostics.push(Diagnostic {
                    severity: Severity::Warning,
                    what: policy.error_at(
                        declared.at,
                        format!(
                            "column {} of view {}.{} has label {} here and shows values of label {}: restricted clients \
                             are refused",
                            column.name,
                            view.schema,
                            view.name,
                            policy.label_name(declared.label),
                            policy.label_name(derived)
                        ),
                        Some(String::from("leave the entry out: views take the labels of what they show")),
                    ),
                });
                Some(CONTESTED)
            }
        });
    }
    Ok(found)
}

/// `None`: several.
fn one_label(shown: &Shown, policy: &Policy) -> Option<Option<LabelId>> {
    let mut all: Vec<LabelId> = shown.labels.to_vec();
    if shown.computed {
        all.iter_mut().for_each(|label| *label = policy.computed(*label));
    }
    all.dedup();
    match all.as_slice() {
        [] => Some(None),
        [label] => Some(Some(*label)),
        _ => None,
    }
}
