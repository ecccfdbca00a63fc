//! A notification reaches any replica behind the Service, and only the leader looks.

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;

use super::{FLAGS, check, plain, settled};
use crate::support::{folder::Folder, kube::eventually, world::HOME};

const ADDRESS: &str = "podrefresh.io/notify-address";
const FORWARDED: &str = "podrefresh_notify_requests_total{outcome=\"forwarded\"}";
const TAKEN: &str = "podrefresh_notify_requests_total{outcome=\"taken\"}";

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_lead_tells_the_leader() {
    let folder = Folder::new();
    let file = folder.write("token", "secret");
    let flag = format!("--notify-token-file={}", file.display());
    let (mut world, image, _) = settled(&[&flag]).await;
    let flags = [&FLAGS[..], &[&*flag]].concat();
    world.controller(&flags).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    let [leader, other] = world.controllers() else {
        unreachable!("there must be two")
    };
    let told = other.tells(&plain(&image)).bearer_auth("secret");
    check(told, 202, &image).await;
    world.kube.running("shop", 2, &new).await;
    assert_eq!(other.metric("podrefresh_leader").await, 0.0);
    assert_eq!(other.metric(FORWARDED).await, 1.0);
    assert_eq!(leader.metric(TAKEN).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_says_where_its_holder_is_told() {
    let (mut world, image, _) = settled(&[]).await;
    let leases = world.kube.api::<Lease>(HOME);
    let address = async || {
        let lease = leases.get("podrefresh").await.unwrap();
        lease.annotations().get(ADDRESS).cloned()
    };
    let first = world.controllers()[0].notify.unwrap().to_string();
    assert_eq!(address().await, Some(first));
    world.controller(&FLAGS).await;
    let second = world.controllers()[1].notify.unwrap().to_string();
    world.stop_first().await;
    eventually("the next leader's address", async || {
        (address().await.as_ref() == Some(&second)).then_some(())
    })
    .await;
    let (_, new) = world.push("shop/web", "stable", "2");
    world.controllers()[0].told(&image).await;
    world.kube.running("shop", 2, &new).await;
    // Whoever takes no notifications leaves no address of another behind.
    world.controller(&["--poll-interval=1h"]).await;
    world.stop_first().await;
    world.controllers()[0].shows("podrefresh_leader", 1.0).await;
    assert_eq!(address().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_leader_that_can_be_told_the_sender_is_to_try_again() {
    let (mut world, image, _) = settled(&[]).await;
    world.stop_first().await;
    let deaf = world.controller(&["--poll-interval=1h"]).await;
    deaf.shows("podrefresh_leader", 1.0).await;
    world.controller(&FLAGS).await;
    let other = &world.controllers()[1];
    let answer = other.tells(&plain(&image)).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
    let no_leader = "podrefresh_notify_requests_total{outcome=\"no_leader\"}";
    assert_eq!(other.metric(no_leader).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_election_every_replica_looks_by_itself() {
    let (world, image, _) = settled(&["--leader-elect=false"]).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    world.controllers()[0].told(&image).await;
    world.kube.running("shop", 2, &new).await;
}
