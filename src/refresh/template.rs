//! What an owner's template says of its pods: whether it was written for what they should run, and which of them
//! were made from it.

use super::survey::Outdated;
use crate::{
    cluster::Workload,
    policy::{
        self,
        gate::{Made, Rollouts},
    },
};

/// The template of a workload, and what its outdated pods should run.
#[derive(Debug)]
pub(super) struct Template<'a> {
    workload: &'a Workload,
    template: policy::Template<'a>,
}

impl<'a> Template<'a> {
    /// Returns the template of a workload with these outdated pods.
    pub(super) fn new<'o>(
        workload: &'a Workload,
        outdated: impl Iterator<Item = &'o Outdated>,
    ) -> Self {
        let moved = outdated.flat_map(|outdated| &outdated.moved);
        let targets = moved.map(|moved| (&*moved.container, &moved.to.digest));
        Self {
            workload,
            template: policy::Template::new(workload.refreshed.as_deref(), targets),
        }
    }

    /// Returns what is known of the workload's rollouts.
    pub(super) fn rollouts(&self) -> Rollouts {
        self.workload.rollouts(self.template.is_restarted())
    }

    /// Returns which template an outdated pod was made from.
    pub(super) fn made(&self, outdated: &Outdated) -> Made {
        let moved = outdated.moved.iter().map(|moved| &*moved.container);
        self.template.made(&outdated.pod, moved)
    }

    /// Returns the value to restart it with.
    pub(super) fn value(&self) -> String {
        self.template.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::{fixture::digest, gate::Rollout, refreshed_value},
        refresh::fixture::{Stage, deployment, runs, stamp},
    };

    /// Returns the value for the digest that the pods of these tests should run.
    fn value() -> String {
        refreshed_value([("app", &digest(1))])
    }

    /// Checks a template that carries `current`, and what a pod was made from that carries `carried` and a stamp or
    /// none.
    #[track_caller]
    fn check(
        current: Option<&str>,
        carried: Option<&str>,
        stamped: bool,
        restarted: bool,
        made: Made,
    ) {
        let pod = runs("a", "web", 2).with(|pod| {
            let carried = carried.map(|value| ("refreshed".into(), value.into()));
            pod.annotations = carried.into_iter().collect();
            if stamped {
                stamp(pod, 2);
            }
        });
        let stage = Stage::new([pod]).confirmed(1);
        let mut workload = deployment("web", 1);
        workload.refreshed = current.map(str::to_owned);
        let template = Template::new(&workload, stage.survey.outdated.iter());
        assert_eq!(template.rollouts().restarted, restarted);
        assert_eq!(template.made(&stage.survey.outdated[0]), made);
    }

    #[test]
    fn a_template_for_other_digests_says_only_which_pods_are_its_own() {
        check(None, None, false, false, Made::Now);
        check(Some("x"), Some("x"), false, false, Made::Now);
        check(Some("x"), None, true, false, Made::Earlier);
        check(None, Some("x"), true, false, Made::Earlier);
        check(Some("x"), Some("y"), true, false, Made::Earlier);
    }

    #[test]
    fn a_pod_from_the_restart_for_its_target_needs_a_stamp_to_be_replaced_again() {
        let v = value();
        check(Some(&v), None, true, true, Made::Earlier);
        check(Some(&v), Some(&v), false, true, Made::InVain);
        check(Some(&v), Some(&v), true, true, Made::Now);
        let again = format!("{v}-2");
        check(Some(&again), Some(&v), false, true, Made::Earlier);
        check(Some(&again), Some(&again), false, true, Made::InVain);
    }

    #[test]
    fn the_value_is_that_of_all_targets_and_another_than_before() {
        let stage = Stage::new([runs("a", "web", 2), runs("b", "web", 3)]).confirmed(1);
        let mut workload = deployment("web", 2);
        let over = |workload: &Workload| {
            let template = Template::new(workload, stage.survey.outdated.iter());
            template.value()
        };
        assert_eq!(over(&workload), value());
        workload.refreshed = Some(value());
        assert_eq!(over(&workload), format!("{}-2", value()));
    }

    #[test]
    fn a_rollout_is_as_far_as_its_controller_says() {
        #[track_caller]
        fn check(rolling: bool, stuck: bool, expected: Rollout) {
            let workload = Workload {
                rolling,
                stuck,
                ..deployment("web", 1)
            };
            let rollouts = Template::new(&workload, [].into_iter()).rollouts();
            assert_eq!(rollouts.last, expected);
            assert!(rollouts.automatic && !rollouts.paused);
        }
        check(false, false, Rollout::Done);
        check(true, false, Rollout::UnderWay);
        check(false, true, Rollout::Stuck);
    }
}
