//! The relations and expressions of statements that define tables, indexes, sequences and types.

use super::seen::Place;
use super::walk::{Walker, qualified};
use super::{Node, nodes, raw};
use crate::facts::{Access, Created, Effect, Rule};

impl<'a> Walker<'a> {
    pub(super) fn ddl(&mut self, node: Node<'a>) {
        let place = Place::of(Rule::Ddl, self.seen.verb);
        match node {
            Node::CreateStmt(create) => {
                if let Some(target) = create.relation() {
                    self.created_relation(target);
                    self.creates(Some(target));
                }
                for element in create.table_elts() {
                    self.expression(element, place);
                }
                self.expression_list(create.inh_relations(), place);
                self.maybe(create.partbound().map(Node::PartitionBoundSpec), place);
                self.maybe(create.partspec().map(Node::PartitionSpec), place);
                self.maybe(create.of_typename().map(Node::TypeName), place);
                for constraint in create.constraints() {
                    self.expression(Node::Constraint(constraint), place);
                }
                self.expression_list(create.nnconstraints(), place);
                self.expression_list(create.options(), place);
            }
            Node::CreateSeqStmt(create) => {
                if let Some(target) = create.sequence() {
                    self.created_relation(target);
                    self.creates(Some(target));
                }
                for option in create.options() {
                    self.sequence_option(option, place);
                }
            }
            Node::AlterSeqStmt(alter) => {
                if let Some(target) = alter.sequence() {
                    let at = self.relation(target, Access::Ddl);
                    self.may_miss(at, alter.missing_ok);
                }
                for option in alter.options() {
                    self.sequence_option(option, place);
                }
            }
            Node::CompositeTypeStmt(create) => {
                if let Some(target) = create.typevar() {
                    self.created_relation(target);
                }
                for column in create.coldeflist() {
                    self.expression(Node::ColumnDef(column), place);
                }
            }
            Node::IndexStmt(index) => {
                for element in index.index_params() {
                    self.index_column(element, place);
                }
                for element in index.index_including_params() {
                    if let Node::IndexElem(element) = element {
                        self.index_column(element, place);
                    }
                }
                self.generic(node, place);
            }
            Node::DropStmt(drop) => {
                for object in drop.objects() {
                    self.named_object(drop.remove_type, object, drop.missing_ok);
                }
            }
            Node::CommentStmt(comment) => {
                self.named_object(comment.objtype, comment.object(), false);
            }
            Node::AlterTableStmt(alter) => {
                self.generic(node, place);
                // Its columns are no longer those of the snapshot.
                self.creates(alter.relation());
                if alter.missing_ok {
                    self.may_miss(0, true);
                }
            }
            Node::RenameStmt(rename) => {
                // A rename can bring a labelled name onto another column: the new name counts as well.
                if let Some(relation) = rename.relation() {
                    let at = self.relation(relation, Access::Ddl);
                    self.may_miss(at, rename.missing_ok);
                }
                if rename.rename_type == raw::ObjectType::OBJECT_COLUMN {
                    self.creates(rename.relation());
                }
                if rename.rename_type == raw::ObjectType::OBJECT_TABLE
                    && let (Some(name), Effect::Catalog { creates }) = (rename.newname(), &mut self.seen.effect)
                {
                    creates.push(Created::harmless(name));
                }
            }
            Node::AlterObjectSchemaStmt(alter) => {
                if let Some(relation) = alter.relation() {
                    let at = self.relation(relation, Access::Ddl);
                    self.may_miss(at, alter.missing_ok);
                }
            }
            // Names of types, schemas and values only.
            Node::CreateEnumStmt(_) | Node::AlterEnumStmt(_) | Node::CreateSchemaStmt(_) => {}
            other => self.generic(other, place),
        }
        for relation in &mut self.seen.relations {
            relation.access = Access::Ddl;
            relation.cte = None;
        }
    }

    fn sequence_option(&mut self, option: Node<'a>, place: Place) {
        match option {
            // OWNED BY table.column
            Node::DefElem(element) if element.defname() == Some("owned_by") => {
                if let Node::NodeList(parts) = element.arg() {
                    let mut parts = parts.iter().filter_map(Node::as_str);
                    let _column = parts.next_back();
                    if let Some(table) = parts.next_back() {
                        self.object_relation(parts.next_back(), table, false);
                    }
                }
            }
            other => self.expression(other, place),
        }
    }

    fn index_column(&mut self, element: &'a nodes::IndexElem, place: Place) {
        if let Some(name) = element.name() {
            self.named_column(name, place);
        }
    }

    /// DROP and COMMENT name their objects by lists of strings.
    fn named_object(&mut self, kind: raw::ObjectType::Type, object: Node<'a>, missing_ok: bool) {
        use raw::ObjectType as O;
        let Node::NodeList(parts) = object else {
            return;
        };
        match kind {
            O::OBJECT_TABLE
            | O::OBJECT_VIEW
            | O::OBJECT_MATVIEW
            | O::OBJECT_FOREIGN_TABLE
            | O::OBJECT_SEQUENCE
            | O::OBJECT_INDEX => {
                let (schema, name) = qualified(parts);
                self.object_relation(schema, name, missing_ok);
            }
            // [schema.]table.column, or a constraint, trigger, rule or policy of a table.
            O::OBJECT_COLUMN | O::OBJECT_TABCONSTRAINT | O::OBJECT_TRIGGER | O::OBJECT_RULE | O::OBJECT_POLICY => {
                let mut parts = parts.iter().filter_map(Node::as_str);
                let _member = parts.next_back();
                if let Some(table) = parts.next_back() {
                    self.object_relation(parts.next_back(), table, missing_ok);
                }
            }
            _ => {}
        }
    }

    fn object_relation(&mut self, schema: Option<&'a str>, name: &'a str, missing_ok: bool) {
        self.seen.relations.push(super::seen::RelationRef {
            schema,
            name,
            position: usize::MAX,
            access: Access::Ddl,
            cte: None,
            may_miss: missing_ok,
        });
    }

    pub(super) fn created_relation(&mut self, target: &'a nodes::RangeVar) {
        let at = self.relation(target, Access::Ddl);
        self.may_miss(at, true);
    }

    fn may_miss(&mut self, at: usize, value: bool) {
        if let Some(relation) = self.seen.relations.get_mut(at) {
            relation.may_miss |= value;
        }
    }

    pub(super) fn creates(&mut self, target: Option<&nodes::RangeVar>) {
        if let Some(name) = target.and_then(nodes::RangeVar::relname) {
            self.seen.effect = Effect::Catalog { creates: vec![Created::harmless(name)] };
        }
    }

    fn expression_list(&mut self, list: &'a super::List, place: Place) {
        for node in list {
            self.expression(node, place);
        }
    }

    fn maybe(&mut self, node: Option<Node<'a>>, place: Place) {
        if let Some(node) = node {
            self.expression(node, place);
        }
    }
}
