//! Many owners at once: none waits for another, and what one answer says of others stops them.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::json;
use testbed::faults::Effect;

use crate::support::{kube::eventually, look::on_testbed, world::World};

/// The owners: as many as may have a pod under way at the same time in one namespace.
const FEW: [&str; 4] = ["a", "b", "c", "d"];

/// Starts these Deployments of two pods each, all of which may go at once.
async fn outdated(world: &World, owners: &[&str]) -> String {
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    let all = json!({"metadata": {"annotations": {"podrefresh.io/max-unavailable": "100%"}}});
    world.kube.patch_namespace("shop", all).await;
    for name in owners {
        world.kube.deployment("shop", name, 2, &image).await;
    }
    world.kube.running("shop", 2 * owners.len(), &old).await;
    world.push("shop/web", "stable", "2").1
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_do_not_wait_for_each_other_and_pods_of_one_owner_do() {
    if !on_testbed() {
        return;
    }
    // The Lease is long, as an eviction may take no longer than what is left of it.
    let world = World::running(&["--lease-duration=15s"]).await;
    let pause = Duration::from_millis(1500);
    let cluster = &world.testbed().cluster;
    let slow = cluster
        .faults()
        .inject(Effect::Delay(pause), |seen| seen.subresource == "eviction");
    let new = outdated(&world, &FEW).await;
    world.kube.running("shop", 2 * FEW.len(), &new).await;
    drop(slow);
    let mut asked: BTreeMap<String, Vec<Timestamp>> = BTreeMap::new();
    for eviction in world.evictions() {
        assert!(eviction.is_success(), "{eviction:#?}");
        let owner = eviction.name[..1].to_owned();
        asked.entry(owner).or_default().push(eviction.at);
    }
    assert_eq!(asked.len(), FEW.len(), "{asked:#?}");
    for times in asked.values_mut() {
        times.sort();
        let [first, second] = times[..] else {
            panic!("{times:?}");
        };
        let apart = second.duration_since(first).unsigned_abs();
        assert!(pause <= apart, "the second went {apart:?} after the first");
    }
    let firsts = || asked.values().map(|times| times[0]);
    let (first, last) = (firsts().min().unwrap(), firsts().max().unwrap());
    let apart = last.duration_since(first).unsigned_abs();
    assert!(apart < pause, "the last owner began {apart:?} late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_api_server_is_left_alone_by_all_owners() {
    if !on_testbed() {
        return;
    }
    let world = World::running(&["--lease-duration=15s"]).await;
    let cluster = &world.testbed().cluster;
    // Longer than the test takes.
    let busy = Effect::TooManyRequests(600);
    let _guard = cluster
        .faults()
        .inject(busy, |seen| seen.subresource == "eviction");
    let owners: Vec<String> = (0..16).map(|nth| format!("web{nth}")).collect();
    let owners: Vec<&str> = owners.iter().map(String::as_str).collect();
    outdated(&world, &owners).await;
    let asked = async || (!world.evictions().is_empty()).then_some(());
    eventually("the first eviction", asked).await;
    world.looks(3).await;
    // Those that were under way at the first answer, and none of the others.
    let asked = world.evictions().len();
    assert!(asked <= 4, "{asked} were asked for");
    world.looks(3).await;
    assert_eq!(world.evictions().len(), asked);
}
