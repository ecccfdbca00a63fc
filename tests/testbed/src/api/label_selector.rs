//! Which objects does a label selector choose?

use std::collections::BTreeMap;

use serde_json::Value;

use super::object;

/// Why a selector could not be read; the message is the server's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSelector(pub(super) String);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    Greater(String, i64),
    Less(String, i64),
}

/// A set of rules over labels, all of which must hold. The empty one chooses everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Rule>);

impl LabelSelector {
    /// Reads the form of URLs: `a=b,c!=d,e in (f,g),!h,i`.
    pub fn parse(text: &str) -> Result<Self, InvalidSelector> {
        split_outside_parentheses(text)
            .into_iter()
            .map(parse_rule)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Reads the form of objects: `matchLabels` and `matchExpressions`. An empty map chooses everything.
    pub fn from_object(selector: &Value) -> Result<Self, InvalidSelector> {
        let mut rules = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            rules.push(Rule::In(
                key.clone(),
                vec![value.as_str().unwrap_or("").to_owned()],
            ));
        }
        for expression in selector["matchExpressions"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let key = expression["key"].as_str().unwrap_or("").to_owned();
            let values = expression["values"].as_array().into_iter().flatten();
            let values = values
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            rules.push(match expression["operator"].as_str().unwrap_or("") {
                "In" => Rule::In(key, values),
                "NotIn" => Rule::NotIn(key, values),
                "Exists" => Rule::Exists(key),
                "DoesNotExist" => Rule::Absent(key),
                other => {
                    return Err(InvalidSelector(format!(
                        "{other:?} is not a valid label selector operator"
                    )));
                }
            });
        }
        Ok(Self(rules))
    }

    /// A selector of exactly these labels, as ReplicationControllers and Services have.
    pub fn from_map(labels: &Value) -> Self {
        let labels = labels.as_object().into_iter().flatten();
        Self(
            labels
                .map(|(key, value)| {
                    Rule::In(key.clone(), vec![value.as_str().unwrap_or("").to_owned()])
                })
                .collect(),
        )
    }

    /// Says whether the selector chooses everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says whether labels satisfy every rule.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|rule| match rule {
            Rule::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Rule::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Rule::Exists(key) => labels.contains_key(key),
            Rule::Absent(key) => !labels.contains_key(key),
            Rule::Greater(key, than) => labels
                .get(key)
                .and_then(|v| v.parse::<i64>().ok())
                .is_some_and(|v| v > *than),
            Rule::Less(key, than) => labels
                .get(key)
                .and_then(|v| v.parse::<i64>().ok())
                .is_some_and(|v| v < *than),
        })
    }

    /// Says whether an object's labels satisfy every rule.
    pub fn selects(&self, object: &Value) -> bool {
        self.0.is_empty() || self.matches(&object::labels(object))
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    if text.trim().is_empty() {
        Vec::new()
    } else {
        parts
    }
}

fn parse_rule(text: &str) -> Result<Rule, InvalidSelector> {
    let text = text.trim();
    if let Some(key) = text.strip_prefix('!') {
        return Ok(Rule::Absent(identifier(key.trim())?));
    }
    if let Some((left, right)) = text.split_once('(') {
        let values = right
            .strip_suffix(')')
            .ok_or_else(|| expected(right, "')'"))?;
        let values = values
            .split(',')
            .map(|value| value.trim().to_owned())
            .collect();
        let (key, operator) = left
            .trim()
            .rsplit_once(char::is_whitespace)
            .ok_or_else(|| expected("(", "operator"))?;
        let key = identifier(key.trim())?;
        return match operator {
            "in" => Ok(Rule::In(key, values)),
            "notin" => Ok(Rule::NotIn(key, values)),
            other => Err(expected(other, "in, notin, =, ==, !=, gt, lt")),
        };
    }
    for (sign, negated) in [("!=", true), ("==", false), ("=", false)] {
        if let Some((key, value)) = text.split_once(sign) {
            let (key, values) = (identifier(key.trim())?, vec![value.trim().to_owned()]);
            return Ok(if negated {
                Rule::NotIn(key, values)
            } else {
                Rule::In(key, values)
            });
        }
    }
    if let Some((key, value)) = text.split_once('>') {
        return Ok(Rule::Greater(identifier(key.trim())?, whole(value)?));
    }
    if let Some((key, value)) = text.split_once('<') {
        return Ok(Rule::Less(identifier(key.trim())?, whole(value)?));
    }
    identifier(text).map(Rule::Exists)
}

fn whole(text: &str) -> Result<i64, InvalidSelector> {
    text.trim()
        .parse()
        .map_err(|_| expected(text, "an integer"))
}

fn identifier(text: &str) -> Result<String, InvalidSelector> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    match text.chars().find(|c| !is_fine(*c)) {
        Some(c) => Err(expected(&c.to_string(), "identifier")),
        None if text.is_empty() => Err(expected("", "identifier")),
        None => Ok(text.to_owned()),
    }
}

fn expected(found: &str, wanted: &str) -> InvalidSelector {
    InvalidSelector(format!(
        "unable to parse requirement: found '{found}', expected: {wanted}"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(selector: &str, labels: &[(&str, &str)], expected: bool) {
        let labels = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        assert_eq!(
            LabelSelector::parse(selector).unwrap().matches(&labels),
            expected,
            "{selector}"
        );
    }

    #[test]
    fn every_rule_must_hold() {
        check("", &[], true);
        check("a=b", &[("a", "b")], true);
        check("a==b,c!=d", &[("a", "b")], true);
        check("a=b,c!=d", &[("a", "b"), ("c", "d")], false);
        check("a", &[("a", "")], true);
        check("!a", &[("a", "")], false);
        check("a in (b, c),x notin (y)", &[("a", "c")], true);
        check("a in (b,c)", &[("a", "d")], false);
        check("a notin (b)", &[("a", "b")], false);
        check("a=", &[("a", "")], true);
        check("n>1", &[("n", "2")], true);
        check("n>2", &[("n", "2")], false);
    }

    #[test]
    fn a_bad_selector_is_named_as_the_server_does() {
        let error = LabelSelector::parse("!!bad").unwrap_err();
        assert_eq!(
            error.to_string(),
            "unable to parse requirement: found '!', expected: identifier"
        );
    }

    #[test]
    fn an_object_selector_reads_labels_and_expressions() {
        let selector = json!({
            "matchLabels": { "app": "web" },
            "matchExpressions": [{ "key": "tier", "operator": "NotIn", "values": ["db"] }],
        });
        let selector = LabelSelector::from_object(&selector).unwrap();
        assert!(selector.selects(&json!({ "metadata": { "labels": { "app": "web" } } })));
        assert!(
            !selector.selects(&json!({ "metadata": { "labels": { "app": "web", "tier": "db" } } }))
        );
    }
}
