#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
// A test may wait.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::sync::atomic::AtomicI32;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ringfence_engine::{Event, Verdict};

use super::{Audit, NameSource, Names};
use crate::config::AuditTarget;
use crate::metrics::Metrics;
use crate::shared::{AuditSink, CloseReason, ConnectionContext, ConnectionEvent};

struct NoNames;

impl NameSource for NoNames {
    fn names(&self, _world: u64) -> Option<Names> {
        None
    }

    fn newest(&self, _database: &str) -> Option<Names> {
        None
    }
}

fn context() -> ConnectionContext {
    ConnectionContext {
        id: 1,
        client: "users-api".into(),
        kid: "k3f9x2aa".into(),
        address: "127.0.0.1:5".parse().unwrap(),
        database: "bank".into(),
        upstream_login: "app".into(),
        upstream_pid: AtomicI32::new(42),
        application_name: "psql".into(),
        tls: true,
        audit_prefix: OnceLock::new(),
    }
}

fn event(rows: u64) -> Event {
    Event {
        plan: None,
        statement: 0,
        fingerprint: 1,
        rows,
        verdict: Verdict::Passed,
        handled: Arc::new([]),
        detections: Arc::new([]),
        duration: Duration::from_micros(20),
    }
}

fn open(target: AuditTarget) -> (Audit, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    (Audit::open(&target, metrics.clone(), Arc::new(NoNames)).unwrap(), metrics)
}

fn rows_in(path: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["event"] == "statement").map(|line| line["rows"].as_u64().unwrap()).collect()
}

#[test]
fn nothing_is_lost_and_order_holds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let (audit, metrics) = open(AuditTarget::File(path.clone()));
    let context = context();
    audit.connection(ConnectionEvent::Opened(&context));
    // More than the queue holds.
    let began = Instant::now();
    for i in 0..60_000 {
        audit.record(&context, Instant::now(), &event(i));
    }
    let each = began.elapsed() / 60_000;
    audit.connection(ConnectionEvent::Closed { context: &context, reason: CloseReason::Client });
    audit.close();
    assert_eq!(rows_in(&path), (0..60_000).collect::<Vec<_>>());
    assert_eq!(metrics.audit_lines.get(), 60_002);
    assert_eq!(metrics.audit_lost.get(), 0);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        text.lines().next().unwrap().contains("\"event\":\"connected\",\"client\":\"users-api\",\"kid\":\"k3f9x2aa\"")
    );
    assert!(text.lines().last().unwrap().contains("\"reason\":\"client\""));
    assert!(each < Duration::from_micros(100), "{each:?}");
}

#[test]
fn a_line_is_written_within_fifty_milliseconds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let (audit, _) = open(AuditTarget::File(path.clone()));
    let context = context();
    for i in 0..5 {
        audit.record(&context, Instant::now(), &event(i));
        let began = Instant::now();
        while rows_in(&path).last() != Some(&i) {
            assert!(began.elapsed() < Duration::from_secs(2), "line {i}");
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(7 * i));
    }
    audit.close();
}

#[test]
fn a_rotated_file_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("audit"), dir.path().join("audit.1"));
    let (audit, _) = open(AuditTarget::File(path.clone()));
    let context = context();
    audit.record(&context, Instant::now(), &event(1));
    std::thread::sleep(Duration::from_millis(100));
    std::fs::rename(&path, &old).unwrap();
    audit.reopen();
    audit.record(&context, Instant::now(), &event(2));
    audit.close();
    assert_eq!((rows_in(&old), rows_in(&path)), (vec![1], vec![2]));
}

#[test]
fn a_full_disk_is_noticed_and_survived() {
    // Every write to it fails with ENOSPC.
    let (audit, metrics) = open(AuditTarget::File("/dev/full".into()));
    let context = context();
    assert!(audit.healthy());
    audit.record(&context, Instant::now(), &event(1));
    let began = Instant::now();
    while audit.healthy() {
        assert!(began.elapsed() < Duration::from_secs(2));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(metrics.audit_failures.get() > 0);
    // The relay is never held up, whatever the queue holds.
    let began = Instant::now();
    for i in 0..200_000 {
        audit.record(&context, Instant::now(), &event(i));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(metrics.audit_lost.get() > 0);
    assert_eq!(metrics.audit_lines.get(), 0);
}

#[test]
fn a_stuck_reader_does_not_stop_the_relay() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    // Opened for both ends, and never read.
    let _end = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let (audit, metrics) = open(AuditTarget::File(path));
    let context = context();
    let began = Instant::now();
    for i in 0..60_000 {
        audit.record(&context, Instant::now(), &event(i));
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(!audit.healthy() && metrics.audit_lost.get() > 0);
}
