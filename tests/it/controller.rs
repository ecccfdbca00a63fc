//! The controller lives on little, and through all that an API server does to it.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use testbed::{
    faults::{Effect, Guard, Seen},
    journal::Entry,
    kubelet,
    registry::{Auth, User},
};

use crate::support::{
    history::History,
    kube::{eventually, workload},
    look::on_testbed,
    simulated::Setup,
    world::World,
};

const ACCOUNT: &str = "system:serviceaccount:podrefresh:podrefresh";

fn is_ours(entry: &Entry) -> bool {
    entry.user == ACCOUNT
}

/// Says whether a call is one of those that a controller at rest makes.
fn is_restful(entry: &Entry) -> bool {
    entry.verb == "watch" || entry.is("update", "leases")
}

/// Checks that a controller that has nothing to do makes no call but watches and the renewals of its Lease, however
/// often it asks the registry.
async fn check_rest(auth: Auth, pull: Value) {
    let setup = Setup {
        auth,
        ..Setup::default()
    };
    let mut world = World::with(setup).await;
    world.controller(&[]).await;
    let (image, digest) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    let host = world.registry.host();
    world
        .kube
        .pull_secret("shop", "pull", &host, "ann", "password")
        .await;
    let web = workload(
        "web",
        &image,
        json!({"replicas": 3, "template": {"spec": pull}}),
    );
    world
        .kube
        .create::<k8s_openapi::api::apps::v1::Deployment>("shop", web)
        .await;
    world.kube.running("shop", 3, &digest).await;
    world.polls("shop/web", 3).await;
    world.looks(3).await;

    let journal = world.testbed().cluster.journal();
    journal.clear();
    world.polls("shop/web", 8).await;
    let calls = journal.find(|entry| is_ours(entry) && !is_restful(entry));
    assert!(calls.is_empty(), "{calls:#?}");
    assert_ne!(journal.count(is_ours), 0, "its Lease is renewed");
    // And it is awake all the time.
    let (_, new) = world.push("shop/web", "stable", "2");
    world.kube.running("shop", 3, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_rest_there_are_no_calls() {
    if on_testbed() {
        check_rest(Auth::Anonymous, json!({})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_rest_there_are_no_calls_for_pull_secrets_either() {
    if on_testbed() {
        let auth = Auth::Basic(vec![User::new("ann", "password")]);
        check_rest(auth, json!({"imagePullSecrets": [{"name": "pull"}]})).await;
    }
}

/// A refresh of four pods that has begun.
struct Begun {
    world: World,
    history: History,
    new: String,
}

async fn begun() -> Begun {
    let nodes = kubelet::Options {
        ready_delay: Duration::from_millis(300),
        ..kubelet::Options::default()
    };
    let setup = Setup {
        nodes,
        ..Setup::default()
    };
    let mut world = World::with(setup).await;
    world.controller(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 4, &image).await;
    world.kube.running("shop", 4, &old).await;
    let history = History::begin(&world.kube, "shop", "web-").await;
    let (_, new) = world.push("shop/web", "stable", "2");
    let first = async || (!history.gone().is_empty()).then_some(());
    eventually("the first eviction", first).await;
    Begun {
        world,
        history,
        new,
    }
}

impl Begun {
    /// Checks that every pod was evicted once, one after the other.
    async fn check_finished(&self) {
        self.world.kube.running("shop", 4, &self.new).await;
        // Our own watch may have broken, too, and lag behind.
        let seen = async || (4 <= self.history.gone().len()).then_some(());
        eventually("the end of the old pods", seen).await;
        assert_eq!(
            (self.history.gone().len(), self.history.fewest_up()),
            (4, 3)
        );
        let done = self.world.evictions().into_iter().filter(Entry::is_success);
        let names: Vec<String> = done.map(|eviction| eviction.name).collect();
        let distinct: BTreeSet<&String> = names.iter().collect();
        assert!(
            names.len() <= 4 && distinct.len() == names.len(),
            "{names:?}"
        );
        self.world.testbed().cluster.assert_clean();
    }
}

fn asks(seen: &Seen<'_>) -> bool {
    seen.user == ACCOUNT
}

/// Lets watches expire until the controller has had to list the pods anew.
async fn expire(world: &World) {
    let cluster = &world.testbed().cluster;
    let asked = |verb: &'static str| {
        let pods = move |entry: &Entry| is_ours(entry) && entry.is(verb, "pods");
        cluster.journal().count(pods)
    };
    let lists = asked("list");
    while asked("list") == lists {
        // Time goes on elsewhere, or what the controller has seen of pods may be the newest there is.
        let note = json!({"metadata": {"annotations": {"at": jiff::Timestamp::now().to_string()}}});
        world.kube.patch_namespace("default", note).await;
        let watches = asked("watch");
        cluster.expire_watches();
        let resumed = async || (watches < asked("watch") || lists < asked("list")).then_some(());
        eventually("a new watch or list of pods", resumed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_outlives_watches_that_expire() {
    if !on_testbed() {
        return;
    }
    let begun = begun().await;
    for nth in 1..=2 {
        expire(&begun.world).await;
        let next = async || (nth < begun.history.gone().len()).then_some(());
        eventually("the next eviction", next).await;
    }
    begun.check_finished().await;
}

/// Checks that a refresh goes on in spite of a fault that hits every n-th of the controller's calls, and behind it.
async fn check_outlives(every: u32, effect: Effect, on: fn(&Seen<'_>) -> bool, hits: u16) {
    if !on_testbed() {
        return;
    }
    let begun = begun().await;
    let cluster = &begun.world.testbed().cluster;
    let guard: Guard = cluster
        .faults()
        .inject_every(every, effect, move |seen| asks(seen) && on(seen));
    let hit = |entry: &Entry| is_ours(entry) && entry.status == hits;
    assert!(
        cluster
            .journal()
            .wait_for(2, Duration::from_secs(60), hit)
            .await,
        "the fault must hit"
    );
    drop(guard);
    begun.check_finished().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_outlives_errors_of_the_api_server() {
    check_outlives(2, Effect::InternalError, |_| true, 500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_outlives_a_busy_api_server() {
    check_outlives(2, Effect::TooManyRequests(1), |_| true, 429).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_outlives_an_api_server_that_starts() {
    check_outlives(1, Effect::Unavailable, |_| true, 503).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_outlives_an_api_server_that_is_away() {
    if !on_testbed() {
        return;
    }
    let begun = begun().await;
    let away = begun.world.testbed().cluster.faults().take_down();
    begun.world.controllers()[0]
        .shows("podrefresh_leader", 0.0)
        .await;
    drop(away);
    begun.world.controllers()[0]
        .shows("podrefresh_leader", 1.0)
        .await;
    begun.check_finished().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_whose_answer_is_lost_is_not_repeated() {
    if !on_testbed() {
        return;
    }
    let begun = begun().await;
    let faults = begun.world.testbed().cluster.faults();
    let _guard = faults.inject(Effect::LoseAnswer, |seen| seen.subresource == "eviction");
    let failed = "podrefresh_refresh_evictions_total{outcome=\"failed\"}";
    begun.world.controllers()[0].reaches(failed, 1.0).await;
    begun.check_finished().await;
    let names: Vec<String> = begun
        .world
        .evictions()
        .into_iter()
        .map(|eviction| eviction.name)
        .collect();
    let distinct: BTreeSet<&String> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_starts_while_the_api_server_errs() {
    if !on_testbed() {
        return;
    }
    let mut world = World::start().await;
    let faults = world.testbed().cluster.faults().clone();
    let guard = faults.inject_every(3, Effect::InternalError, |seen| {
        asks(seen) && seen.verb != "watch"
    });
    world.unready(&[]).await;
    drop(guard);
    world.controllers()[0].readiness(200).await;
    world.controllers()[0].shows("podrefresh_leader", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_outlives_a_namespace_that_is_deleted_in_the_middle_of_a_refresh() {
    if !on_testbed() {
        return;
    }
    let begun = begun().await;
    let world = &begun.world;
    world.kube.delete_namespace("shop").await;
    let empty = async || world.kube.pods("shop").await.is_empty().then_some(());
    eventually("the pods' end", empty).await;
    world.looks(3).await;
    let controller = &world.controllers()[0];
    controller.readiness(200).await;
    controller
        .shows("podrefresh_refresh_held_pods{reason=\"pace\"}", 0.0)
        .await;
    let refused = begun.world.evictions().into_iter();
    let refused: Vec<_> = refused.filter(|eviction| !eviction.is_success()).collect();
    assert!(refused.len() <= 1, "{refused:#?}");
}
