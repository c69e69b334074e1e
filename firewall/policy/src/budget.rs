//! Budgets: how many rows, and how many distinct protected values, a client may have within an hour, over all its
//! connections to this process.
//!
//! What is spent belongs to the client's name and outlives its connections and the policy; the limits are the policy's
//! of the moment. Rows are counted by the minute. Distinct values are kept as keyed 64-bit hashes, at
//! most as many as the limit: the limit bounds the memory.
//!
//! A session asks through its [`Meter`], before it sends: rows are taken from the shared count in batches, and a value
//! that the session was charged for lately costs no lock.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ringfence_analysis::LabelId;
use ringfence_analysis::facts::Rule;

use crate::{ClientPolicy, Refusal};

/// A limit of the classification, and the role that gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    pub most: u64,
    pub role: Arc<str>,
}

/// What all clients have spent. One for the process.
#[derive(Debug, Default)]
pub struct Budgets {
    clients: Mutex<HashMap<Box<str>, Arc<ClientBudget>>>,
    hasher: RandomState,
}

/// What one client has spent, by all its connections.
#[derive(Debug)]
pub struct ClientBudget {
    /// Time is counted from the first question: any clock will do.
    started: OnceLock<Instant>,
    rows: Mutex<Rows>,
    /// By label name: label numbers change with the policy.
    values: Mutex<HashMap<Arc<str>, Arc<Mutex<Values>>>>,
    hasher: RandomState,
}

/// One session's view of its client's budget.
#[derive(Debug)]
pub struct Meter {
    budget: Arc<ClientBudget>,
    /// Taken from the budget and not sent yet.
    rows: u64,
    /// Hashes that were paid for, and until when; by their lower bits. Empty until the first value.
    paid: Vec<Option<(u64, Instant)>>,
}

/// A limit is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// The label whose values are spent; `None`: rows.
    pub label: Option<Arc<str>>,
    pub limit: Limit,
    /// After this, part of it is free again.
    pub frees_in: Duration,
}

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: u64 = 60;
/// Rows that a session takes at a time. What it does not send it gives back.
const BATCH: u64 = 64;
/// Values that a session remembers to have paid for.
const REMEMBERED: usize = 1_024;

impl Budgets {
    pub fn new() -> Self {
        Self::default()
    }

    /// The budget of a client: the same for the same name.
    pub fn for_client(&self, name: &str) -> Arc<ClientBudget> {
        let mut clients = lock(&self.clients);
        if let Some(known) = clients.get(name) {
            return Arc::clone(known);
        }
        let budget = Arc::new(ClientBudget {
            started: OnceLock::new(),
            rows: Mutex::default(),
            values: Mutex::default(),
            hasher: self.hasher.clone(),
        });
        clients.insert(name.into(), Arc::clone(&budget));
        budget
    }
}

impl ClientBudget {
    /// Takes between 1 and `wanted` rows.
    pub fn take_rows(&self, limit: &Limit, wanted: u64, now: Instant) -> Result<u64, Spent> {
        let now = self.since_start(now);
        let mut rows = lock(&self.rows);
        rows.take(limit.most, wanted, now).map_err(|frees_in| Spent { label: None, limit: limit.clone(), frees_in })
    }

    /// Rows that were taken and not sent.
    pub fn give_back(&self, rows: u64) {
        lock(&self.rows).give_back(rows);
    }

    /// Charges for one value, given by its hash ([`ClientBudget::hash`]), unless it was charged for within the hour.
    /// Says for how long it is paid now.
    pub fn charge(&self, label: &Arc<str>, limit: &Limit, hash: u64, now: Instant) -> Result<Duration, Spent> {
        let now = self.since_start(now);
        let values = Arc::clone(lock(&self.values).entry(Arc::clone(label)).or_default());
        let mut values = lock(&values);
        values.charge(limit.most, hash, now).map_err(|frees_in| Spent {
            label: Some(Arc::clone(label)),
            limit: limit.clone(),
            frees_in,
        })
    }

    /// Keyed, so that nobody can choose values that collide. The same in all sessions of the process.
    pub fn hash(&self, label: &str, value: &[u8]) -> u64 {
        self.hasher.hash_one((label, value))
    }

    fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.started.get_or_init(|| now))
    }
}

impl Meter {
    pub fn new(budget: Arc<ClientBudget>) -> Self {
        Self { budget, rows: 0, paid: Vec::new() }
    }

    /// Before a row that holds a labelled column is sent. Without a limit this is one comparison.
    pub fn row(&mut self, client: &ClientPolicy, now: Instant) -> Result<(), Spent> {
        let Some(limit) = &client.rows_per_hour else { return Ok(()) };
        if self.rows == 0 {
            self.rows = self.budget.take_rows(limit, BATCH, now)?;
        }
        self.rows = self.rows.saturating_sub(1);
        Ok(())
    }

    /// Before a value of a label is sent, handled or plain: `value` is the value itself, not what is shown of it. NULL,
    /// and values that become NULL, are not asked about. Guesses (literals compared with the label) count alike.
    pub fn value(&mut self, client: &ClientPolicy, label: LabelId, value: &[u8], now: Instant) -> Result<(), Spent> {
        let Some(policy) = client.labels.get(usize::from(label.0)) else { return Ok(()) };
        let Some(limit) = &policy.values_per_hour else { return Ok(()) };
        let hash = self.budget.hash(&policy.name, value);
        if self.paid.is_empty() {
            self.paid.resize(REMEMBERED, None);
        }
        let place = usize::try_from(hash % REMEMBERED as u64).unwrap_or_default();
        if let Some(Some((known, until))) = self.paid.get(place)
            && *known == hash
            && now < *until
        {
            return Ok(());
        }
        let paid_for = self.budget.charge(&policy.name, limit, hash, now)?;
        if let Some(slot) = self.paid.get_mut(place) {
            *slot = Some((hash, now + paid_for));
        }
        Ok(())
    }

    /// At the end of a statement: gives back the rows that were taken and not sent.
    pub fn settle(&mut self) {
        if self.rows > 0 {
            self.budget.give_back(std::mem::take(&mut self.rows));
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Rows of the last hour, by the minute.
#[derive(Debug, Default)]
struct Rows {
    /// (minute, rows), oldest first: at most 61.
    minutes: VecDeque<(u64, u64)>,
    total: u64,
}

impl Rows {
    /// `Err`: how long until some are free.
    fn take(&mut self, most: u64, wanted: u64, now: Duration) -> Result<u64, Duration> {
        while let Some((minute, rows)) = self.minutes.pop_front_if(|(minute, _)| frees_at(*minute) <= now) {
            let _ = minute;
            self.total = self.total.saturating_sub(rows);
        }
        let left = most.saturating_sub(self.total);
        if left == 0 {
            let oldest = self.minutes.front().map_or(HOUR, |(minute, _)| frees_at(*minute).saturating_sub(now));
            return Err(oldest);
        }
        let taken = left.min(wanted.max(1));
        // A session whose clock is a little behind another's counts in the newest minute.
        let minute = now.as_secs() / MINUTE;
        match self.minutes.back_mut() {
            Some((newest, rows)) if *newest >= minute => *rows += taken,
            _ => self.minutes.push_back((minute, taken)),
        }
        self.total += taken;
        Ok(taken)
    }

    /// From the newest minute backwards.
    fn give_back(&mut self, rows: u64) {
        let mut rest = rows;
        for (_, counted) in self.minutes.iter_mut().rev() {
            let removed = rest.min(*counted);
            *counted -= removed;
            self.total = self.total.saturating_sub(removed);
            rest -= removed;
            if rest == 0 {
                break;
            }
        }
        while self.minutes.pop_back_if(|(_, counted)| *counted == 0).is_some() {}
    }
}

/// The whole minute counts for an hour after its end.
fn frees_at(minute: u64) -> Duration {
    Duration::from_secs((minute + 1) * MINUTE) + HOUR
}

/// Distinct values of the last hour.
#[derive(Debug, Default)]
struct Values {
    /// When each was charged for.
    charged: HashMap<u64, Duration>,
    /// In that order.
    order: VecDeque<(Duration, u64)>,
}

impl Values {
    /// For how long the value is paid. `Err`: how long until another can be.
    fn charge(&mut self, most: u64, hash: u64, now: Duration) -> Result<Duration, Duration> {
        while let Some((_, old)) = self.order.pop_front_if(|(at, _)| *at + HOUR <= now) {
            self.charged.remove(&old);
        }
        if let Some(at) = self.charged.get(&hash) {
            return Ok((*at + HOUR).saturating_sub(now));
        }
        if self.charged.len() as u64 >= most {
            return Err(self.order.front().map_or(HOUR, |(at, _)| (*at + HOUR).saturating_sub(now)));
        }
        // Never before the newest: clocks of sessions differ by what their messages waited.
        let at = self.order.back().map_or(now, |(newest, _)| now.max(*newest));
        self.order.push_back((at, hash));
        self.charged.insert(hash, at);
        Ok((at + HOUR).saturating_sub(now))
    }
}

impl Spent {
    /// The error that the client gets, and the rest of the rows with it.
    pub fn refusal(&self, client: &str) -> Refusal {
        let Limit { most, role } = &self.limit;
        let minutes = self.frees_in.as_secs().div_ceil(MINUTE).max(1);
        let unit = if minutes == 1 { "minute" } else { "minutes" };
        let message = match &self.label {
            None => format!(
                "client \"{client}\" has had the {most} rows with labelled columns an hour that role \"{role}\" allows (rows_per_hour)"
            ),
            Some(label) => format!(
                "client \"{client}\" has had the {most} different values of label {label} an hour that role \"{role}\" allows \
                 (values_per_hour)"
            ),
        };
        Refusal {
            rule: Rule::Budget,
            sqlstate: "53400",
            message,
            hint: Some(format!(
                "Part of it is free again in {minutes} {unit}. Ask for less, or for a larger limit in the classification."
            )),
            position: None,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;
    use crate::{Handling, LabelPolicy};

    fn limit(most: u64) -> Limit {
        Limit { most, role: "analyst".into() }
    }

    fn minutes(start: Instant, minutes: u64) -> Instant {
        start + Duration::from_secs(minutes * 60)
    }

    /// A client with one label, number 0.
    fn client(rows: Option<u64>, values: Option<u64>) -> ClientPolicy {
        let mut label = LabelPolicy::refused(&Arc::from("pci"));
        label.handling = Handling::Plain;
        label.values_per_hour = values.map(limit);
        ClientPolicy { rows_per_hour: rows.map(limit), labels: vec![label], ..ClientPolicy::default() }
    }

    const PCI: LabelId = LabelId(0);

    #[test]
    fn rows_are_spent_to_the_last_one_and_free_after_the_hour() {
        let budget = Budgets::new().for_client("analyst");
        let start = Instant::now();
        let limit = limit(100);
        assert_eq!(budget.take_rows(&limit, 64, start), Ok(64));
        assert_eq!(budget.take_rows(&limit, 64, minutes(start, 30)), Ok(36));
        let spent = budget.take_rows(&limit, 1, minutes(start, 31)).unwrap_err();
        assert_eq!(spent.frees_in, Duration::from_secs(30 * 60));
        assert!(budget.take_rows(&limit, 1, minutes(start, 60)).is_err(), "the whole first minute counts");
        assert_eq!(budget.take_rows(&limit, 100, minutes(start, 61)), Ok(64));
        assert_eq!(budget.take_rows(&limit, 100, minutes(start, 500)), Ok(100));
    }

    #[test]
    fn what_was_not_sent_is_given_back() {
        let budget = Budgets::new().for_client("analyst");
        let start = Instant::now();
        let client = client(Some(10), None);
        let mut meter = Meter::new(Arc::clone(&budget));
        meter.row(&client, start).unwrap();
        assert!(budget.take_rows(&limit(10), 1, start).is_err(), "taken as a batch");
        meter.settle();
        assert_eq!(budget.take_rows(&limit(10), 64, start), Ok(9));
        budget.give_back(9);
        for _ in 0..9 {
            meter.row(&client, start).unwrap();
        }
        assert_eq!(meter.row(&client, start).unwrap_err().label, None);
        drop(meter);
        assert!(budget.take_rows(&limit(10), 1, start).is_err());
    }

    #[test]
    fn a_session_that_ends_gives_back_too() {
        let budget = Budgets::new().for_client("analyst");
        let start = Instant::now();
        let client = client(Some(10), None);
        let mut meter = Meter::new(Arc::clone(&budget));
        meter.row(&client, start).unwrap();
        drop(meter);
        assert_eq!(budget.take_rows(&limit(10), 64, start), Ok(9));
    }

    #[test]
    fn a_value_counts_once_an_hour_over_all_connections() {
        let budgets = Budgets::new();
        let start = Instant::now();
        let client = client(None, Some(2));
        let mut one = Meter::new(budgets.for_client("app"));
        let mut two = Meter::new(budgets.for_client("app"));
        for _ in 0..10 {
            one.value(&client, PCI, b"a", start).unwrap();
            two.value(&client, PCI, b"a", start).unwrap();
            two.value(&client, PCI, b"b", minutes(start, 20)).unwrap();
        }
        let spent = one.value(&client, PCI, b"c", minutes(start, 30)).unwrap_err();
        assert_eq!(spent.label.as_deref(), Some("pci"));
        assert_eq!(spent.frees_in, Duration::from_secs(30 * 60));
        // What was paid for stays readable.
        one.value(&client, PCI, b"a", minutes(start, 59)).unwrap();
        one.value(&client, PCI, b"b", minutes(start, 59)).unwrap();
        one.value(&client, PCI, b"c", minutes(start, 60)).unwrap();
        assert!(one.value(&client, PCI, b"a", minutes(start, 61)).is_err(), "paid for an hour, not for ever");
        let mut other = Meter::new(budgets.for_client("other"));
        other.value(&client, PCI, b"d", start).unwrap();
        assert!(Arc::ptr_eq(&budgets.for_client("app"), &budgets.for_client("app")));
    }

    #[test]
    fn without_limits_nothing_is_counted() {
        let budget = Budgets::new().for_client("app");
        let mut meter = Meter::new(Arc::clone(&budget));
        let client = client(None, None);
        for _ in 0..1_000 {
            meter.row(&client, Instant::now()).unwrap();
            meter.value(&client, PCI, b"a", Instant::now()).unwrap();
        }
        assert!(meter.paid.is_empty() && lock(&budget.values).is_empty());
        assert_eq!(lock(&budget.rows).total, 0);
    }

    #[test]
    fn what_is_kept_is_bounded_by_the_limit_and_by_the_hour() {
        let budget = Budgets::new().for_client("app");
        let start = Instant::now();
        let client = client(Some(1_000_000), Some(100));
        let mut meter = Meter::new(Arc::clone(&budget));
        for minute in 0..300u64 {
            let now = minutes(start, minute);
            meter.row(&client, now).unwrap();
            meter.settle();
            for value in 0..50u64 {
                let _ = meter.value(&client, PCI, &(minute * 50 + value).to_be_bytes(), now);
            }
        }
        let values = Arc::clone(&lock(&budget.values)["pci"]);
        let values = lock(&values);
        assert!(values.charged.len() <= 100 && values.order.len() == values.charged.len());
        assert!(lock(&budget.rows).minutes.len() <= 62);
    }

    #[test]
    fn clocks_of_sessions_may_differ() {
        let budget = Budgets::new().for_client("app");
        let (early, late) = (Instant::now(), minutes(Instant::now(), 10));
        budget.take_rows(&limit(10), 1, late).unwrap();
        budget.take_rows(&limit(10), 1, early).unwrap();
        let label = Arc::from("pci");
        budget.charge(&label, &limit(2), 1, late).unwrap();
        budget.charge(&label, &limit(2), 2, early).unwrap();
        assert!(budget.charge(&label, &limit(2), 3, early).is_err());
    }

    #[test]
    fn many_sessions_at_once_get_exactly_what_there_is() {
        const SESSIONS: usize = 8;
        let budgets = Budgets::new();
        let start = Instant::now();
        let client = client(Some(10_000), Some(3_000));
        let counts: Vec<(u64, u64)> = std::thread::scope(|scope| {
            let sessions: Vec<_> = (0..SESSIONS)
                .map(|session| {
                    let (budgets, client) = (&budgets, &client);
                    scope.spawn(move || {
                        let mut meter = Meter::new(budgets.for_client("app"));
                        let (mut rows, mut values) = (0, 0);
                        while meter.row(client, start).is_ok() {
                            rows += 1;
                        }
                        for value in 0..2_000 {
                            let value = (session * 2_000 + value).to_be_bytes();
                            values += u64::from(meter.value(client, PCI, &value, start).is_ok());
                        }
                        (rows, values)
                    })
                })
                .collect();
            sessions.into_iter().map(|s| s.join().unwrap()).collect()
        });
        assert_eq!(counts.iter().map(|(rows, _)| rows).sum::<u64>(), 10_000);
        assert_eq!(counts.iter().map(|(_, values)| values).sum::<u64>(), 3_000);
    }

    #[test]
    fn the_error_names_client_role_limit_and_when() {
        let rows = Spent { label: None, limit: limit(5), frees_in: Duration::from_secs(61) }.refusal("bi");
        assert_eq!(
            rows.message,
            "client \"bi\" has had the 5 rows with labelled columns an hour that role \"analyst\" allows (rows_per_hour)"
        );
        assert_eq!((rows.sqlstate, rows.rule), ("53400", Rule::Budget));
        assert!(rows.hint.unwrap().contains("in 2 minutes"));
        let values = Spent { label: Some("pci".into()), limit: limit(5), frees_in: Duration::ZERO }.refusal("bi");
        assert!(values.message.contains("5 different values of label pci"), "{}", values.message);
        assert!(values.hint.unwrap().contains("in 1 minute."));
    }
}
