//! The flags of `podrefresh status`.

use clap::{Args, ValueEnum, builder::BoolishValueParser};

use super::{
    Registries,
    cluster::{Elsewhere, Place},
};

/// `podrefresh status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Pods of all namespaces that have opted in
    #[arg(
        short = 'A',
        long,
        env = "PODREFRESH_ALL_NAMESPACES",
        value_parser = BoolishValueParser::new()
    )]
    pub all_namespaces: bool,
    /// Form of the answer
    #[arg(
        short,
        long,
        env = "PODREFRESH_OUTPUT",
        value_enum,
        default_value = "table"
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

/// The form of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// The same with image, stamp, owner and node.
    Wide,
    /// One object, as docs/explain.md tells of it.
    Json,
}
