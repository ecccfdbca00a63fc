//! `podrefresh status`: one line for each container.

use std::io::Write as _;

use jiff::Timestamp;

use super::{look::explainer, print};
use crate::{
    cli::{Status, StatusOutput},
    explain::{
        report::{self, IdleLabel},
        table,
    },
    policy::names::ENABLED,
};

/// Prints what runs, what the registries say, and why nothing happens.
///
/// What there is to say besides goes to standard error, as kubectl does it.
pub(super) async fn run(flags: Status) -> anyhow::Result<()> {
    let (explainer, namespace) =
        explainer(&flags.place, &flags.elsewhere, &flags.registries).await?;
    let namespace = (!flags.all_namespaces).then_some(&*namespace);
    let now = Timestamp::now();
    let found = explainer.status(namespace, now).await?;
    let text = match flags.output {
        StatusOutput::Table => table::status(&found, false, now),
        StatusOutput::Wide => table::status(&found, true, now),
        StatusOutput::Json => format!("{:#}\n", serde_json::to_value(&found)?),
    };
    print(&text)?;
    let mut aside = std::io::stderr().lock();
    for line in asides(&found, namespace) {
        // Standard error may be closed; there is nobody left to tell.
        let _ = writeln!(aside, "{line}");
    }
    Ok(())
}

/// Returns what there is to say besides the containers.
fn asides(found: &report::Status, namespace: Option<&str>) -> Vec<String> {
    let mut lines: Vec<String> = (found.idle_labels.iter())
        .map(|IdleLabel { namespace, value }| {
            format!("The namespace {namespace} is labelled {ENABLED}={value:?}, which means nothing: only \"true\" opts in")
        })
        .collect();
    match (&found.not_enabled, namespace) {
        (Some(name), _) => lines.push(format!(
            "The namespace {name} has not opted in: kubectl label --overwrite namespace {name} {ENABLED}=true"
        )),
        (None, Some(name)) if found.containers.is_empty() => {
            lines.push(format!("No resources found in {name} namespace."));
        }
        (None, None) if found.containers.is_empty() => {
            lines.push("No resources found in namespaces that have opted in.".to_owned());
        }
        (None, _) => {}
    }
    for unseen in &found.unseen {
        let (what, consequence) = (unseen.what, unseen.consequence);
        lines.push(format!("Warning: {what}: {consequence}: {}", unseen.why));
    }
    lines
}
