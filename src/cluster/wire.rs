//! Pods and namespaces as the API server sends them: the few fields we read, all of them lenient.

use serde::Deserialize;

use super::lenient::{Entries, Flag, Keys, List, Number, Object, Text};

/// The metadata of any object.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Meta<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) namespace: Text<'a>,
    #[serde(borrow)]
    pub(super) uid: Text<'a>,
    #[serde(borrow)]
    pub(super) resource_version: Text<'a>,
    pub(super) generation: Number,
    #[serde(borrow)]
    pub(super) creation_timestamp: Text<'a>,
    #[serde(borrow)]
    pub(super) deletion_timestamp: Text<'a>,
    #[serde(borrow)]
    pub(super) labels: Entries<'a, Ours>,
    #[serde(borrow)]
    pub(super) annotations: Entries<'a, Ours>,
    #[serde(borrow)]
    pub(super) owner_references: List<Object<OwnerReference<'a>>>,
}

impl<'a> Meta<'a> {
    /// Returns the owner reference with `controller: true`.
    pub(super) fn controller(&self) -> Option<&OwnerReference<'a>> {
        let mut owners = self.owner_references.0.iter().map(|Object(owner)| owner);
        owners.find(|owner| owner.controller.0)
    }
}

/// The labels and annotations that mean something to us.
#[derive(Debug)]
pub(super) struct Ours;

impl Keys for Ours {
    fn wants(key: &str) -> bool {
        let ours = |(domain, _): (&str, _)| domain.ends_with("podrefresh.io");
        key.split_once('/').is_some_and(ours) || key == super::view::MIRROR
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct OwnerReference<'a> {
    #[serde(borrow)]
    pub(super) api_version: Text<'a>,
    #[serde(borrow)]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) uid: Text<'a>,
    pub(super) controller: Flag,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawNamespace<'a> {
    #[serde(borrow)]
    pub(super) metadata: Object<Meta<'a>>,
    #[serde(borrow)]
    pub(super) status: Object<NamespaceStatus<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NamespaceStatus<'a> {
    #[serde(borrow)]
    pub(super) phase: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawPod<'a> {
    #[serde(borrow)]
    pub(super) metadata: Object<Meta<'a>>,
    #[serde(borrow)]
    pub(super) spec: Object<PodSpec<'a>>,
    #[serde(borrow)]
    pub(super) status: Object<PodStatus<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodSpec<'a> {
    #[serde(borrow)]
    pub(super) node_name: Text<'a>,
    #[serde(borrow)]
    pub(super) service_account_name: Text<'a>,
    #[serde(borrow)]
    pub(super) image_pull_secrets: List<Object<Named<'a>>>,
    #[serde(borrow)]
    pub(super) init_containers: List<Object<RawContainer<'a>>>,
    #[serde(borrow)]
    pub(super) containers: List<Object<RawContainer<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Named<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RawContainer<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) image: Text<'a>,
    #[serde(borrow)]
    pub(super) image_pull_policy: Text<'a>,
    #[serde(borrow)]
    pub(super) restart_policy: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodStatus<'a> {
    #[serde(borrow)]
    pub(super) phase: Text<'a>,
    #[serde(borrow)]
    pub(super) start_time: Text<'a>,
    #[serde(borrow)]
    pub(super) conditions: List<Object<Condition<'a>>>,
    #[serde(borrow)]
    pub(super) init_container_statuses: List<Object<ContainerStatus<'a>>>,
    #[serde(borrow)]
    pub(super) container_statuses: List<Object<ContainerStatus<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Condition<'a> {
    #[serde(borrow, rename = "lastTransitionTime")]
    pub(super) since: Text<'a>,
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) status: Text<'a>,
    #[serde(borrow)]
    pub(super) reason: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerStatus<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow, rename = "imageID")]
    pub(super) image_id: Text<'a>,
    #[serde(borrow)]
    pub(super) state: Object<ContainerState<'a>>,
    #[serde(borrow, rename = "lastState")]
    pub(super) last_state: Object<ContainerState<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerState<'a> {
    #[serde(borrow)]
    pub(super) running: Object<ContainerRun<'a>>,
    #[serde(borrow)]
    pub(super) terminated: Object<ContainerRun<'a>>,
}

/// One run of a container, under way or over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerRun<'a> {
    #[serde(borrow, rename = "startedAt")]
    pub(super) started_at: Text<'a>,
}
