//! What a test sees of the controllers from outside, and how it waits for them to have looked.

use std::env;

use hyper::Request;
use kube::client::Body;
use serde_json::Value;
use testbed::{journal::Entry, registry::Target};

use super::{
    kube::eventually,
    simulated::Simulated,
    skip::say,
    world::{Running, World, get},
};

/// Says whether tests run on the testbed. If not, says that this one asks for what only the testbed can do.
///
/// That is no skip: on the testbed it runs on every machine.
pub(crate) fn on_testbed() -> bool {
    let real = env::var_os("PODREFRESH_TEST_KUBECONFIG").is_some();
    if real {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        say(&format!("{test}: only on the testbed"));
    }
    !real
}

impl Running {
    /// Returns the value of a metric, such as `podrefresh_refresh_held_pods{reason="pdb"}`; 0 while there is none.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let (_, page) = get(self.admin, "/metrics").await;
        let mut lines = page.lines().filter_map(|line| line.strip_prefix(series));
        lines
            .find_map(|rest| rest.strip_prefix(' '))
            .map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until a metric has a value.
    pub(crate) async fn shows(&self, series: &str, value: f64) {
        let shown = async || (self.metric(series).await == value).then_some(());
        eventually(&format!("{series} {value}"), shown).await;
    }

    /// Waits until a metric is no longer below a value.
    pub(crate) async fn reaches(&self, series: &str, value: f64) {
        let reached = async || (value <= self.metric(series).await).then_some(());
        eventually(&format!("{series} of {value} or more"), reached).await;
    }

    /// Waits until `/readyz` answers with `status`, and returns what it says.
    pub(crate) async fn readiness(&self, status: u16) -> String {
        let answered =
            async || Some(get(self.admin, "/readyz").await).filter(|(code, _)| *code == status);
        eventually(&format!("readiness {status}"), answered).await.1
    }
}

impl World {
    /// Returns the testbed's parts; only for tests that have asked whether they run there.
    pub(crate) fn testbed(&self) -> &Simulated {
        self.simulated.as_ref().unwrap()
    }

    /// Waits until the leader has looked at all pods `count` more times.
    ///
    /// After three looks all that can happen without anybody's doing has begun: the first may be under way already,
    /// the second acts on its lookups, and the third has seen what became of that.
    pub(crate) async fn looks(&self, count: u32) {
        let looked = || async {
            let mut sum = 0.0;
            for running in self.controllers() {
                sum += running
                    .metric("podrefresh_refresh_tick_duration_seconds_count")
                    .await;
            }
            sum
        };
        let wanted = looked().await + f64::from(count);
        eventually("more looks at the pods", || async {
            (wanted <= looked().await).then_some(())
        })
        .await;
    }

    /// Waits until the registry has been asked for `repository` `count` more times.
    pub(crate) async fn polls(&self, repository: &str, count: usize) {
        let target = Target::manifests().outside().repository(repository);
        let wanted = self.registry.count(&target) + count;
        let asked = async || (wanted <= self.registry.count(&target)).then_some(());
        eventually(&format!("more questions for {repository}"), asked).await;
    }

    /// Returns the evictions asked for so far, as the testbed's API server saw them.
    pub(crate) fn evictions(&self) -> Vec<Entry> {
        self.testbed()
            .cluster
            .journal()
            .find(|entry| entry.is("create", "pods/eviction"))
    }

    /// Sends a request as the administrator; returns status, `Warning` headers and the JSON.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> (u16, Vec<String>, Value) {
        self.send_as(method, path, "application/json", body).await
    }

    /// Sends the same in another form, such as a patch.
    pub(crate) async fn send_as(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> (u16, Vec<String>, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .body(Body::from(body.to_string().into_bytes()))
            .unwrap();
        let answer = self.kube.0.send(request).await.unwrap();
        let warnings = answer.headers().get_all("warning").iter();
        let warnings = warnings
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect();
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect_bytes().await.unwrap();
        (
            status,
            warnings,
            serde_json::from_slice(&bytes).unwrap_or_default(),
        )
    }
}
