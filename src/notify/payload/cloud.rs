//! What clouds pass on for their registries: Amazon by EventBridge, Google by Pub/Sub.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{Sender, Tags, Unreadable, parse};
use crate::policy::Push;

/// An event of EventBridge as a target gets it, with nothing of it transformed.
#[derive(Deserialize)]
struct EventBridge {
    #[serde(rename = "detail-type")]
    kind: Option<String>,
    account: Option<String>,
    region: Option<String>,
    detail: Detail,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Detail {
    action_type: Option<String>,
    result: Option<String>,
    repository_name: Option<String>,
    /// A push by digest has none.
    image_tag: Option<String>,
}

pub(super) fn ecr(body: &[u8], tags: &mut Tags) -> Result<(), Unreadable> {
    let event: EventBridge = parse(Sender::Ecr, body)?;
    let detail = event.detail;
    let is = |field: &Option<String>, word: &str| field.as_deref() == Some(word);
    let is_push = is(&event.kind, "ECR Image Action")
        && is(&detail.action_type, "PUSH")
        && !is(&detail.result, "FAILURE");
    let tag = detail.image_tag.filter(|tag| is_push && !tag.is_empty());
    let (Some(tag), Some(repository)) = (tag, detail.repository_name) else {
        return Ok(());
    };
    let host = event.account.zip(event.region).map(|(account, region)| {
        // China is a partition of its own.
        let suffix = match region.starts_with("cn-") {
            true => "amazonaws.com.cn",
            false => "amazonaws.com",
        };
        format!("{account}.dkr.ecr.{region}.{suffix}")
    });
    tags.add(Push::new(host.as_deref(), &repository, &tag));
    Ok(())
}

/// What Pub/Sub pushes, with its wrapping.
#[derive(Deserialize)]
struct Wrapped {
    message: Option<Message>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    data: String,
}

/// What Artifact Registry tells the topic `gcr`.
#[derive(Deserialize)]
struct Change {
    action: Option<String>,
    /// The whole reference: `europe-docker.pkg.dev/acme/images/web:stable`. A push by digest has none.
    tag: Option<String>,
}

pub(super) fn google(body: &[u8], tags: &mut Tags) -> Result<(), Unreadable> {
    let wrapped: Wrapped = parse(Sender::Google, body)?;
    let change: Change = match wrapped.message {
        Some(message) => {
            let data = STANDARD.decode(&message.data);
            let data = data.map_err(|error| Unreadable::Encoding(Sender::Google, error))?;
            parse(Sender::Google, &data)?
        }
        // A subscription may be set to leave the wrapping away.
        None => parse(Sender::Google, body)?,
    };
    if let (Some("INSERT"), Some(tag)) = (change.action.as_deref(), change.tag) {
        tags.add_reference(&tag);
    }
    Ok(())
}
