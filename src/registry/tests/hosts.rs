//! Where a `certs.d` sends lookups.

mod clients;
mod trust;

use super::{
    tls::{Authority, NAME, OwnRoot},
    *,
};
use crate::observe::metrics::Reason;

/// A `certs.d` and the resolver that reads it, for the registry `registry.test`.
struct World {
    dir: Folder,
    resolver: Resolver,
    metrics: Metrics,
}

impl World {
    /// Returns a world whose folder for the registry holds `files`; names lead to `addresses`.
    fn new(files: &[(&str, &str)], addresses: &[(&str, &Server)]) -> Self {
        Self::within(Duration::from_secs(10), files, addresses)
    }

    fn within(
        lookup_timeout: Duration,
        files: &[(&str, &str)],
        addresses: &[(&str, &Server)],
    ) -> Self {
        let dir = Folder::new();
        for (name, content) in files {
            dir.write(&format!("{NAME}/{name}"), content);
        }
        let metrics = Metrics::new();
        let addresses = addresses.iter();
        let settings = Settings {
            lookup_timeout,
            network: Network {
                // Whoever trusts nobody cannot be built; this one signs for none of the servers.
                extra_roots: vec![Authority::new().pem.into()],
                addresses: addresses
                    .map(|(name, server)| ((*name).to_owned(), server.address()))
                    .collect(),
            },
            hosts: Some(HostsDir::open(&dir.0).unwrap()),
            ..Settings::default()
        };
        let keychain = keychain(&metrics, None);
        let resolver = Resolver::new(settings, keychain, metrics.clone()).unwrap();
        Self {
            dir,
            resolver,
            metrics,
        }
    }

    async fn ask(&self, image: &str) -> Result<Answer, LookupError> {
        let identity = PullIdentity {
            namespace: "shop".into(),
            secrets: Box::default(),
            service_account: "default".into(),
        };
        let lookup = Lookup {
            image: Arc::new(image.parse().unwrap()),
            identity: Arc::new(identity),
        };
        self.resolver.digest(&lookup, Duration::ZERO).await
    }

    /// Asks for an image of the registry; returns which host answered, or the fault and who had it.
    async fn outcome(&self) -> Result<String, (String, &'static str)> {
        match self.ask(&format!("{NAME}/org/app:1")).await {
            Ok(answer) => Ok(answer.trail.host().to_owned()),
            Err(error) => Err((error.host.to_string(), error.label())),
        }
    }

    fn problems(&self, reason: &'static str) -> u64 {
        let counters = &self.metrics.registry_hosts_problems;
        counters.get_or_create(&Reason { reason }).get()
    }
}

/// Lets a change of the files be seen.
async fn pass() {
    tokio::time::pause();
    tokio::time::advance(super::super::hosts::MAX_AGE + KEEP_FAILURE).await;
    tokio::time::resume();
}

/// Returns a file that names `mirror` before `server`.
pub(super) fn behind(mirror: &Server, server: &Server) -> String {
    format!("server = '{}'\n[host.'{}']\n", server.root(), mirror.root())
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_told_whose_image_is_meant() {
    let mirror = Server::start(manifest).await;
    let server = Server::start(manifest).await;
    let world = World::new(&[("hosts.toml", &behind(&mirror, &server))], &[]);
    assert_eq!(world.outcome().await, Ok(mirror.host()));
    let asked = mirror.requests("HEAD ");
    assert_eq!(
        asked[0].target,
        format!("/v2/org/app/manifests/1?ns={NAME}")
    );
    assert_eq!(server.count(""), 0);
}

/// Checks that the registry answers where its mirror comes to grief by `reply`.
async fn check_fallback(reply: Reply) {
    let mirror = Server::start(move |_| reply.clone()).await;
    let server = Server::start(manifest).await;
    let world = World::within(
        Duration::from_secs(6),
        &[("hosts.toml", &behind(&mirror, &server))],
        &[],
    );
    assert_eq!(world.outcome().await, Ok(server.host()));
    assert!(mirror.count("") > 0);
}

#[tokio::test]
async fn whatever_ails_a_mirror_the_next_one_is_asked() {
    check_fallback(Reply::new(404)).await;
    check_fallback(Reply::new(401)).await;
    check_fallback(Reply::new(403)).await;
    check_fallback(Reply::new(429)).await;
    check_fallback(Reply::new(503).header("Retry-After", "9")).await;
    check_fallback(Reply::HangUp).await;
    check_fallback(Reply::Silence).await;
    check_fallback(Reply::new(200).body("<html>")).await;
}

/// Checks which fault is told of a mirror and a registry that fail.
async fn check_worst(mirror: u16, server: u16, expected: (bool, &'static str)) {
    let mirror = Server::start(move |_| Reply::new(mirror)).await;
    let server = Server::start(move |_| Reply::new(server)).await;
    let world = World::new(&[("hosts.toml", &behind(&mirror, &server))], &[]);
    let (is_mirror, label) = expected;
    let host = if is_mirror {
        mirror.host()
    } else {
        server.host()
    };
    assert_eq!(world.outcome().await, Err((host, label)));
}

#[tokio::test]
async fn of_several_faults_the_one_that_says_most_is_told() {
    check_worst(404, 404, (true, "not_found")).await;
    check_worst(404, 403, (false, "forbidden")).await;
    check_worst(429, 404, (true, "rate_limited")).await;
    check_worst(403, 401, (true, "forbidden")).await;
}

#[tokio::test]
async fn only_hosts_that_resolve_are_asked() {
    let mirror = Server::start(manifest).await;
    let server = Server::start(manifest).await;
    let file = behind(&mirror, &server) + "capabilities = ['pull']";
    let world = World::new(&[("hosts.toml", &file)], &[]);
    assert_eq!(world.outcome().await, Ok(server.host()));
    assert_eq!(mirror.count(""), 0);
    let file = format!("capabilities = ['push']\n{file}");
    let world = World::new(&[("hosts.toml", &file)], &[]);
    let none = world.outcome().await;
    assert_eq!(none, Err((NAME.to_owned(), "no_host")));
}

#[tokio::test]
async fn a_path_and_headers_go_to_their_host_only() {
    let server = Server::start(manifest).await;
    let elsewhere = format!("{}/v2/org/app/manifests/1", server.root());
    let mirror = Server::start(move |request| match request.header("x-key") {
        Some("k") => Reply::new(307).header("Location", &elsewhere),
        _ => Reply::new(500),
    })
    .await;
    let file = format!(
        "[host.'{}/hub']\noverride_path = true\nheader.x-key = 'k'",
        mirror.root()
    );
    let world = World::new(&[("hosts.toml", &file)], &[]);
    assert_eq!(world.outcome().await, Ok(mirror.host()));
    let head = &mirror.requests("HEAD ")[0];
    assert_eq!(head.path(), "/hub/org/app/manifests/1");
    let [redirected] = &server.requests("")[..] else {
        panic!("{:?}", server.requests(""));
    };
    assert_eq!(redirected.header("x-key"), None);
}

#[tokio::test]
async fn all_values_of_a_header_are_sent_and_none_instead_of_our_own() {
    let server = Server::start(|request| match request.path() {
        "/v2/" => Reply::new(200),
        _ if request.header("x-tenant") == Some("a, b") => manifest(request),
        _ => Reply::new(403),
    })
    .await;
    let header = "[header]\nx-tenant = ['a', 'b']\naccept = 'text/html'";
    let file = format!("server = '{}'\n{header}", server.root());
    let world = World::new(&[("hosts.toml", &file)], &[]);
    assert_eq!(world.outcome().await, Ok(server.host()));
    let accept = &server.requests("HEAD ")[0];
    assert!(!accept.header("accept").unwrap().contains("text/html"));
}

#[tokio::test]
async fn without_a_server_the_registrys_own_address_is_asked_whatever_it_is_said_to_do() {
    let (server, mirror) = (Server::start(manifest).await, Server::start(manifest).await);
    let world = World::new(&[], &[]);
    let text = format!(
        "capabilities = ['pull']\n[host.'{}']\ncapabilities = ['pull']",
        mirror.root()
    );
    let image = format!("{}/app", server.host());
    let folder = server.host().replace(':', "_") + "_";
    world.dir.write(&format!("{folder}/hosts.toml"), text);
    let answer = world.ask(&image).await.unwrap();
    assert_eq!(answer.trail.host(), server.host());
    assert_eq!(mirror.count(""), 0);
}

#[tokio::test]
async fn folders_are_found_by_containerds_spellings() {
    let [own, with_port, other] = [
        Server::start(manifest).await,
        Server::start(manifest).await,
        Server::start(manifest).await,
    ];
    let world = World::new(&[], &[]);
    let server = |server: &Server| format!("server = '{}'", server.root());
    for (name, target) in [
        ("a.test", &own),
        ("a.test_5000_", &with_port),
        ("_default", &other),
    ] {
        world
            .dir
            .write(&format!("{name}/hosts.toml"), server(target));
    }
    for (image, target) in [
        ("a.test/app", &own),
        ("a.test:5000/app", &with_port),
        ("b.test/app", &other),
        ("nginx", &other),
    ] {
        let answer = world.ask(image).await.unwrap();
        assert_eq!(answer.trail.host(), target.host(), "{image}");
    }
    let asked = other.requests("HEAD ");
    let hub = asked.iter().find(|r| r.path().starts_with("/v2/library/"));
    assert!(hub.unwrap().target.ends_with("?ns=docker.io"));
}

#[tokio::test]
async fn a_changed_file_is_seen_and_a_broken_one_leaves_the_last_good() {
    let [first, second] = [Server::start(manifest).await, Server::start(manifest).await];
    let file = |server: &Server| format!("server = '{}'", server.root());
    let world = World::new(&[("hosts.toml", &file(&first))], &[]);
    let write = |text: &str| world.dir.write(&format!("{NAME}/hosts.toml"), text);
    assert_eq!(world.outcome().await, Ok(first.host()));

    write(&file(&second));
    pass().await;
    assert_eq!(world.outcome().await, Ok(second.host()));

    for broken in ["server = ", "ca = 'missing.pem'", "ca = 'hosts.toml'"] {
        write(broken);
        for _ in 0..2 {
            pass().await;
            assert_eq!(world.outcome().await, Ok(second.host()), "{broken}");
        }
    }
    for reason in ["hosts_malformed", "hosts_unreadable", "hosts_certificate"] {
        assert_eq!(world.problems(reason), 1, "{reason}");
    }

    write(&file(&first));
    pass().await;
    assert_eq!(world.outcome().await, Ok(first.host()));
}

#[tokio::test]
async fn a_file_that_was_never_good_stops_its_registry_and_no_other() {
    let server = Server::start(manifest).await;
    let world = World::new(&[("hosts.toml", "\nserver = 5")], &[]);
    // It is told before anybody asks.
    assert_eq!(world.problems("hosts_malformed"), 1);
    let error = world.ask(&format!("{NAME}/app")).await.unwrap_err();
    let text = crate::error::Chain(&error).to_string();
    assert_eq!(error.label(), "hosts_file");
    assert!(
        text.contains("hosts.toml") && text.contains("line 2"),
        "{text}"
    );
    ask(&world.resolver, &server, "app:1").await.unwrap();
    assert_eq!(world.problems("hosts_malformed"), 1);
}

#[tokio::test]
async fn one_mirror_of_two_registries_is_spared_for_both() {
    let mirror = Server::start(|_| Reply::new(429).header("Retry-After", "60")).await;
    let world = World::new(&[], &[]);
    world.dir.write(
        "_default/hosts.toml",
        format!("server = '{}'", mirror.root()),
    );
    for image in ["a.test/app", "b.test/app"] {
        let error = world.ask(image).await.unwrap_err();
        assert_eq!(error.label(), "rate_limited");
    }
    assert_eq!(mirror.count(""), 1);
}

#[test]
fn a_directory_that_is_none_is_an_error() {
    for path in ["/nonexistent", "/etc/passwd"] {
        let error = HostsDir::open(std::path::Path::new(path)).unwrap_err();
        assert!(error.to_string().contains(path), "{error}");
    }
}
