//! Rate limits: whose they are, and whose not.

use futures::future::join_all;

use super::*;

/// A registry that is asked by two: who shows nothing, and `ann`.
struct World {
    registry: Server,
    _api: Server,
    resolver: Resolver,
    metrics: Metrics,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
enum Who {
    Nobody,
    Ann,
}

use Who::{Ann, Nobody};

impl World {
    async fn new(registry: Server) -> Self {
        let api = api(&registry, "pw").await;
        let metrics = Metrics::new();
        let resolver = resolver_with(metrics.clone(), Network::default(), Some(&api));
        Self {
            registry,
            _api: api,
            resolver,
            metrics,
        }
    }

    fn lookup(&self, who: Who) -> Lookup {
        match who {
            Nobody => lookup(&self.registry, "app:1", "poor", &[]),
            Ann => lookup(&self.registry, "app:1", "rich", &["pull"]),
        }
    }

    async fn ask(&self, who: Who) -> &'static str {
        let answer = self
            .resolver
            .digest(&self.lookup(who), Duration::ZERO)
            .await;
        answer.map_or_else(|error| error.label(), |_| "found")
    }

    async fn read(&self, who: Who) -> &'static str {
        let manifest = self.resolver.manifest(&self.lookup(who), &digest()).await;
        manifest.map_or_else(|error| error.label(), |_| "found")
    }
}

/// Starts a registry that wants Basic, but lets in everybody, with `told` added to what `who` is told.
async fn telling(who: Who, told: impl Fn(Reply) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |request| match (request.authorization(), who) {
        _ if request.path() == "/v2/" => {
            Reply::new(401).header("WWW-Authenticate", "Basic realm=x")
        }
        (None, Nobody) | (Some(_), Ann) => told(manifest(request)),
        _ => manifest(request),
    })
    .await
}

fn limited() -> Reply {
    Reply::new(429).header("Retry-After", "600")
}

#[tokio::test]
async fn what_is_left_to_one_account_is_not_what_is_left_to_another() {
    for (who, other) in [(Nobody, Ann), (Ann, Nobody)] {
        let told = |reply: Reply| reply.header("RateLimit-Remaining", "0;w=21600");
        let world = World::new(telling(who, told).await).await;
        assert_eq!(world.ask(who).await, "found", "HEAD is free, {who:?}");
        assert_eq!(world.read(who).await, "allowance_low", "{who:?}");
        assert_eq!(world.read(other).await, "found", "{who:?}");
        assert_eq!(world.ask(other).await, "found", "{who:?}");
        assert_eq!(world.registry.count("GET /v2/app"), 1);
        // The least that is left to any account.
        assert_eq!(world.metrics.registry_allowance.get(), 0.0);
    }
}

/// Checks that `other` is answered while `who` is limited by `registry`, as is Ann where she may ask as nobody.
async fn check_apart(registry: Server, who: Who, other: Who) -> World {
    let world = World::new(registry).await;
    let expected = match who {
        Nobody => "rate_limited",
        Ann => "found",
    };
    for _ in 0..2 {
        assert_eq!(world.ask(who).await, expected, "{who:?}");
        assert_eq!(world.ask(other).await, "found", "{who:?}");
    }
    world
}

#[tokio::test]
async fn one_accounts_limit_stops_no_other() {
    for (who, other) in [(Nobody, Ann), (Ann, Nobody)] {
        let world = check_apart(telling(who, |_| limited()).await, who, other).await;
        let asked = world.registry.requests("HEAD ");
        let as_who = |r: &&Request| r.authorization().is_some() == matches!(who, Ann);
        assert_eq!(asked.iter().filter(as_who).count(), 1, "{who:?}");
    }
}

#[tokio::test]
async fn a_limit_of_the_token_service_is_the_accounts_too() {
    for (who, other) in [(Nobody, Ann), (Ann, Nobody)] {
        let service = Server::start(move |request| match (request.authorization(), who) {
            (None, Nobody) | (Some(_), Ann) => limited(),
            _ => Reply::new(200).body(r#"{"token": "t0ken"}"#),
        })
        .await;
        let challenge = format!("Bearer realm=\"{}/t\"", service.root());
        let registry = Server::start(move |request| match request.authorization() {
            Some(_) => manifest(request),
            None => Reply::new(401).header("WWW-Authenticate", &challenge),
        })
        .await;
        check_apart(registry, who, other).await;
        // One for each of the two.
        assert_eq!(service.count(""), 2, "{who:?}");
    }
}

#[tokio::test]
async fn where_no_login_is_wanted_all_are_one() {
    let registry = Server::start(|request| match request.path() {
        "/v2/" => Reply::new(200),
        _ => limited(),
    });
    let world = World::new(registry.await).await;
    for who in [Ann, Nobody, Ann] {
        assert_eq!(world.ask(who).await, "rate_limited", "{who:?}");
    }
    assert_eq!(world.registry.count("HEAD "), 1);
}

/// Checks that who is denied and then limited as nobody in particular is told what is hers to mend, and that one of the
/// requests that begin so, to the registry or its token service, was nobody's.
async fn check_later(registry: Server, service: &Server, begin: &str) {
    let world = World::new(registry).await;
    for _ in 0..2 {
        assert_eq!(world.ask(Ann).await, "unauthorized");
        // Failures are not remembered for so long.
        tokio::time::pause();
        tokio::time::advance(KEEP_FAILURE * 2).await;
        tokio::time::resume();
    }
    let asked = [service, &world.registry].map(|server| server.requests(begin));
    let asked = asked.concat();
    let bare = asked.iter().filter(|r| r.authorization().is_none());
    assert_eq!((bare.count(), asked.len()), (1, 3));
}

#[tokio::test]
async fn a_later_candidates_limit_counts_too() {
    let service = Server::start(|request| match request.authorization() {
        Some(_) => Reply::new(401),
        None => limited(),
    })
    .await;
    let challenge = format!("Bearer realm=\"{}/t\"", service.root());
    let registry = Server::start(move |_| Reply::new(401).header("WWW-Authenticate", &challenge));
    check_later(registry.await, &service, "GET /t").await;
    let registry = Server::start(|request| match request.authorization() {
        None if request.method == "HEAD" => limited(),
        _ => Reply::new(401).header("WWW-Authenticate", "Basic realm=x"),
    });
    check_later(registry.await, &service, "HEAD ").await;
}

#[tokio::test]
async fn nobody_is_sent_ahead_while_nobody_may_ask() {
    let registry = Server::start(|_| limited()).await;
    let world = World::new(registry).await;
    // Those that come with the first wait for what it is told.
    let crowd = join_all((0..10).map(|_| world.ask(Nobody)));
    assert_eq!(crowd.await, ["rate_limited"; 10]);
    for who in [Ann, Nobody] {
        assert_eq!(world.ask(who).await, "rate_limited", "{who:?}");
    }
    assert_eq!(world.registry.count(""), 1);
}

#[tokio::test]
async fn a_host_that_is_down_for_a_time_is_so_for_all() {
    let down = |_| Reply::new(503).header("Retry-After", "600");
    let world = World::new(telling(Nobody, down).await).await;
    for who in [Nobody, Ann, Nobody] {
        assert_eq!(world.ask(who).await, "unavailable", "{who:?}");
    }
    assert_eq!(world.registry.count("HEAD "), 1);
}
