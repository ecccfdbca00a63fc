//! A run's report for programs: a JSON object a line.

use serde_json::{Value, json};

use crate::refresh::{End, Report, Row, Summary, Unresolved};

/// Returns the report: a line for each outdated pod, for each image without a digest, and one last line with
/// the summary.
pub(super) fn render(report: &Report) -> String {
    let rows = report.rows.iter().map(row);
    let images = report.unresolved.iter().map(image);
    let lines = rows.chain(images).chain([summary(report)]);
    lines.map(|line| format!("{line}\n")).collect()
}

fn row(row: &Row) -> Value {
    let changes = row.changes.iter().map(|change| {
        json!({
            "container": &*change.container,
            "image": change.image.to_string(),
            "runs": change.running.as_ref().map(ToString::to_string),
            "wanted": change.wanted.to_string(),
        })
    });
    json!({
        "kind": "pod",
        "namespace": &*row.namespace,
        "pod": &*row.name,
        "owner": row.owner,
        "containers": changes.collect::<Vec<_>>(),
        "state": row.state.label(),
    })
}

fn image(image: &Unresolved) -> Value {
    json!({
        "kind": "image",
        "namespace": &*image.namespace,
        "image": image.image,
        "reason": image.reason,
        "message": image.message,
    })
}

fn summary(report: &Report) -> Value {
    let Summary {
        checked,
        current,
        unknown,
        outdated,
        evicted,
        restarted,
        held,
        failed,
        left_alone,
    } = &report.summary;
    json!({
        "kind": "summary",
        "dry_run": report.dry_run,
        "end": match report.end {
            End::Done => "done",
            End::TimedOut => "timed_out",
            End::Interrupted => "interrupted",
        },
        "checked": checked,
        "current": current,
        "unknown": unknown,
        "outdated": outdated,
        "evicted": evicted,
        "restarted": restarted,
        "held": held,
        "failed": failed,
        "left": report.left(),
        "unready": report.unready,
        "terminating": report.terminating,
        "left_alone": left_alone,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::{Digest, gate::Hold},
        refresh::{Change, State},
    };

    #[test]
    fn each_line_is_an_object_and_the_last_is_the_summary() {
        let (old, new) = (Digest::of_sha256([1; 32]), Digest::of_sha256([2; 32]));
        let change = Change {
            container: "app".into(),
            image: std::sync::Arc::new("nginx:1.27".parse().unwrap()),
            running: Some(old.clone()),
            wanted: new.clone(),
        };
        let report = Report {
            dry_run: false,
            end: End::TimedOut,
            rows: vec![Row {
                namespace: "shop".into(),
                name: "web-1".into(),
                owner: "Deployment/web".to_owned(),
                changes: vec![change],
                state: State::Held(Hold::Pdb),
            }],
            unresolved: Vec::new(),
            unready: Vec::new(),
            terminating: vec!["shop/web-2".to_owned()],
            summary: Summary {
                checked: 1,
                outdated: 1,
                held: [("pdb".to_owned(), 1)].into(),
                ..Summary::default()
            },
        };
        let text = render(&report);
        let lines: Vec<Value> = (text.lines())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let container = json!({
            "container": "app", "image": "docker.io/library/nginx:1.27",
            "runs": old.to_string(), "wanted": new.to_string(),
        });
        let pod = json!({
            "kind": "pod", "namespace": "shop", "pod": "web-1", "owner": "Deployment/web",
            "containers": [container], "state": "pdb",
        });
        let summary = json!({
            "kind": "summary", "dry_run": false, "end": "timed_out", "checked": 1, "current": 0,
            "unknown": 0, "outdated": 1, "evicted": 0, "restarted": 0, "held": {"pdb": 1}, "failed": 0, "left": 1,
            "unready": [], "terminating": ["shop/web-2"], "left_alone": {},
        });
        assert_eq!(lines, [pod, summary]);
    }
}
