//! `podrefresh once`, run as its CronJob runs it: the program, as its ServiceAccount, to its end.

use serde_json::{Value, json};
use testbed::registry::{Auth, User};

use crate::support::{
    kube::workload,
    program::{Outcome, Program},
    simulated::Setup,
    world::World,
};

mod ends;
mod install;
mod looks;
mod migration;
mod reach;
mod refreshed;
mod restarts;
mod rights;
mod secrets;
mod stays;
mod told;

/// The component that installs it.
const COMPONENT: &str = "manifests/components/cronjob";

/// Its account.
const ACCOUNT: &str = "podrefresh-once";

/// Starts a cluster with its account and rights, and nothing of podrefresh running.
async fn world(setup: Setup) -> World {
    let world = World::with(setup).await;
    world.apply(COMPONENT).await;
    world
}

/// Starts one whose registry asks for the password of `ann`.
async fn private_world() -> World {
    let auth = Auth::Basic(vec![User::new("ann", "a-password")]);
    world(Setup {
        auth,
        ..Setup::default()
    })
    .await
}

/// Makes a namespace that has not opted in. Its label means nothing; on a real cluster the next world is
/// cleared of namespaces that have it.
async fn namespace(world: &World, name: &str) {
    let labels = json!({"podrefresh.io/enabled": "undecided"});
    world.kube.namespace(name, labels, json!({})).await;
}

/// Creates a Deployment that wishes what the annotations of its pods say.
async fn wishing(world: &World, namespace: &str, name: &str, image: &str, wishes: Value) {
    let template = json!({"metadata": {"annotations": wishes}});
    let object = workload(name, image, json!({"replicas": 1, "template": template}));
    world
        .kube
        .create::<k8s_openapi::api::apps::v1::Deployment>(namespace, object)
        .await;
}

/// Returns `podrefresh once` with `flags`, quick and as its own account.
async fn program(world: &World, flags: &[&str]) -> Program {
    const QUICK: [&str; 3] = [
        "--confirm-after=100ms",
        "--lookup-timeout=5s",
        "--timeout=50s",
    ];
    let quick = QUICK.into_iter().filter(|quick| {
        let name = quick.split('=').next().unwrap();
        !flags.iter().any(|flag| flag.starts_with(name))
    });
    let arguments = ["once", "--output=json"].into_iter().chain(quick);
    let arguments: Vec<&str> = match flags.iter().any(|flag| flag.starts_with("--output")) {
        true => arguments.filter(|it| *it != "--output=json").collect(),
        false => arguments.collect(),
    };
    Program::new(arguments.into_iter().chain(flags.iter().copied()))
        .kubeconfig(&world.account_kubeconfig(ACCOUNT).await)
}

/// Runs it to its end.
async fn run(world: &World, flags: &[&str]) -> Outcome {
    program(world, flags).await.run().await
}

/// Returns the lines that it printed, the summary last.
#[track_caller]
fn lines(outcome: &Outcome) -> Vec<Value> {
    let parse = |line| serde_json::from_str::<Value>(line).unwrap();
    let lines: Vec<Value> = outcome.stdout.lines().map(parse).collect();
    let last = lines.last().unwrap_or_else(|| panic!("{outcome}"));
    assert_eq!(last["kind"], "summary", "{outcome}");
    lines
}

/// Returns the summary that it printed.
#[track_caller]
fn summary(outcome: &Outcome) -> Value {
    lines(outcome).pop().unwrap()
}

/// Checks the exit code and some fields of the summary.
#[track_caller]
fn check(outcome: &Outcome, code: i32, expected: &Value) {
    assert_eq!(outcome.code, Some(code), "{outcome}");
    let summary = summary(outcome);
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&summary[field], value, "{field}: {outcome}");
    }
}

/// Returns the states of the pods that were outdated, in the order of namespaces and names.
#[track_caller]
fn states(outcome: &Outcome) -> Vec<String> {
    let lines = lines(outcome);
    let pods = lines.iter().filter(|line| line["kind"] == "pod");
    pods.map(|pod| pod["state"].as_str().unwrap().to_owned())
        .collect()
}
