//! What one result column is to this client: the server's word on where it comes from, and the analysis' on what it is.

use ringfence_analysis::facts::{Kind, Output, Rule, Statement};
use ringfence_analysis::{Catalog, ColumnId, LabelId, Relation, builtin};
use ringfence_policy::{ClientPolicy, Handling, Refusal};
use ringfence_wire::backend::Field;

use super::describe::Judge;

/// A labelled column that a value comes from, or can come from.
type Source = (ColumnId, LabelId);

/// One result column, judged.
#[derive(Debug)]
pub(super) enum Column {
    Plain,
    /// NULL where the text belongs to a labelled relation.
    CatalogText,
    /// A value of the first of these columns, by the server's word, or of any of them.
    Value {
        sources: Vec<Source>,
        handling: Handling,
    },
    /// Made of labelled values that this client does not see: NULL.
    Derived(Vec<LabelId>),
    Withheld(Refusal),
    /// The snapshot does not know the table or column.
    Unknown,
}

/// Judges one column. `expected`: what the analysis says of it.
pub(super) fn judge(
    judge: &Judge<'_>,
    field: &Field<'_>,
    statement: Option<&Statement>,
    expected: Option<&Output>,
) -> Column {
    if field.table_oid == 0 {
        return without_origin(judge, statement, expected);
    }
    let known = judge.catalog.by_oid(field.table_oid).map(|relation| named(judge, relation, field, expected));
    match known {
        Some(Column::Unknown) | None if !judge.fresh => Column::Unknown,
        Some(Column::Unknown) | None if judge.own_relations => own(judge, statement, expected),
        Some(Column::Unknown) | None => Column::Withheld(unknown_origin()),
        Some(column) => column,
    }
}

/// A table that no snapshot shows is the session's own. Nobody else's uncommitted one can be seen; what flows into an
/// own one is known by its name. (A cursor can outlive the table that it was read from.)
fn own(judge: &Judge<'_>, statement: Option<&Statement>, expected: Option<&Output>) -> Column {
    match expected {
        Some(Output::Bare(sources)) => value(judge.client, sources, None),
        _ => match without_origin(judge, statement, expected) {
            Column::Withheld(_) => Column::Withheld(unknown_origin()),
            other => other,
        },
    }
}

/// A column that the server names, in a relation that the snapshot has.
fn named(judge: &Judge<'_>, relation: &Relation, field: &Field<'_>, expected: Option<&Output>) -> Column {
    if field.attnum <= 0 {
        return whole_row(judge, relation);
    }
    let Some(column) = relation.columns.iter().find(|column| column.attnum == field.attnum) else {
        return Column::Unknown;
    };
    let label = match column.label {
        Some(label) if label == builtin::CATALOG_TEXT => {
            return if judge.client.restricted { Column::CatalogText } else { Column::Plain };
        }
        label => label.map(|label| (ColumnId { relation: relation.oid, attnum: column.attnum }, label)),
    };
    match (label, expected) {
        // The server's word on which of the columns of that name it is.
        (Some(origin), Some(Output::Bare(sources))) if sources.contains(&origin) => {
            value(judge.client, &[origin], None)
        }
        // A view's column, or a value that the analysis traces elsewhere too: the strictest of all.
        (Some(origin), Some(Output::Bare(sources) | Output::Carried(sources))) => {
            value(judge.client, sources, Some(origin))
        }
        (Some(origin), Some(Output::Derived { labels, droppable })) => {
            match derived(judge.client, labels, *droppable) {
                Column::Plain => value(judge.client, &[origin], None),
                other => other,
            }
        }
        (Some(origin), Some(Output::Free | Output::CatalogText) | None) => value(judge.client, &[origin], None),
        // The session's own tables hold what the analysis saw flow into them; their columns have no labels.
        (None, Some(Output::Bare(sources))) if relation.temporary => value(judge.client, sources, None),
        // The analysis saw a labelled column here; the server names another one.
        (None, Some(Output::Bare(sources))) if !all_plain(judge.client, sources) => Column::Withheld(disagreement()),
        (None, Some(Output::Carried(sources))) => value(judge.client, sources, None),
        (None, Some(Output::Derived { labels, droppable })) => derived(judge.client, labels, *droppable),
        (None, Some(Output::CatalogText)) if judge.client.restricted => Column::CatalogText,
        (None, Some(Output::Free | Output::Bare(_) | Output::CatalogText) | None) => Column::Plain,
    }
}

/// ctid and the like, or the row as a whole.
fn whole_row(judge: &Judge<'_>, relation: &Relation) -> Column {
    let labelled = relation.columns.iter().filter_map(|c| c.label).find(|&l| !judge.client.is_plain(l));
    match labelled {
        Some(label) if !relation.system => Column::Withheld(Refusal {
            rule: Rule::SystemColumn,
            sqlstate: "42501",
            message: format!(
                "system columns and whole rows of {}.{} may not be read by client \"{}\": it has columns with label {}",
                relation.schema,
                relation.name,
                judge.client.name,
                judge.client.label_name(label)
            ),
            hint: Some(String::from("Name the columns that you need.")),
            position: None,
        }),
        _ => Column::Plain,
    }
}

/// A column that the server computed, or whose origin it lost.
fn without_origin(judge: &Judge<'_>, statement: Option<&Statement>, expected: Option<&Output>) -> Column {
    if !judge.client.restricted {
        return Column::Plain;
    }
    let Some(statement) = statement else {
        return Column::Withheld(disagreement());
    };
    match expected {
        Some(Output::CatalogText) => Column::CatalogText,
        Some(Output::Free) => Column::Plain,
        // The server names every column that is one. For what it does not name, the analysis must have a reason.
        Some(Output::Bare(sources)) if all_plain(judge.client, sources) => Column::Plain,
        Some(Output::Bare(_)) => Column::Withheld(disagreement()),
        Some(Output::Carried(sources)) => value(judge.client, sources, None),
        Some(Output::Derived { labels, droppable }) => derived(judge.client, labels, *droppable),
        // A plan shows the statement, and how much of what there is: that was decided.
        None if statement.kind == Kind::Explain => Column::Plain,
        None if statement.columns.iter().all(|used| judge.client.is_plain(used.label)) => Column::Plain,
        None => Column::Withheld(disagreement()),
    }
}

fn value(client: &ClientPolicy, sources: &[Source], origin: Option<Source>) -> Column {
    let sources: Vec<Source> = origin.into_iter().chain(sources.iter().copied()).collect();
    let handling = client.meet(&sources);
    Column::Value { sources, handling }
}

fn derived(client: &ClientPolicy, labels: &[LabelId], droppable: bool) -> Column {
    match client.derived(labels, droppable) {
        Handling::Plain => Column::Plain,
        Handling::Drop => Column::Derived(labels.to_vec()),
        // The policy refuses such statements, so something changed since.
        Handling::Mask(_) | Handling::Tokenize | Handling::Encrypt | Handling::Refuse => {
            Column::Withheld(disagreement())
        }
    }
}

fn all_plain(client: &ClientPolicy, sources: &[Source]) -> bool {
    sources.iter().all(|(_, label)| client.is_plain(*label))
}

/// The first source whose handling it is that counts: its label's keys make the tokens.
pub(super) fn deciding(client: &ClientPolicy, sources: &[Source], handling: &Handling) -> Option<Source> {
    let decides = |source: &&Source| client.handling(source.1) == handling;
    sources.iter().find(decides).or_else(|| sources.first()).copied()
}

/// The analysis did not expect a column with this label here.
pub(super) fn is_surprise(statement: Option<&Statement>, expected: Option<&Output>, origin: Source) -> bool {
    let listed = statement.is_some_and(|s| s.columns.iter().any(|used| used.column == origin.0));
    let traced = match expected {
        Some(Output::Bare(sources) | Output::Carried(sources)) => !sources.is_empty(),
        Some(Output::Derived { labels, .. }) => labels.contains(&origin.1),
        Some(Output::Free | Output::CatalogText) | None => false,
    };
    !listed && !traced
}

/// `column public.users.email`, for messages.
pub(super) fn column_name(catalog: &Catalog, column: ColumnId) -> String {
    match (catalog.by_oid(column.relation), catalog.column(column)) {
        (Some(relation), Some(column)) => format!("column {}.{}.{}", relation.schema, relation.name, column.name),
        _ => String::from("a column"),
    }
}

pub(crate) fn disagreement() -> Refusal {
    Refusal {
        rule: Rule::Origin,
        sqlstate: "42501",
        message: String::from(
            "the server describes the result otherwise than the analysis of the statement; its rows are withheld",
        ),
        hint: Some(String::from(
            "The schema may just have changed: try again. Otherwise select the columns of tables by name.",
        )),
        position: None,
    }
}

fn unknown_origin() -> Refusal {
    Refusal {
        rule: Rule::UnknownRelation,
        sqlstate: "42501",
        message: String::from("the result comes from a table that the firewall does not know; its rows are withheld"),
        hint: Some(String::from("Try again in a moment: the catalog is being read.")),
        position: None,
    }
}
