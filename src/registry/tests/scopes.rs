//! What tokens are for: the scope that a registry wants to see, which need not be the one that its name suggests.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use super::*;

/// A token service whose tokens name their scope and number, and a registry that wants one scope for everything.
struct Odd {
    registry: Server,
    service: Server,
    resolver: Resolver,
    /// Tokens that the registry takes no more.
    revoked: Arc<Mutex<Vec<String>>>,
}

/// The scope that the registry wants, as it is written in an address.
const WANTED: &str = "scope=repository%3Aelsewhere%2Fapp%3Apull";

impl Odd {
    /// Starts both; a `strict` service refuses other scopes.
    async fn start(strict: Arc<AtomicBool>) -> Self {
        let issued = Mutex::new(0);
        let service = Server::start(move |request| {
            let is_wanted = request.target.contains(WANTED);
            if strict.load(Ordering::Relaxed) && !is_wanted {
                return Reply::new(403);
            }
            let mut issued = issued.lock().unwrap();
            *issued += 1;
            let name = if is_wanted { "right" } else { "wrong" };
            Reply::new(200).body(&format!(r#"{{"token": "{name}{issued}"}}"#))
        })
        .await;
        let realm = format!("Bearer realm=\"{}/token\"", service.root());
        let revoked = Arc::new(Mutex::new(Vec::<String>::new()));
        let bad = Arc::clone(&revoked);
        let registry = Server::start(move |request| {
            let shown = request.authorization().unwrap_or_default();
            let is_bad = bad
                .lock()
                .unwrap()
                .iter()
                .any(|token| shown.ends_with(token));
            match request.path() {
                "/v2/" => Reply::new(401).header("WWW-Authenticate", &realm),
                _ if shown.starts_with("Bearer right") && !is_bad => manifest(request),
                _ => {
                    let scope = format!("{realm},scope=\"repository:elsewhere/app:pull\"");
                    Reply::new(401).header("WWW-Authenticate", &scope)
                }
            }
        })
        .await;
        Self {
            registry,
            service,
            resolver: resolver(None),
            revoked,
        }
    }

    /// Looks the image up; returns what came of it, and how many tokens and manifests were asked for.
    async fn ask(&self) -> (&'static str, usize, usize) {
        let counts = || (self.service.count(""), self.registry.count("HEAD "));
        let before = counts();
        let answer = ask(&self.resolver, &self.registry, "org/app:1").await;
        let label = answer.map_or_else(|error| error.label(), |_| "found");
        let after = counts();
        (label, after.0 - before.0, after.1 - before.1)
    }
}

#[tokio::test]
async fn a_token_for_the_scope_that_is_wanted_is_remembered() {
    let odd = Odd::start(Arc::default()).await;
    assert_eq!(odd.ask().await, ("found", 2, 2));
    assert_eq!(odd.ask().await, ("found", 0, 2));
}

#[tokio::test]
async fn a_remembered_token_that_is_refused_is_renewed_once() {
    let odd = Odd::start(Arc::default()).await;
    assert_eq!(odd.ask().await, ("found", 2, 2));
    let revoke = |token: &str| odd.revoked.lock().unwrap().push(token.to_owned());
    revoke("right2");
    assert_eq!(odd.ask().await, ("found", 1, 3));
    assert_eq!(odd.ask().await, ("found", 0, 2));
    revoke("right3");
    revoke("right4");
    assert_eq!(odd.ask().await, ("unauthorized", 1, 3));
}

#[tokio::test]
async fn a_service_that_refuses_other_scopes_is_asked_for_the_one_that_is_wanted() {
    let strict = Arc::new(AtomicBool::new(false));
    let odd = Odd::start(Arc::clone(&strict)).await;
    strict.store(true, Ordering::Relaxed);
    assert_eq!(odd.ask().await, ("forbidden", 1, 0));
    // What the registry said of its login holds for a while; then it is asked what it wants.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    assert_eq!(odd.ask().await, ("found", 2, 2));
}
