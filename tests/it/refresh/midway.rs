//! A refresh that has begun and is not over: where tests of faults set in.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use testbed::{journal::Entry, kubelet};

use crate::support::{
    history::History,
    kube::{eventually, image_id, name},
    simulated::Setup,
    world::World,
};

/// How many pods there are.
pub(super) const PODS: usize = 4;

/// The Deployment `web` of four pods in `shop`, of which the first has been evicted.
pub(super) struct Midway {
    pub(super) world: World,
    /// What has become of the pods since all ran the old image.
    pub(super) history: History,
    /// The reference that they all run.
    pub(super) image: String,
    /// What it meant before.
    pub(super) old: String,
    /// What it means now.
    pub(super) new: String,
}

impl Midway {
    /// Begins a refresh by a controller with these flags.
    pub(super) async fn begin(flags: &[&str]) -> Self {
        let before = Self::before(flags).await;
        before.first_eviction().await;
        before
    }

    /// Has the tag moved, and returns before anything has come of it.
    pub(super) async fn before(flags: &[&str]) -> Self {
        let mut settled = Self::settled(flags).await;
        settled.push();
        settled
    }

    /// Starts the pods, which all run what their tag means.
    pub(super) async fn settled(flags: &[&str]) -> Self {
        // Pods take a moment to become ready, so that there is a middle.
        let nodes = kubelet::Options {
            ready_delay: Duration::from_millis(400),
            ..kubelet::Options::default()
        };
        let setup = Setup {
            nodes,
            ..Setup::default()
        };
        let mut world = World::with(setup).await;
        world.controller(flags).await;
        let (image, old) = world.push("shop/web", "stable", "1");
        world.kube.opted_in("shop").await;
        let replicas = i32::try_from(PODS).unwrap();
        world.kube.deployment("shop", "web", replicas, &image).await;
        world.kube.running("shop", PODS, &old).await;
        let history = History::begin(&world.kube, "shop", "web-").await;
        Self {
            world,
            history,
            image,
            new: old.clone(),
            old,
        }
    }

    /// Has the tag moved.
    pub(super) fn push(&mut self) {
        self.new = self.world.push("shop/web", "stable", "2").1;
    }

    /// Waits until a pod has been told to go.
    pub(super) async fn first_eviction(&self) {
        let first = async || (!self.history.gone().is_empty()).then_some(());
        eventually("the first eviction", first).await;
    }

    /// Returns the names of the pods that run the old image and are to stay.
    pub(super) async fn on_old(&self) -> BTreeSet<String> {
        let pods = self.world.kube.pods("shop").await;
        let is_old = |pod: &&Pod| image_id(pod).ends_with(&self.old);
        pods.iter()
            .filter(is_old)
            .map(|pod| name(pod).to_owned())
            .collect()
    }

    /// Checks that all pods come to run the new image, that each of the old ones went once and no new one did, and
    /// that no more than one was down.
    pub(super) async fn check_finished(&self) {
        self.world.kube.running("shop", PODS, &self.new).await;
        self.world.looks(3).await;
        self.check_orderly(PODS);
    }

    /// Checks that so many pods went, each once, and one after the other.
    pub(super) fn check_orderly(&self, gone: usize) {
        let names = self.history.gone();
        let distinct: BTreeSet<&String> = names.iter().collect();
        assert_eq!((names.len(), distinct.len()), (gone, gone), "{names:?}");
        assert_eq!(self.history.fewest_up(), PODS - 1);
        self.check_clean();
    }

    /// Checks that the API server evicted no pod twice, and was asked for nothing that it does not have.
    pub(super) fn check_clean(&self) {
        let Some(simulated) = &self.world.simulated else {
            return; // nobody has noted the calls
        };
        let done = self.world.evictions().into_iter().filter(Entry::is_success);
        let names: Vec<String> = done.map(|eviction| eviction.name).collect();
        let distinct: BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
        simulated.cluster.assert_clean();
    }
}
