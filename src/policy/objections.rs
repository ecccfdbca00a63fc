//! What is wrong with the annotations and labels of an object that somebody is about to store.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
};

use super::{
    ImageRef, Stamp,
    excerpt::excerpt,
    names,
    pod::Annotations,
    wishes::{Origin, Wishes, unknown},
};

mod labels;

pub use labels::Label;

/// What is said of an object: the faults refuse it, the warnings do not.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Objections {
    /// Why it must not be stored as it is.
    pub faults: Vec<String>,
    /// What its author should know.
    pub warnings: Vec<String>,
}

/// Where wishes stand on an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Where they count: on a pod, a namespace or a pod template.
    Counting,
    /// Where they have no effect: on a workload itself, beside its template.
    Idle,
}

/// A container of a pod that gets another image in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewImage<'a> {
    /// The container's name.
    pub container: &'a str,
    /// Its new image.
    pub image: &'a str,
}

impl Objections {
    /// Adds what is wrong with the wishes `after`, as far as they are not the same as `before`.
    ///
    /// Wishes that were there already are nobody's fault now: whoever changes something else, be it the controller
    /// of a workload, must not be held up by them. Names that are not known are warned of and no more, as a newer
    /// podrefresh may know them.
    pub fn wishes(&mut self, place: Place, before: &Annotations, after: &Annotations) {
        let before: HashSet<_> = before.iter().collect();
        let new: Vec<_> = after
            .iter()
            .filter(|wish| !before.contains(wish))
            .cloned()
            .collect();
        let refused = Wishes::parse(&new, &[]).err();
        let faults = refused.iter().flat_map(|bad| bad.faults());
        self.faults.extend(faults.map(ToString::to_string));
        let strange = unknown(&new, Origin::Pod);
        self.warnings
            .extend(strange.iter().map(ToString::to_string));
        if place == Place::Idle && !new.is_empty() {
            let names: Vec<_> = new.iter().map(|(name, _)| excerpt(name)).collect();
            self.warnings.push(format!(
                "{}{} has no effect here: it belongs on the pod template (or on the namespace)",
                names::PREFIX,
                names.join(", ")
            ));
        }
    }

    /// Adds what somebody other than the webhook did to the stamps of a running pod.
    ///
    /// The stamps of a container that gets another image in the same breath are those of that image, or gone.
    pub fn stamps(&mut self, before: &Stamps<'_>, after: &Stamps<'_>, images: &[NewImage<'_>]) {
        let keys: BTreeSet<&str> = before.0.keys().chain(after.0.keys()).copied().collect();
        // Where a volume is named like a container the container counts, which comes first.
        let images: HashMap<&str, &NewImage<'_>> =
            (images.iter().rev().map(|new| (new.container, new))).collect();
        for key in keys {
            let (was, is) = (before.get(key), after.get(key));
            if was == is {
                continue;
            }
            let part = names::stamped_part(key).unwrap_or_default();
            let image = images.get(part);
            if image.is_some_and(|new| after.fit(new)) {
                continue;
            }
            self.faults.push(Tampered { key, was, is }.to_string());
        }
    }
}

/// The stamps among a pod's annotations, by their whole names.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Stamps<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Stamps<'a> {
    /// Returns the stamps among `annotations`.
    pub fn of(annotations: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let stamps = annotations.into_iter();
        Self(stamps.filter(|(key, _)| names::is_stamp(key)).collect())
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.get(key).copied()
    }

    /// Says whether the stamps of a container are those of its new image, or there are none.
    fn fit(&self, new: &NewImage<'_>) -> bool {
        let digest = self.get(&names::digest_annotation(new.container));
        let image = self.get(&names::image_annotation(new.container));
        match (digest, image) {
            (None, None) => true,
            _ => Stamp::read(digest, image).is_some_and(|stamp| {
                let image = new.image.parse::<ImageRef>();
                image.is_ok_and(|image| stamp.is_for(&image))
            }),
        }
    }
}

/// One stamp that is another one than it was.
struct Tampered<'a> {
    key: &'a str,
    was: Option<&'a str>,
    is: Option<&'a str>,
}

impl fmt::Display for Tampered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, was, is } = self;
        let key = excerpt(key);
        match (was.map(excerpt), is.map(excerpt)) {
            (Some(was), Some(is)) => write!(f, "{key}={is:?} must stay {was:?}")?,
            (Some(was), None) => write!(f, "{key} must stay {was:?}")?,
            (None, is) => write!(f, "{key}={:?} must not be added", is.unwrap_or_default())?,
        }
        f.write_str(": it says what the pod was admitted with, and only podrefresh writes it")?;
        match was {
            // Mostly by somebody who writes all annotations of a pod and means another one.
            Some(_) => f.write_str("; whoever writes a pod's annotations must keep it"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs = [(&'static str, &'static str)];

    fn annotations(pairs: &Pairs) -> Vec<(Box<str>, Box<str>)> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect()
    }

    fn wishes(place: Place, before: &Pairs, after: &Pairs) -> Objections {
        let mut said = Objections::default();
        said.wishes(place, &annotations(before), &annotations(after));
        said
    }

    /// Checks how many faults and warnings there are.
    #[track_caller]
    fn check(place: Place, before: &Pairs, after: &Pairs, faults: usize, warnings: usize) {
        let said = wishes(place, before, after);
        assert_eq!(
            (said.faults.len(), said.warnings.len()),
            (faults, warnings),
            "{said:#?}"
        );
    }

    #[test]
    fn all_faults_are_told_at_once_and_strange_names_are_warned_of() {
        let after = [
            ("mod", "pin"),
            ("mode", "pn"),
            ("strategy", "evict"),
            ("window", "never"),
        ];
        let said = wishes(Place::Counting, &[], &after);
        assert_eq!(said.faults.len(), 2);
        assert_eq!(
            said.faults[0],
            "podrefresh.io/mode=\"pn\" must be one of stamp, pin (did you mean \"pin\"?)"
        );
        assert!(said.faults[1].starts_with("podrefresh.io/window=\"never\" must be windows"));
        let [warning] = &said.warnings[..] else {
            panic!("{said:#?}");
        };
        assert!(warning.starts_with("podrefresh.io/mod=\"pin\" must be named one of"));
        assert!(warning.ends_with("(did you mean \"podrefresh.io/mode\"?)"));
    }

    #[test]
    fn what_was_there_before_is_nobodys_fault_now() {
        let bad = [("mod", "x"), ("mode", "pn")];
        check(Place::Counting, &[], &bad, 1, 1);
        check(Place::Counting, &bad, &bad, 0, 0);
        check(Place::Counting, &bad, &[("mode", "pnn")], 1, 0);
        check(Place::Counting, &bad, &[], 0, 0);
        check(
            Place::Counting,
            &bad,
            &[("mode", "pn"), ("min-age", "x")],
            1,
            0,
        );
    }

    #[test]
    fn wishes_beside_the_template_are_told_to_have_no_effect() {
        check(Place::Idle, &[], &[("mode", "pin")], 0, 1);
        check(Place::Counting, &[], &[("mode", "pin")], 0, 0);
        check(Place::Idle, &[("mode", "pin")], &[("mode", "pin")], 0, 0);
        check(Place::Idle, &[], &[("mode", "x")], 1, 1);
        check(Place::Idle, &[], &[], 0, 0);
    }

    const OLD: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const NEW: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    const STAMPED: &Pairs = &[
        ("digest.podrefresh.io/app", OLD),
        ("image.podrefresh.io/app", "docker.io/library/a:1"),
    ];

    /// Checks the faults of stamps that were [`STAMPED`], while `app` gets `image` if any.
    #[track_caller]
    fn check_stamps(after: &Pairs, image: Option<&str>, expected: &[&str]) {
        let stamps = |pairs: &Pairs| Stamps::of(pairs.to_vec());
        let new = image.map(|image| NewImage {
            container: "app",
            image,
        });
        let images: Vec<_> = new.into_iter().collect();
        let mut said = Objections::default();
        said.stamps(&stamps(STAMPED), &stamps(after), &images);
        let starts = said.faults.iter().map(|fault| fault.split(": it").next());
        let starts: Vec<_> = starts.flatten().collect();
        assert_eq!(starts, expected);
    }

    #[test]
    fn nobody_else_adds_changes_or_removes_a_stamp() {
        check_stamps(STAMPED, None, &[]);
        check_stamps(
            &[("digest.podrefresh.io/app", NEW), STAMPED[1]],
            None,
            &[&format!(
                "digest.podrefresh.io/app={NEW:?} must stay {OLD:?}"
            )],
        );
        check_stamps(
            &[],
            None,
            &[
                &format!("digest.podrefresh.io/app must stay {OLD:?}"),
                "image.podrefresh.io/app must stay \"docker.io/library/a:1\"",
            ],
        );
        check_stamps(
            &[
                STAMPED[0],
                STAMPED[1],
                ("digest.podrefresh.io/b", "x"),
                ("x", "y"),
            ],
            None,
            &["digest.podrefresh.io/b=\"x\" must not be added"],
        );
    }

    #[test]
    fn a_new_image_has_its_own_stamps_or_none() {
        let restamped = |image| {
            [
                ("digest.podrefresh.io/app", NEW),
                ("image.podrefresh.io/app", image),
            ]
        };
        check_stamps(&restamped("docker.io/library/a:2"), Some("a:2"), &[]);
        check_stamps(
            &restamped("docker.io/library/a:2"),
            Some(&format!("a:2@{NEW}")),
            &[],
        );
        check_stamps(&[], Some("a:2"), &[]);
        check_stamps(
            &restamped("docker.io/library/a:3"),
            Some("a:2"),
            &[
                &format!("digest.podrefresh.io/app={NEW:?} must stay {OLD:?}"),
                "image.podrefresh.io/app=\"docker.io/library/a:3\" must stay \"docker.io/library/a:1\"",
            ],
        );
        check_stamps(
            &[STAMPED[1]],
            Some("a:2"),
            &[&format!("digest.podrefresh.io/app must stay {OLD:?}")],
        );
        // Another container's image says nothing about these.
        let other = [NewImage {
            container: "b",
            image: "a:2",
        }];
        let mut said = Objections::default();
        said.stamps(&Stamps::of(STAMPED.to_vec()), &Stamps::default(), &other);
        assert_eq!(said.faults.len(), 2);
        let advice = "only podrefresh writes it; whoever writes a pod's annotations must keep it";
        for fault in &said.faults {
            assert!(fault.ends_with(advice), "{fault}");
        }
    }
}
