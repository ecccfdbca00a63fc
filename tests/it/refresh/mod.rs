//! Outdated pods go, as fast as they may, and nothing else does.
//!
//! What may go wrong meanwhile, and the test that it does no harm:
//!
//! | fault | test |
//! |---|---|
//! | the controller is killed between an eviction and its record | `outages::a_controller_killed_before_it_learns_of_its_eviction_repeats_nothing`, `outages::a_killed_controllers_successor_finishes_its_refresh` |
//! | a watch ends with 410 Gone, and the pods are listed anew | `controller::a_refresh_outlives_watches_that_expire` |
//! | the API server is away for longer than the lease | `controller::a_refresh_outlives_an_api_server_that_is_away` |
//! | every second call is answered by 500 | `controller::a_refresh_outlives_errors_of_the_api_server` |
//! | the API server sheds load (429) | `controller::a_refresh_outlives_a_busy_api_server` |
//! | an eviction is done and its answer lost | `controller::an_eviction_whose_answer_is_lost_is_not_repeated` |
//! | a budget never allows | `budgets::a_budget_that_allows_nothing_is_respected_named_and_not_hammered` |
//! | two budgets over one pod | `budgets::two_budgets_over_one_pod_are_told_of` |
//! | a budget appears in the middle | `owners::a_budget_that_appears_in_the_middle_is_respected_at_once` |
//! | the owner is scaled to 0 | `owners::an_owner_that_is_scaled_to_nothing_loses_nothing_more_and_comes_back_fresh` |
//! | the owner is deleted | `owners::an_owner_that_is_deleted_is_forgotten_and_its_successor_is_not` |
//! | the owner is paused | `owners::an_owner_that_is_paused_is_refreshed_as_before` |
//! | the owner is rolled out | `owners::a_rollout_in_the_middle_takes_no_pod_too_many` |
//! | a rollout hangs | `pace::a_rollout_that_hangs_holds_nobody_back_while_enough_pods_are_ready` |
//! | a node ends a pod, which is left lying | `dead::a_pod_that_was_ended_and_is_left_lying_keeps_no_other_from_being_refreshed` |
//! | a tag flaps between two digests | `faults::a_tag_that_flaps_at_every_look_is_never_acted_on` |
//! | a tag is deleted | `faults::a_deleted_tag_evicts_nobody` |
//! | a registry is down for many polls | `outages::a_registry_that_is_down_for_long_is_waited_out` |
//! | a new image never becomes ready, then is fixed | `faults::a_broken_push_stops_after_one_pod_and_recovers_with_a_good_one` |
//! | replacements come back old | `outages::a_replacement_that_comes_back_old_stops_its_owner`, `outages::stamped_replacements_that_come_back_old_are_not_evicted_again` |
//! | the namespace is opted out in the middle | `owners::a_namespace_that_is_opted_out_in_the_middle_keeps_the_rest_of_its_pods` |
//! | a pod is opted out right before its turn | `owners::pods_that_are_opted_out_while_they_wait_for_their_turn_stay` |
//! | the lease is lost in the middle of a pass | `outages::a_leader_whose_lease_is_taken_in_the_middle_of_a_pass_evicts_nobody_more` |
//! | the leader goes with its budget used up | `leader::a_stopped_leaders_budget_is_kept_by_the_other`, `leader::a_killed_leaders_budget_is_kept_by_the_other` |
//! | a clock is set by an hour, either way | `refresh::clock`, `refresh::simulation` (the library's own tests) |

use k8s_openapi::api::core::v1::Pod;

use crate::support::{
    kube::{annotation, image_id, name},
    world::World,
};

mod budgets;
mod crowd;
mod dead;
mod faults;
mod left_alone;
mod midway;
mod outages;
mod owners;
mod pace;
mod refused;
mod requests;
mod restart;
mod secrets;
mod wishes;

/// Returns the pods' uids, in the order of their names.
fn uids(pods: &[Pod]) -> Vec<&str> {
    pods.iter()
        .filter_map(|pod| pod.metadata.uid.as_deref())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_tag_turns_all_pods_over_within_the_budget() {
    let world = World::running(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.budget("shop", "web", "web", 2).await;
    world.kube.deployment("shop", "web", 3, &image).await;
    for pod in world.kube.running("shop", 3, &old).await {
        assert_eq!(
            annotation(&pod, "digest.podrefresh.io/app"),
            old,
            "{}",
            name(&pod)
        );
        assert_eq!(
            annotation(&pod, "image.podrefresh.io/app"),
            image,
            "{}",
            name(&pod)
        );
    }

    let (_, new) = world.push("shop/web", "stable", "2");
    for pod in world.kube.running("shop", 3, &new).await {
        assert_eq!(
            annotation(&pod, "digest.podrefresh.io/app"),
            new,
            "{}",
            name(&pod)
        );
        assert!(image_id(&pod).ends_with(&new));
    }
}
