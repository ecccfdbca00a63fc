//! A rolling update: how large may each ReplicaSet be now?

use std::sync::Arc;

use serde_json::Value;

use super::super::pods::scaled;
use super::sets::size;
use crate::api::object;

/// The sizes to set: the new ReplicaSet's, and the old ones' in their order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) new: i64,
    pub(super) old: Vec<i64>,
}

/// Returns the next sizes. Old pods that are not available go first: they cost no availability. Of the others so many go that
/// `replicas - maxUnavailable` pods stay available; the new ones may be so many that there are `replicas + maxSurge` in all.
pub(super) fn plan(deployment: &Value, new: &Arc<Value>, old: &[Arc<Value>]) -> Plan {
    let replicas = object::number(deployment, "/spec/replicas").unwrap_or(1);
    let (surge, unavailable) = limits(deployment, replicas);
    let total: i64 = size(new) + old.iter().map(|set| size(set)).sum::<i64>();
    let room = (replicas + surge - total).max(0);
    let new_size = if replicas < size(new) {
        replicas
    } else {
        size(new) + room.min(replicas - size(new))
    };

    let least = replicas - unavailable;
    let new_unavailable = size(new) - available(new);
    let mut may_go = (total - least - new_unavailable).max(0);
    let mut sizes: Vec<i64> = old.iter().map(|set| size(set)).collect();
    for (size, set) in sizes.iter_mut().zip(old) {
        let broken = (*size - available(set)).clamp(0, may_go);
        *size -= broken;
        may_go -= broken;
    }
    let all_available: i64 = available(new) + old.iter().map(|set| available(set)).sum::<i64>();
    let mut may_go = may_go.min(all_available - least).max(0);
    for size in &mut sizes {
        let going = (*size).min(may_go);
        *size -= going;
        may_go -= going;
    }
    Plan {
        new: new_size,
        old: sizes,
    }
}

/// Returns maxSurge (shares rounded up) and maxUnavailable (rounded down); when both come to nothing, one may be unavailable.
fn limits(deployment: &Value, replicas: i64) -> (i64, i64) {
    let limits = &deployment["spec"]["strategy"]["rollingUpdate"];
    let surge = scaled(&limits["maxSurge"], replicas, true);
    let unavailable = scaled(&limits["maxUnavailable"], replicas, false).min(replicas);
    (
        surge,
        if surge == 0 && unavailable == 0 {
            1
        } else {
            unavailable
        },
    )
}

fn available(set: &Value) -> i64 {
    object::number(set, "/status/availableReplicas").unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set((size, available): (i64, i64)) -> Arc<Value> {
        Arc::new(
            json!({ "spec": { "replicas": size }, "status": { "availableReplicas": available } }),
        )
    }

    #[track_caller]
    fn check(
        limits: (Value, Value),
        replicas: i64,
        new: (i64, i64),
        old: &[(i64, i64)],
        expected: (i64, &[i64]),
    ) {
        let rolling = json!({ "maxSurge": limits.0, "maxUnavailable": limits.1 });
        let deployment =
            json!({ "spec": { "replicas": replicas, "strategy": { "rollingUpdate": rolling } } });
        let old: Vec<_> = old.iter().copied().map(set).collect();
        let plan = plan(&deployment, &set(new), &old);
        assert_eq!(
            plan,
            Plan {
                new: expected.0,
                old: expected.1.to_vec()
            }
        );
    }

    fn quarter() -> (Value, Value) {
        (json!("25%"), json!("25%"))
    }

    #[test]
    fn a_first_rollout_takes_all_at_once() {
        check(quarter(), 5, (0, 0), &[], (5, &[]));
    }

    #[test]
    fn surge_comes_before_old_pods_go() {
        check((json!(1), json!(0)), 3, (0, 0), &[(3, 3)], (1, &[3]));
        check((json!(1), json!(0)), 3, (1, 0), &[(3, 3)], (1, &[3]));
        check((json!(1), json!(0)), 3, (1, 1), &[(3, 3)], (1, &[2]));
        check((json!(1), json!(0)), 3, (1, 1), &[(2, 2)], (2, &[2]));
    }

    #[test]
    fn without_surge_an_old_pod_goes_first() {
        check((json!(0), json!(1)), 3, (0, 0), &[(3, 3)], (0, &[2]));
        check((json!(0), json!(1)), 3, (0, 0), &[(2, 2)], (1, &[2]));
        check((json!(0), json!(0)), 3, (0, 0), &[(3, 3)], (0, &[2]));
    }

    #[test]
    fn a_broken_new_pod_stops_the_rollout() {
        check(quarter(), 4, (2, 0), &[(3, 3)], (2, &[3]));
    }

    #[test]
    fn broken_old_pods_go_first() {
        check(
            (json!(1), json!(1)),
            4,
            (1, 0),
            &[(2, 0), (2, 2)],
            (1, &[1, 2]),
        );
    }

    #[test]
    fn a_smaller_size_shrinks_the_new_one() {
        check(quarter(), 2, (5, 5), &[], (2, &[]));
    }
}
