//! Reading and writing the parts that all objects share.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Returns `metadata.name`, or nothing.
pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// Returns `metadata.namespace`, or nothing.
pub fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// Returns `metadata.uid`, or nothing.
pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// Returns `metadata.resourceVersion` as the number it is here, 0 without one.
pub fn revision(object: &Value) -> u64 {
    text(object, "/metadata/resourceVersion")
        .parse()
        .unwrap_or(0)
}

/// Returns `metadata.generation`, 0 without one.
pub fn generation(object: &Value) -> i64 {
    number(object, "/metadata/generation").unwrap_or(0)
}

/// Returns the string at a JSON pointer, or nothing.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or("")
}

/// Returns the whole number at a JSON pointer.
pub fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

/// Returns the elements of the list at a JSON pointer; none when there is no list.
pub fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Returns `metadata.labels`.
pub fn labels(object: &Value) -> BTreeMap<String, String> {
    strings(object, "/metadata/labels")
}

/// Returns one label.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object
        .pointer("/metadata/labels")
        .and_then(|l| l.get(key))
        .and_then(Value::as_str)
}

/// Returns `metadata.annotations`.
pub fn annotations(object: &Value) -> BTreeMap<String, String> {
    strings(object, "/metadata/annotations")
}

/// Returns one annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object
        .pointer("/metadata/annotations")
        .and_then(|l| l.get(key))
        .and_then(Value::as_str)
}

/// Sets one annotation, making the map when there is none.
pub fn annotate(object: &mut Value, key: &str, value: &str) {
    map_at(metadata(object), "annotations").insert(key.to_owned(), json!(value));
}

/// Sets one label, making the map when there is none.
pub fn set_label(object: &mut Value, key: &str, value: &str) {
    map_at(metadata(object), "labels").insert(key.to_owned(), json!(value));
}

/// Says whether the object is being deleted.
pub fn is_terminating(object: &Value) -> bool {
    object
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(|at| !at.is_null())
}

/// Returns the owner reference with `controller: true`.
pub fn controller(object: &Value) -> Option<&Value> {
    list(object, "/metadata/ownerReferences")
        .iter()
        .find(|owner| owner["controller"] == true)
}

/// Returns the entry of `status.conditions` of this type.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(object, "/status/conditions")
        .iter()
        .find(|condition| condition["type"] == kind)
}

/// Says whether the condition of this type is `True`.
pub fn is_condition_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition["status"] == "True")
}

/// Returns the map `metadata`, making it when there is none.
pub fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    map_at(
        object.as_object_mut().expect("an object was just made"),
        "metadata",
    )
}

/// Returns the map under a key, making it when there is none.
pub fn map_at<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = map.entry(key).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("a map was just made")
}

/// Returns the map under a key of the object itself, making it when there is none.
pub fn map_at_root<'a>(object: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    metadata(object);
    map_at(
        object
            .as_object_mut()
            .expect("an object with metadata must be a map"),
        key,
    )
}

/// Sets a key unless it has a value already.
pub fn default(map: &mut Map<String, Value>, key: &str, value: Value) {
    let slot = map.entry(key).or_insert(Value::Null);
    if slot.is_null() {
        *slot = value;
    }
}

/// Returns a time as `metadata` holds it: whole seconds, UTC.
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Returns a time as Leases and Events hold it: exactly six digits of a second.
pub fn micro_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Returns a fresh random UUID.
pub fn new_uid() -> String {
    let (high, low) = (random(), random());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:x}{:03x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        8 + ((low >> 60) & 3),
        (low >> 48) & 0xfff,
        low & 0xffff_ffff_ffff
    )
}

/// Returns a random suffix as `generateName` and controllers use: no vowels, nothing that looks alike.
pub fn new_suffix(length: usize) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut bits = random();
    (0..length)
        .map(|_| {
            let at = (bits % ALPHABET.len() as u64) as usize;
            bits /= ALPHABET.len() as u64;
            char::from(ALPHABET[at])
        })
        .collect()
}

// The standard library seeds each RandomState anew; enough for names and uids of a testbed.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn strings(object: &Value, pointer: &str) -> BTreeMap<String, String> {
    let map = object.pointer(pointer).and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}
