//! The third opinion: skopeo.

use std::path::PathBuf;

use tokio::process::Command;

use super::skip::{self, Missing};

/// This machine's skopeo, for registries on plain http.
pub(crate) struct Skopeo {
    program: PathBuf,
    /// Whom it logs in as when it inspects: `user:password`.
    login: Option<String>,
}

impl Skopeo {
    /// Returns this machine's skopeo.
    pub(crate) fn find() -> Result<Self, Missing> {
        Ok(Self {
            program: skip::program("skopeo")?,
            login: None,
        })
    }

    /// Returns one that logs in when it inspects.
    pub(crate) fn with_login(self, (user, password): (&str, &str)) -> Self {
        let login = Some(format!("{user}:{password}"));
        Self { login, ..self }
    }

    /// Returns the digest that it names for `reference`.
    pub(crate) async fn digest(&self, reference: &str) -> String {
        let reference = format!("docker://{reference}");
        let output = self.inspect(&["--format", "{{.Digest}}", &reference]).await;
        String::from_utf8(output).unwrap().trim().to_owned()
    }

    /// Returns the manifest's bytes.
    pub(crate) async fn raw(&self, reference: &str) -> Vec<u8> {
        let reference = format!("docker://{reference}");
        self.inspect(&["--raw", &reference]).await
    }

    async fn inspect(&self, arguments: &[&str]) -> Vec<u8> {
        let login = self.login.as_deref();
        let login = login.map(|login| ["--creds", login]);
        let login = login.as_ref().map_or(&[][..], |login| login);
        self.run(&[&["inspect", "--tls-verify=false"][..], login, arguments].concat())
            .await
    }

    /// Copies one image in the form `v2s2` or `oci`: with other bytes, hence another digest.
    pub(crate) async fn convert(&self, from: &str, to: &str, form: &str) {
        let (from, to) = (format!("docker://{from}"), format!("docker://{to}"));
        let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
        self.run(&["copy", plain[0], plain[1], "--format", form, &from, &to])
            .await;
    }

    async fn run(&self, arguments: &[&str]) -> Vec<u8> {
        let mut command = Command::new(&self.program);
        // The signature policy of the machine is not the tests' business.
        command
            .args([
                "--insecure-policy",
                "--override-os=linux",
                "--override-arch=amd64",
            ])
            .args(arguments);
        let output = command.kill_on_drop(true).output().await.unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{command:?}: {}\n{error}",
            output.status
        );
        output.stdout
    }
}
