//! What the registry stores: manifests, tags, blobs and unfinished uploads.

use std::collections::{BTreeMap, HashMap};

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use crate::images::{DOCKER_LIST, Image, MANIFEST_TYPES, OCI_INDEX, OCI_MANIFEST, digest};

/// A stored manifest.
#[derive(Clone, Debug)]
pub(super) struct Manifest {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) bytes: Bytes,
}

#[derive(Debug, Default)]
struct Repository {
    manifests: HashMap<String, Manifest>,
    tags: BTreeMap<String, String>,
    blobs: HashMap<String, Bytes>,
    uploads: HashMap<String, BytesMut>,
}

/// All repositories.
#[derive(Debug, Default)]
pub(super) struct Content {
    repositories: HashMap<String, Repository>,
    uploads_started: usize,
}

/// An error as registries write it: a status and a code of the distribution specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }
}

impl Content {
    /// Returns the manifest for a tag or digest in a form that `accept` allows, as Docker's registry 2.8 chooses it: a type that
    /// is not accepted is not found, and of a Docker list the linux/amd64 child is served to those who cannot read lists.
    pub(super) fn manifest(
        &self,
        repository: &str,
        reference: &str,
        accept: &str,
    ) -> Result<Manifest, Refusal> {
        let unknown = || Refusal::new(404, "MANIFEST_UNKNOWN", "manifest unknown");
        let home = self.repositories.get(repository).ok_or_else(|| {
            Refusal::new(404, "NAME_UNKNOWN", "repository name not known to registry")
        })?;
        let by_tag = !reference.contains(':');
        let wanted = if by_tag {
            home.tags.get(reference).ok_or_else(unknown)?
        } else {
            reference
        };
        let found = home.manifests.get(wanted).ok_or_else(unknown)?;
        let accepts = |media_type: &str| {
            accept.split(',').any(|one| {
                one.split(';')
                    .next()
                    .is_some_and(|one| one.trim() == media_type)
            })
        };
        if accepts(&found.media_type) {
            return Ok(found.clone());
        }
        match found.media_type.as_str() {
            OCI_INDEX => Err(Refusal::new(
                404,
                "MANIFEST_UNKNOWN",
                "OCI index found, but accept header does not support OCI indexes",
            )),
            OCI_MANIFEST => Err(Refusal::new(
                404,
                "MANIFEST_UNKNOWN",
                "OCI manifest found, but accept header does not support OCI manifests",
            )),
            DOCKER_LIST if by_tag => amd64_child(home, found).ok_or_else(unknown),
            _ => Ok(found.clone()),
        }
    }

    /// Stores a manifest under its digest and, when `reference` is a tag, lets the tag point to it.
    pub(super) fn put_manifest(
        &mut self,
        repository: &str,
        reference: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<String, Refusal> {
        let invalid = |message: &str| Refusal::new(400, "MANIFEST_INVALID", message);
        let body: Value =
            serde_json::from_slice(&bytes).map_err(|_| invalid("manifest is not JSON"))?;
        if !MANIFEST_TYPES.contains(&media_type) {
            return Err(invalid("manifest type is not known"));
        }
        let digest = digest(&bytes);
        let home = self.repositories.entry(repository.into()).or_default();
        if let Some(missing) = missing(home, &body) {
            return Err(Refusal::new(
                400,
                "MANIFEST_BLOB_UNKNOWN",
                format!("blob unknown to registry: {missing}"),
            ));
        }
        if reference.contains(':') && reference != digest {
            return Err(Refusal::new(
                400,
                "DIGEST_INVALID",
                "provided digest did not match uploaded content",
            ));
        }
        home.manifests.insert(
            digest.clone(),
            Manifest {
                media_type: media_type.into(),
                digest: digest.clone(),
                bytes,
            },
        );
        if !reference.contains(':') {
            home.tags.insert(reference.into(), digest.clone());
        }
        Ok(digest)
    }

    /// Deletes a tag, or a manifest with all tags that point to it. Says whether it was there.
    pub(super) fn delete_manifest(&mut self, repository: &str, reference: &str) -> bool {
        let Some(home) = self.repositories.get_mut(repository) else {
            return false;
        };
        if !reference.contains(':') {
            return home.tags.remove(reference).is_some();
        }
        home.tags.retain(|_, digest| digest != reference);
        home.manifests.remove(reference).is_some()
    }

    /// Stores an image with all its parts.
    pub(super) fn store(&mut self, repository: &str, image: &Image) {
        for child in &image.children {
            self.store(repository, child);
        }
        let home = self.repositories.entry(repository.into()).or_default();
        for blob in &image.blobs {
            home.blobs.insert(blob.digest.clone(), blob.bytes.clone());
        }
        let blob = &image.manifest;
        let manifest = Manifest {
            media_type: blob.media_type.into(),
            digest: blob.digest.clone(),
            bytes: blob.bytes.clone(),
        };
        home.manifests.insert(blob.digest.clone(), manifest);
    }

    /// Points a tag to a stored digest.
    pub(super) fn tag(&mut self, repository: &str, tag: &str, digest: &str) {
        self.repositories
            .entry(repository.into())
            .or_default()
            .tags
            .insert(tag.into(), digest.into());
    }

    /// Returns the digest a tag points to.
    pub(super) fn tagged(&self, repository: &str, tag: &str) -> Option<&str> {
        self.repositories
            .get(repository)?
            .tags
            .get(tag)
            .map(String::as_str)
    }

    pub(super) fn tags(&self, repository: &str) -> Option<Vec<&str>> {
        Some(
            self.repositories
                .get(repository)?
                .tags
                .keys()
                .map(String::as_str)
                .collect(),
        )
    }

    pub(super) fn blob(&self, repository: &str, digest: &str) -> Option<Bytes> {
        self.repositories
            .get(repository)?
            .blobs
            .get(digest)
            .cloned()
    }

    pub(super) fn put_blob(
        &mut self,
        repository: &str,
        expected: &str,
        bytes: Bytes,
    ) -> Result<(), Refusal> {
        if digest(&bytes) != expected {
            return Err(Refusal::new(
                400,
                "DIGEST_INVALID",
                "provided digest did not match uploaded content",
            ));
        }
        self.repositories
            .entry(repository.into())
            .or_default()
            .blobs
            .insert(expected.into(), bytes);
        Ok(())
    }

    /// Starts an upload and returns its id.
    pub(super) fn start_upload(&mut self, repository: &str) -> String {
        self.uploads_started += 1;
        let id = format!("upload-{}", self.uploads_started);
        self.repositories
            .entry(repository.into())
            .or_default()
            .uploads
            .insert(id.clone(), BytesMut::new());
        id
    }

    /// Adds to an upload and returns its size so far.
    pub(super) fn append_upload(
        &mut self,
        repository: &str,
        id: &str,
        bytes: &[u8],
    ) -> Result<usize, Refusal> {
        let upload = self
            .repositories
            .get_mut(repository)
            .and_then(|home| home.uploads.get_mut(id));
        let upload = upload.ok_or_else(|| {
            Refusal::new(
                404,
                "BLOB_UPLOAD_UNKNOWN",
                "blob upload unknown to registry",
            )
        })?;
        upload.extend_from_slice(bytes);
        Ok(upload.len())
    }

    /// Ends an upload; its content must have `expected` as its digest.
    pub(super) fn finish_upload(
        &mut self,
        repository: &str,
        id: &str,
        expected: &str,
    ) -> Result<(), Refusal> {
        self.append_upload(repository, id, &[])?;
        let home = self.repositories.entry(repository.into()).or_default();
        let bytes = home.uploads.remove(id).unwrap_or_default().freeze();
        self.put_blob(repository, expected, bytes)
    }
}

fn amd64_child(home: &Repository, list: &Manifest) -> Option<Manifest> {
    let list: Value = serde_json::from_slice(&list.bytes).ok()?;
    let is_amd64 = |child: &&Value| {
        child["platform"]["os"] == "linux" && child["platform"]["architecture"] == "amd64"
    };
    let child = list["manifests"].as_array()?.iter().find(is_amd64)?;
    home.manifests.get(child["digest"].as_str()?).cloned()
}

/// Returns the first digest that a manifest refers to and that is not stored.
fn missing(home: &Repository, manifest: &Value) -> Option<String> {
    let list = |key: &str| manifest[key].as_array().cloned().unwrap_or_default();
    let named = |value: &Value| value["digest"].as_str().map(str::to_owned);
    let blobs = list("layers")
        .into_iter()
        .chain([manifest["config"].clone()])
        .filter_map(|value| named(&value));
    let children = list("manifests")
        .into_iter()
        .filter_map(|value| named(&value));
    let absent_blob = blobs
        .into_iter()
        .find(|digest| !home.blobs.contains_key(digest));
    absent_blob.or_else(|| {
        children
            .into_iter()
            .find(|digest| !home.manifests.contains_key(digest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::{DOCKER_MANIFEST, Format};

    fn stored(format: Format) -> (Content, Image) {
        let mut content = Content::default();
        let image = format.multi_platform("a");
        content.store("app", &image);
        content.tag("app", "latest", image.digest());
        (content, image)
    }

    #[test]
    fn a_list_turns_into_its_amd64_child_for_old_clients() {
        let (content, image) = stored(Format::Docker);
        let whole = content
            .manifest("app", "latest", &MANIFEST_TYPES.join(", "))
            .unwrap();
        let child = content.manifest("app", "latest", DOCKER_MANIFEST).unwrap();
        assert_eq!(whole.digest, image.digest());
        assert_eq!(child.digest, image.child("linux/amd64").unwrap().digest());
    }

    #[test]
    fn an_oci_index_is_not_found_by_who_does_not_accept_it() {
        let (content, image) = stored(Format::Oci);
        let refusal = content
            .manifest("app", "latest", DOCKER_MANIFEST)
            .unwrap_err();
        assert_eq!((refusal.status, refusal.code), (404, "MANIFEST_UNKNOWN"));
        assert_eq!(
            content
                .manifest("app", image.digest(), OCI_INDEX)
                .unwrap()
                .digest,
            image.digest()
        );
    }

    #[test]
    fn a_manifest_must_not_come_before_its_parts() {
        let image = Format::Oci.image("linux/amd64", "a");
        let mut content = Content::default();
        let bytes = image.manifest.bytes.clone();
        let early = content.put_manifest("app", "v1", OCI_MANIFEST, bytes.clone());
        assert_eq!(early.unwrap_err().code, "MANIFEST_BLOB_UNKNOWN");
        for blob in &image.blobs {
            content
                .put_blob("app", &blob.digest, blob.bytes.clone())
                .unwrap();
        }
        assert_eq!(
            content
                .put_manifest("app", "v1", OCI_MANIFEST, bytes)
                .as_deref(),
            Ok(image.digest())
        );
    }

    #[test]
    fn deleting_a_manifest_takes_its_tags_along() {
        let (mut content, image) = stored(Format::Oci);
        assert!(content.delete_manifest("app", image.digest()));
        assert_eq!(content.tagged("app", "latest"), None);
        assert!(!content.delete_manifest("app", image.digest()));
    }

    #[test]
    fn an_upload_must_have_the_digest_it_claims() {
        let mut content = Content::default();
        let id = content.start_upload("app");
        assert_eq!(content.append_upload("app", &id, b"ab"), Ok(2));
        assert_eq!(
            content
                .finish_upload("app", &id, &digest(b"abc"))
                .unwrap_err()
                .code,
            "DIGEST_INVALID"
        );
        assert_eq!(
            content.append_upload("app", &id, b"c").unwrap_err().code,
            "BLOB_UPLOAD_UNKNOWN"
        );
    }
}
