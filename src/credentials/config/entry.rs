//! One entry of a docker config: the credentials that it holds.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{Entry, EntryFault, json::Fields};
use crate::credentials::{Credential, Scope};

/// Longer than every credential: those of clouds have up to 8 KiB, and few servers take a header that is longer.
const LONGEST_CREDENTIAL: usize = 32 << 10;

/// As Go decodes: padding is taken or left, and so are bits behind the last byte.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Reads one entry: what the kubelet would show of it, then its identity token, which the kubelet does not know. One without
/// any field, as credential stores leave behind, says nothing.
pub(super) fn read(key: &str, json: &str) -> Result<Vec<Entry>, EntryFault> {
    // What is nested deeper than is read at all is no entry either.
    let fields: Fields = serde_json::from_str(json).map_err(|_| EntryFault::Shape("auth"))?;
    let [auth, username, password, token] = fields.texts().map_err(EntryFault::Shape)?;
    let user = match auth {
        "" => basic(username, password),
        auth => decode_auth(auth)?,
    };
    let scope = Scope::parse(key)?;
    let token = (!token.is_empty()).then(|| Credential::Identity(token.into()));
    // Registries that hand out identity tokens leave a user without a password in `auth`.
    let is_placeholder = token.is_some()
        && matches!(&user, Credential::Basic { password, .. } if password.is_empty());
    let user = (user != Credential::Anonymous && !is_placeholder).then_some(user);
    let entries = user.into_iter().chain(token).map(|credential| {
        if LONGEST_CREDENTIAL < credential.bytes() {
            return Err(EntryFault::Length);
        }
        let scope = scope.clone();
        Ok(Entry { scope, credential })
    });
    entries.collect()
}

fn decode_auth(auth: &str) -> Result<Credential, EntryFault> {
    // Line ends come from `base64` and `echo`.
    let auth: String = auth.split_ascii_whitespace().collect();
    let text = BASE64.decode(auth).map_err(|_| EntryFault::Auth)?;
    if !text.contains(&b':') {
        return Err(EntryFault::Auth);
    }
    let text = String::from_utf8(text).map_err(|_| EntryFault::Bytes)?;
    let (username, password) = text.split_once(':').ok_or(EntryFault::Auth)?;
    Ok(basic(username, password))
}

/// Returns the credential of a user; of neither name nor password, nobody's.
pub(in crate::credentials) fn basic(username: &str, password: &str) -> Credential {
    if username.is_empty() && password.is_empty() {
        return Credential::Anonymous;
    }
    Credential::Basic {
        username: username.into(),
        password: password.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Returns users with their passwords, and tokens, of what `entry` holds.
    fn pairs(entry: &str) -> Result<Vec<(String, String)>, EntryFault> {
        let pair = |entry: Entry| match entry.credential {
            Credential::Basic { username, password } => (username.into(), password.into()),
            Credential::Identity(token) => ("<token>".to_owned(), token.into()),
            Credential::Anonymous => panic!("nothing is no entry"),
        };
        let found = read("ghcr.io", entry);
        found.map(|entries| entries.into_iter().map(pair).collect())
    }

    #[track_caller]
    fn check_all(entry: &str, expected: &[(&str, &str)]) {
        let expected = expected.iter().map(|(a, b)| ((*a).into(), (*b).into()));
        assert_eq!(pairs(entry), Ok(expected.collect()), "{entry}");
    }

    /// Checks the one credential of `entry`; none is told as one without a name.
    #[track_caller]
    fn check(entry: Value, expected: Result<(&str, &str), EntryFault>) {
        match expected {
            Ok(("", "")) => check_all(&entry.to_string(), &[]),
            Ok(pair) => check_all(&entry.to_string(), &[pair]),
            Err(fault) => assert_eq!(pairs(&entry.to_string()), Err(fault), "{entry}"),
        }
    }

    #[test]
    fn a_user_and_a_password_come_in_two_ways() {
        check(
            json!({"username": "ann", "password": "p:w"}),
            Ok(("ann", "p:w")),
        );
        check(json!({"auth": "YW5uOnA6dw=="}), Ok(("ann", "p:w")));
        // Both: `auth` wins, as for the kubelet.
        check(
            json!({"username": "bob", "password": "x", "auth": "YW5uOnA6dw=="}),
            Ok(("ann", "p:w")),
        );
        check(
            json!({"username": "ann", "password": "pw", "email": "a@b", "auth": ""}),
            Ok(("ann", "pw")),
        );
        check(json!({"username": "ann"}), Ok(("ann", "")));
    }

    #[test]
    fn auth_may_be_wrapped_and_unpadded() {
        check(json!({"auth": "YW5uOnA6dw==\n"}), Ok(("ann", "p:w")));
        check(json!({"auth": " YW5u\r\nOnA6\ndw== "}), Ok(("ann", "p:w")));
        check(json!({"auth": "YW5uOnA6dw"}), Ok(("ann", "p:w")));
        check(json!({"auth": "YW5uOnA6dx=="}), Ok(("ann", "p:w")));
    }

    #[test]
    fn a_password_in_another_alphabet_is_of_no_use_to_us_alone() {
        // "ann:" and the Latin-1 of "é".
        check(json!({"auth": "YW5uOuk="}), Err(EntryFault::Bytes));
        assert!(!EntryFault::Bytes.stops_nodes());
        // "\xe9", without a colon.
        check(json!({"auth": "6Q=="}), Err(EntryFault::Auth));
    }

    #[test]
    fn an_identity_token_comes_behind_a_password() {
        let entry = r#"{"identitytoken": "r3fresh", "auth": "YW5uOnA6dw=="}"#;
        check_all(entry, &[("ann", "p:w"), ("<token>", "r3fresh")]);
        let entry = r#"{"identitytoken": "r3fresh", "username": "ann", "password": "pw"}"#;
        check_all(entry, &[("ann", "pw"), ("<token>", "r3fresh")]);
        let placeholder = json!({"auth": "MDAwMDo=", "identitytoken": "r3fresh"});
        check(placeholder, Ok(("<token>", "r3fresh")));
        let auth = "MDAwMDo=";
        check(json!({"auth": auth, "identitytoken": ""}), Ok(("0000", "")));
    }

    #[test]
    fn names_count_in_any_case_and_the_last_one_wins() {
        for (entry, expected) in [
            (r#"{"Username": "ann", "PASSWORD": "pw"}"#, ("ann", "pw")),
            (r#"{"Auth": "YW5uOnA6dw=="}"#, ("ann", "p:w")),
            (r#"{"IdentityToken": "r3fresh"}"#, ("<token>", "r3fresh")),
            (r#"{"username": "ann", "Username": "bob"}"#, ("bob", "")),
            (r#"{"Username": "ann", "username": "bob"}"#, ("bob", "")),
            (r#"{"username": "ann", "USERNAME": null}"#, ("ann", "")),
        ] {
            check_all(entry, &[expected]);
        }
    }

    #[test]
    fn entries_without_content_are_no_fault() {
        check(json!({}), Ok(("", "")));
        check(json!({"auth": null, "username": null}), Ok(("", "")));
        check(json!(null), Ok(("", "")));
        check(json!({"auth": "Og=="}), Ok(("", "")));
    }

    #[test]
    fn broken_entries_say_which_field() {
        check(json!({"auth": "YW5u"}), Err(EntryFault::Auth));
        check(json!({"auth": "%%%"}), Err(EntryFault::Auth));
        check(
            json!({"USERNAME": 7, "username": "ann"}),
            Err(EntryFault::Shape("username")),
        );
        check(json!({"auth": "/zr/"}), Err(EntryFault::Bytes));
        check(json!({"auth": "/y//"}), Err(EntryFault::Auth));
        check(json!({"auth": 7}), Err(EntryFault::Shape("auth")));
        check(
            json!({"password": ["x"]}),
            Err(EntryFault::Shape("password")),
        );
        check(json!("ann:pw"), Err(EntryFault::Shape("auth")));
        check(
            json!({"auth": "%", "identitytoken": "r3fresh"}),
            Err(EntryFault::Auth),
        );
    }

    #[test]
    fn a_credential_has_at_most_32_kib() {
        let longest = "x".repeat((32 << 10) - 3);
        let entry = |more: &str| json!({"username": "ann", "password": format!("{longest}{more}")});
        check(entry(""), Ok(("ann", &longest)));
        check(entry("x"), Err(EntryFault::Length));
        let token = |length| json!({"identitytoken": "x".repeat(length)});
        check(token(32 << 10), Ok(("<token>", &"x".repeat(32 << 10))));
        check(token((32 << 10) + 1), Err(EntryFault::Length));
    }
}
