//! Guesses: what a client compares protected values with counts like values that it was shown (soundness 2).
//!
//! Counted are the literals and parameters of a statement that filters by a label with `values_per_hour`, all of them:
//! which one stands next to the column is not asked. An array counts as its elements. What a statement makes up by itself
//! (`generate_series`) is no equality, so it needs `filter: any`.

use std::time::Instant;

use ringfence_analysis::LabelId;
use ringfence_analysis::facts::Use;
use ringfence_policy::Refusal;
use ringfence_wire::frontend as fe;
use smallvec::SmallVec;

use super::Session;
use crate::names::Prepared;

type Labels = SmallVec<[LabelId; 2]>;

impl Session {
    /// Charges for the literals of a statement and of the one that it runs by name. The refusal if they are too many.
    pub(super) fn guessed_literals(&mut self, now: Instant, written: &Prepared, source: &Prepared) -> Option<Refusal> {
        let labels = self.guessed(source);
        if labels.is_empty() {
            return None;
        }
        let mut refusal = None;
        let same = written.plan.as_ref().map(|p| p.text.as_ptr()) == source.plan.as_ref().map(|p| p.text.as_ptr());
        for prepared in std::iter::once(source).chain((!same).then_some(written)) {
            let Some(plan) = &prepared.plan else { continue };
            let range = plan.statement(prepared.statement).map(|s| s.range.clone()).unwrap_or_default();
            ringfence_analysis::literals(plan.text.get(range).unwrap_or_default(), |literal| {
                // Plain ones count as the parameter would.
                let inner = if let [b'\'', inner @ .., b'\''] = literal { inner } else { literal };
                refusal = refusal.take().or_else(|| self.charge(now, &labels, inner));
            });
        }
        refusal
    }

    /// Charges for the parameters that a statement is bound with.
    pub(super) fn guessed_parameters(
        &mut self,
        now: Instant,
        source: &Prepared,
        message: &fe::Bind<'_>,
    ) -> Option<Refusal> {
        let labels = self.guessed(source);
        if labels.is_empty() {
            return None;
        }
        message.parameters().flatten().find_map(|value| self.charge(now, &labels, value))
    }

    /// The parameters of this statement count as guesses.
    pub(super) fn counts_parameters(&self, statement: &[u8]) -> bool {
        if !self.config.client.counts_values() {
            return false;
        }
        let Some(prepared) = self.statements.get(fe::name_key(statement)) else { return false };
        self.source(prepared).is_ok_and(|source| !self.guessed(&source).is_empty())
    }

    /// Labels that the statement filters by, and whose values are counted.
    fn guessed(&self, source: &Prepared) -> Labels {
        let client = &self.config.client;
        let statement = source.plan.as_ref().and_then(|plan| plan.statement(source.statement));
        if client.observe || !client.counts_values() {
            return Labels::new();
        }
        let mut labels = Labels::new();
        for used in statement.into_iter().flat_map(|s| &s.columns) {
            let limited = client.labels.get(usize::from(used.label.0)).is_some_and(|l| l.values_per_hour.is_some());
            if limited && matches!(used.how, Use::Filter { .. } | Use::Violation(_)) && !labels.contains(&used.label) {
                labels.push(used.label);
            }
        }
        labels
    }

    /// Charges for a value, or for each element of an array.
    fn charge(&mut self, now: Instant, labels: &Labels, value: &[u8]) -> Option<Refusal> {
        match elements(value) {
            Some(mut elements) => elements.find_map(|element| self.charge_one(now, labels, element)),
            None => self.charge_one(now, labels, value),
        }
    }

    fn charge_one(&mut self, now: Instant, labels: &Labels, value: &[u8]) -> Option<Refusal> {
        let client = &self.config.client;
        labels
            .iter()
            .find_map(|label| self.meter.value(client, *label, value, now).err())
            .map(|spent| spent.refusal(&client.name))
    }
}

/// What may be the elements of an array: of its text form between commas (a comma inside quotes makes two of one), of its
/// binary form by their lengths. Whatever looks like one is taken for one.
fn elements(value: &[u8]) -> Option<Box<dyn Iterator<Item = &[u8]> + '_>> {
    // Blanks, bounds and the quotes of a literal may stand around it.
    let braces = (value.iter().position(|b| *b == b'{'), value.iter().rposition(|b| *b == b'}'));
    if let (Some(open), Some(close)) = braces
        && let Some(inner) = value.get(open + 1..close)
    {
        return Some(Box::new(inner.split(|byte| *byte == b',')));
    }
    let word = |at: usize| -> Option<u32> {
        let bytes = value.get(at..at.checked_add(4)?)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    // Number of dimensions, whether there are NULLs, the elements' type; then length and lower bound of each dimension.
    let dimensions = usize::try_from(word(0)?).ok().filter(|n| (1..=6).contains(n))?;
    if word(4)? > 1 {
        return None;
    }
    let mut at = 12 + 8 * dimensions;
    let mut found = Vec::new();
    while at < value.len() {
        let length = word(at)?;
        at += 4;
        if length == u32::MAX {
            continue;
        }
        let end = at.checked_add(usize::try_from(length).ok()?)?;
        found.push(value.get(at..end)?);
        at = end;
    }
    Some(Box::new(found.into_iter()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::elements;

    #[test]
    fn arrays_are_counted_by_element() {
        let list = |value: &[u8]| elements(value).map(Iterator::count);
        assert_eq!(list(b"{a,b,c}"), Some(3));
        assert_eq!(list(b" [0:1]={a,b} "), Some(2));
        assert_eq!(list(b"E'{a,b}'"), Some(2));
        assert_eq!(list(b"}{"), None);
        assert_eq!(list(b"user7@example.com"), None);
        let mut binary: Vec<u8> = [1u32, 0, 25, 2, 1].iter().flat_map(|n| n.to_be_bytes()).collect();
        for element in [&b"ada"[..], b"bob"] {
            binary.extend(u32::try_from(element.len()).unwrap().to_be_bytes());
            binary.extend(element);
        }
        assert_eq!(elements(&binary).unwrap().collect::<Vec<_>>(), [&b"ada"[..], b"bob"]);
        binary.pop();
        assert_eq!(list(&binary), None);
    }
}
