//! What is found out, in the shape that `-o json` prints and docs/explain.md tells of.

use jiff::Timestamp;
use serde::Serialize;

/// Everything there is to tell of one pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Its node, once it has one.
    pub node: Option<String>,
    /// The node's platform, `linux/amd64`, if it was asked for and may be seen.
    pub platform: Option<String>,
    /// What controls it: `ReplicaSet/web-5d8c7f9b4`.
    pub owner: Option<String>,
    /// What that belongs to: `Deployment/web`.
    pub workload: Option<String>,
    /// Whether it is Ready.
    pub ready: bool,
    /// Why it is left alone, if it is.
    pub left_alone: Option<Reason>,
    /// The value of its label `podrefresh.io/enabled` where that means nothing, as only `false` opts out.
    pub idle_label: Option<String>,
    /// Its containers, in the order of their lists in the spec.
    pub containers: Vec<ContainerFacts>,
    /// Whether it is outdated.
    pub outdated: bool,
    /// When a controller found it outdated, if an Event tells.
    pub since: Option<Timestamp>,
    /// What each rule of the gate says of it, in their order; nothing where it is not outdated.
    pub rules: Vec<Rule>,
    /// The label of what keeps it as it is, if anything does.
    pub reason: Option<&'static str>,
    /// What will happen next.
    pub next: String,
    /// The controllers' Events about it and its owner, oldest first.
    pub events: Vec<EventLine>,
    /// What could not be seen.
    pub unseen: Vec<Unseen>,
}

/// A label, and what it means here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// The label.
    pub reason: &'static str,
    /// What it means here.
    pub why: String,
}

/// One container of the pod that is explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerFacts {
    /// Its name.
    pub name: String,
    /// Its image: the whole reference, or what is wrong with it.
    pub image: String,
    /// Its imagePullPolicy.
    pub pull_policy: &'static str,
    /// Why it does not count, if it does not.
    pub uncounted: Option<Reason>,
    /// The verdict; absent where the container follows no tag.
    pub verdict: Option<&'static str>,
    /// Whether only its stamp says that it is current.
    pub ambiguous: bool,
    /// T: what its tag means now.
    pub target: Option<DigestFacts>,
    /// S: what its tag meant at admission.
    pub stamp: Option<StampFacts>,
    /// I: what it runs.
    pub running: RunningFacts,
    /// Why T is not known.
    pub fault: Option<Reason>,
    /// Whether the verdict is unknown as T has nothing for the pod's node.
    pub unfit: bool,
    /// Why it could not be compared what stands behind T, S and I.
    pub doubt: Option<String>,
}

/// A digest, and what a node makes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DigestFacts {
    /// The digest: an index's where there is an index.
    pub digest: String,
    /// The image for the pod's node by it: the digest itself where that is an image. Absent when not known.
    pub image: Option<String>,
}

/// What the webhook wrote down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StampFacts {
    /// The digest and the image by it.
    #[serde(flatten)]
    pub digest: DigestFacts,
    /// Whether it was made for the reference that the container has now.
    pub valid: bool,
}

/// What a container's status says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningFacts {
    /// `manifest`, `not_started` or `unusable`: a digest that cannot be compared.
    pub state: &'static str,
    /// The digest and the image by it, where it can be compared.
    #[serde(flatten)]
    pub digest: Option<DigestFacts>,
}

/// What one rule of the gate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// The label of the rule: the reason for which it holds pods back.
    pub rule: &'static str,
    /// Whether it lets the pod pass.
    pub outcome: Outcome,
    /// Why, with the numbers.
    pub why: String,
}

/// Whether a rule lets a pod pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It does.
    Pass,
    /// It does not.
    Hold,
    /// That cannot be told from here.
    Unknown,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pass, Self::Hold, Self::Unknown];

    /// Returns the stable, documented name of the outcome.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Hold => "hold",
            Self::Unknown => "unknown",
        }
    }
}

/// An Event that a controller has told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventLine {
    /// When.
    pub at: Timestamp,
    /// Its reason.
    pub reason: &'static str,
    /// Whom it is about: `Deployment/web`.
    pub about: String,
    /// What it says.
    pub note: String,
}

/// A part of the cluster that could not be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unseen {
    /// The part.
    pub what: &'static str,
    /// Why not.
    pub why: String,
    /// What follows from that.
    pub consequence: &'static str,
}

/// The containers of many pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The containers, by namespace, pod and place in the pod.
    pub containers: Vec<Row>,
    /// What could not be seen.
    pub unseen: Vec<Unseen>,
    /// The namespace that was asked for, if that one has not opted in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_enabled: Option<String>,
    /// Those of the namespaces looked at whose label `podrefresh.io/enabled` means nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub idle_labels: Vec<IdleLabel>,
}

/// A namespace that somebody meant to opt in or out, perhaps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdleLabel {
    /// Its name.
    pub namespace: String,
    /// The value of its label `podrefresh.io/enabled`, which is neither `true` nor `false`.
    pub value: String,
}

/// One container of one pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The container's name.
    pub container: String,
    /// The container's image.
    pub image: String,
    /// I: the digest that it runs, if that is known.
    pub running: Option<String>,
    /// T: the digest that the registry gives for its tag now, if it was asked and gives one.
    pub registry: Option<String>,
    /// S: the digest stamped at admission.
    pub stamp: Option<String>,
    /// The verdict; absent where the controller asks for no tag.
    pub verdict: Option<&'static str>,
    /// The label of why the container stays as it is: of what holds an outdated pod, of why a pod is left alone or
    /// a container does not count, of why its verdict is unknown.
    pub reason: Option<&'static str>,
    /// Since when it is outdated, if an Event tells.
    pub since: Option<Timestamp>,
    /// What controls the pod.
    pub owner: Option<String>,
    /// The pod's node.
    pub node: Option<String>,
}
