//! The Eviction API of the model: the only way in which the controller can end a pod.

use std::time::Duration;

use super::{cluster::Cluster, dice::Dice, owner::Owner};
use crate::{
    cluster::{CallError, Eviction, Refusal},
    policy::{Phase, Pod},
};

/// What an eviction has come to: what was answered, and whether it was done.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) answer: Eviction,
    pub(super) done: bool,
    /// Whether the pod served until then.
    pub(super) served: bool,
}

impl Cluster {
    /// Evicts the pod with this one's uid, if its budgets allow.
    pub(super) fn evict(&mut self, pod: &Pod, dice: &mut Dice) -> Asked {
        let trouble = !self.server && dice.chance(50);
        let (silent, late) = (trouble && dice.chance(60), dice.chance(50));
        if trouble && !silent {
            let retry_after = dice.chance(50).then_some(Duration::from_secs(1));
            return Asked::refused(Eviction::Busy { retry_after });
        }
        // Without an answer it may have been done all the same.
        if silent && !late {
            return Asked::refused(failure(dice));
        }
        let asked = self.decide(pod, dice);
        if silent {
            let answer = failure(dice);
            return Asked { answer, ..asked };
        }
        asked
    }

    fn decide(&mut self, pod: &Pod, dice: &mut Dice) -> Asked {
        let now = self.second;
        let owner = self.owner_of(pod);
        let owner = &mut self.owners[owner];
        let Some(at) = owner.pods.iter().position(|it| it.pod.uid == pod.uid) else {
            let named = owner.pods.iter().any(|it| it.pod.name == pod.name);
            return Asked::refused(if named {
                Eviction::Replaced
            } else {
                Eviction::Gone
            });
        };
        if let Err(refusal) = owner.may_lose(at) {
            return Asked::refused(refusal);
        }
        if !pod.ready && pod.version != owner.pods[at].pod.version {
            return Asked::refused(Eviction::Changed);
        }
        let served = owner.pods[at].pod.is_available();
        // A pod that ends already is only told again.
        let done = owner.pods[at].stays();
        if done {
            owner.pods[at].end(now + dice.roll(15));
        }
        Asked {
            answer: Eviction::Evicted,
            done,
            served,
        }
    }
}

impl Asked {
    const fn refused(answer: Eviction) -> Self {
        Self {
            answer,
            done: false,
            served: false,
        }
    }
}

impl Owner {
    /// Says whether the budgets let this pod go, as the API server does.
    fn may_lose(&self, at: usize) -> Result<(), Eviction> {
        let pod = &self.pods[at].pod;
        if pod.terminating || pod.phase == Phase::Pending {
            return Ok(());
        }
        let wanted = match self.budgets[..] {
            [] => return Ok(()),
            [wanted] => wanted,
            _ => {
                let message = "more than one PodDisruptionBudget".to_owned();
                return Err(Eviction::Misconfigured { message });
            }
        };
        let healthy = self.available();
        if !pod.ready && (self.always_allow || wanted <= healthy) || wanted < healthy {
            return Ok(());
        }
        Err(Eviction::Blocked {
            budget: Some("budget".to_owned()),
            message: format!("{wanted} must be healthy"),
            retry_after: None,
        })
    }
}

fn failure(dice: &mut Dice) -> Eviction {
    Eviction::Failed(if dice.chance(50) {
        CallError::Timeout(Duration::from_secs(3))
    } else {
        let code = dice.pick(&[500, 503]);
        CallError::Refused(Box::new(Refusal {
            code,
            ..Refusal::default()
        }))
    })
}
