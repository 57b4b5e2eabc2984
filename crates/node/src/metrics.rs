//! What a node counts, for Prometheus. One registry a node: many nodes may live in one process.
//!
//! Counts only, never a value of an observation. They stay with the owner: `/metrics` is on the department's side.

use std::sync::atomic::AtomicU64;

use civicmesh_model::time::UtcMicros;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::status::{CityStatus, LinkState};

/// The media type of [`Metrics::text`].
pub(crate) const METRICS_MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What became of a row that came in.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
pub(crate) enum RowFate {
    Accepted,
    Duplicate,
    Corrected,
    Filtered,
    Rejected,
    Expired,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RowLabels {
    dataset: String,
    fate: RowFate,
}

/// What the publisher appended to a log.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
pub(crate) enum EntryKind {
    Release,
    Refusal,
    Empty,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EntryLabels {
    product: String,
    kind: EntryKind,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ProductLabels {
    product: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DomainLabels {
    domain: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

type SecondsGauge = Gauge<f64, AtomicU64>;

/// All counters and gauges of one node.
pub(crate) struct Metrics {
    registry: Registry,
    rows: Family<RowLabels, Counter>,
    entries: Family<EntryLabels, Counter>,
    publish_failures: Family<ProductLabels, Counter>,
    queries: Family<OutcomeLabels, Counter>,
    query_seconds: Histogram,
    closed_through: Family<ProductLabels, SecondsGauge>,
    head_age: Family<ProductLabels, SecondsGauge>,
    late_rows_held: Family<ProductLabels, Gauge>,
    found_out: Family<ProductLabels, Gauge>,
    warnings: Family<ProductLabels, Gauge>,
    peer_reached: Family<DomainLabels, Gauge>,
    peer_sent: Family<DomainLabels, Gauge>,
    peer_received: Family<DomainLabels, Gauge>,
    certificate_left: SecondsGauge,
}

impl Metrics {
    /// A registry of its own, with everything registered.
    pub(crate) fn new() -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("civicmesh"),
            rows: Family::default(),
            entries: Family::default(),
            publish_failures: Family::default(),
            queries: Family::default(),
            query_seconds: Histogram::new(exponential_buckets(0.001, 4.0, 9)),
            closed_through: Family::default(),
            head_age: Family::default(),
            late_rows_held: Family::default(),
            found_out: Family::default(),
            warnings: Family::default(),
            peer_reached: Family::default(),
            peer_sent: Family::default(),
            peer_received: Family::default(),
            certificate_left: SecondsGauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("ingest_rows", "Rows that came in, by what became of them", self.rows.clone());
        registry.register("log_entries_appended", "Entries appended to own logs", self.entries.clone());
        registry.register("publish_failures", "Publisher turns that failed", self.publish_failures.clone());
        registry.register("queries", "Queries, by how they ended", self.queries.clone());
        registry.register_with_unit("query", "Time that a query took", Unit::Seconds, self.query_seconds.clone());
        registry.register_with_unit(
            "product_closed_through_timestamp",
            "All windows that end by then are closed",
            Unit::Seconds,
            self.closed_through.clone(),
        );
        registry.register_with_unit(
            "product_head_age",
            "Time since the owner's head was last confirmed",
            Unit::Seconds,
            self.head_age.clone(),
        );
        registry.register(
            "late_rows_held",
            "Rows held back: their window was released before they came",
            self.late_rows_held.clone(),
        );
        registry.register(
            "product_found_out",
            "Times that its owner signed what does not follow from what it signed before",
            self.found_out.clone(),
        );
        registry.register(
            "product_warnings",
            "What an operator should know of the product; `civicmesh status` says what it is",
            self.warnings.clone(),
        );
        registry.register("peer_reached", "1 if the peer was reached at the last try", self.peer_reached.clone());
        registry.register_with_unit(
            "peer_sent",
            "Sent to the peer since the start",
            Unit::Bytes,
            self.peer_sent.clone(),
        );
        registry.register_with_unit(
            "peer_received",
            "Received from the peer since the start",
            Unit::Bytes,
            self.peer_received.clone(),
        );
        registry.register_with_unit(
            "certificate_left",
            "Time until the node's certificate expires",
            Unit::Seconds,
            self.certificate_left.clone(),
        );
    }

    /// Counts rows of a dataset.
    pub(crate) fn rows(&self, dataset: &str, fate: RowFate, rows: u64) {
        let labels = RowLabels { dataset: dataset.to_owned(), fate };
        self.rows.get_or_create(&labels).inc_by(rows);
    }

    /// Counts entries appended to a product's log.
    pub(crate) fn entries(&self, product: &str, kind: EntryKind, entries: u64) {
        let labels = EntryLabels { product: product.to_owned(), kind };
        self.entries.get_or_create(&labels).inc_by(entries);
    }

    /// Counts a publisher turn that failed.
    pub(crate) fn publish_failed(&self, product: &str) {
        self.publish_failures.get_or_create(&ProductLabels { product: product.to_owned() }).inc();
    }

    /// Counts a query and the time that it took.
    pub(crate) fn query(&self, outcome: &'static str, seconds: f64) {
        self.queries.get_or_create(&OutcomeLabels { outcome }).inc();
        self.query_seconds.observe(seconds);
    }

    /// Everything as OpenMetrics text; gauges are taken from `status`.
    pub(crate) fn text(&self, status: &CityStatus) -> String {
        self.observe(status);
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a String does not fail");
        text
    }

    fn observe(&self, status: &CityStatus) {
        let left = status.certificate_expires.0.saturating_sub(status.now.0);
        self.certificate_left.set(seconds(left));
        for product in &status.products {
            let labels = ProductLabels { product: product.product.to_string() };
            if let Some(UtcMicros(closed)) = product.closed_through {
                self.closed_through.get_or_create(&labels).set(seconds(closed));
            }
            if let Some(age) = product.head_age_us {
                self.head_age.get_or_create(&labels).set(seconds(age));
            }
            let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            self.found_out.get_or_create(&labels).set(count(product.found_out));
            self.warnings.get_or_create(&labels).set(count(product.warnings.len() as u64));
            if let Some(held) = product.late_rows_held {
                self.late_rows_held.get_or_create(&labels).set(i64::try_from(held).unwrap_or(i64::MAX));
            }
        }
        for domain in status.domains.iter().filter(|domain| domain.link != LinkState::Own) {
            let labels = DomainLabels { domain: domain.domain.to_string() };
            let reached = i64::from(domain.link == LinkState::Reached);
            self.peer_reached.get_or_create(&labels).set(reached);
            self.peer_sent.get_or_create(&labels).set(i64::try_from(domain.sent_bytes).unwrap_or(i64::MAX));
            self.peer_received.get_or_create(&labels).set(i64::try_from(domain.received_bytes).unwrap_or(i64::MAX));
        }
    }
}

fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::sample;

    #[test]
    fn counts_appear_under_their_names_and_two_nodes_do_not_share_them() {
        let (one, two) = (Metrics::new(), Metrics::new());
        one.rows("taxi_trips", RowFate::Accepted, 3);
        one.entries("traffic.taxi", EntryKind::Release, 2);
        one.query("ok", 0.02);
        let text = one.text(&sample());
        assert!(text.contains("civicmesh_ingest_rows_total{dataset=\"taxi_trips\",fate=\"Accepted\"} 3"), "{text}");
        assert!(text.contains("civicmesh_log_entries_appended_total{product=\"traffic.taxi\",kind=\"Release\"} 2"));
        assert!(text.contains("civicmesh_certificate_left_seconds"));
        assert!(text.contains("civicmesh_product_found_out{product=\"traffic.taxi\"} 3"), "{text}");
        assert!(text.contains("civicmesh_product_warnings{product=\"traffic.taxi\"} 1"));
        assert!(text.ends_with("# EOF\n"));
        assert!(!two.text(&sample()).contains("taxi_trips"));
    }
}
