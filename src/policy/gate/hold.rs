//! What holds an outdated pod back.

/// Why an outdated pod may not go in this pass; in the order in which it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hold {
    /// Another replica leads.
    NotLeader,
    /// Its strategy is to tell, not to act.
    Notify,
    /// Its strategy is one that this version cannot carry out.
    Unsupported,
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
    /// As many pods of its owner are down as may be.
    Pace,
    /// The same, and a pod that is not outdated has not become ready within the progress deadline.
    Halted,
    /// As many pods have been evicted in the last minute as may be.
    Budget,
    /// A PodDisruptionBudget refused its eviction.
    Pdb,
    /// The API server refused its eviction for another reason.
    Refused,
}

impl Hold {
    /// All of them, in the order in which they are checked.
    pub const ALL: [Self; 13] = [
        Self::NotLeader,
        Self::Notify,
        Self::Unsupported,
        Self::Unconfirmed,
        Self::MinAge,
        Self::Window,
        Self::RegistryFailing,
        Self::Ineffective,
        Self::Pace,
        Self::Halted,
        Self::Budget,
        Self::Pdb,
        Self::Refused,
    ];

    /// Returns the stable, documented name of the reason.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotLeader => "not_leader",
            Self::Notify => "notify",
            Self::Unsupported => "unsupported",
            Self::Unconfirmed => "unconfirmed",
            Self::MinAge => "min_age",
            Self::Window => "window",
            Self::RegistryFailing => "registry_failing",
            Self::Ineffective => "ineffective",
            Self::Pace => "pace",
            Self::Halted => "halted",
            Self::Budget => "budget",
            Self::Pdb => "pdb",
            Self::Refused => "refused",
        }
    }
}
