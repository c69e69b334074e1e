//! Failed logins are counted per address and client name, and per address: a token bucket each, in memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures that one address may make for one client name, and how long one of them takes to be forgotten.
const PER_CLIENT: Rate = Rate { burst: 10.0, seconds_each: 6.0 };
/// The same for one address, whatever the names.
const PER_ADDRESS: Rate = Rate { burst: 100.0, seconds_each: 0.6 };
/// Cancel requests of one address.
const CANCELS: Rate = Rate { burst: 200.0, seconds_each: 0.05 };
/// Guesses that were under way at once are owed, up to this many bursts.
const DEBT: f64 = 3.0;
/// Keys of each kind held in memory; beyond it, the ones nearest to full are forgotten.
const MOST: usize = 16_384;
/// Of a name, this much distinguishes.
const NAME: usize = 128;

/// Counts failures. Knows nothing of which names exist, so its answers tell nothing of it.
#[derive(Debug)]
pub struct Limiter {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    clients: Buckets<(IpAddr, Box<[u8]>)>,
    addresses: Buckets<IpAddr>,
    cancels: Buckets<IpAddr>,
}

impl Default for Limiter {
    fn default() -> Self {
        Self::new()
    }
}

impl Limiter {
    pub fn new() -> Self {
        let state = State {
            clients: Buckets::new(PER_CLIENT),
            addresses: Buckets::new(PER_ADDRESS),
            cancels: Buckets::new(CANCELS),
        };
        Self { state: Mutex::new(state) }
    }

    /// May this address try to log in as `login` now? Otherwise: after how long.
    pub(crate) fn check(&self, address: IpAddr, login: &[u8]) -> Result<(), Duration> {
        let now = Instant::now();
        let state = self.lock();
        state.addresses.check(&network(address), now)?;
        state.clients.check(&(network(address), cut(login)), now)
    }

    /// It tried and failed.
    pub(crate) fn failed(&self, address: IpAddr, login: &[u8]) {
        let now = Instant::now();
        let mut state = self.lock();
        state.addresses.take(network(address), now);
        state.clients.take((network(address), cut(login)), now);
    }

    /// Takes one cancel request of an address; false if it sends too many.
    pub(crate) fn cancel(&self, address: IpAddr) -> bool {
        let now = Instant::now();
        let address = network(address);
        let mut state = self.lock();
        let allowed = state.cancels.check(&address, now).is_ok();
        if allowed {
            state.cancels.take(address, now);
        }
        allowed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one subscriber holds of IPv6 is a /64: its addresses count as one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & (u128::MAX << 64)).into()),
        v4 => v4,
    }
}

fn cut(login: &[u8]) -> Box<[u8]> {
    login.get(..NAME).unwrap_or(login).into()
}

#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: f64,
    seconds_each: f64,
}

/// Buckets that are full are not stored.
#[derive(Debug)]
struct Buckets<K> {
    rate: Rate,
    used: HashMap<K, Used>,
}

/// How much of a burst was used at a time.
#[derive(Debug, Clone, Copy)]
struct Used {
    amount: f64,
    at: Instant,
}

impl Used {
    fn now(self, rate: Rate, now: Instant) -> f64 {
        let forgotten = now.saturating_duration_since(self.at).as_secs_f64() / rate.seconds_each;
        (self.amount - forgotten).max(0.0)
    }
}

impl<K: Eq + Hash + Clone> Buckets<K> {
    fn new(rate: Rate) -> Self {
        Self { rate, used: HashMap::new() }
    }

    fn check(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let used = self.used.get(key).map_or(0.0, |u| u.now(self.rate, now));
        let over = used + 1.0 - self.rate.burst;
        if over <= 0.0 { Ok(()) } else { Err(Duration::from_secs_f64(over * self.rate.seconds_each)) }
    }

    fn take(&mut self, key: K, now: Instant) {
        let rate = self.rate;
        if self.used.len() >= MOST && !self.used.contains_key(&key) {
            self.make_room(now);
        }
        let used = self.used.entry(key).or_insert(Used { amount: 0.0, at: now });
        *used = Used { amount: (used.now(rate, now) + 1.0).min(DEBT * rate.burst), at: now };
    }

    /// Drops what is forgotten; if that is nothing, everyone's less than half-used buckets, then everything: an
    /// attacker with that many addresses is not stopped by a count per address.
    fn make_room(&mut self, now: Instant) {
        let rate = self.rate;
        self.used.retain(|_, u| u.now(rate, now) > 0.0);
        if self.used.len() >= MOST {
            self.used.retain(|_, u| u.now(rate, now) > rate.burst / 2.0);
        }
        if self.used.len() >= MOST {
            self.used.clear();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_then_wait_and_others_go_on() {
        let limiter = Limiter::new();
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        for _ in 0..10 {
            assert_eq!(limiter.check(a, b"x"), Ok(()));
            limiter.failed(a, b"x");
        }
        assert!(limiter.check(a, b"x").unwrap_err() <= Duration::from_secs(6));
        assert_eq!(limiter.check(a, b"y"), Ok(()));
        assert_eq!(limiter.check(b, b"x"), Ok(()));
    }

    #[test]
    fn an_address_with_many_names_waits_too() {
        let limiter = Limiter::new();
        let a: IpAddr = "2001:db8::1".parse().unwrap();
        for i in 0..100 {
            limiter.failed(a, format!("n{i}").as_bytes());
        }
        let neighbour: IpAddr = "2001:db8::ffff".parse().unwrap();
        assert!(limiter.check(neighbour, b"other").is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let mut buckets = Buckets::new(PER_CLIENT);
        let now = Instant::now();
        for i in 0..3 * MOST {
            buckets.take(i, now);
            assert!(buckets.used.len() <= MOST);
        }
        assert!(!buckets.used.is_empty());
        let later = now + Duration::from_secs(3600);
        buckets.make_room(later);
        assert_eq!(buckets.used.len(), 0);
    }
}
