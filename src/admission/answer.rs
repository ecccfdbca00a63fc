//! The answer to an AdmissionReview.
//!
//! Small structs of our own: the ones at hand write the patch as a list of numbers, four times the work.

use std::collections::BTreeMap;

use serde::Serialize;

use super::review::{API_VERSION, KIND};

/// The longest warning, in bytes.
///
/// The API server cuts warnings of more than 256 characters once all together exceed 4096.
pub(super) const WARNING_BYTES: usize = 256;

/// How many warnings an answer carries; 15 of the longest stay below the API server's 4096 characters.
const WARNINGS: usize = 15;

/// The longest refusal, in bytes: room for every wish of an object, each with a value of 256 characters.
///
/// The API server has passed 5000 characters on as they were.
const MESSAGE_BYTES: usize = 4096;

/// The longest value of an audit annotation, in bytes: some are in every line of the audit log.
const AUDIT_BYTES: usize = 1024;

/// What the audit log is told; the API server puts the webhook's name in front, `mutate.podrefresh.io/resolved`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Audit {
    /// What images mean.
    Resolved,
    /// Which images have no digest, and why.
    Unresolved,
    /// What was refused, or would have been if anybody had been there to read it.
    Faults,
}

impl Audit {
    /// Returns the documented name of the annotation.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Resolved => "resolved",
            Self::Unresolved => "unresolved",
            Self::Faults => "faults",
        }
    }
}

/// What the API server is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: BTreeMap<&'static str, String>,
}

#[derive(Debug, Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: &'a Answer<'a>,
}

impl<'a> Answer<'a> {
    /// Lets the object of request `uid` pass as it is.
    pub fn allow(uid: &'a str) -> Self {
        Self {
            uid,
            allowed: true,
            status: None,
            patch_type: None,
            patch: None,
            warnings: Vec::new(),
            audit_annotations: BTreeMap::new(),
        }
    }

    /// Refuses the object with 403; the client reads `message`.
    pub fn denied(self, message: &str) -> Self {
        Self {
            allowed: false,
            // Without a code the client would get a 400. With the reason Invalid kubectl may drop the message.
            status: Some(Status {
                code: 403,
                reason: "Forbidden",
                message: one_line(message, MESSAGE_BYTES),
            }),
            ..self
        }
    }

    /// Adds a line to the audit log's entry for the request, unless there is nothing to say.
    pub fn audited(mut self, audit: Audit, said: &[String]) -> Self {
        if !said.is_empty() {
            let said = one_line(&said.join("; "), AUDIT_BYTES);
            self.audit_annotations.insert(audit.label(), said);
        }
        self
    }

    /// Adds a JSON patch, base64-encoded already.
    pub fn patched(mut self, patch: Option<String>) -> Self {
        self.patch_type = patch.is_some().then_some("JSONPatch");
        self.patch = patch;
        self
    }

    /// Adds warnings, each made one short line; too many are counted in the last one.
    pub fn warned(mut self, warnings: &[String]) -> Self {
        let shown = if warnings.len() > WARNINGS {
            WARNINGS - 1
        } else {
            warnings.len()
        };
        self.warnings
            .extend(warnings[..shown].iter().map(|w| one_line(w, WARNING_BYTES)));
        if shown < warnings.len() {
            let rest = warnings.len() - shown;
            self.warnings
                .push(format!("podrefresh: {rest} more warnings"));
        }
        self
    }

    /// Returns the review to send.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&Envelope {
            api_version: API_VERSION,
            kind: KIND,
            response: self,
        })
        .expect("strings and numbers must serialise")
    }
}

/// Returns `text` on one line of at most `max` bytes.
///
/// The API server drops a warning that is empty or has a newline, without a word.
fn one_line(text: &str, max: usize) -> String {
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if line.trim().is_empty() {
        return "podrefresh gave no reason".to_owned();
    }
    if line.len() > max {
        let mut end = max - '…'.len_utf8();
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(answer: &Answer<'_>, expected: Value) {
        let sent: Value = serde_json::from_slice(&answer.to_json()).unwrap();
        assert_eq!(
            sent,
            json!({"apiVersion": API_VERSION, "kind": KIND, "response": expected})
        );
    }

    #[test]
    fn what_is_not_said_is_not_written() {
        check(&Answer::allow("u"), json!({"uid": "u", "allowed": true}));
        check(
            &Answer::allow("u").patched(None).warned(&[]),
            json!({"uid": "u", "allowed": true}),
        );
    }

    #[test]
    fn a_patch_has_its_type() {
        check(
            &Answer::allow("u").patched(Some("W10=".into())),
            json!({"uid": "u", "allowed": true, "patch": "W10=", "patchType": "JSONPatch"}),
        );
    }

    #[test]
    fn a_refusal_says_403_and_why() {
        check(
            &Answer::allow("u").denied("no\ndigest"),
            json!({"uid": "u", "allowed": false,
                "status": {"code": 403, "reason": "Forbidden", "message": "no digest"}}),
        );
    }

    #[test]
    fn the_audit_log_is_told_in_bounds_under_names_that_it_takes() {
        let said = ["a=x".to_owned(), "b=y".to_owned()];
        check(
            &Answer::allow("u")
                .audited(Audit::Resolved, &said)
                .audited(Audit::Faults, &[]),
            json!({"uid": "u", "allowed": true, "auditAnnotations": {"resolved": "a=x; b=y"}}),
        );
        let long = Answer::allow("u").audited(Audit::Unresolved, &["x".repeat(2000)]);
        assert_eq!(long.audit_annotations["unresolved"].len(), AUDIT_BYTES);
        for audit in [Audit::Resolved, Audit::Unresolved, Audit::Faults] {
            // A qualified name without a prefix, which is the webhook's name.
            let label = audit.label();
            assert!(label.bytes().all(|b| b.is_ascii_lowercase()), "{label}");
        }
    }

    #[test]
    fn a_refusal_has_room_for_every_wish() {
        let message = |length| {
            let answer = Answer::allow("u").denied(&"x".repeat(length));
            answer.status.unwrap().message.len()
        };
        assert_eq!(message(MESSAGE_BYTES), MESSAGE_BYTES);
        assert_eq!(message(MESSAGE_BYTES + 1), MESSAGE_BYTES);
    }

    #[track_caller]
    fn check_line(text: &str, expected: &str) {
        assert_eq!(one_line(text, 8), expected);
    }

    #[test]
    fn a_warning_is_one_short_line_and_never_empty() {
        check_line("a\r\nb\tc", "a  b c");
        check_line("12345678", "12345678");
        check_line("123456789", "12345…");
        check_line("1234ééé", "1234…");
        check_line("", "podrefresh gave no reason");
        check_line(" \n", "podrefresh gave no reason");
    }

    #[test]
    fn all_warnings_together_stay_below_the_limit() {
        let many = |n| {
            Answer::allow("u")
                .warned(&vec!["é".repeat(300); n])
                .warnings
        };
        assert_eq!(many(15).len(), 15);
        assert_eq!(many(16).len(), 15);
        assert_eq!(many(16)[14], "podrefresh: 2 more warnings");
        let characters: usize = many(15).iter().map(|w| w.len()).sum();
        assert!(characters <= 4096, "{characters}");
    }
}
