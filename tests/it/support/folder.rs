//! A folder that is gone when the test is.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// A new, empty folder.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes the folder among the machine's temporary files.
    pub(crate) fn new() -> Self {
        let name = format!(
            "podrefresh-{}-{:016x}",
            std::process::id(),
            fastrand::u64(..)
        );
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Returns where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, and returns where it is.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
