//! Who may do what, and what happens when the server fails.

use std::time::Duration;

use serde_json::json;
use testbed::api::resource;
use testbed::client::Client;
use testbed::faults::Effect;

use crate::support::{Failure, start};

#[tokio::test]
async fn a_service_account_may_do_what_its_roles_say() -> Result<(), Failure> {
    let (cluster, admin) = start().await?;
    let api = cluster.api();
    api.create(
        &resource::SERVICE_ACCOUNTS,
        "a",
        json!({ "metadata": { "name": "weak" } }),
    )
    .await?;
    let token = cluster.token_for("a", "weak")?;
    let weak = Client::new(cluster.address(), &cluster.ca_pem(), Some(&token))?;
    let refused = weak.get("/api/v1/namespaces/a/pods").await?;
    assert_eq!(
        refused.body,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "pods is forbidden: User \"system:serviceaccount:a:weak\" cannot list resource \"pods\" in API group \"\" in the namespace \"a\"",
            "reason": "Forbidden", "details": { "kind": "pods" }, "code": 403,
        })
    );
    let role = json!({ "metadata": { "name": "r" }, "rules": [
        { "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"], "resourceNames": ["mine"] },
    ] });
    api.create(&resource::ROLES, "a", role).await?;
    let binding = json!({
        "metadata": { "name": "r" }, "roleRef": { "kind": "Role", "name": "r" },
        "subjects": [{ "kind": "ServiceAccount", "name": "weak", "namespace": "a" }],
    });
    api.create(&resource::ROLE_BINDINGS, "a", binding).await?;
    api.create(
        &resource::SECRETS,
        "a",
        json!({ "metadata": { "name": "mine" } }),
    )
    .await?;
    assert_eq!(
        weak.get("/api/v1/namespaces/a/secrets/mine").await?.status,
        200
    );
    assert_eq!(
        weak.get("/api/v1/namespaces/a/secrets/nosuch")
            .await?
            .status,
        403
    );
    assert_eq!(weak.get("/api/v1/namespaces/a/secrets").await?.status, 403);
    let named = "/api/v1/namespaces/a/secrets?fieldSelector=metadata.name%3Dmine";
    assert_eq!(weak.get(named).await?.status, 200);
    assert_eq!(
        weak.get("/api/v1/pods").await?.body["message"],
        "pods is forbidden: User \"system:serviceaccount:a:weak\" cannot list resource \"pods\" in API group \"\" at the cluster scope"
    );
    let review = json!({ "spec": { "resourceAttributes": { "namespace": "a", "verb": "get", "resource": "secrets", "name": "mine" } } });
    let may = weak
        .json(
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            &review,
        )
        .await?;
    assert_eq!(may.body["status"], json!({ "allowed": true }));
    cluster.revoke_tokens("a", "weak");
    let unknown = weak.get("/api/v1/pods").await?;
    assert_eq!((unknown.status, unknown.body.get("details")), (401, None));
    let anonymous = Client::new(cluster.address(), &cluster.ca_pem(), None)?;
    assert_eq!(anonymous.get("/livez").await?.text, "ok");
    let refused = anonymous.get("/api/v1/pods").await?.body["message"].clone();
    assert!(
        refused
            .as_str()
            .is_some_and(|text| text.contains("\"system:anonymous\""))
    );
    let short = json!({ "spec": { "expirationSeconds": 60 } });
    let refused = admin
        .json(
            "POST",
            "/api/v1/namespaces/a/serviceaccounts/weak/token",
            &short,
        )
        .await?;
    assert_eq!(
        refused.body["message"],
        "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes"
    );
    let granted = admin
        .json(
            "POST",
            "/api/v1/namespaces/a/serviceaccounts/weak/token",
            &json!({}),
        )
        .await?
        .body;
    let again = Client::new(
        cluster.address(),
        &cluster.ca_pem(),
        granted["status"]["token"].as_str(),
    )?;
    assert_eq!(again.get(named).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn who_may_acts_as_another() -> Result<(), Failure> {
    let (cluster, _) = start().await?;
    let api = cluster.api();
    api.create(
        &resource::SERVICE_ACCOUNTS,
        "a",
        json!({ "metadata": { "name": "weak" } }),
    )
    .await?;
    let weak = "system:serviceaccount:a:weak";
    let path = "/api/v1/namespaces/a/pods";
    let token = cluster.token_for("a", "weak")?;
    for (token, user, message) in [
        (
            cluster.admin_token(),
            weak,
            "pods is forbidden: User \"system:serviceaccount:a:weak\" cannot list resource \"pods\" in API group \"\" in the namespace \"a\"",
        ),
        (
            cluster.admin_token(),
            "ann",
            "pods is forbidden: User \"ann\" cannot list resource \"pods\" in API group \"\" in the namespace \"a\"",
        ),
        (
            &*token,
            weak,
            "serviceaccounts \"weak\" is forbidden: User \"system:serviceaccount:a:weak\" cannot impersonate resource \"serviceaccounts\" in API group \"\" in the namespace \"a\"",
        ),
    ] {
        let client = Client::new(cluster.address(), &cluster.ca_pem(), Some(token))?;
        let headers = [("impersonate-user", user)];
        let refused = client.send("GET", path, &headers, "").await?;
        assert_eq!(
            (refused.status, &refused.body["message"]),
            (403, &json!(message))
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_is_missing_is_told_from_what_is_not_modelled() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    assert_eq!(
        client.get("/apis/nosuch.example/v1").await?.text,
        "404 page not found"
    );
    assert_eq!(
        client.get("/api/v1/nosuch").await?.body["details"],
        json!({})
    );
    assert_eq!(
        client
            .get("/api/v1/namespaces/a/pods/p/nosuch")
            .await?
            .status,
        404
    );
    assert!(cluster.unmodelled().is_empty());
    assert_eq!(client.get("/api/v1/persistentvolumes").await?.status, 501);
    assert_eq!(
        cluster.unmodelled(),
        ["GET /api/v1/persistentvolumes by kubernetes-admin"]
    );
    Ok(())
}

#[tokio::test]
async fn faults_last_as_long_as_their_guards() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    let guard = cluster
        .faults()
        .inject(Effect::TooManyRequests(3), |seen| seen.resource == "pods");
    let answer = client.get("/api/v1/pods").await?;
    assert_eq!(
        answer
            .headers
            .get("retry-after")
            .and_then(|value| value.to_str().ok()),
        Some("3")
    );
    assert_eq!(answer.body["details"]["retryAfterSeconds"], 3);
    assert_eq!(client.get("/api/v1/nodes").await?.status, 200);
    drop(guard);
    assert_eq!(client.get("/api/v1/pods").await?.status, 200);
    let guard = cluster
        .faults()
        .inject(Effect::Hang, |seen| seen.verb == "list");
    let hung = tokio::time::timeout(Duration::from_millis(200), client.get("/api/v1/pods")).await;
    assert!(hung.is_err());
    drop(guard);
    let guard = cluster
        .faults()
        .inject(Effect::LoseAnswer, |seen| seen.verb == "create");
    let map = json!({ "metadata": { "name": "c" } });
    assert!(
        client
            .json("POST", "/api/v1/namespaces/a/configmaps", &map)
            .await
            .is_err()
    );
    drop(guard);
    assert_eq!(
        client
            .get("/api/v1/namespaces/a/configmaps/c")
            .await?
            .status,
        200
    );
    Ok(())
}

#[tokio::test]
async fn a_server_that_was_down_is_back_on_its_port() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    let mut watch = client
        .watch("/api/v1/pods?watch=1&resourceVersion=0")
        .await?;
    let guard = cluster.faults().take_down();
    assert!(!matches!(watch.next().await, Ok(Some(_))));
    let refused = async {
        while client.get("/livez").await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), refused).await?;
    drop(guard);
    let back = async {
        while client.get("/livez").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), back).await?;
    Ok(())
}

#[tokio::test]
async fn dropped_watches_end_and_must_list_again() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    let mut watch = client
        .watch("/api/v1/pods?watch=1&resourceVersion=2")
        .await?;
    cluster.expire_watches();
    let end = tokio::time::timeout(Duration::from_secs(5), watch.next()).await??;
    assert_eq!(end, None);
    let mut watch = client
        .watch("/api/v1/pods?watch=1&resourceVersion=2")
        .await?;
    assert_eq!(
        watch.next().await?.unwrap_or_default()["object"]["code"],
        410
    );
    Ok(())
}

#[tokio::test]
async fn large_answers_are_compressed_on_request() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    let gzip = [("accept-encoding", "gzip")];
    let uri = "/api/v1/namespaces/a/configmaps";
    let small = client.send("GET", uri, &gzip, "").await?;
    assert!(!small.headers.contains_key("content-encoding"));
    let map = json!({ "metadata": { "name": "big" }, "data": { "k": "x".repeat(150_000) } });
    cluster
        .api()
        .create(&resource::CONFIG_MAPS, "a", map)
        .await?;
    let large = client.send("GET", uri, &gzip, "").await?;
    assert_eq!(
        large
            .headers
            .get("content-encoding")
            .and_then(|value| value.to_str().ok()),
        Some("gzip")
    );
    assert!(client.get(uri).await?.text.len() > 150_000);
    Ok(())
}
