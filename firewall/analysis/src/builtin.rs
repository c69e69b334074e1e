//! Labels that need no entry in a classification: columns of the system's own relations that can hold user data
//! or tell of it.

use crate::catalog::{LabelId, Relation};

/// Columns that show other people's values or statements: pg_stats, pg_stat_activity.query and the like.
pub const STATISTICS: LabelId = LabelId(0);
/// Columns that print definitions: pg_proc.prosrc, pg_attrdef.adbin and the like.
pub const CATALOG_TEXT: LabelId = LabelId(1);

/// The names of the labels above, by number. Labels of a classification follow.
pub const NAMES: [&str; 2] = ["statistics", "catalog_text"];

/// A system column and the built-in label that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Builtin {
    /// The relation's name, in pg_catalog, information_schema or an extension's schema.
    pub relation: &'static str,
    /// The column's name.
    pub column: &'static str,
    /// [`STATISTICS`] or [`CATALOG_TEXT`].
    pub label: LabelId,
}

const fn statistics(relation: &'static str, column: &'static str) -> Builtin {
    Builtin { relation, column, label: STATISTICS }
}

const fn text(relation: &'static str, column: &'static str) -> Builtin {
    Builtin { relation, column, label: CATALOG_TEXT }
}

/// All of them.
pub const COLUMNS: &[Builtin] = &[
    statistics("pg_statistic", "stavalues1"),
    statistics("pg_statistic", "stavalues2"),
    statistics("pg_statistic", "stavalues3"),
    statistics("pg_statistic", "stavalues4"),
    statistics("pg_statistic", "stavalues5"),
    statistics("pg_statistic", "stanumbers1"),
    statistics("pg_statistic", "stanumbers2"),
    statistics("pg_statistic", "stanumbers3"),
    statistics("pg_statistic", "stanumbers4"),
    statistics("pg_statistic", "stanumbers5"),
    statistics("pg_statistic", "stanullfrac"),
    statistics("pg_statistic", "stadistinct"),
    statistics("pg_statistic", "stawidth"),
    statistics("pg_statistic_ext_data", "stxdndistinct"),
    statistics("pg_statistic_ext_data", "stxddependencies"),
    statistics("pg_statistic_ext_data", "stxdmcv"),
    statistics("pg_statistic_ext_data", "stxdexpr"),
    statistics("pg_stats", "null_frac"),
    statistics("pg_stats", "avg_width"),
    statistics("pg_stats", "n_distinct"),
    statistics("pg_stats", "most_common_vals"),
    statistics("pg_stats", "most_common_freqs"),
    statistics("pg_stats", "histogram_bounds"),
    statistics("pg_stats", "correlation"),
    statistics("pg_stats", "most_common_elems"),
    statistics("pg_stats", "most_common_elem_freqs"),
    statistics("pg_stats", "elem_count_histogram"),
    statistics("pg_stats", "range_length_histogram"),
    statistics("pg_stats", "range_empty_frac"),
    statistics("pg_stats", "range_bounds_histogram"),
    statistics("pg_stats_ext", "n_distinct"),
    statistics("pg_stats_ext", "dependencies"),
    statistics("pg_stats_ext", "exprs"),
    statistics("pg_stats_ext", "most_common_vals"),
    statistics("pg_stats_ext", "most_common_val_nulls"),
    statistics("pg_stats_ext", "most_common_freqs"),
    statistics("pg_stats_ext", "most_common_base_freqs"),
    statistics("pg_stats_ext_exprs", "expr"),
    statistics("pg_stats_ext_exprs", "null_frac"),
    statistics("pg_stats_ext_exprs", "avg_width"),
    statistics("pg_stats_ext_exprs", "n_distinct"),
    statistics("pg_stats_ext_exprs", "most_common_vals"),
    statistics("pg_stats_ext_exprs", "most_common_freqs"),
    statistics("pg_stats_ext_exprs", "histogram_bounds"),
    statistics("pg_stats_ext_exprs", "correlation"),
    statistics("pg_stats_ext_exprs", "most_common_elems"),
    statistics("pg_stats_ext_exprs", "most_common_elem_freqs"),
    statistics("pg_stats_ext_exprs", "elem_count_histogram"),
    statistics("pg_stat_activity", "query"),
    statistics("pg_stat_statements", "query"),
    statistics("pg_prepared_statements", "statement"),
    statistics("pg_cursors", "statement"),
    statistics("pg_largeobject", "data"),
    statistics("pg_authid", "rolpassword"),
    statistics("pg_shadow", "passwd"),
    statistics("pg_user_mapping", "umoptions"),
    statistics("pg_user_mappings", "umoptions"),
    statistics("pg_hba_file_rules", "options"),
    statistics("pg_file_settings", "setting"),
    text("pg_proc", "prosrc"),
    text("pg_proc", "prosqlbody"),
    text("pg_proc", "proargdefaults"),
    text("pg_attrdef", "adbin"),
    text("pg_attribute", "attmissingval"),
    text("pg_index", "indexprs"),
    text("pg_index", "indpred"),
    text("pg_constraint", "conbin"),
    text("pg_rewrite", "ev_qual"),
    text("pg_rewrite", "ev_action"),
    text("pg_trigger", "tgargs"),
    text("pg_trigger", "tgqual"),
    text("pg_policy", "polqual"),
    text("pg_policy", "polwithcheck"),
    text("pg_partitioned_table", "partexprs"),
    text("pg_statistic_ext", "stxexprs"),
    text("pg_type", "typdefaultbin"),
    text("pg_type", "typdefault"),
    text("pg_publication_rel", "prqual"),
    text("pg_publication_tables", "rowfilter"),
    text("pg_class", "relpartbound"),
    text("pg_views", "definition"),
    text("pg_matviews", "definition"),
    text("pg_rules", "definition"),
    text("pg_indexes", "indexdef"),
    text("pg_policies", "qual"),
    text("pg_policies", "with_check"),
    text("columns", "column_default"),
    text("columns", "generation_expression"),
    text("views", "view_definition"),
    text("check_constraints", "check_clause"),
    text("triggers", "action_condition"),
    text("triggers", "action_statement"),
    text("routines", "routine_definition"),
    text("parameters", "parameter_default"),
    text("domains", "domain_default"),
    text("attributes", "attribute_default"),
    text("user_mapping_options", "option_value"),
];

/// The built-in label of a system column, if it has one.
pub fn label(relation: &str, column: &str) -> Option<LabelId> {
    COLUMNS.iter().find(|known| known.relation == relation && known.column == column).map(|known| known.label)
}

/// Whether a relation is one of those that the list means.
pub(crate) fn is_listed(relation: &Relation) -> bool {
    // The one view of an extension that everybody installs.
    relation.system || &*relation.name == "pg_stat_statements"
}

/// Labels the columns of a system relation.
pub(crate) fn apply(relation: &mut Relation) {
    if !is_listed(relation) {
        return;
    }
    for column in &mut relation.columns {
        column.label = label(&relation.name, &column.name);
    }
}

/// Whether some catalog-text column has that name.
pub(crate) fn may_be_text(column: &str) -> bool {
    COLUMNS.iter().any(|known| known.label == CATALOG_TEXT && known.column == column)
}
