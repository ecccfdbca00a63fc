//! The second opinion: the `oci-client` crate, which pushes images and says what their digests are.

use oci_client::{
    Client, Reference, RegistryOperation,
    client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol},
    secrets::RegistryAuth,
};
use testbed::images::Image;

use super::docker_registry::DockerRegistry;

/// A client of one registry, as one user.
pub(crate) struct Oci {
    client: Client,
    auth: RegistryAuth,
    host: String,
}

impl Oci {
    /// Returns a client of `registry` that shows `user` and the password, if any.
    pub(crate) fn new(registry: &DockerRegistry, user: Option<(&str, &str)>) -> Self {
        let certificate = |pem: &str| Certificate {
            encoding: CertificateEncoding::Pem,
            data: pem.as_bytes().to_vec(),
        };
        let protocol = match registry.ca() {
            None => ClientProtocol::Http,
            Some(_) => ClientProtocol::Https,
        };
        let config = ClientConfig {
            protocol,
            tls_certs_only: registry.ca().map(certificate).into_iter().collect(),
            ..ClientConfig::default()
        };
        let auth = match user {
            None => RegistryAuth::Anonymous,
            Some((user, password)) => RegistryAuth::Basic(user.to_owned(), password.to_owned()),
        };
        Self {
            client: Client::new(config),
            auth,
            host: registry.host().to_owned(),
        }
    }

    /// Pushes `image` with all its parts as `repository:tag`, and returns the reference.
    pub(crate) async fn push(&self, repository: &str, tag: &str, image: &Image) -> String {
        let reference =
            Reference::with_tag(self.host.clone(), repository.to_owned(), tag.to_owned());
        self.client
            .auth(&reference, &self.auth, RegistryOperation::Push)
            .await
            .unwrap();
        for child in &image.children {
            let digest = child.digest().to_owned();
            let by_digest =
                Reference::with_digest(self.host.clone(), repository.to_owned(), digest);
            self.push_one(&by_digest, child).await;
        }
        self.push_one(&reference, image).await;
        format!("{}/{repository}:{tag}", self.host)
    }

    async fn push_one(&self, reference: &Reference, image: &Image) {
        for blob in &image.blobs {
            self.client
                .push_blob(reference, blob.bytes.clone(), &blob.digest)
                .await
                .unwrap();
        }
        let manifest = &image.manifest;
        let media_type = manifest.media_type.parse().unwrap();
        self.client
            .push_manifest_raw(reference, manifest.bytes.clone(), media_type)
            .await
            .unwrap();
    }

    /// Returns the digest of `reference` as oci-client sees it.
    pub(crate) async fn digest(&self, reference: &str) -> String {
        let reference: Reference = reference.parse().unwrap();
        self.client
            .fetch_manifest_digest(&reference, &self.auth)
            .await
            .unwrap()
    }
}
