//! What holds an outdated pod back.

/// Why an outdated pod may not go in this pass; in the order in which it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hold {
    /// Another replica leads.
    NotLeader,
    /// Its strategy is to tell, not to act.
    Notify,
    /// The new digest has not been seen twice, far enough apart.
    Unconfirmed,
    /// The new digest is younger than `min-age`.
    MinAge,
    /// No window is open.
    Window,
    /// The registry is failing, so that its successor might not start.
    RegistryFailing,
    /// A successor has come up with the old image before.
    Ineffective,
    /// Its strategy is to restart its owner, but a new template would not replace its pods.
    NoRollout,
    /// Its owner is to be restarted, but somebody has paused it.
    Paused,
    /// Its owner is to be restarted, but a rollout is under way.
    Rollout,
    /// As many pods of its owner are down as may be.
    Pace,
    /// The same, and a pod that is not outdated has not become ready within the progress deadline.
    Halted,
    /// As many pods have been evicted in the last minute as may be.
    Budget,
    /// As many pods of its namespace have been evicted in the last minute as may be.
    NamespaceBudget,
    /// As many pods of its node have been evicted in the last minute as may be.
    NodeBudget,
    /// A PodDisruptionBudget refused its eviction.
    Pdb,
    /// The API server refused its eviction for another reason.
    Refused,
}

impl Hold {
    /// All of them, in the order in which they are checked.
    pub const ALL: [Self; 17] = [
        Self::NotLeader,
        Self::Notify,
        Self::Unconfirmed,
        Self::MinAge,
        Self::Window,
        Self::RegistryFailing,
        Self::Ineffective,
        Self::NoRollout,
        Self::Paused,
        Self::Rollout,
        Self::Pace,
        Self::Halted,
        Self::Budget,
        Self::NamespaceBudget,
        Self::NodeBudget,
        Self::Pdb,
        Self::Refused,
    ];

    /// Returns the stable, documented name of the reason.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotLeader => "not_leader",
            Self::Notify => "notify",
            Self::Unconfirmed => "unconfirmed",
            Self::MinAge => "min_age",
            Self::Window => "window",
            Self::RegistryFailing => "registry_failing",
            Self::Ineffective => "ineffective",
            Self::NoRollout => "no_rollout",
            Self::Paused => "paused",
            Self::Rollout => "rollout",
            Self::Pace => "pace",
            Self::Halted => "halted",
            Self::Budget => "budget",
            Self::NamespaceBudget => "namespace_budget",
            Self::NodeBudget => "node_budget",
            Self::Pdb => "pdb",
            Self::Refused => "refused",
        }
    }
}
