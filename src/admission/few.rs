//! Lists and maps of an object that end early where they have more entries than any sound object.
//!
//! Nobody needs a certificate of his own to send us a review. In its 8 MiB fit millions of empty containers, which would
//! take many times the room of their text.

use std::{
    collections::{BTreeMap, btree_map},
    fmt,
    marker::PhantomData,
    ops::Deref,
};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

/// The most entries of a list. A kubelet runs some hundred containers on its whole node.
pub const ITEMS: usize = 1000;

/// The most entries of a map: two stamps for each part of a pod with [`ITEMS`] of each sort, and as many others.
pub const ENTRIES: usize = 10_000;

/// A list of at most [`ITEMS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Items<T>(Vec<T>);

/// A map of at most [`ENTRIES`], sorted by its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entries<K, V>(BTreeMap<K, V>);

impl<T> Deref for Items<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<K, V> Deref for Entries<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &BTreeMap<K, V> {
        &self.0
    }
}

impl<K, V> Default for Entries<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'e, K, V> IntoIterator for &'e Entries<K, V> {
    type Item = (&'e K, &'e V);
    type IntoIter = btree_map::Iter<'e, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ItemsVisitor(PhantomData))
    }
}

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Deserialize<'de> for Entries<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct ItemsVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ItemsVisitor<T> {
    type Value = Items<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            if ITEMS <= items.len() {
                return Err(too_many("list", ITEMS));
            }
            items.push(item);
        }
        Ok(Items(items))
    }
}

struct EntriesVisitor<K, V>(PhantomData<(K, V)>);

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Visitor<'de> for EntriesVisitor<K, V> {
    type Value = Entries<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<K, V>, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((key, value)) = map.next_entry()? {
            if ENTRIES <= entries.len() {
                return Err(too_many("map", ENTRIES));
            }
            entries.insert(key, value);
        }
        Ok(Entries(entries))
    }
}

fn too_many<E: Error>(what: &str, most: usize) -> E {
    E::custom(format_args!("a {what} has more than {most} entries"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the length, or what is wrong with `text`.
    fn items(text: &str) -> Result<usize, String> {
        let items = serde_json::from_str::<Items<u8>>(text);
        items
            .map(|items| items.len())
            .map_err(|error| error.to_string())
    }

    fn entries(text: &str) -> Result<usize, String> {
        let entries = serde_json::from_str::<Entries<String, u8>>(text);
        entries
            .map(|entries| entries.len())
            .map_err(|error| error.to_string())
    }

    /// Checks that `text` counts as too long, and is read no further than that.
    #[track_caller]
    fn check_cut(read: fn(&str) -> Result<usize, String>, text: &str, expected: &str) {
        let endless = format!("{text},and this is no JSON");
        let error = read(&endless).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn a_list_ends_at_its_limit() {
        let most = vec!["1"; ITEMS].join(",");
        assert_eq!(items("[]"), Ok(0));
        assert_eq!(items(&format!("[{most}]")), Ok(ITEMS));
        check_cut(
            items,
            &format!("[{most},1"),
            "a list has more than 1000 entries",
        );
        assert!(items("{}").unwrap_err().contains("expected a list"));
    }

    #[test]
    fn a_map_ends_at_its_limit() {
        let keys = (0..ENTRIES).map(|key| format!("\"{key}\":1"));
        let most = keys.collect::<Vec<_>>().join(",");
        assert_eq!(entries("{}"), Ok(0));
        assert_eq!(entries(&format!("{{{most}}}")), Ok(ENTRIES));
        check_cut(
            entries,
            &format!("{{{most},\"x\":1"),
            "a map has more than 10000 entries",
        );
        assert!(entries("[]").unwrap_err().contains("expected a map"));
    }
}
