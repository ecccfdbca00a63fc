//! The house's own rules, read from the sources: which way imports run, what the rules may touch, how
//! long a file may be.

use std::path::{Path, PathBuf};

use crate::support::{
    files::{read, rust},
    paths::{Named, paths},
    skip::say,
};

/// The layers from the top: a file imports from its own module and from layers below, never from
/// beside or above.
const LAYERS: &[&[&str]] = &[
    &["main"],
    &["cli", "commands"],
    &["app"],
    &[
        "admission",
        "refresh",
        "explain",
        "notify",
        "sidecar",
        "tls",
    ],
    &["registry"],
    &["credentials"],
    &["cluster"],
    &["policy"],
];

/// What all layers but `policy` may use, and what itself uses nothing of ours.
const SIDE: &[&str] = &["observe", "error", "memo", "server", "x509"];

/// The one arrow inside a layer: a command takes its arguments from the command line.
const BESIDE: &[(&str, &str)] = &[("commands", "cli")];

/// Where `kube::Client` may appear.
const CLIENTS: &[&str] = &["cluster", "tls", "app"];

/// Where `anyhow` may appear: at the top, where errors are only printed.
const ANYHOW: &[&str] = &["main", "app", "cli", "commands"];

/// What rules must not touch: whatever waits, speaks, or knows the time or the surroundings.
const IMPURE: &[&str] = &[
    "async",
    "await",
    "axum",
    "futures",
    "hyper",
    "k8s_openapi",
    "kube",
    "moka",
    "reqwest",
    "rustls",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "tokio",
    "tracing",
];

/// The clocks' types: their `now` is an argument of the rules.
const CLOCKS: &[&str] = &["Instant", "SystemTime", "Timestamp", "Zoned"];

/// The longest a file may be, its tests included.
const MAX_LINES: usize = 400;

/// Returns what `source`, the file at `path`, does against the rules: `path:line: what`.
fn faults(path: &Path, source: &str) -> Vec<String> {
    let named = match paths(source) {
        Ok(named) => named,
        Err(error) => return vec![format!("{}: {error}", path.display())],
    };
    let home = home(path);
    let area = home.first().map_or("main", String::as_str);
    let mut faults: Vec<String> = named
        .iter()
        .filter_map(|named| Some((named, fault(area, &home, named)?)))
        .map(|(named, fault)| format!("{}:{}: {fault}", path.display(), named.line))
        .collect();
    faults.dedup();
    faults
}

/// Returns the module that the file at `path` is: `src/a/b.rs` is `[a, b]`, the crate's roots are `[]`.
fn home(path: &Path) -> Vec<String> {
    let mut home: Vec<String> = path
        .with_extension("")
        .iter()
        .skip(1)
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if home
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str()))
    {
        home.pop();
    }
    home
}

fn fault(area: &str, home: &[String], named: &Named) -> Option<String> {
    let text = named.segments.join("::");
    if let Some(target) = target(home, named) {
        return (!may_import(area, &target))
            .then(|| format!("{area} must not import {target} ({text})"));
    }
    let kube_client = named.segments[0] == "kube" && named.segments.iter().any(|s| s == "Client");
    if kube_client && !CLIENTS.contains(&area) {
        return Some(format!("kube::Client must stay in {}", CLIENTS.join(", ")));
    }
    if named.segments[0] == "anyhow" && !ANYHOW.contains(&area) {
        return Some(format!("anyhow must stay in {}", ANYHOW.join(", ")));
    }
    (area == "policy" && impure(&named.segments)).then(|| format!("policy must not use {text}"))
}

/// Returns the module of ours that `named` leads to; `None` when it leads elsewhere.
fn target(home: &[String], named: &Named) -> Option<String> {
    let mut here: Vec<&String> = home.iter().chain(&named.within).collect();
    let mut rest = &named.segments[..];
    match rest[0].as_str() {
        "crate" | "podrefresh" => {
            here.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while let Some(("super", after)) = rest.split_first().map(|(s, r)| (s.as_str(), r)) {
                here.pop();
                rest = after;
            }
        }
        _ => return None,
    }
    here.into_iter().chain(rest).next().cloned()
}

/// Returns whether `area` may import from `target`. What the table does not know has no layer.
fn may_import(area: &str, target: &str) -> bool {
    let rank = |name: &str| LAYERS.iter().position(|layer| layer.contains(&name));
    if area == target {
        return true;
    }
    if SIDE.contains(&target) {
        return area != "policy" && !SIDE.contains(&area);
    }
    match (rank(area), rank(target)) {
        (Some(from), Some(to)) => from < to || BESIDE.contains(&(area, target)),
        _ => false,
    }
}

fn impure(segments: &[String]) -> bool {
    let text = segments.join("::");
    let clock = |pair: &[String]| pair[1] == "now" && CLOCKS.contains(&pair[0].as_str());
    segments.windows(2).any(clock)
        || IMPURE.iter().any(|banned| {
            text.strip_prefix(banned)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        })
}

/// All hand-written Rust sources.
fn sources() -> Vec<PathBuf> {
    ["src", "tests", "examples", "benches"]
        .into_iter()
        .flat_map(rust)
        .collect()
}

#[test]
fn imports_run_one_way() {
    let files = rust("src");
    assert!(files.len() > 10, "only {files:?}");
    let faults: Vec<String> = files
        .iter()
        .flat_map(|path| faults(path, &read(path)))
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_testbed_never_imports_the_product() {
    let files = rust("tests/testbed");
    assert!(!files.is_empty());
    for path in files {
        for named in paths(&read(&path)).unwrap() {
            let product = named.segments[0] == "podrefresh" && named.segments.len() > 1;
            assert!(!product, "{}:{}", path.display(), named.line);
        }
    }
}

#[test]
fn no_file_is_longer_than_its_limit() {
    let mut lengths: Vec<(usize, PathBuf)> = sources()
        .into_iter()
        .map(|path| (read(&path).lines().count(), path))
        .collect();
    lengths.sort();
    let (count, median) = (lengths.len(), lengths[lengths.len() / 2].0);
    say(&format!(
        "{count} files, median {median} lines, longest {}",
        lengths[count - 1].0
    ));
    let long: Vec<String> = lengths
        .iter()
        .filter_map(|(lines, path)| too_long(path, *lines))
        .collect();
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}

fn too_long(path: &Path, lines: usize) -> Option<String> {
    let place = path.display();
    (MAX_LINES < lines).then(|| format!("{place}:{lines}: a file has at most {MAX_LINES} lines"))
}

#[test]
fn the_limit_of_lines_is_inclusive() {
    assert_eq!(too_long(Path::new("src/a.rs"), 400), None);
    let fault = too_long(Path::new("src/a.rs"), 401).unwrap();
    assert_eq!(fault, "src/a.rs:401: a file has at most 400 lines");
}

#[track_caller]
fn check(path: &str, source: &str, expected: &[&str]) {
    assert_eq!(
        faults(Path::new(path), source),
        expected,
        "{path}: {source}"
    );
}

#[test]
fn an_import_from_above_or_beside_is_found() {
    check(
        "src/policy/gate.rs",
        "\nuse crate::cluster::Pods;",
        &["src/policy/gate.rs:2: policy must not import cluster (crate::cluster::Pods)"],
    );
    check(
        "src/admission/mutate.rs",
        "use crate::{policy::Digest, refresh::Tick};",
        &["src/admission/mutate.rs:1: admission must not import refresh (crate::refresh::Tick)"],
    );
    check(
        "src/cluster/pods.rs",
        "fn f() { crate::registry::Resolver::new() }",
        &[
            "src/cluster/pods.rs:1: cluster must not import registry (crate::registry::Resolver::new)",
        ],
    );
    check(
        "src/observe/log.rs",
        "use crate::error::Chain;",
        &["src/observe/log.rs:1: observe must not import error (crate::error::Chain)"],
    );
    check(
        "src/app.rs",
        "use super::commands::run;",
        &["src/app.rs:1: app must not import commands (super::commands::run)"],
    );
    check(
        "src/main.rs",
        "use podrefresh::unheard_of::X;",
        &["src/main.rs:1: main must not import unheard_of (podrefresh::unheard_of::X)"],
    );
}

#[test]
fn super_climbs_out_of_inner_modules_and_files() {
    check(
        "src/policy/pod.rs",
        "mod tests { use super::*; use super::super::Digest; }",
        &[],
    );
    check(
        "src/policy/pod.rs",
        "mod tests { use super::super::super::cluster::Pods; }",
        &[
            "src/policy/pod.rs:1: policy must not import cluster (super::super::super::cluster::Pods)",
        ],
    );
    check(
        "src/registry/auth/mod.rs",
        "use super::super::policy::Digest;",
        &[
        // Two up from registry::auth is the crate: this is allowed, as it leads down.
    ],
    );
}

#[test]
fn arrows_that_run_down_are_fine() {
    check("src/main.rs", "use podrefresh::{cli, commands};", &[]);
    check(
        "src/commands/digest.rs",
        "use crate::{cli::Cli, app, error::Chain};",
        &[],
    );
    check(
        "src/registry/mod.rs",
        "use crate::{credentials::X, cluster::Y, policy::Z};",
        &[],
    );
    check("src/lib.rs", "pub mod admission; pub mod policy;", &[]);
    check(
        "src/refresh/tick.rs",
        "use super::gate; use crate::observe::metrics::Metrics;",
        &[],
    );
}

#[test]
fn clients_and_anyhow_stay_where_they_belong() {
    let fault = "src/refresh/tick.rs:1: kube::Client must stay in cluster, tls, app";
    check("src/refresh/tick.rs", "use kube::{Api, Client};", &[fault]);
    check(
        "src/refresh/tick.rs",
        "fn f(c: kube::client::Client) {}",
        &[fault],
    );
    check("src/cluster/pods.rs", "use kube::Client;", &[]);
    check(
        "src/tls/inject.rs",
        "fn f() -> anyhow::Result<()> {}",
        &["src/tls/inject.rs:1: anyhow must stay in main, app, cli, commands"],
    );
    check("src/app.rs", "use anyhow::Context;", &[]);
}

#[test]
fn rules_are_pure() {
    for (source, what) in [
        ("fn f() { jiff::Timestamp::now() }", "jiff::Timestamp::now"),
        ("fn f() { Timestamp::now() }", "Timestamp::now"),
        ("use std::{env, fmt};", "std::env"),
        ("use std::time::Instant;", "std::time::Instant"),
        (
            "use k8s_openapi::api::core::v1::Pod;",
            "k8s_openapi::api::core::v1::Pod",
        ),
        ("async fn f() {}", "async"),
        ("use tokio::sync::watch;", "tokio::sync::watch"),
    ] {
        let expected = format!("src/policy/gate.rs:1: policy must not use {what}");
        check("src/policy/gate.rs", source, &[&expected]);
    }
    check(
        "src/policy/gate.rs",
        "use std::{fmt, time::Duration}; use jiff::Timestamp;",
        &[],
    );
    check(
        "src/refresh/tick.rs",
        "async fn f() { Timestamp::now() }",
        &[],
    );
}
