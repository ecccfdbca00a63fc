//! Every metric of the program, registered in one place.
//!
//! Label values come from the `label()` of an enum, so their number is bounded by the program. A metric's
//! name here lacks `podrefresh_` in front and `_total` and `_seconds` behind: the library adds them.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Metric, Registry, Unit},
};

use super::asked::Asked;

/// One label `outcome`, whose values come from an enum's `label()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    /// The label's value.
    pub outcome: &'static str,
}

/// Labels `path` and `outcome`, whose values come from enums' `label()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reviewed {
    /// Which webhook was called.
    pub path: &'static str,
    /// How the review ended.
    pub outcome: &'static str,
}

/// One label `reason`, whose values come from an enum's `label()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// The label's value.
    pub reason: &'static str,
}

/// One label `verdict`, whose values come from an enum's `label()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Verdict {
    /// The label's value.
    pub verdict: &'static str,
}

/// The metrics; a clone counts into the same ones.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// What all others are registered with.
    pub registry: Arc<Mutex<Registry>>,
    /// Reviews answered, by path and outcome.
    pub admission_reviews: Family<Reviewed, Counter>,
    /// Time from a review's last byte to its answer.
    pub admission_review_duration: Histogram,
    /// The part of that in which a pod's images were looked up.
    pub admission_resolve_duration: Histogram,
    /// Images that were not stamped because the review's deadline came first.
    pub admission_deadline_hits: Counter,
    /// Sizes of reviews.
    pub admission_review_bytes: Histogram,
    /// Lookups of a reference, by outcome (`found`, `cached` or an error's label).
    pub registry_lookups: Family<Outcome, Counter>,
    /// Time of lookups that asked a registry.
    pub registry_lookup_duration: Histogram,
    /// HTTP requests sent to registries and token services, by the status' class or the fault.
    pub registry_requests: Family<Outcome, Counter>,
    /// Requests that a registry will answer the most used up account in its rate limit's window; NaN while none tells.
    pub registry_allowance: Asked,
    /// Folders of `--registries-dir` that could not be used, by reason.
    pub registry_hosts_problems: Family<Reason, Counter>,
    /// Pull secrets, docker configs and credential providers that could not be used, by reason.
    pub credentials_problems: Family<Reason, Counter>,
    /// Evictions asked for, by the API server's answer.
    pub refresh_evictions: Family<Outcome, Counter>,
    /// Restarts of owners asked for, by the API server's answer.
    pub refresh_restarts: Family<Outcome, Counter>,
    /// Containers of opted-in namespaces by verdict, as of the last tick.
    pub refresh_containers: Family<Verdict, Gauge>,
    /// Containers held current by their stamp although their imageID differs, as of the last tick.
    pub refresh_ambiguous_containers: Gauge,
    /// Outdated pods by the reason that holds them back, as of the last tick.
    pub refresh_held_pods: Family<Reason, Gauge>,
    /// Workloads with a pod that is up to date and has not become ready in time, as of the last tick.
    pub refresh_halted_workloads: Gauge,
    /// Pods of opted-in namespaces that are left alone, by reason, as of the last tick.
    pub refresh_ineligible_pods: Family<Reason, Gauge>,
    /// Time of a tick, evictions included, lookups aside.
    pub refresh_tick_duration: Histogram,
    /// When the last tick ended, in seconds since the epoch.
    pub refresh_last_tick: Moment,
    /// Requests that told of pushes, by how they were answered.
    pub notify_requests: Family<Outcome, Counter>,
    /// Pushes told of to the leader, by what became of them.
    pub notify_hints: Family<Outcome, Counter>,
    /// Images in use that were looked at for a push, by what the registry said.
    pub notify_lookups: Family<Outcome, Counter>,
    /// Pods in the watch cache.
    pub cluster_pods: Gauge,
    /// 1 while this replica leads.
    pub leader: Gauge,
    /// 1 while `/readyz` says so, as of the last scrape.
    pub ready: Gauge,
    /// Events that could not be recorded or were dropped, by reason.
    pub events_lost: Family<Reason, Counter>,
    /// When the serving certificate ends, in seconds since the epoch.
    pub tls_certificate_expiry: Moment,
}

impl Metrics {
    /// Returns the metrics, registered and at zero.
    pub fn new() -> Self {
        Self::made(true)
    }

    /// Returns those of a program that never leads, by which its page can be told from a controller's.
    pub fn without_leader() -> Self {
        Self::made(false)
    }

    fn made(leads: bool) -> Self {
        let mut registry = Registry::with_prefix("podrefresh");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program's version", build);
        let r = &mut registry;
        Self {
            admission_reviews: plain(
                r,
                "admission_reviews",
                "Reviews answered, by path and outcome",
            ),
            // From a cached answer (tens of microseconds) to the API server's longest timeout (30 s).
            admission_review_duration: seconds(
                r,
                "admission_review_duration",
                "Time from a review's last byte to its answer",
                exponential_buckets(0.000_05, 4.0, 11),
            ),
            admission_resolve_duration: seconds(
                r,
                "admission_resolve_duration",
                "Time in which a review's images were looked up, all at once",
                exponential_buckets(0.000_05, 4.0, 11),
            ),
            admission_deadline_hits: plain(
                r,
                "admission_deadline_hits",
                "Images that were not stamped because the review's deadline came first",
            ),
            // From a small pod (4 KiB) to the largest body that is read (8 MiB).
            admission_review_bytes: {
                let histogram = Histogram::new(exponential_buckets(1024.0, 2.0, 14));
                let help = "Sizes of reviews";
                r.register_with_unit("admission_review", help, Unit::Bytes, histogram.clone());
                histogram
            },
            registry_lookups: plain(r, "registry_lookups", "Lookups of a reference, by outcome"),
            registry_lookup_duration: seconds(
                r,
                "registry_lookup_duration",
                "Time of lookups that asked a registry",
                exponential_buckets(0.002, 2.0, 14),
            ),
            registry_requests: plain(
                r,
                "registry_requests",
                "Requests to registries and token services, by the class of the status or the fault",
            ),
            registry_allowance: plain(
                r,
                "registry_allowance",
                "Requests that a registry will still answer the most used up account by its rate limit, NaN if unknown",
            ),
            registry_hosts_problems: plain(
                r,
                "registry_hosts_problems",
                "Folders of --registries-dir that could not be used, by reason",
            ),
            credentials_problems: plain(
                r,
                "credentials_problems",
                "Pull secrets, docker configs and credential providers that could not be used, by reason",
            ),
            refresh_evictions: plain(
                r,
                "refresh_evictions",
                "Evictions asked for, by the API server's answer",
            ),
            refresh_restarts: plain(
                r,
                "refresh_restarts",
                "Restarts of owners asked for, by the API server's answer",
            ),
            refresh_containers: plain(
                r,
                "refresh_containers",
                "Containers of opted-in namespaces by verdict, as of the last tick",
            ),
            refresh_ambiguous_containers: plain(
                r,
                "refresh_ambiguous_containers",
                "Containers held current by their stamp although their imageID differs, as of the last tick",
            ),
            refresh_held_pods: plain(
                r,
                "refresh_held_pods",
                "Outdated pods by the reason that holds them back, as of the last tick",
            ),
            refresh_halted_workloads: plain(
                r,
                "refresh_halted_workloads",
                "Workloads in which a pod that came up to date has not become ready in time, as of the last tick",
            ),
            refresh_ineligible_pods: plain(
                r,
                "refresh_ineligible_pods",
                "Pods of opted-in namespaces that are left alone, by reason, as of the last tick",
            ),
            refresh_tick_duration: seconds(
                r,
                "refresh_tick_duration",
                "Time of a tick, evictions included, lookups aside",
                exponential_buckets(0.001, 4.0, 9),
            ),
            refresh_last_tick: timestamp(
                r,
                "refresh_last_tick_timestamp",
                "When the last tick ended",
            ),
            notify_requests: plain(
                r,
                "notify_requests",
                "Requests that told of pushes, by how they were answered",
            ),
            notify_hints: plain(
                r,
                "notify_hints",
                "Pushes told of to the leader, by what became of them",
            ),
            notify_lookups: plain(
                r,
                "notify_lookups",
                "Images in use that were looked at for a push, by what the registry said",
            ),
            cluster_pods: plain(r, "cluster_pods", "Pods in the watch cache"),
            leader: match leads {
                true => plain(r, "leader", "1 while this replica leads"),
                false => Gauge::default(),
            },
            ready: plain(r, "ready", "1 while this replica is ready for reviews"),
            events_lost: plain(
                r,
                "events_lost",
                "Events that could not be recorded, by reason",
            ),
            tls_certificate_expiry: timestamp(
                r,
                "tls_certificate_expiry_timestamp",
                "When the serving certificate ends",
            ),
            registry: Arc::new(Mutex::new(registry)),
        }
    }

    /// Counts a review that came in by `path` and ended with `outcome`.
    pub fn count_review(&self, path: &'static str, outcome: &'static str) {
        let labels = Reviewed { path, outcome };
        self.admission_reviews.get_or_create(&labels).inc();
    }

    /// Returns all metrics in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut page = String::with_capacity(8 * 1024);
        // Writing to a String cannot fail.
        let _ = text::encode(&mut page, &registry);
        page
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A gauge of seconds since the epoch.
type Moment = Gauge<f64, AtomicU64>;

/// Registers a new counter, gauge or family of them.
fn plain<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// Registers a new histogram of seconds.
fn seconds(
    registry: &mut Registry,
    name: &str,
    help: &str,
    buckets: impl Iterator<Item = f64>,
) -> Histogram {
    let histogram = Histogram::new(buckets);
    registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
    histogram
}

/// Registers a new gauge of seconds since the epoch.
fn timestamp(registry: &mut Registry, name: &str, help: &str) -> Moment {
    let moment = Moment::default();
    registry.register_with_unit(name, help, Unit::Seconds, moment.clone());
    moment
}

/// Counts one `outcome` in `family`.
pub fn count(family: &Family<Outcome, Counter>, outcome: &'static str) {
    family.get_or_create(&Outcome { outcome }).inc();
}

/// Adds the time `took` to `histogram`.
pub fn observe(histogram: &Histogram, took: Duration) {
    histogram.observe(took.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_starts_with_the_product_and_has_its_unit() {
        let metrics = Metrics::new();
        metrics.count_review("mutate", "stamped");
        metrics.admission_review_bytes.observe(5000.0);
        observe(&metrics.refresh_tick_duration, Duration::from_millis(2));
        let page = metrics.render();
        assert!(
            page.contains(
                "podrefresh_admission_reviews_total{path=\"mutate\",outcome=\"stamped\"} 1\n"
            ) && page.contains("podrefresh_admission_review_bytes_sum 5000.0\n"),
            "{page}"
        );
        assert!(
            page.contains("podrefresh_refresh_tick_duration_seconds_count 1\n"),
            "{page}"
        );
        assert!(
            page.contains("podrefresh_tls_certificate_expiry_timestamp_seconds 0"),
            "{page}"
        );
        assert!(page.ends_with("# EOF\n"), "{page}");
    }
}
