//! The root token: compared in constant time, guesses slowed down.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// So many wrong tokens an address may send …
const FAILURES: u32 = 10;
/// … in this time.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses remembered; beyond them the oldest window goes.
const ADDRESSES: usize = 1024;

/// Failures per address.
#[derive(Debug, Default)]
pub struct Guard(Mutex<HashMap<IpAddr, (Instant, u32)>>);

/// What became of a request's credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    Denied,
    /// Too many failures: not even looked at.
    Slowed,
}

impl Guard {
    /// `given`: the content of the Authorization header.
    pub fn check(&self, address: IpAddr, given: Option<&str>, root: &str, now: Instant) -> Admission {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, count)) = failures.get(&address)
            && *count >= FAILURES
            && now.duration_since(*since) < WINDOW
        {
            return Admission::Slowed;
        }
        let token = given.and_then(|header| {
            let (scheme, token) = header.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        if token.is_some_and(|token| same(token, root)) {
            failures.remove(&address);
            return Admission::Admitted;
        }
        if failures.len() >= ADDRESSES
            && !failures.contains_key(&address)
            && let Some(oldest) = failures.iter().min_by_key(|(_, (since, _))| *since).map(|(a, _)| *a)
        {
            failures.remove(&oldest);
        }
        let entry = failures.entry(address).or_insert((now, 0));
        if now.duration_since(entry.0) >= WINDOW {
            *entry = (now, 0);
        }
        entry.1 += 1;
        Admission::Denied
    }
}

/// Hashed first: then not even the length shows in the time.
fn same(given: &str, root: &str) -> bool {
    let (given, root) = (Sha256::digest(given.as_bytes()), Sha256::digest(root.as_bytes()));
    bool::from(given.as_slice().ct_eq(root.as_slice()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_is_slowed_per_address() {
        let guard = Guard::default();
        let root = "r".repeat(40);
        let (one, two) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let now = Instant::now();
        for _ in 0..FAILURES {
            assert_eq!(guard.check(one, Some("Bearer wrong"), &root, now), Admission::Denied);
        }
        let right = format!("Bearer {root}");
        assert_eq!(guard.check(one, Some(&right), &root, now), Admission::Slowed);
        assert_eq!(guard.check(two, Some(&right), &root, now), Admission::Admitted);
        assert_eq!(guard.check(one, Some(&right), &root, now + WINDOW), Admission::Admitted);
        assert_eq!(guard.check(two, None, &root, now), Admission::Denied);
        assert_eq!(guard.check(two, Some(&root), &root, now), Admission::Denied);
    }
}
