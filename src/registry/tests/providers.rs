//! Credentials that plugins bring.

use std::os::unix::fs::symlink;

use super::*;
use crate::credentials::{Patience, Providers};

const PROTOCOL: &str = "credentialprovider.kubelet.k8s.io/v1";

/// Returns a resolver with a plugin that runs `script` for images of `server`.
fn with_plugin(script: &str, server: &Server, api: Option<&Server>) -> (Resolver, Folder) {
    let (resolver, folder, _) = with_attributes(script, server, api, json!({}));
    (resolver, folder)
}

/// Returns such a resolver and its metrics; `extra` goes into the plugin's configuration.
pub(super) fn with_attributes(
    script: &str,
    server: &Server,
    api: Option<&Server>,
    extra: serde_json::Value,
) -> (Resolver, Folder, Metrics) {
    let folder = Folder::new();
    symlink("/bin/sh", folder.0.join("plugin")).unwrap();
    let mut provider = json!({
        "name": "plugin", "matchImages": [server.host()], "defaultCacheDuration": "1h",
        "apiVersion": PROTOCOL, "args": ["-c", script],
        "env": [{"name": "DIR", "value": folder.0}],
    });
    json_patch::merge(&mut provider, &extra);
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig",
        "providers": [provider],
    });
    folder.write("config.json", config.to_string());
    let metrics = Metrics::new();
    let patience = Patience {
        run: Duration::from_secs(20),
        wait: Duration::from_secs(20),
    };
    let providers =
        Providers::open(&folder.0.join("config.json"), &folder.0, patience, &metrics).unwrap();
    let providers = providers.with_accounts(api.map(|api| cluster::Server::plain(&api.root())));
    let keychain = keychain(&metrics, api).with_providers(Some(providers));
    let resolver = Resolver::new(Settings::default(), keychain, metrics.clone()).unwrap();
    (resolver, folder, metrics)
}

/// Returns a script that answers with the password that `$PASSWORD` holds.
pub(super) fn answer(server: &Server) -> String {
    let answer = json!({
        "apiVersion": PROTOCOL, "kind": "CredentialProviderResponse", "cacheKeyType": "Registry",
        "auth": {server.host(): {"username": "ann", "password": "$PASSWORD"}},
    });
    format!("echo \"{}\"", answer.to_string().replace('"', "\\\""))
}

/// Starts a registry that lets in `ann` with `password`.
async fn private(password: &'static str) -> Server {
    Server::start(move |request| match request.authorization() {
        Some(shown) if shown == basic(password) => manifest(request),
        _ => Reply::new(401).header("WWW-Authenticate", "Basic realm=x"),
    })
    .await
}

#[tokio::test]
async fn a_plugins_credential_is_tried_behind_the_pods_own() {
    let server = private("cloud").await;
    let api = api(&server, "wrong").await;
    let script = format!("PASSWORD=cloud; {}", answer(&server));
    let (resolver, _folder) = with_plugin(&script, &server, Some(&api));
    let lookup = lookup(&server, "app:1", "shop", &["pull"]);
    let answer = resolver.digest(&lookup, Duration::ZERO).await.unwrap();
    assert_eq!(
        answer.trail.source().to_string(),
        format!("credential provider plugin key {}", server.host())
    );
    let shown: Vec<_> = server.requests("HEAD ");
    let shown: Vec<_> = shown.iter().filter_map(|r| r.authorization()).collect();
    assert_eq!(shown, [basic("wrong"), basic("cloud")]);
}

#[tokio::test]
async fn a_plugin_that_fails_stops_no_open_registry() {
    let server = Server::start(manifest).await;
    let (resolver, _folder) = with_plugin("exit 1", &server, None);
    let answer = ask(&resolver, &server, "app:1").await.unwrap();
    let labels: Vec<_> = answer.trail.problems().iter().map(|p| p.label()).collect();
    assert_eq!(labels, ["provider_failed"]);
}

#[tokio::test]
async fn a_credential_that_ended_early_is_renewed() {
    let server = private("new").await;
    let script = format!(
        "[ -e $DIR/again ] && PASSWORD=new; : > $DIR/again; {}",
        answer(&server)
    );
    let (resolver, _folder) = with_plugin(&script, &server, None);
    let denied = ask(&resolver, &server, "app:1").await.unwrap_err();
    assert_eq!(denied.label(), "unauthorized");
    // Not at once: it was only just given.
    let denied = ask(&resolver, &server, "app:1").await.unwrap_err();
    assert_eq!(denied.label(), "unauthorized");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    ask(&resolver, &server, "app:1").await.unwrap();
}

#[tokio::test]
async fn a_missing_image_is_no_reason_to_renew_it() {
    let server = Server::start(|request| match request.path() {
        "/v2/" => Reply::new(401).header("WWW-Authenticate", "Basic realm=x"),
        _ => Reply::new(404),
    })
    .await;
    let api = api(&server, "pw").await;
    let script = format!("echo run >> $DIR/log; PASSWORD=cloud; {}", answer(&server));
    let (resolver, folder) = with_plugin(&script, &server, Some(&api));
    for secrets in [&[][..], &["pull"], &[], &["pull"]] {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(61)).await;
        tokio::time::resume();
        let lookup = lookup(&server, "app:1", "shop", secrets);
        let missing = resolver.digest(&lookup, Duration::ZERO).await;
        assert_eq!(missing.unwrap_err().label(), "not_found");
    }
    let log = std::fs::read_to_string(folder.0.join("log")).unwrap();
    assert_eq!(log, "run\n");
}
