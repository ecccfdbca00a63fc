//! The wishes that are one word out of a few.

use std::str::FromStr;

use super::{fault::Refusal, nearest::nearest};

/// What the webhook writes into a pod besides its stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Nothing.
    #[default]
    Stamp,
    /// The digest, behind the tag of the container's image.
    Pin,
}

/// What happens to outdated pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Strategy {
    /// They are evicted.
    #[default]
    Evict,
    /// Their owner's template is patched, as `kubectl rollout restart` does.
    Restart,
    /// Restart where a Deployment has one replica, else evict.
    Auto,
    /// An Event and a metric tell of them.
    Notify,
}

/// What becomes of a pod whose images cannot be resolved at admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnUnresolved {
    /// It is admitted in silence.
    Admit,
    /// It is admitted with a warning.
    #[default]
    Warn,
    /// It is refused.
    Deny,
}

impl Mode {
    const ALL: [Self; 2] = [Self::Stamp, Self::Pin];

    /// Returns the value that asks for it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Stamp => "stamp",
            Self::Pin => "pin",
        }
    }
}

impl Strategy {
    const ALL: [Self; 4] = [Self::Evict, Self::Restart, Self::Auto, Self::Notify];

    /// Returns the value that asks for it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Evict => "evict",
            Self::Restart => "restart",
            Self::Auto => "auto",
            Self::Notify => "notify",
        }
    }
}

impl OnUnresolved {
    const ALL: [Self; 3] = [Self::Admit, Self::Warn, Self::Deny];

    /// Returns the value that asks for it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Warn => "warn",
            Self::Deny => "deny",
        }
    }
}

impl FromStr for Mode {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        choose(text, &Self::ALL, Self::label)
    }
}

impl FromStr for Strategy {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        choose(text, &Self::ALL, Self::label)
    }
}

impl FromStr for OnUnresolved {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        choose(text, &Self::ALL, Self::label)
    }
}

fn choose<T: Copy>(text: &str, all: &[T], label: fn(T) -> &'static str) -> Result<T, Refusal> {
    let labels = || all.iter().map(|choice| label(*choice));
    all.iter()
        .copied()
        .find(|choice| label(*choice) == text)
        .ok_or_else(|| {
            let allowed = labels().collect::<Vec<_>>().join(", ");
            Refusal::new(format!("one of {allowed}")).nearest(nearest(text, labels()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_stands_for_its_choice() {
        for mode in Mode::ALL {
            assert_eq!(mode.label().parse(), Ok(mode));
        }
        for strategy in Strategy::ALL {
            assert_eq!(strategy.label().parse(), Ok(strategy));
        }
        for on_unresolved in OnUnresolved::ALL {
            assert_eq!(on_unresolved.label().parse(), Ok(on_unresolved));
        }
    }

    #[test]
    fn another_word_is_refused_with_all_that_are_allowed() {
        let refusal = "Pin".parse::<Mode>().unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "one of stamp, pin (did you mean \"pin\"?)"
        );
        for text in ["", " pin", "pin ", "delete"] {
            assert!(text.parse::<Mode>().is_err(), "{text}");
        }
        let refusal = "delete".parse::<Strategy>().unwrap_err();
        assert_eq!(refusal.to_string(), "one of evict, restart, auto, notify");
    }
}
