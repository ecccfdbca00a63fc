//! What a notification brings about, and what it does not.
//!
//! Where requests are counted it takes the testbed: the nodes of a real control plane ask the registry, too.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use testbed::registry::{Fault, RetryAfter, Target};
use tokio::time::Instant;

use super::{FLAGS, check, client, envelope, plain, settled, web};
use crate::support::{history::History, kube::eventually, look::on_testbed, world::World};

const MOVED: &str = "podrefresh_notify_lookups_total{outcome=\"moved\"}";
const UNCHANGED: &str = "podrefresh_notify_lookups_total{outcome=\"unchanged\"}";
const UNUSED: &str = "podrefresh_notify_hints_total{outcome=\"unused\"}";
const EVICTED: &str = "podrefresh_refresh_evictions_total{outcome=\"evicted\"}";

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_acted_on_long_before_the_next_poll() {
    let (world, image, old) = settled(&[]).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    let controller = &world.controllers()[0];
    // Nothing but a notification makes it look.
    assert_eq!(controller.metric(MOVED).await, 0.0);
    world.kube.running("shop", 2, &old).await;
    controller.told(&image).await;
    world.kube.running("shop", 2, &new).await;
    assert_eq!(controller.metric(MOVED).await, 1.0);
    assert_eq!(controller.metric(EVICTED).await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_an_image_that_has_just_come_is_acted_on() {
    let (world, _, _) = settled(&[]).await;
    let (image, old) = world.push("late/web", "stable", "1");
    world.kube.opted_in("late").await;
    world.kube.deployment("late", "web", 1, &image).await;
    world.kube.running("late", 1, &old).await;
    let (_, new) = world.push("late/web", "stable", "2");
    let controller = &world.controllers()[0];
    controller.told(&image).await;
    world.kube.running("late", 1, &new).await;
    let asked = "podrefresh_notify_hints_total{outcome=\"asked\"}";
    let hints = (
        controller.metric(asked).await,
        controller.metric(UNUSED).await,
    );
    assert_eq!(hints, (1.0, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_confirmed_before_it_is_acted_on() {
    let (world, image, old) = settled(&["--confirm-after=1h"]).await;
    world.push("shop/web", "stable", "2");
    let controller = &world.controllers()[0];
    controller.told(&image).await;
    let unconfirmed = "podrefresh_refresh_held_pods{reason=\"unconfirmed\"}";
    controller.shows(unconfirmed, 2.0).await;
    assert_eq!(controller.metric(EVICTED).await, 0.0);
    world.kube.running("shop", 2, &old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_somebody_claims_does_nothing() {
    if !on_testbed() {
        return;
    }
    let (world, _, old) = settled(&[]).await;
    let history = History::begin(&world.kube, "shop", "web-").await;
    let controller = &world.controllers()[0];
    let host = world.registry.host();
    let lie = format!("sha256:{}", "5".repeat(64));
    let body = envelope(&host, "stable", &lie).to_string();
    check(controller.tells(&body), 202, "shop/web:stable").await;
    // The registry is asked, and once more, and says what it has said.
    controller.shows(UNCHANGED, 1.0).await;
    assert_eq!(world.registry.count(&web()), 1 + 3);
    assert!(history.gone().is_empty());
    world.kube.running("shop", 2, &old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_lags_behind_its_own_notification_is_asked_again() {
    let (world, image, _) = settled(&[]).await;
    let controller = &world.controllers()[0];
    controller.told(&image).await;
    let first = async || (1 < world.registry.count(&web())).then_some(());
    eventually("the first question", first).await;
    // Only now the push comes through.
    let (_, new) = world.push("shop/web", "stable", "2");
    world.kube.running("shop", 2, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_is_recognised_under_another_name() {
    let (world, _, _) = settled(&[]).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    let body = envelope("registry.registry.svc:5000", "stable", &new);
    let controller = &world.controllers()[0];
    check(controller.tells(&body.to_string()), 202, "registry.svc").await;
    world.kube.running("shop", 2, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_nobody_runs_costs_no_request() {
    if !on_testbed() {
        return;
    }
    let (world, image, _) = settled(&[]).await;
    let controller = &world.controllers()[0];
    let (other, _) = world.push("shop/other", "stable", "1");
    let foreign = image.replace(":stable", ":canary");
    let elsewhere = "ghcr.io/nobody/at-all:1";
    for (nth, image) in [&*other, &foreign, elsewhere].into_iter().enumerate() {
        controller.told(image).await;
        controller.shows(UNUSED, (nth + 1) as f64).await;
    }
    let ours = Target::manifests().outside();
    assert_eq!(world.registry.count(&ours), 1, "the first look alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_a_namespace_that_is_not_opted_in_is_nobodys() {
    if !on_testbed() {
        return;
    }
    let mut world = World::start().await;
    let (image, old) = world.push("shop/web", "stable", "1");
    let none = json!({});
    world.kube.namespace("shop", none.clone(), none).await;
    world.kube.deployment("shop", "web", 1, &image).await;
    world.kube.running("shop", 1, &old).await;
    let controller = world.controller(&FLAGS).await;
    controller.shows("podrefresh_leader", 1.0).await;
    let ticks = "podrefresh_refresh_tick_duration_seconds_count";
    controller.reaches(ticks, 1.0).await;
    controller.told(&image).await;
    controller.shows(UNUSED, 1.0).await;
    assert_eq!(world.registry.count(&web()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_notifications_makes_few_questions() {
    if !on_testbed() {
        return;
    }
    let (world, image, _) = settled(&[]).await;
    let controller = &world.controllers()[0];
    let (started, http, one) = (Instant::now(), client(), plain(&image));
    let url = controller.notify_url();
    // Long enough that a question a second would be seen.
    for round in 0.. {
        if 20 <= round && Duration::from_secs(6) <= started.elapsed() {
            break;
        }
        let others = (0..10).map(|nth| plain(&format!("h.io/flood:{round}-{nth}")));
        let bodies = std::iter::repeat_n(one.clone(), 10).chain(others);
        let answers = bodies.map(|body| async {
            let answer = http.post(&url).body(body).send().await.unwrap();
            answer.status().as_u16()
        });
        let answers = join_all(answers).await;
        let taken = |status: &u16| [202, 503].contains(status);
        assert!(answers.iter().all(taken), "{answers:?}");
    }
    let hints = async || {
        let mut sum = 0.0;
        for outcome in ["asked", "later", "unused"] {
            let series = format!("podrefresh_notify_hints_total{{outcome=\"{outcome}\"}}");
            sum += controller.metric(&series).await;
        }
        let taken = "podrefresh_notify_requests_total{outcome=\"taken\"}";
        (sum == controller.metric(taken).await).then_some(sum)
    };
    let heard = eventually("all hints to be heard", hints).await;
    assert!(200.0 <= heard, "most of 400 or more must be heard: {heard}");
    // Three questions in ten seconds at most, and the first one of all.
    let rounds = started.elapsed().as_secs() / 10 + 1;
    let asked = world.registry.count(&web()) as u64;
    assert!((2..=1 + 3 * rounds).contains(&asked), "{asked} in {rounds}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_asks_for_patience_gets_it() {
    if !on_testbed() {
        return;
    }
    let (world, image, _) = settled(&[]).await;
    let controller = &world.controllers()[0];
    let limited = Fault::RateLimited(RetryAfter::Seconds(3600));
    let _guard = world.registry.inject(limited, web());
    controller.told(&image).await;
    let failed = "podrefresh_notify_lookups_total{outcome=\"failed\"}";
    controller.shows(failed, 1.0).await;
    let asked = world.registry.count(&web());
    controller.told(&image).await;
    let held = "podrefresh_notify_hints_total{outcome=\"held\"}";
    controller.shows(held, 1.0).await;
    assert_eq!(world.registry.count(&web()), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_was_missing_is_found_when_it_is_pushed() {
    let mut world = World::start().await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 1, &image).await;
    world.kube.running("shop", 1, &old).await;
    assert!(world.registry.delete("shop/web", "stable"));
    let controller = world.controller(&FLAGS).await;
    let missing = "podrefresh_registry_lookups_total{outcome=\"not_found\"}";
    controller.reaches(missing, 1.0).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    world.controllers()[0].told(&image).await;
    world.kube.running("shop", 1, &new).await;
}
