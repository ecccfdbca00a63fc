//! What the commands that only look have in common.

use crate::{
    app,
    cli::{Elsewhere, Place, Registries},
    cluster::connect,
    explain::Explainer,
    observe::metrics::Metrics,
};

/// Returns one who explains the cluster that the flags choose, and the namespace.
pub(super) async fn explainer(
    place: &Place,
    elsewhere: &Elsewhere,
    registries: &Registries,
) -> anyhow::Result<(Explainer, String)> {
    let connection = connect(&place.cluster.choice()).await?;
    let server = connection.server();
    let resolver = app::resolver(
        &registries.settings(),
        Some(server.clone()),
        &Metrics::new(),
    )?;
    let named = place.namespace.clone().filter(|name| !name.is_empty());
    let namespace = named.unwrap_or(connection.namespace);
    Ok((
        Explainer::new(&server, resolver, elsewhere.settings()),
        namespace,
    ))
}
