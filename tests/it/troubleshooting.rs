//! docs/troubleshooting.md: its commands run, and what it names is there.

use std::{collections::BTreeSet, os::unix::fs::symlink};

use crate::{
    readme::metrics,
    reasons::labels,
    support::{
        files::read,
        folder::Folder,
        hands::Hands,
        kubectl::Kubectl,
        look::on_testbed,
        markdown::{code, section, shell_blocks, table},
        skip::need,
        world::World,
    },
};

const PAGE: &str = "docs/troubleshooting.md";

/// What commands print where all is well, by their heading and their place below it.
const PRINTED: [(&str, usize, &str); 17] = [
    (
        "Where to look first",
        0,
        "lease.coordination.k8s.io/podrefresh",
    ),
    ("Where to look first", 1, "VERDICT"),
    ("Where to look first", 2, "Pod shop/web-"),
    ("Where to look first", 3, "Outdated"),
    ("New pods have no stamps", 0, "podrefresh.io/enabled=true"),
    ("New pods have no stamps", 1, "digest.podrefresh.io/try"),
    ("Pods have stamps and are not refreshed", 0, "controller"),
    ("An eviction is blocked", 0, "EvictionBlocked"),
    ("An eviction is blocked", 0, "ALLOWED DISRUPTIONS"),
    ("An eviction is blocked", 0, "yes\n"),
    ("A workload is halted", 0, "StrategyType"),
    ("Replacements come back old", 0, "sha256:"),
    ("A registry refuses", 0, "sha256:"),
    ("A registry refuses", 1, "yes\n"),
    ("kubectl shows errors of a webhook", 0, "Ignore"),
    ("Nobody leads", 0, "yes\n"),
    ("After an upgrade", 0, "successfully rolled out"),
];

/// Returns the headings of the page's parts.
fn headings(page: &str) -> Vec<&str> {
    let headings = page.lines().filter_map(|line| line.strip_prefix("## "));
    headings.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_runs_and_prints_what_it_is_for() {
    // It installs podrefresh by kubectl, which other tests of a real cluster need.
    if !on_testbed() {
        return;
    }
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let mut world = World::untouched().await;
    let hands = Hands::new(kubectl, &world);
    hands.run("kubectl apply -k manifests").await;
    world.controller(&[]).await;
    // A workload that a budget keeps on the old image, and one more pod that went for it.
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.budget("shop", "web", "web", 2).await;
    world.kube.deployment("shop", "web", 2, &image).await;
    world.kube.running("shop", 2, &old).await;
    world.push("shop/web", "stable", "2");
    world.kube.told("shop", "EvictionBlocked", "web").await;

    let plugin = Folder::new();
    let program = env!("CARGO_BIN_EXE_podrefresh");
    symlink(program, plugin.path().join("kubectl-podrefresh")).unwrap();
    let page = read(PAGE);
    let (mut ran, mut checked) = (0, 0);
    for heading in headings(&page) {
        let blocks = shell_blocks(section(&page, &format!("## {heading}")));
        for (n, (_, block)) in blocks.iter().enumerate() {
            let script = format!("PATH={}:$PATH\n{block}", plugin.path().display());
            let printed = hands.run(&script).await;
            let expected = PRINTED.iter().filter(|it| (it.0, it.1) == (heading, n));
            for (_, _, text) in expected {
                assert!(
                    printed.contains(text),
                    "{heading}: no {text:?} in\n{printed}"
                );
                checked += 1;
            }
            ran += 1;
        }
    }
    assert_eq!(checked, PRINTED.len());
    assert!(18 <= ran, "only {ran} blocks");
    world.testbed().cluster.assert_clean();
}

/// Returns the words that the program has for what it does and does not do.
fn known() -> BTreeSet<String> {
    let mut known: BTreeSet<String> = metrics().into_keys().collect();
    for (file, kind) in [
        ("src/policy/gate/hold.rs", "Hold"),
        ("src/policy/eligible.rs", "Ineligible"),
        ("src/policy/eligible.rs", "Uncounted"),
        ("src/policy/verdict.rs", "Verdict"),
        ("src/registry/fault.rs", "Fault"),
        ("src/cluster/secrets.rs", "SecretError"),
        ("src/notify/outcome.rs", "Outcome"),
        ("src/notify/outcome.rs", "Refusal"),
    ] {
        known.extend(labels(file, kind));
    }
    let operations = read("docs/operations.md");
    let events = table(&operations, "## Events");
    known.extend(events.iter().map(|row| code(&row[0])[0].to_owned()));
    known
}

/// Says whether a word looks like one of the program's: a metric, a label or an Event.
fn is_ours(word: &str) -> bool {
    let snake = word.contains('_') && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let event = [
        "Refresh",
        "Eviction",
        "Outdated",
        "Evicted",
        "Restarted",
        "Unresolved",
    ]
    .iter()
    .chain(&["StaleCache", "BadWishes"])
    .any(|start| word.starts_with(start));
    snake && !word.starts_with("apiserver_") || event
}

#[test]
fn every_reason_metric_and_event_named_is_there() {
    let page = read(PAGE);
    let known = known();
    let named: BTreeSet<&str> = (page.split("\n```").step_by(2))
        .flat_map(code)
        .filter(|word| is_ours(word))
        .collect();
    assert!(15 < named.len(), "{named:?}");
    for word in named {
        assert!(known.contains(word), "there is no {word}");
    }
    // Of the tables of reasons, the words of one part as well.
    for heading in [
        "Pods have stamps and are not refreshed",
        "A registry refuses",
    ] {
        let rows = table(&page, &format!("## {heading}"));
        for word in rows.iter().flat_map(|row| code(&row[0])) {
            assert!(known.contains(word), "{heading}: there is no {word}");
        }
    }
}
