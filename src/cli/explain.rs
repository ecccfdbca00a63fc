//! The flags of `podrefresh explain`.

use clap::{Args, ValueEnum};

use super::{
    Registries,
    cluster::{Elsewhere, Place},
};

/// `podrefresh explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Name of the pod, also as pod/NAME
    #[arg(value_name = "POD", value_parser = pod)]
    pub pod: String,
    /// Form of the answer
    #[arg(
        short,
        long,
        env = "PODREFRESH_OUTPUT",
        value_enum,
        default_value = "text"
    )]
    pub output: Output,
    /// Which cluster and namespace.
    #[command(flatten)]
    pub place: Place,
    /// How the controller runs.
    #[command(flatten)]
    pub elsewhere: Elsewhere,
    /// How registries are asked.
    #[command(flatten)]
    pub registries: Registries,
}

/// The form of an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One object, as docs/explain.md tells of it.
    Json,
}

/// Parses `NAME`, `pod/NAME` and what else kubectl calls a pod.
fn pod(text: &str) -> Result<String, String> {
    let name = match text.split_once('/') {
        None => text,
        Some(("pod" | "pods" | "po", name)) => name,
        Some((kind, _)) => return Err(format!("{kind} is no pod: must be NAME or pod/NAME")),
    };
    match name {
        "" => Err("must be the name of a pod".to_owned()),
        name => Ok(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_named_as_kubectl_names_it() {
        for text in ["web-1", "pod/web-1", "pods/web-1", "po/web-1"] {
            assert_eq!(pod(text), Ok("web-1".to_owned()));
        }
        for text in ["", "pod/", "deployment/web", "/web"] {
            assert!(pod(text).is_err(), "{text}");
        }
    }
}
