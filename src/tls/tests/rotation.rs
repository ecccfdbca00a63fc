//! Authorities that follow one another while replicas serve.

use super::*;

#[tokio::test]
async fn a_new_authority_is_trusted_before_it_is_served() {
    let cluster = cluster().await;
    let kubeconfig = cluster.kubeconfig();
    let first = Replica::start(&kubeconfig).await.unwrap();
    let second = Replica::start(&kubeconfig).await.unwrap();
    first.trusted().await;
    second.trusted().await;
    let old = stored(&cluster).unwrap();
    let no_patch = cluster
        .faults()
        .inject(Effect::InternalError, |seen| seen.verb == "patch");
    // Five years on, another replica has rotated the authority.
    let names = material::Names::of(NAME, NAME).unwrap();
    let lost_key = Material {
        authority_key: None,
        ..old.clone()
    };
    let new = Material::renewed(Some(&lost_key), &names, UnixTime::now()).unwrap();
    store(&cluster, &new).await;
    let refused = |e: &testbed::journal::Entry| e.verb == "patch" && e.status == 500;
    assert!(cluster.journal().wait_for(2, SOON, refused).await);
    for replica in [&first, &second] {
        assert!(serves(replica, &old));
        replica.serving.check(UnixTime::now()).unwrap();
    }
    drop(no_patch);
    for replica in [&first, &second] {
        until("rotated", || serves(replica, &new)).await;
        replica.serving.check(UnixTime::now()).unwrap();
    }
    assert_eq!(bundles(&cluster)[0].as_ref(), Some(&new.authorities));
}

/// Returns material whose certificate is to be renewed and whose authority cannot sign a new one any more.
pub(super) fn late() -> Material {
    let ago = |days: u64| {
        let now = UnixTime::now().as_secs();
        UnixTime::since_unix_epoch(Duration::from_secs(now - days * 24 * 60 * 60))
    };
    let names = material::Names::of(NAME, NAME).unwrap();
    let old = Material::renewed(None, &names, ago(1500)).unwrap();
    Material::renewed(Some(&old), &names, ago(280)).unwrap()
}

#[tokio::test]
async fn an_old_authority_announces_the_next_one_which_takes_over_a_day_later() {
    let cluster = cluster().await;
    let kubeconfig = cluster.kubeconfig();
    let first = Replica::start(&kubeconfig).await.unwrap();
    let second = Replica::start(&kubeconfig).await.unwrap();
    let replicas = [&first, &second];
    first.trusted().await;
    second.trusted().await;
    let late = late();
    store(&cluster, &late).await;
    let is_announced = |m: &Material| m.next_key.is_some() && m.chain == late.chain;
    until("announced", || {
        stored(&cluster).is_some_and(|m| is_announced(&m))
    })
    .await;
    let announced = stored(&cluster).unwrap();
    until("published", || {
        bundles(&cluster)[0].as_ref() == Some(&announced.authorities)
    })
    .await;
    for replica in replicas {
        until("served", || serves(replica, &late)).await;
        replica.trusted().await;
    }
    // Had it been announced two days ago …
    let names = material::Names::of(NAME, NAME).unwrap();
    let then = UnixTime::now().as_secs() - 2 * 24 * 60 * 60;
    let then = UnixTime::since_unix_epoch(Duration::from_secs(then));
    let announced = late.advanced(&names, then, |_| false).unwrap().unwrap();
    store(&cluster, &announced).await;
    let takes_over = |m: &Material| m.authority_key == announced.next_key;
    until("taken over", || {
        stored(&cluster).is_some_and(|m| takes_over(&m))
    })
    .await;
    let new = stored(&cluster).unwrap();
    assert_eq!(new.next_key, None);
    for replica in replicas {
        until("served", || serves(replica, &new)).await;
        replica.trusted().await;
    }
    assert_eq!(bundles(&cluster)[0].as_ref(), Some(&new.authorities));
    assert!(
        new.authorities.matches("BEGIN").count() == 2,
        "the old one is trusted still"
    );
}
