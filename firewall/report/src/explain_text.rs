//! An explanation as people read it.

use crate::explain::{Explanation, Refusal, Statement, Verdict};
use crate::table::{Paint, Table, indented};

impl Explanation {
    /// Aligned tables. `colour`: for a terminal.
    pub fn render(&self, colour: bool) -> String {
        let paint = Paint(colour);
        let verdict = match (self.verdict, self.observe) {
            (Verdict::Refuse, true) => "would be refused (enforce: observe lets it through, and records it)",
            (Verdict::Refuse, false) => "refused",
            (Verdict::Handle, _) => "passes, with values handled",
            (Verdict::Pass, _) => "passes untouched",
        };
        let mut out = format!(
            "client {}, database {}: {}\n",
            self.client,
            if self.database.is_empty() { "-" } else { &self.database },
            paint.verdict(self.verdict, verdict)
        );
        for note in &self.notes {
            out.push_str(&format!("note: {note}\n"));
        }
        if let Some(refusal) = &self.refusal {
            out.push('\n');
            out.push_str(&refused(refusal, paint));
        }
        for statement in &self.statements {
            out.push('\n');
            out.push_str(&one(statement, paint));
        }
        out
    }
}

fn one(statement: &Statement, paint: Paint) -> String {
    let word = paint.verdict(statement.verdict, statement.verdict.word());
    let kind = if statement.kind.is_empty() { "(empty)" } else { &statement.kind };
    let mut out = format!("{kind} at line {}: {word}\n", statement.line);
    if let Some(refusal) = &statement.refusal {
        out.push_str(&indented(&refused(refusal, paint)));
    }
    let mut section = |title: &str, table: &Table| {
        if !table.is_empty() {
            out.push_str(&format!("  {title}\n{}", indented(&indented(&table.render(paint.0)))));
        }
    };
    section("result", &outputs(statement));
    let mut writes = Table::new(&["COLUMN", "LABEL", "PERMISSION", "ALLOWED"]);
    for write in &statement.writes {
        writes.row(vec![write.column.clone(), write.label.clone(), write.permission.clone(), yes(write.allowed)]);
    }
    section("writes", &writes);
    let mut predicates = Table::new(&["COLUMN", "LABEL", "IN", "NEEDS", "GRANTED", "ALLOWED"]);
    for p in &statement.predicates {
        predicates.row(vec![
            p.column.clone(),
            p.label.clone(),
            p.place.clone(),
            format!("filter {}", p.needs),
            format!("filter {}", p.granted),
            yes(p.allowed),
        ]);
    }
    section("predicates", &predicates);
    let mut uses = Table::new(&["COLUMN", "LABEL", "IN", "RULE", "ALLOWED"]);
    for used in &statement.uses {
        uses.row(vec![
            used.column.clone(),
            used.label.clone(),
            used.place.clone(),
            used.rule.clone(),
            yes(used.allowed),
        ]);
    }
    section("other uses of labelled columns", &uses);
    let mut judged = Table::new(&["WHAT", "RULE", "ALLOWED"]);
    for found in &statement.judged {
        judged.row(vec![found.what.clone(), found.rule.clone(), yes(found.allowed)]);
    }
    section("judged whatever the labels are", &judged);
    let mut relations = Table::new(&["RELATION", "ACCESS", "LABELS"]);
    for relation in &statement.relations {
        relations.row(vec![relation.name.clone(), relation.access.clone(), listed(&relation.labels)]);
    }
    section("relations", &relations);
    for name in &statement.unknown {
        out.push_str(&format!("  unknown relation: {name}\n"));
    }
    for note in &statement.notes {
        out.push_str(&format!("  note: {note}\n"));
    }
    out
}

fn outputs(statement: &Statement) -> Table {
    let mut table = Table::new(&["#", "COLUMN", "FROM", "LABELS", "HANDLING", "WHY"]);
    for output in statement.outputs.iter().flatten() {
        table.row(vec![
            output.position.to_string(),
            output.name.clone().unwrap_or_else(|| String::from("?")),
            listed(&output.from),
            listed(&output.labels),
            output.handling.clone(),
            output.why.clone(),
        ]);
    }
    table
}

fn refused(refusal: &Refusal, paint: Paint) -> String {
    let mut out = format!("{} {}\n", paint.bad("ERROR:"), refusal.message);
    if let Some(place) = &refusal.at {
        out.push_str(&place.show());
    }
    if let Some(hint) = &refusal.hint {
        out.push_str(&format!("HINT:  {hint}\n"));
    }
    out.push_str(&format!("rule {} (SQLSTATE {}), see ERRORS.md#{}\n", refusal.rule, refusal.sqlstate, refusal.rule));
    out
}

fn yes(allowed: bool) -> String {
    String::from(if allowed { "yes" } else { "no" })
}

/// Names in a row; none is a dash.
pub(crate) fn listed(names: &[String]) -> String {
    if names.is_empty() { String::from("-") } else { names.join(", ") }
}
