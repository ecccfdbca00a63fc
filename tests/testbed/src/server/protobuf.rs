//! Protobuf bodies, as far as `kubectl create` sends them.
//!
//! kubectl writes some of its own objects in protobuf whatever the server prefers, and gives up on a 415.
//! The kinds it has commands for are read; any other is refused as the real server refuses an unknown type.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::api::{ApiError, object};

mod schema;

use schema::{Field, Form};

/// Content type of these bodies.
pub(super) const TYPE: &str = "application/vnd.kubernetes.protobuf";
const MAGIC: &[u8] = b"k8s\0";

/// Returns the object in a body, which should be of a kind.
pub(super) fn decode(body: &[u8], kind: &str) -> Result<Value, ApiError> {
    let broken = || {
        ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): provided data does not appear to be a protobuf message"
        ))
    };
    let envelope = body.strip_prefix(MAGIC).ok_or_else(broken)?;
    let envelope = message(envelope, schema::UNKNOWN).ok_or_else(broken)?;
    let given = object::text(&envelope, "/typeMeta/kind").to_owned();
    let fields = schema::of(&given).ok_or_else(|| {
        let message = format!("the body of the request was in an unknown format - accepted media types include: application/json; the testbed reads no protobuf of kind {given:?}");
        ApiError::new(415, "UnsupportedMediaType", message)
    })?;
    let raw = STANDARD
        .decode(object::text(&envelope, "/raw"))
        .map_err(|_| broken())?;
    let mut decoded = message(&raw, fields).ok_or_else(broken)?;
    decoded["apiVersion"] = envelope["typeMeta"]["apiVersion"].clone();
    decoded["kind"] = json!(given);
    Ok(decoded)
}

// Returns a message as JSON, without the fields that are not known.
fn message(mut bytes: &[u8], fields: &[Field]) -> Option<Value> {
    let mut map = Map::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let payload = match tag & 7 {
            0 => Payload::Number(varint(&mut bytes)?),
            1 => Payload::Number(u64::from_le_bytes(take(&mut bytes, 8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                Payload::Bytes(take(&mut bytes, length)?)
            }
            5 => Payload::Number(u64::from(u32::from_le_bytes(
                take(&mut bytes, 4)?.try_into().ok()?,
            ))),
            _ => return None,
        };
        if let Some(field) = fields
            .iter()
            .find(|field| u64::from(field.number) == tag >> 3)
        {
            insert(&mut map, field, &payload)?;
        }
    }
    Some(Value::Object(map))
}

enum Payload<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn insert(map: &mut Map<String, Value>, field: &Field, payload: &Payload<'_>) -> Option<()> {
    let name = field.name.to_owned();
    let value = match (&field.form, payload) {
        (Form::Number, Payload::Number(number)) => json!(*number as i64),
        (Form::Flag, Payload::Number(number)) => json!(*number != 0),
        (Form::Text | Form::Texts, Payload::Bytes(bytes)) => {
            json!(std::str::from_utf8(bytes).ok()?)
        }
        (Form::Bytes, Payload::Bytes(bytes)) => json!(STANDARD.encode(bytes)),
        (Form::Message(fields) | Form::Messages(fields), Payload::Bytes(bytes)) => {
            message(bytes, fields)?
        }
        (Form::Time, Payload::Bytes(bytes)) => {
            match message(bytes, schema::TIME)?["seconds"].as_i64() {
                Some(seconds) => json!(object::time(Timestamp::from_second(seconds).ok()?)),
                None => Value::Null,
            }
        }
        (Form::NumberOrText, Payload::Bytes(bytes)) => {
            let either = message(bytes, schema::INT_OR_STRING)?;
            match either["type"].as_i64() {
                Some(1) => either["strVal"].clone(),
                _ => json!(either["intVal"].as_i64().unwrap_or(0)),
            }
        }
        (Form::Quantity, Payload::Bytes(bytes)) => {
            message(bytes, schema::QUANTITY)?["string"].clone()
        }
        (Form::Map(form), Payload::Bytes(bytes)) => {
            let entry = [
                Field {
                    number: 1,
                    name: "key",
                    form: Form::Text,
                },
                Field {
                    number: 2,
                    name: "value",
                    form: form.entry(),
                },
            ];
            let entry = message(bytes, &entry)?;
            let key = entry["key"].as_str().unwrap_or("").to_owned();
            // A value left out is the empty one.
            let value = entry.get("value").cloned().unwrap_or_else(|| json!(""));
            object::map_at(map, &name).insert(key, value);
            return Some(());
        }
        _ => return None,
    };
    match field.form {
        Form::Texts | Form::Messages(_) => {
            map.entry(name)
                .or_insert_with(|| json!([]))
                .as_array_mut()?
                .push(value);
        }
        // kubectl writes empty texts and messages that JSON leaves out.
        Form::Text if value == "" => {}
        _ if value.is_null() => {}
        _ => {
            map.insert(name, value);
        }
    }
    Some(())
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2, bytes.len() as u8];
        field.extend_from_slice(bytes);
        field
    }

    fn body(kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &meta), field(2, raw)].concat()
    }

    #[test]
    fn a_namespace_is_read() {
        let label = [field(1, b"a"), field(2, b"b")].concat();
        let metadata = [
            field(1, b"shop"),
            field(11, &label),
            field(8, &[]),
            field(3, b""),
        ]
        .concat();
        let namespace = decode(&body("Namespace", &field(1, &metadata)), "Namespace").unwrap();
        assert_eq!(
            namespace,
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop", "labels": { "a": "b" } } })
        );
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        assert_eq!(decode(b"{}", "Pod").unwrap_err().code, 400);
        assert_eq!(
            decode(&body("Namespace", &[0x0a, 0xff]), "Namespace")
                .unwrap_err()
                .code,
            400
        );
        assert_eq!(
            decode(&body("Strange", &[]), "Strange").unwrap_err().code,
            415
        );
    }
}
