//! Identity tokens: by a form, or as a password where the token service takes no forms.

use super::*;

/// Checks what comes of a token service that answers the form with `form` and the password with `password`, and how
/// often it is asked by each.
#[track_caller]
fn check(
    form: u16,
    password: u16,
    expected: &'static str,
    asked: [usize; 2],
) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let shown = format!("Basic {}", STANDARD.encode(":r3fresh"));
        let service = Server::start(move |request| {
            let status = match (&*request.method, request.authorization()) {
                ("POST", _) => form,
                (_, Some(it)) if it == shown => password,
                // Nobody in particular, who comes last.
                _ => 401,
            };
            Reply::new(status).body(r#"{"token": "t0ken"}"#)
        })
        .await;
        let challenge = format!("Bearer realm=\"{}/token\"", service.root());
        let registry = Server::start(move |request| match request.authorization() {
            Some("Bearer t0ken") => manifest(request),
            _ => Reply::new(401).header("WWW-Authenticate", &challenge),
        })
        .await;
        let config = json!({"auths": {registry.host(): {"identitytoken": "r3fresh"}}});
        let api = Server::start(move |_| secret(&config)).await;
        let lookup = lookup(&registry, "app:1", "shop", &["pull"]);
        let answer = resolver(Some(&api)).digest(&lookup, Duration::ZERO).await;
        let told = answer.map_or_else(|error| error.label(), |_| "found");
        assert_eq!(told, expected, "{place}");
        let got = service.requests("GET ");
        let by_password = got.iter().filter(|r| r.authorization().is_some());
        let found = [service.count("POST "), by_password.count()];
        assert_eq!(found, asked, "{place}");
    }
}

#[tokio::test]
async fn it_is_a_password_where_forms_are_not_taken() {
    check(200, 500, "found", [1, 0]).await;
    for status in [400, 401, 404] {
        check(status, 200, "found", [1, 1]).await;
    }
    check(401, 401, "unauthorized", [1, 1]).await;
    check(404, 403, "forbidden", [1, 1]).await;
    check(405, 200, "refused", [1, 0]).await;
    check(403, 200, "forbidden", [1, 0]).await;
    check(500, 200, "unavailable", [3, 0]).await;
}

#[tokio::test]
async fn it_comes_behind_the_password_of_its_entry() {
    let registry = Server::start(|request| match request.authorization() {
        Some(shown) if shown == basic("right") => manifest(request),
        _ => Reply::new(401).header("WWW-Authenticate", "Basic realm=x"),
    })
    .await;
    let auth = STANDARD.encode("ann:right");
    let config = json!({"auths": {registry.host(): {"identitytoken": "ended", "auth": auth}}});
    let api = Server::start(move |_| secret(&config)).await;
    let lookup = lookup(&registry, "app:1", "shop", &["pull"]);
    let resolver = resolver(Some(&api)).for_nodes();
    assert!(resolver.digest(&lookup, Duration::ZERO).await.is_ok());
    assert_eq!(registry.count("HEAD "), 1);
}
