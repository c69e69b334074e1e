//! Statement kinds, and the walk over those that are not plain queries. A kind that is not named here is `Other`.

use std::ops::Range;

use super::seen::{Place, Seen};
use super::walk::{QueryPlace, Walker, literal};
use super::{Node, nodes, raw};
use crate::facts::{Access, Effect, Kind, Rule};
use crate::settings;

/// Walks one statement.
pub(super) fn statement<'a>(text: &'a str, range: Range<usize>, node: Node<'a>) -> Seen<'a> {
    let mut walker = Walker::new(text, Seen::new(range));
    walker.statement(node, QueryPlace { bare: Place::OUTPUT, outermost: true });
    walker.seen
}

impl<'a> Walker<'a> {
    pub(super) fn is(&mut self, kind: Kind, verb: &'static str) {
        self.seen.kind = kind;
        self.seen.verb = verb;
    }

    /// Refused to restricted clients whatever it names.
    fn refused(&mut self, kind: Kind, verb: &'static str, rule: Rule) {
        self.is(kind, verb);
        self.seen.violation(rule, verb, Some(self.seen.range.start));
    }

    /// `place`: how the rows of an inner query are handed out.
    pub(super) fn statement(&mut self, node: Node<'a>, place: QueryPlace) {
        match node {
            Node::SelectStmt(select) => {
                if leftmost(select).into_clause().is_some() {
                    self.is(Kind::CreateTableAs, "SELECT INTO");
                    self.seen.writes = true;
                    self.creates(leftmost(select).into_clause().and_then(|into| into.rel()));
                } else {
                    self.is(Kind::Select, "SELECT");
                    self.seen.query = true;
                }
                self.query(select, place);
            }
            Node::InsertStmt(_) => self.modify(node, Kind::Insert, "INSERT", place),
            Node::UpdateStmt(_) => self.modify(node, Kind::Update, "UPDATE", place),
            Node::DeleteStmt(_) => self.modify(node, Kind::Delete, "DELETE", place),
            Node::MergeStmt(_) => self.modify(node, Kind::Merge, "MERGE", place),
            Node::TruncateStmt(truncate) => {
                self.is(Kind::Truncate, "TRUNCATE TABLE");
                self.seen.writes = true;
                self.relations(truncate.relations(), Access::Delete);
            }
            Node::CopyStmt(copy) => self.copy(copy),
            Node::ExplainStmt(explain) => {
                self.is(Kind::Explain, "EXPLAIN");
                for option in explain.options() {
                    self.generic(Node::DefElem(option), Place::of(Rule::Parser, "option"));
                }
                let bare = Place::filter("EXPLAIN");
                let kept = (self.seen.kind, self.seen.verb);
                self.statement(explain.query(), QueryPlace { bare, outermost: false });
                (self.seen.kind, self.seen.verb) = kept;
                self.seen.query = false;
                if matches!(self.seen.effect, Effect::Execute(_)) {
                    self.seen.violation(Rule::StatementKind, "EXPLAIN EXECUTE", None);
                    self.seen.effect = Effect::None;
                }
                for column in &mut self.seen.columns {
                    column.place = Place::filter("EXPLAIN");
                }
            }
            Node::DeclareCursorStmt(declare) => {
                self.statement(declare.query(), place);
                self.is(Kind::Declare, "DECLARE CURSOR");
                self.seen.effect = Effect::Declare(declare.portalname().unwrap_or_default().into());
            }
            Node::PrepareStmt(prepare) => {
                for name in prepare.argtypes() {
                    self.type_name(name);
                }
                self.statement(prepare.query(), place);
                self.is(Kind::Prepare, "PREPARE");
                self.seen.effect = Effect::Prepare(prepare.name().unwrap_or_default().into());
            }
            Node::ExecuteStmt(execute) => {
                self.is(Kind::Execute, "EXECUTE");
                for argument in execute.params() {
                    self.expression(argument, Place::of(Rule::Flow, "EXECUTE argument"));
                }
                self.seen.effect = Effect::Execute(execute.name().unwrap_or_default().into());
            }
            Node::DeallocateStmt(deallocate) => {
                self.is(Kind::Deallocate, "DEALLOCATE");
                self.seen.effect = Effect::Deallocate(deallocate.name().map(Into::into));
            }
            Node::FetchStmt(fetch) => {
                if fetch.ismove {
                    self.is(Kind::Move, "MOVE");
                } else {
                    self.is(Kind::Fetch, "FETCH");
                }
                self.seen.effect = Effect::Fetch(fetch.portalname().unwrap_or_default().into());
            }
            Node::ClosePortalStmt(close) => {
                self.is(Kind::CloseCursor, "CLOSE CURSOR");
                self.seen.effect = Effect::CloseCursor(close.portalname().map(Into::into));
            }
            Node::TransactionStmt(transaction) => self.transaction(transaction),
            Node::VariableSetStmt(set) => self.set(set),
            Node::VariableShowStmt(_) => self.is(Kind::Show, "SHOW"),
            Node::DiscardStmt(_) => {
                self.is(Kind::Discard, "DISCARD");
                self.seen.effect = Effect::Discard;
            }
            Node::ListenStmt(listen) => {
                self.is(Kind::Listen, "LISTEN");
                let channel = listen.conditionname().unwrap_or_default();
                self.channel(channel);
                self.seen.effect = Effect::Listen(channel.into());
            }
            Node::NotifyStmt(notify) => {
                self.is(Kind::Notify, "NOTIFY");
                self.channel(notify.conditionname().unwrap_or_default());
            }
            Node::UnlistenStmt(_) => self.is(Kind::Unlisten, "UNLISTEN"),
            Node::LockStmt(lock) => {
                self.is(Kind::Lock, "LOCK TABLE");
                self.relations(lock.relations(), Access::Lock);
            }
            Node::ConstraintsSetStmt(set) => {
                self.is(Kind::Set, "SET CONSTRAINTS");
                // Constraints, not relations.
                let _ = set.constraints();
            }
            Node::CreateTableAsStmt(create) => {
                self.seen.writes = true;
                match create.query() {
                    Node::SelectStmt(select) => self
                        .query(select, QueryPlace { bare: Place::of(Rule::Flow, "CREATE TABLE AS"), outermost: false }),
                    Node::ExecuteStmt(_) => {
                        self.seen.violation(Rule::Flow, "CREATE TABLE AS EXECUTE", None);
                    }
                    other => {
                        self.expression(other, Place::of(Rule::Flow, "CREATE TABLE AS"));
                        self.unread("CREATE TABLE AS");
                    }
                }
                if create.objtype == raw::ObjectType::OBJECT_MATVIEW {
                    self.refused(Kind::Body, "CREATE MATERIALIZED VIEW", Rule::StatementKind);
                } else {
                    self.is(Kind::CreateTableAs, "CREATE TABLE AS");
                }
                if let Some(into) = create.into() {
                    for option in into.options() {
                        self.expression(option, Place::of(Rule::Ddl, "option"));
                    }
                    if let Some(target) = into.rel() {
                        self.created_relation(target);
                    }
                    self.creates(into.rel());
                }
            }
            _ => self.definition(node),
        }
    }

    fn modify(&mut self, node: Node<'a>, kind: Kind, verb: &'static str, place: QueryPlace) {
        self.is(kind, verb);
        self.seen.query = match node {
            Node::InsertStmt(insert) => insert.returning_clause().is_some(),
            Node::UpdateStmt(update) => update.returning_clause().is_some(),
            Node::DeleteStmt(delete) => delete.returning_clause().is_some(),
            Node::MergeStmt(merge) => merge.returning_clause().is_some(),
            _ => false,
        };
        let columns = self.seen.columns.len();
        self.data_modifying(node);
        if !place.bare.output {
            for column in self.seen.columns.iter_mut().skip(columns) {
                column.place = Place { output: false, ..place.bare };
            }
        }
    }

    fn transaction(&mut self, transaction: &'a nodes::TransactionStmt) {
        use raw::TransactionStmtKind as K;
        let (kind, verb, effect) = match transaction.kind {
            K::TRANS_STMT_BEGIN => (Kind::Begin, "BEGIN", Effect::Begin),
            K::TRANS_STMT_START => (Kind::Begin, "START TRANSACTION", Effect::Begin),
            K::TRANS_STMT_COMMIT => (Kind::Commit, "COMMIT", Effect::Commit),
            K::TRANS_STMT_ROLLBACK => (Kind::Rollback, "ROLLBACK", Effect::Rollback),
            K::TRANS_STMT_SAVEPOINT => (Kind::Savepoint, "SAVEPOINT", Effect::None),
            K::TRANS_STMT_RELEASE => (Kind::Savepoint, "RELEASE", Effect::None),
            K::TRANS_STMT_ROLLBACK_TO => (Kind::Savepoint, "ROLLBACK", Effect::None),
            _ => {
                // Somebody else's transaction may be finished, and this one by somebody else.
                let verb = "PREPARE TRANSACTION";
                return self.refused(Kind::PreparedTransaction, verb, Rule::StatementKind);
            }
        };
        self.is(kind, verb);
        self.seen.effect = effect;
    }

    fn set(&mut self, set: &'a nodes::VariableSetStmt) {
        use raw::VariableSetKind as K;
        let name = set.name().unwrap_or_default();
        let (kind, verb, allowed) = match set.kind {
            K::VAR_SET_VALUE => {
                let mut arguments = set.args().iter();
                let value = arguments.next().and_then(literal);
                let single = arguments.next().is_none();
                (Kind::Set, "SET", settings::may_set(name, if single { value } else { None }))
            }
            K::VAR_SET_DEFAULT | K::VAR_SET_CURRENT => (Kind::Set, "SET", settings::may_reset(name)),
            // SET TRANSACTION, SET SESSION CHARACTERISTICS; the snapshot of another session is its own.
            K::VAR_SET_MULTI => (Kind::Set, "SET", true),
            K::VAR_RESET => (Kind::Reset, "RESET", settings::may_reset(name)),
            // Sets everything back to what the session began with.
            K::VAR_RESET_ALL => (Kind::Reset, "RESET", true),
            _ => (Kind::Set, "SET", false),
        };
        self.is(kind, verb);
        if !allowed {
            let construct = format!("{verb} {name}");
            self.seen.violation(Rule::Setting, construct, Some(self.seen.range.start));
        }
    }

    fn channel(&mut self, channel: &str) {
        if channel.starts_with("ringfence") {
            let construct = format!("channel {channel}");
            self.seen.violation(Rule::Admin, construct, Some(self.seen.range.start));
        }
    }

    fn relations(&mut self, list: &'a super::List, access: Access) {
        for node in list {
            match node {
                Node::RangeVar(relation) => {
                    self.relation_item(relation, access);
                }
                other => {
                    self.expression(other, Place::of(Rule::Ddl, "list"));
                    self.unread("relation list");
                }
            }
        }
    }

    /// Statements that define or maintain something, and everything else.
    fn definition(&mut self, node: Node<'a>) {
        use Kind::{Admin, Body, Ddl, Maintenance};
        let ddl = |verb| (Ddl, verb, None);
        let (kind, verb, refusal) = match node {
            Node::CreateStmt(_) => ddl("CREATE TABLE"),
            Node::IndexStmt(_) => ddl("CREATE INDEX"),
            Node::CreateSeqStmt(_) => ddl("CREATE SEQUENCE"),
            Node::AlterSeqStmt(_) => ddl("ALTER SEQUENCE"),
            Node::CreateEnumStmt(_) | Node::CompositeTypeStmt(_) => ddl("CREATE TYPE"),
            Node::AlterEnumStmt(_) => ddl("ALTER TYPE"),
            Node::AlterTableStmt(alter) => {
                if alter.cmds().iter().any(privileged) {
                    (Admin, "ALTER TABLE", Some(Rule::Admin))
                } else {
                    ddl("ALTER TABLE")
                }
            }
            Node::RenameStmt(rename) if movable(rename.rename_type) => ddl("ALTER … RENAME"),
            Node::RenameStmt(_) => (Admin, "ALTER … RENAME", Some(Rule::Admin)),
            Node::AlterObjectSchemaStmt(alter) if movable(alter.object_type) => ddl("ALTER … SET SCHEMA"),
            Node::AlterObjectSchemaStmt(_) => (Admin, "ALTER … SET SCHEMA", Some(Rule::Admin)),
            Node::CommentStmt(_) => ddl("COMMENT"),
            Node::DropStmt(drop) => match dropped(drop.remove_type) {
                Some(verb) => ddl(verb),
                None => (Admin, "DROP", Some(Rule::Admin)),
            },
            Node::CreateSchemaStmt(schema) => {
                if schema.authrole().is_some() || !schema.schema_elts().is_empty() {
                    (Admin, "CREATE SCHEMA", Some(Rule::Admin))
                } else {
                    ddl("CREATE SCHEMA")
                }
            }
            Node::VacuumStmt(vacuum) => (Maintenance, if vacuum.is_vacuumcmd { "VACUUM" } else { "ANALYZE" }, None),
            Node::ReindexStmt(_) => (Maintenance, "REINDEX", None),
            Node::ClusterStmt(_) => (Maintenance, "CLUSTER", None),
            Node::CheckPointStmt(_) => (Maintenance, "CHECKPOINT", Some(Rule::Admin)),
            Node::RefreshMatViewStmt(_) => (Maintenance, "REFRESH MATERIALIZED VIEW", Some(Rule::StatementKind)),
            Node::DoStmt(_) => (Kind::Do, "DO", Some(Rule::StatementKind)),
            Node::CallStmt(_) => (Kind::Call, "CALL", Some(Rule::StatementKind)),
            Node::ViewStmt(_) => (Body, "CREATE VIEW", Some(Rule::StatementKind)),
            Node::CreateFunctionStmt(create) => (
                Body,
                if create.is_procedure { "CREATE PROCEDURE" } else { "CREATE FUNCTION" },
                Some(Rule::StatementKind),
            ),
            Node::AlterFunctionStmt(_) => (Body, "ALTER FUNCTION", Some(Rule::StatementKind)),
            Node::CreateTrigStmt(_) => (Body, "CREATE TRIGGER", Some(Rule::StatementKind)),
            Node::RuleStmt(_) => (Body, "CREATE RULE", Some(Rule::StatementKind)),
            Node::CreatePolicyStmt(_) => (Body, "CREATE POLICY", Some(Rule::StatementKind)),
            Node::AlterPolicyStmt(_) => (Body, "ALTER POLICY", Some(Rule::StatementKind)),
            Node::DefineStmt(_) => (Body, "CREATE", Some(Rule::StatementKind)),
            Node::CreateCastStmt(_) => (Body, "CREATE CAST", Some(Rule::StatementKind)),
            Node::CreateDomainStmt(_) => (Body, "CREATE DOMAIN", Some(Rule::StatementKind)),
            Node::AlterDomainStmt(_) => (Body, "ALTER DOMAIN", Some(Rule::StatementKind)),
            Node::CreateRangeStmt(_) => (Body, "CREATE TYPE", Some(Rule::StatementKind)),
            Node::CreateOpClassStmt(_) | Node::CreateOpFamilyStmt(_) | Node::AlterOpFamilyStmt(_) => {
                (Body, "CREATE OPERATOR CLASS", Some(Rule::StatementKind))
            }
            Node::CreateEventTrigStmt(_) | Node::AlterEventTrigStmt(_) => {
                (Body, "CREATE EVENT TRIGGER", Some(Rule::StatementKind))
            }
            Node::CreateStatsStmt(_) => (Body, "CREATE STATISTICS", Some(Rule::StatementKind)),
            Node::GrantStmt(grant) => (Admin, if grant.is_grant { "GRANT" } else { "REVOKE" }, Some(Rule::Admin)),
            Node::GrantRoleStmt(grant) => {
                (Admin, if grant.is_grant { "GRANT ROLE" } else { "REVOKE ROLE" }, Some(Rule::Admin))
            }
            Node::CreateRoleStmt(_) => (Admin, "CREATE ROLE", Some(Rule::Admin)),
            Node::AlterRoleStmt(_) | Node::AlterRoleSetStmt(_) => (Admin, "ALTER ROLE", Some(Rule::Admin)),
            Node::DropRoleStmt(_) => (Admin, "DROP ROLE", Some(Rule::Admin)),
            Node::AlterSystemStmt(_) => (Admin, "ALTER SYSTEM", Some(Rule::Admin)),
            Node::CreateExtensionStmt(_) | Node::AlterExtensionStmt(_) | Node::AlterExtensionContentsStmt(_) => {
                (Admin, "CREATE EXTENSION", Some(Rule::Admin))
            }
            Node::LoadStmt(_) => (Admin, "LOAD", Some(Rule::Admin)),
            Node::CreatedbStmt(_) => (Admin, "CREATE DATABASE", Some(Rule::Admin)),
            Node::DropdbStmt(_) => (Admin, "DROP DATABASE", Some(Rule::Admin)),
            Node::AlterDatabaseStmt(_) | Node::AlterDatabaseSetStmt(_) | Node::AlterDatabaseRefreshCollStmt(_) => {
                (Admin, "ALTER DATABASE", Some(Rule::Admin))
            }
            Node::AlterOwnerStmt(_) => (Admin, "ALTER … OWNER", Some(Rule::Admin)),
            Node::CreatePublicationStmt(_) | Node::AlterPublicationStmt(_) => {
                (Admin, "CREATE PUBLICATION", Some(Rule::Admin))
            }
            Node::CreateSubscriptionStmt(_) | Node::AlterSubscriptionStmt(_) | Node::DropSubscriptionStmt(_) => {
                (Admin, "CREATE SUBSCRIPTION", Some(Rule::Admin))
            }
            Node::CreateForeignServerStmt(_)
            | Node::AlterForeignServerStmt(_)
            | Node::CreateFdwStmt(_)
            | Node::AlterFdwStmt(_)
            | Node::CreateUserMappingStmt(_)
            | Node::AlterUserMappingStmt(_)
            | Node::DropUserMappingStmt(_)
            | Node::ImportForeignSchemaStmt(_) => (Admin, "CREATE SERVER", Some(Rule::Admin)),
            Node::DropOwnedStmt(_) | Node::ReassignOwnedStmt(_) => (Admin, "DROP OWNED", Some(Rule::Admin)),
            Node::AlterDefaultPrivilegesStmt(_) => (Admin, "ALTER DEFAULT PRIVILEGES", Some(Rule::Admin)),
            Node::CreateTableSpaceStmt(_)
            | Node::DropTableSpaceStmt(_)
            | Node::AlterTableSpaceOptionsStmt(_)
            | Node::AlterTableMoveAllStmt(_) => (Admin, "CREATE TABLESPACE", Some(Rule::Admin)),
            Node::SecLabelStmt(_) => (Admin, "SECURITY LABEL", Some(Rule::Admin)),
            _ => (Kind::Other, "STATEMENT", Some(Rule::StatementKind)),
        };
        self.is(kind, verb);
        if let Some(rule) = refusal {
            self.seen.violation(rule, verb, Some(self.seen.range.start));
        }
        match kind {
            Ddl => {
                self.seen.writes = true;
                self.seen.effect = Effect::Catalog { creates: Vec::new() };
                self.ddl(node);
            }
            Maintenance => {
                let first = self.seen.relations.len();
                self.generic(node, Place::of(Rule::Ddl, verb));
                for relation in self.seen.relations.iter_mut().skip(first) {
                    relation.access = Access::Lock;
                }
            }
            // Refused, or for unrestricted clients only; the catalog may change.
            Body | Admin | Kind::Do | Kind::Call => {
                self.seen.writes = true;
                self.seen.effect = Effect::Catalog { creates: Vec::new() };
            }
            _ => {}
        }
    }
}

/// ALTER TABLE commands that hand the table to others or run triggers differently.
fn privileged(command: Node<'_>) -> bool {
    use raw::AlterTableType as T;
    let Node::AlterTableCmd(command) = command else {
        return true;
    };
    matches!(
        command.subtype,
        T::AT_ChangeOwner
            | T::AT_EnableTrig
            | T::AT_EnableAlwaysTrig
            | T::AT_EnableReplicaTrig
            | T::AT_DisableTrig
            | T::AT_EnableTrigAll
            | T::AT_DisableTrigAll
            | T::AT_EnableTrigUser
            | T::AT_DisableTrigUser
            | T::AT_EnableRule
            | T::AT_EnableAlwaysRule
            | T::AT_EnableReplicaRule
            | T::AT_DisableRule
            | T::AT_EnableRowSecurity
            | T::AT_DisableRowSecurity
            | T::AT_ForceRowSecurity
            | T::AT_NoForceRowSecurity
            | T::AT_GenericOptions
            | T::AT_ReplicaIdentity
    )
}

/// What may be given another name or schema: relations, what belongs to one, and types. Not roles, databases, schemas,
/// extensions, functions and operators.
fn movable(kind: raw::ObjectType::Type) -> bool {
    use raw::ObjectType as O;
    matches!(
        kind,
        O::OBJECT_TABLE
            | O::OBJECT_VIEW
            | O::OBJECT_MATVIEW
            | O::OBJECT_FOREIGN_TABLE
            | O::OBJECT_SEQUENCE
            | O::OBJECT_INDEX
            | O::OBJECT_COLUMN
            | O::OBJECT_ATTRIBUTE
            | O::OBJECT_TABCONSTRAINT
            | O::OBJECT_TRIGGER
            | O::OBJECT_RULE
            | O::OBJECT_POLICY
            | O::OBJECT_TYPE
    )
}

fn dropped(kind: raw::ObjectType::Type) -> Option<&'static str> {
    use raw::ObjectType as O;
    Some(match kind {
        O::OBJECT_TABLE => "DROP TABLE",
        O::OBJECT_INDEX => "DROP INDEX",
        O::OBJECT_SEQUENCE => "DROP SEQUENCE",
        O::OBJECT_VIEW => "DROP VIEW",
        O::OBJECT_MATVIEW => "DROP MATERIALIZED VIEW",
        O::OBJECT_TYPE => "DROP TYPE",
        _ => return None,
    })
}

fn leftmost(select: &nodes::SelectStmt) -> &nodes::SelectStmt {
    let mut select = select;
    while let Some(left) = select.larg() {
        select = left;
    }
    select
}
