//! Proxies between us and registries.

use super::*;
use crate::error::Chain;

/// What `ann` with the password `p@ss` shows to a proxy.
const SHOWN: &str = "Basic YW5uOnBAc3M=";

/// Returns a resolver that asks through `proxy`, but for hosts of `direct`, and asks for all images at
/// `endpoint`. The name `registry.test` leads to `server`.
fn resolver_by(
    proxy: &Server,
    direct: &str,
    endpoint: Option<&str>,
    server: Option<&Server>,
) -> Resolver {
    let url = format!("http://ann:p%40ss@{}", proxy.host());
    let proxies = Proxies::of(|name| match name {
        "HTTP_PROXY" | "HTTPS_PROXY" => Some(url.clone()),
        "NO_PROXY" => Some(direct.to_owned()),
        _ => None,
    });
    let addresses = server.map(|server| ("registry.test".to_owned(), server.address()));
    let settings = Settings {
        lookup_timeout: LOOKUP_TIMEOUT,
        network: Network {
            addresses: addresses.into_iter().collect(),
            ..Network::default()
        },
        proxies: proxies.unwrap(),
        endpoint: endpoint.map(|endpoint| endpoint.parse().unwrap()),
        ..Settings::default()
    };
    let metrics = Metrics::new();
    Resolver::new(settings, keychain(&metrics, None), metrics).unwrap()
}

async fn ask(resolver: &Resolver) -> Result<Answer, LookupError> {
    let identity = PullIdentity {
        namespace: "shop".into(),
        secrets: Box::default(),
        service_account: "default".into(),
    };
    let lookup = Lookup {
        image: Arc::new("registry.test:5000/app:1".parse().unwrap()),
        identity: Arc::new(identity),
    };
    resolver.digest(&lookup, Duration::ZERO).await
}

/// Answers as a proxy before a registry whose tokens come from a service beside it.
fn forward(request: &Request) -> Reply {
    match (request.path(), request.authorization()) {
        ("http://registry.test:5000/token", _) => Reply::new(200).body(r#"{"token": "t0ken"}"#),
        (_, Some("Bearer t0ken")) => {
            Reply::new(200).header("Docker-Content-Digest", &digest().to_string())
        }
        _ => {
            let challenge = "Bearer realm=\"http://registry.test:5000/token\"";
            Reply::new(401).header("WWW-Authenticate", challenge)
        }
    }
}

#[tokio::test]
async fn registry_and_token_service_are_asked_through_the_proxy() {
    let proxy = Server::start(forward).await;
    let resolver = resolver_by(&proxy, "", Some("http://registry.test:5000"), None);
    ask(&resolver).await.unwrap();
    let asked = proxy.requests("");
    assert_eq!(asked.len(), 3);
    for request in asked {
        assert_eq!(request.header("proxy-authorization"), Some(SHOWN));
    }
}

#[tokio::test]
async fn a_host_that_is_left_out_is_asked_itself() {
    let (proxy, registry) = (Server::start(forward).await, Server::start(manifest).await);
    let port = registry.address().port();
    let endpoint = format!("http://registry.test:{port}");
    for (direct, is_direct) in [
        (format!("registry.test:{port}"), true),
        ("*.test".to_owned(), true),
        ("registry.test:1".to_owned(), false),
    ] {
        let resolver = resolver_by(&proxy, &direct, Some(&endpoint), Some(&registry));
        let before = (proxy.count(""), registry.count(""));
        ask(&resolver).await.unwrap();
        let through = proxy.count("") - before.0;
        let straight = registry.count("") - before.1;
        assert_eq!(
            (through == 0, straight > 0),
            (is_direct, is_direct),
            "{direct}"
        );
        // It is nobody else's.
        let shown = registry.requests("");
        assert!(
            shown
                .iter()
                .all(|it| it.header("proxy-authorization").is_none())
        );
    }
}

#[tokio::test]
async fn a_proxy_that_lets_nobody_in_is_told_without_the_password() {
    let proxy = Server::start(|_| Reply::new(407)).await;
    for (endpoint, expected) in [
        (None, "unreachable"),
        (Some("http://registry.test:5000"), "refused"),
    ] {
        let error = ask(&resolver_by(&proxy, "", endpoint, None))
            .await
            .unwrap_err();
        let text = format!("{} {error:?}", Chain(&error));
        assert_eq!(error.label(), expected, "{text}");
        for secret in ["p@ss", "p%40ss", &SHOWN[6..]] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    let tunnel = &proxy.requests("CONNECT registry.test:5000")[0];
    assert_eq!(tunnel.header("proxy-authorization"), Some(SHOWN));
}
