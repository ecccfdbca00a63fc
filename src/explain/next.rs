//! What will happen next to an outdated pod, in one sentence.

use super::why::Subject;
use crate::{cluster::OwnerError, policy::gate::Hold};

/// Returns what will happen to a pod that `hold` keeps, if anything does.
pub(super) fn next(subject: &Subject<'_>, hold: Option<Hold>) -> String {
    if let Some(error) = subject.group.missing(hold) {
        let next = match error {
            OwnerError::Unread { .. } => {
                "It cannot be told from here, where its owner cannot be read. Nor does the controller let a pod go \
                 whose owner it cannot read."
            }
            _ => "Nothing: its owner is gone, and nothing would replace it.",
        };
        return next.to_owned();
    }
    let Some(hold) = hold else {
        return match subject.owner().filter(|_| subject.restarts()) {
            Some(owner) => format!(
                "The controller restarts {owner} when it looks next, whose own controller then replaces its pods."
            ),
            None => {
                "The controller evicts it when it looks next; the Eviction API has the last word."
                    .to_owned()
            }
        };
    };
    let next = match hold {
        Hold::NotLeader => "Nothing until a controller leads again.",
        Hold::Notify => {
            "Nothing by itself: it is only told of. Whoever deletes the pod refreshes it."
        }
        Hold::Unconfirmed => {
            "The controller refreshes it once it has seen T twice, unless something else holds it. It looks each tag \
             up every 5m, unless --poll-interval says otherwise."
        }
        Hold::MinAge => "It waits until T is old enough; then what is left of the rules decides.",
        Hold::Window => {
            return match subject.opens() {
                Some(at) => format!(
                    "It waits for its window, until {at}; then what is left of the rules decides."
                ),
                None => {
                    "It waits for its window; then what is left of the rules decides.".to_owned()
                }
            };
        }
        Hold::RegistryFailing => "It waits until the registry answers again.",
        Hold::Ineffective => "Nothing until its tag moves again or its template changes.",
        Hold::NoRollout => {
            "Nothing while its strategy asks for a restart: the strategy evict would replace it."
        }
        Hold::Paused => {
            "It waits until its owner is paused no more; then what is left of the rules decides."
        }
        Hold::Rollout => {
            "It waits until the rollout of its owner is over or fails; that may replace it already."
        }
        Hold::Pace if subject.restarts() => {
            "Its owner is restarted once the pods that are up to date are Ready; of a StatefulSet all its pods."
        }
        Hold::Pace => "It waits for its turn, until enough other pods of its owner are ready.",
        Hold::Halted => {
            "Nothing until the pod that did not become Ready recovers, or its tag moves again."
        }
        Hold::Budget => "It waits until fewer evictions have been done in the last minute.",
        Hold::NamespaceBudget => {
            "It waits until fewer evictions have been done in its namespace in the last minute."
        }
        Hold::NodeBudget => {
            "It waits until fewer evictions have been done on its node in the last minute."
        }
        Hold::Pdb => {
            "It waits until PodDisruptionBudgets let it go; the controller asks again after pauses of at most 5m."
        }
        Hold::Refused => "The controller asks again after pauses of at most 5m.",
    };
    next.to_owned()
}
