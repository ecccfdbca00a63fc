//! What docs/explain.md tells is what the program says: labels, fields, flags.

use std::collections::{BTreeMap, BTreeSet};

use podrefresh::{
    explain::{
        Open, Part,
        report::{
            ContainerFacts, DigestFacts, EventLine, Explanation, IdleLabel, Outcome, Reason, Row,
            Rule, RunningFacts, StampFacts, Status, Unseen,
        },
    },
    policy::{Ineligible, Uncounted},
};
use serde_json::Value;

use crate::reasons::labels;
use crate::support::{
    files::read,
    help,
    markdown::{code, table},
};

const PAGE: &str = "docs/explain.md";

/// Checks that the first column of the table below `heading` has these words, in this order.
#[track_caller]
fn check(page: &str, heading: &str, expected: &[&str]) {
    let page = read(page);
    let table = table(&page, heading);
    let told: Vec<&str> = table.iter().map(|row| code(&row[0])[0]).collect();
    assert_eq!(
        told, expected,
        "told on the left, the program's on the right"
    );
}

#[test]
fn the_labels_told_are_the_programs() {
    check(
        PAGE,
        "### Outcomes of rules",
        &Outcome::ALL.map(Outcome::label),
    );
    check(
        PAGE,
        "### Why a pod is left alone",
        &Ineligible::ALL.map(Ineligible::label),
    );
    check(
        PAGE,
        "### Why a container does not count",
        &Uncounted::ALL.map(Uncounted::label),
    );
    check(
        PAGE,
        "### Why a verdict is unknown",
        &Open::ALL.map(Open::label),
    );
    let owners = labels("src/cluster/owners.rs", "OwnerError");
    // Who is none of the kinds that are looked at has no outdated pods.
    let owners = owners.iter().map(|label| &**label);
    let owners: Vec<&str> = owners.filter(|label| *label != "owner_foreign").collect();
    check(PAGE, "### Why an owner is not known", &owners);
    check(
        PAGE,
        "### What may not be seen",
        &Part::ALL.map(Part::label),
    );
}

/// Returns the paths of all values in `value`: `rules[].why`.
fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let dot = if path.is_empty() { "" } else { "." };
                fields(value, &format!("{path}{dot}{name}"), found);
            }
        }
        Value::Array(items) => {
            for item in items {
                fields(item, &format!("{path}[]"), found);
            }
        }
        Value::Null => panic!("{path} must be filled"),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => drop(found.insert(path.to_owned())),
    }
}

#[track_caller]
fn check_fields(heading: &str, value: &Value) {
    let mut real = BTreeSet::new();
    fields(value, "", &mut real);
    let told: BTreeSet<String> = (table(&read(PAGE), heading).iter())
        .flat_map(|row| {
            code(&row[0])
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(told, real, "told on the left, the program's on the right");
}

fn text() -> String {
    "x".to_owned()
}

fn reason() -> Option<Reason> {
    Some(Reason {
        reason: "x",
        why: text(),
    })
}

fn digest() -> DigestFacts {
    DigestFacts {
        digest: text(),
        image: Some(text()),
    }
}

fn unseen() -> Vec<Unseen> {
    vec![Unseen {
        what: "x",
        why: text(),
        consequence: "x",
    }]
}

#[test]
fn the_fields_of_an_explanation_are_told() {
    let at = "2026-11-22T01:00:00Z".parse().unwrap();
    let container = ContainerFacts {
        name: text(),
        image: text(),
        pull_policy: "x",
        uncounted: reason(),
        verdict: Some("x"),
        ambiguous: true,
        target: Some(digest()),
        stamp: Some(StampFacts {
            digest: digest(),
            valid: true,
        }),
        running: RunningFacts {
            state: "x",
            digest: Some(digest()),
        },
        fault: reason(),
        unfit: true,
        doubt: Some(text()),
    };
    let rule = Rule {
        rule: "x",
        outcome: Outcome::Pass,
        why: text(),
    };
    let event = EventLine {
        at,
        reason: "x",
        about: text(),
        note: text(),
    };
    let all = Explanation {
        namespace: text(),
        pod: text(),
        node: Some(text()),
        platform: Some(text()),
        owner: Some(text()),
        workload: Some(text()),
        ready: true,
        left_alone: reason(),
        idle_label: Some(text()),
        containers: vec![container],
        outdated: true,
        since: Some(at),
        rules: vec![rule],
        reason: Some("x"),
        next: text(),
        events: vec![event],
        unseen: unseen(),
    };
    check_fields("## JSON of `explain`", &serde_json::to_value(&all).unwrap());
}

#[test]
fn the_fields_of_a_status_are_told() {
    let row = Row {
        namespace: text(),
        pod: text(),
        container: text(),
        image: text(),
        running: Some(text()),
        registry: Some(text()),
        stamp: Some(text()),
        verdict: Some("x"),
        reason: Some("x"),
        since: Some("2026-11-22T01:00:00Z".parse().unwrap()),
        owner: Some(text()),
        node: Some(text()),
    };
    let all = Status {
        containers: vec![row],
        unseen: unseen(),
        not_enabled: Some(text()),
        idle_labels: vec![IdleLabel {
            namespace: text(),
            value: text(),
        }],
    };
    check_fields("## JSON of `status`", &serde_json::to_value(&all).unwrap());
}

#[test]
fn outcomes_are_printed_by_their_labels() {
    for outcome in Outcome::ALL {
        assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.label());
    }
}

#[test]
fn the_flags_told_are_those_of_the_program() {
    let page = read(PAGE);
    let told: BTreeMap<String, Option<String>> = (table(&page, "## Flags").iter())
        .map(|row| {
            let default = code(&row[1]).first().map(|word| (*word).to_owned());
            (code(&row[0])[0].to_owned(), default)
        })
        .collect();
    let mut real = BTreeMap::new();
    for command in ["explain", "status"] {
        for (name, flag) in help::flags(command) {
            let variable = format!("PODREFRESH_{}", name[2..].replace('-', "_").to_uppercase());
            assert_eq!(flag.env, Some(variable), "{command} {name}");
            // The one flag whose default differs.
            real.insert(name.clone(), flag.default.filter(|_| name != "--output"));
        }
    }
    for logging in ["--log-format", "--log-filter"] {
        real.remove(logging);
    }
    assert_eq!(told, real, "{PAGE} on the left, --help on the right");
}
