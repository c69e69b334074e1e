//! What names mean: which statement stands behind a name, and what a statement does to names.

use std::sync::atomic::Ordering;

use ringfence_analysis::facts::{Effect, Kind, Rule};
use ringfence_policy::Refusal;
use ringfence_wire::frontend as fe;

use super::Session;
use super::copy_out::is_reserved;
use super::decide::Undecided;
use super::frontend::{Own, Step};
use super::reasons::*;
use crate::gate::own;
use crate::names::{Made, Portal, Prepared};
use crate::pending::{NameChange, OldMeanings};
use crate::plan::Plan;

impl Session {
    pub(super) fn made(&self) -> Made {
        Made { cycle: self.cycle, number: self.pending.next_number() }
    }

    /// An earlier cycle made the name and is not over: if it failed, the server would take the name for what it meant
    /// before. (Within one cycle, what follows a failure is skipped.)
    pub(super) fn is_unsettled(&self, made: Made) -> bool {
        self.restricted() && made.cycle != self.cycle && self.pending.owes(made.number)
    }

    pub(super) fn is_open_portal(&self, portal: &Portal) -> bool {
        self.is_unsettled(portal.made) || self.is_open_question(&portal.prepared)
    }

    /// EXECUTE or FETCH of such a name.
    pub(super) fn is_open_question(&self, prepared: &Prepared) -> bool {
        let Some(statement) = prepared.plan.as_ref().and_then(|plan| plan.statement(prepared.statement)) else {
            return false;
        };
        match &statement.effect {
            Effect::Execute(name) => {
                self.statements.get(name.as_bytes()).is_some_and(|prepared| self.is_unsettled(prepared.made))
            }
            Effect::Fetch(name) => {
                self.portals.get(name.as_bytes()).is_some_and(|portal| self.is_unsettled(portal.made))
            }
            _ => false,
        }
    }

    /// Names are kept, with their texts, for as long as the session.
    pub(super) fn no_room(&self, name: &[u8]) -> Option<Refusal> {
        let limits = &self.config.limits;
        let full = self.statements.len() >= limits.names
            || self.portals.len() >= limits.names
            || self.statements.weight() + self.portals.weight() >= limits.names_bytes;
        (full && !name.is_empty()).then(too_many_names)
    }

    pub(super) fn wait_for_replies(&mut self) -> Undecided {
        let first = !std::mem::replace(&mut self.client.flushed, true);
        Undecided::Step(Step::Wait(first.then_some(Own::Flush)))
    }

    /// The statement whose facts decide about the rows: the prepared one behind EXECUTE, the cursor's behind FETCH.
    pub(super) fn source(&self, prepared: &Prepared) -> Result<Prepared, Refusal> {
        let Some(statement) = prepared.plan.as_ref().and_then(|plan| plan.statement(prepared.statement)) else {
            return Ok(prepared.clone());
        };
        if prepared.inner {
            return Ok(prepared.clone());
        }
        if let Effect::Declare(name) = &statement.effect
            && name.as_bytes() == own::REFUSED_PORTAL
        {
            return Err(reserved("portal", name.as_bytes()));
        }
        if let Effect::Prepare(name) = &statement.effect
            && is_reserved(name.as_bytes())
        {
            return Err(reserved("statement", name.as_bytes()));
        }
        if let Effect::Prepare(name) | Effect::Declare(name) = &statement.effect
            && let Some(refusal) = self.no_room(name.as_bytes())
        {
            return Err(refusal);
        }
        let (target, what, name, sqlstate) = match &statement.effect {
            Effect::Execute(name) => {
                (self.statements.get(name.as_bytes()).cloned(), "prepared statement", name, "26000")
            }
            Effect::Fetch(name) => {
                (self.portals.get(name.as_bytes()).map(|portal| portal.prepared.clone()), "cursor", name, "34000")
            }
            _ => return Ok(prepared.clone()),
        };
        let refused = || not_analysed(what, name.as_bytes(), sqlstate);
        let mut target = target.ok_or_else(refused)?;
        let plan = target.plan.clone().ok_or_else(refused)?;
        if self.is_stale(&plan) {
            target.plan = Some(self.plan(&plan.text, &plan.parameter_types));
        }
        let plan = target.plan.as_ref().ok_or_else(refused)?;
        if let Some(unknown) = plan.unknown() {
            return Err(unknown_relation(unknown));
        }
        if let Some(refusal) = plan.refusal().filter(|_| !self.config.client.observe) {
            return Err(refusal.clone());
        }
        let Some(facts) = plan.statement(target.statement) else { return Err(refused()) };
        if matches!(statement.effect, Effect::Execute(_))
            && facts.stored_parameters.iter().any(|(_, _, label)| !self.config.client.is_plain(*label))
        {
            return Err(Refusal {
                rule: Rule::StoredExpression,
                sqlstate: "42501",
                message: format!("EXECUTE of \"{name}\" would store an argument in a protected column"),
                hint: Some(String::from("Send the statement itself, or bind its parameters in the extended protocol.")),
                position: None,
            });
        }
        Ok(target)
    }

    /// What the statement does to names and state, as soon as it is sent; undone, or doubted, if it fails.
    /// What EXECUTE or FETCH runs is `source`.
    pub(super) fn apply(&mut self, prepared: &Prepared, source: &Prepared, changed: &mut Vec<NameChange>) {
        let Some(plan) = prepared.plan.clone() else { return };
        let Some(statement) = plan.statement(prepared.statement) else { return };
        let behind = source.plan.as_ref().and_then(|plan| plan.statement(source.statement));
        if statement.taints || behind.is_some_and(|behind| behind.taints) {
            self.tainted = Some(self.cycle);
        }
        if prepared.inner {
            return;
        }
        if matches!(statement.kind, Kind::CreateTableAs | Kind::Ddl | Kind::Call | Kind::Do | Kind::Body) {
            self.note_change();
        }
        match &statement.effect {
            // Explained, it makes nothing.
            Effect::Declare(_) if statement.kind == Kind::Explain => {}
            Effect::Prepare(name) => {
                let prepared = Prepared { inner: true, made: self.made(), ..prepared.clone() };
                self.statements.set(name.as_bytes(), prepared);
                changed.push(NameChange::Statement(name.as_bytes().into()));
            }
            Effect::Declare(name) => {
                let id = self.next_portal_id();
                let prepared = Prepared { inner: true, ..prepared.clone() };
                let portal = Portal { id, prepared, made: self.made(), sql: true, described: false, started: false };
                self.portals.set(name.as_bytes(), portal);
                changed.push(NameChange::Portal(name.as_bytes().into()));
            }
            Effect::Deallocate(Some(name)) => drop(self.statements.remove(name.as_bytes())),
            Effect::Deallocate(None) => self.statements.clear_named(),
            Effect::CloseCursor(Some(name)) => drop(self.portals.remove(name.as_bytes())),
            Effect::CloseCursor(None) => self.portals.clear_named(),
            Effect::Discard => {
                self.statements.clear_named();
                self.portals.clear();
            }
            Effect::Catalog { creates } => {
                self.note_change();
                for created in creates {
                    self.own.add(created);
                }
            }
            Effect::None
            | Effect::Execute(_)
            | Effect::Fetch(_)
            | Effect::Listen(_)
            | Effect::Begin
            | Effect::Commit
            | Effect::Rollback => {}
        }
    }

    /// A text that would have made these names is not sent.
    pub(super) fn forget(&mut self, names: &[NameChange]) {
        for change in names {
            match change {
                NameChange::Statement(name) => drop(self.statements.put(name, None)),
                NameChange::Portal(name) => drop(self.portals.put(name, None)),
            }
        }
    }

    pub(super) fn put_back(&mut self, mut old: OldMeanings) {
        self.pending.put_back(&mut old);
        for (name, before) in old.statements {
            self.statements.put(&name, before);
        }
        for (name, before) in old.portals {
            self.portals.put(&name, before);
        }
    }

    /// The audit log cannot be written, and this may not go unrecorded; or the replicas have lost touch.
    pub(super) fn unaudited(&self, plan: Option<&Plan>) -> Option<Refusal> {
        if !self.config.control_fresh.load(Ordering::Relaxed) && plan.is_some_and(Plan::reaches_labels) {
            return Some(Refusal {
                rule: Rule::Control,
                sqlstate: "53000",
                message: String::from(
                    "the firewall has lost touch with its control database, so statements that reach protected columns are refused",
                ),
                hint: Some(String::from("Try again in a moment; tell the operator if it lasts.")),
                position: None,
            });
        }
        if self.config.audit_healthy.load(Ordering::Relaxed) {
            return None;
        }
        let reaches = plan.is_some_and(Plan::reaches_labels);
        (reaches || !self.config.client.continue_without_audit).then(|| Refusal {
            rule: Rule::Audit,
            sqlstate: "53100",
            message: String::from("the audit log cannot be written, so this statement is refused"),
            hint: Some(String::from(
                "The operator finds the reason in the firewall's log (is the disk full?). Try again later.",
            )),
            position: None,
        })
    }

    /// A Bind of this statement is decided by its values.
    pub(super) fn reads_parameters(&self, statement: &[u8]) -> bool {
        self.restricted() && (self.stores_labelled(statement) || self.counts_parameters(statement))
    }

    fn stores_labelled(&self, statement: &[u8]) -> bool {
        self.restricted()
            && self.statements.get(fe::name_key(statement)).is_some_and(|prepared| {
                prepared
                    .plan
                    .as_ref()
                    .and_then(|plan| plan.statement(prepared.statement))
                    .is_some_and(|s| s.stored_parameters.iter().any(|(_, _, l)| !self.config.client.is_plain(*l)))
            })
    }

    /// A parameter bound for a labelled column begins like a token.
    pub(super) fn written_token(&self, plan: &Plan, statement: usize, message: &fe::Bind<'_>) -> Option<Refusal> {
        let statement = plan.statement(statement)?;
        for (number, column, label) in &statement.stored_parameters {
            let value = message.parameters().nth(usize::from(number.saturating_sub(1))).flatten();
            if !self.config.client.is_plain(*label) && value.is_some_and(|v| v.starts_with(b"rf1_")) {
                let catalog = &self.config.world.catalog;
                let name = catalog.column(*column).map_or("?", |c| &c.name);
                return Some(Refusal {
                    rule: Rule::WrittenToken,
                    sqlstate: "42501",
                    message: format!("parameter ${number} for column {name} begins like an encrypted value (rf1_)"),
                    hint: Some(String::from(
                        "Write the plain value; values as read through the firewall cannot be written back.",
                    )),
                    position: None,
                });
            }
        }
        None
    }
}

/// EXECUTE or FETCH: what it returns is another statement's, found by name when it runs.
pub(super) fn runs_a_name(prepared: &Prepared) -> bool {
    let statement = prepared.plan.as_ref().and_then(|plan| plan.statement(prepared.statement));
    !prepared.inner && statement.is_some_and(|s| matches!(s.effect, Effect::Execute(_) | Effect::Fetch(_)))
}
