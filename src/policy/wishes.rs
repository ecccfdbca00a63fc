//! What a pod's owner wishes for it: its annotations, over its namespace's as the default.

use std::{str::FromStr, time::Duration};

use super::{
    names,
    pod::Annotations,
    window::{self, Windows},
};

mod age;
mod choice;
mod fault;
mod max_unavailable;
mod nearest;
mod selection;

pub use choice::{Mode, OnUnresolved, Strategy};
pub use fault::{BadWishes, Fault, Origin, Refusal};
pub use max_unavailable::MaxUnavailable;
pub use selection::Selection;

/// The wishes for one pod; the default is that of a pod without annotations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishes {
    /// `mode`: what the webhook writes besides stamps.
    pub mode: Mode,
    /// `strategy`: what happens when the pod is outdated.
    pub strategy: Strategy,
    /// `containers`: which of them count.
    pub containers: Selection,
    /// `window`: when the pod may be refreshed.
    pub window: Windows,
    /// `min-age`: how long a digest must have been seen before it is acted on.
    pub min_age: Duration,
    /// `max-unavailable`: how many pods of its owner may be down for our sake.
    pub max_unavailable: MaxUnavailable,
    /// `on-unresolved`: what becomes of the pod when the registry cannot answer at admission.
    pub on_unresolved: OnUnresolved,
}

/// The most bytes of a wish: more than anybody writes, as each pod's are kept in memory.
pub const LONGEST_WISH: usize = 4096;

/// The names of all wishes, without their prefix, in the order of their documentation.
pub const NAMES: [&str; 7] = [
    "mode",
    "strategy",
    "containers",
    "window",
    "min-age",
    "max-unavailable",
    "on-unresolved",
];

impl Wishes {
    /// Returns the wishes in a pod's annotations, each completed by its namespace's.
    ///
    /// # Errors
    /// All values that make no sense. A namespace's value that the pod overrides is not looked at.
    pub fn parse(pod: &Annotations, namespace: &Annotations) -> Result<Self, BadWishes> {
        let mut source = Source {
            pod,
            namespace,
            faults: Vec::new(),
        };
        let [
            mode,
            strategy,
            containers,
            window,
            min_age,
            max_unavailable,
            on_unresolved,
        ] = NAMES;
        let wishes = Self {
            mode: source.read(mode, Mode::from_str),
            strategy: source.read(strategy, Strategy::from_str),
            containers: source.read(containers, Selection::from_str),
            window: source.read(window, windows),
            min_age: source.read(min_age, age::parse),
            max_unavailable: source.read(max_unavailable, MaxUnavailable::from_str),
            on_unresolved: source.read(on_unresolved, OnUnresolved::from_str),
        };
        if source.faults.is_empty() {
            Ok(wishes)
        } else {
            Err(BadWishes(source.faults))
        }
    }
}

/// Returns a fault for each annotation below `podrefresh.io/` that is none of ours.
///
/// They do no harm to a pod, which is why [`Wishes::parse`] passes over them; but they are typing errors.
pub fn unknown(annotations: &Annotations, origin: Origin) -> Vec<Fault> {
    let restart = names::REFRESHED.strip_prefix(names::PREFIX);
    let label = names::ENABLED.strip_prefix(names::PREFIX);
    annotations
        .iter()
        .filter(|(name, _)| !NAMES.contains(&&**name) && Some(&**name) != restart)
        .map(|(name, value)| {
            let refusal = if Some(&**name) == label {
                Refusal::new("a label, not an annotation")
            } else {
                let nearest =
                    nearest::nearest(name, NAMES).map(|n| format!("{}{n}", names::PREFIX));
                Refusal::new(format!("named one of {}", NAMES.join(", "))).nearest(nearest)
            };
            Fault::new(origin, name, value, refusal)
        })
        .collect()
}

/// The annotations that wishes are read from, and what was wrong with those read so far.
struct Source<'a> {
    pod: &'a Annotations,
    namespace: &'a Annotations,
    faults: Vec<Fault>,
}

impl Source<'_> {
    fn read<T: Default>(&mut self, name: &str, parse: fn(&str) -> Result<T, Refusal>) -> T {
        let (origin, value) = match (find(self.pod, name), find(self.namespace, name)) {
            (Some(value), _) => (Origin::Pod, value),
            (None, Some(value)) => (Origin::Namespace, value),
            (None, None) => return T::default(),
        };
        let parsed = match value.len() {
            length if LONGEST_WISH < length => {
                Err(Refusal::new(format!("at most {LONGEST_WISH} bytes long")))
            }
            _ => parse(value),
        };
        parsed.unwrap_or_else(|refusal| {
            self.faults.push(Fault::new(origin, name, value, refusal));
            T::default()
        })
    }
}

fn find<'a>(annotations: &'a Annotations, wanted: &str) -> Option<&'a str> {
    annotations
        .iter()
        .find(|(name, _)| **name == *wanted)
        .map(|(_, value)| &**value)
}

fn windows(text: &str) -> Result<Windows, Refusal> {
    text.parse().map_err(|error| {
        Refusal::new(format!(
            "windows such as Mon-Fri 22:00-06:00 Europe/Berlin, separated by ';': {error}"
        ))
        .nearest(window::repaired(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> Vec<(Box<str>, Box<str>)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect()
    }

    fn parse(pod: &[(&str, &str)], namespace: &[(&str, &str)]) -> Result<Wishes, BadWishes> {
        Wishes::parse(&annotations(pod), &annotations(namespace))
    }

    /// Checks what the first fault says.
    #[track_caller]
    fn refuse(name: &str, value: &str, expected: &str) {
        let error = parse(&[(name, value)], &[]).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn without_annotations_the_defaults_hold() {
        let wishes = parse(&[], &[]).unwrap();
        assert_eq!(wishes, Wishes::default());
        assert_eq!(wishes.mode, Mode::Stamp);
        assert_eq!(wishes.strategy, Strategy::Evict);
        assert_eq!(wishes.min_age, Duration::ZERO);
        assert_eq!(wishes.max_unavailable, MaxUnavailable::Pods(1));
        assert_eq!(wishes.on_unresolved, OnUnresolved::Warn);
        assert!(wishes.containers.takes("app"));
    }

    #[test]
    fn every_annotation_is_read() {
        let wishes = parse(
            &[
                ("containers", "!proxy"),
                ("max-unavailable", "25%"),
                ("min-age", "10m"),
                ("mode", "pin"),
                ("on-unresolved", "deny"),
                ("strategy", "notify"),
                ("window", "Mon 1:00-2:00"),
            ],
            &[],
        );
        let expected = Wishes {
            mode: Mode::Pin,
            strategy: Strategy::Notify,
            containers: "!proxy".parse().unwrap(),
            window: "Mon 1:00-2:00".parse().unwrap(),
            min_age: Duration::from_secs(600),
            max_unavailable: MaxUnavailable::Percent(25),
            on_unresolved: OnUnresolved::Deny,
        };
        assert_eq!(wishes, Ok(expected));
    }

    #[test]
    fn a_pods_annotation_stands_over_its_namespaces() {
        let wishes = parse(&[("mode", "stamp")], &[("min-age", "1m"), ("mode", "pin")]).unwrap();
        assert_eq!(wishes.mode, Mode::Stamp);
        assert_eq!(wishes.min_age, Duration::from_secs(60));
        assert!(parse(&[("mode", "stamp")], &[("mode", "nonsense")]).is_ok());
        assert!(parse(&[("mode", "nonsense")], &[("mode", "stamp")]).is_err());
    }

    #[test]
    fn all_faults_are_told_at_once_and_where_they_stand() {
        let error =
            parse(&[("strategy", "evct"), ("mode", "x")], &[("min-age", "10")]).unwrap_err();
        assert_eq!(error.faults().len(), 3);
        assert_eq!(
            error.to_string(),
            "podrefresh.io/mode=\"x\" must be one of stamp, pin; \
             podrefresh.io/strategy=\"evct\" must be one of evict, restart, auto, notify (did you mean \"evict\"?); \
             podrefresh.io/min-age=\"10\" on the namespace must be a time such as 30s, 10m, 1h30m or 1d, at most \
             365d (did you mean \"10s\"?)"
        );
    }

    #[test]
    fn a_refusal_names_the_annotation_the_value_and_what_is_allowed() {
        refuse(
            "max-unavailable",
            "0",
            "podrefresh.io/max-unavailable=\"0\" must be a number of pods from 1, such as 1, or a percentage from 1% \
             to 100%, such as 25% (did you mean \"1\"?)",
        );
        refuse(
            "window",
            "Mo 1:00-2:00",
            "podrefresh.io/window=\"Mo 1:00-2:00\" must be windows such as Mon-Fri 22:00-06:00 Europe/Berlin, \
             separated by ';': day \"Mo\" is none of Mon, Tue, Wed, Thu, Fri, Sat, Sun, daily (did you mean \
             \"Mon 01:00-02:00\"?)",
        );
        for name in NAMES {
            assert!(
                parse(&[(name, "")], &[]).is_err(),
                "{name} must not be empty"
            );
        }
        let containers = |length: usize| "a,".repeat(length / 2 - 1) + "bb";
        assert!(parse(&[("containers", &containers(LONGEST_WISH))], &[]).is_ok());
        let long = parse(&[("containers", &containers(LONGEST_WISH + 2))], &[]).unwrap_err();
        assert!(
            long.to_string()
                .ends_with("must be at most 4096 bytes long"),
            "{long}"
        );
    }

    #[test]
    fn an_unknown_annotation_is_told_and_does_no_harm() {
        let mistyped = annotations(&[
            ("enabled", "true"),
            ("max-unavailabel", "2"),
            ("refreshed", "x"),
            ("mode", "pin"),
        ]);
        assert!(Wishes::parse(&mistyped, &[]).is_ok());
        let faults = unknown(&mistyped, Origin::Pod);
        let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "podrefresh.io/enabled=\"true\" must be a label, not an annotation",
                "podrefresh.io/max-unavailabel=\"2\" must be named one of mode, strategy, containers, window, min-age, \
                 max-unavailable, on-unresolved (did you mean \"podrefresh.io/max-unavailable\"?)",
            ]
        );
    }
}
