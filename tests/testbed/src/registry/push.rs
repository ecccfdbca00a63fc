//! Pushing images over the wire.

use hyper::Method;
use hyper::header::LOCATION;

use super::client::{Call, Client, ClientError};
use crate::images::{Blob, Image};

impl Client {
    /// Pushes an image with all its parts, and tags it.
    ///
    /// # Errors
    /// When the registry cannot be reached or refuses one of the parts.
    pub async fn push(
        &self,
        base_url: &str,
        repository: &str,
        tag: &str,
        image: &Image,
    ) -> Result<(), ClientError> {
        for child in &image.children {
            self.push_parts(base_url, repository, child).await?;
            self.push_manifest(base_url, repository, child.digest(), child)
                .await?;
        }
        self.push_parts(base_url, repository, image).await?;
        self.push_manifest(base_url, repository, tag, image).await
    }

    async fn push_parts(
        &self,
        base_url: &str,
        repository: &str,
        image: &Image,
    ) -> Result<(), ClientError> {
        for blob in &image.blobs {
            self.push_blob(base_url, repository, blob).await?;
        }
        Ok(())
    }

    async fn push_blob(
        &self,
        base_url: &str,
        repository: &str,
        blob: &Blob,
    ) -> Result<(), ClientError> {
        let url = format!("{base_url}/v2/{repository}/blobs/uploads/");
        let started = self.call(Call::new(Method::POST, &url)).await?;
        let location = started
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok());
        let location = location.ok_or(ClientError::Incomplete {
            url,
            what: "Location",
        })?;
        let absolute = if location.starts_with('/') {
            format!("{base_url}{location}")
        } else {
            location.to_owned()
        };
        let separator = if absolute.contains('?') { '&' } else { '?' };
        let put = Call::new(
            Method::PUT,
            format!("{absolute}{separator}digest={}", blob.digest),
        );
        self.call(put.with("application/octet-stream", blob.bytes.clone()))
            .await
            .map(drop)
    }

    async fn push_manifest(
        &self,
        base_url: &str,
        repository: &str,
        reference: &str,
        image: &Image,
    ) -> Result<(), ClientError> {
        let put = Call::new(
            Method::PUT,
            format!("{base_url}/v2/{repository}/manifests/{reference}"),
        );
        self.call(put.with(image.manifest.media_type, image.manifest.bytes.clone()))
            .await
            .map(drop)
    }
}
