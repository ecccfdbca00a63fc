//! The JSON of docker configs, as Go reads it for the kubelet: names of fields count in any case, and of several with
//! the same name the last one.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

/// Entries by key; each is read when its turn comes, as all of them read take many times the room of their text.
pub(super) type Auths<'a> = BTreeMap<String, &'a RawValue>;

/// A `config.json`: its `auths`.
#[derive(Default)]
pub(super) struct ConfigJson<'a>(pub(super) Auths<'a>);

/// The fields of one entry that say something.
#[derive(Default)]
pub(super) struct Fields {
    auth: Value,
    username: Value,
    password: Value,
    identity_token: Value,
}

/// What is filled field by field.
trait Object<'de>: Default {
    /// Takes the field that is called `name`.
    fn take<M: MapAccess<'de>>(&mut self, name: &str, map: &mut M) -> Result<(), M::Error>;
}

struct Filling<T>(PhantomData<T>);

impl<'de, T: Object<'de>> Visitor<'de> for Filling<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<T, M::Error> {
        let mut object = T::default();
        while let Some(name) = map.next_key::<String>()? {
            object.take(&name, &mut map)?;
        }
        Ok(object)
    }

    /// Null leaves everything as it is.
    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }
}

impl<'de> Object<'de> for ConfigJson<'de> {
    fn take<M: MapAccess<'de>>(&mut self, name: &str, map: &mut M) -> Result<(), M::Error> {
        if !name.eq_ignore_ascii_case("auths") {
            return map.next_value::<IgnoredAny>().map(drop);
        }
        match map.next_value::<Option<Auths<'de>>>()? {
            // What was read before is added to.
            Some(more) => self.0.extend(more),
            None => self.0.clear(),
        }
        Ok(())
    }
}

impl<'de> Object<'de> for Fields {
    fn take<M: MapAccess<'de>>(&mut self, name: &str, map: &mut M) -> Result<(), M::Error> {
        let value: Value = map.next_value()?;
        match self.named(name) {
            // One that is no text is not made good by another.
            Some(field) if !value.is_null() && (field.is_null() || field.is_string()) => {
                *field = value;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Fields {
    fn named(&mut self, name: &str) -> Option<&mut Value> {
        match name.to_ascii_lowercase().as_str() {
            "auth" => Some(&mut self.auth),
            "username" => Some(&mut self.username),
            "password" => Some(&mut self.password),
            "identitytoken" => Some(&mut self.identity_token),
            _ => None,
        }
    }

    /// Returns `auth`, user, password and identity token, or else the name of the first that is no text.
    pub(super) fn texts(&self) -> Result<[&str; 4], &'static str> {
        Ok([
            text("auth", &self.auth)?,
            text("username", &self.username)?,
            text("password", &self.password)?,
            text("identitytoken", &self.identity_token)?,
        ])
    }
}

fn text<'v>(name: &'static str, value: &'v Value) -> Result<&'v str, &'static str> {
    match value {
        Value::Null => Ok(""),
        value => value.as_str().ok_or(name),
    }
}

impl<'de> Deserialize<'de> for ConfigJson<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Filling(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Filling(PhantomData))
    }
}
