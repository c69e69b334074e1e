//! Definitions to relations and functions, in the order of the dump.

use foldhash::{HashMap, HashSet};

use super::query::{Known, rename};
use super::types::{Behind, Types};
use super::{Warning, system};
use crate::arbiter::dump::{
    Change, ColumnDefinition, Constraint, Definition, FunctionDefinition, Name, Named, TypeRef,
};
use crate::catalog::{Column, Function, FunctionKind, Relation, RelationKind};
use crate::script;

/// First OID that is not the server's own.
pub(super) const FIRST: u32 = 16_384;
/// The superuser that initdb makes.
const SUPERUSER: u32 = 10;

/// The catalog while the dump is read. What names things that may come later is kept for `finish`.
pub(super) struct Builder {
    pub(super) line: usize,
    next: u32,
    pub(super) types: Types,
    pub(super) relations: Vec<Relation>,
    by_name: HashMap<(Box<str>, Box<str>), usize>,
    pub(super) functions: Vec<Function>,
    pub(super) owners: HashMap<Box<str>, u32>,
    trusted: HashSet<Box<str>>,
    primary: HashMap<usize, Vec<Box<str>>>,
    pub(super) later: Later,
    warnings: Vec<Warning>,
}

/// References by name, to be resolved at the end. Relations by their place.
#[derive(Default)]
pub(super) struct Later {
    pub(super) defaults: Vec<(usize, i16, Named)>,
    pub(super) generated: Vec<(usize, i16, Named)>,
    pub(super) views: Vec<(usize, Named)>,
    pub(super) rules: Vec<(usize, Named)>,
    pub(super) triggers: Vec<(usize, Name)>,
    pub(super) parents: Vec<(Name, Name)>,
    pub(super) foreign: Vec<ForeignKey>,
    pub(super) domains: Vec<(Box<str>, Named)>,
    pub(super) operators: Vec<(Box<str>, Option<Name>)>,
    pub(super) casts: Vec<(TypeRef, Option<Option<Name>>)>,
    pub(super) base_types: Vec<Box<str>>,
    pub(super) aggregates: Vec<(usize, Vec<Name>)>,
}

pub(super) struct ForeignKey {
    pub(super) from: usize,
    pub(super) columns: Vec<Box<str>>,
    pub(super) to: Name,
    /// None: the key of the table.
    pub(super) to_columns: Vec<Box<str>>,
}

impl Builder {
    pub(super) fn new(trusted: &HashSet<Box<str>>) -> Self {
        let types = Types::new();
        let relations = system::relations(|oid| types.printed(oid));
        let mut builder = Self {
            line: 0,
            next: FIRST,
            types,
            relations: Vec::new(),
            by_name: HashMap::default(),
            functions: Vec::new(),
            owners: HashMap::default(),
            trusted: trusted.clone(),
            primary: HashMap::default(),
            later: Later::default(),
            warnings: Vec::new(),
        };
        for relation in relations {
            builder.push(relation);
        }
        builder
    }

    pub(super) fn warn(&mut self, message: String) {
        self.warnings.push(Warning { line: self.line, message });
    }

    pub(super) fn take_warnings(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.warnings)
    }

    pub(super) fn owned_functions(&self) -> bool {
        self.functions.iter().any(|function| function.extension.is_none() && function.owner != SUPERUSER)
    }

    fn oid(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    fn push(&mut self, relation: Relation) -> usize {
        let at = self.relations.len();
        self.by_name.insert((relation.schema.clone(), relation.name.clone()), at);
        self.relations.push(relation);
        at
    }

    /// Where a name leads; without a schema to `public`, else to the only one of that name.
    pub(super) fn find(&self, name: &Name) -> Option<usize> {
        let within = |schema: &str| self.by_name.get(&(schema.into(), name.name.clone())).copied();
        match name.schema.as_deref() {
            Some(schema) => within(schema),
            None => within("public")
                .or_else(|| within("pg_catalog"))
                .or_else(|| self.relations.iter().position(|relation| relation.name == name.name)),
        }
    }

    /// The place of a relation that a statement changes; a warning where there is none.
    fn target(&mut self, name: &Name) -> Option<usize> {
        let found = self.find(name);
        if found.is_none() {
            self.warn(format!("there is no relation {} in the dump", name.name));
        }
        found
    }

    pub(super) fn relation_columns(&self, name: &Name) -> Vec<Known> {
        let relation = self.find(name).and_then(|at| self.relations.get(at));
        let known = |c: &Column| Known { name: c.name.clone(), type_oid: c.type_oid, typmod: c.typmod };
        relation.map(|relation| relation.columns.iter().map(known).collect()).unwrap_or_default()
    }

    /// `text`: of the statement. `foreign`: the table is a foreign one.
    pub(super) fn add(&mut self, definition: Definition, text: &str, foreign: bool) {
        match definition {
            Definition::Table { name, kind, columns, parents, constraints, of } => {
                let kind = if foreign { RelationKind::ForeignTable } else { kind };
                self.table(&name, kind, columns, parents, constraints, of);
            }
            Definition::Sequence(name) => self.sequence(&name),
            Definition::Index { name, table, unique, columns } => {
                if let Some(at) = self.target(&table) {
                    if unique {
                        self.constrain(at, &columns);
                    }
                    self.index(at, name);
                }
            }
            Definition::View { name, kind, aliases, query, named } => {
                let mut columns = self.columns_of(&query);
                rename(&mut columns, &aliases);
                self.view(&name, kind, columns, text, named);
            }
            Definition::Composite { name, columns } => {
                self.table(&name, RelationKind::CompositeType, columns, Vec::new(), Vec::new(), None);
            }
            Definition::Plain(name) => self.named_type(&name, Behind::Nothing),
            Definition::Base(name) => {
                // A shell comes first, the type itself later.
                if !self.later.base_types.contains(&name.name) {
                    self.later.base_types.push(name.name.clone());
                    self.named_type(&name, Behind::Nothing);
                }
            }
            Definition::Domain { name, base, checks } => {
                let base = self.type_oid(&base);
                self.named_type(&name, Behind::Domain(base));
                self.later.domains.push((name.name, checks));
            }
            Definition::DomainCheck { name, checks } => self.later.domains.push((name.name, checks)),
            Definition::Function(function) => self.function(*function, text),
            Definition::Aggregate { name, arguments, parts } => {
                let arguments = arguments.iter().map(|of| self.type_oid(of)).collect();
                let function = Function {
                    oid: self.oid(),
                    kind: FunctionKind::Aggregate,
                    language: "internal".into(),
                    body: Some("aggregate_dummy".into()),
                    arguments,
                    ..self.function_named(&name)
                };
                self.later.aggregates.push((self.functions.len(), parts));
                self.functions.push(function);
            }
            Definition::Operator { name, function } => self.later.operators.push((name, function)),
            Definition::Cast { types, function } => {
                self.later.casts.extend(types.map(|of| (of, function.clone())));
            }
            Definition::Trigger { table, function } => {
                if let Some(at) = self.target(&table) {
                    self.later.triggers.push((at, function));
                }
            }
            Definition::Rule { table, of_view, named } => {
                if of_view {
                    self.warn(format!("the query of view {} is given as a rule, and was left out", table.name));
                } else if let Some(at) = self.target(&table) {
                    self.later.rules.push((at, named));
                }
            }
            Definition::Extension { name, schema } => self.extension(&name, schema.as_deref().unwrap_or("public")),
            Definition::Alter { table, changes } => self.alter(&table, changes),
            Definition::FunctionOwner { name, owner } => {
                let owner = self.owner(&owner);
                let schema = name.schema.as_deref().unwrap_or("public");
                let same = |f: &&mut Function| *f.name == *name.name && &*f.schema == schema;
                self.functions.iter_mut().filter(same).for_each(|function| function.owner = owner);
            }
            Definition::Ignored | Definition::Unknown => {}
        }
    }

    fn owner(&mut self, name: &str) -> u32 {
        if name == "postgres" {
            return SUPERUSER;
        }
        if let Some(oid) = self.owners.get(name) {
            return *oid;
        }
        let oid = self.oid();
        self.owners.insert(name.into(), oid);
        oid
    }

    fn relation_named(&mut self, name: &Name, kind: RelationKind) -> Relation {
        let schema: Box<str> = name.schema.clone().unwrap_or_else(|| "public".into());
        let (oid, row_type) = (self.oid(), self.oid());
        let array = self.oid();
        if !matches!(kind, RelationKind::Index | RelationKind::Sequence) {
            self.types.define(&schema, &name.name, row_type, array, Behind::Rows);
        }
        Relation { oid, schema, name: name.name.clone(), kind, owner: SUPERUSER, row_type, ..Relation::default() }
    }

    fn table(
        &mut self,
        name: &Name,
        kind: RelationKind,
        columns: Vec<ColumnDefinition>,
        parents: Vec<Name>,
        constraints: Vec<Constraint>,
        of: Option<Name>,
    ) {
        let relation = self.relation_named(name, kind);
        let at = self.push(relation);
        // Inherited columns are not repeated by hand-written files; in dumps they are.
        let mut inherited: Vec<Column> = Vec::new();
        for parent in parents.iter().chain(&of).filter_map(|parent| self.find(parent)) {
            let parent = self.relations.get(parent).map(|r| r.columns.clone()).unwrap_or_default();
            for column in parent {
                if !inherited.iter().any(|known| known.name == column.name) {
                    inherited.push(column);
                }
            }
        }
        for (column, attnum) in inherited.into_iter().zip(1..) {
            if let Some(relation) = self.relations.get_mut(at) {
                relation.columns.push(Column { attnum, ..column });
            }
        }
        for column in columns {
            self.column(at, column);
        }
        for constraint in constraints {
            self.constraint(at, None, constraint);
        }
        self.later.parents.extend(parents.into_iter().map(|parent| (name.clone(), parent)));
    }

    fn column(&mut self, at: usize, column: ColumnDefinition) {
        let ColumnDefinition { name, of, constraints } = column;
        let oid = self.serial(&of.name).unwrap_or_else(|| self.type_oid(&of));
        let type_name = self.types.printed(oid);
        let typmod = modifier(oid, of.modifier);
        let Some(relation) = self.relations.get_mut(at) else { return };
        let known = relation.columns.iter().position(|known| known.name == name);
        if known.is_none() {
            let attnum = i16::try_from(relation.columns.len() + 1).unwrap_or(i16::MAX);
            relation.columns.push(Column { attnum, name: name.clone(), type_oid: oid, typmod, type_name, label: None });
        }
        for constraint in constraints {
            self.constraint(at, Some(&name), constraint);
        }
    }

    /// `serial` is no type.
    fn serial(&self, name: &Name) -> Option<u32> {
        match (&name.schema, &*name.name) {
            (None, "serial" | "serial4") => Some(23),
            (None, "bigserial" | "serial8") => Some(20),
            (None, "smallserial" | "serial2") => Some(21),
            _ => None,
        }
    }

    /// `column`: the one that it stands at.
    fn constraint(&mut self, at: usize, column: Option<&str>, constraint: Constraint) {
        let or_here = |columns: Vec<Box<str>>| {
            if columns.is_empty() { column.map(Into::into).into_iter().collect() } else { columns }
        };
        match constraint {
            Constraint::Default(named) => {
                if let Some(attnum) = column.and_then(|name| self.attnum(at, name)) {
                    self.later.defaults.push((at, attnum, named));
                }
            }
            Constraint::Generated(named) => {
                if let Some(attnum) = column.and_then(|name| self.attnum(at, name)) {
                    self.later.defaults.push((at, attnum, named.clone()));
                    self.later.generated.push((at, attnum, named));
                }
            }
            Constraint::Unique { columns, index } => {
                let columns = or_here(columns);
                self.constrain(at, &columns);
                self.primary.entry(at).or_insert(columns);
                self.index(at, index);
            }
            Constraint::Foreign { columns, to, to_columns } => {
                self.later.foreign.push(ForeignKey { from: at, columns: or_here(columns), to, to_columns });
            }
            Constraint::Identity(sequence) => self.identity(sequence),
        }
    }

    pub(super) fn attnum(&self, at: usize, column: &str) -> Option<i16> {
        self.relations.get(at)?.column(column).map(|column| column.attnum)
    }

    pub(super) fn key_of(&self, at: usize) -> &[Box<str>] {
        self.primary.get(&at).map_or(&[], Vec::as_slice)
    }

    pub(super) fn constrain(&mut self, at: usize, columns: &[Box<str>]) {
        for attnum in columns.iter().filter_map(|name| self.attnum(at, name)).collect::<Vec<_>>() {
            if let Some(relation) = self.relations.get_mut(at)
                && !relation.constrained.contains(&attnum)
            {
                relation.constrained.push(attnum);
            }
        }
    }

    fn index(&mut self, table: usize, name: Option<Box<str>>) {
        let schema = self.relations.get(table).map(|relation| relation.schema.clone());
        if let (Some(name), Some(schema)) = (name, schema) {
            let index = self.relation_named(&Name { schema: Some(schema), name }, RelationKind::Index);
            self.push(Relation { row_type: 0, ..index });
        }
    }

    fn identity(&mut self, sequence: Option<Name>) {
        if let Some(name) = sequence.filter(|name| self.find(name).is_none()) {
            self.sequence(&name);
        }
    }

    fn sequence(&mut self, name: &Name) {
        let mut sequence = self.relation_named(name, RelationKind::Sequence);
        for (name, type_oid, attnum) in [("last_value", 20, 1), ("log_cnt", 20, 2), ("is_called", 16, 3)] {
            let type_name = self.types.printed(type_oid);
            sequence.columns.push(Column { attnum, name: name.into(), type_oid, typmod: -1, type_name, label: None });
        }
        self.push(Relation { row_type: 0, ..sequence });
    }

    fn view(&mut self, name: &Name, kind: RelationKind, columns: Vec<Known>, text: &str, named: Named) {
        // Where two views need each other, pg_dump makes an empty one first.
        let at = match self.find(name) {
            Some(at) => {
                self.later.views.retain(|(known, _)| *known != at);
                at
            }
            None => {
                let view = self.relation_named(name, kind);
                self.push(view)
            }
        };
        let columns: Vec<Column> = columns
            .into_iter()
            .zip(1..)
            .map(|(known, attnum)| Column {
                attnum,
                name: known.name,
                type_oid: known.type_oid,
                typmod: known.typmod,
                type_name: self.types.printed(known.type_oid),
                label: None,
            })
            .collect();
        if let Some(view) = self.relations.get_mut(at) {
            if view.columns.is_empty() {
                view.columns = columns;
            }
            view.definition = query_text(text).map(Into::into);
        }
        self.later.views.push((at, named));
    }

    fn named_type(&mut self, name: &Name, behind: Behind) {
        let (oid, array) = (self.oid(), self.oid());
        self.types.define(name.schema.as_deref().unwrap_or("public"), &name.name, oid, array, behind);
    }

    /// A type that nobody defined gets an OID all the same, once.
    fn type_oid(&mut self, of: &TypeRef) -> u32 {
        if let Some(oid) = self.types.find(of) {
            return oid;
        }
        if of.name.name.is_empty() {
            return 0;
        }
        self.warn(format!("type {} is not known here; its values are handled as of no known type", of.name.name));
        self.named_type(&of.name, Behind::Nothing);
        self.types.find(of).unwrap_or(0)
    }

    fn function_named(&self, name: &Name) -> Function {
        Function {
            schema: name.schema.clone().unwrap_or_else(|| "public".into()),
            name: name.name.clone(),
            owner: SUPERUSER,
            ..Function::default()
        }
    }

    fn function(&mut self, found: FunctionDefinition, text: &str) {
        let arguments = found.arguments.iter().map(|of| self.type_oid(of)).collect();
        let function = Function {
            oid: self.oid(),
            kind: found.kind,
            language: found.language,
            body: if found.has_sql_body { sql_body(text).map(Into::into) } else { found.body },
            arguments,
            returns: self.type_oid(&found.returns),
            returns_set: found.returns.set,
            volatility: found.volatility,
            security_definer: found.security_definer,
            // What they are is in the statement; that there are some is what counts.
            defaults: found.defaults.then(|| text.into()),
            settings: found.settings.into(),
            ..self.function_named(&found.name)
        };
        self.functions.push(function);
    }

    fn extension(&mut self, name: &str, schema: &str) {
        if name == "plpgsql" {
            return;
        }
        let Some(known) = system::extension(name) else {
            if self.trusted.contains(name) {
                self.warn(format!(
                    "what extension {name} defines is not known here: its functions are explained as refused"
                ));
            }
            return;
        };
        for of in known.types {
            let behind = if of == "citext" { Behind::Text } else { Behind::Nothing };
            self.named_type(&Name { schema: Some(schema.into()), name: of.into() }, behind);
        }
        for function in known.functions {
            let name_of = Name { schema: Some(schema.into()), name: function.into() };
            let function = Function {
                oid: self.oid(),
                language: "c".into(),
                extension: Some(name.into()),
                ..self.function_named(&name_of)
            };
            self.functions.push(function);
        }
    }

    fn alter(&mut self, table: &Name, changes: Vec<Change>) {
        let Some(at) = self.target(table) else { return };
        for change in changes {
            match change {
                Change::Owner(role) => {
                    let owner = self.owner(&role);
                    if let Some(relation) = self.relations.get_mut(at) {
                        relation.owner = owner;
                    }
                }
                Change::Constraint(constraint) => self.constraint(at, None, constraint),
                Change::Default(column, named) => self.constraint(at, Some(&column), Constraint::Default(named)),
                Change::Identity(sequence) => self.identity(sequence),
                Change::AddColumn(column) => self.column(at, column),
                Change::Attach(child) => self.later.parents.push((child, table.clone())),
                Change::Inherit(parent) => self.later.parents.push((table.clone(), parent)),
                Change::RowSecurity => {
                    if let Some(relation) = self.relations.get_mut(at) {
                        relation.row_security = true;
                    }
                }
                Change::Ignored => {}
                Change::Unknown => {
                    self.warn(format!("a change of table {} is not understood, and left out", table.name));
                }
            }
        }
    }
}

/// `varchar(20)` and `char(20)` count their length word.
fn modifier(type_oid: u32, given: i32) -> i32 {
    if matches!(type_oid, 1042 | 1043) && given > 0 { given.saturating_add(4) } else { -1 }
}

/// The query of CREATE VIEW … AS …, without what follows it.
fn query_text(text: &str) -> Option<&str> {
    let words: Vec<_> = script::words(text).collect();
    let is = |at: usize, word: &str| {
        words.get(at).and_then(|range| text.get(range.clone())).is_some_and(|found| found.eq_ignore_ascii_case(word))
    };
    let first = (0..words.len()).find(|&at| is(at, "as"))?;
    let mut end = text.len();
    let count = words.len();
    let tails: [&[&str]; 5] = [
        &["with", "no", "data"],
        &["with", "data"],
        &["with", "cascaded", "check", "option"],
        &["with", "local", "check", "option"],
        &["with", "check", "option"],
    ];
    for tail in tails {
        if count > tail.len() && tail.iter().zip(count - tail.len()..).all(|(word, at)| is(at, word)) {
            end = words.get(count - tail.len())?.start;
        }
    }
    Some(text.get(words.get(first)?.end..end)?.trim())
}

/// The body of a function that is written as statements.
fn sql_body(text: &str) -> Option<&str> {
    let start = script::words(text).find(|range| {
        text.get(range.clone())
            .is_some_and(|word| word.eq_ignore_ascii_case("begin") || word.eq_ignore_ascii_case("return"))
    })?;
    text.get(start.start..)
}
