//! The flags of `podrefresh digest`.

use clap::{
    Args,
    builder::{BoolishValueParser, NonEmptyStringValueParser},
};

use super::{
    Cluster, Registries,
    values::{image, pod},
};
use crate::policy::ImageRef;

/// `podrefresh digest`.
#[derive(Debug, Args)]
pub struct Digest {
    /// References such as nginx:1.27 or registry.example:5000/team/app:stable, by default those of --pod; one
    /// with a digest means that digest, whatever its tag means now
    #[arg(required_unless_present = "pod", value_name = "IMAGE", value_parser = image)]
    pub images: Vec<ImageRef>,
    /// Ask with the credentials of this pod of the kubeconfig's cluster, also as pod/NAME
    #[arg(long, env = "PODREFRESH_POD", value_parser = pod)]
    pub pod: Option<String>,
    /// Namespace of --pod [default: the kubeconfig's]
    #[arg(short, long, env = "PODREFRESH_NAMESPACE", value_parser = NonEmptyStringValueParser::new())]
    pub namespace: Option<String>,
    /// Tell how each answer came about, and which platforms it holds (reads the manifest)
    #[arg(short, long, env = "PODREFRESH_VERBOSE", value_parser = BoolishValueParser::new())]
    pub verbose: bool,
    /// The cluster of --pod.
    #[command(flatten)]
    pub cluster: Cluster,
    /// How registries are asked.
    #[command(flatten)]
    pub registries: Registries,
}
