//! docs/when-it-acts.md has every reason that the code knows, and none that it does not.

use std::collections::BTreeSet;

use crate::support::{
    files::read,
    markdown::{code, table},
};

/// Returns the words that `fn label` of a type can return, as its source has them.
#[track_caller]
pub(crate) fn labels(file: &str, kind: &str) -> BTreeSet<String> {
    let source = read(file);
    let body = source.split_once(&format!("\nimpl {kind} {{"));
    let (_, body) = body.unwrap_or_else(|| panic!("{file} must have an impl of {kind}"));
    let (_, label) = body.split_once(" fn label(").expect("it must have a label");
    let end = label.find("\n    }\n").expect("the function must end");
    let words = label[..end].split('"').skip(1).step_by(2);
    words.map(str::to_owned).collect()
}

/// Returns the words in the first column of the page's table below a heading.
#[track_caller]
fn told(heading: &str) -> BTreeSet<String> {
    let rows = table(&read("docs/when-it-acts.md"), heading);
    let words: Vec<String> = rows
        .iter()
        .flat_map(|row| code(&row[0]))
        .map(str::to_owned)
        .collect();
    let distinct: BTreeSet<String> = words.iter().cloned().collect();
    assert_eq!(words.len(), distinct.len(), "told twice: {words:?}");
    distinct
}

/// Checks that the table below `heading` tells of what the code knows, and of nothing else.
#[track_caller]
fn check(heading: &str, known: &BTreeSet<String>) {
    assert!(3 < known.len(), "{known:?} cannot be all");
    assert_eq!(
        told(heading),
        *known,
        "{heading}: the page on the left, the code on the right"
    );
}

#[test]
fn the_page_tells_why_pods_are_not_ours() {
    check(
        "## Is it ours?",
        &labels("src/policy/eligible.rs", "Ineligible"),
    );
}

#[test]
fn the_page_tells_of_all_verdicts() {
    check(
        "## Is it outdated?",
        &labels("src/policy/verdict.rs", "Verdict"),
    );
}

#[test]
fn the_page_tells_what_holds_pods_back() {
    check(
        "## May it go now?",
        &labels("src/policy/gate/hold.rs", "Hold"),
    );
}

#[test]
fn the_page_tells_of_all_answers_to_evictions() {
    let mut known = labels("src/cluster/evict.rs", "Eviction");
    // The one that is no answer of its own.
    assert!(read("src/refresh/act.rs").contains("\"dry_run\""));
    known.insert("dry_run".to_owned());
    check("## What does the API server say?", &known);
}
