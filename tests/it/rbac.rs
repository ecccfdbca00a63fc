//! The rights in `manifests/` are those that the controller uses: no call without a right, no right without a call.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use k8s_openapi::api::{
    admissionregistration::v1::MutatingWebhookConfiguration,
    core::v1::{Pod, ReplicationController, Secret},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use testbed::{
    images::Format,
    journal::Entry,
    manifests,
    registry::{Auth, User},
};

use crate::support::{
    files::root,
    kube::{eventually, image_id, is_ready, workload},
    look::on_testbed,
    simulated::Setup,
    world::{HOME, World},
};

const ACCOUNT: &str = "system:serviceaccount:podrefresh:podrefresh";

/// One verb of one resource, as one rule grants it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    /// The Role's namespace; empty for the ClusterRole.
    namespace: String,
    verb: String,
    group: String,
    /// `pods` or `pods/eviction`.
    resource: String,
    /// The one object that it is for, or empty.
    name: String,
}

impl Right {
    /// Says whether this right is enough for a call.
    fn covers(&self, call: &Entry) -> bool {
        let resource = match &*call.subresource {
            "" => call.resource.clone(),
            subresource => format!("{}/{subresource}", call.resource),
        };
        // RBAC reads the name of a list or watch from its field selector.
        let selected = call
            .uri
            .replace("%3D", "=")
            .contains(&format!("fieldSelector=metadata.name={}", self.name));
        (self.namespace.is_empty() || self.namespace == call.namespace)
            && (&*self.verb, &*self.group, &*self.resource) == (call.verb, &*call.group, &*resource)
            && (self.name.is_empty() || self.name == call.name || selected)
    }
}

/// Returns the rights that a folder of manifests gives, each for one verb, resource and name.
pub(crate) fn rights(folder: &str) -> BTreeSet<Right> {
    let objects = manifests::load(&root().join(folder)).unwrap();
    let roles = objects
        .iter()
        .filter(|object| ["ClusterRole", "Role"].contains(&object["kind"].as_str().unwrap()));
    roles.flat_map(rights_of).collect()
}

fn rights_of(role: &Value) -> Vec<Right> {
    let words = |rule: &Value, key: &str| -> Vec<String> {
        let list = rule[key].as_array().into_iter().flatten();
        list.map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = Vec::new();
    for rule in role["rules"].as_array().unwrap() {
        let mut names = words(rule, "resourceNames");
        if names.is_empty() {
            names.push(String::new());
        }
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                for verb in words(rule, "verbs") {
                    rights.extend(names.iter().map(|name| {
                        Right {
                            namespace: role["metadata"]["namespace"]
                                .as_str()
                                .unwrap_or_default()
                                .to_owned(),
                            verb: verb.clone(),
                            group: group.clone(),
                            resource: resource.clone(),
                            name: name.clone(),
                        }
                    }));
                }
            }
        }
    }
    rights
}

/// Turns over pods of every kind of owner, with a pull secret, a budget and an Event.
async fn refresh_all_kinds(world: &World) {
    let kube = &world.kube;
    // Of an index a node runs the image for its platform, which is asked for when the index has moved.
    let (image, old) = world.push_image("shop/web", "stable", &Format::Oci.multi_platform("1"));
    kube.opted_in("shop").await;
    kube.pull_secret("shop", "pull", &world.registry.host(), "ann", "password")
        .await;
    let pull = json!({"spec": {"imagePullSecrets": [{"name": "pull"}]}});
    let spec = |extra: Value| {
        let mut spec = json!({"template": pull});
        json_patch::merge(&mut spec, &extra);
        spec
    };
    let deployment = workload("web", &image, spec(json!({})));
    kube.create::<k8s_openapi::api::apps::v1::Deployment>("shop", deployment)
        .await;
    let set = workload("db", &image, spec(json!({"serviceName": "db"})));
    kube.create::<k8s_openapi::api::apps::v1::StatefulSet>("shop", set)
        .await;
    let daemons = workload("agent", &image, spec(json!({})));
    kube.create::<k8s_openapi::api::apps::v1::DaemonSet>("shop", daemons)
        .await;
    let set = workload("set", &image, spec(json!({"replicas": 1})));
    kube.create::<k8s_openapi::api::apps::v1::ReplicaSet>("shop", set)
        .await;
    let mut controller = workload("old", &image, spec(json!({"replicas": 1})));
    controller["spec"]["selector"] = json!({"app": "old"});
    kube.create::<ReplicationController>("shop", controller)
        .await;
    // A Deployment, a StatefulSet, a ReplicaSet and a ReplicationController with one pod each, and three nodes.
    kube.running("shop", 7, &old).await;
    let (_, new) = world.push_image("shop/web", "stable", &Format::Oci.multi_platform("2"));
    kube.running("shop", 7, &new).await;
    kube.told("shop", "Evicted", "has moved on").await;

    // Of those that can be restarted, the same by a restart.
    let wish = json!({"metadata": {"annotations": {"podrefresh.io/strategy": "restart"}}});
    kube.patch_namespace("shop", wish).await;
    let (_, newer) = world.push_image("shop/web", "stable", &Format::Oci.multi_platform("3"));
    let restarted = async || {
        let pods = kube.pods("shop").await;
        let runs_it = |pod: &&Pod| image_id(pod).ends_with(&newer) && is_ready(pod);
        (pods.iter().filter(runs_it).count() == 5).then_some(())
    };
    eventually(
        "a Deployment, a StatefulSet and a DaemonSet to be restarted",
        restarted,
    )
    .await;
}

/// Has the certificate made anew and trusted anew.
async fn heal_certificate(world: &World) {
    let webhooks = Api::<MutatingWebhookConfiguration>::all(world.kube.0.clone());
    let bundle = async || {
        let configuration = webhooks.get("podrefresh").await.unwrap();
        configuration.webhooks.unwrap()[0]
            .client_config
            .ca_bundle
            .clone()
    };
    let ours = bundle().await;
    let patch = json!([{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": "Z2FyYmFnZQ=="}]);
    let patch = Patch::<()>::Json(serde_json::from_value(patch).unwrap());
    let _ = webhooks
        .patch("podrefresh", &PatchParams::default(), &patch)
        .await;
    let secrets = world.kube.api::<Secret>(HOME);
    world
        .kube
        .patch::<Secret>(
            HOME,
            "podrefresh-tls",
            json!({"data": {"tls.key": "Z2FyYmFnZQ=="}}),
        )
        .await;
    let healed = async || {
        let key = secrets
            .get("podrefresh-tls")
            .await
            .unwrap()
            .data?
            .remove("tls.key")?;
        (key.0.len() > 100).then_some(())
    };
    eventually("a new key in the Secret", healed).await;
    secrets
        .delete("podrefresh-tls", &DeleteParams::default())
        .await
        .unwrap();
    eventually("a new Secret", async || {
        secrets.get_opt("podrefresh-tls").await.unwrap()
    })
    .await;
    assert!(ours.is_some());
    world.controllers()[0].readiness(200).await;
}

/// Returns what a call is, without what differs between two of its kind.
fn title(call: &Entry) -> String {
    let Entry {
        verb,
        group,
        resource,
        subresource,
        namespace,
        name,
        ..
    } = call;
    format!("{verb} {group}/{resource}/{subresource} {namespace}/{name}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifests_rights_are_those_that_are_used() {
    if !on_testbed() {
        return;
    }
    let setup = Setup {
        auth: Auth::Basic(vec![User::new("ann", "password")]),
        ..Setup::default()
    };
    let mut world = World::with(setup).await;
    world.controller(&[]).await;
    // A call that is refused may keep the rest from ever coming about: then that call is what there is to tell.
    let journal = world.testbed().cluster.journal().clone();
    let all = async {
        refresh_all_kinds(&world).await;
        heal_certificate(&world).await;
    };
    tokio::select! {
        () = all => {}
        _ = journal.wait_for(1, Duration::MAX, |call| call.user == ACCOUNT && call.status == 403) => {}
    }
    world.stop_first().await;

    compare(&world, ACCOUNT, &rights("manifests"), "manifests/base");
}

/// Checks that `rights`, those in `folder`, are the ones that `account` has used.
#[track_caller]
pub(crate) fn compare(world: &World, account: &str, rights: &BTreeSet<Right>, folder: &str) {
    let mut unused = rights.clone();
    let mut ungranted = BTreeMap::new();
    let cluster = &world.testbed().cluster;
    // Anybody who has a token may ask what kind of server it is.
    for call in cluster
        .journal()
        .find(|call| call.user == account && !call.resource.is_empty())
    {
        let covering: Vec<&Right> = rights.iter().filter(|right| right.covers(&call)).collect();
        if covering.is_empty() || call.status == 403 {
            ungranted.insert(title(&call), call.uri.clone());
        }
        // Of two rights the narrower one is meant; a wider one must be needed for something else.
        let is_narrow = covering.iter().any(|right| !right.name.is_empty());
        for right in covering {
            if is_narrow != right.name.is_empty() {
                unused.remove(right);
            }
        }
    }
    assert!(
        ungranted.is_empty(),
        "calls that no rule in {folder}/rbac.yaml allows: {ungranted:#?}"
    );
    assert!(
        unused.is_empty(),
        "rights in {folder}/rbac.yaml that no call needs: {unused:#?}"
    );
    cluster.assert_clean();
}
