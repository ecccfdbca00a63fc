//! Credentials that plugins bring for the ServiceAccount of a pod.

use std::sync::Mutex;

use futures::future::join_all;

use super::{
    providers::{answer, with_attributes},
    *,
};
use crate::{error::Chain, observe::metrics::Reason};

const LONG: Duration = Duration::from_secs(60);

/// A script's begin: the token and the annotation `a.test/role` of the request go into variables and into `$DIR/log`.
const READ: &str = r#"
    read -r REQUEST
    field() { case $REQUEST in *"\"$1\":\""*) rest=${REQUEST#*"\"$1\":\""}; echo "${rest%%\"*}";; esac; }
    TOKEN=$(field serviceAccountToken); ROLE=$(field a.test/role)
    echo "$TOKEN $ROLE" >> $DIR/log
"#;

/// Returns the configuration of a provider that acts for accounts.
fn attributes(change: serde_json::Value) -> serde_json::Value {
    let mut attributes = json!({
        "serviceAccountTokenAudience": "registry", "cacheType": "ServiceAccount", "requireServiceAccount": true,
        "optionalServiceAccountAnnotationKeys": ["a.test/role"],
    });
    json_patch::merge(&mut attributes, &change);
    json!({ "tokenAttributes": attributes })
}

/// Starts an API server with a `puller` in each namespace, whose uid and role are `uid-` and the namespace, and whose `n`th
/// token is `token-`, the namespace and `n`. What `refuse` says comes first.
async fn accounts(refuse: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> Server {
    let issued = Mutex::new(0);
    Server::start(move |request| {
        if let Some(reply) = refuse(request) {
            return reply;
        }
        let parts: Vec<&str> = request.path().split('/').collect();
        let namespace = parts[4];
        if request.path().ends_with("/token") {
            let mut issued = issued.lock().unwrap();
            *issued += 1;
            let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(1000);
            let token = format!("token-{namespace}-{issued}");
            let status = json!({"token": token, "expirationTimestamp": expires});
            return Reply::new(201).body(&json!({ "status": status }).to_string());
        }
        let annotations = json!({"a.test/role": namespace, "a.test/other": "x"});
        let metadata = json!({"uid": format!("uid-{namespace}"), "annotations": annotations});
        Reply::new(200).body(&json!({ "metadata": metadata }).to_string())
    })
    .await
}

/// Returns a lookup for a pod of `namespace` that runs as `account`.
fn lookup_as(server: &Server, path: &str, namespace: &str, account: &str) -> Lookup {
    let lookup = lookup(server, path, namespace, &[]);
    let identity = PullIdentity {
        service_account: account.into(),
        ..(*lookup.identity).clone()
    };
    Lookup {
        identity: Arc::new(identity),
        ..lookup
    }
}

/// Starts a registry that lets in `ann` whose password begins with `begin`.
async fn private(begin: &'static str) -> Server {
    Server::start(move |request| {
        let shown = request
            .authorization()
            .and_then(|it| it.strip_prefix("Basic "));
        let shown = shown.map(|text| String::from_utf8(STANDARD.decode(text).unwrap()).unwrap());
        match shown {
            Some(shown) if shown.starts_with(&format!("ann:{begin}")) => manifest(request),
            _ => Reply::new(401).header("WWW-Authenticate", "Basic realm=x"),
        }
    })
    .await
}

fn log(folder: &Folder) -> Vec<String> {
    let log = std::fs::read_to_string(folder.0.join("log")).unwrap_or_default();
    log.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_plugin_gets_the_token_and_the_annotations_of_the_pods_account() {
    let server = private("for rich").await;
    let api = accounts(|_| None).await;
    let script = format!("{READ} PASSWORD=\"for $ROLE\"; {}", answer(&server));
    let (resolver, folder, _) =
        with_attributes(&script, &server, Some(&api), attributes(json!({})));
    for path in ["app:1", "app:2", "other:1"] {
        let lookup = lookup_as(&server, path, "rich", "puller");
        resolver.digest(&lookup, LONG).await.unwrap();
    }
    assert_eq!(log(&folder), ["token-rich-1 rich"]);
    let asked = api.requests("POST ");
    assert_eq!(
        asked[0].path(),
        "/api/v1/namespaces/rich/serviceaccounts/puller/token"
    );
    let body: serde_json::Value = serde_json::from_str(&asked[0].body).unwrap();
    assert_eq!(body["spec"], json!({"audiences": ["registry"]}));
    assert_eq!(body["metadata"], json!({"uid": "uid-rich"}));
    assert_eq!((asked.len(), api.count("GET ")), (1, 1));
}

/// Checks that what a plugin said for one namespace's account serves no other's, cold, warm and in flight, whatever
/// reach its answers claim.
async fn check_apart(cache: &str, password: &str) {
    for reach in ["Image", "Registry", "Global"] {
        let server = private("token-rich").await;
        let api = accounts(|_| None).await;
        let answer = answer(&server).replace("Registry", reach);
        let script = format!("{READ} PASSWORD={password}; {answer}");
        let extra = attributes(json!({ "cacheType": cache }));
        let (resolver, folder, _) = with_attributes(&script, &server, Some(&api), extra);
        let lookups = [("rich", "puller"), ("poor", "puller"), ("rich", "other")]
            .map(|(namespace, account)| lookup_as(&server, "app:1", namespace, account));
        for max_age in [LONG, LONG, Duration::ZERO] {
            let crowd = (0..30).map(|n| resolver.digest(&lookups[n % 3], max_age));
            for (n, answer) in join_all(crowd).await.into_iter().enumerate() {
                match n % 3 {
                    1 => assert_eq!(answer.unwrap_err().label(), "unauthorized"),
                    _ => assert_eq!(answer.unwrap().digest, digest()),
                }
            }
        }
        // An account each, though two are of one namespace.
        let tokens: std::collections::BTreeSet<String> = log(&folder).into_iter().collect();
        assert_eq!(tokens.len(), 3, "{cache} {reach}: {tokens:?}");
    }
}

#[tokio::test]
async fn one_accounts_credentials_never_serve_another() {
    check_apart("ServiceAccount", "$TOKEN-x").await;
    check_apart("Token", "$TOKEN").await;
}

#[tokio::test]
async fn a_token_handed_on_takes_a_cache_by_token() {
    let server = private("token-rich").await;
    let api = accounts(|_| None).await;
    let script = format!("{READ} PASSWORD=$TOKEN; {}", answer(&server));
    let (resolver, _folder, _) =
        with_attributes(&script, &server, Some(&api), attributes(json!({})));
    let lookup = lookup_as(&server, "app:1", "rich", "puller");
    let error = resolver.digest(&lookup, LONG).await.unwrap_err();
    let text = Chain(&error).to_string();
    assert!(text.contains("takes `cacheType: Token`"), "{text}");
    assert!(!text.contains("token-rich"), "{text}");
}

#[tokio::test]
async fn without_what_it_requires_a_plugin_is_not_asked() {
    let server = Server::start(manifest).await;
    let required = json!({
        "requiredServiceAccountAnnotationKeys": ["a.test/missing"], "optionalServiceAccountAnnotationKeys": null,
    });
    let free = json!({"requireServiceAccount": false});
    for (change, account, runs) in [
        (json!({}), "puller", vec!["token-shop-1 shop"]),
        (json!({}), "", vec![]),
        (free.clone(), "", vec![" "]),
        (free, "puller", vec!["token-shop-1 shop"]),
        (required, "puller", vec![]),
    ] {
        let api = accounts(|_| None).await;
        let script = format!("{READ} {}", answer(&server));
        let (resolver, folder, _) =
            with_attributes(&script, &server, Some(&api), attributes(change.clone()));
        let lookup = lookup_as(&server, "app:1", "shop", account);
        let answer = resolver.digest(&lookup, LONG).await.unwrap();
        assert!(answer.trail.problems().is_empty(), "{change} {account:?}");
        assert_eq!(log(&folder), runs, "{change} {account:?}");
    }
}

/// Checks what comes of an API server that answers so about accounts, and that the plugin is not asked.
async fn check_refused(code: u16, tokens_only: bool, label: &'static str, words: &str) {
    let server = private("never").await;
    let api = accounts(move |request| {
        let hit = !tokens_only || request.path().ends_with("/token");
        hit.then(|| status(code, "refused"))
    })
    .await;
    let script = format!("{READ} {}", answer(&server));
    let (resolver, folder, metrics) =
        with_attributes(&script, &server, Some(&api), attributes(json!({})));
    let lookup = lookup_as(&server, "app:1", "shop", "puller");
    for _ in 0..2 {
        let error = resolver.digest(&lookup, LONG).await.unwrap_err();
        let text = Chain(&error).to_string();
        assert!(
            text.contains("credential provider plugin cannot be used: "),
            "{text}"
        );
        assert!(text.contains(words), "{text}");
    }
    assert!(log(&folder).is_empty());
    let counters = &metrics.credentials_problems;
    assert_eq!(
        counters.get_or_create(&Reason { reason: label }).get(),
        1,
        "{words}"
    );
}

#[tokio::test]
async fn an_account_that_cannot_be_had_is_told_once() {
    let words = "there is no service account shop/puller";
    check_refused(404, false, "account_missing", words).await;
    let words = "podrefresh may not read service account shop/puller: ";
    check_refused(403, false, "account_forbidden", words).await;
    let words = "podrefresh may not create tokens of service account shop/puller: ";
    check_refused(403, true, "account_forbidden", words).await;
    let words = "the API server gave no token of service account shop/puller: ";
    check_refused(500, true, "account_unavailable", words).await;
}

#[tokio::test]
async fn an_account_that_was_made_anew_is_another() {
    let server = private("new").await;
    let reads = Mutex::new(0);
    let api = accounts(move |request| {
        if request.path().ends_with("/token") {
            return None;
        }
        let mut reads = reads.lock().unwrap();
        *reads += 1;
        let uid = format!("uid-{reads}");
        let metadata = json!({"uid": uid, "annotations": {"a.test/role": uid}});
        Some(Reply::new(200).body(&json!({ "metadata": metadata }).to_string()))
    })
    .await;
    let script = format!(
        "{READ} case $ROLE in uid-1) PASSWORD=old;; *) PASSWORD=new;; esac; {}",
        answer(&server)
    );
    let (resolver, folder, _) =
        with_attributes(&script, &server, Some(&api), attributes(json!({})));
    let lookup = lookup_as(&server, "app:1", "shop", "puller");
    // What a registry refuses is asked for again, and the account read again for that.
    let patient = resolver.with_secrets_max_age(Duration::MAX);
    patient.digest(&lookup, LONG).await.unwrap();
    assert_eq!(log(&folder), ["token-shop-1 uid-1", "token-shop-2 uid-2"]);
}
