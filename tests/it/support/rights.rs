//! The controller's rights, taken from it.

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::Api;

use super::world::World;

/// Takes all rights to a resource, by its plural, from the controller's ClusterRole.
pub(crate) async fn take(world: &World, resource: &str) {
    let roles = Api::<ClusterRole>::all(world.kube.0.clone());
    let mut role = roles.get("podrefresh").await.unwrap();
    let before = role.rules.clone();
    let without = |mut rule: PolicyRule| {
        let resources = rule.resources.as_mut()?;
        resources.retain(|it| it != resource);
        (!resources.is_empty()).then_some(rule)
    };
    let rules = role.rules.take().unwrap();
    role.rules = Some(rules.into_iter().filter_map(without).collect());
    assert_ne!(role.rules, before, "there is no right to {resource}");
    let params = kube::api::PostParams::default();
    roles.replace("podrefresh", &params, &role).await.unwrap();
}
