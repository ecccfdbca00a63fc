//! The two shapes of an Event: `v1` and `events.k8s.io/v1`.

use serde_json::{Value, json};

// Name in `v1`, name in `events.k8s.io/v1`, and whether `v1` writes it even without a value.
const RENAMED: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// Returns a stored Event as `events.k8s.io/v1` shows it.
pub(super) fn to_v1(stored: &Value) -> Value {
    let mut event = stored.clone();
    let Some(map) = event.as_object_mut() else {
        return event;
    };
    for (core, v1) in RENAMED {
        if let Some(value) = map.remove(*core) {
            map.insert((*v1).to_owned(), value);
        }
    }
    map.insert("apiVersion".to_owned(), json!("events.k8s.io/v1"));
    if map.get("reportingInstance") == Some(&json!("")) {
        map.remove("reportingInstance");
    }
    event
}

/// Returns an Event of `events.k8s.io/v1` as it is stored.
pub(super) fn to_core(v1: &Value) -> Value {
    let mut event = v1.clone();
    let Some(map) = event.as_object_mut() else {
        return event;
    };
    for (core, v1) in RENAMED {
        if let Some(value) = map.remove(*v1) {
            map.insert((*core).to_owned(), value);
        }
    }
    map.insert("apiVersion".to_owned(), json!("v1"));
    complete(&mut event);
    event
}

/// Writes the fields that a stored Event has even without a value.
pub(super) fn complete(event: &mut Value) {
    let Some(map) = event.as_object_mut() else {
        return;
    };
    for key in ["firstTimestamp", "lastTimestamp", "eventTime"] {
        map.entry(key).or_insert(Value::Null);
    }
    for key in ["reportingComponent", "reportingInstance"] {
        map.entry(key).or_insert_with(|| json!(""));
    }
    map.entry("source").or_insert_with(|| json!({}));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_has_two_shapes() {
        let v1 = json!({
            "kind": "Event", "apiVersion": "events.k8s.io/v1", "metadata": { "name": "a" },
            "eventTime": "2026-11-21T22:00:08.715383Z", "reportingController": "c", "reportingInstance": "i",
            "action": "Evict", "reason": "R", "regarding": { "kind": "Pod" }, "note": "n", "type": "Normal",
        });
        let core = to_core(&v1);
        assert_eq!(core["involvedObject"]["kind"], "Pod");
        assert_eq!(core["message"], "n");
        assert_eq!(core["source"], json!({}));
        let back = to_v1(&core);
        assert_eq!(back["regarding"], v1["regarding"]);
        assert_eq!(back["deprecatedSource"], json!({}));
        assert_eq!(back["deprecatedFirstTimestamp"], Value::Null);
    }
}
