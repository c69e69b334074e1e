//! WITH RECURSIVE: read again until nothing new is found.

use std::rc::Rc;

use super::Lineage;
use super::names::folded;
use super::scope::{Columns, Entry};
use crate::parse::ast::{Cte, SetExpr};

impl Lineage<'_, '_, '_, '_> {
    pub(super) fn with_recursive(&mut self, ctes: &[Cte]) {
        let first = self.ctes.len();
        // Every name hides its table everywhere; none can be read before it is known.
        for cte in ctes {
            self.ctes.push((folded(&cte.alias.name).into(), None));
        }
        for (index, cte) in ctes.iter().enumerate() {
            self.broken |= cte.from.is_some();
            let columns = if self.names_itself(cte) { self.recursive(cte, first + index) } else { self.once(cte) };
            self.learn(first + index, columns);
        }
    }

    fn learn(&mut self, at: usize, columns: Columns) {
        if let Some(slot) = self.ctes.get_mut(at) {
            slot.1 = Some(Rc::new(columns));
        }
    }

    fn once(&mut self, cte: &Cte) -> Columns {
        let columns = self.query(&cte.query).passed();
        self.renamed(columns, Some(&cte.alias))
    }

    fn recursive(&mut self, cte: &Cte, at: usize) -> Columns {
        let SetExpr::SetOperation { left, .. } = &*cte.query.body else {
            self.broken = true;
            return Columns::default();
        };
        // The part that does not name it; names that it brings along are known only inside.
        let scope = self.ctes.len();
        if let Some(with) = &cte.query.with {
            self.with(with);
        }
        let columns = self.body(left, &[]).passed();
        self.ctes.truncate(scope);
        let mut known = self.renamed(columns, Some(&cte.alias));
        loop {
            self.learn(at, known.clone());
            let again = self.once(cte);
            if self.broken || same(&known, &again) {
                return again;
            }
            known.unread();
            known = again;
        }
    }

    /// Whether the arbiter saw the expression's own name under it.
    fn names_itself(&self, cte: &Cte) -> bool {
        let name = folded(&cte.alias.name);
        let seen = self.resolved.seen;
        seen.ctes.iter().enumerate().filter(|(_, known)| known.name == &*name).any(|(index, known)| {
            seen.relations.get(known.relations.clone()).unwrap_or_default().iter().any(|r| r.cte == Some(index))
        })
    }
}

fn same(one: &Columns, other: &Columns) -> bool {
    one.0.len() == other.0.len()
        && one.0.iter().zip(&other.0).all(|pair| match pair {
            (Entry::Named(a), Entry::Named(b)) => a.value.same(&b.value),
            (Entry::Relation(a), Entry::Relation(b)) => a == b,
            (Entry::Open(a), Entry::Open(b)) => a.same(b),
            _ => false,
        })
}
