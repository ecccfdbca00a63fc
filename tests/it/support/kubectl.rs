//! The real kubectl.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{
    files::root,
    skip::{self, Missing},
};

/// The oldest minor version that the tests' commands work with.
const OLDEST_MINOR: u32 = 30;

/// A kubectl, and the cluster it speaks to.
#[derive(Debug, Clone)]
pub(crate) struct Kubectl {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
}

impl Kubectl {
    /// Returns this machine's kubectl, without a cluster.
    pub(crate) fn find() -> Result<Self, Missing> {
        let kubectl = Self {
            program: skip::program("kubectl")?,
            kubeconfig: None,
        };
        let version = kubectl.ok(["version", "--client", "-o", "json"]);
        let version: Value = serde_json::from_str(&version).unwrap();
        let minor = version["clientVersion"]["minor"].as_str().unwrap_or("0");
        // Some builds say "32+".
        let minor: u32 = minor.trim_end_matches('+').parse().unwrap_or(0);
        if minor < OLDEST_MINOR {
            return Err(Missing(format!(
                "{} is 1.{minor} and the tests want 1.{OLDEST_MINOR}: tests/tools.sh installs it",
                kubectl.program.display()
            )));
        }
        Ok(kubectl)
    }

    /// Returns the same program, speaking to the cluster that `kubeconfig` names.
    pub(crate) fn with(self, kubeconfig: &Path) -> Self {
        Self {
            kubeconfig: Some(kubeconfig.to_owned()),
            ..self
        }
    }

    /// Returns the command `kubectl <arguments>`, which sees no cluster but ours.
    pub(crate) fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(&self.program);
        let nowhere = Path::new("/dev/null");
        command
            .env("KUBECONFIG", self.kubeconfig.as_deref().unwrap_or(nowhere))
            // What it learns about clusters of tests is no business of the user's.
            .env(
                "KUBECACHEDIR",
                concat!(env!("CARGO_TARGET_TMPDIR"), "/kubectl"),
            )
            .stdin(Stdio::null())
            .args(arguments);
        command
    }

    /// Returns the command that runs `script` by a shell at the root of this checkout, to which `kubectl` is
    /// this one.
    pub(crate) fn shell(&self, script: &str) -> Command {
        let command = self.command([]);
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = [self.program.parent().unwrap().to_owned()];
        let path = env::join_paths(folders.into_iter().chain(env::split_paths(&path))).unwrap();
        let mut shell = Command::new("bash");
        for (name, value) in command.get_envs() {
            shell.env(name, value.unwrap());
        }
        shell
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(root())
            .env("PATH", path)
            .stdin(Stdio::null());
        shell
    }

    /// Runs `kubectl <arguments>` and returns what it printed; it must succeed.
    ///
    /// Blocks: a test that serves the cluster itself calls this by `spawn_blocking`.
    #[track_caller]
    pub(crate) fn ok<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> String {
        let mut command = self.command(arguments);
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{command:?}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }
}
