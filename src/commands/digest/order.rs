//! What a run of `podrefresh digest` is to resolve, and whose credentials it is to show.

use std::sync::Arc;

use crate::{
    cli,
    cluster::{Server, connect, read_pod},
    error::Chain,
    policy::{ImageRef, Pod, PullIdentity},
    registry::Lookup,
};

/// What to resolve, and for whom.
pub(super) struct Order {
    /// The API server that the credentials come from; none where no pod was named.
    pub(super) server: Option<Server>,
    /// Whose credentials.
    pub(super) identity: Arc<PullIdentity>,
    /// The images.
    pub(super) wanted: Vec<Wanted>,
}

/// One image.
pub(super) struct Wanted {
    /// The reference, or what a pod has instead of one.
    pub(super) image: Result<Arc<ImageRef>, String>,
    /// The containers that it was found in, if one looked there.
    pub(super) containers: Vec<Arc<str>>,
}

impl Order {
    /// Returns what `flags` ask for; reads the pod if they name one.
    pub(super) async fn of(flags: cli::Digest) -> anyhow::Result<Self> {
        let given = flags.images.into_iter().map(|image| Wanted {
            image: Ok(Arc::new(image)),
            containers: Vec::new(),
        });
        let given: Vec<Wanted> = given.collect();
        let Some(name) = flags.pod else {
            // No pod asks, so there are no pull secrets; the docker config still counts.
            let nobody = PullIdentity {
                namespace: "".into(),
                secrets: Box::default(),
                service_account: "".into(),
            };
            return Ok(Self {
                server: None,
                identity: Arc::new(nobody),
                wanted: given,
            });
        };
        let connection = connect(&flags.cluster.choice()).await?;
        let server = connection.server();
        let namespace = flags.namespace.unwrap_or(connection.namespace);
        let pod = read_pod(&server, &namespace, &name).await?;
        Ok(Self {
            server: Some(server),
            identity: Arc::clone(&pod.identity),
            wanted: match given.is_empty() {
                true => images_of(&pod),
                false => given,
            },
        })
    }
}

/// Returns the images of a pod, each once, in the order of its containers; of what the webhook has pinned the tag, which
/// the controller follows.
fn images_of(pod: &Pod) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    for container in &pod.containers {
        let name = Arc::clone(&container.name);
        let image = match &container.image {
            Ok(image) => {
                Ok(Lookup::of(pod, container).map_or_else(|| Arc::clone(image), |it| it.image))
            }
            Err(error) => Err(format!("container {name}: {}", Chain(&**error))),
        };
        let same = all.iter_mut().find(|wanted| wanted.image == image);
        match same {
            Some(wanted) => wanted.containers.push(name),
            None => all.push(Wanted {
                image,
                containers: vec![name],
            }),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{
        Stamp,
        fixture::{container, digest, pod},
    };

    #[test]
    fn of_what_is_pinned_the_tag_is_followed() {
        let digest = digest(1).to_string();
        let pinned = |stamped: Option<&str>| {
            let mut container = container(&format!("nginx:1@{digest}"));
            container.stamp = Stamp::read(Some(&digest), stamped);
            let pod = pod("web").with(|pod| pod.containers = Box::new([container]));
            let [wanted] = &images_of(&pod.build())[..] else {
                panic!("one image")
            };
            wanted.image.as_ref().unwrap().to_string()
        };
        let tagged = "docker.io/library/nginx:1";
        assert_eq!(pinned(Some(tagged)), tagged);
        assert_eq!(pinned(None), format!("{tagged}@{digest}"));
    }

    #[test]
    fn a_pods_images_come_once_each_and_broken_ones_are_told() {
        let named = |name: &str, image| {
            let mut container = container(image);
            container.name = name.into();
            container
        };
        let containers = [
            named("setup", "nginx:1"),
            named("app", "ghcr.io/shop/web:stable"),
            named("proxy", "nginx:1"),
            named("odd", "NOT AN IMAGE"),
        ];
        let pod = pod("web")
            .with(|pod| pod.containers = Box::new(containers))
            .build();
        let found = images_of(&pod);
        let found: Vec<(String, String)> = found
            .into_iter()
            .map(|wanted| {
                let image = wanted.image.map_or_else(|error| error, |it| it.to_string());
                (image, wanted.containers.join(","))
            })
            .collect();
        let [first, second, third] = &found[..] else {
            panic!("{found:?}")
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(*first, pair("docker.io/library/nginx:1", "setup,proxy"));
        assert_eq!(*second, pair("ghcr.io/shop/web:stable", "app"));
        assert!(third.0.starts_with("container odd: "), "{third:?}");
    }
}
