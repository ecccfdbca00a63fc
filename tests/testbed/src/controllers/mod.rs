//! The controllers that turn workloads into pods, and the scheduler that gives the pods nodes.
//!
//! They act through the API as the real ones do, as `system:serviceaccount:kube-system:…`, so that webhooks see the users they
//! see in a cluster. Each works from the state of the store when something changed; any of them can be paused.
//!
//! Not modelled anywhere: adoption of objects without an owner, CronJobs, autoscalers, volumes, quotas.

mod daemon_set;
mod deployment;
mod disruption;
pub(crate) mod events;
mod garbage;
mod job;
mod namespaces;
pub(crate) mod pods;
mod replicas;
mod revisions;
pub(crate) mod runner;
mod stateful_set;
mod template;
#[cfg(test)]
mod tests;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::{Api, User};
use crate::kubelet::Scheduler;

/// Which of the controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// Makes ReplicaSets for Deployments.
    Deployment,
    /// Makes pods for ReplicaSets.
    ReplicaSet,
    /// Makes pods for ReplicationControllers.
    ReplicationController,
    /// Makes pods for StatefulSets.
    StatefulSet,
    /// Makes pods for DaemonSets.
    DaemonSet,
    /// Makes pods for Jobs.
    Job,
    /// Counts what PodDisruptionBudgets allow.
    Disruption,
    /// Deletes what has lost its owner.
    GarbageCollector,
    /// Empties terminating namespaces.
    Namespace,
    /// Gives pods their nodes.
    Scheduler,
}

/// The running controllers; they stop when dropped.
#[derive(Debug)]
pub struct Controllers {
    pauses: Vec<(Controller, watch::Sender<bool>)>,
    tasks: JoinSet<()>,
}

/// Starts all controllers.
pub fn start(api: &Api) -> Controllers {
    let mut controllers = Controllers {
        pauses: Vec::new(),
        tasks: JoinSet::new(),
    };
    let start = &mut controllers;
    start.add(
        Controller::Deployment,
        api,
        "deployment-controller",
        deployment::Deployments,
    );
    start.add(
        Controller::ReplicaSet,
        api,
        "replicaset-controller",
        replicas::Replicas::SETS,
    );
    let replication = replicas::Replicas::CONTROLLERS;
    start.add(
        Controller::ReplicationController,
        api,
        "replication-controller",
        replication,
    );
    start.add(
        Controller::StatefulSet,
        api,
        "statefulset-controller",
        stateful_set::StatefulSets,
    );
    start.add(
        Controller::DaemonSet,
        api,
        "daemon-set-controller",
        daemon_set::DaemonSets,
    );
    start.add(Controller::Job, api, "job-controller", job::Jobs);
    start.add(
        Controller::Disruption,
        api,
        "disruption-controller",
        disruption::Disruption,
    );
    for kind in garbage::Garbage::KINDS {
        start.add(
            Controller::GarbageCollector,
            api,
            "generic-garbage-collector",
            garbage::Garbage(kind),
        );
    }
    start.add(
        Controller::Namespace,
        api,
        "namespace-controller",
        namespaces::Namespaces,
    );
    let scheduler = api.acting_as(User {
        name: "system:kube-scheduler".into(),
        groups: vec!["system:authenticated".into()],
        ..User::default()
    });
    start.spawn(Controller::Scheduler, scheduler, Scheduler::default());
    controllers
}

impl Controllers {
    fn add(
        &mut self,
        which: Controller,
        api: &Api,
        account: &str,
        controller: impl runner::Controller,
    ) {
        self.spawn(which, api.acting_as(User::component(account)), controller);
    }

    fn spawn(&mut self, which: Controller, api: Api, controller: impl runner::Controller) {
        let (pause, paused) = watch::channel(false);
        self.pauses.push((which, pause));
        self.tasks.spawn(runner::run(controller, api, paused));
    }

    /// Lets a controller do nothing until it is resumed; it then catches up. A look that has begun is finished.
    pub fn pause(&self, which: Controller) {
        self.switch(which, true);
    }

    /// Ends a pause.
    pub fn resume(&self, which: Controller) {
        self.switch(which, false);
    }

    fn switch(&self, which: Controller, paused: bool) {
        for (_, pause) in self
            .pauses
            .iter()
            .filter(|(controller, _)| *controller == which)
        {
            pause.send_replace(paused);
        }
    }
}
