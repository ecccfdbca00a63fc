//! Which image of an index a node runs: the choice that container runtimes make.

use std::fmt;

use serde::Deserialize;

use crate::cluster::Platform;

/// Names of operating systems, architectures and variants are short; a longer one names none.
const MAX_NAME: usize = 64;

/// What an index says an image is made for, in the words of the OCI image specification ("Image Index").
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct BuiltFor {
    os: Box<str>,
    architecture: Box<str>,
    variant: Box<str>,
    #[serde(rename = "os.version")]
    os_version: Box<str>,
}

impl BuiltFor {
    /// Says whether all of its names are of a length that names have.
    pub(super) fn is_sound(&self) -> bool {
        (self.names().iter()).all(|name| name.len() <= MAX_NAME)
    }

    /// Returns how many bytes its names have.
    pub(super) fn bytes(&self) -> usize {
        self.names().iter().map(|name| name.len()).sum()
    }

    fn names(&self) -> [&str; 4] {
        [
            &self.os,
            &self.architecture,
            &self.variant,
            &self.os_version,
        ]
    }

    /// Says whether this stands for no image at all: BuildKit lists attestations so.
    pub(super) fn is_nowhere(&self) -> bool {
        (&*self.os, &*self.architecture) == ("unknown", "unknown")
    }

    /// Says whether a node takes either as soon as the other. Windows takes one that fits its own version.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.os_version == other.os_version
    }

    /// Returns how far from the first choice of a node on `platform` this is; `None` when it cannot run there.
    pub(super) fn rank(&self, platform: &Platform) -> Option<usize> {
        if !self.os.eq_ignore_ascii_case(&platform.os) {
            return None;
        }
        let own = normal(&self.architecture, &self.variant);
        let own = (&*own.0, &*own.1);
        let (architecture, _) = normal(&platform.architecture, "");
        match choices(&architecture) {
            [] => (own == (&*architecture, "")).then_some(0),
            choices => choices.iter().position(|choice| own == *choice),
        }
    }
}

/// Returns what runs on an architecture, best first, where that is more than what is built for just it.
///
/// As containerd's `platforms` package has it. Kubernetes does not tell a node's variant. An amd64 node has
/// none for containerd, whatever its processor; an arm64 node is a v8; an arm node is a v7, as Kubernetes
/// is built for nothing less.
fn choices(architecture: &str) -> &'static [(&'static str, &'static str)] {
    match architecture {
        "amd64" => &[("amd64", ""), ("386", "")],
        "arm64" => &[
            ("arm64", ""),
            ("arm", "v8"),
            ("arm", "v7"),
            ("arm", "v6"),
            ("arm", "v5"),
        ],
        "arm" => &[("arm", "v7"), ("arm", "v6"), ("arm", "v5")],
        _ => &[],
    }
}

/// Returns architecture and variant by the names that containerd knows them by.
fn normal(architecture: &str, variant: &str) -> (String, String) {
    let architecture = architecture.to_ascii_lowercase();
    let variant = variant.to_ascii_lowercase();
    let (architecture, variant) = match (&*architecture, &*variant) {
        ("i386", _) => ("386", ""),
        ("amd64" | "x86_64" | "x86-64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("arm64" | "aarch64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("arm64" | "aarch64", "9" | "v9.0") => ("arm64", "v9"),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

impl fmt::Display for BuiltFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        for more in [&self.variant, &self.os_version] {
            if !more.is_empty() {
                write!(f, "/{more}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `os/architecture[/variant]`.
    fn built_for(text: &str) -> BuiltFor {
        let mut parts = text.split('/').map(Box::from);
        let mut next = || parts.next().unwrap_or_default();
        BuiltFor {
            os: next(),
            architecture: next(),
            variant: next(),
            os_version: next(),
        }
    }

    /// Checks which of `offers` a node of `node` could run, best first.
    #[track_caller]
    fn check(node: &str, offers: &[&str], expected: &[&str]) {
        let (os, architecture) = node.split_once('/').unwrap();
        let platform = Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
        };
        let mut found: Vec<_> = offers
            .iter()
            .filter_map(|offer| Some((built_for(offer).rank(&platform)?, *offer)))
            .collect();
        found.sort_by_key(|(rank, _)| *rank);
        let found: Vec<_> = found.into_iter().map(|(_, offer)| offer).collect();
        assert_eq!(found, expected, "{node}");
    }

    #[test]
    fn amd64_knows_no_variants_but_runs_386() {
        let offers = [
            "linux/386",
            "linux/amd64/v2",
            "linux/arm64",
            "linux/amd64",
            "windows/amd64",
        ];
        check("linux/amd64", &offers, &["linux/amd64", "linux/386"]);
        for same in ["linux/amd64/v1", "linux/x86_64", "Linux/AMD64"] {
            check("linux/amd64", &[same], &[same]);
        }
    }

    #[test]
    fn arm64_is_v8_and_runs_all_of_arm() {
        for same in ["linux/arm64", "linux/arm64/v8", "linux/aarch64"] {
            check(
                "linux/arm64",
                &["linux/arm/v7", same],
                &[same, "linux/arm/v7"],
            );
        }
        check("linux/arm64", &["linux/arm64/v9", "linux/amd64"], &[]);
        let arm = [
            "linux/arm/v5",
            "linux/arm/v6",
            "linux/arm/v7",
            "linux/arm/v8",
        ];
        let best_first: Vec<_> = arm.into_iter().rev().collect();
        check("linux/arm64", &arm, &best_first);
    }

    #[test]
    fn arm_is_v7_and_runs_what_is_older() {
        let offers = [
            "linux/arm/v5",
            "linux/arm/v6",
            "linux/arm/v8",
            "linux/arm64",
        ];
        check("linux/arm", &offers, &["linux/arm/v6", "linux/arm/v5"]);
        for same in ["linux/arm", "linux/arm/v7", "linux/arm/7", "linux/armhf"] {
            check(
                "linux/arm",
                &["linux/arm/v6", same],
                &[same, "linux/arm/v6"],
            );
        }
        check("linux/arm", &["linux/armel"], &["linux/armel"]);
    }

    #[test]
    fn other_architectures_run_only_their_own() {
        let offers = ["linux/s390x", "linux/ppc64le", "linux/ppc64le/power9"];
        check("linux/ppc64le", &offers, &["linux/ppc64le"]);
        check(
            "windows/amd64",
            &["linux/amd64", "windows/amd64"],
            &["windows/amd64"],
        );
        check("linux/amd64", &["unknown/unknown", ""], &[]);
    }

    #[test]
    fn all_that_is_said_is_shown() {
        for text in ["linux/amd64", "linux/arm/v7"] {
            assert_eq!(built_for(text).to_string(), text);
        }
        let windows = r#"{"os": "windows", "architecture": "amd64", "os.version": "10.0.1"}"#;
        let windows: BuiltFor = serde_json::from_str(windows).unwrap();
        assert_eq!(windows.to_string(), "windows/amd64/10.0.1");
    }

    #[test]
    fn endless_names_are_not_sound() {
        let long = |length| built_for(&format!("linux/{}", "a".repeat(length)));
        assert!(long(MAX_NAME).is_sound());
        assert!(!long(MAX_NAME + 1).is_sound());
    }
}
