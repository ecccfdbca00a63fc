use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use serde_json::{Value, json};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::*;
use crate::cluster::fake::{Call, Fake, soon};

mod leader;
mod terms;

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/podrefresh/leases/podrefresh";
const SECOND: Duration = Duration::from_secs(1);

struct Running {
    fake: Fake,
    leadership: Leadership,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

fn start() -> Running {
    start_at(None)
}

/// Starts a candidate that takes notifications there.
fn start_at(notify_address: Option<SocketAddr>) -> Running {
    let (fake, server) = Fake::start();
    let settings = Settings {
        namespace: "podrefresh".into(),
        name: "podrefresh".into(),
        identity: "me".into(),
        duration: 15 * SECOND,
        gauge: Gauge::default(),
        notify_address,
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let (leadership, task) = elect(server, settings, async move {
        let _ = stopped.await;
    });
    let task = tokio::spawn(task);
    Running {
        fake,
        leadership,
        stop,
        task,
    }
}

fn lease(holder: &str, version: u32) -> Value {
    json!({
        "kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
        "metadata": {"name": "podrefresh", "namespace": "podrefresh",
            "resourceVersion": version.to_string()},
        // Written by a clock of another year: it must not matter.
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 1,
            "acquireTime": "2001-01-01T00:00:00.000000Z",
            "renewTime": format!("2001-01-01T00:00:{version:02}.000000Z")},
    })
}

/// Does what an API server does with a PUT of the version it has.
fn accept(call: Call, version: u32) {
    let mut stored = call.body.clone();
    stored["metadata"]["resourceVersion"] = json!(version.to_string());
    call.reply(200, &stored);
}

impl Running {
    fn leads(&self) -> bool {
        self.leadership.leads(Instant::now())
    }

    /// Lets us take a free Lease, and returns when the request for it was on its way.
    async fn lead(&mut self) -> Instant {
        self.fake
            .next()
            .await
            .expect("GET", PATH)
            .reply(200, &lease("", 1));
        let put = self.fake.next().await.expect("PUT", PATH);
        assert!(!self.leads());
        let asked = Instant::now();
        accept(put, 2);
        soon(self.leadership.changed().wait_for(Option::is_some))
            .await
            .unwrap();
        assert!(self.leads() && self.leadership.succeeds());
        asked
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_lease_is_created() {
    let mut run = start();
    run.fake
        .next()
        .await
        .expect("GET", PATH)
        .refuse(404, "NotFound");
    let post = run
        .fake
        .next()
        .await
        .expect("POST", PATH.trim_end_matches("/podrefresh"));
    assert_eq!(post.body["metadata"]["name"], "podrefresh");
    assert_eq!(post.body["spec"]["holderIdentity"], "me");
    assert_eq!(post.body["spec"]["leaseDurationSeconds"], 15);
    accept(post, 1);
    soon(run.leadership.changed().wait_for(Option::is_some))
        .await
        .unwrap();
    assert!(run.leads());
    assert!(!run.leadership.succeeds(), "nobody has led before");
}

#[tokio::test(start_paused = true)]
async fn who_loses_the_race_to_create_it_waits() {
    let mut run = start();
    run.fake.next().await.refuse(404, "NotFound");
    run.fake
        .next()
        .await
        .expect("POST", PATH.trim_end_matches("/podrefresh"))
        .refuse(409, "AlreadyExists");
    run.fake
        .next()
        .await
        .expect("GET", PATH)
        .reply(200, &lease("other", 1));
    run.fake.next().await.expect("GET", PATH);
    assert!(!run.leads());
}

#[tokio::test(start_paused = true)]
async fn a_leader_renews_without_looking() {
    let mut run = start();
    run.lead().await;
    for version in 2..20 {
        let put = run.fake.next().await.expect("PUT", PATH);
        assert_eq!(put.body["metadata"]["resourceVersion"], version.to_string());
        assert_eq!(put.body["spec"]["holderIdentity"], "me");
        assert_eq!(put.body["spec"]["leaseTransitions"], 2);
        assert!(run.leads());
        accept(put, version + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_counts_from_before_it_asked() {
    let mut run = start();
    run.fake.next().await.reply(200, &lease("", 1));
    let put = run.fake.next().await;
    let asked = Instant::now();
    sleep(3 * SECOND).await;
    accept(put, 2);
    soon(run.leadership.changed().wait_for(Option::is_some))
        .await
        .unwrap();
    assert_eq!(run.leadership.time_left(asked), 10 * SECOND);
    assert!(run.leadership.leads(asked + Duration::from_millis(9_999)));
    assert!(!run.leadership.leads(asked + 10 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_ends_the_term_before_the_lease() {
    let mut run = start();
    let asked = run.lead().await;
    let mut changed = run.leadership.changed();
    let hang = async {
        let mut hung = Vec::new();
        loop {
            hung.push(run.fake.next().await);
        }
    };
    tokio::select! {
        _ = hang => {}
        ended = soon(changed.wait_for(Option::is_none)) => drop(ended.unwrap()),
    }
    // The word comes after the fact, but before the Lease can expire for others.
    assert!(asked.elapsed() < 15 * SECOND, "{:?}", asked.elapsed());
    assert!(!run.leadership.leads(asked + 10 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_taken_over_only_after_it_stood_still_for_all_its_time() {
    let mut run = start();
    let mut seen = Instant::now();
    for version in 1..5 {
        run.fake
            .next()
            .await
            .expect("GET", PATH)
            .reply(200, &lease("other", version));
        seen = Instant::now();
    }
    loop {
        let call = run.fake.next().await;
        if call.method == "PUT" {
            assert!(seen.elapsed() >= 15 * SECOND, "{:?}", seen.elapsed());
            assert_eq!(call.body["spec"]["holderIdentity"], "me");
            assert_eq!(call.body["metadata"]["resourceVersion"], "4");
            return;
        }
        call.reply(200, &lease("other", 4));
        assert!(seen.elapsed() < 20 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn what_others_write_on_a_lease_keeps_no_dead_holder_alive() {
    let mut run = start();
    let seen = Instant::now();
    // Somebody annotates it between all our looks at it.
    for version in 1.. {
        let call = run.fake.next().await;
        if call.method == "PUT" {
            assert_eq!(call.body["metadata"]["annotations"]["theirs"], version - 1);
            assert!(seen.elapsed() >= 15 * SECOND, "{:?}", seen.elapsed());
            return;
        }
        assert!(seen.elapsed() < 20 * SECOND);
        let mut touched = lease("other", 1);
        touched["metadata"]["resourceVersion"] = json!(version.to_string());
        touched["metadata"]["annotations"] = json!({"theirs": version});
        call.reply(200, &touched);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_faster_leads() {
    let mut run = start();
    run.fake.next().await.reply(200, &lease("", 1));
    run.fake
        .next()
        .await
        .expect("PUT", PATH)
        .refuse(409, "Conflict");
    run.fake.next().await.expect("GET", PATH);
    assert!(!run.leads());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_was_overtaken_stops_at_once() {
    let mut run = start();
    run.lead().await;
    run.fake
        .next()
        .await
        .expect("PUT", PATH)
        .refuse(409, "Conflict");
    run.fake
        .next()
        .await
        .expect("GET", PATH)
        .reply(200, &lease("other", 7));
    soon(run.leadership.changed().wait_for(Option::is_none))
        .await
        .unwrap();
    assert!(!run.leads());
    assert_eq!(run.leadership.time_left(Instant::now()), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_answer_was_lost_is_found_again() {
    let mut run = start();
    run.lead().await;
    // It came through, but the next one knows nothing of it.
    drop(run.fake.next().await.expect("PUT", PATH));
    run.fake
        .next()
        .await
        .expect("PUT", PATH)
        .refuse(409, "Conflict");
    run.fake
        .next()
        .await
        .expect("GET", PATH)
        .reply(200, &lease("me", 3));
    let put = run.fake.next().await.expect("PUT", PATH);
    assert_eq!(put.body["spec"]["leaseTransitions"], 1);
    accept(put, 4);
    run.fake.next().await.expect("PUT", PATH);
    assert!(run.leads());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_does_not_shorten_the_term() {
    let mut run = start();
    let asked = run.lead().await;
    run.fake
        .next()
        .await
        .expect("PUT", PATH)
        .refuse(403, "Forbidden");
    run.fake
        .next()
        .await
        .expect("PUT", PATH)
        .refuse(500, "InternalError");
    assert!(run.leads());
    assert!(!run.leadership.leads(asked + 10 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_given_back() {
    let mut run = start();
    run.lead().await;
    run.stop.send(()).unwrap();
    let put = run.fake.next().await.expect("PUT", PATH);
    assert_eq!(put.body["spec"]["holderIdentity"], "");
    assert_eq!(put.body["spec"]["leaseDurationSeconds"], 1);
    assert!(!run.leadership.leads(Instant::now()));
    accept(put, 3);
    soon(run.task).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn giving_back_wins_over_our_own_renewal() {
    let mut run = start();
    run.lead().await;
    let renewal = run.fake.next().await.expect("PUT", PATH);
    run.stop.send(()).unwrap();
    run.fake
        .next()
        .await
        .expect("PUT", PATH)
        .refuse(409, "Conflict");
    drop(renewal);
    run.fake
        .next()
        .await
        .expect("GET", PATH)
        .reply(200, &lease("me", 3));
    let put = run.fake.next().await.expect("PUT", PATH);
    assert_eq!(put.body["spec"]["holderIdentity"], "");
    assert_eq!(put.body["metadata"]["resourceVersion"], "3");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_lead_gives_nothing_back() {
    let mut run = start();
    run.fake.next().await.reply(200, &lease("other", 1));
    let look = run.fake.next().await;
    run.stop.send(()).unwrap();
    soon(run.task).await.unwrap();
    drop(look);
    assert!(run.fake.is_quiet());
}

#[test]
fn identities_differ() {
    assert_ne!(identity("pod-1"), identity("pod-1"));
    assert!(identity("pod-1").starts_with("pod-1_"));
}
