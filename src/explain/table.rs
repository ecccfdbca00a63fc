//! Tables as kubectl prints them: columns as wide as their widest cell, three spaces between.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::{
    report::{Row, Status},
    span::span,
};

/// The columns, and those that only the wide table has.
const HEAD: [&str; 8] = [
    "NAMESPACE",
    "POD",
    "CONTAINER",
    "RUNNING",
    "REGISTRY",
    "VERDICT",
    "REASON",
    "SINCE",
];
const WIDE_HEAD: [&str; 4] = ["IMAGE", "STAMP", "OWNER", "NODE"];

/// Digits of a digest that are shown: as many as docker shows.
const DIGITS: usize = 12;

/// Returns the lines for all containers, below a head; nothing for none. Times are told as ages at `now`.
pub fn status(status: &Status, wide: bool, now: Timestamp) -> String {
    if status.containers.is_empty() {
        return String::new();
    }
    let head = HEAD.iter().chain(WIDE_HEAD.iter().filter(|_| wide));
    let mut rows = vec![head.map(|word| (*word).to_owned()).collect()];
    rows.extend(status.containers.iter().map(|row| cells(row, wide, now)));
    table(&rows)
}

fn cells(row: &Row, wide: bool, now: Timestamp) -> Vec<String> {
    let short = |digest: &Option<String>| digest.as_deref().map_or_else(absent, short);
    let word = |word: Option<&str>| word.map_or_else(absent, str::to_owned);
    let mut cells = vec![
        row.namespace.clone(),
        row.pod.clone(),
        row.container.clone(),
        short(&row.running),
        short(&row.registry),
        word(row.verdict),
        word(row.reason),
        (row.since).map_or_else(absent, |since| span(now.duration_since(since))),
    ];
    if wide {
        cells.extend([
            row.image.clone(),
            short(&row.stamp),
            word(row.owner.as_deref()),
            word(row.node.as_deref()),
        ]);
    }
    cells
}

fn absent() -> String {
    "-".to_owned()
}

/// Returns `sha256:4e931037945e` of a whole digest.
fn short(digest: &str) -> String {
    let end = digest.find(':').map_or(0, |colon| colon + 1) + DIGITS;
    digest.get(..end).unwrap_or(digest).to_owned()
}

/// Returns lines whose cells stand below each other, counted in characters; the last cells are not filled up.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let width = |cell: &str| cell.chars().count();
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widest = |nth: usize| {
        let cells = rows.iter().filter_map(|row| row.get(nth));
        cells.map(|cell| width(cell)).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..count).map(widest).collect();
    let mut text = String::new();
    for row in rows {
        for (nth, cell) in row.iter().enumerate() {
            if nth + 1 == row.len() {
                text.push_str(cell);
            } else {
                let _ = write!(text, "{cell:<0$}", widths[nth] + 3);
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(digit: char) -> Option<String> {
        Some(format!("sha256:{}", digit.to_string().repeat(64)))
    }

    fn row() -> Row {
        Row {
            namespace: "shop".to_owned(),
            pod: "web-1".to_owned(),
            container: "app".to_owned(),
            image: "docker.io/library/nginx:1".to_owned(),
            running: digest('a'),
            registry: digest('b'),
            stamp: None,
            verdict: Some("outdated"),
            reason: Some("window"),
            since: Some("2026-11-22T01:00:00Z".parse().unwrap()),
            owner: Some("ReplicaSet/web".to_owned()),
            node: None,
        }
    }

    #[track_caller]
    fn check(containers: Vec<Row>, wide: bool, expected: &[&str]) {
        let found = Status {
            containers,
            unseen: Vec::new(),
            not_enabled: None,
            idle_labels: Vec::new(),
        };
        let now = "2026-11-22T02:02:03Z".parse().unwrap();
        let text = status(&found, wide, now);
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn columns_are_aligned_and_digests_short() {
        let unknown = Row {
            pod: "a-longer-name".to_owned(),
            running: None,
            registry: None,
            verdict: None,
            reason: None,
            since: None,
            ..row()
        };
        check(
            vec![row(), unknown],
            false,
            &[
                "NAMESPACE   POD             CONTAINER   RUNNING               REGISTRY              VERDICT    REASON   SINCE",
                "shop        web-1           app         sha256:aaaaaaaaaaaa   sha256:bbbbbbbbbbbb   outdated   window   1h2m",
                "shop        a-longer-name   app         -                     -                     -          -        -",
            ],
        );
    }

    #[test]
    fn the_wide_table_tells_more() {
        check(
            vec![row()],
            true,
            &[
                "NAMESPACE   POD     CONTAINER   RUNNING               REGISTRY              VERDICT    REASON   SINCE   IMAGE                       STAMP   OWNER            NODE",
                "shop        web-1   app         sha256:aaaaaaaaaaaa   sha256:bbbbbbbbbbbb   outdated   window   1h2m    docker.io/library/nginx:1   -       ReplicaSet/web   -",
            ],
        );
    }

    #[test]
    fn of_nothing_there_is_no_table() {
        check(vec![], false, &[]);
    }

    #[test]
    fn widths_are_counted_in_characters() {
        let rows = [["é", "b"], ["ab", "c"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "é    b\nab   c\n");
    }
}
