//! One pod on a node, from its images to its end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::Shared;
use super::puller::{Failure, Order};
use super::status::{self, Container, Facts, Role, State};
use crate::api::{Api, Delete, object, resource};
use crate::controllers::events::emit;
use crate::controllers::pods::is_over;

const COMPONENT: &str = "kubelet";

/// What runs one pod.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    /// Acts as the node.
    pub(super) api: Api,
    pub(super) node: String,
    pub(super) platform: String,
    pub(super) facts: Facts,
    /// The pod as last seen; its sender goes when the pod is gone.
    pub(super) pod: watch::Receiver<Arc<Value>>,
    /// Names of containers to restart.
    pub(super) restarts: mpsc::UnboundedReceiver<String>,
    pub(super) bad: watch::Receiver<BTreeSet<String>>,
    pub(super) containers: Vec<Container>,
}

/// Returns the containers of a pod, init containers first.
pub(super) fn containers(pod: &Value) -> Vec<Container> {
    let init = object::list(pod, "/spec/initContainers")
        .iter()
        .map(|spec| {
            let role = if spec["restartPolicy"] == "Always" {
                Role::Sidecar
            } else {
                Role::Init
            };
            Container::of(spec, role)
        });
    init.chain(
        object::list(pod, "/spec/containers")
            .iter()
            .map(|spec| Container::of(spec, Role::Main)),
    )
    .collect()
}

impl Worker {
    /// Runs the pod until it is gone.
    pub(super) async fn run(mut self) {
        let mut seen = self.pod.clone();
        let terminating = seen.wait_for(|pod| object::is_terminating(pod));
        let gone = tokio::select! {
            biased;
            terminating = terminating => terminating.is_err(),
            () = self.live() => false,
        };
        // A pod that has run to its end stays until somebody deletes it.
        if !gone
            && self
                .pod
                .wait_for(|pod| object::is_terminating(pod))
                .await
                .is_ok()
        {
            self.die().await;
        }
    }

    async fn live(&mut self) {
        if is_over(&self.current()) {
            return;
        }
        self.publish();
        sleep(self.shared.options.start_delay).await;
        for at in 0..self.containers.len() {
            self.start(at).await;
        }
        // All images are there: the whole pod comes up in one write, as when a kubelet syncs a pod of cached images.
        if !self.shared.options.ready_delay.is_zero() {
            self.publish();
            sleep(self.shared.options.ready_delay).await;
        }
        self.settle();
        let runs_to_its_end = object::text(&self.current(), "/spec/restartPolicy") != "Always";
        let end = self.shared.options.job_duration;
        loop {
            tokio::select! {
                () = sleep(end), if runs_to_its_end => return self.complete(),
                changed = self.bad.changed() => if changed.is_err() { return } else { self.settle() },
                name = self.restarts.recv() => match name {
                    Some(name) => self.restart(|container| container.name == name).await,
                    None => return,
                },
                changed = self.pod.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.follow().await;
                }
            }
        }
    }

    fn current(&self) -> Arc<Value> {
        Arc::clone(&self.pod.borrow())
    }

    /// Takes over changes of the specification: other images, and readiness gates that others opened.
    async fn follow(&mut self) {
        let pod = self.pod.borrow_and_update().clone();
        let generation = object::generation(&pod);
        if generation == self.facts.generation && self.facts.gates.is_empty() {
            return;
        }
        self.facts.generation = generation;
        let wanted = containers(&pod);
        for (container, wanted) in self.containers.iter_mut().zip(&wanted) {
            container.image.clone_from(&wanted.image);
        }
        let stale = |container: &Container| container.digest.is_empty();
        let changed: Vec<String> = {
            let known = self.shared.images_of(&self.facts.uid);
            let differs = |container: &&Container| {
                known
                    .get(&container.name)
                    .is_some_and(|image| *image != container.image)
            };
            self.containers
                .iter()
                .filter(differs)
                .map(|container| container.name.clone())
                .collect()
        };
        if !changed.is_empty() {
            self.restart(|container| changed.contains(&container.name) || stale(container))
                .await;
        } else {
            self.settle();
        }
    }

    /// Gets the image of a container, however long it takes, and starts it.
    async fn start(&mut self, at: usize) {
        let mut pause = self.shared.options.pull_backoff;
        loop {
            let pod = self.current();
            let Container {
                name,
                image,
                policy,
                ..
            } = self.containers[at].clone();
            let order = Order {
                node: &self.node,
                platform: &self.platform,
                pod: &pod,
                image: &image,
                policy: &policy,
            };
            match self.shared.puller.pull(&self.api, &order).await {
                Ok(pulled) => {
                    let how = if pulled.was_present {
                        format!("Container image {image:?} already present on machine")
                    } else {
                        format!("Successfully pulled image {image:?}")
                    };
                    emit(&self.api, COMPONENT, &pod, "Normal", "Pulled", &how).await;
                    self.shared.note_image(&self.facts.uid, &name, &image);
                    let (now, container) = (Timestamp::now(), &mut self.containers[at]);
                    (container.image_id, container.digest) = (pulled.image_id, pulled.digest);
                    container.state = match container.role {
                        Role::Init => State::Ended {
                            since: now,
                            until: now,
                        },
                        Role::Sidecar | Role::Main => State::Running { since: now },
                    };
                    return;
                }
                Err(failure) => {
                    let message = format!("Failed to pull image {image:?}: {}", failure.message);
                    emit(&self.api, COMPONENT, &pod, "Warning", "Failed", &message).await;
                    self.back_off(at, &failure, &mut pause).await;
                }
            }
        }
    }

    /// Says that the pull failed, then that it waits, and waits.
    async fn back_off(&mut self, at: usize, failure: &Failure, pause: &mut Duration) {
        let Failure { reason, message } = failure;
        self.wait(at, reason, message);
        if *reason == "ErrImagePull" {
            let image = &self.containers[at].image;
            let message = format!("Back-off pulling image {image:?}: ErrImagePull: {message}");
            self.wait(at, "ImagePullBackOff", &message);
        }
        sleep(*pause).await;
        *pause = (*pause * 2).min(self.shared.options.pull_backoff * 30);
    }

    fn wait(&mut self, at: usize, reason: &str, message: &str) {
        self.containers[at].state = State::Waiting {
            reason: reason.into(),
            message: message.into(),
        };
        self.publish();
    }

    /// Ends and starts containers again: with the pull policy Always each gets what its tag means now.
    async fn restart(&mut self, which: impl Fn(&Container) -> bool) {
        for at in 0..self.containers.len() {
            if !which(&self.containers[at]) {
                continue;
            }
            let container = &mut self.containers[at];
            if let State::Running { since } = container.state {
                container.ended = Some((since, Timestamp::now()));
                container.restarts += 1;
            }
            container.is_ready = false;
            self.publish();
            self.start(at).await;
        }
        self.settle();
    }

    /// Makes those containers ready that run and are not known to be bad, and says so.
    fn settle(&mut self) {
        let bad = self.bad.borrow_and_update().clone();
        for container in &mut self.containers {
            let runs = matches!(container.state, State::Running { .. });
            container.is_ready = match container.role {
                // A finished init container counts as ready.
                Role::Init => matches!(container.state, State::Ended { .. }),
                Role::Sidecar | Role::Main => runs && !bad.contains(&container.digest),
            };
        }
        self.publish();
    }

    fn complete(&mut self) {
        let now = Timestamp::now();
        for container in &mut self.containers {
            if let State::Running { since } = container.state {
                container.state = State::Ended { since, until: now };
            }
            container.is_ready = false;
        }
        self.publish();
    }

    fn publish(&self) {
        let pod = self.current();
        let (namespace, name) = (object::namespace(&pod), object::name(&pod));
        // A pod of the same name may have taken this one's place.
        let same = self
            .api
            .get(&resource::PODS, namespace, name)
            .filter(|now| object::uid(now) == self.facts.uid);
        if same.is_some() {
            let now = Timestamp::now();
            let fill =
                |status: &mut Value| status::fill(status, &self.facts, &self.containers, now);
            if let Err(error) = self
                .api
                .update_status(&resource::PODS, namespace, name, fill)
            {
                tracing::debug!(%error, "A status was not written");
            }
        }
    }

    /// Stops the containers, within the grace period, and has the pod removed.
    async fn die(self) {
        let pod = self.current();
        let grace = object::number(&pod, "/metadata/deletionGracePeriodSeconds").unwrap_or(0);
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        sleep(self.shared.options.termination_delay.min(grace)).await;
        let now = Delete::now().only(object::uid(&pod));
        if let Err(error) = self.api.delete(
            &resource::PODS,
            object::namespace(&pod),
            object::name(&pod),
            &now,
        ) {
            tracing::debug!(%error, "A pod was gone before its node let it go");
        }
    }
}
