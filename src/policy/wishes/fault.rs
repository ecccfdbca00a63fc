//! What is wrong with an annotation of ours, in words that a person can act on.

use std::{error::Error, fmt};

use super::super::{excerpt::excerpt, names};

/// Which object an annotation stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// On the pod or its template.
    Pod,
    /// On the pod's namespace, as the default.
    Namespace,
}

/// One annotation that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it stands.
    pub origin: Origin,
    /// Its whole name: `podrefresh.io/mode`.
    pub annotation: String,
    /// Its value as it was given; one of more than 256 characters is cut.
    pub value: String,
    /// What it must be instead.
    pub refusal: Refusal,
}

/// What a value, or a name, must be instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is allowed, as it follows *must be*.
    pub allowed: String,
    /// The valid one that comes nearest, where there is one.
    pub nearest: Option<String>,
}

impl Refusal {
    pub(crate) fn new(allowed: impl Into<String>) -> Self {
        Self {
            allowed: allowed.into(),
            nearest: None,
        }
    }

    pub(crate) fn nearest(self, nearest: Option<impl Into<String>>) -> Self {
        Self {
            nearest: nearest.map(Into::into),
            ..self
        }
    }
}

impl Fault {
    pub(super) fn new(origin: Origin, name: &str, value: &str, refusal: Refusal) -> Self {
        Self {
            origin,
            annotation: format!("{}{}", names::PREFIX, excerpt(name)),
            value: excerpt(value),
            refusal,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = match self.origin {
            Origin::Pod => "",
            Origin::Namespace => " on the namespace",
        };
        let Self {
            annotation,
            value,
            refusal,
            ..
        } = self;
        write!(f, "{annotation}={value:?}{on} must be {refusal}")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.allowed)?;
        match &self.nearest {
            Some(nearest) => write!(f, " (did you mean {nearest:?}?)"),
            None => Ok(()),
        }
    }
}

/// All that is wrong with the wishes for a pod; at least one fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadWishes(pub(super) Vec<Fault>);

impl BadWishes {
    /// Returns the faults in the order of the annotations' table.
    pub fn faults(&self) -> &[Fault] {
        &self.0
    }
}

impl fmt::Display for BadWishes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, fault) in self.0.iter().enumerate() {
            let separator = if nth == 0 { "" } else { "; " };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl Error for BadWishes {}
