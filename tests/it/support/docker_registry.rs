//! Debian's docker-registry on a free port of 127.0.0.1, with nothing in it.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use super::{
    authority::Authority,
    folder::Folder,
    kube::eventually,
    skip::{self, Missing},
    token_service::TokenService,
};

/// A running registry; it ends with this value, also when the test fails.
pub(crate) struct DockerRegistry {
    child: Child,
    address: String,
    ca: Option<String>,
    /// A certificate and its key, where only clients that have one are let in.
    client: Option<String>,
    _folder: Folder,
}

/// How a registry is protected.
#[derive(Default)]
pub(crate) struct Protection<'a> {
    /// The one user and the password, asked for by Basic.
    pub(crate) user: Option<(&'a str, &'a str)>,
    /// The authority, and the names besides 127.0.0.1, of its certificate; plain http without.
    pub(crate) tls: Option<(&'a Authority, &'a [&'a str])>,
    /// The authority of the certificates of clients, none of whom is let in without; needs `tls`.
    pub(crate) clients: Option<&'a Authority>,
    /// Whose tokens let one in, instead of a password.
    pub(crate) tokens: Option<&'a TokenService>,
    /// The registry that it is a pull-through mirror of.
    pub(crate) mirror_of: Option<&'a DockerRegistry>,
    /// The URL that it tells of pushes, and the token that it shows there.
    pub(crate) tells: Option<(&'a str, &'a str)>,
}

impl DockerRegistry {
    /// Starts a registry that asks nothing of anybody.
    pub(crate) async fn anonymous() -> Result<Self, Missing> {
        Self::start(Protection::default()).await
    }

    /// Starts a registry, and waits until it answers.
    pub(crate) async fn start(protection: Protection<'_>) -> Result<Self, Missing> {
        let program = skip::program("docker-registry")?;
        // Whoever speaks TLS, or might, needs it: our client here, and oci-client.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = Folder::new();
        let mut config = json!({
            "version": "0.1",
            "log": {"level": "info", "formatter": "json", "accesslog": {"disabled": true}},
            "storage": {"filesystem": {"rootdirectory": folder.path().join("content")}},
            "http": {"addr": "127.0.0.1:0", "secret": "one replica"},
        });
        if let Some((user, password)) = protection.user {
            let file = folder.write("htpasswd", &htpasswd(user, password)?);
            config["auth"] = json!({"htpasswd": {"realm": "test", "path": file}});
        }
        if let Some(service) = protection.tokens {
            let bundle = folder.write("token.crt", &service.authority_pem());
            config["auth"] = json!({"token": {
                "realm": service.realm(), "service": service.audience(), "issuer": service.issuer(),
                "rootcertbundle": bundle,
            }});
        }
        if let Some(remote) = protection.mirror_of {
            config["proxy"] = json!({"remoteurl": format!("http://{}", remote.host())});
        }
        if let Some((url, token)) = protection.tells {
            // As docs/notify.md has it.
            config["notifications"] = json!({"endpoints": [{
                "name": "podrefresh", "url": url, "headers": {"Authorization": [format!("Bearer {token}")]},
                "timeout": "5s", "threshold": 3, "backoff": "5s",
            }]});
        }
        if let Some((authority, names)) = protection.tls {
            let names: Vec<&str> = names.iter().copied().chain(["127.0.0.1"]).collect();
            let (certificate, key) = authority.certificate(&names);
            let (certificate, key) = (
                folder.write("tls.crt", &certificate),
                folder.write("tls.key", &key),
            );
            config["http"]["tls"] = json!({"certificate": certificate, "key": key});
        }
        if let Some(authority) = protection.clients {
            let bundle = folder.write("clients.crt", &authority.pem());
            config["http"]["tls"]["clientcas"] = json!([bundle]);
        }
        // JSON is YAML.
        let config = folder.write("config.yml", &config.to_string());
        let log = folder.path().join("log");
        let child = Command::new(program)
            .arg("serve")
            .arg(config)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        // From here on a panic ends the registry, too.
        let ca = protection.tls.map(|(authority, _)| authority.pem());
        let client = protection.clients.map(Authority::client);
        let mut registry = Self {
            child,
            address: String::new(),
            ca,
            client: client.map(|(certificate, key)| certificate + &key),
            _folder: folder,
        };
        registry.address = eventually("docker-registry to listen", || {
            let text = fs::read_to_string(&log).unwrap();
            let ended = registry.child.try_wait().unwrap();
            async move {
                assert!(ended.is_none(), "docker-registry: {ended:?}\n{text}");
                listening(&text)
            }
        })
        .await;
        registry.answers().await;
        Ok(registry)
    }

    /// Returns `127.0.0.1:<port>`, the first part of its references.
    pub(crate) fn host(&self) -> &str {
        &self.address
    }

    /// Returns its port.
    pub(crate) fn port(&self) -> u16 {
        self.address.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// Returns the certificate of its authority, if it speaks TLS.
    pub(crate) fn ca(&self) -> Option<&str> {
        self.ca.as_deref()
    }

    async fn answers(&self) {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        let certificates = self
            .ca
            .iter()
            .map(|pem| reqwest::Certificate::from_pem(pem.as_bytes()).unwrap());
        let client =
            (self.client.iter()).map(|pem| reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
        let builder = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only(certificates);
        let http = client.fold(builder, reqwest::ClientBuilder::identity);
        let http = http.build().unwrap();
        let url = format!("{scheme}://{}/v2/", self.address);
        eventually("docker-registry to answer", || async {
            http.get(&url).send().await.ok()
        })
        .await;
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a line of an htpasswd file by Apache's own program; docker-registry takes bcrypt only.
fn htpasswd(user: &str, password: &str) -> Result<String, Missing> {
    let program = skip::program("htpasswd")?;
    let output = Command::new(program)
        .args(["-Bbn", user, password])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout).unwrap())
}

/// Returns the address in the line of the log that says `listening on 127.0.0.1:40001, tls`.
fn listening(log: &str) -> Option<String> {
    let mut messages = log.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line["msg"].as_str().map(str::to_owned)
    });
    let message =
        messages.find_map(|text| text.strip_prefix("listening on ").map(str::to_owned))?;
    message.split(',').next().map(str::to_owned)
}
