//! What the server counts. One typed struct; every label is a closed set of words, so no client can grow it.

pub mod instruments;

use std::time::{Duration, Instant};

use instruments::{Counter, Exposition, Family, Gauge, Histogram};
use ringfence_analysis::facts::{Kind, Rule};

use crate::shared::{CloseReason, ConnectionMetrics, LoginFailure};
use ringfence_engine::{Event, Verdict};

const VERDICTS: [&str; 5] = ["passed", "handled", "refused", "observed", "failed"];
const KINDS: [&str; 12] = [
    "unanalysed",
    "select",
    "insert",
    "update",
    "delete",
    "copy",
    "cursor",
    "transaction",
    "session",
    "ddl",
    "admin",
    "other",
];
const HANDLINGS: [&str; 5] = ["plain", "mask", "tokenize", "encrypt", "drop"];
const LOGINS: [&str; 8] = [
    "ok",
    "credentials",
    "rate_limited",
    "plaintext_refused",
    "too_many_connections",
    "protocol",
    "upstream",
    "unavailable",
];
const CLOSES: [&str; 5] = ["client", "upstream", "revoked", "shutdown", "protocol"];
const SHAPES: [&str; 3] = ["pan", "hash", "private_key"];
const RULES: usize = Rule::ALL.len();

/// All instruments.
#[derive(Debug)]
pub struct Metrics {
    started: Instant,
    pub accepted: Counter,
    pub open: Gauge,
    pub logins: Family<{ LOGINS.len() }>,
    pub closed: Family<{ CLOSES.len() }>,
    /// In the order of `VERDICTS`.
    statements: [Family<{ KINDS.len() }>; VERDICTS.len()],
    pub refusals: Family<RULES>,
    pub observed: Family<RULES>,
    pub rows: Counter,
    pub handled_values: Family<{ HANDLINGS.len() }>,
    /// Rows in which an unlabelled column looks like protected data.
    pub detections: Family<3>,
    pub bytes_to_client: Counter,
    pub bytes_to_server: Counter,
    pub cancels: Family<2>,
    pub catalog_refreshes: Family<3>,
    pub refresh_seconds: Histogram,
    pub policy_reloads: Family<2>,
    /// The server named another origin than the analysis.
    pub origin_disagreements: Counter,
    pub label_disagreements: Counter,
    pub audit_lines: Counter,
    pub audit_failures: Counter,
    pub audit_lost: Counter,
    pub bad_control_rows: Counter,
    pub admin_denied: Counter,
}

/// What is read from elsewhere when the text is made.
#[derive(Debug, Default, Clone, Copy)]
pub struct Readings {
    pub plan_hits: u64,
    pub plan_misses: u64,
    pub plan_bytes: u64,
    pub audit_healthy: bool,
    pub control_connected: bool,
    pub certificate_not_after: Option<i64>,
    pub databases: usize,
    pub live_tokens: usize,
}

impl Default for Metrics {
    fn default() -> Self {
        let rules: [&'static str; RULES] = Rule::ALL.map(Rule::name);
        Self {
            started: Instant::now(),
            accepted: Counter::default(),
            open: Gauge::default(),
            logins: Family::new(LOGINS),
            closed: Family::new(CLOSES),
            statements: std::array::from_fn(|_| Family::new(KINDS)),
            refusals: Family::new(rules),
            observed: Family::new(rules),
            rows: Counter::default(),
            handled_values: Family::new(HANDLINGS),
            detections: Family::new(SHAPES),
            bytes_to_client: Counter::default(),
            bytes_to_server: Counter::default(),
            cancels: Family::new(["known", "unknown"]),
            catalog_refreshes: Family::new(["changed", "unchanged", "failed"]),
            refresh_seconds: Histogram::default(),
            policy_reloads: Family::new(["ok", "failed"]),
            origin_disagreements: Counter::default(),
            label_disagreements: Counter::default(),
            audit_lines: Counter::default(),
            audit_failures: Counter::default(),
            audit_lost: Counter::default(),
            bad_control_rows: Counter::default(),
            admin_denied: Counter::default(),
        }
    }
}

impl Metrics {
    /// One statement that came to an end. On the hot path: a few relaxed additions.
    pub fn statement(&self, event: &Event) {
        let (verdict, rule) = match event.verdict {
            Verdict::Passed => (0, None),
            Verdict::Handled => (1, None),
            Verdict::Refused(rule) => (2, Some((&self.refusals, rule))),
            Verdict::Observed(rule) => (3, Some((&self.observed, rule))),
            Verdict::Failed(_) => (4, None),
        };
        let kind = event
            .plan
            .as_ref()
            .and_then(|plan| plan.statement(event.statement))
            .map_or(0, |statement| kind_index(statement.kind));
        if let Some(counter) = self.statements.get(verdict).and_then(|family| family.at(kind)) {
            counter.increment();
        }
        if let Some((family, rule)) = rule {
            family.add(rule.name(), 1);
            if rule == Rule::Origin {
                self.origin_disagreements.increment();
            }
        }
        for found in event.detections.iter() {
            self.detections.add(found.shape.name(), found.rows);
        }
        if event.rows > 0 {
            self.rows.add(event.rows);
            for column in event.handled.iter() {
                self.handled_values.add(column.handling, event.rows);
            }
        }
    }

    pub fn login_ok(&self) {
        self.logins.add("ok", 1);
    }

    pub fn refreshed(&self, result: &str, took: Duration) {
        self.catalog_refreshes.add(result, 1);
        self.refresh_seconds.observe(took);
    }

    /// Prometheus' text format.
    pub fn render(&self, now: &Readings) -> String {
        let mut out = Exposition::default();
        let uptime = i64::try_from(self.started.elapsed().as_secs()).unwrap_or(i64::MAX);
        out.gauge("ringfence_uptime_seconds", "Since the process began.", uptime);
        out.counter("ringfence_connections_accepted_total", "Connections accepted.", self.accepted.get());
        out.gauge("ringfence_connections_open", "Connections past authentication.", self.open.get());
        out.family("ringfence_logins_total", "Logins by result.", "result", &self.logins);
        out.family("ringfence_connections_closed_total", "Connections ended, by reason.", "reason", &self.closed);
        let rows: Vec<_> = VERDICTS.iter().copied().zip(&self.statements).collect();
        out.table("ringfence_statements_total", "Statements by verdict and kind.", ("verdict", "kind"), &rows);
        out.family("ringfence_refusals_total", "Statements refused, by rule.", "rule", &self.refusals);
        out.family(
            "ringfence_observed_total",
            "Statements that would be refused but for enforce: observe, by rule.",
            "rule",
            &self.observed,
        );
        out.counter("ringfence_rows_total", "Rows of statements that ended.", self.rows.get());
        out.family(
            "ringfence_values_handled_total",
            "Values of labelled result columns, by handling.",
            "handling",
            &self.handled_values,
        );
        out.family(
            "ringfence_detections_total",
            "Rows, of those looked at, in which an unlabelled column looks like protected data.",
            "shape",
            &self.detections,
        );
        out.counter("ringfence_bytes_to_client_total", "Bytes relayed to clients.", self.bytes_to_client.get());
        out.counter("ringfence_bytes_to_server_total", "Bytes relayed to the server.", self.bytes_to_server.get());
        out.family(
            "ringfence_cancel_requests_total",
            "Cancel requests, by whether the key was known.",
            "key",
            &self.cancels,
        );
        out.counter("ringfence_plan_cache_hits_total", "Statements found in the plan cache.", now.plan_hits);
        out.counter("ringfence_plan_cache_misses_total", "Statements analysed.", now.plan_misses);
        out.gauge(
            "ringfence_plan_cache_bytes",
            "Size of the plan cache.",
            i64::try_from(now.plan_bytes).unwrap_or(i64::MAX),
        );
        out.family(
            "ringfence_catalog_refreshes_total",
            "Looks at a catalog, by result.",
            "result",
            &self.catalog_refreshes,
        );
        out.histogram("ringfence_catalog_refresh_seconds", "How long reading a catalog took.", &self.refresh_seconds);
        out.gauge(
            "ringfence_databases",
            "Databases whose catalog is in memory.",
            i64::try_from(now.databases).unwrap_or(i64::MAX),
        );
        out.family(
            "ringfence_policy_reloads_total",
            "Reloads of the classification, by result.",
            "result",
            &self.policy_reloads,
        );
        out.counter(
            "ringfence_origin_disagreements_total",
            "Results whose described columns differed from the analysis.",
            self.origin_disagreements.get(),
        );
        out.counter(
            "ringfence_label_disagreements_total",
            "Columns whose recorded label the classification does not give (any more).",
            self.label_disagreements.get(),
        );
        out.counter("ringfence_audit_lines_total", "Audit lines written.", self.audit_lines.get());
        out.counter(
            "ringfence_audit_failures_total",
            "Failed writes of audit lines (they are tried again).",
            self.audit_failures.get(),
        );
        out.counter(
            "ringfence_audit_lost_total",
            "Audit lines given up while the audit log could not be written.",
            self.audit_lost.get(),
        );
        out.gauge("ringfence_audit_healthy", "Whether audit lines can be written.", i64::from(now.audit_healthy));
        out.gauge(
            "ringfence_control_connected",
            "Whether the control database is reached.",
            i64::from(now.control_connected),
        );
        out.counter(
            "ringfence_bad_control_rows_total",
            "Control rows ignored because their MAC is wrong.",
            self.bad_control_rows.get(),
        );
        out.gauge(
            "ringfence_tokens_live",
            "Tokens that are neither expired nor revoked.",
            i64::try_from(now.live_tokens).unwrap_or(i64::MAX),
        );
        out.counter(
            "ringfence_admin_denied_total",
            "Admin requests without a valid root token.",
            self.admin_denied.get(),
        );
        if let Some(end) = now.certificate_not_after {
            out.gauge(
                "ringfence_certificate_not_after_seconds",
                "When the client port's certificate ends (Unix time).",
                end,
            );
        }
        out.0
    }
}

impl ConnectionMetrics for Metrics {
    fn accepted(&self) {
        self.accepted.increment();
    }

    fn login_failed(&self, reason: LoginFailure) {
        self.logins.add(reason.as_str(), 1);
    }

    fn opened(&self) {
        self.open.add(1);
        self.login_ok();
    }

    fn closed(&self, reason: CloseReason) {
        self.open.add(-1);
        self.closed.add(reason.as_str(), 1);
    }

    fn relayed(&self, to_client: u64, to_server: u64) {
        self.bytes_to_client.add(to_client);
        self.bytes_to_server.add(to_server);
    }

    fn cancel(&self, known: bool) {
        self.cancels.add(if known { "known" } else { "unknown" }, 1);
    }
}

fn kind_index(kind: Kind) -> usize {
    match kind {
        Kind::Select | Kind::Explain | Kind::Show => 1,
        Kind::Insert => 2,
        Kind::Update | Kind::Merge => 3,
        Kind::Delete | Kind::Truncate => 4,
        Kind::CopyIn | Kind::CopyOut => 5,
        Kind::Declare
        | Kind::Fetch
        | Kind::Move
        | Kind::CloseCursor
        | Kind::Prepare
        | Kind::Execute
        | Kind::Deallocate => 6,
        Kind::Begin | Kind::Commit | Kind::Rollback | Kind::Savepoint | Kind::PreparedTransaction => 7,
        Kind::Set | Kind::Reset | Kind::Discard | Kind::Listen | Kind::Notify | Kind::Unlisten | Kind::Lock => 8,
        Kind::Ddl | Kind::CreateTableAs | Kind::Body => 9,
        Kind::Admin | Kind::Maintenance => 10,
        Kind::Empty | Kind::Do | Kind::Call | Kind::Other => 11,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let metrics = Metrics::default();
        metrics.opened();
        metrics.login_failed(LoginFailure::Credentials);
        metrics.refreshed("changed", Duration::from_millis(20));
        let text = metrics.render(&Readings { plan_hits: 3, ..Readings::default() });
        assert!(text.contains("ringfence_connections_open 1\n"));
        assert!(text.contains("ringfence_logins_total{result=\"credentials\"} 1\n"));
        assert!(text.contains("ringfence_plan_cache_hits_total 3\n"));
        assert!(text.contains("ringfence_catalog_refresh_seconds_bucket{le=\"0.025\"} 1\n"));
        assert!(text.contains("ringfence_catalog_refresh_seconds_bucket{le=\"0.01\"} 0\n"));
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with("ringfence_") && value.parse::<f64>().is_ok(), "{line}");
        }
    }
}
