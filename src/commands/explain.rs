//! `podrefresh explain`: every fact and rule behind what becomes of one pod.

use std::io::Write as _;

use anyhow::Context as _;
use jiff::Timestamp;

use super::look::explainer;
use crate::{
    cli::{Explain, ExplainOutput},
    explain::text,
};

/// Prints the explanation of one pod.
pub(super) async fn run(flags: Explain) -> anyhow::Result<()> {
    let (explainer, namespace) =
        explainer(&flags.place, &flags.elsewhere, &flags.registries).await?;
    let found = explainer
        .explain(&namespace, &flags.pod, Timestamp::now())
        .await?;
    let text = match flags.output {
        ExplainOutput::Text => text::explanation(&found),
        ExplainOutput::Json => format!("{:#}\n", serde_json::to_value(&found)?),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).context("cannot print")
}
