//! The files of this checkout.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Returns the checkout's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the text of the file at `path` below the root.
#[track_caller]
pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the files below `folder` that `wanted` wants, sorted, as paths below the root.
///
/// Cargo's own folders are left out; a folder that does not exist has no files.
pub(crate) fn below(folder: &str, wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    open.push(path);
                }
            } else if wanted(&path) {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Returns the Rust sources below `folder`.
pub(crate) fn rust(folder: &str) -> Vec<PathBuf> {
    below(folder, |path| {
        path.extension().is_some_and(|ext| ext == "rs")
    })
}

/// A file that is gone when this is dropped.
pub(crate) struct Temporary(std::path::PathBuf);

impl Temporary {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Writes `text` to a new temporary file.
pub(crate) fn tempfile(text: &str) -> Temporary {
    let path = env::temp_dir().join(format!(
        "podrefresh-test-{}-{:016x}",
        std::process::id(),
        fastrand::u64(..)
    ));
    std::fs::write(&path, text).unwrap();
    Temporary(path)
}
