//! The platform of our node: a sidecar runs where its pod's other containers run.

use std::env::consts::{ARCH, OS};

use crate::cluster::Platform;

/// Returns what this program was built for, in Go's words, as image indexes use them.
///
/// Asking for the Node would need a right over the whole cluster.
pub(super) fn own() -> Platform {
    Platform {
        os: match OS {
            "macos" => "darwin",
            other => other,
        }
        .to_owned(),
        architecture: go_word(ARCH, cfg!(target_endian = "little")).to_owned(),
    }
}

/// Returns Go's word for one of Rust's architectures.
fn go_word(architecture: &str, little_endian: bool) -> &str {
    match (architecture, little_endian) {
        ("x86_64", _) => "amd64",
        ("x86", _) => "386",
        ("aarch64", _) => "arm64",
        ("powerpc64", true) => "ppc64le",
        ("powerpc64", false) => "ppc64",
        ("loongarch64", _) => "loong64",
        ("mips64", true) => "mips64le",
        (other, _) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_have_the_names_that_indexes_use() {
        let check = |architecture: &str, little_endian, expected: &str| {
            assert_eq!(go_word(architecture, little_endian), expected);
        };
        check("x86_64", true, "amd64");
        check("aarch64", true, "arm64");
        check("arm", true, "arm");
        check("powerpc64", true, "ppc64le");
        check("powerpc64", false, "ppc64");
        check("s390x", false, "s390x");
        check("riscv64", true, "riscv64");
    }
}
