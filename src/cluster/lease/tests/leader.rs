//! Where the one that leads is told of what others hear.

use super::*;

const KEY: &str = "podrefresh.io/notify-address";

/// Returns the Lease of another one that takes notifications at `address`.
fn told(address: &str, version: u32) -> Value {
    let mut lease = lease("other", version);
    lease["metadata"]["annotations"] = json!({KEY: address});
    lease
}

async fn shows(leader: &Leader, expected: Option<&str>) {
    let expected = expected.map(|address| address.parse().unwrap());
    soon(async {
        while leader.address() != expected {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn another_one_that_leads_is_known_by_its_address() {
    let mut run = start_at(Some("10.0.0.1:8090".parse().unwrap()));
    let leader = run.leadership.leader();
    let get = run.fake.next().await.expect("GET", PATH);
    assert_eq!(leader.address(), None);
    get.reply(200, &told("10.0.0.2:8090", 1));
    shows(&leader, Some("10.0.0.2:8090")).await;
    let get = run.fake.next().await.expect("GET", PATH);
    get.reply(200, &told("nowhere", 2));
    shows(&leader, None).await;
    // From now on it is us, and we say so.
    let mut free = told("10.0.0.2:8090", 3);
    free["spec"]["holderIdentity"] = json!("");
    run.fake.next().await.reply(200, &free);
    let put = run.fake.next().await.expect("PUT", PATH);
    assert_eq!(put.body["metadata"]["annotations"][KEY], "10.0.0.1:8090");
    accept(put, 4);
    soon(run.leadership.changed().wait_for(Option::is_some))
        .await
        .unwrap();
    assert_eq!(leader.address(), None);
    // Whoever goes is not to be told any more.
    drop(run.stop);
    let mut put = run.fake.next().await.expect("PUT", PATH);
    while put.body["spec"]["holderIdentity"] != "" {
        accept(put, 5);
        put = run.fake.next().await.expect("PUT", PATH);
    }
    assert_eq!(put.body["metadata"]["annotations"], json!({}));
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_read_again_sooner_for_who_asks() {
    let mut run = start();
    let leader = run.leadership.leader();
    let first = run.fake.next().await.expect("GET", PATH);
    first.reply(200, &told("10.0.0.2:8090", 1));
    shows(&leader, Some("10.0.0.2:8090")).await;
    let unasked = Instant::now();
    let second = run.fake.next().await.expect("GET", PATH);
    assert!(2 * SECOND <= unasked.elapsed(), "{:?}", unasked.elapsed());
    second.reply(200, &told("10.0.0.2:8090", 1));
    let asked = Instant::now();
    let hurried = async {
        let third = run.fake.next().await.expect("GET", PATH);
        let took = asked.elapsed();
        assert!(SECOND <= took && took < 2 * SECOND, "{took:?}");
        third.reply(200, &told("10.0.0.3:8090", 2));
    };
    tokio::join!(leader.change(60 * SECOND), hurried);
    assert_eq!(leader.address(), Some("10.0.0.3:8090".parse().unwrap()));
    // Nobody is waited for who does not come.
    let waited = Instant::now();
    let silent = Leader::new(watch::channel(None).1, Arc::default());
    silent.change(SECOND).await;
    assert!(waited.elapsed() <= SECOND, "{:?}", waited.elapsed());
}
