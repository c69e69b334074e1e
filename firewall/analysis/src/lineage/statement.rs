//! The outermost statement: who gets what it returns.

use std::rc::Rc;

use super::names::{folded, parts};
use super::scope::{Columns, Entry};
use super::{Handed, Lineage, any_labelled};
use crate::facts::Kind;
use crate::parse::ast::{CreateTable, Expr, Query, SelectInto, SetExpr, Statement};

impl Lineage<'_, '_, '_, '_> {
    pub(super) fn outermost(&mut self, statement: &Statement) -> Handed {
        if let Statement::Query(query) = statement {
            if let Some(into) = into(query) {
                return self.select_into(query, into);
            }
            let columns = self.query(query);
            return self.returned(columns);
        }
        if let Statement::Declare { stmts } = statement
            && let [declare] = stmts.as_slice()
            && let Some(query) = &declare.for_query
        {
            let columns = self.query(query);
            return self.returned(columns);
        }
        if let Statement::Prepare { name: _, data_types: _, statement } = statement {
            return self.outermost(statement);
        }
        if let Statement::Explain { statement, .. } = statement {
            // Nothing is returned but the plan.
            self.explaining = true;
            let result = self.outermost(statement);
            for columns in result.returned.into_iter().chain(result.created.map(|(_, _, columns)| columns)) {
                columns.unread();
            }
            return nothing();
        }
        if let Statement::CreateTable(create) = statement {
            return self.create_table_as(create);
        }
        let columns = self.data_modifying(statement);
        self.returned(columns)
    }

    fn returned(&mut self, columns: Columns) -> Handed {
        self.put_out_all(&columns);
        let query = self.resolved.seen.query || self.resolved.seen.kind == Kind::CopyOut;
        Handed { returned: query.then_some(columns), created: None }
    }

    fn create_table_as(&mut self, create: &CreateTable) -> Handed {
        let Some(query) = &create.query else {
            self.broken = true;
            return nothing();
        };
        let name = parts(&create.name).and_then(|parts| parts.last().map(|last| folded(last)));
        let columns = self.query(query);
        let mut columns = self.made_into_table(columns, create.temporary);
        for (entry, given) in columns.0.iter_mut().zip(&create.columns) {
            if let Entry::Named(column) = entry {
                column.name = folded(&given.name).into();
            }
        }
        Handed { returned: None, created: name.map(|name| (name.into(), create.temporary, columns)) }
    }

    fn select_into(&mut self, query: &Query, into: &SelectInto) -> Handed {
        let SelectInto { temporary, unlogged: _, table: _, targets } = into;
        let columns = self.query(query);
        let columns = self.made_into_table(columns, *temporary);
        let name: Option<Rc<str>> = match targets.as_slice() {
            [Expr::Identifier(ident)] => Some(folded(ident).into()),
            [Expr::CompoundIdentifier(idents)] => idents.last().map(|last| folded(last).into()),
            _ => None,
        };
        self.broken |= name.is_none();
        Handed { returned: None, created: name.map(|name| (name, *temporary, columns)) }
    }

    /// The labels go with the values into a table of the session, for those who see them in plain; of a table that stays,
    /// nobody would know them.
    fn made_into_table(&mut self, columns: Columns, temporary: bool) -> Columns {
        let mut expanded = Vec::new();
        self.expand(&columns, &[], &mut expanded);
        let columns = Columns(expanded);
        let construct = if temporary { "a temporary table" } else { super::PERMANENT };
        for entry in &columns.0 {
            match entry {
                Entry::Named(column) => self.flow(&column.value, construct),
                Entry::Open(value) => self.flow(value, construct),
                Entry::Relation(at) => {
                    let value = self.whole_relation(*at);
                    self.flow(&value, construct);
                    value.discarded();
                }
            }
        }
        self.permanent |= !temporary && any_labelled(&columns, self.resolved);
        columns
    }
}

fn nothing() -> Handed {
    Handed { returned: None, created: None }
}

/// INTO stands in the leftmost SELECT of a set operation.
fn into(query: &Query) -> Option<&SelectInto> {
    let mut body = &*query.body;
    loop {
        match body {
            SetExpr::Select(select) => return select.into.as_ref(),
            SetExpr::SetOperation { left, .. } => body = left,
            SetExpr::Query(query) => body = &query.body,
            SetExpr::Values(_)
            | SetExpr::Insert(_)
            | SetExpr::Update(_)
            | SetExpr::Delete(_)
            | SetExpr::Merge(_)
            | SetExpr::Table(_) => return None,
        }
    }
}
