//! Which objects does a field selector choose?

use serde_json::Value;

use super::{InvalidSelector, Resource, resource};

/// A set of comparisons of fields, all of which must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<(String, bool, String)>);

impl FieldSelector {
    /// Reads `a=b,c!=d`; only fields that the resource offers for selection are taken.
    pub fn parse(text: &str, resource: &Resource) -> Result<Self, InvalidSelector> {
        let mut rules = Vec::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (field, equal, value) = match part.split_once("!=") {
                Some((field, value)) => (field, false, value),
                None => {
                    let (field, value) = part.split_once('=').ok_or_else(|| {
                        InvalidSelector(format!(
                            "invalid selector: '{text}'; can't understand '{part}'"
                        ))
                    })?;
                    (field, true, value.strip_prefix('=').unwrap_or(value))
                }
            };
            let known = fields(resource);
            if !known.iter().any(|(name, _)| *name == field) {
                let names: Vec<String> =
                    known.iter().map(|(name, _)| format!("{name:?}")).collect();
                return Err(InvalidSelector(format!(
                    "{field:?} is not a known field selector: only {}",
                    names.join(", ")
                )));
            }
            rules.push((field.to_owned(), equal, value.to_owned()));
        }
        Ok(Self(rules))
    }

    /// Says whether an object's fields satisfy every comparison.
    pub fn selects(&self, resource: &Resource, object: &Value) -> bool {
        self.0.iter().all(|(field, equal, wanted)| {
            let pointer = fields(resource)
                .iter()
                .find(|(name, _)| name == field)
                .map_or("", |(_, pointer)| *pointer);
            let value = match object.pointer(pointer) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Bool(flag)) => flag.to_string(),
                Some(Value::Number(number)) => number.to_string(),
                // A boolean that is left out is false; anything else left out is empty.
                _ if field == "spec.unschedulable" => "false".to_owned(),
                _ => String::new(),
            };
            (value == *wanted) == *equal
        })
    }

    /// Returns the one name that `metadata.name=…` asks for; it decides about `resourceNames` in RBAC.
    pub fn only_name(&self) -> Option<&str> {
        self.0
            .iter()
            .find(|(field, equal, _)| field == "metadata.name" && *equal)
            .map(|(_, _, value)| value.as_str())
    }

    /// Says whether the selector chooses everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

type Field = (&'static str, &'static str);

const COMMON: &[Field] = &[
    ("metadata.name", "/metadata/name"),
    ("metadata.namespace", "/metadata/namespace"),
];
const POD: &[Field] = &[
    ("metadata.name", "/metadata/name"),
    ("metadata.namespace", "/metadata/namespace"),
    ("spec.nodeName", "/spec/nodeName"),
    ("spec.restartPolicy", "/spec/restartPolicy"),
    ("spec.schedulerName", "/spec/schedulerName"),
    ("spec.serviceAccountName", "/spec/serviceAccountName"),
    ("status.phase", "/status/phase"),
    ("status.podIP", "/status/podIP"),
];
const EVENT: &[Field] = &[
    ("metadata.name", "/metadata/name"),
    ("metadata.namespace", "/metadata/namespace"),
    ("involvedObject.kind", "/involvedObject/kind"),
    ("involvedObject.namespace", "/involvedObject/namespace"),
    ("involvedObject.name", "/involvedObject/name"),
    ("involvedObject.uid", "/involvedObject/uid"),
    ("involvedObject.apiVersion", "/involvedObject/apiVersion"),
    ("involvedObject.fieldPath", "/involvedObject/fieldPath"),
    ("reason", "/reason"),
    ("reportingComponent", "/reportingComponent"),
    ("source", "/source/component"),
    ("type", "/type"),
];
// Objects are stored as core Events, so the pointers are those.
const EVENT_V1: &[Field] = &[
    ("metadata.name", "/metadata/name"),
    ("metadata.namespace", "/metadata/namespace"),
    ("regarding.kind", "/involvedObject/kind"),
    ("regarding.namespace", "/involvedObject/namespace"),
    ("regarding.name", "/involvedObject/name"),
    ("regarding.uid", "/involvedObject/uid"),
    ("regarding.apiVersion", "/involvedObject/apiVersion"),
    ("regarding.fieldPath", "/involvedObject/fieldPath"),
    ("reason", "/reason"),
    ("reportingController", "/reportingComponent"),
    ("type", "/type"),
];
const NAMESPACE: &[Field] = &[
    ("metadata.name", "/metadata/name"),
    ("status.phase", "/status/phase"),
];
const NODE: &[Field] = &[
    ("metadata.name", "/metadata/name"),
    ("spec.unschedulable", "/spec/unschedulable"),
];
const SECRET: &[Field] = &[
    ("metadata.name", "/metadata/name"),
    ("metadata.namespace", "/metadata/namespace"),
    ("type", "/type"),
];
const CLUSTER: &[Field] = &[("metadata.name", "/metadata/name")];

fn fields(resource: &Resource) -> &'static [Field] {
    match resource {
        r if *r == resource::PODS => POD,
        r if *r == resource::EVENTS => EVENT,
        r if *r == resource::EVENTS_V1 => EVENT_V1,
        r if *r == resource::NAMESPACES => NAMESPACE,
        r if *r == resource::NODES => NODE,
        r if *r == resource::SECRETS => SECRET,
        r if r.namespaced => COMMON,
        _ => CLUSTER,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_unknown_field_is_named() {
        let error = FieldSelector::parse("data.k=v", &resource::CONFIG_MAPS).unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"data.k\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
    }

    #[test]
    fn fields_are_compared_as_text() {
        let selector =
            FieldSelector::parse("spec.nodeName=n1,status.phase!=Pending", &resource::PODS)
                .unwrap();
        let pod = json!({ "spec": { "nodeName": "n1" }, "status": { "phase": "Running" } });
        assert!(selector.selects(&resource::PODS, &pod));
        assert!(!selector.selects(
            &resource::PODS,
            &json!({ "status": { "phase": "Running" } })
        ));
    }
}
