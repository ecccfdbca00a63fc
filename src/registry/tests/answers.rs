//! Where a digest comes from.

use super::*;

const GARBAGE: &str = "sha256:not-a-digest";

#[tokio::test]
async fn a_head_with_all_manifest_types_is_enough() {
    let server = Server::start(manifest).await;
    let answer = ask(&resolver(None), &server, "org/app:1").await.unwrap();
    assert_eq!(answer.digest, digest());
    assert_eq!(answer.trail.deciding(), Deciding::Head);
    assert_eq!(answer.trail.source(), &Source::Anonymous);
    assert_eq!(answer.trail.host(), server.host());
    let [head] = &server.requests("HEAD ")[..] else {
        panic!("{:?}", server.requests(""));
    };
    assert_eq!(head.target, "/v2/org/app/manifests/1");
    let accept = head.header("accept").unwrap();
    for kind in [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ] {
        assert!(
            accept.split(", ").any(|accepted| accepted == kind),
            "{accept}"
        );
    }
    assert_eq!(server.count("GET /v2/org"), 0);
}

#[tokio::test]
async fn a_digest_is_asked_for_by_itself_and_must_come_back() {
    let server = Server::start(manifest).await;
    let resolver = resolver(None);
    let right = format!("app@{}", digest());
    assert_eq!(
        ask(&resolver, &server, &right).await.unwrap().digest,
        digest()
    );
    let wrong = format!("app@sha256:{}", "0".repeat(64));
    assert_eq!(
        ask(&resolver, &server, &wrong).await.unwrap_err().label(),
        "malformed"
    );
    let both = format!("app:1@sha256:{}", "0".repeat(64));
    assert_eq!(
        ask(&resolver, &server, &both).await.unwrap().digest,
        digest()
    );
}

/// Checks what comes of `header` as digest in answers to HEAD and GET.
async fn check_header(
    header: Option<&'static str>,
    body: &'static str,
    expected: Result<Digest, &str>,
) {
    let server = Server::start(move |request| match request.path() {
        "/v2/" => Reply::new(200),
        _ => header
            .iter()
            .fold(Reply::new(200).body(body), |reply, text| {
                reply.header("Docker-Content-Digest", text)
            }),
    })
    .await;
    let resolver = resolver(None);
    let answer = ask(&resolver, &server, "app:1").await;
    let answer = answer.map(|answer| (answer.digest, answer.trail.deciding()));
    let expected = expected.map(|digest| (digest, Deciding::Get));
    assert_eq!(
        answer.as_ref().map_err(|e| e.label()),
        expected.as_ref().map_err(|e| *e)
    );
    assert_eq!(server.count("HEAD "), 1);
    assert_eq!(server.count("GET /v2/app"), 1);
    // HEAD is not tried again in a repository where it was of no use.
    let again = ask(&resolver, &server, "app:2").await;
    assert_eq!(again.is_ok(), answer.is_ok());
    assert_eq!(server.count("HEAD "), if answer.is_ok() { 1 } else { 2 });
}

#[tokio::test]
async fn without_a_digest_the_bytes_decide() {
    check_header(None, MANIFEST, Ok(digest())).await;
}

#[tokio::test]
async fn a_garbage_digest_is_no_digest() {
    check_header(Some(GARBAGE), MANIFEST, Ok(digest())).await;
}

#[tokio::test]
async fn a_login_page_has_no_digest() {
    check_header(None, "<html>Welcome to the wifi</html>", Err("malformed")).await;
}

#[tokio::test]
async fn bytes_of_another_digest_are_refused() {
    let other = format!("sha256:{}", "0".repeat(64));
    let server = Server::start(move |request| match request.method.as_str() {
        "HEAD" => Reply::new(405),
        _ => manifest(request).header("Docker-Content-Digest", "x"),
    })
    .await;
    assert!(ask(&resolver(None), &server, "app:1").await.is_ok());
    let server = Server::start(move |request| match request.method.as_str() {
        "HEAD" => Reply::new(405),
        _ => Reply::new(200)
            .header("Docker-Content-Digest", &other)
            .body(MANIFEST),
    })
    .await;
    let error = ask(&resolver(None), &server, "app:1").await.unwrap_err();
    assert_eq!(error.label(), "malformed");
}

#[tokio::test]
async fn a_redirect_is_followed_without_the_credentials() {
    let region = Server::start(manifest).await;
    let target = format!("{}/v2/region/app/manifests/1", region.root());
    let name = Server::start(
        move |request| match (request.path(), request.authorization()) {
            ("/v2/", _) => Reply::new(401).header("WWW-Authenticate", "Basic realm=x"),
            (_, Some(_)) => Reply::new(307).header("Location", &target),
            (_, None) => Reply::new(401).header("WWW-Authenticate", "Basic realm=x"),
        },
    )
    .await;
    let api = api(&name, "pw").await;
    let lookup = lookup(&name, "app:1", "shop", &["pull"]);
    let answer = resolver(Some(&api)).digest(&lookup, Duration::ZERO).await;
    assert_eq!(answer.unwrap().digest, digest());
    let at_name: Vec<_> = name.requests("HEAD ");
    assert_eq!(at_name[0].authorization(), Some(&*basic("pw")));
    let at_region = region.requests("");
    assert_eq!(at_region.len(), 1);
    assert_eq!(at_region[0].authorization(), None);
}

#[tokio::test]
async fn redirects_have_an_end() {
    let server = Server::start(|request| match request.path() {
        "/v2/" => Reply::new(200),
        path => Reply::new(302).header("Location", path),
    })
    .await;
    let error = ask(&resolver(None), &server, "app:1").await.unwrap_err();
    assert_eq!((error.label(), server.count("HEAD ")), ("malformed", 4));
}

#[tokio::test]
async fn one_repository_without_digests_says_nothing_of_others() {
    let server = Server::start(|request| match request.path() {
        "/v2/odd/manifests/1" => Reply::new(200).body(MANIFEST),
        _ => manifest(request),
    })
    .await;
    let resolver = resolver(None);
    for (image, deciding) in [
        ("odd:1", Deciding::Get),
        ("app:1", Deciding::Head),
        ("odd:1", Deciding::Get),
    ] {
        let answer = ask(&resolver, &server, image).await.unwrap();
        assert_eq!(answer.trail.deciding(), deciding, "{image}");
    }
    let counts = ["HEAD /v2/odd", "GET /v2/odd", "HEAD /v2/app", "GET /v2/app"];
    assert_eq!(counts.map(|begin| server.count(begin)), [1, 2, 1, 0]);
}
