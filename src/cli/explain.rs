//! The flags of `podrefresh explain`.

use clap::{Args, ValueEnum};

use super::{
    Registries,
    cluster::{Elsewhere, Place},
    values::pod,
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
