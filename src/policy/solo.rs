//! May a pod that sees nothing but itself and its owner have the owner restarted now?
//!
//! As many sidecars ask this as the owner has pods. None knows of the others: what keeps them to one rollout is
//! that all derive the same value from the same facts, and that it stands in the template once the first was heard.

use super::restart::{is_for, value_over};

/// What a pod with an outdated container sees of itself and its owner, read just now.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// Whether a change of the owner's template replaces all its pods without anybody's doing.
    pub automatic: bool,
    /// Whether somebody has paused the owner's rollouts.
    pub paused: bool,
    /// Whether pods are being replaced.
    pub rolling: bool,
    /// Whether the last rollout made no progress in the time that the owner gives it; then it is not `rolling`.
    pub stuck: bool,
    /// What the last restart wrote into the owner's template, if there was one.
    pub template: Option<&'a str>,
    /// What had been written there when this pod was made.
    pub made_with: Option<&'a str>,
    /// The value for the digest that the container should run, see [`refreshed_value`](super::refreshed_value).
    pub wanted: &'a str,
    /// Whether the tag has been seen to mean something else since the pod was made: so what the pod came up with
    /// says nothing against another restart.
    pub has_moved: bool,
    /// Whether the pod was made so lately that the last restart may still be making others.
    pub young: bool,
    /// How the pod itself does.
    pub health: Health,
}

/// How a pod does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It is ready, or has not yet had the time to become so.
    Fine,
    /// It is not ready, though it has had the time to become so.
    Failing,
}

/// Why the owner of an outdated pod is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stay {
    /// A new template would not replace its pods.
    NoRollout,
    /// Somebody has paused it.
    Paused,
    /// A rollout is under way.
    Rollout,
    /// It was restarted for this digest, and the rollout has got stuck.
    Halted,
    /// The pod comes from a restart for this digest and does not run it all the same: the next would not either.
    Ineffective,
}

impl Stay {
    /// All of them, in the order in which they are checked.
    pub const ALL: [Self; 5] = [
        Self::NoRollout,
        Self::Paused,
        Self::Rollout,
        Self::Halted,
        Self::Ineffective,
    ];

    /// Returns the stable, documented name of the reason.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoRollout => "no_rollout",
            Self::Paused => "paused",
            Self::Rollout => "rollout",
            Self::Halted => "halted",
            Self::Ineffective => "ineffective",
        }
    }
}

/// Returns what to write into the owner's template to have its pods replaced.
///
/// # Errors
/// Why that must not be done now.
pub fn restart(sight: &Sight<'_>) -> Result<String, Stay> {
    if !sight.automatic {
        return Err(Stay::NoRollout);
    }
    if sight.paused {
        return Err(Stay::Paused);
    }
    let is_restarted = (sight.template).is_some_and(|value| is_for(value, sight.wanted));
    let is_of_last = sight.template == sight.made_with;
    if is_restarted && !is_of_last {
        // Another sidecar was first: this pod is about to be replaced.
        return Err(match sight.stuck {
            true => Stay::Halted,
            false => Stay::Rollout,
        });
    }
    // A restart made the pod, and it came up outdated. If that was a restart for another container, by another
    // sidecar, the two must not take turns: this one waits until the pod has had some life.
    let is_in_vain = is_restarted || sight.made_with.is_some() && is_of_last && sight.young;
    if is_in_vain && !sight.has_moved {
        return Err(Stay::Ineffective);
    }
    // A rollout that waits for pods which fail would wait for ever, if they were not to get what mends them. Such
    // a pod may speak only where it is of the last restart: an older one is being replaced anyway.
    if sight.rolling && !(is_of_last && sight.health == Health::Failing) {
        return Err(Stay::Rollout);
    }
    Ok(value_over(sight.template, sight.wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    // A pod that was made by no restart, whose tag has moved, and which should now run `new`.
    const CALM: Sight<'_> = Sight {
        automatic: true,
        paused: false,
        rolling: false,
        stuck: false,
        template: None,
        made_with: None,
        wanted: "new",
        has_moved: true,
        young: true,
        health: Health::Fine,
    };

    #[track_caller]
    fn check(sight: Sight<'_>, expected: Result<&str, Stay>) {
        let value = restart(&sight);
        assert_eq!(value.as_deref(), expected.as_ref().copied(), "{sight:?}");
    }

    /// A pod made with one value whose owner has another.
    fn values<'a>(template: Option<&'a str>, made_with: Option<&'a str>) -> Sight<'a> {
        Sight {
            template,
            made_with,
            ..CALM
        }
    }

    #[test]
    fn the_first_to_ask_restarts_and_all_others_wait_for_that() {
        check(CALM, Ok("new"));
        check(values(Some("old"), Some("old")), Ok("new"));
        check(values(Some("new"), Some("old")), Err(Stay::Rollout));
        check(values(Some("new"), None), Err(Stay::Rollout));
        check(values(Some("new-2"), Some("new")), Err(Stay::Rollout));
    }

    #[test]
    fn nothing_is_done_to_an_owner_that_does_not_roll_or_is_paused() {
        let unrolled = Sight {
            automatic: false,
            paused: true,
            ..CALM
        };
        check(unrolled, Err(Stay::NoRollout));
        let paused = Sight {
            paused: true,
            rolling: true,
            ..CALM
        };
        check(paused, Err(Stay::Paused));
    }

    #[test]
    fn a_rollout_under_way_is_left_alone() {
        let rolling = Sight {
            rolling: true,
            ..CALM
        };
        check(rolling, Err(Stay::Rollout));
    }

    #[test]
    fn a_failing_pod_of_the_last_restart_gets_its_fix() {
        let failing = Sight {
            rolling: true,
            health: Health::Failing,
            ..values(Some("bad"), Some("bad"))
        };
        check(failing, Ok("new"));
        check(
            Sight {
                health: Health::Fine,
                ..failing
            },
            Err(Stay::Rollout),
        );
        // An older one is on its way out, failing or not.
        check(
            Sight {
                made_with: Some("old"),
                ..failing
            },
            Err(Stay::Rollout),
        );
    }

    #[test]
    fn a_stuck_rollout_gets_its_fix_from_any_pod_but_not_the_same_again() {
        let stuck = Sight {
            stuck: true,
            ..values(Some("bad"), Some("old"))
        };
        check(stuck, Ok("new"));
        check(
            Sight {
                template: Some("new"),
                ..stuck
            },
            Err(Stay::Halted),
        );
    }

    #[test]
    fn a_restart_that_changed_nothing_is_not_repeated() {
        let vain = Sight {
            has_moved: false,
            ..values(Some("new"), Some("new"))
        };
        check(vain, Err(Stay::Ineffective));
        check(
            Sight {
                template: Some("new-2"),
                made_with: Some("new-2"),
                ..vain
            },
            Err(Stay::Ineffective),
        );
    }

    #[test]
    fn two_containers_in_vain_do_not_take_turns_for_ever() {
        let other = Sight {
            has_moved: false,
            ..values(Some("other"), Some("other"))
        };
        check(other, Err(Stay::Ineffective));
        check(
            Sight {
                young: false,
                ..other
            },
            Ok("new"),
        );
        check(
            Sight {
                has_moved: true,
                ..other
            },
            Ok("new"),
        );
        // No restart made it.
        check(
            Sight {
                has_moved: false,
                ..CALM
            },
            Ok("new"),
        );
    }

    #[test]
    fn a_tag_that_moved_away_and_back_is_followed() {
        check(values(Some("new"), Some("new")), Ok("new-2"));
        check(values(Some("new-2"), Some("new-2")), Ok("new-3"));
    }

    #[test]
    fn labels_are_distinct() {
        let labels = Stay::ALL.map(Stay::label);
        for (nth, label) in labels.iter().enumerate() {
            assert!(!labels[..nth].contains(label), "{label}");
        }
    }
}
