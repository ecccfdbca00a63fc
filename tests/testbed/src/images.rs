//! Container images made in memory: real OCI and Docker v2 bytes whose content follows from a seed.
//!
//! The same arguments give the same bytes, hence the same digests, in every run. Layers are real gzipped tar archives with
//! one small file, so that tools which unpack them succeed.

use std::io::Write as _;

use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Media type of an OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of an OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of a Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Media type of a Docker v2 schema 2 manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// The four manifest types, as clients list them in `Accept`.
pub const MANIFEST_TYPES: [&str; 4] = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST];

/// Which of the two families of media types an image is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OCI image-spec v1.
    Oci,
    /// Docker image manifest version 2, schema 2.
    Docker,
}

/// A content-addressed piece of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Media type, as descriptors and `Content-Type` name it.
    pub media_type: &'static str,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// The bytes that the digest is of.
    pub bytes: Bytes,
}

/// A manifest with all that it refers to: an image of one platform, or an index of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The manifest or index itself; its digest is what a tag points to.
    pub manifest: Blob,
    /// Config and layers; empty for an index.
    pub blobs: Vec<Blob>,
    /// The images an index lists, attestations among them; empty for a single image.
    pub children: Vec<Image>,
    /// `os/architecture[/variant]`; `unknown/unknown` for an attestation, empty for an index.
    pub platform: String,
    /// What an index says about this child beside its platform.
    annotations: Option<Value>,
}

impl Blob {
    fn new(media_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            media_type,
            digest: digest(&bytes),
            bytes,
        }
    }

    fn json(media_type: &'static str, value: &Value) -> Self {
        Self::new(media_type, value.to_string())
    }

    fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len() })
    }
}

impl Image {
    /// Returns the digest that a tag of this image resolves to.
    pub fn digest(&self) -> &str {
        &self.manifest.digest
    }

    /// Returns the digest of the config blob: what Docker calls the image ID. Empty for an index.
    pub fn config_digest(&self) -> &str {
        self.blobs.first().map_or("", |config| &config.digest)
    }

    /// Returns the child for `platform`, such as `linux/arm64`.
    pub fn child(&self, platform: &str) -> Option<&Self> {
        self.children
            .iter()
            .find(|child| child.platform == platform)
    }
}

impl Format {
    const fn index_type(self) -> &'static str {
        match self {
            Self::Oci => OCI_INDEX,
            Self::Docker => DOCKER_LIST,
        }
    }

    const fn manifest_type(self) -> &'static str {
        match self {
            Self::Oci => OCI_MANIFEST,
            Self::Docker => DOCKER_MANIFEST,
        }
    }

    const fn config_type(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.config.v1+json",
            Self::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    const fn layer_type(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Docker => "application/vnd.docker.image.rootfs.diff.tar.gzip",
        }
    }

    /// Returns an image for one platform (`os/architecture[/variant]`) with content made from `seed`.
    pub fn image(self, platform: &str, seed: &str) -> Image {
        let tar = tar(format!("{platform} {seed}\n").as_bytes());
        let mut config = json!({
            "created": "2026-01-02T03:04:05Z",
            "config": { "Cmd": ["/app"], "Labels": { "seed": seed } },
            "rootfs": { "type": "layers", "diff_ids": [digest(&tar)] },
            "history": [{ "created": "2026-01-02T03:04:05Z", "created_by": "COPY app /app" }],
        });
        merge(&mut config, platform_json(platform));
        let config = Blob::json(self.config_type(), &config);
        let layer = Blob::new(self.layer_type(), gzip(&tar));
        let manifest = self.manifest(&config, &layer);
        Image {
            manifest,
            blobs: vec![config, layer],
            children: Vec::new(),
            platform: platform.into(),
            annotations: None,
        }
    }

    /// Returns an index (OCI) or manifest list (Docker) of `children`, in this order.
    pub fn index(self, children: impl IntoIterator<Item = Image>) -> Image {
        let children: Vec<Image> = children.into_iter().collect();
        let manifests: Vec<Value> = children.iter().map(listed).collect();
        let index =
            json!({ "schemaVersion": 2, "mediaType": self.index_type(), "manifests": manifests });
        let manifest = Blob::json(self.index_type(), &index);
        Image {
            manifest,
            blobs: Vec::new(),
            children,
            platform: String::new(),
            annotations: None,
        }
    }

    /// Returns an index of a linux/amd64 and a linux/arm64 image with content made from `seed`.
    pub fn multi_platform(self, seed: &str) -> Image {
        self.index([
            self.image("linux/amd64", seed),
            self.image("linux/arm64", seed),
        ])
    }

    fn manifest(self, config: &Blob, layer: &Blob) -> Blob {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": self.manifest_type(),
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
        });
        Blob::json(self.manifest_type(), &manifest)
    }
}

/// Returns a provenance attestation of `image` as BuildKit puts it into an index: platform `unknown/unknown`, and content that
/// changes with `build` although the image does not.
pub fn attestation(image: &Image, build: &str) -> Image {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://slsa.dev/provenance/v0.2",
        "subject": [{ "name": "image", "digest": { "sha256": image.digest().trim_start_matches("sha256:") } }],
        "predicate": { "metadata": { "buildInvocationID": build } },
    });
    let layer = Blob::json("application/vnd.in-toto+json", &statement);
    let config = json!({
        "architecture": "unknown", "os": "unknown", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [layer.digest] },
    });
    let config = Blob::json(Format::Oci.config_type(), &config);
    let manifest = Format::Oci.manifest(&config, &layer);
    let annotations = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image.digest(),
    });
    let blobs = vec![config, layer];
    Image {
        manifest,
        blobs,
        children: Vec::new(),
        platform: "unknown/unknown".into(),
        annotations: Some(annotations),
    }
}

/// Returns `sha256:` and the lower-case hexadecimal hash of `bytes`.
pub fn digest(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

fn listed(child: &Image) -> Value {
    let mut descriptor = child.manifest.descriptor();
    descriptor["platform"] = platform_json(&child.platform);
    if let Some(annotations) = &child.annotations {
        descriptor["annotations"] = annotations.clone();
    }
    descriptor
}

fn platform_json(platform: &str) -> Value {
    let mut parts = platform.split('/');
    let os = parts.next().unwrap_or_default();
    let architecture = parts.next().unwrap_or_default();
    let mut value = json!({ "architecture": architecture, "os": os });
    if let Some(variant) = parts.next() {
        value["variant"] = variant.into();
    }
    value
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

/// One regular file `app` as a POSIX ustar archive: a header block, the padded content, and two empty blocks.
fn tar(content: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, "app");
    put(100, "0000755\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    // No time stamp in the header: equal seeds must give equal bytes.
    let mut encoder = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::default());
    encoder
        .write_all(bytes)
        .expect("writing to memory must succeed");
    encoder.finish().expect("writing to memory must succeed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_alone_decides_the_digest() {
        assert_eq!(
            Format::Oci.image("linux/amd64", "a").digest(),
            Format::Oci.image("linux/amd64", "a").digest()
        );
        assert_ne!(
            Format::Oci.image("linux/amd64", "a").digest(),
            Format::Oci.image("linux/amd64", "b").digest()
        );
        assert_ne!(
            Format::Oci.image("linux/amd64", "a").digest(),
            Format::Docker.image("linux/amd64", "a").digest()
        );
    }

    #[test]
    fn a_rebuild_with_a_new_attestation_keeps_the_platform_image() {
        let image = Format::Oci.image("linux/amd64", "a");
        let first = Format::Oci.index([image.clone(), attestation(&image, "build-1")]);
        let second = Format::Oci.index([image.clone(), attestation(&image, "build-2")]);
        assert_ne!(first.digest(), second.digest());
        assert_eq!(first.child("linux/amd64"), second.child("linux/amd64"));
        let index: Value = serde_json::from_slice(&first.manifest.bytes).unwrap();
        assert_eq!(
            index["manifests"][1]["platform"],
            json!({ "architecture": "unknown", "os": "unknown" })
        );
        assert_eq!(
            index["manifests"][1]["annotations"]["vnd.docker.reference.digest"],
            image.digest()
        );
    }

    #[test]
    fn a_variant_is_the_third_part_of_a_platform() {
        assert_eq!(
            platform_json("linux/arm/v7"),
            json!({ "architecture": "arm", "os": "linux", "variant": "v7" })
        );
    }

    #[test]
    fn descriptors_name_the_bytes_they_describe() {
        let image = Format::Docker.image("linux/amd64", "a");
        let manifest: Value = serde_json::from_slice(&image.manifest.bytes).unwrap();
        assert_eq!(manifest["mediaType"], DOCKER_MANIFEST);
        assert_eq!(manifest["config"]["digest"], image.config_digest());
        assert_eq!(manifest["layers"][0]["size"], image.blobs[1].bytes.len());
    }

    #[test]
    fn the_digest_is_that_of_sha256sum() {
        assert_eq!(
            digest(b""),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
