//! What stands in a manifest: one image, or an index that offers several by platform.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Fault, platform::BuiltFor};
use crate::{cluster::Platform, policy::Digest};

/// No image is built for more platforms than these. An index is remembered, so its length is bounded.
const MAX_CHILDREN: usize = 256;

/// The media types of indexes; the second is docker's word for it.
const INDEXES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// A manifest, known by its digest and hence for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    digest: Digest,
    /// `None` when it is an image itself.
    offers: Option<Offers>,
}

/// The images in an index, in its order; attestations are none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Offers {
    digests: Vec<Digest>,
    /// What each is built for, if the index says so.
    built_for: Vec<Option<BuiltFor>>,
}

#[derive(Deserialize)]
struct RawManifest<'a> {
    #[serde(rename = "schemaVersion")]
    schema_version: u32,
    #[serde(rename = "mediaType", default)]
    media_type: Option<String>,
    // Not read any further before they are counted.
    #[serde(borrow, default)]
    manifests: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    config: Option<&'a RawValue>,
    #[serde(borrow, default)]
    layers: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawChild {
    digest: String,
    #[serde(default)]
    platform: Option<BuiltFor>,
}

impl Manifest {
    /// Reads the manifest that has `digest` and these bytes; that they belong together is not checked here.
    pub fn decode(digest: Digest, bytes: &[u8]) -> Result<Self, Fault> {
        let raw: RawManifest<'_> = serde_json::from_slice(bytes).map_err(|_| NO_MANIFEST)?;
        if raw.schema_version != 2 {
            return Err(NO_MANIFEST);
        }
        let is_index = match &raw.media_type {
            Some(media_type) => INDEXES.contains(&&**media_type),
            // OCI leaves the type to the answer's header. What could be either, runtimes refuse as well.
            None if raw.manifests.is_some() && (raw.config.is_some() || raw.layers.is_some()) => {
                return Err(Fault::Malformed("its manifest is both image and index"));
            }
            None => raw.manifests.is_some(),
        };
        let offers = is_index.then(|| Offers::decode(&raw.manifests.unwrap_or_default()));
        Ok(Self {
            digest,
            offers: offers.transpose()?,
        })
    }

    /// Says whether it is an index, so that nodes of different platforms may run different images by it.
    pub const fn is_index(&self) -> bool {
        self.offers.is_some()
    }

    /// Returns the digests of the images in it; none when it is an image itself.
    pub fn children(&self) -> &[Digest] {
        self.offers.as_ref().map_or(&[], |offers| &offers.digests)
    }

    /// Returns the images in it with what they are built for, as far as it says; none when it is an image itself.
    pub fn platforms(&self) -> impl Iterator<Item = (Option<&BuiltFor>, &Digest)> {
        self.offers.iter().flat_map(Offers::iter)
    }

    /// Returns how many bytes what is kept of it has.
    pub(super) fn bytes(&self) -> usize {
        const CHILD: usize = size_of::<Option<BuiltFor>>() + size_of::<Digest>();
        let names = |(built_for, digest): (Option<&BuiltFor>, &Digest)| {
            CHILD + built_for.map_or(0, BuiltFor::bytes) + digest.bytes().len()
        };
        self.platforms().map(names).sum()
    }

    /// Says whether it is an index that has nothing a node of `platform` could run.
    pub fn is_unfit_for(&self, platform: &Platform) -> bool {
        let fits = |built_for: Option<&BuiltFor>| {
            built_for.is_none_or(|built_for| built_for.rank(platform).is_some())
        };
        (self.offers.as_ref()).is_some_and(|offers| !offers.iter().any(|(it, _)| fits(it)))
    }

    /// Returns the image that a node of `platform` runs by it: itself if it is no index.
    ///
    /// `None` where it is an index and has none for that platform, or the platform is not known, or it takes
    /// more to tell which: images without a platform, and those for different versions of Windows.
    pub fn image_for(&self, platform: Option<&Platform>) -> Option<&Digest> {
        let Some(offers) = &self.offers else {
            return Some(&self.digest);
        };
        let platform = platform?;
        // What says nothing of its platform comes last.
        let ranked = offers.iter().filter_map(|(built_for, digest)| {
            let rank = built_for.map_or(Some(usize::MAX), |it| it.rank(platform))?;
            Some((rank, built_for, digest))
        });
        let best = ranked.clone().map(|(rank, ..)| rank).min()?;
        let mut equals = ranked.filter(|(rank, ..)| *rank == best);
        let (_, built_for, digest) = equals.next()?;
        let unsure = equals.any(|(_, other, _)| match (built_for, other) {
            (Some(one), Some(other)) => !one.is_like(other),
            _ => true,
        });
        (!unsure).then_some(digest)
    }
}

/// Why bytes are no manifest. A proxy's login page comes with status 200, too.
const NO_MANIFEST: Fault = Fault::Malformed("its body is not an image manifest");

impl Offers {
    fn decode(children: &[&RawValue]) -> Result<Self, Fault> {
        if children.len() > MAX_CHILDREN {
            return Err(Fault::Malformed("its index lists too many images"));
        }
        let mut offers = Self::default();
        for child in children {
            let child: RawChild = serde_json::from_str(child.get()).map_err(|_| NO_MANIFEST)?;
            let digest = child.digest.parse();
            let digest = digest.map_err(|_| Fault::Malformed("its index lists no digest"))?;
            if child.platform.as_ref().is_some_and(|it| !it.is_sound()) {
                return Err(Fault::Malformed("its index lists no platform"));
            }
            if child.platform.as_ref().is_none_or(|it| !it.is_nowhere()) {
                offers.digests.push(digest);
                offers.built_for.push(child.platform);
            }
        }
        Ok(offers)
    }

    fn iter(&self) -> impl Iterator<Item = (Option<&BuiltFor>, &Digest)> + Clone {
        let built_for = self.built_for.iter().map(Option::as_ref);
        built_for.zip(&self.digests)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::of_sha256([byte; 32])
    }

    fn decode(body: &Value) -> Result<Manifest, &'static str> {
        let manifest = Manifest::decode(digest(0), body.to_string().as_bytes());
        manifest.map_err(|fault| fault.label())
    }

    /// Returns an index of images with these platforms and the digests 1, 2, ….
    fn index(platforms: &[Value]) -> Manifest {
        let children: Vec<Value> = (1..)
            .zip(platforms)
            .map(|(n, platform)| json!({"digest": digest(n).to_string(), "platform": platform}))
            .collect();
        decode(&json!({"schemaVersion": 2, "mediaType": INDEXES[0], "manifests": children}))
            .unwrap()
    }

    fn platform(os: &str, architecture: &str) -> Value {
        json!({"os": os, "architecture": architecture})
    }

    #[track_caller]
    fn check(index: &Manifest, os: &str, architecture: &str, expected: Option<u8>) {
        let platform = Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
        };
        assert_eq!(
            index.image_for(Some(&platform)),
            expected.map(digest).as_ref()
        );
    }

    #[test]
    fn a_node_gets_the_first_of_the_best() {
        let amd64 = platform("linux", "amd64");
        let index = index(&[
            platform("linux", "386"),
            platform("linux", "arm64"),
            amd64.clone(),
            amd64,
        ]);
        check(&index, "linux", "amd64", Some(3));
        check(&index, "linux", "arm64", Some(2));
        check(&index, "linux", "s390x", None);
        for (architecture, unfit) in [("amd64", false), ("386", false), ("s390x", true)] {
            let platform = Platform {
                os: "linux".to_owned(),
                architecture: architecture.to_owned(),
            };
            assert_eq!(index.is_unfit_for(&platform), unfit, "{architecture}");
        }
        check(&index, "windows", "amd64", None);
    }

    #[test]
    fn attestations_are_no_images() {
        let index = index(&[platform("unknown", "unknown"), platform("linux", "amd64")]);
        assert_eq!(index.children(), [digest(2)]);
        check(&index, "linux", "amd64", Some(2));
        check(&index, "unknown", "unknown", None);
    }

    #[test]
    fn an_image_is_its_own_whatever_the_platform() {
        let image = json!({"schemaVersion": 2, "config": {}, "layers": []});
        for body in [
            image.clone(),
            json!({"schemaVersion": 2, "mediaType": "x", "manifests": []}),
        ] {
            let image = decode(&body).unwrap();
            assert!(!image.is_index() && image.children().is_empty());
            check(&image, "linux", "amd64", Some(0));
            assert_eq!(image.image_for(None), Some(&digest(0)));
        }
        assert_eq!(index(&[Value::Null]).image_for(None), None);
    }

    #[test]
    fn docker_lists_and_untyped_indexes_are_indexes() {
        let children = json!([{"digest": digest(1).to_string(), "platform": {"os": "linux", "architecture": "amd64"}}]);
        for body in [
            json!({"schemaVersion": 2, "manifests": children}),
            json!({"schemaVersion": 2, "mediaType": INDEXES[1], "manifests": children}),
        ] {
            let index = decode(&body).unwrap();
            assert!(index.is_index());
            check(&index, "linux", "amd64", Some(1));
        }
        check(&index(&[]), "linux", "amd64", None);
    }

    #[test]
    fn without_a_platform_only_one_can_be_told() {
        check(&index(&[Value::Null]), "linux", "amd64", Some(1));
        check(&index(&[Value::Null, Value::Null]), "linux", "amd64", None);
        let last = index(&[Value::Null, Value::Null, platform("linux", "amd64")]);
        check(&last, "linux", "amd64", Some(3));
    }

    #[test]
    fn versions_of_windows_cannot_be_told_apart() {
        let version =
            |version| json!({"os": "windows", "architecture": "amd64", "os.version": version});
        check(
            &index(&[version("10.0.17763.1")]),
            "windows",
            "amd64",
            Some(1),
        );
        let two = index(&[version("10.0.17763.1"), version("10.0.20348.1")]);
        check(&two, "windows", "amd64", None);
    }

    #[test]
    fn an_index_is_weighed_by_its_children() {
        let one = |architecture: &str| index(&[platform("linux", architecture)]).bytes();
        assert_eq!(index(&[]).bytes(), 0);
        assert!(one("") >= size_of::<Digest>() + size_of::<BuiltFor>());
        assert_eq!(one(&"x".repeat(64)) - one(""), 64);
        let amd64 = platform("linux", "amd64");
        assert_eq!(index(&vec![amd64; 200]).bytes(), 200 * one("amd64"));
    }

    #[test]
    fn what_is_no_manifest_is_an_error() {
        let child = json!({"digest": digest(1).to_string()});
        for body in [
            json!(null),
            json!({}),
            json!({"schemaVersion": 1}),
            json!({"schemaVersion": 2, "manifests": 7}),
            json!({"schemaVersion": 2, "manifests": [7]}),
            json!({"schemaVersion": 2, "manifests": [{"digest": "latest"}]}),
            json!({"schemaVersion": 2, "manifests": [], "layers": []}),
            json!({"schemaVersion": 2, "manifests": [{"digest": digest(1).to_string(), "platform": {"os": "x".repeat(65)}}]}),
            json!({"schemaVersion": 2, "manifests": vec![&child; MAX_CHILDREN + 1]}),
        ] {
            assert_eq!(decode(&body), Err("malformed"), "{body:.80}");
        }
        let full = json!({"schemaVersion": 2, "manifests": vec![&child; MAX_CHILDREN]});
        assert!(decode(&full).is_ok());
    }
}
