//! Registries tell of pushes, and pods are refreshed long before the next poll.

use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use testbed::registry::Target;

use crate::support::{
    kube::eventually,
    world::{Running, World},
};

mod hints;
mod manifests;
mod port;
mod real;
mod replicas;

/// Flags of a controller that would not look again before the test is over, unless it is told to.
const FLAGS: [&str; 2] = ["--poll-interval=1h", "--notify-addr=127.0.0.1:0"];

/// Starts two pods of `shop/web:stable`, and a controller with `flags` besides that has looked at them; returns their
/// image and its digest.
async fn settled(flags: &[&str]) -> (World, String, String) {
    let mut world = World::start().await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 2, &image).await;
    world.kube.running("shop", 2, &old).await;
    let flags = [&FLAGS, flags].concat();
    world.controller(&flags).await;
    let web = web();
    let asked = async || (0 < world.registry.count(&web)).then_some(());
    eventually("the first look at the registry", asked).await;
    let current = "podrefresh_refresh_containers{verdict=\"current\"}";
    world.controllers()[0].shows(current, 2.0).await;
    (world, image, old)
}

/// Our own questions for the image of [`settled`].
fn web() -> Target {
    Target::manifests().outside().repository("shop/web")
}

impl Running {
    /// Returns a request that tells this replica `body`.
    fn tells(&self, body: &str) -> RequestBuilder {
        client().post(self.notify_url()).body(body.to_owned())
    }

    /// Returns where it takes notifications.
    fn notify_url(&self) -> String {
        let address = self.notify.expect("it must take notifications");
        format!("http://{address}/push")
    }

    /// Tells this replica that `image` was pushed.
    pub(crate) async fn told(&self, image: &str) {
        check(self.tells(&plain(image)), 202, image).await;
    }
}

/// Returns a client of that port.
fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = Client::builder().no_proxy();
    http.timeout(Duration::from_secs(30)).build().unwrap()
}

/// Returns the plain form of a notification.
fn plain(image: &str) -> String {
    json!({"image": image}).to_string()
}

/// Returns distribution's notification of a push to the repository `shop/web` at `host`.
fn envelope(host: &str, tag: &str, digest: &str) -> Value {
    json!({"events": [{
        "action": "push", "request": {"host": host},
        "target": {"repository": "shop/web", "tag": tag, "digest": digest},
    }]})
}

/// Checks how a request is answered.
async fn check(request: RequestBuilder, status: u16, words: &str) {
    let answer = request.send().await.unwrap();
    let found = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    assert!(
        found == status && text.contains(words),
        "{status} {words:?}: {found} {text}"
    );
}
