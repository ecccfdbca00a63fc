//! Where the annotations and labels of an object stand: on itself, and on the pod template in it.

use std::borrow::Cow;

use serde::Deserialize;

use super::{few::Items, review::Strings};
use crate::policy::{
    names,
    objections::{Label, Place},
};

/// An object that may carry wishes, as much of it as podrefresh reads.
#[derive(Debug, Default, Deserialize)]
pub struct Object<'a> {
    /// Its metadata.
    #[serde(borrow)]
    metadata: Option<Metadata<'a>>,
    /// Its specification.
    #[serde(borrow)]
    spec: Option<Spec<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow)]
    annotations: Option<Strings<'a>>,
    #[serde(borrow)]
    labels: Option<Strings<'a>>,
    owner_references: Option<Items<OwnerReference>>,
    #[serde(borrow)]
    deletion_timestamp: Option<Cow<'a, str>>,
}

#[derive(Debug, Default, Deserialize)]
struct OwnerReference {
    controller: Option<bool>,
}

/// The specification of a workload, or of the Jobs that a CronJob makes.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(borrow)]
    template: Option<Template<'a>>,
    #[serde(borrow)]
    job_template: Option<JobTemplate<'a>>,
}

#[derive(Debug, Default, Deserialize)]
struct Template<'a> {
    #[serde(borrow)]
    metadata: Option<Metadata<'a>>,
}

#[derive(Debug, Default, Deserialize)]
struct JobTemplate<'a> {
    #[serde(borrow)]
    metadata: Option<Metadata<'a>>,
    #[serde(borrow)]
    spec: Option<JobSpec<'a>>,
}

#[derive(Debug, Default, Deserialize)]
struct JobSpec<'a> {
    #[serde(borrow)]
    template: Option<Template<'a>>,
}

/// A kind of object that wishes may stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A Pod or a Namespace: the wishes on it count.
    Bearer,
    /// A workload: those on its pod template count.
    Workload,
    /// A CronJob: those on the pod template of its job template count.
    CronJob,
}

impl Kind {
    /// Returns what kind of object `kind` of `group` is; `None` for one that pods do not come from.
    pub fn of(group: &str, kind: &str) -> Option<Self> {
        match (group, kind) {
            ("", "Pod" | "Namespace") => Some(Self::Bearer),
            ("", "ReplicationController")
            | ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
            | ("batch", "Job") => Some(Self::Workload),
            ("batch", "CronJob") => Some(Self::CronJob),
            _ => None,
        }
    }
}

/// The wishes at one place of an object, by their names without the prefix, sorted.
pub type Wishes = Vec<(Box<str>, Box<str>)>;

impl Object<'_> {
    /// Returns the wishes on an object of `kind`, place by place; always as many places.
    pub fn wishes(&self, kind: Kind) -> Vec<(Place, Wishes)> {
        let places = self.places(kind).into_iter();
        places
            .map(|(place, metadata)| (place, metadata.map_or_else(Vec::new, wishes)))
            .collect()
    }

    /// Returns the labels `podrefresh.io/enabled` of an object of `kind`, likewise.
    pub fn labels(&self, kind: Kind) -> Vec<Label<'_>> {
        let places = self.places(kind).into_iter();
        places
            .map(|(place, metadata)| (place, metadata.and_then(label)))
            .collect()
    }

    /// Returns the metadata at each place of an object of `kind`.
    fn places(&self, kind: Kind) -> Vec<(Place, Option<&Metadata<'_>>)> {
        let own = self.metadata.as_ref();
        let spec = self.spec.as_ref();
        let template = spec.and_then(|spec| spec.template.as_ref());
        let jobs = spec.and_then(|spec| spec.job_template.as_ref());
        let job_spec = jobs.and_then(|jobs| jobs.spec.as_ref());
        let job_pods = job_spec.and_then(|spec| spec.template.as_ref());
        match kind {
            Kind::Bearer => vec![(Place::Counting, own)],
            Kind::Workload => vec![
                (Place::Counting, template.and_then(|t| t.metadata.as_ref())),
                (Place::Idle, own),
            ],
            Kind::CronJob => vec![
                (Place::Counting, job_pods.and_then(|t| t.metadata.as_ref())),
                (Place::Idle, jobs.and_then(|jobs| jobs.metadata.as_ref())),
                (Place::Idle, own),
            ],
        }
    }

    /// Returns the value of its own label `podrefresh.io/enabled`.
    pub fn label(&self) -> Option<&str> {
        self.metadata.as_ref().and_then(label)
    }

    /// Returns whether a controller has made it, out of a template that somebody else wrote.
    pub fn is_controlled(&self) -> bool {
        let metadata = self.metadata.as_ref();
        let owners = metadata.and_then(|metadata| metadata.owner_references.as_ref());
        owners.is_some_and(|owners| owners.iter().any(|owner| owner.controller == Some(true)))
    }

    /// Returns whether it is being deleted.
    pub fn is_terminating(&self) -> bool {
        let metadata = self.metadata.as_ref();
        metadata.is_some_and(|metadata| metadata.deletion_timestamp.is_some())
    }
}

fn label<'m>(metadata: &'m Metadata<'_>) -> Option<&'m str> {
    let mut labels = metadata.labels.as_ref()?.iter();
    labels.find_map(|(name, value)| (**name == *names::ENABLED).then_some(&**value))
}

fn wishes(metadata: &Metadata<'_>) -> Wishes {
    let annotations = metadata.annotations.iter().flatten();
    annotations
        .filter_map(|(key, value)| {
            let name = key.strip_prefix(names::PREFIX)?;
            Some((name.into(), (**value).into()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Checks the names of the wishes at each place, `!` in front of those without effect.
    #[track_caller]
    fn check(group: &str, kind: &str, object: &Value, expected: &[&str]) {
        let text = object.to_string();
        let object: Object<'_> = serde_json::from_str(&text).unwrap();
        let places = object.wishes(Kind::of(group, kind).unwrap());
        let told: Vec<String> = places
            .iter()
            .map(|(place, wishes)| {
                let names: Vec<&str> = wishes.iter().map(|(name, _)| &**name).collect();
                let mark = if *place == Place::Idle { "!" } else { "" };
                format!("{mark}{}", names.join(","))
            })
            .collect();
        assert_eq!(told, expected, "{kind}");
    }

    #[test]
    fn the_wishes_that_count_are_told_from_those_beside_them() {
        let metadata = |name: &str| {
            json!({"annotations": {(format!("podrefresh.io/{name}")): "x", "other": "y",
            "digest.podrefresh.io/app": "z"}})
        };
        let template = json!({"template": {"metadata": metadata("pods")}, "jobTemplate":
            {"metadata": metadata("jobs"), "spec": {"template": {"metadata": metadata("jobs-pods")}}}});
        let object = json!({"metadata": metadata("own"), "spec": template});
        for kind in ["Pod", "Namespace"] {
            check("", kind, &object, &["own"]);
        }
        for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"] {
            check("apps", kind, &object, &["pods", "!own"]);
        }
        check("", "ReplicationController", &object, &["pods", "!own"]);
        check("batch", "Job", &object, &["pods", "!own"]);
        check("batch", "CronJob", &object, &["jobs-pods", "!jobs", "!own"]);
        check("batch", "CronJob", &json!({}), &["", "!", "!"]);
        check(
            "batch",
            "Job",
            &json!({"metadata": null, "spec": null}),
            &["", "!"],
        );
        assert_eq!(Kind::of("example.org", "Deployment"), None);
        assert_eq!(Kind::of("", "Service"), None);
    }

    #[test]
    fn labels_are_read_at_the_places_of_wishes() {
        let metadata = |value: &str| json!({"labels": {"podrefresh.io/enabled": value, "a": "b"}});
        let object = json!({"metadata": metadata("own"), "spec": {
            "template": {"metadata": metadata("pods")},
            "jobTemplate": {"metadata": metadata("jobs"), "spec": {"template": {"metadata": metadata("jobs-pods")}}},
        }});
        let check = |object: &Value, kind, expected: &[Label<'_>]| {
            let text = object.to_string();
            let object: Object<'_> = serde_json::from_str(&text).unwrap();
            assert_eq!(object.labels(kind), expected);
        };
        let (pods, own) = ((Place::Counting, Some("pods")), (Place::Idle, Some("own")));
        check(&object, Kind::Bearer, &[(Place::Counting, Some("own"))]);
        check(&object, Kind::Workload, &[pods, own]);
        let (jobs_pods, jobs) = (
            (Place::Counting, Some("jobs-pods")),
            (Place::Idle, Some("jobs")),
        );
        check(&object, Kind::CronJob, &[jobs_pods, jobs, own]);
        let none = [(Place::Counting, None), (Place::Idle, None)];
        check(
            &json!({"metadata": {"labels": {"a": "b"}}}),
            Kind::Workload,
            &none,
        );
    }

    #[test]
    fn only_a_controlling_owner_makes_an_object_controlled() {
        let check = |owners: Value, expected: bool| {
            let text = json!({"metadata": {"ownerReferences": owners}}).to_string();
            let object: Object<'_> = serde_json::from_str(&text).unwrap();
            assert_eq!(object.is_controlled(), expected);
        };
        check(json!([{"kind": "A"}, {"controller": true}]), true);
        check(json!([{"controller": false}, {}]), false);
        check(json!([]), false);
        check(Value::Null, false);
    }
}
