//! Many who ask at once: one question, bounded streams, and nobody served by another's credentials.

use std::time::Duration;

use futures::future::join_all;
use podrefresh::registry::{Lookup, Resolver, Settings};
use testbed::{
    Cluster,
    images::Format,
    registry::{Auth, Bearer, Fault, Options, Registry, Target, User},
};

use crate::support::{
    kube::Kube,
    resolver::{ask, check_refused, lookup, resolver},
    world::client,
};

const MINUTE: Duration = Duration::from_secs(60);

async fn cluster() -> (Cluster, Kube) {
    let cluster = Cluster::start().await.unwrap();
    let kube = Kube(client(&cluster.kubeconfig()).await);
    (cluster, kube)
}

async fn with_tokens(users: &[User]) -> Registry {
    let auth = Auth::Bearer(Bearer::new(users.iter().cloned()));
    Registry::start(Options {
        auth,
        ..Options::default()
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_cold_lookups_are_one_question_and_one_token() {
    let registry = with_tokens(&[User::new("ann", "pw")]).await;
    let digest = registry.store("team/app", "1", &Format::Oci.multi_platform("1"));
    let (cluster, kube) = cluster().await;
    kube.opted_in("shop").await;
    kube.pull_secret("shop", "pull", &registry.host(), "ann", "pw")
        .await;
    let resolver = resolver(Settings::default(), Some(kube.0.clone()));
    let lookup = lookup(&registry.reference("team/app", "1"), "shop", &["pull"]);
    let crowd = (0..1000).map(|_| {
        let (resolver, lookup) = (resolver.clone(), lookup.clone());
        // Tasks of their own, so that they race on all threads.
        tokio::spawn(async move {
            resolver
                .digest(&lookup, MINUTE)
                .await
                .unwrap()
                .digest
                .to_string()
        })
    });
    assert!(
        join_all(crowd)
            .await
            .into_iter()
            .all(|answer| answer.unwrap() == digest)
    );
    assert_eq!(
        (registry.manifest_requests(), registry.token_requests()),
        (1, 1)
    );
    let reads = cluster.journal().count(|entry| entry.is("get", "secrets"));
    assert_eq!(reads, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_serves_until_it_is_too_old() {
    let registry = Registry::anonymous().await.unwrap();
    let old = registry.store("app", "1", &Format::Oci.image("linux/amd64", "1"));
    let resolver = resolver(Settings::default(), None);
    let lookup = lookup(&registry.reference("app", "1"), "shop", &[]);
    let digest = async |max_age| {
        resolver
            .digest(&lookup, max_age)
            .await
            .unwrap()
            .digest
            .to_string()
    };
    assert_eq!(digest(MINUTE).await, old);
    let new = registry.store("app", "1", &Format::Oci.image("linux/amd64", "2"));
    assert_eq!(digest(MINUTE).await, old);
    assert_eq!(registry.manifest_requests(), 1);
    assert_eq!(digest(Duration::ZERO).await, new);
    // And what one asks for, all know.
    assert_eq!(digest(MINUTE).await, new);
    assert_eq!(registry.manifest_requests(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_has_no_more_than_sixteen_lookups_to_answer_at_once() {
    let registry = Registry::anonymous().await.unwrap();
    let image = Format::Oci.image("linux/amd64", "1");
    for tag in 0..100 {
        registry.store("app", &tag.to_string(), &image);
    }
    let _guard = registry.inject(
        Fault::Latency(Duration::from_millis(30)),
        Target::manifests(),
    );
    let resolver = resolver(Settings::default(), None);
    let crowd = (0..100).map(|tag| {
        let lookup = lookup(&registry.reference("app", &tag.to_string()), "shop", &[]);
        let resolver = resolver.clone();
        tokio::spawn(async move { ask(&resolver, &lookup).await.unwrap() })
    });
    assert!(
        join_all(crowd)
            .await
            .into_iter()
            .all(|answer| answer.unwrap() == image.digest())
    );
    let peak = registry.peak_in_flight();
    assert!((8..=16).contains(&peak), "{peak} at once");
}

/// Returns a lookup of the one image for each namespace: of the owner, of one with a wrong password, of one whose
/// user has no right to it, and of one without secrets.
fn askers(image: &str) -> [Lookup; 4] {
    ["owner", "wrong", "other", "nobody"].map(|namespace| match namespace {
        "nobody" => lookup(image, namespace, &[]),
        _ => lookup(image, namespace, &["pull"]),
    })
}

async fn check_all(resolver: &Resolver, lookups: &[Lookup; 4], digest: &str, max_age: Duration) {
    let crowd = (0..40).map(|n| {
        let (resolver, lookup) = (resolver.clone(), lookups[n % 4].clone());
        tokio::spawn(async move { resolver.digest(&lookup, max_age).await })
    });
    for (n, answer) in join_all(crowd).await.into_iter().enumerate() {
        match (n % 4, answer.unwrap()) {
            (0, answer) => assert_eq!(answer.unwrap().digest.to_string(), digest),
            (_, answer) => check_refused(answer, "unauthorized", &[]),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_namespaces_secret_opened_never_serves_another() {
    let users = [
        User::new("ann", "pw").only(&["team/app"]),
        User::new("bob", "pw").only(&["bob/*"]),
    ];
    for auth in [
        Auth::Basic(users[..1].to_vec()),
        Auth::Bearer(Bearer::new(users.clone())),
    ] {
        let registry = Registry::start(Options {
            auth,
            ..Options::default()
        })
        .await
        .unwrap();
        let digest = registry.store("team/app", "1", &Format::Oci.multi_platform("1"));
        let (_cluster, kube) = cluster().await;
        for (namespace, user, password) in [
            ("owner", "ann", "pw"),
            ("wrong", "ann", "no"),
            ("other", "bob", "pw"),
        ] {
            kube.opted_in(namespace).await;
            kube.pull_secret(namespace, "pull", &registry.host(), user, password)
                .await;
        }
        let resolver = resolver(Settings::default(), Some(kube.0.clone()));
        let lookups = askers(&registry.reference("team/app", "1"));
        // Cold, so that they could share a flight; warm, so that they could share an answer; and anew, so
        // that they could share a token.
        for max_age in [MINUTE, MINUTE, Duration::ZERO] {
            check_all(&resolver, &lookups, &digest, max_age).await;
        }
    }
}
