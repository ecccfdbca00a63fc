//! The flags of `podrefresh digest`.

use clap::{Args, builder::BoolishValueParser};

use super::{Registries, values::image};
use crate::policy::ImageRef;

/// `podrefresh digest`.
#[derive(Debug, Args)]
pub struct Digest {
    /// References such as nginx:1.27 or registry.example:5000/team/app:stable
    #[arg(required = true, value_name = "IMAGE", value_parser = image)]
    pub images: Vec<ImageRef>,
    /// Tell how each answer came about, and which platforms it holds (reads the manifest)
    #[arg(short, long, env = "PODREFRESH_VERBOSE", value_parser = BoolishValueParser::new())]
    pub verbose: bool,
    /// How registries are asked.
    #[command(flatten)]
    pub registries: Registries,
}
