use super::*;
use crate::cluster::samples;

fn recorded(name: &str, kind: WorkloadKind) -> Workload {
    let body = samples::workload(name).to_string();
    serde_json::from_str::<RawWorkload<'_>>(&body)
        .unwrap()
        .workload(kind)
}

#[track_caller]
fn check(name: &str, kind: WorkloadKind, desired: u32, rolling: bool) {
    let read = recorded(name, kind);
    assert_eq!((read.desired, read.rolling), (desired, rolling), "{read:?}");
}

#[test]
fn a_rollout_is_seen_from_the_first_moment_to_the_last() {
    use WorkloadKind::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
    check("deployment-right-after-create", Deployment, 2, true);
    check("deployment-healthy", Deployment, 2, false);
    // The counts still say that all is well.
    check(
        "deployment-right-after-template-change",
        Deployment,
        2,
        true,
    );
    check("deployment-mid-rollout", Deployment, 2, true);
    check("deployment-after-rollout", Deployment, 2, false);
    check("deployment-paused", Deployment, 2, false);
    check("replicaset-healthy", ReplicaSet, 2, false);
    check("statefulset-healthy", StatefulSet, 2, false);
    check("statefulset-mid-rollout", StatefulSet, 2, true);
    check("daemonset-healthy", DaemonSet, 2, false);
    check("daemonset-mid-rollout", DaemonSet, 2, true);
}

#[test]
fn a_pause_is_seen() {
    assert!(recorded("deployment-paused", WorkloadKind::Deployment).paused);
    assert!(!recorded("deployment-healthy", WorkloadKind::Deployment).paused);
}

#[test]
fn the_absent_reads_as_the_default() {
    let read: RawWorkload<'_> = serde_json::from_str(r#"{"spec":{},"status":{}}"#).unwrap();
    assert_eq!(read.workload(WorkloadKind::Deployment).desired, 1);
    assert_eq!(read.workload(WorkloadKind::DaemonSet).desired, 0);
    let zero: RawWorkload<'_> = serde_json::from_str(r#"{"spec":{"replicas":0}}"#).unwrap();
    assert_eq!(zero.workload(WorkloadKind::StatefulSet).desired, 0);
}

#[track_caller]
fn check_counts(kind: WorkloadKind, spec: &str, status: &str, rolling: bool) {
    let body = format!(r#"{{"spec":{spec},"status":{status}}}"#);
    let read: RawWorkload<'_> = serde_json::from_str(&body).unwrap();
    assert_eq!(read.workload(kind).rolling, rolling, "{body}");
}

#[test]
fn a_crashed_deployment_is_not_a_rolling_one() {
    let status = |reason: &str, replicas: u8, updated: u8| {
        format!(
            r#"{{"replicas":{replicas},"updatedReplicas":{updated},"conditions":[
            {{"type":"Progressing","status":"True","reason":"{reason}"}}]}}"#
        )
    };
    let check = |reason, replicas, updated, rolling| {
        let status = status(reason, replicas, updated);
        check_counts(
            WorkloadKind::Deployment,
            r#"{"replicas":2}"#,
            &status,
            rolling,
        );
    };
    check("NewReplicaSetAvailable", 2, 2, false);
    check("NewReplicaSetAvailable", 3, 2, true);
    check("ReplicaSetUpdated", 2, 2, true);
    check("ProgressDeadlineExceeded", 3, 1, false);
}

#[test]
fn a_rollout_is_stuck_until_the_next_one_is_seen() {
    let check = |reason: &str, observed: u8, expected: (bool, bool)| {
        let body = format!(
            r#"{{"metadata":{{"generation":2}},"status":{{"observedGeneration":{observed},"conditions":[
            {{"type":"Progressing","status":"False","reason":"{reason}"}}]}}}}"#
        );
        let read: RawWorkload<'_> = serde_json::from_str(&body).unwrap();
        let read = read.workload(WorkloadKind::Deployment);
        assert_eq!((read.rolling, read.stuck), expected, "{body}");
    };
    check("ProgressDeadlineExceeded", 2, (false, true));
    check("ProgressDeadlineExceeded", 1, (true, false));
    check("ReplicaSetUpdated", 2, (true, false));
}

#[test]
fn what_keeps_old_pods_for_good_does_not_roll() {
    use WorkloadKind::{DaemonSet, Deployment, ReplicaSet, ReplicationController, StatefulSet};
    #[track_caller]
    fn check(kind: WorkloadKind, strategy: &str, expected: bool) {
        let body = format!(r#"{{"spec":{{"updateStrategy":{strategy}}}}}"#);
        let read: RawWorkload<'_> = serde_json::from_str(&body).unwrap();
        assert_eq!(read.workload(kind).rolls, expected, "{kind} {body}");
    }
    for kind in [Deployment, StatefulSet, DaemonSet] {
        check(
            kind,
            r#"{"type":"RollingUpdate","rollingUpdate":{"partition":0}}"#,
            true,
        );
    }
    for kind in [ReplicaSet, ReplicationController] {
        check(kind, "{}", false);
    }
    for kind in [StatefulSet, DaemonSet] {
        check(kind, r#"{"type":"OnDelete"}"#, false);
    }
    check(
        StatefulSet,
        r#"{"type":"RollingUpdate","rollingUpdate":{"partition":1}}"#,
        false,
    );
}

#[test]
fn a_partition_keeps_its_pods() {
    let check = |strategy: &str, updated: u8, rolling| {
        let spec = format!(r#"{{"replicas":3,"updateStrategy":{strategy}}}"#);
        let status = format!(
            r#"{{"updatedReplicas":{updated},"currentRevision":"a","updateRevision":"b"}}"#
        );
        check_counts(WorkloadKind::StatefulSet, &spec, &status, rolling);
    };
    let partition = r#"{"type":"RollingUpdate","rollingUpdate":{"partition":2}}"#;
    check(partition, 0, true);
    check(partition, 1, false);
    check(r#"{"type":"OnDelete"}"#, 0, false);
    check(
        r#"{"type":"RollingUpdate","rollingUpdate":{"partition":0}}"#,
        3,
        true,
    );
}
