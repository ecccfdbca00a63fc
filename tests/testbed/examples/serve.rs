//! Runs the testbed by itself and writes a kubeconfig, for trying kubectl by hand.

use std::error::Error;
use std::io::Write as _;

use testbed::images::Format;
use testbed::registry::Registry;
use testbed::{Cluster, Life, kubelet};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: serve KUBECONFIG-TO-WRITE")?;
    let cluster = Cluster::start().await?;
    let registry = Registry::anonymous().await?;
    registry.store("app", "v1", &Format::Oci.multi_platform("one"));
    let _life = Life::start(cluster.api(), kubelet::Options::default()).await?;
    std::fs::write(&path, cluster.kubeconfig())?;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "export KUBECONFIG={path}\nkubectl create deployment web --image={}",
        registry.reference("app", "v1")
    )?;
    tokio::signal::ctrl_c().await?;
    for line in cluster.unmodelled() {
        writeln!(out, "not modelled: {line}")?;
    }
    Ok(())
}
