//! For tests: objects and refusals as a real 1.36 API server sends them.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::{lenient::List, refusal::Refusal, view::View, wire::RawPod};
use crate::policy::Pod;

pub(super) const PODS: &str = include_str!("../../tests/data/api/pods.json");
pub(super) const POD_LIFE: &str = include_str!("../../tests/data/api/pod-life.jsonl");
pub(super) const BOOKMARKS: &str = include_str!("../../tests/data/api/bookmarks.jsonl");
const REFUSALS: &str = include_str!("../../tests/data/api/refusals.json");
const WORKLOADS: &str = include_str!("../../tests/data/api/workloads.json");

/// Returns a recorded refusal.
pub(super) fn refusal(name: &str) -> Refusal {
    let all: Value = serde_json::from_str(REFUSALS).unwrap();
    let one = &all[name];
    let code = u16::try_from(one["status"].as_u64().unwrap()).unwrap();
    let retry_after = one["retryAfter"].as_u64().map(Duration::from_secs);
    Refusal::read(code, retry_after, one["body"].to_string().as_bytes())
}

/// Returns a recorded controller.
pub(super) fn workload(name: &str) -> Value {
    let all: Value = serde_json::from_str(WORKLOADS).unwrap();
    assert!(all[name].is_object(), "{name} must be recorded");
    all[name].clone()
}

/// Returns a recorded pod.
pub(super) fn pod(name: &str) -> Arc<Pod> {
    let all: Value = serde_json::from_str(PODS).unwrap();
    let items = all["items"].to_string();
    let List(raw): List<RawPod<'_>> = serde_json::from_str(&items).unwrap();
    let mut view = View::default();
    let mut pods = raw.iter().filter_map(|raw| view.pod(raw));
    Arc::new(pods.find(|pod| &*pod.name == name).unwrap())
}
