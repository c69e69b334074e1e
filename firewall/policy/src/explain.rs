//! What a decision was made of, for people: every output column with its lineage, labels, handling and the reason;
//! writes and predicates likewise; the refusal with its place. Nothing is decided here: the words are those of
//! [`crate::decide`], taken apart.

use std::collections::BTreeSet;

use ringfence_analysis::facts::{Access, ColumnUse, Effect, Output, Rule, Statement, Use, Violation};
use ringfence_analysis::facts::{Analysis, Predicate};
use ringfence_analysis::{Catalog, ColumnId, LabelId, builtin};
use ringfence_report::explain as report;
use ringfence_report::explain::Verdict;
use ringfence_report::{Explanation, Place, line_of};

use crate::carry::carrier;
use crate::decide::{ClientPolicy, Decision, of_column};
use crate::error::closest;
use crate::policy::{ClientEntry, Policy};
use crate::refusal::Refusal;
use crate::{Filter, Handling, Mask};

/// What was found and decided about one text.
#[derive(Debug, Clone, Copy)]
pub struct Decided<'a> {
    pub text: &'a str,
    pub analysis: &'a Analysis,
    /// One for each statement; none if the text could not be read.
    pub decisions: &'a [Decision],
    /// What the client is told, if it is refused: by a statement, or because the text could not be read.
    pub refusal: Option<&'a Refusal>,
}

/// Explains the decisions for one client.
pub fn explain(entry: &ClientEntry, catalog: &Catalog, decided: Decided<'_>) -> Explanation {
    let client = &*entry.policy;
    let explainer = Explainer { client, given_by: &entry.given_by, catalog, text: decided.text };
    let statements: Vec<report::Statement> = decided
        .analysis
        .statements
        .iter()
        .zip(decided.decisions)
        .map(|(statement, decision)| explainer.statement(statement, decision))
        .collect();
    let unreadable = decided.refusal.filter(|_| statements.is_empty()).map(|refusal| explainer.refusal(refusal));
    let worst = statements.iter().map(|s| s.verdict).max().unwrap_or(Verdict::Pass);
    let mut notes = Vec::new();
    if !client.restricted {
        notes.push(String::from(
            "this client sees every label in plain: its statements pass as they are, and are only audited",
        ));
    }
    Explanation {
        client: client.name.to_string(),
        database: catalog.database.to_string(),
        restricted: client.restricted,
        observe: client.observe,
        verdict: if unreadable.is_some() { Verdict::Refuse } else { worst },
        statements,
        refusal: unreadable,
        notes,
    }
}

struct Explainer<'a> {
    client: &'a ClientPolicy,
    given_by: &'a [Box<str>],
    catalog: &'a Catalog,
    text: &'a str,
}

impl Explainer<'_> {
    fn statement(&self, statement: &Statement, decision: &Decision) -> report::Statement {
        let unknown: Vec<String> = statement.unknown.iter().map(ToString::to_string).collect();
        let refusal = match decision {
            Decision::Refuse(refusal) => Some(self.refusal(refusal)),
            Decision::Pass | Decision::Handle => {
                unknown.first().filter(|_| self.client.restricted).map(|name| unknown_relation(name))
            }
        };
        let verdict = match (&refusal, decision) {
            (Some(_), _) => Verdict::Refuse,
            (None, Decision::Handle) => Verdict::Handle,
            (None, _) => Verdict::Pass,
        };
        let mut found = report::Statement {
            kind: statement.verb.to_owned(),
            line: line_of(self.text, statement.range.start),
            fingerprint: format!("{:016x}", statement.fingerprint),
            verdict,
            outputs: statement.outputs.as_ref().map(|all| self.outputs(all, statement)),
            writes: Vec::new(),
            predicates: Vec::new(),
            uses: Vec::new(),
            relations: self.relations(statement),
            judged: statement.violations.iter().map(|violation| self.judged(violation)).collect(),
            unknown,
            refusal,
            notes: notes(statement),
        };
        found.notes.extend(self.limits(statement));
        for used in &statement.columns {
            self.column(statement, used, &mut found);
        }
        found
    }

    fn column(&self, statement: &Statement, used: &ColumnUse, found: &mut report::Statement) {
        let allowed = of_column(self.client, self.catalog, statement, used).is_none();
        let column = self.column_name(used.column);
        let label = self.client.label_name(used.label).to_owned();
        match &used.how {
            Use::Output => {
                // Named among the outputs, if those are known.
                if found.outputs.is_none() {
                    let (rule, place) = (Rule::Handling.name().to_owned(), String::from("result"));
                    found.uses.push(report::Use { column, label, rule, place, allowed, at: None });
                }
            }
            Use::Stored(access) => {
                found.writes.push(report::Write { column, label, permission: permission(*access).to_owned(), allowed });
            }
            Use::Filter { needs, at } => found.predicates.push(report::Predicate {
                column,
                label,
                place: at.construct.to_string(),
                needs: needs_word(*needs).to_owned(),
                granted: self.granted(used.label).to_owned(),
                allowed,
                at: self.place(at.position),
            }),
            // The shape of a predicate that was not read further: everything is needed.
            Use::Violation(at) if at.rule == Rule::Filter => found.predicates.push(report::Predicate {
                column,
                label,
                place: at.construct.to_string(),
                needs: needs_word(Predicate::Any).to_owned(),
                granted: self.granted(used.label).to_owned(),
                allowed,
                at: self.place(at.position),
            }),
            Use::Derived { at, .. } | Use::Violation(at) => found.uses.push(report::Use {
                column,
                label,
                rule: at.rule.name().to_owned(),
                place: at.construct.to_string(),
                allowed,
                at: self.place(at.position),
            }),
        }
    }

    fn outputs(&self, all: &[Output], statement: &Statement) -> Vec<report::Output> {
        let mut rows = Vec::with_capacity(all.len());
        for (at, output) in all.iter().enumerate() {
            let mut row = self.output(at + 1, output);
            if let Some(described) = statement.described.get(at) {
                row.name = Some(described.name.to_string());
                row.from = described.columns.iter().map(|(column, _)| self.column_name(*column)).collect();
            }
            rows.push(row);
        }
        rows
    }

    fn output(&self, position: usize, output: &Output) -> report::Output {
        let mut row = report::Output {
            position,
            name: None,
            from: Vec::new(),
            labels: Vec::new(),
            handling: String::from("untouched"),
            why: String::from("unlabelled"),
        };
        match output {
            Output::Free => {}
            Output::Bare(columns) | Output::Carried(columns) => {
                self.values(columns, &mut row);
            }
            Output::Derived { labels, droppable } => {
                row.labels = self.label_names(labels.iter().copied());
                let listed = row.labels.join(", ");
                let handling = self.client.derived(labels, *droppable);
                row.why = match &handling {
                    Handling::Plain => format!("an expression over label {listed}, which this client sees in plain"),
                    Handling::Drop => format!("an expression over label {listed}: derived drop, so NULL"),
                    _ if *droppable => format!("an expression over label {listed}: derived refuse"),
                    _ => format!(
                        "an expression over label {listed} that could tell of it: refused whatever `derived` says"
                    ),
                };
                row.handling = words(&handling);
            }
            Output::CatalogText => {
                row.labels =
                    vec![builtin::NAMES.get(usize::from(builtin::CATALOG_TEXT.0)).map_or("?", |n| n).to_owned()];
                (row.handling, row.why) = if self.client.restricted {
                    (
                        String::from("plain or NULL"),
                        String::from("a definition: NULL where it tells of labelled columns"),
                    )
                } else {
                    (String::from("plain"), String::from("this client sees every label in plain"))
                };
            }
        }
        row
    }

    /// An unmodified value of one of these columns.
    fn values(&self, columns: &[(ColumnId, LabelId)], row: &mut report::Output) {
        row.from = columns.iter().map(|(column, _)| self.column_name(*column)).collect();
        row.labels = self.label_names(columns.iter().map(|(_, label)| *label));
        if let [(only, _)] = columns {
            row.name = self.catalog.column(*only).map(|column| column.name.to_string());
        }
        let Some((first, label)) = columns.first() else { return };
        let met = if self.client.restricted { self.client.meet(columns) } else { Handling::Plain };
        let type_oid = self.catalog.column(*first).map_or(0, |column| column.type_oid);
        let effective = carrier(self.catalog, type_oid).0.effective(&met);
        row.handling = words(effective);
        let giver = columns.iter().map(|(_, label)| *label).find(|label| *self.client.handling(*label) == met);
        row.why = match giver {
            Some(label) => format!("{}: {}", self.giver(label), words(&met)),
            None if met == Handling::Refuse => format!("{}: read is not allowed", self.giver(*label)),
            None => String::from("what the handlings of these labels have in common"),
        };
        if columns.len() > 1 {
            row.why.push_str("; the strictest of what it can be");
        }
        if *effective != met {
            let type_name = self.catalog.column(*first).map_or("?", |column| &*column.type_name);
            row.why.push_str(&format!(", which type {type_name} cannot carry: NULL"));
        }
    }

    fn relations(&self, statement: &Statement) -> Vec<report::Relation> {
        statement
            .relations
            .iter()
            .filter_map(|used| {
                let relation = self.catalog.by_oid(used.oid)?;
                let mut labels = self.label_names(relation.columns.iter().filter_map(|column| column.label));
                if relation.unclassified {
                    labels.push(String::from("(unclassified)"));
                }
                Some(report::Relation {
                    name: format!("{}.{}", relation.schema, relation.name),
                    access: permission(used.access).to_owned(),
                    labels,
                })
            })
            .collect()
    }

    fn judged(&self, violation: &Violation) -> report::Judged {
        report::Judged {
            what: violation.construct.to_string(),
            rule: violation.rule.name().to_owned(),
            allowed: !self.client.restricted || (violation.rule == Rule::Admin && self.client.admin),
            at: self.place(violation.position),
        }
    }

    fn refusal(&self, refusal: &Refusal) -> report::Refusal {
        report::Refusal {
            rule: refusal.rule.name().to_owned(),
            sqlstate: refusal.sqlstate.to_owned(),
            message: refusal.message.clone(),
            hint: refusal.hint.clone(),
            at: self.place(refusal.position),
        }
    }

    fn granted(&self, label: LabelId) -> &'static str {
        match self.client.filter(label) {
            Filter::None => "none",
            Filter::Equality => "equality",
            Filter::Any => "any",
        }
    }

    fn giver(&self, label: LabelId) -> &str {
        self.given_by.get(usize::from(label.0)).map_or("computed by the database", |words| words)
    }

    fn label_names(&self, labels: impl Iterator<Item = LabelId>) -> Vec<String> {
        let labels: BTreeSet<LabelId> = labels.collect();
        labels.into_iter().map(|label| self.client.label_name(label).to_owned()).collect()
    }

    fn column_name(&self, id: ColumnId) -> String {
        match (self.catalog.by_oid(id.relation), self.catalog.column(id)) {
            (Some(relation), Some(column)) => format!("{}.{}.{}", relation.schema, relation.name, column.name),
            (Some(relation), None) => format!("{}.{}", relation.schema, relation.name),
            (None, _) => String::from("?"),
        }
    }

    /// Budgets that the statement spends from.
    fn limits(&self, statement: &Statement) -> Vec<String> {
        let labels: BTreeSet<LabelId> =
            statement.columns.iter().filter(|used| used.label.0 >= first_declared()).map(|used| used.label).collect();
        let mut notes = Vec::new();
        if let Some(limit) = self.client.rows_per_hour.as_ref().filter(|_| !labels.is_empty()) {
            notes.push(format!("rows with labelled columns are counted: {} an hour (role {})", limit.most, limit.role));
        }
        for policy in labels.iter().filter_map(|label| self.client.labels.get(usize::from(label.0))) {
            if let Some(limit) = &policy.values_per_hour {
                let name = &policy.name;
                notes.push(format!("values of label {name} are counted: {} an hour (role {})", limit.most, limit.role));
            }
        }
        notes
    }

    fn place(&self, position: Option<usize>) -> Option<Place> {
        position.map(|at| Place::of(self.text, at))
    }
}

/// The client that was probably meant.
pub fn nearest_client<'p>(policy: &'p Policy, name: &str) -> Option<&'p str> {
    closest(name, policy.clients().map(|(client, _)| client))
}

/// A handling as a classification would put it: `mask last4`.
pub fn words(handling: &Handling) -> String {
    match handling {
        Handling::Mask(Mask::Last4) => String::from("mask last4"),
        Handling::Mask(Mask::First6Last4) => String::from("mask first6last4"),
        Handling::Mask(Mask::Email) => String::from("mask email"),
        Handling::Mask(Mask::Fixed(text)) => format!("mask fixed {text:?}"),
        Handling::Plain | Handling::Tokenize | Handling::Encrypt | Handling::Drop | Handling::Refuse => {
            handling.name().to_owned()
        }
    }
}

/// Labels below are built in.
fn first_declared() -> u16 {
    u16::try_from(builtin::NAMES.len()).unwrap_or(u16::MAX)
}

fn permission(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Insert => "insert",
        Access::Update => "update",
        Access::Delete => "delete",
        Access::Ddl => "ddl",
        Access::Lock => "lock",
    }
}

fn needs_word(needs: Predicate) -> &'static str {
    match needs {
        Predicate::Equality => "equality",
        Predicate::Any => "any",
    }
}

/// The firewall lets the server parse such a statement, and passes on what the server says; it is never run.
fn unknown_relation(name: &str) -> report::Refusal {
    report::Refusal {
        rule: Rule::UnknownRelation.name().to_owned(),
        sqlstate: String::from("42P01"),
        message: format!("relation \"{name}\" is not in the catalog"),
        hint: Some(String::from("The client gets the server's own error; the statement does not run.")),
        at: None,
    }
}

/// What depends on the session, which an explanation does not have.
fn notes(statement: &Statement) -> Vec<String> {
    let note = match &statement.effect {
        Effect::Execute(name) => {
            format!(
                "EXECUTE {name} is decided by the statement that the session prepared under this name: explain that one"
            )
        }
        Effect::Fetch(name) => {
            format!(
                "rows of cursor {name} are handled by the statement that the session declared it for: explain that one"
            )
        }
        _ => return Vec::new(),
    };
    vec![note]
}
