//! Labels that need no entry in a classification.

use crate::catalog::LabelId;

/// Columns that show other people's values or statements: pg_stats, pg_stat_activity.query and the like.
pub const STATISTICS: LabelId = LabelId(0);
/// Columns that print definitions: pg_proc.prosrc, pg_attrdef.adbin and the like.
pub const CATALOG_TEXT: LabelId = LabelId(1);

/// The names of the labels above, by number. Labels of a classification follow.
pub const NAMES: [&str; 2] = ["statistics", "catalog_text"];
