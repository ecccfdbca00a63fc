//! Words that cells are made of: ages, selectors, ports.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::object;

/// Returns how long ago a time was, as kubectl prints it.
pub(super) fn age(time: &str) -> String {
    let Ok(then) = time.parse::<Timestamp>() else {
        return "<unknown>".to_owned();
    };
    let seconds = Timestamp::now().duration_since(then).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let with_rest = |whole: i64, unit: &str, rest: i64, small: &str| match rest {
        0 => format!("{whole}{unit}"),
        rest => format!("{whole}{unit}{rest}{small}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => with_rest(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => with_rest(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => with_rest(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

pub(super) fn template_images(item: &Value) -> (Value, Value) {
    let containers = object::list(item, "/spec/template/spec/containers");
    let join = |key: &str| {
        let texts: Vec<&str> = containers
            .iter()
            .filter_map(|container| container[key].as_str())
            .collect();
        json!(texts.join(","))
    };
    (join("name"), join("image"))
}

pub(super) fn selector(selector: &Value) -> String {
    pairs(selector.get("matchLabels").unwrap_or(selector))
}

pub(super) fn pairs(map: &Value) -> String {
    let pairs = map.as_object().into_iter().flatten();
    let pairs: Vec<String> = pairs
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
        .collect();
    if pairs.is_empty() {
        "<none>".to_owned()
    } else {
        pairs.join(",")
    }
}

pub(super) fn ports(service: &Value) -> String {
    let ports = object::list(service, "/spec/ports").iter();
    let ports: Vec<String> = ports
        .map(|port| {
            format!(
                "{}/{}",
                port["port"],
                port["protocol"].as_str().unwrap_or("TCP")
            )
        })
        .collect();
    if ports.is_empty() {
        "<none>".to_owned()
    } else {
        ports.join(",")
    }
}

pub(super) fn quantity(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.to_string()),
        Value::String(text) => json!(text),
        _ => json!("N/A"),
    }
}
