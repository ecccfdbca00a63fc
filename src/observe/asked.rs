//! A gauge whose value is worked out when somebody looks at it.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::MetricType,
};

type Value = dyn Fn() -> Option<f64> + Send + Sync;

/// Such a gauge; a clone is the same one. It is NaN, which no number is, for as long as there is nothing to tell.
#[derive(Clone, Default)]
pub struct Asked(Arc<OnceLock<Box<Value>>>);

impl Asked {
    /// Has it be what `value` says, if nobody said so before.
    pub fn is(&self, value: impl Fn() -> Option<f64> + Send + Sync + 'static) {
        // Whoever was first goes on.
        let _ = self.0.set(Box::new(value));
    }

    /// Returns what it is now.
    pub fn get(&self) -> f64 {
        let value = self.0.get().and_then(|value| value());
        value.unwrap_or(f64::NAN)
    }
}

impl EncodeMetric for Asked {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&self.get())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asked({})", self.get())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::observe::metrics::Metrics;

    #[test]
    fn it_is_what_it_is_when_it_is_looked_at() {
        let metrics = Metrics::new();
        let line = || {
            let page = metrics.render();
            let line = page
                .lines()
                .find(|it| it.starts_with("podrefresh_registry_allowance"));
            line.unwrap_or_default().to_owned()
        };
        assert_eq!(line(), "podrefresh_registry_allowance NaN");
        let left = Arc::new(AtomicU32::new(7));
        let now = Arc::clone(&left);
        (metrics.registry_allowance).is(move || Some(now.load(Ordering::Relaxed).into()));
        assert_eq!(line(), "podrefresh_registry_allowance 7.0");
        left.store(3, Ordering::Relaxed);
        assert_eq!(line(), "podrefresh_registry_allowance 3.0");
        assert_eq!(metrics.registry_allowance.get(), 3.0);
    }
}
