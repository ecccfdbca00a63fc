//! Columns and cells by kind.

use serde_json::{Value, json};

use super::super::object_reply;
use crate::api::{Resource, object};

mod pod;
mod words;

use words::{age, pairs, ports, quantity, selector, template_images};

/// A column of a table.
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    /// 0 is always printed, 1 with `-o wide`.
    pub(crate) priority: u8,
}

const fn text(name: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        priority: 0,
    }
}

const fn number(name: &'static str) -> Column {
    Column {
        name,
        kind: "integer",
        priority: 0,
    }
}

const fn wide(name: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        priority: 1,
    }
}

/// Returns the columns of a resource.
pub(super) fn columns(resource: &Resource) -> &'static [Column] {
    match resource.plural {
        "pods" => pod::COLUMNS,
        "deployments" => {
            const {
                &[
                    text("Name"),
                    text("Ready"),
                    number("Up-to-date"),
                    number("Available"),
                    text("Age"),
                    wide("Containers"),
                    wide("Images"),
                    wide("Selector"),
                ]
            }
        }
        "replicasets" | "replicationcontrollers" => {
            const {
                &[
                    text("Name"),
                    number("Desired"),
                    number("Current"),
                    number("Ready"),
                    text("Age"),
                    wide("Containers"),
                    wide("Images"),
                    wide("Selector"),
                ]
            }
        }
        "statefulsets" => {
            const {
                &[
                    text("Name"),
                    text("Ready"),
                    text("Age"),
                    wide("Containers"),
                    wide("Images"),
                ]
            }
        }
        "daemonsets" => {
            const {
                &[
                    text("Name"),
                    number("Desired"),
                    number("Current"),
                    number("Ready"),
                    number("Up-to-date"),
                    number("Available"),
                    text("Node Selector"),
                    text("Age"),
                    wide("Containers"),
                    wide("Images"),
                    wide("Selector"),
                ]
            }
        }
        "jobs" => {
            const {
                &[
                    text("Name"),
                    text("Status"),
                    text("Completions"),
                    text("Duration"),
                    text("Age"),
                ]
            }
        }
        "cronjobs" => {
            const {
                &[
                    text("Name"),
                    text("Schedule"),
                    text("Timezone"),
                    text("Suspend"),
                    number("Active"),
                    text("Last Schedule"),
                    text("Age"),
                ]
            }
        }
        "namespaces" => const { &[text("Name"), text("Status"), text("Age")] },
        "nodes" => {
            const {
                &[
                    text("Name"),
                    text("Status"),
                    text("Roles"),
                    text("Age"),
                    text("Version"),
                ]
            }
        }
        "events" => {
            const {
                &[
                    text("Last Seen"),
                    text("Type"),
                    text("Reason"),
                    text("Object"),
                    wide("Subobject"),
                    wide("Source"),
                    text("Message"),
                    wide("First Seen"),
                    wide("Count"),
                    wide("Name"),
                ]
            }
        }
        "secrets" => const { &[text("Name"), text("Type"), number("Data"), text("Age")] },
        "configmaps" => const { &[text("Name"), text("Data"), text("Age")] },
        "serviceaccounts" => const { &[text("Name"), text("Age")] },
        "services" => {
            const {
                &[
                    text("Name"),
                    text("Type"),
                    text("Cluster-IP"),
                    text("External-IP"),
                    text("Port(s)"),
                    text("Age"),
                    wide("Selector"),
                ]
            }
        }
        "poddisruptionbudgets" => {
            const {
                &[
                    text("Name"),
                    text("Min Available"),
                    text("Max Unavailable"),
                    number("Allowed Disruptions"),
                    text("Age"),
                ]
            }
        }
        "leases" => const { &[text("Name"), text("Holder"), text("Age")] },
        "mutatingwebhookconfigurations" | "validatingwebhookconfigurations" => {
            const { &[text("Name"), number("Webhooks"), text("Age")] }
        }
        "roles" | "clusterroles" => const { &[text("Name"), text("Created At")] },
        "rolebindings" | "clusterrolebindings" => {
            const { &[text("Name"), text("Role"), text("Age")] }
        }
        _ => const { &[text("Name"), text("Age")] },
    }
}

/// Returns an object's cells, one for each column.
pub(super) fn of(resource: &Resource, item: &Value) -> Vec<Value> {
    let name = json!(object::name(item));
    let age = json!(age(object::text(item, "/metadata/creationTimestamp")));
    let count = |pointer: &str| object::number(item, pointer).unwrap_or(0);
    let length = |pointer: &str| match item.pointer(pointer) {
        Some(Value::Object(map)) => map.len(),
        Some(Value::Array(list)) => list.len(),
        _ => 0,
    };
    let or = |pointer: &str, other: &str| match object::text(item, pointer) {
        "" => json!(other),
        text => json!(text),
    };
    let fraction = |part: i64, whole: i64| json!(format!("{part}/{whole}"));
    let (containers, images) = template_images(item);
    let selector = json!(selector(&item["spec"]["selector"]));
    match resource.plural {
        "pods" => pod::cells(item, age),
        "deployments" => vec![
            name,
            fraction(count("/status/readyReplicas"), count("/spec/replicas")),
            json!(count("/status/updatedReplicas")),
            json!(count("/status/availableReplicas")),
            age,
            containers,
            images,
            selector,
        ],
        "replicasets" | "replicationcontrollers" => vec![
            name,
            json!(count("/spec/replicas")),
            json!(count("/status/replicas")),
            json!(count("/status/readyReplicas")),
            age,
            containers,
            images,
            selector,
        ],
        "statefulsets" => {
            vec![
                name,
                fraction(count("/status/readyReplicas"), count("/spec/replicas")),
                age,
                containers,
                images,
            ]
        }
        "daemonsets" => vec![
            name,
            json!(count("/status/desiredNumberScheduled")),
            json!(count("/status/currentNumberScheduled")),
            json!(count("/status/numberReady")),
            json!(count("/status/updatedNumberScheduled")),
            json!(count("/status/numberAvailable")),
            json!(pairs(&item["spec"]["template"]["spec"]["nodeSelector"])),
            age,
            containers,
            images,
            selector,
        ],
        "jobs" => {
            let done = count("/status/succeeded");
            let status = match (
                object::is_condition_true(item, "Complete"),
                object::is_condition_true(item, "Failed"),
            ) {
                (true, _) => "Complete",
                (_, true) => "Failed",
                _ => "Running",
            };
            vec![
                name,
                json!(status),
                fraction(done, count("/spec/completions")),
                json!(""),
                age,
            ]
        }
        "cronjobs" => vec![
            name,
            or("/spec/schedule", ""),
            or("/spec/timeZone", "<none>"),
            json!(if item["spec"]["suspend"] == true {
                "True"
            } else {
                "False"
            }),
            json!(length("/status/active")),
            json!(self::age(object::text(item, "/status/lastScheduleTime"))),
            age,
        ],
        "namespaces" => vec![name, or("/status/phase", ""), age],
        "nodes" => {
            let ready = if object::is_condition_true(item, "Ready") {
                "Ready"
            } else {
                "NotReady"
            };
            let cordoned = if item["spec"]["unschedulable"] == true {
                ",SchedulingDisabled"
            } else {
                ""
            };
            vec![
                name,
                json!(format!("{ready}{cordoned}")),
                json!("<none>"),
                age,
                or("/status/nodeInfo/kubeletVersion", ""),
            ]
        }
        "events" => event(item),
        "secrets" => vec![name, or("/type", "Opaque"), json!(length("/data")), age],
        "configmaps" => vec![
            name,
            json!((length("/data") + length("/binaryData")).to_string()),
            age,
        ],
        "services" => vec![
            name,
            or("/spec/type", ""),
            or("/spec/clusterIP", "<none>"),
            json!("<none>"),
            json!(ports(item)),
            age,
            json!(pairs(&item["spec"]["selector"])),
        ],
        "poddisruptionbudgets" => vec![
            name,
            quantity(&item["spec"]["minAvailable"]),
            quantity(&item["spec"]["maxUnavailable"]),
            json!(count("/status/disruptionsAllowed")),
            age,
        ],
        "leases" => vec![name, or("/spec/holderIdentity", ""), age],
        "mutatingwebhookconfigurations" | "validatingwebhookconfigurations" => {
            vec![name, json!(length("/webhooks")), age]
        }
        "roles" | "clusterroles" => vec![name, or("/metadata/creationTimestamp", "")],
        "rolebindings" | "clusterrolebindings" => {
            let role = format!(
                "{}/{}",
                object::text(item, "/roleRef/kind"),
                object::text(item, "/roleRef/name")
            );
            vec![name, json!(role), age]
        }
        _ => vec![name, age],
    }
}

fn event(item: &Value) -> Vec<Value> {
    let item = if item.get("regarding").is_some() {
        super::super::event::to_core(item)
    } else {
        item.clone()
    };
    let item = object_reply::shown(&crate::api::resource::EVENTS, &item);
    let first = |pointers: &[&str]| {
        let found = pointers
            .iter()
            .map(|pointer| object::text(&item, pointer))
            .find(|text| !text.is_empty());
        found.unwrap_or("").to_owned()
    };
    let about = format!(
        "{}/{}",
        object::text(&item, "/involvedObject/kind").to_lowercase(),
        object::text(&item, "/involvedObject/name")
    );
    let last = first(&[
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/eventTime",
        "/metadata/creationTimestamp",
    ]);
    let begin = first(&[
        "/firstTimestamp",
        "/eventTime",
        "/metadata/creationTimestamp",
    ]);
    let count = object::number(&item, "/series/count")
        .or_else(|| object::number(&item, "/count"))
        .unwrap_or(1);
    vec![
        json!(age(&last)),
        item["type"].clone(),
        item["reason"].clone(),
        json!(about),
        json!(first(&["/involvedObject/fieldPath"])),
        json!(first(&["/source/component", "/reportingComponent"])),
        json!(first(&["/message"]).trim()),
        json!(age(&begin)),
        json!(count.to_string()),
        json!(object::name(&item)),
    ]
}
