//! What hangs on what: inheritance, views, rules, triggers and foreign keys.

use std::collections::{BTreeSet, HashMap};

use ringfence_analysis::catalog::{Function, Relation, RelationKind};
use tokio_postgres::{Error, Row};

use super::{FIRST_USER_OID, ForeignKey};

/// Rows already read, as the relations need them.
pub(super) struct Sources<'a> {
    /// (child, parent)
    pub(super) inherits: Vec<(u32, u32)>,
    pub(super) rules: Vec<Rule>,
    pub(super) rule_depends: Vec<RuleDepends>,
    /// (table, function)
    pub(super) triggers: Vec<(u32, u32)>,
    pub(super) foreign_keys: &'a [ForeignKey],
    pub(super) functions: &'a [Function],
}

/// A rule that a user made.
pub(super) struct Rule {
    relation: u32,
    of_view: bool,
    tree: String,
}

pub(super) struct RuleDepends {
    relation: u32,
    of_view: bool,
    reads: u32,
    calls: u32,
}

pub(super) fn read_rules(rows: &[Row]) -> Result<Vec<Rule>, Error> {
    rows.iter()
        .map(|row| Ok(Rule { relation: row.try_get(0)?, of_view: row.try_get(1)?, tree: row.try_get(2)? }))
        .collect()
}

pub(super) fn read_rule_depends(rows: &[Row]) -> Result<Vec<RuleDepends>, Error> {
    rows.iter()
        .map(|row| {
            Ok(RuleDepends {
                relation: row.try_get(0)?,
                of_view: row.try_get(1)?,
                reads: row.try_get(2)?,
                calls: row.try_get(3)?,
            })
        })
        .collect()
}

/// Fills `parents`, `reads`, `calls`, `active` and `write_reaches`.
pub(super) fn add(relations: &mut [Relation], sources: &Sources<'_>) {
    let at: HashMap<u32, usize> = relations.iter().enumerate().map(|(i, r)| (r.oid, i)).collect();
    let mut facts: Vec<Facts> = relations.iter().map(|_| Facts::default()).collect();
    let with = |facts: &mut Vec<Facts>, oid: u32, change: &dyn Fn(&mut Facts)| {
        if let Some(found) = at.get(&oid).and_then(|&i| facts.get_mut(i)) {
            change(found);
        }
    };
    for &(child, parent) in &sources.inherits {
        with(&mut facts, child, &|f| f.parents.push(parent));
        // A write to the parent lands in the child, with the child's triggers and constraints.
        with(&mut facts, parent, &|f| _ = f.writes.insert(child));
    }
    for rule in &sources.rules {
        with(&mut facts, rule.relation, &|f| {
            f.active |= !rule.of_view;
            f.ruled |= !rule.of_view;
            for oid in relation_oids(&rule.tree).filter(|&oid| oid != rule.relation) {
                f.named(rule.of_view, oid);
            }
            f.calls.extend(function_oids(&rule.tree).filter(|&oid| oid >= FIRST_USER_OID));
        });
    }
    for depends in &sources.rule_depends {
        with(&mut facts, depends.relation, &|f| {
            if depends.reads != 0 {
                f.named(depends.of_view, depends.reads);
            }
            if depends.calls >= FIRST_USER_OID {
                f.calls.insert(depends.calls);
            }
        });
    }
    let bodies: HashMap<u32, &str> =
        sources.functions.iter().filter_map(|f| Some((f.oid, f.body.as_deref()?))).collect();
    let names = user_names(relations);
    for (table, function) in &sources.triggers {
        let named = bodies.get(function).map(|body| named_relations(body, &names)).unwrap_or_default();
        with(&mut facts, *table, &|f| {
            f.active = true;
            f.writes.extend(named.iter().filter(|&oid| oid != table));
        });
    }
    for key in sources.foreign_keys {
        // Deleting or changing the referenced row acts on, and complains of, the referencing ones.
        with(&mut facts, key.to, &|f| _ = f.writes.insert(key.from));
        with(&mut facts, key.from, &|f| {
            let columns = key.from_columns.iter().zip(&key.to_columns);
            f.references.extend(columns.map(|(&own, &other)| (own, key.to, other)));
        });
    }
    for (i, relation) in relations.iter_mut().enumerate() {
        relation.write_reaches = closure(i, &facts, &at);
    }
    for (relation, facts) in relations.iter_mut().zip(facts) {
        relation.parents = facts.parents;
        relation.reads = facts.reads.into_iter().collect();
        relation.calls = facts.calls.into_iter().collect();
        relation.active = facts.active;
        relation.ruled = facts.ruled;
        relation.references = facts.references;
    }
}

#[derive(Default)]
struct Facts {
    parents: Vec<u32>,
    reads: BTreeSet<u32>,
    calls: BTreeSet<u32>,
    active: bool,
    ruled: bool,
    references: Vec<(i16, u32, i16)>,
    /// Relations that a write to this one reaches directly.
    writes: BTreeSet<u32>,
}

impl Facts {
    fn named(&mut self, by_view: bool, oid: u32) {
        if by_view {
            self.reads.insert(oid);
            // An updatable view passes writes on.
            self.writes.insert(oid);
        } else {
            self.writes.insert(oid);
        }
    }
}

fn closure(start: usize, facts: &[Facts], at: &HashMap<u32, usize>) -> Vec<u32> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start];
    while let Some(i) = open.pop() {
        for &oid in facts.get(i).into_iter().flat_map(|f| &f.writes) {
            if reached.insert(oid)
                && let Some(&next) = at.get(&oid)
            {
                open.push(next);
            }
        }
    }
    reached.into_iter().collect()
}

/// Names of relations that users made, folded: what a function's body may mean.
pub(super) fn user_names(relations: &[Relation]) -> HashMap<String, Vec<u32>> {
    let mut names: HashMap<String, Vec<u32>> = HashMap::new();
    for relation in relations.iter().filter(|r| r.oid >= FIRST_USER_OID) {
        if matches!(relation.kind, RelationKind::Index | RelationKind::Toast) {
            continue;
        }
        names.entry(relation.name.to_lowercase()).or_default().push(relation.oid);
    }
    names
}

/// Relations whose name stands anywhere in a text, as a word. Says too much rather than too little.
pub(super) fn named_relations(body: &str, names: &HashMap<String, Vec<u32>>) -> BTreeSet<u32> {
    let folded = body.to_lowercase();
    let mut found = BTreeSet::new();
    for word in folded.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')) {
        found.extend(names.get(word).into_iter().flatten());
    }
    // Quoted names may hold anything.
    for quoted in folded.split('"').skip(1).step_by(2) {
        found.extend(names.get(quoted).into_iter().flatten());
    }
    found
}

/// Relations that a node tree names (`:relid 16389`).
fn relation_oids(tree: &str) -> impl Iterator<Item = u32> {
    numbers_after(tree, ":relid ")
}

/// Functions that a node tree calls, operators' included.
pub(super) fn function_oids(tree: &str) -> impl Iterator<Item = u32> {
    [":funcid ", ":opfuncid ", ":aggfnoid ", ":winfnoid ", ":funcoid "]
        .into_iter()
        .flat_map(|marker| numbers_after(tree, marker))
}

fn numbers_after<'a>(tree: &'a str, marker: &'static str) -> impl Iterator<Item = u32> + use<'a> {
    tree.split(marker).skip(1).filter_map(|rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        rest.get(..digits)?.parse().ok().filter(|&oid| oid != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_however_they_are_written() {
        let names =
            HashMap::from([("users".to_owned(), vec![1]), ("odd name".to_owned(), vec![2]), ("a".to_owned(), vec![3])]);
        let found = |text: &str| named_relations(text, &names).into_iter().collect::<Vec<_>>();
        assert_eq!(found("SELECT * FROM public.Users u"), [1]);
        assert_eq!(found("select 1 from \"odd name\", a"), [2, 3]);
        assert!(found("select * from users_old").is_empty());
    }

    #[test]
    fn node_trees_name_oids() {
        let tree = "({QUERY :rtable ({RANGETBLENTRY :rtekind 0 :relid 16389 :relkind r}) :x {FUNCEXPR :funcid 17000}";
        assert_eq!(relation_oids(tree).collect::<Vec<_>>(), [16389]);
        assert_eq!(function_oids(tree).collect::<Vec<_>>(), [17000]);
    }
}
