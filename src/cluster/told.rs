//! The Events that a controller of ours has told, read back.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    call::{Segment, Server},
    events::{CONTROLLER, EventReason},
    lenient::{Object, Text},
    listing::{items, list},
    refusal::CallError,
};

/// An Event of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// When it was told.
    pub at: Timestamp,
    /// Why.
    pub reason: EventReason,
    /// What it says.
    pub note: Box<str>,
    /// Whom it is about: `Deployment/web`.
    pub about: Box<str>,
    /// The namespace of whom it is about.
    pub namespace: Arc<str>,
    /// The uid of whom it is about.
    pub uid: Box<str>,
    /// The uid of another object that has to do with it.
    pub related: Option<Box<str>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawEvent<'a> {
    #[serde(borrow)]
    event_time: Text<'a>,
    #[serde(borrow)]
    reason: Text<'a>,
    #[serde(borrow)]
    note: Text<'a>,
    #[serde(borrow)]
    regarding: Object<Reference<'a>>,
    #[serde(borrow)]
    related: Object<Reference<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reference<'a> {
    #[serde(borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    namespace: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    uid: Text<'a>,
}

impl Told {
    /// Lists the Events in `namespace`, oldest first; `None` is all namespaces.
    pub(super) async fn list(
        server: &Server,
        namespace: Option<&str>,
    ) -> Result<Vec<Arc<Self>>, CallError> {
        let path = match namespace {
            Some(namespace) => format!(
                "/apis/events.k8s.io/v1/namespaces/{}/events",
                Segment(namespace)
            ),
            None => "/apis/events.k8s.io/v1/events".to_owned(),
        };
        let ours = format!("reportingController={CONTROLLER}");
        let read = |body: &[u8], listed: &mut Vec<_>| {
            listed.extend(items::<RawEvent<'_>>(body)?.filter_map(|event| event.read()));
            Ok(())
        };
        let mut told = list(server, &path, &[("fieldSelector", &ours)], read).await?;
        told.sort_by_key(|told: &Arc<Self>| told.at);
        Ok(told)
    }
}

impl RawEvent<'_> {
    /// Returns the Event; `None` for a reason of a later version.
    fn read(&self) -> Option<Arc<Told>> {
        let (regarding, related) = (&self.regarding.0, &self.related.0);
        Some(Arc::new(Told {
            at: self.event_time.as_str().parse().ok()?,
            reason: EventReason::labelled(self.reason.as_str())?,
            note: printable(self.note.as_str()),
            about: printable(&format!(
                "{}/{}",
                regarding.kind.as_str(),
                regarding.name.as_str()
            )),
            namespace: regarding.namespace.as_str().into(),
            uid: regarding.uid.as_str().into(),
            related: related.uid.0.as_deref().map(Into::into),
        }))
    }
}

/// Returns the text as it may be written to a terminal: anybody may write an Event that looks like ours.
fn printable(text: &str) -> Box<str> {
    text.replace(char::is_control, " ").into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::fake::Fake;

    #[tokio::test]
    async fn our_events_are_read_oldest_first() {
        let (mut fake, server) = Fake::start();
        let event = |time: &str, reason: &str| {
            json!({
                "eventTime": time, "reason": reason, "note": "said",
                "regarding": {"kind": "Deployment", "namespace": "shop", "name": "web", "uid": "w"},
                "related": {"kind": "Pod", "name": "web-1", "uid": "p"},
            })
        };
        let (listed, ()) = tokio::join!(Told::list(&server, None), async {
            let call = fake.next().await;
            let call = call.expect("GET", "/apis/events.k8s.io/v1/events");
            let selector = "reportingController=podrefresh.io/controller";
            assert_eq!(call.query["fieldSelector"], selector);
            let items = [
                event("2026-11-21T22:11:29.000000Z", "EvictionBlocked"),
                event("2026-11-21T22:11:28.000000Z", "Outdated"),
                event("2026-11-21T22:11:28.000000Z", "OfALaterVersion"),
                event("", "Outdated"),
            ];
            call.reply(200, &json!({"metadata": {}, "items": items}));
        });
        let expected = |second: &str, reason| {
            Arc::new(Told {
                at: format!("2026-11-21T22:11:{second}Z").parse().unwrap(),
                reason,
                note: "said".into(),
                about: "Deployment/web".into(),
                namespace: "shop".into(),
                uid: "w".into(),
                related: Some("p".into()),
            })
        };
        assert_eq!(&*printable("a\u{1b}[2Jb\nc"), "a [2Jb c");
        let first = expected("28", EventReason::Outdated);
        let second = expected("29", EventReason::EvictionBlocked);
        assert_eq!(listed.unwrap(), [first, second]);
    }

    #[test]
    fn every_reason_is_known_by_its_label() {
        for reason in EventReason::ALL {
            assert_eq!(EventReason::labelled(reason.label()), Some(reason));
        }
        assert_eq!(EventReason::labelled("Pulled"), None);
    }
}
