//! A run's report for people: columns, and a summary.

use std::fmt::Write as _;

use crate::{
    policy::Digest,
    refresh::{End, Report, Summary},
};

/// The digits of a digest that people compare.
const DIGITS: usize = 12;

/// Returns the report as text: the outdated pods, the images without a digest, the summary.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    let mut rows = vec![
        [
            "NAMESPACE",
            "POD",
            "OWNER",
            "CONTAINER",
            "IMAGE",
            "RUNS",
            "WANTED",
            "STATE",
        ]
        .map(str::to_owned),
    ];
    for row in &report.rows {
        rows.extend(row.changes.iter().map(|change| {
            [
                row.namespace.to_string(),
                row.name.to_string(),
                row.owner.clone(),
                change.container.to_string(),
                change.image.to_string(),
                change.running.as_ref().map_or("?".to_owned(), short),
                short(&change.wanted),
                row.state.label().to_owned(),
            ]
        }));
    }
    columns(&mut text, &rows);
    let mut rows = vec![["NAMESPACE", "IMAGE", "REASON", "WHY"].map(str::to_owned)];
    rows.extend(report.unresolved.iter().map(|image| {
        [
            image.namespace.to_string(),
            image.image.clone(),
            image.reason.to_owned(),
            image.message.clone(),
        ]
    }));
    columns(&mut text, &rows);
    for workload in &report.unready {
        writeln!(text, "Not up again: {workload}").expect("a String must take text");
    }
    for pod in &report.terminating {
        writeln!(text, "Still terminating: {pod}").expect("a String must take text");
    }
    text.push_str(&summary(report));
    text
}

/// Writes rows below each other in columns, and an empty line; nothing if there is only the heading.
fn columns<const N: usize>(text: &mut String, rows: &[[String; N]]) {
    if rows.len() < 2 {
        return;
    }
    let width = |column: usize| {
        let lengths = rows.iter().map(|row| row[column].chars().count());
        lengths.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text.push('\n');
}

fn summary(report: &Report) -> String {
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
    let would = if report.dry_run { "would be " } else { "" };
    let list = |counts: Vec<(&str, String)>| match counts.is_empty() {
        true => "0".to_owned(),
        false => {
            let parts = counts.iter().map(|(word, count)| format!("{word} {count}"));
            parts.collect::<Vec<_>>().join(", ")
        }
    };
    let held = list(
        held.iter()
            .map(|(why, n)| (&**why, n.to_string()))
            .collect(),
    );
    let alone = list(
        left_alone
            .iter()
            .map(|(why, n)| (*why, n.to_string()))
            .collect(),
    );
    let mut text = format!(
        "checked {checked}, current {current}, unknown {unknown}, outdated {outdated}, {would}evicted {evicted}, {would}restarted {restarted}, failed {failed}\n\
         held: {held}\n\
         left alone: {alone}\n"
    );
    match report.end {
        End::Done => {}
        End::TimedOut => text.push_str("ended early: the time was over\n"),
        End::Interrupted => text.push_str("ended early: interrupted\n"),
    }
    text
}

/// Returns the algorithm and the first digits.
fn short(digest: &Digest) -> String {
    let text = digest.to_string();
    match text.split_once(':') {
        Some((algorithm, digits)) => {
            let end = digits.len().min(DIGITS);
            format!("{algorithm}:{}", &digits[..end])
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::gate::Hold,
        refresh::{Change, Row, State, Unresolved},
    };

    fn digest(n: u8) -> Digest {
        Digest::of_sha256([n; 32])
    }

    fn report() -> Report {
        let change = |running| Change {
            container: "app".into(),
            image: std::sync::Arc::new("nginx:1.27".parse().unwrap()),
            running,
            wanted: digest(0xcd),
        };
        let row = |name: &str, running, state| Row {
            namespace: "shop".into(),
            name: name.into(),
            owner: "Deployment/web".to_owned(),
            changes: vec![change(running)],
            state,
        };
        let image = Unresolved {
            namespace: "shop".into(),
            image: "docker.io/library/gone:1".to_owned(),
            reason: "not_found",
            message: "docker.io: it knows no such image".to_owned(),
        };
        Report {
            dry_run: false,
            end: End::Interrupted,
            rows: vec![
                row("web-1", Some(digest(0xab)), State::Evicted),
                row("web-22", None, State::Held(Hold::Pace)),
            ],
            unresolved: vec![image],
            unready: vec!["shop/Deployment/web".to_owned()],
            terminating: vec!["shop/web-1".to_owned()],
            summary: Summary {
                checked: 4,
                current: 1,
                outdated: 2,
                evicted: 1,
                held: [("pace".to_owned(), 1)].into(),
                failed: 1,
                ..Summary::default()
            },
        }
    }

    #[test]
    fn people_see_each_pod_and_the_counts() {
        let expected = "\
NAMESPACE  POD     OWNER           CONTAINER  IMAGE                         RUNS                 WANTED               STATE
shop       web-1   Deployment/web  app        docker.io/library/nginx:1.27  sha256:abababababab  sha256:cdcdcdcdcdcd  evicted
shop       web-22  Deployment/web  app        docker.io/library/nginx:1.27  ?                    sha256:cdcdcdcdcdcd  pace

NAMESPACE  IMAGE                     REASON     WHY
shop       docker.io/library/gone:1  not_found  docker.io: it knows no such image

Not up again: shop/Deployment/web
Still terminating: shop/web-1
checked 4, current 1, unknown 0, outdated 2, evicted 1, restarted 0, failed 1
held: pace 1
left alone: 0
ended early: interrupted
";
        assert_eq!(render(&report()), expected);
    }

    #[test]
    fn nothing_to_tell_is_told_without_headings() {
        let report = Report {
            dry_run: true,
            end: End::Done,
            rows: Vec::new(),
            unresolved: Vec::new(),
            unready: Vec::new(),
            terminating: Vec::new(),
            ..report()
        };
        let text = render(&report);
        assert!(text.starts_with("checked 4,"), "{text}");
        assert!(
            text.contains("would be evicted 1, would be restarted 0"),
            "{text}"
        );
    }
}
