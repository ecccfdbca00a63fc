use super::*;
use crate::{cluster::fake::Fake, error::Chain};

fn accounts(server: Server) -> Accounts {
    Accounts::new(server, BTreeSet::from(["a.test/role".to_owned()]))
}

fn name() -> Name {
    ("shop".into(), "puller".into())
}

#[tokio::test]
async fn an_account_is_read_with_the_annotations_that_are_wanted() {
    let (mut fake, server) = Fake::start();
    let accounts = accounts(server);
    let (namespace, account) = name();
    let (read, ()) = tokio::join!(accounts.get(&namespace, &account, Duration::MAX), async {
        let call = fake.next().await;
        let call = call.expect("GET", "/api/v1/namespaces/shop/serviceaccounts/puller");
        let annotations = json!({"a.test/role": "x", "b.test/other": "y"});
        let metadata = json!({"uid": "u", "annotations": annotations});
        call.reply(200, &json!({ "metadata": metadata }));
    });
    let read = read.as_ref().as_ref().unwrap();
    assert_eq!((&*read.uid, read.annotations.len()), ("u", 1));
    // It is remembered.
    accounts.get(&namespace, &account, Duration::MAX).await;
    assert!(fake.is_quiet());
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_shown_to_nobody() {
    let (mut fake, server) = Fake::start();
    let accounts = accounts(server);
    let (namespace, account) = name();
    let ask = || accounts.token(&namespace, &account, "u", "registry");
    let (token, ()) = tokio::join!(ask(), async {
        let call = fake.next().await;
        let path = "/api/v1/namespaces/shop/serviceaccounts/puller/token";
        let call = call.expect("POST", path);
        assert_eq!(call.body["spec"], json!({"audiences": ["registry"]}));
        assert_eq!(call.body["metadata"], json!({"uid": "u"}));
        let expires = Timestamp::now() + jiff::SignedDuration::from_secs(1000);
        let status = json!({"token": "s3cret", "expirationTimestamp": expires});
        call.reply(201, &json!({ "status": status }));
    });
    let shown = format!("{token:?}");
    let token = token.as_ref().as_ref().unwrap();
    assert_eq!(&*token.text, "s3cret");
    assert!(token.keep.as_secs().abs_diff(800) <= 1, "{token:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
    ask().await;
    assert!(fake.is_quiet());
}

/// Checks what is said when the API server refuses with `code`.
async fn check(code: u16, reason: &str, label: &str, words: &str) {
    let (mut fake, server) = Fake::start();
    let accounts = accounts(server);
    let (namespace, account) = name();
    let token = accounts.token(&namespace, &account, "u", "registry");
    let (token, ()) = tokio::join!(token, async {
        fake.next().await.refuse(code, reason);
    });
    let error = token.as_ref().as_ref().unwrap_err();
    let text = Chain(error).to_string();
    assert_eq!(error.label(), label);
    assert!(text.starts_with(words), "{text}");
}

#[tokio::test]
async fn refusals_are_told_apart() {
    check(
        404,
        "NotFound",
        "account_missing",
        "there is no service account shop/puller",
    )
    .await;
    let words = "podrefresh may not create tokens of service account shop/puller: ";
    check(403, "Forbidden", "account_forbidden", words).await;
    let words = "the API server gave no token of service account shop/puller: ";
    check(409, "Conflict", "account_unavailable", words).await;
}
