use super::*;
use crate::{
    policy::fixture::Fixture,
    refresh::{
        fixture::{Stage, deployment, limits, runs, seconds, wall},
        group::groups,
    },
};

/// A Deployment with outdated pods.
struct Owned {
    stage: Stage,
    memory: Memory,
}

/// Returns three pods that are outdated and Ready, and a fourth that runs `version` and is not.
fn pods(version: u8) -> Vec<Fixture> {
    let unready = runs("d", "web", version).with(|pod| {
        (pod.ready, pod.created) = (false, wall(0));
    });
    let old = ["a", "b", "c"].map(|name| runs(name, "web", 2));
    old.into_iter().chain([unready]).collect()
}

impl Owned {
    /// Returns one of these pods that was never read.
    fn new(pods: Vec<Fixture>) -> Self {
        Self {
            stage: Stage::new(pods).confirmed(1),
            memory: Memory::new(seconds(300)),
        }
    }

    /// Notes at second 10 that it wants `desired` pods.
    fn read(mut self, desired: u32) -> Self {
        let workload = deployment("web", desired);
        (self.memory).read(workload, ["uid-web".into()], self.stage.now());
        self
    }

    /// Looks at second `second`, while it wants `desired` pods; says whether it is read, and how many pods may go.
    fn look(&mut self, second: u64, desired: u32) -> (bool, usize) {
        self.stage.second = second;
        let scene = self.stage.scene();
        let moment = Moment {
            now: scene.wall,
            leader: true,
            limits: limits(),
            evictions: &[],
        };
        let found = groups(scene, &self.memory);
        let is_read = !wanted(&found, scene, &moment, &self.memory).is_empty();
        if is_read {
            let workload = deployment("web", desired);
            (self.memory).read(workload, ["uid-web".into()], scene.now);
        }
        let found = groups(scene, &self.memory);
        let views = views(&found, scene, &self.memory);
        let plan = plan(&moment, &views);
        let memory = &mut self.memory;
        let fresh = |_: &Group| is_read;
        wait((&found, &views), (scene, &moment), &plan, fresh, memory);
        memory.keep("uid-web", scene.now);
        memory.tidy(scene.now, scene.pods.iter().map(|pod| &*pod.uid));
        (is_read, plan.go.len())
    }

    /// Returns the seconds up to 1000 at which it is read, where it is looked at in each.
    fn readings(&mut self, desired: u32) -> Vec<u64> {
        let all = 11..=1000;
        all.filter(|second| self.look(*second, desired).0).collect()
    }

    /// Gives all its pods a wish.
    fn wish(&mut self, name: &str, value: &str) {
        self.stage.namespace.annotations = Arc::new([(name.into(), value.into())]);
        self.stage.look();
    }
}

#[test]
fn a_surplus_pod_that_does_not_start_holds_nobody_back_however_old_the_reading_is() {
    for second in [11, 39, 40, 500] {
        let mut hung = Owned::new(pods(0)).read(3);
        assert_eq!(hung.look(second, 3), (true, 1), "{second}");
    }
    assert_eq!(Owned::new(pods(0)).look(500, 3), (true, 1));
    // It is missed where it is wanted.
    assert_eq!(Owned::new(pods(0)).look(500, 4), (true, 0));
}

#[test]
fn what_the_pace_holds_is_read_again_less_and_less_often() {
    let mut held = Owned::new(pods(1)).read(4);
    let expected = [40, 70, 100, 130, 170, 250, 410, 710];
    assert_eq!(held.readings(4), expected);
    // Somebody has scaled it.
    let more = runs("e", "web", 0).with(|pod| pod.ready = false);
    held.stage.pods.push(Arc::new(more.build()));
    held.stage.look();
    assert_eq!(held.look(1001, 3), (true, 1));
}

#[test]
fn what_something_else_holds_is_not_read_for_the_pace() {
    for (name, value) in [("strategy", "notify"), ("strategy", "restart")] {
        let mut held = Owned::new(pods(1)).read(4);
        held.wish(name, value);
        assert!(held.readings(4).is_empty(), "{value}");
    }
}
