//! JSON values that take what is there: a field of another shape than promised reads as absent.
//!
//! One odd field in one of a thousand pods must not lose the other pods. All of these borrow from
//! the bytes, and what nobody asks for (managedFields are half of a pod) is skipped without a copy.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

/// Reads every shape that is not `$keep` as the default of `$value`.
macro_rules! otherwise_absent {
    ($value:ty: $($shape:ident)*) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("any value")
        }
        $(otherwise_absent!(@$shape $value);)*
    };
    (@unit $value:ty) => {
        fn visit_unit<E>(self) -> Result<$value, E> { Ok(<$value>::default()) }
    };
    (@bool $value:ty) => {
        fn visit_bool<E>(self, _: bool) -> Result<$value, E> { Ok(<$value>::default()) }
    };
    (@number $value:ty) => {
        fn visit_i64<E>(self, _: i64) -> Result<$value, E> { Ok(<$value>::default()) }
        fn visit_u64<E>(self, _: u64) -> Result<$value, E> { Ok(<$value>::default()) }
    };
    (@float $value:ty) => {
        fn visit_f64<E>(self, _: f64) -> Result<$value, E> { Ok(<$value>::default()) }
    };
    (@text $value:ty) => {
        fn visit_str<E>(self, _: &str) -> Result<$value, E> { Ok(<$value>::default()) }
    };
    (@seq $value:ty) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<$value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(<$value>::default())
        }
    };
    (@map $value:ty) => {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(<$value>::default())
        }
    };
}

/// A string.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Text<'a>(pub(super) Option<Cow<'a, str>>);

impl Text<'_> {
    /// Returns the string, or an empty one.
    pub(super) fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Text<'de>;
            otherwise_absent!(Text<'de>: unit bool number float seq map);
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Owned(text.to_owned()))))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// `true`; everything else is false.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flag(pub(super) bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Flag;
            otherwise_absent!(Flag: unit number float text seq map);
            fn visit_bool<E>(self, value: bool) -> Result<Flag, E> {
                Ok(Flag(value))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A whole number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Number(pub(super) Option<i64>);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Number;
            otherwise_absent!(Number: unit bool float text seq map);
            fn visit_i64<E>(self, value: i64) -> Result<Number, E> {
                Ok(Number(Some(value)))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Number, E> {
                Ok(Number(i64::try_from(value).ok()))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// An object, read as a `T` whose fields are lenient too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for Reader<T> {
            type Value = Object<T>;
            otherwise_absent!(Object<T>: unit bool number float text seq);
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

/// An array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List<T>(pub(super) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = List<T>;
            otherwise_absent!(List<T>: unit bool number float text map);
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(List(items))
            }
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

/// Says which keys of a map are read.
pub(super) trait Keys {
    /// Says whether the value under `key` is wanted.
    fn wants(key: &str) -> bool;
}

/// The entries of an object whose keys `K` wants, in their order.
#[derive(Debug)]
pub(super) struct Entries<'a, K>(pub(super) Vec<(Cow<'a, str>, Cow<'a, str>)>, PhantomData<K>);

impl<K> Default for Entries<'_, K> {
    fn default() -> Self {
        Self(Vec::new(), PhantomData)
    }
}

impl<K> Entries<'_, K> {
    /// Returns the value under `key`.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let mut entries = self.0.iter();
        entries.find_map(|(name, value)| (name == key).then_some(&**value))
    }
}

impl<'de: 'a, 'a, K: Keys> Deserialize<'de> for Entries<'a, K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<K>(PhantomData<K>);
        impl<'de, K: Keys> Visitor<'de> for Reader<K> {
            type Value = Entries<'de, K>;
            otherwise_absent!(Entries<'de, K>: unit bool number float text seq);
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Entries::default();
                while let Some(Text(key)) = map.next_key()? {
                    match key {
                        Some(key) if K::wants(&key) => {
                            if let Text(Some(value)) = map.next_value()? {
                                entries.0.push((key, value));
                            }
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Sample<'a> {
        #[serde(borrow)]
        text: Text<'a>,
        flag: Flag,
        number: Number,
        #[serde(borrow)]
        list: List<Text<'a>>,
        #[serde(borrow)]
        entries: Entries<'a, Short>,
        #[serde(borrow)]
        inner: Object<Inner<'a>>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Inner<'a> {
        #[serde(borrow)]
        text: Text<'a>,
    }

    #[derive(Debug)]
    struct Short;
    impl Keys for Short {
        fn wants(key: &str) -> bool {
            key.len() == 1
        }
    }

    const SHAPES: [&str; 9] = [
        "null",
        "true",
        "7",
        "-1.5",
        "99999999999999999999",
        r#""x""#,
        r#""\n""#,
        r#"["x",[2]]"#,
        r#"{"a":{"b":1},"c":"x","dd":"x","text":"y"}"#,
    ];

    #[test]
    fn an_odd_field_reads_as_absent_and_spares_the_next() {
        for field in [
            "text", "flag", "number", "list", "entries", "inner", "strange",
        ] {
            for shape in SHAPES {
                let body = format!(r#"[{{"{field}":{shape}}},{{"text":"next"}}]"#);
                let List(read): List<Object<Sample<'_>>> = serde_json::from_str(&body).unwrap();
                assert_eq!(read[1].0.text.as_str(), "next", "{body}");
            }
        }
    }

    #[test]
    fn a_field_of_the_promised_shape_is_read() {
        let body = r#"{"text":"a\u0062","flag":true,"number":7,"list":["x",3],
            "entries":{"a":"1","bb":"2","c":3},"inner":{"text":"in"}}"#;
        let Object(read): Object<Sample<'_>> = serde_json::from_str(body).unwrap();
        assert_eq!(read.text.as_str(), "ab");
        assert!(read.flag.0);
        assert_eq!(read.number, Number(Some(7)));
        assert_eq!(read.list.0[0].as_str(), "x");
        assert_eq!(read.list.0[1], Text(None));
        assert_eq!(read.entries.0, [("a".into(), "1".into())]);
        assert_eq!(read.entries.get("a"), Some("1"));
        assert_eq!(read.entries.get("c"), None);
        assert_eq!(read.inner.0.text.as_str(), "in");
    }

    #[test]
    fn a_plain_string_is_borrowed() {
        let Text(text) = serde_json::from_str(r#""plain""#).unwrap();
        assert!(matches!(text, Some(Cow::Borrowed("plain"))));
    }

    #[test]
    fn broken_json_is_an_error() {
        assert!(serde_json::from_str::<List<Text<'_>>>(r#"["x""#).is_err());
    }
}
