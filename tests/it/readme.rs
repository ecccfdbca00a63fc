//! What the documents claim, held against the program and the files: metrics, links, commands.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use podrefresh::observe::metrics::{Metrics, Outcome, Reason, Reviewed, Verdict};

use crate::support::{
    files::{below, read, root},
    markdown::{code, shell_blocks, table},
};

#[test]
fn the_metrics_told_are_those_of_the_program() {
    let told: BTreeSet<String> = table(&read("docs/operations.md"), "## Metrics")
        .iter()
        .map(|row| code(&row[0])[0].split('{').next().unwrap().to_owned())
        .collect();
    let shown: BTreeSet<String> = metrics().into_keys().collect();
    assert_eq!(
        told, shown,
        "docs/operations.md on the left, /metrics on the right"
    );
}

/// Returns the names that `/metrics` shows, each with its type; a histogram's is its base name.
pub(crate) fn metrics() -> BTreeMap<String, String> {
    let metrics = Metrics::new();
    // A family without a member is not printed. A new field stops the build here: tell of it in docs/operations.md.
    let Metrics {
        admission_reviews,
        admission_review_duration: _,
        admission_resolve_duration: _,
        admission_deadline_hits: _,
        admission_review_bytes: _,
        registry_lookups,
        registry_lookup_duration: _,
        registry_requests,
        registry_allowance: _,
        registry_hosts_problems,
        credentials_problems,
        refresh_evictions,
        refresh_restarts,
        refresh_containers,
        refresh_ambiguous_containers: _,
        refresh_held_pods,
        refresh_halted_workloads: _,
        refresh_ineligible_pods,
        refresh_tick_duration: _,
        refresh_last_tick: _,
        notify_requests,
        notify_hints,
        notify_lookups,
        cluster_pods: _,
        leader: _,
        ready: _,
        events_lost,
        tls_certificate_expiry: _,
        registry: _,
    } = metrics.clone();
    let outcome = Outcome { outcome: "x" };
    drop(admission_reviews.get_or_create(&Reviewed {
        path: "x",
        outcome: "x",
    }));
    for family in [
        registry_lookups,
        registry_requests,
        refresh_evictions,
        refresh_restarts,
        notify_requests,
        notify_hints,
        notify_lookups,
    ] {
        drop(family.get_or_create(&outcome));
    }
    drop(refresh_containers.get_or_create(&Verdict { verdict: "x" }));
    let reason = Reason { reason: "x" };
    for family in [registry_hosts_problems, credentials_problems, events_lost] {
        drop(family.get_or_create(&reason));
    }
    for family in [refresh_held_pods, refresh_ineligible_pods] {
        drop(family.get_or_create(&reason));
    }
    (metrics.render().lines())
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            (format!("{name}{suffix}"), kind.to_owned())
        })
        .collect()
}

/// Returns the documents, by path.
fn documents() -> Vec<PathBuf> {
    let markdown = |path: &Path| path.extension().is_some_and(|ext| ext == "md");
    let mut found: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"]
        .into_iter()
        .map(PathBuf::from)
        .collect();
    for folder in ["docs", "certs", "manifests"] {
        found.extend(below(folder, markdown));
    }
    found
}

#[test]
fn links_lead_to_files_and_headings() {
    for document in documents() {
        let text = read(&document);
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            assert!(
                root().join(&target).exists(),
                "{}: {link}",
                document.display()
            );
            if !heading.is_empty() {
                let headings = read(&target);
                let found = headings
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .map(anchor);
                assert!(
                    found.into_iter().any(|it| it == heading),
                    "{}: {link}",
                    document.display()
                );
            }
        }
    }
}

/// Returns the anchor that a heading's line gets.
pub(crate) fn anchor(line: &str) -> String {
    line.trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || "-_".contains(c) => Some(c),
            _ => None,
        })
        .collect()
}

#[test]
fn an_anchor_is_what_github_makes_of_a_heading() {
    assert_eq!(
        anchor("## Flags of `podrefresh controller`"),
        "flags-of-podrefresh-controller"
    );
    assert_eq!(
        anchor("### What it does not do (yet)"),
        "what-it-does-not-do-yet"
    );
}

#[test]
fn shell_blocks_parse_and_name_what_exists() {
    let makefile = read("Makefile");
    let mut seen = 0;
    for document in documents() {
        for (line, block) in shell_blocks(&read(&document)) {
            let place = format!("{}:{line}", document.display());
            let mut shell = Command::new("bash")
                .arg("-n")
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            shell
                .stdin
                .take()
                .unwrap()
                .write_all(block.as_bytes())
                .unwrap();
            assert!(shell.wait().unwrap().success(), "{place}");
            let words: Vec<&str> = block.split_whitespace().collect();
            for pair in words.windows(2) {
                match pair {
                    ["make", target] => {
                        assert!(
                            makefile.contains(&format!("\n{target}:")),
                            "{place}: make {target}"
                        );
                    }
                    ["-k", folder] => {
                        let file = root().join(folder).join("kustomization.yaml");
                        assert!(file.exists(), "{place}: -k {folder}");
                    }
                    _ => {}
                }
            }
            seen += 1;
        }
    }
    assert!(
        seen > 3,
        "the documents must have blocks marked sh, not {seen}"
    );
}
