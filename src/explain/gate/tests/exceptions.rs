//! Pods that do not count as what they look like.

use super::*;
use crate::policy::Stamp;

#[test]
fn nobody_waits_for_a_pod_that_has_ended() {
    let holds = |scene: &Scene<'_>, group: &Group| scene.holds(group);
    let events = vec![outdated(9_000, 2)];
    let pods = [NEW, OLD, DEAD];
    check(&pods, events, &[], Ok(2), holds, vec![(1, None)]);
}

/// Checks what holds a pod that was created at `created` and stamped with the digest of `stamped`; it was told at 5000
/// that it should run digest 2.
#[track_caller]
fn check_stamped(created: i64, stamped: u8, other: Option<Arc<Told>>, expected: Option<Hold>) {
    let pod = pod("web-0").with(|pod| {
        pod.created = at(created);
        let container = &mut pod.containers[0];
        let image = container.image.clone().unwrap();
        container.stamp = Some(Stamp::new(&image, digest(stamped)));
        container.running = Running::Manifest(digest(1));
    });
    let holds = |scene: &Scene<'_>, group: &Group| scene.holds(group);
    let events = [outdated(5_000, 2)].into_iter().chain(other).collect();
    let pods = vec![(pod.build(), judged(true))];
    check_pods(pods, events, &[], Ok(1), holds, vec![(0, expected)]);
}

#[test]
fn a_stamp_tells_that_a_tag_meant_something_else_for_a_while() {
    let ineffective = Some(Hold::Ineffective);
    check_stamped(5_600, 1, None, None);
    check_stamped(5_599, 1, None, ineffective);
    // It came in the place of one that went for that.
    let note = format!(
        "Evicted: web has moved on from {} to {}",
        digest(9),
        digest(2)
    );
    let gone = |second| Some(told(second, EventReason::Evicted, &note, "web"));
    check_stamped(9_000, 1, gone(9_000), ineffective);
    check_stamped(9_000, 1, gone(9_001), None);
}
