//! A credential provider plugin: the shell under another name, and the kubelet's configuration that runs it.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::folder::Folder;

const PROTOCOL: &str = "credentialprovider.kubelet.k8s.io/v1";

/// A folder with the plugin `shell`; it goes with this value.
pub(crate) struct Plugin(Folder);

impl Plugin {
    /// Returns a plugin that runs `script`, with `$DIR` its folder, for images of `registry`; `extra` goes into its configuration.
    pub(crate) fn new(registry: &str, script: &str, extra: Value) -> Self {
        let folder = Folder::new();
        // No script is written to disk: a program that was just written may be busy for a moment.
        symlink("/bin/sh", folder.path().join("shell")).unwrap();
        let mut provider = json!({
            "name": "shell", "matchImages": [registry], "defaultCacheDuration": "1h",
            "apiVersion": PROTOCOL, "args": ["-c", script],
            "env": [{"name": "DIR", "value": folder.path()}],
        });
        json_patch::merge(&mut provider, &extra);
        let config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig",
            "providers": [provider],
        });
        folder.write("config.json", &config.to_string());
        Self(folder)
    }

    /// Returns the flags that make the program use it.
    pub(crate) fn flags(&self) -> [String; 2] {
        let folder = self.0.path().display();
        [
            format!("--credential-provider-config={folder}/config.json"),
            format!("--credential-provider-bin-dir={folder}"),
        ]
    }

    /// Returns what the script wrote to `$DIR/<name>`.
    pub(crate) fn wrote(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).unwrap_or_default()
    }
}

/// Returns a script's end that answers with `password`, which may be a variable, for `user` of `registry`.
pub(crate) fn answer(registry: &str, user: &str, password: &str) -> String {
    let answer = json!({
        "apiVersion": PROTOCOL, "kind": "CredentialProviderResponse", "cacheKeyType": "Registry",
        "auth": {registry: {"username": user, "password": password}},
    });
    format!("echo \"{}\"", answer.to_string().replace('"', "\\\""))
}
