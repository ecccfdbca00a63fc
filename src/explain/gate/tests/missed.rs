//! Which replacements tell that more evictions would be in vain: those that the controller counts.

use super::*;
use crate::policy::{PullPolicy, Stamp, fixture::Fixture};

/// Returns a pod with one container, which is or is not outdated.
fn of(name: &str, created: i64, container: Container) -> Fixture {
    pod(name).with(|pod| {
        pod.created = at(created);
        pod.containers = Box::new([container]);
    })
}

#[test]
fn a_ready_replacement_that_nobody_pinned_tells_while_it_stays() {
    let cached = |image: &str, runs| Container {
        pull: PullPolicy::IfNotPresent,
        running: Running::Manifest(digest(runs)),
        ..container(image)
    };
    let pinned = Container {
        stamp: Some(Stamp::new(&"nginx:1".parse().unwrap(), digest(1))),
        ..cached(&format!("nginx:1@{}", digest(1)), 1)
    };
    let check = |created, ready, terminating, expected| {
        let new = of("new", created, cached("nginx:1", 3))
            .with(|pod| (pod.ready, pod.terminating) = (ready, terminating));
        let old = of("old", 100, pinned.clone()).build();
        let pods = vec![(old, judged(true)), (new.build(), judged(false))];
        let hold = |scene: &Scene<'_>, group: &Group| scene.holds(group)[0].1;
        let wishes = [("mode", "pin")];
        check_pods(
            pods,
            vec![outdated(9_000, 2)],
            &wishes,
            Ok(2),
            hold,
            expected,
        );
    };
    check(9_001, true, false, Some(Hold::Ineffective));
    check(9_000, true, false, None);
    check(9_001, false, false, Some(Hold::Halted));
    // It is on its way out: what comes in its place may be pinned.
    check(9_001, true, true, Some(Hold::Pace));
}
