//! The Events told in the documents are those of the program.

use podrefresh::cluster::EventReason;

use crate::support::{
    files::read,
    markdown::{code, table},
};

#[test]
fn the_events_told_are_those_of_the_program() {
    let rows = table(&read("docs/operations.md"), "## Events");
    let told: Vec<&str> = rows.iter().map(|row| code(&row[0])[0]).collect();
    let labels = EventReason::ALL.map(EventReason::label);
    assert_eq!(
        told, labels,
        "docs/operations.md on the left, the program on the right"
    );
    for (nth, label) in labels.iter().enumerate() {
        assert!(!labels[..nth].contains(label), "{label}");
    }
}
