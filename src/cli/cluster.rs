//! Which cluster, as kubectl takes it: the flags of the commands that look at one.

use std::path::PathBuf;

use clap::Args;

use super::Pace;
use crate::{cluster::Choice, explain};

/// Which cluster and namespace.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// Namespace, if not that of the kubeconfig's context
    #[arg(short, long, env = "PODREFRESH_NAMESPACE")]
    pub namespace: Option<String>,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: Cluster,
}

/// Which cluster.
#[derive(Debug, Clone, Args)]
pub struct Cluster {
    /// Context of the kubeconfig, if not its current one
    #[arg(long, env = "PODREFRESH_CONTEXT")]
    pub context: Option<String>,
    /// Kubeconfig, if not $KUBECONFIG or ~/.kube/config
    #[arg(long, env = "PODREFRESH_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// How the controller runs, as far as that cannot be seen from outside: what its own flags say.
#[derive(Debug, Clone, Args)]
pub struct Elsewhere {
    /// Namespace that the controller runs in
    #[arg(
        long,
        env = "PODREFRESH_CONTROLLER_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = "podrefresh"
    )]
    pub controller_namespace: String,
    /// The pace that the controller keeps.
    #[command(flatten)]
    pub pace: Pace,
}

impl Cluster {
    /// Returns which cluster that is.
    pub fn choice(&self) -> Choice {
        Choice {
            kubeconfig: self.kubeconfig.clone(),
            // An empty variable says the same as none.
            context: self.context.clone().filter(|name| !name.is_empty()),
        }
    }
}

impl Elsewhere {
    /// Returns what these flags say of the controller.
    pub fn settings(&self) -> explain::Settings {
        explain::Settings {
            limits: self.pace.limits(),
            home: self.controller_namespace.clone(),
        }
    }
}
