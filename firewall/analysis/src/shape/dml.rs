//! RETURNING of INSERT, UPDATE and DELETE.

use super::from::Scope;
use super::names::folded;
use super::{Columns, Shaper};
use crate::parse::ast::{Delete, FromTable, Insert, SelectItem, Statement, TableObject, Update, UpdateTableFromKind};

impl Shaper<'_, '_, '_, '_> {
    pub(super) fn data_modifying(&mut self, statement: &Statement) -> Columns {
        if let Statement::Insert(insert) = statement {
            return self.insert(insert);
        }
        if let Statement::Update(update) = statement {
            return self.update(update);
        }
        if let Statement::Delete(delete) = statement {
            return self.delete(delete);
        }
        Columns::default()
    }

    fn insert(&mut self, insert: &Insert) -> Columns {
        if insert.output.is_some() || insert.insert_alias.is_some() {
            return Columns::default();
        }
        let TableObject::TableName(name) = &insert.table else {
            return Columns::default();
        };
        let alias = insert.table_alias.as_ref().map(|alias| folded(&alias.alias));
        let scope = self.named(name, alias, None);
        self.returning(insert.returning.as_deref(), &scope)
    }

    fn update(&mut self, update: &Update) -> Columns {
        if update.output.is_some() || update.limit.is_some() || !update.order_by.is_empty() {
            return Columns::default();
        }
        let mut scope = self.tables(&update.table, true);
        match &update.from {
            None => {}
            Some(UpdateTableFromKind::AfterSet(tables)) => {
                let from = self.from(tables, true);
                scope = scope.beside(from);
            }
            Some(UpdateTableFromKind::BeforeSet(_)) => scope.broken = true,
        }
        self.returning(update.returning.as_deref(), &scope)
    }

    fn delete(&mut self, delete: &Delete) -> Columns {
        if delete.output.is_some() || delete.limit.is_some() || !delete.order_by.is_empty() || !delete.tables.is_empty()
        {
            return Columns::default();
        }
        let mut scope = match &delete.from {
            FromTable::WithFromKeyword(tables) => self.from(tables, true),
            FromTable::WithoutKeyword(_) => Scope::broken(),
        };
        if let Some(using) = &delete.using {
            let using = self.from(using, true);
            scope = scope.beside(using);
        }
        self.returning(delete.returning.as_deref(), &scope)
    }

    fn returning(&mut self, list: Option<&[SelectItem]>, scope: &Scope) -> Columns {
        match list {
            Some(list) => self.list(list, scope, !scope.broken),
            None => Columns::default(),
        }
    }
}
