//! Names, labels and annotation keys.

use serde_json::{Value, json};

use super::invalid;
use crate::api::{Cause, Resource, object};

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// Returns what is wrong with an object's metadata.
pub(super) fn check(resource: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = object::name(object);
    // Names of RBAC objects may hold colons and capitals: only what cannot stand in a URL is refused.
    let is_path_name = resource.group == "rbac.authorization.k8s.io";
    if name.is_empty() {
        let message = "Required value: name or generateName is required";
        causes.push(Cause::new("FieldValueRequired", message, "metadata.name"));
    } else if is_path_name {
        if name.contains(['/', '%']) || name == "." || name == ".." {
            causes.push(invalid(
                "metadata.name",
                &json!(name),
                "may not contain '/' or '%'",
            ));
        }
    } else if !is_subdomain(name) {
        causes.push(invalid("metadata.name", &json!(name), SUBDOMAIN));
    }
    for key in object::annotations(object).keys() {
        if !is_qualified(key) {
            causes.push(invalid("metadata.annotations", &json!(key), QUALIFIED));
        }
    }
    for (key, value) in object::labels(object) {
        if !is_qualified(&key) {
            causes.push(invalid("metadata.labels", &json!(key), QUALIFIED));
        }
        if !is_label_value(&value) {
            causes.push(invalid("metadata.labels", &json!(value), LABEL));
        }
    }
    causes
}

fn is_subdomain(name: &str) -> bool {
    let is_part = |part: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !part.is_empty()
            && part.chars().all(inner)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_part)
}

fn is_qualified(key: &str) -> bool {
    let (prefix, name) = key
        .rsplit_once('/')
        .map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let prefix_fits = prefix.is_none_or(|prefix| is_subdomain(&prefix.to_ascii_lowercase()));
    !name.is_empty() && is_label_value(name) && prefix_fits
}

fn is_label_value(value: &str) -> bool {
    let is_edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    value.is_empty()
        || (value.len() <= 63
            && value.chars().all(inner)
            && is_edge(value.chars().next())
            && is_edge(value.chars().last()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::resource;

    #[track_caller]
    fn check_name(name: &str, fits: bool) {
        let object = json!({ "metadata": { "name": name } });
        assert_eq!(
            check(&resource::CONFIG_MAPS, &object).is_empty(),
            fits,
            "{name:?}"
        );
    }

    #[test]
    fn a_name_is_a_subdomain() {
        check_name("a", true);
        check_name("a-1.b", true);
        check_name("", false);
        check_name("Bad_Name", false);
        check_name("-a", false);
        check_name("a..b", false);
    }

    #[track_caller]
    fn check_annotation(key: &str, fits: bool) {
        let object = json!({ "metadata": { "name": "a", "annotations": { key: "" } } });
        assert_eq!(check(&resource::PODS, &object).is_empty(), fits, "{key:?}");
    }

    #[test]
    fn a_key_is_a_name_with_a_domain() {
        check_annotation("digest.podrefresh.io/app", true);
        check_annotation("app", true);
        check_annotation("a/b/c", false);
        check_annotation("x/", false);
        check_annotation(&format!("x/{}", "a".repeat(63)), true);
        check_annotation(&format!("x/{}", "a".repeat(64)), false);
    }
}
