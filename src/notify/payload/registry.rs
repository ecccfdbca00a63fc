//! What registries send themselves: distribution and Azure, Docker Hub, Harbor, Quay.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use url::Url;

use super::{Sender, Tags, Unreadable, parse};
use crate::policy::Push;

/// Distribution's envelope, `application/vnd.docker.distribution.events.v1+json` and `v2`.
///
/// A registry sends an envelope again until it is taken, and none behind it: so one odd event must not spoil it.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Event {
    action: Option<String>,
    target: Option<Target>,
    request: Option<Request>,
}

#[derive(Deserialize)]
struct Target {
    repository: Option<String>,
    /// Neither a layer nor a manifest pushed by its digest has one.
    tag: Option<String>,
    url: Option<String>,
}

#[derive(Deserialize)]
struct Request {
    host: Option<String>,
}

impl Event {
    fn tell(self, tags: &mut Tags) {
        let Some(target) = self.target else { return };
        let (Some("push"), Some(repository), Some(tag)) =
            (self.action.as_deref(), target.repository, target.tag)
        else {
            return;
        };
        if tag.is_empty() {
            return;
        }
        let host = self.request.and_then(|request| request.host);
        // Replicated content has no request; its own address then tells which registry it is.
        let host = (host.filter(|host| !host.is_empty())).or_else(|| authority(&target.url?));
        tags.add(Push::new(host.as_deref(), &repository, &tag));
    }
}

/// Returns the host and port in a URL.
pub(super) fn authority(url: &str) -> Option<String> {
    let url: Url = url.parse().ok()?;
    let host = url.host_str()?;
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

pub(super) fn distribution(body: &[u8], tags: &mut Tags) -> Result<(), Unreadable> {
    let envelope: Envelope<'_> = parse(Sender::Distribution, body)?;
    for event in envelope.events {
        match serde_json::from_str::<Event>(event.get()) {
            Ok(event) => event.tell(tags),
            Err(_) => tags.lost += 1,
        }
    }
    Ok(())
}

/// Azure sends one of distribution's events without an envelope.
pub(super) fn azure(body: &[u8], tags: &mut Tags) -> Result<(), Unreadable> {
    let event: Event = parse(Sender::Azure, body)?;
    event.tell(tags);
    Ok(())
}

#[derive(Deserialize)]
struct Hub {
    push_data: HubPush,
    repository: HubRepository,
}

#[derive(Deserialize)]
struct HubPush {
    tag: Option<String>,
}

#[derive(Deserialize)]
struct HubRepository {
    repo_name: String,
}

pub(super) fn docker_hub(body: &[u8], tags: &mut Tags) -> Result<(), Unreadable> {
    let hub: Hub = parse(Sender::DockerHub, body)?;
    if let Some(tag) = hub.push_data.tag.filter(|tag| !tag.is_empty()) {
        tags.add(Push::new(
            Some("docker.io"),
            &hub.repository.repo_name,
            &tag,
        ));
    }
    Ok(())
}

/// Harbor's own form, and the one that it calls CloudEvents.
#[derive(Deserialize)]
struct Harbor {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(alias = "data")]
    event_data: Option<HarborData>,
}

#[derive(Deserialize)]
struct HarborData {
    #[serde(default)]
    resources: Vec<HarborResource>,
}

#[derive(Deserialize)]
struct HarborResource {
    resource_url: Option<String>,
}

/// What Harbor calls a push: in its own form, in CloudEvents, and before 2.0.
const HARBOR_PUSHES: [&str; 3] = ["PUSH_ARTIFACT", "harbor.artifact.pushed", "pushImage"];

pub(super) fn harbor(body: &[u8], tags: &mut Tags) -> Result<(), Unreadable> {
    let harbor: Harbor = parse(Sender::Harbor, body)?;
    let is_push = (harbor.kind.as_deref()).is_some_and(|kind| HARBOR_PUSHES.contains(&kind));
    let Some(data) = harbor.event_data.filter(|_| is_push) else {
        return Ok(());
    };
    for url in data
        .resources
        .iter()
        .filter_map(|it| it.resource_url.as_ref())
    {
        tags.add_reference(url);
    }
    Ok(())
}

/// Quay tells of pushes by the tags that were updated; all else that it tells has none.
#[derive(Deserialize)]
struct Quay {
    docker_url: String,
    updated_tags: Option<QuayTags>,
}

/// The names of tags; older versions sent a map from them to ids.
#[derive(Deserialize)]
#[serde(untagged)]
enum QuayTags {
    List(Vec<String>),
    Map(BTreeMap<String, IgnoredAny>),
}

pub(super) fn quay(body: &[u8], tags: &mut Tags) -> Result<(), Unreadable> {
    let quay: Quay = parse(Sender::Quay, body)?;
    let updated = match quay.updated_tags {
        None => Vec::new(),
        Some(QuayTags::List(list)) => list,
        Some(QuayTags::Map(map)) => map.into_keys().collect(),
    };
    for tag in updated {
        match quay.docker_url.split_once('/') {
            Some((host, repository)) => tags.add(Push::new(Some(host), repository, &tag)),
            None => tags.lost += 1,
        }
    }
    Ok(())
}
