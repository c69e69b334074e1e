//! Counters, gauges and histograms: atomics, and the text that Prometheus reads.

use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Threads that count without getting into each other's way.
const SLOTS: usize = 4;

/// Goes up.
#[derive(Debug, Default)]
pub struct Counter([Slot; SLOTS]);

/// A cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Slot(AtomicU64);

thread_local! {
    static SLOT: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % SLOTS
    };
}

impl Counter {
    #[inline]
    pub fn add(&self, n: u64) {
        if let Some(slot) = self.0.get(SLOT.with(|slot| *slot)) {
            slot.0.fetch_add(n, Ordering::Relaxed);
        }
    }

    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    pub fn get(&self) -> u64 {
        self.0.iter().map(|slot| slot.0.load(Ordering::Relaxed)).sum()
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn set(&self, n: i64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counter for each of a closed set of words.
#[derive(Debug)]
pub struct Family<const N: usize> {
    words: [&'static str; N],
    counters: [Counter; N],
}

impl<const N: usize> Family<N> {
    pub fn new(words: [&'static str; N]) -> Self {
        Self { words, counters: std::array::from_fn(|_| Counter::default()) }
    }

    /// By position in the words; out of range counts nowhere.
    #[inline]
    pub fn at(&self, index: usize) -> Option<&Counter> {
        self.counters.get(index)
    }

    pub fn add(&self, word: &str, n: u64) {
        if let Some(counter) = self.words.iter().position(|w| *w == word).and_then(|i| self.at(i)) {
            counter.add(n);
        }
    }

    pub fn get(&self, word: &str) -> u64 {
        self.words.iter().position(|w| *w == word).and_then(|i| self.at(i)).map_or(0, Counter::get)
    }

    fn pairs(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.words.iter().copied().zip(self.counters.iter().map(Counter::get))
    }
}

/// Upper bounds in seconds.
const BUCKETS: [f64; 10] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// How long something took.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Histogram {
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        for (bound, bucket) in BUCKETS.iter().zip(&self.buckets) {
            if seconds <= *bound {
                bucket.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// The exposition format, written piece by piece.
#[derive(Debug, Default)]
pub struct Exposition(pub String);

impl Exposition {
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "counter");
        self.line(name, "", &value.to_string());
    }

    pub fn gauge(&mut self, name: &str, help: &str, value: i64) {
        self.head(name, help, "gauge");
        self.line(name, "", &value.to_string());
    }

    pub fn family<const N: usize>(&mut self, name: &str, help: &str, label: &str, family: &Family<N>) {
        self.head(name, help, "counter");
        for (word, value) in family.pairs() {
            self.line(name, &format!("{{{label}=\"{word}\"}}"), &value.to_string());
        }
    }

    /// Two labels: a family for each word of the first.
    pub fn table<const N: usize>(&mut self, name: &str, help: &str, labels: (&str, &str), rows: &[(&str, &Family<N>)]) {
        self.head(name, help, "counter");
        for (first, family) in rows {
            // Most pairs never happen; absent is zero.
            for (second, value) in family.pairs().filter(|(_, value)| *value > 0) {
                self.line(name, &format!("{{{}=\"{first}\",{}=\"{second}\"}}", labels.0, labels.1), &value.to_string());
            }
        }
    }

    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, help, "histogram");
        let bucket = format!("{name}_bucket");
        for (bound, value) in BUCKETS.iter().zip(&histogram.buckets) {
            self.line(&bucket, &format!("{{le=\"{bound}\"}}"), &value.load(Ordering::Relaxed).to_string());
        }
        let count = histogram.count.load(Ordering::Relaxed);
        self.line(&bucket, "{le=\"+Inf\"}", &count.to_string());
        #[allow(clippy::cast_precision_loss)] // 2^52 µs are 142 years
        let sum = histogram.micros.load(Ordering::Relaxed) as f64 / 1e6;
        self.line(&format!("{name}_sum"), "", &sum.to_string());
        self.line(&format!("{name}_count"), "", &count.to_string());
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: &str) {
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}
