//! What the statements of a schema dump define, as plain data.

mod definition;
mod query;

use super::seen::{Place, Seen};
use super::walk::{Walker, qualified};
use super::{List, Node, SyntaxError, nodes, raw};
use crate::catalog::{FunctionKind, RelationKind, Volatility};
use crate::facts::Rule;
pub(crate) use definition::{
    Change, ColumnDefinition, Constraint, Definition, From, FunctionDefinition, Name, Named, Query, Source, Target,
    TypeRef,
};
use query::query;

/// The definitions in one statement of a dump.
pub(crate) fn definitions(text: &str) -> Result<Vec<Definition>, SyntaxError> {
    match pg_raw_parse::parse(text) {
        Ok(parsed) => Ok(parsed.into_inner().iter().map(|statement| definition(text, statement.stmt())).collect()),
        Err(error) => Err(super::error::locate(text, &error.to_string())),
    }
}

fn definition(text: &str, node: Node<'_>) -> Definition {
    use Definition as D;
    match node {
        Node::CreateStmt(create) => table(text, create),
        Node::CreateSeqStmt(create) => D::Sequence(range(create.sequence())),
        Node::IndexStmt(index) => {
            let mut columns: Vec<Box<str>> = Vec::new();
            for element in index.index_params() {
                columns.extend(element.name().map(Into::into));
                columns.extend(named(text, element.expr()).columns);
            }
            columns.extend(named(text, index.where_clause()).columns);
            D::Index {
                name: index.idxname().map(Into::into),
                table: range(index.relation()),
                unique: index.unique,
                columns,
            }
        }
        Node::ViewStmt(view) => D::View {
            name: range(view.view()),
            kind: RelationKind::View,
            aliases: strings(view.aliases()),
            query: query(text, view.query()),
            named: named(text, view.query()),
        },
        Node::CreateTableAsStmt(create) if create.objtype == raw::ObjectType::OBJECT_MATVIEW => D::View {
            name: range(create.into().and_then(nodes::IntoClause::rel)),
            kind: RelationKind::MaterializedView,
            aliases: create.into().map(|into| strings(into.col_names())).unwrap_or_default(),
            query: query(text, create.query()),
            named: named(text, create.query()),
        },
        Node::CompositeTypeStmt(create) => D::Composite {
            name: range(create.typevar()),
            columns: create.coldeflist().iter().map(|column| self::column(text, column)).collect(),
        },
        Node::CreateEnumStmt(create) => D::Plain(parts(create.type_name().iter().filter_map(nodes::String::sval))),
        Node::CreateRangeStmt(create) => D::Plain(parts(create.type_name().iter().filter_map(nodes::String::sval))),
        Node::CreateDomainStmt(create) => {
            let mut checks = Named::default();
            for constraint in create.constraints() {
                checks.add(named(text, constraint.raw_expr()));
            }
            let name = parts(create.domainname().iter().filter_map(nodes::String::sval));
            D::Domain { name, base: create.type_name().map(type_ref).unwrap_or_default(), checks }
        }
        Node::AlterDomainStmt(alter) => match alter.def() {
            Node::Constraint(constraint) => {
                D::DomainCheck { name: listed(alter.type_name()), checks: named(text, constraint.raw_expr()) }
            }
            _ => D::Ignored,
        },
        Node::CreateFunctionStmt(create) => D::Function(Box::new(function(create))),
        Node::DefineStmt(define) => defined(define),
        Node::CreateCastStmt(cast) => D::Cast {
            types: [cast.sourcetype(), cast.targettype()].map(|of| of.map(type_ref).unwrap_or_default()),
            function: match cast.func() {
                Some(function) => Some(Some(listed(function.objname()))),
                None => cast.inout.then_some(None),
            },
        },
        Node::CreateTrigStmt(trigger) => {
            D::Trigger { table: range(trigger.relation()), function: listed(trigger.funcname()) }
        }
        Node::RuleStmt(rule) => {
            let mut all = named(text, rule.where_clause());
            for action in rule.actions() {
                all.add(of_statement(text, action));
            }
            let of_view = rule.event == raw::CmdType::CMD_SELECT;
            D::Rule { table: range(rule.relation()), of_view, named: all }
        }
        Node::CreateExtensionStmt(create) => D::Extension {
            name: create.extname().unwrap_or_default().into(),
            schema: option(create.options().iter(), "schema").and_then(Node::as_str).map(Into::into),
        },
        Node::AlterTableStmt(alter) => D::Alter {
            table: range(alter.relation()),
            changes: alter.cmds().iter().map(|command| change(text, command)).collect(),
        },
        Node::AlterOwnerStmt(alter) => match (alter.object(), alter.newowner().and_then(nodes::RoleSpec::rolename)) {
            (Node::ObjectWithArgs(object), Some(owner)) => {
                D::FunctionOwner { name: listed(object.objname()), owner: owner.into() }
            }
            _ => D::Ignored,
        },
        other if ignored(other) => D::Ignored,
        _ => D::Unknown,
    }
}

/// Statements of dumps on which no decision depends.
fn ignored(node: Node<'_>) -> bool {
    matches!(
        node,
        Node::VariableSetStmt(_)
            | Node::SelectStmt(_)
            | Node::CopyStmt(_)
            | Node::InsertStmt(_)
            | Node::TransactionStmt(_)
            | Node::CommentStmt(_)
            | Node::GrantStmt(_)
            | Node::GrantRoleStmt(_)
            | Node::AlterDefaultPrivilegesStmt(_)
            | Node::CreateRoleStmt(_)
            | Node::AlterRoleStmt(_)
            | Node::AlterRoleSetStmt(_)
            | Node::CreateSchemaStmt(_)
            | Node::CreatedbStmt(_)
            | Node::AlterDatabaseStmt(_)
            | Node::AlterDatabaseSetStmt(_)
            | Node::CreateTableSpaceStmt(_)
            | Node::AlterSeqStmt(_)
            | Node::AlterEnumStmt(_)
            | Node::AlterTypeStmt(_)
            | Node::AlterFunctionStmt(_)
            | Node::AlterObjectDependsStmt(_)
            | Node::AlterExtensionStmt(_)
            | Node::AlterExtensionContentsStmt(_)
            | Node::CreatePolicyStmt(_)
            | Node::CreatePublicationStmt(_)
            | Node::AlterPublicationStmt(_)
            | Node::CreateSubscriptionStmt(_)
            | Node::AlterSubscriptionStmt(_)
            | Node::CreateFdwStmt(_)
            | Node::AlterFdwStmt(_)
            | Node::CreateForeignServerStmt(_)
            | Node::AlterForeignServerStmt(_)
            | Node::CreateUserMappingStmt(_)
            | Node::CreateEventTrigStmt(_)
            | Node::AlterEventTrigStmt(_)
            | Node::CreatePLangStmt(_)
            | Node::CreateOpClassStmt(_)
            | Node::CreateOpFamilyStmt(_)
            | Node::AlterOpFamilyStmt(_)
            | Node::AlterOperatorStmt(_)
            | Node::CreateConversionStmt(_)
            | Node::CreateTransformStmt(_)
            | Node::CreateAmStmt(_)
            | Node::CreateStatsStmt(_)
            | Node::AlterStatsStmt(_)
            | Node::AlterTSConfigurationStmt(_)
            | Node::AlterTSDictionaryStmt(_)
            | Node::SecLabelStmt(_)
            | Node::RefreshMatViewStmt(_)
            | Node::ClusterStmt(_)
            | Node::LockStmt(_)
    )
}

fn table(text: &str, create: &nodes::CreateStmt) -> Definition {
    let mut columns = Vec::new();
    let mut constraints = Vec::new();
    for element in create.table_elts() {
        match element {
            Node::ColumnDef(column) => columns.push(self::column(text, column)),
            Node::Constraint(constraint) => constraints.extend(self::constraint(text, constraint)),
            _ => {}
        }
    }
    for constraint in create.constraints() {
        constraints.extend(self::constraint(text, constraint));
    }
    let parents = create.inh_relations().iter().filter_map(|parent| match parent {
        Node::RangeVar(parent) => Some(range(Some(parent))),
        _ => None,
    });
    Definition::Table {
        name: range(create.relation()),
        kind: if create.partspec().is_some() { RelationKind::PartitionedTable } else { RelationKind::Table },
        columns,
        parents: parents.collect(),
        constraints,
        of: create.of_typename().map(|of| type_ref(of).name),
    }
}

fn column(text: &str, column: &nodes::ColumnDef) -> ColumnDefinition {
    let mut constraints = Vec::new();
    for found in column.constraints() {
        if let Node::Constraint(found) = found {
            constraints.extend(constraint(text, found));
        }
    }
    ColumnDefinition {
        name: column.colname().unwrap_or_default().into(),
        of: column.type_name().map(type_ref).unwrap_or_default(),
        constraints,
    }
}

fn constraint(text: &str, constraint: &nodes::Constraint) -> Option<Constraint> {
    use raw::ConstrType as C;
    Some(match constraint.contype {
        C::CONSTR_DEFAULT => Constraint::Default(named(text, constraint.raw_expr())),
        C::CONSTR_GENERATED => Constraint::Generated(named(text, constraint.raw_expr())),
        C::CONSTR_IDENTITY => Constraint::Identity(sequence_name(constraint.options())),
        C::CONSTR_PRIMARY | C::CONSTR_UNIQUE => {
            Constraint::Unique { columns: strings(constraint.keys()), index: constraint.conname().map(Into::into) }
        }
        C::CONSTR_EXCLUSION => {
            let mut columns: Vec<Box<str>> = Vec::new();
            for pair in constraint.exclusions() {
                if let Node::NodeList(pair) = pair
                    && let Some(Node::IndexElem(element)) = pair.get(0)
                {
                    columns.extend(element.name().map(Into::into));
                    columns.extend(named(text, element.expr()).columns);
                }
            }
            columns.extend(named(text, constraint.where_clause()).columns);
            Constraint::Unique { columns, index: constraint.conname().map(Into::into) }
        }
        C::CONSTR_FOREIGN => Constraint::Foreign {
            columns: strings(constraint.fk_attrs()),
            to: range(constraint.pktable()),
            to_columns: strings(constraint.pk_attrs()),
        },
        _ => return None,
    })
}

fn change(text: &str, command: Node<'_>) -> Change {
    use raw::AlterTableType as T;
    let Node::AlterTableCmd(command) = command else { return Change::Unknown };
    let name: Box<str> = command.name().unwrap_or_default().into();
    match (command.subtype, command.def()) {
        (T::AT_ChangeOwner, _) => match command.newowner().and_then(nodes::RoleSpec::rolename) {
            Some(role) => Change::Owner(role.into()),
            None => Change::Unknown,
        },
        (T::AT_AddConstraint, Node::Constraint(found)) => {
            constraint(text, found).map_or(Change::Ignored, Change::Constraint)
        }
        (T::AT_AddIdentity, Node::Constraint(found)) => Change::Identity(sequence_name(found.options())),
        (T::AT_ColumnDefault, default) => Change::Default(name, named(text, default)),
        (T::AT_AddColumn, Node::ColumnDef(added)) => Change::AddColumn(column(text, added)),
        (T::AT_AttachPartition, Node::PartitionCmd(partition)) => match partition.name() {
            // Of an index: the tables were attached already.
            Some(child) => Change::Attach(range(Some(child))),
            None => Change::Unknown,
        },
        (T::AT_AddInherit, Node::RangeVar(parent)) => Change::Inherit(range(Some(parent))),
        (T::AT_EnableRowSecurity, _) => Change::RowSecurity,
        (
            T::AT_SetStatistics
            | T::AT_SetStorage
            | T::AT_SetOptions
            | T::AT_SetNotNull
            | T::AT_SetCompression
            | T::AT_ClusterOn
            | T::AT_ForceRowSecurity
            | T::AT_NoForceRowSecurity
            | T::AT_ReplicaIdentity
            | T::AT_EnableTrig
            | T::AT_EnableAlwaysTrig
            | T::AT_EnableReplicaTrig
            | T::AT_DisableTrig
            | T::AT_DisableTrigAll
            | T::AT_EnableTrigAll
            | T::AT_EnableRule
            | T::AT_DisableRule
            | T::AT_ValidateConstraint
            | T::AT_SetRelOptions
            | T::AT_SetLogged
            | T::AT_SetUnLogged
            | T::AT_SetTableSpace
            | T::AT_AlterColumnGenericOptions
            | T::AT_GenericOptions,
            _,
        ) => Change::Ignored,
        _ => Change::Unknown,
    }
}

fn function(create: &nodes::CreateFunctionStmt) -> FunctionDefinition {
    use raw::FunctionParameterMode as M;
    let mut found = FunctionDefinition {
        name: listed(create.funcname()),
        kind: if create.is_procedure { FunctionKind::Procedure } else { FunctionKind::Function },
        returns: create.return_type().map(type_ref).unwrap_or_default(),
        has_sql_body: !matches!(create.sql_body(), Node::None),
        language: "sql".into(),
        ..FunctionDefinition::default()
    };
    for parameter in create.parameters() {
        if !matches!(parameter.mode, M::FUNC_PARAM_OUT | M::FUNC_PARAM_TABLE) {
            found.arguments.push(parameter.arg_type().map(type_ref).unwrap_or_default());
            found.defaults |= !matches!(parameter.defexpr(), Node::None);
        } else if parameter.mode == M::FUNC_PARAM_TABLE {
            found.returns.set = true;
        }
    }
    for option in create.options() {
        match (option.defname().unwrap_or_default(), option.arg()) {
            ("language", Node::String(name)) => found.language = name.sval().unwrap_or_default().into(),
            ("as", Node::NodeList(parts)) if found.body.is_none() => {
                found.body = parts.first().and_then(Node::as_str).map(Into::into);
            }
            ("volatility", Node::String(word)) => {
                found.volatility = match word.sval() {
                    Some("immutable") => Volatility::Immutable,
                    Some("stable") => Volatility::Stable,
                    _ => Volatility::Volatile,
                };
            }
            ("security", Node::Boolean(yes)) => found.security_definer = yes.boolval,
            ("window", _) => found.kind = FunctionKind::Window,
            ("set", Node::VariableSetStmt(set)) => {
                let value = set.args().iter().next().and_then(super::walk::literal).unwrap_or_default();
                found.settings.push(format!("{}={value}", set.name().unwrap_or_default()).into());
            }
            _ => {}
        }
    }
    found
}

/// CREATE AGGREGATE, OPERATOR, TYPE, COLLATION, TEXT SEARCH.
fn defined(define: &nodes::DefineStmt) -> Definition {
    use raw::ObjectType as O;
    let name = parts(define.defnames().iter().filter_map(nodes::String::sval));
    let named = |key: &str| option(define.definition().iter(), key).and_then(type_or_name);
    match define.kind {
        O::OBJECT_AGGREGATE => {
            let keys =
                ["sfunc", "finalfunc", "combinefunc", "serialfunc", "deserialfunc", "msfunc", "minvfunc", "mfinalfunc"];
            let mut arguments = Vec::new();
            if let Some(Node::NodeList(list)) = define.args().get(0) {
                for parameter in list {
                    if let Node::FunctionParameter(parameter) = parameter {
                        arguments.extend(parameter.arg_type().map(type_ref));
                    }
                }
            }
            Definition::Aggregate { name, arguments, parts: keys.iter().filter_map(|key| named(key)).collect() }
        }
        O::OBJECT_OPERATOR => {
            Definition::Operator { name: name.name, function: named("function").or_else(|| named("procedure")) }
        }
        O::OBJECT_TYPE => Definition::Base(name),
        _ => Definition::Ignored,
    }
}

/// Everything that an expression or query names.
fn named(text: &str, node: Node<'_>) -> Named {
    let mut walker = Walker::new(text, Seen::new(0..text.len()));
    walker.expression(node, Place::of(Rule::Ddl, "definition"));
    Named::of(&walker.seen)
}

/// The same of a statement (a rule's action).
fn of_statement(text: &str, node: Node<'_>) -> Named {
    Named::of(&super::utility::statement(text, 0..text.len(), node))
}

impl Named {
    fn of(seen: &Seen<'_>) -> Self {
        let name = |schema: Option<&str>, name: &str| Name { schema: schema.map(Into::into), name: name.into() };
        Self {
            relations: seen.relations.iter().filter(|r| r.cte.is_none()).map(|r| name(r.schema, r.name)).collect(),
            functions: seen.functions.iter().map(|f| name(f.schema, f.name)).collect(),
            operators: seen.operators.iter().map(|o| name(o.schema, o.name)).collect(),
            columns: seen.columns.iter().filter_map(|c| c.parts.last().map(|last| (*last).into())).collect(),
        }
    }

    fn add(&mut self, other: Self) {
        self.relations.extend(other.relations);
        self.functions.extend(other.functions);
        self.operators.extend(other.operators);
        self.columns.extend(other.columns);
    }
}

fn type_ref(of: &nodes::TypeName) -> TypeRef {
    let modifier = match of.typmods().get(0) {
        Some(Node::A_Const(constant)) => match constant.val() {
            Some(super::ConstValue::Integer(value)) => value,
            _ => -1,
        },
        _ => -1,
    };
    TypeRef {
        name: parts(of.names().iter().filter_map(nodes::String::sval)),
        array: !of.array_bounds().is_empty(),
        modifier,
        set: of.setof,
    }
}

/// Options name functions as types, or as lists of strings.
fn type_or_name(node: Node<'_>) -> Option<Name> {
    match node {
        Node::TypeName(name) => Some(type_ref(name).name),
        Node::NodeList(names) => Some(listed(names)),
        Node::String(name) => name.sval().map(|name| Name { schema: None, name: name.into() }),
        _ => None,
    }
}

fn option<'a>(mut options: impl Iterator<Item = &'a nodes::DefElem>, key: &str) -> Option<Node<'a>> {
    options.find(|option| option.defname() == Some(key)).map(nodes::DefElem::arg)
}

fn sequence_name(options: &List) -> Option<Name> {
    options.iter().find_map(|option| match option {
        Node::DefElem(option) if option.defname() == Some("sequence_name") => type_or_name(option.arg()),
        _ => None,
    })
}

fn range(relation: Option<&nodes::RangeVar>) -> Name {
    relation.map_or_else(Name::default, |relation| Name {
        schema: relation.schemaname().map(Into::into),
        name: relation.relname().unwrap_or_default().into(),
    })
}

fn listed(names: &List) -> Name {
    let (schema, name) = qualified(names);
    Name { schema: schema.map(Into::into), name: name.into() }
}

fn parts<'a>(mut names: impl DoubleEndedIterator<Item = &'a str>) -> Name {
    let name = names.next_back().unwrap_or_default().into();
    Name { schema: names.next_back().map(Into::into), name }
}

fn strings(list: &List) -> Vec<Box<str>> {
    list.iter().filter_map(Node::as_str).map(Into::into).collect()
}
