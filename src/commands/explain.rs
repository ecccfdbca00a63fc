//! `podrefresh explain`: every fact and rule behind what becomes of one pod.

use jiff::Timestamp;

use super::{look::explainer, print};
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
    print(&text)
}
