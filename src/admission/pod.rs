//! A pod as a review brings it, as much of it as podrefresh reads.

use serde::Deserialize;

use super::{
    few::Items,
    review::{Strings, Text},
};

/// The kubelet's mark on the mirror of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// A pod on its way into the cluster. Not validated yet: anything may be absent, empty or wrong.
#[derive(Debug, Default, Deserialize)]
pub struct Pod<'a> {
    /// Its metadata.
    #[serde(borrow)]
    pub metadata: Option<Metadata<'a>>,
    /// Its specification.
    #[serde(borrow)]
    pub spec: Option<Spec<'a>>,
}

/// A pod's metadata.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    /// Its name, unless the API server is to make one.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    /// The beginning of the name that the API server is to make.
    #[serde(borrow)]
    pub generate_name: Option<Text<'a>>,
    /// Its labels.
    #[serde(borrow)]
    pub labels: Option<Strings<'a>>,
    /// Its annotations; absent when there are none.
    #[serde(borrow)]
    pub annotations: Option<Strings<'a>>,
    /// When it was deleted, if it was.
    #[serde(borrow)]
    pub deletion_timestamp: Option<Text<'a>>,
}

/// A pod's specification.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec<'a> {
    /// Init containers and native sidecars.
    #[serde(borrow)]
    pub init_containers: Option<Items<Container<'a>>>,
    /// Ordinary containers.
    #[serde(borrow)]
    pub containers: Option<Items<Container<'a>>>,
    /// What `kubectl debug` has put beside them.
    #[serde(borrow)]
    pub ephemeral_containers: Option<Items<Container<'a>>>,
    /// The volumes, some of which are images.
    #[serde(borrow)]
    pub volumes: Option<Items<Volume<'a>>>,
    /// The pull secrets, those of its ServiceAccount included.
    #[serde(borrow)]
    pub image_pull_secrets: Option<Items<Reference<'a>>>,
    /// Its ServiceAccount.
    #[serde(borrow)]
    pub service_account_name: Option<Text<'a>>,
}

/// A container of a pod.
#[derive(Debug, Default, Deserialize)]
pub struct Container<'a> {
    /// Its name.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    /// Its image; an empty one is absent.
    #[serde(borrow)]
    pub image: Option<Text<'a>>,
    /// When the kubelet pulls it; the API server has filled in what was left out.
    #[serde(borrow, rename = "imagePullPolicy")]
    pub pull_policy: Option<Text<'a>>,
}

/// A volume of a pod.
#[derive(Debug, Default, Deserialize)]
pub struct Volume<'a> {
    /// Its name.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    /// What it shows, if that is an image.
    #[serde(borrow)]
    pub image: Option<ImageSource<'a>>,
}

/// The image that a volume shows.
#[derive(Debug, Default, Deserialize)]
pub struct ImageSource<'a> {
    /// Its reference.
    #[serde(borrow)]
    pub reference: Option<Text<'a>>,
    /// When the kubelet pulls it.
    #[serde(borrow, rename = "pullPolicy")]
    pub pull_policy: Option<Text<'a>>,
}

/// The name of an object in the pod's namespace.
#[derive(Debug, Default, Deserialize)]
pub struct Reference<'a> {
    /// The name.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
}

impl<'a> Pod<'a> {
    /// Returns the annotation `key`.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        Some(self.metadata.as_ref()?.annotations.as_ref()?.get(key)?)
    }

    /// Returns the label `key`.
    pub fn label(&self, key: &str) -> Option<&str> {
        Some(self.metadata.as_ref()?.labels.as_ref()?.get(key)?)
    }

    /// Returns whether it is being deleted.
    pub fn is_terminating(&self) -> bool {
        let metadata = self.metadata.as_ref();
        metadata.is_some_and(|metadata| metadata.deletion_timestamp.is_some())
    }

    /// Returns whether it is the mirror of a static pod.
    pub fn is_mirror(&self) -> bool {
        self.annotation(MIRROR).is_some()
    }

    /// Returns what may be stamped: init containers and native sidecars, ordinary containers, then image volumes.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let spec = self.spec.as_ref();
        let init = spec.and_then(|spec| spec.init_containers.as_deref());
        let ordinary = spec.and_then(|spec| spec.containers.as_deref());
        let volumes = spec.and_then(|spec| spec.volumes.as_deref());
        let images = volumes.unwrap_or_default().iter().enumerate();
        let images = images.filter_map(|(index, volume)| {
            let image = volume.image.as_ref()?;
            Some(Part {
                place: Place {
                    list: List::Volumes,
                    index,
                },
                name: volume.name.as_deref(),
                image: image.reference.as_deref(),
                never_pulled: is_never(image.pull_policy.as_ref()),
            })
        });
        (containers(List::InitContainers, init))
            .chain(containers(List::Containers, ordinary))
            .chain(images)
    }

    /// Returns the ephemeral containers.
    pub fn ephemeral(&self) -> impl Iterator<Item = Part<'_>> {
        let spec = self.spec.as_ref();
        let ephemeral = spec.and_then(|spec| spec.ephemeral_containers.as_deref());
        containers(List::EphemeralContainers, ephemeral)
    }
}

/// Returns the containers of one list with their places.
fn containers<'p>(
    list: List,
    containers: Option<&'p [Container<'_>]>,
) -> impl Iterator<Item = Part<'p>> {
    (containers.unwrap_or_default().iter().enumerate()).map(move |(index, container)| Part {
        place: Place { list, index },
        name: container.name.as_deref(),
        image: container.image.as_deref(),
        never_pulled: is_never(container.pull_policy.as_ref()),
    })
}

/// Says whether the kubelet takes what its node has, or nothing.
fn is_never(policy: Option<&Text<'_>>) -> bool {
    policy.is_some_and(|policy| **policy == *"Never")
}

/// What runs or shows an image: a container or an image volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'p> {
    /// Where it stands in the pod.
    pub place: Place,
    /// Its name.
    pub name: Option<&'p str>,
    /// Its image as it was given.
    pub image: Option<&'p str>,
    /// Whether it must be on the node already, as nobody pulls it.
    pub never_pulled: bool,
}

/// Where a part stands in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The list.
    pub list: List,
    /// The index in the list.
    pub index: usize,
}

/// A list below a pod's `spec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum List {
    /// Init containers and native sidecars.
    InitContainers,
    /// Ordinary containers.
    Containers,
    /// What `kubectl debug` has put beside them.
    EphemeralContainers,
    /// Volumes.
    Volumes,
}

impl List {
    /// Returns the field's name.
    pub const fn field(self) -> &'static str {
        match self {
            Self::InitContainers => "initContainers",
            Self::Containers => "containers",
            Self::EphemeralContainers => "ephemeralContainers",
            Self::Volumes => "volumes",
        }
    }

    /// Returns the way from a part to the text of its image.
    pub const fn image(self) -> &'static [&'static str] {
        match self {
            Self::Volumes => &["image", "reference"],
            _ => &["image"],
        }
    }

    /// Returns what people call a part.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::InitContainers | Self::Containers => "container",
            Self::EphemeralContainers => "ephemeral container",
            Self::Volumes => "volume",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_has_an_image_is_found_where_it_stands() {
        let text = r#"{"spec": {
            "initContainers": [{"name": "init", "image": "a"}], "containers": [{"name": "app"}],
            "ephemeralContainers": [{"name": "debug", "image": "b"}],
            "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "model", "image": {"reference": "c"}},
                {"name": "none", "image": {}}]
        }}"#;
        let pod: Pod<'_> = serde_json::from_str(text).unwrap();
        let told = |part: Part<'_>| {
            let Place { list, index } = part.place;
            format!("{}/{index} {:?} {:?}", list.field(), part.name, part.image)
        };
        let parts: Vec<String> = pod.parts().chain(pod.ephemeral()).map(told).collect();
        assert_eq!(
            parts,
            [
                r#"initContainers/0 Some("init") Some("a")"#,
                r#"containers/0 Some("app") None"#,
                r#"volumes/1 Some("model") Some("c")"#,
                r#"volumes/2 Some("none") None"#,
                r#"ephemeralContainers/0 Some("debug") Some("b")"#,
            ]
        );
        assert_eq!(Pod::default().parts().count(), 0);
    }
}
