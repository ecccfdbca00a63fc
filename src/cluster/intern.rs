//! One copy of what thousands of pods repeat: names, owners, images, annotations.

use std::{
    borrow::Borrow,
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Arc,
};

use crate::policy::{
    ImageRef, InvalidImage, Owner, PullIdentity, image::LONGEST_IMAGE, pod::Annotations,
};

// Fewer entries than this are not worth a sweep.
const SWEEP_FLOOR: usize = 1024;

/// The shared copies; entries that nobody else holds are dropped now and then.
#[derive(Debug)]
pub(super) struct Interner {
    texts: HashSet<Arc<str>>,
    owners: HashSet<Arc<Owner>>,
    identities: HashSet<Arc<PullIdentity>>,
    annotations: HashSet<Arc<Annotations>>,
    images: HashMap<Box<str>, Image>,
    sweep_at: usize,
}

/// A parsed reference, or why it is none.
pub(super) type Image = Result<Arc<ImageRef>, Arc<InvalidImage>>;

impl Default for Interner {
    fn default() -> Self {
        Self {
            texts: HashSet::new(),
            owners: HashSet::new(),
            identities: HashSet::new(),
            annotations: HashSet::new(),
            images: HashMap::new(),
            sweep_at: SWEEP_FLOOR,
        }
    }
}

impl Interner {
    /// Returns the shared copy of a text.
    pub(super) fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        let shared: Arc<str> = text.into();
        self.texts.insert(shared.clone());
        shared
    }

    /// Returns the shared copy of an owner.
    pub(super) fn owner(&mut self, owner: Owner) -> Arc<Owner> {
        share(&mut self.owners, owner)
    }

    /// Returns the shared copy of a pull identity.
    pub(super) fn identity(&mut self, identity: PullIdentity) -> Arc<PullIdentity> {
        share(&mut self.identities, identity)
    }

    /// Returns the shared copy of some wishes.
    pub(super) fn annotations(
        &mut self,
        annotations: Vec<(Box<str>, Box<str>)>,
    ) -> Arc<Annotations> {
        if let Some(known) = self.annotations.get(annotations.as_slice()) {
            return known.clone();
        }
        let shared: Arc<Annotations> = annotations.into();
        self.annotations.insert(shared.clone());
        shared
    }

    /// Returns the result of parsing a reference, shared unless the text is longer than any.
    pub(super) fn image(&mut self, text: &str) -> Image {
        // The text stays as a key until the next sweep.
        if LONGEST_IMAGE < text.len() {
            return text.parse().map(Arc::new).map_err(Arc::new);
        }
        if let Some(known) = self.images.get(text) {
            return known.clone();
        }
        let parsed: Image = text.parse().map(Arc::new).map_err(Arc::new);
        self.images.insert(text.into(), parsed.clone());
        parsed
    }

    /// Drops what nobody else holds, once the entries have doubled since the last time.
    pub(super) fn sweep(&mut self) {
        if self.len() < self.sweep_at {
            return;
        }
        // Holders first: an identity holds texts.
        self.identities.retain(is_held);
        self.owners.retain(is_held);
        self.annotations.retain(is_held);
        self.images.retain(|_, image| match image {
            Ok(image) => is_held(image),
            Err(fault) => is_held(fault),
        });
        self.texts.retain(is_held);
        self.sweep_at = SWEEP_FLOOR.max(self.len() * 2);
    }

    /// Returns how many entries there are.
    pub(super) fn len(&self) -> usize {
        self.texts.len()
            + self.owners.len()
            + self.identities.len()
            + self.annotations.len()
            + self.images.len()
    }
}

fn share<T: Eq + Hash>(set: &mut HashSet<Arc<T>>, value: T) -> Arc<T>
where
    Arc<T>: Borrow<T>,
{
    if let Some(known) = set.get(&value) {
        return known.clone();
    }
    let shared = Arc::new(value);
    set.insert(shared.clone());
    shared
}

fn is_held<T: ?Sized>(shared: &Arc<T>) -> bool {
    Arc::strong_count(shared) > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one() {
        let mut interner = Interner::default();
        assert!(Arc::ptr_eq(&interner.text("shop"), &interner.text("shop")));
        let image = |interner: &mut Interner| interner.image("nginx:1.27").unwrap();
        assert!(Arc::ptr_eq(&image(&mut interner), &image(&mut interner)));
        let wishes = || vec![("mode".into(), "pin".into())];
        assert!(Arc::ptr_eq(
            &interner.annotations(wishes()),
            &interner.annotations(wishes())
        ));
    }

    #[test]
    fn a_text_too_long_for_a_reference_is_not_kept() {
        let (digest, mut interner) = ("ab".repeat(64), Interner::default());
        let longest = format!(
            "{}.io:65535/{}:{}@sha512:{digest}",
            "a".repeat(252),
            "b".repeat(255),
            "c".repeat(128)
        );
        interner.image(&longest).unwrap();
        assert_eq!(interner.len(), 1);
        let error = interner.image(&"x".repeat(1 << 20)).unwrap_err();
        assert!(error.to_string().len() < 1024, "{error}");
        assert_eq!(interner.len(), 1);
    }

    #[test]
    fn a_sweep_drops_only_what_nobody_holds() {
        let mut interner = Interner::default();
        let held = interner.text("held");
        for n in 0..SWEEP_FLOOR {
            interner.image(&format!("app:{n}")).unwrap();
        }
        interner.sweep();
        assert_eq!(interner.len(), 1);
        assert!(Arc::ptr_eq(&held, &interner.text("held")));
    }

    #[test]
    fn garbage_stays_within_the_floor_or_the_same_again() {
        let mut interner = Interner::default();
        let held: Vec<_> = (0..3000).map(|n| interner.text(&n.to_string())).collect();
        for n in 0..100_000 {
            interner.text(&format!("gone-{n}"));
            interner.sweep();
            assert!(interner.len() <= held.len() * 2 + SWEEP_FLOOR);
        }
    }
}
