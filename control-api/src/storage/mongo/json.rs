//! Documents as BSON and back, exactly: BSON's own ways of reading JSON and of reading through serde give meaning to names like
//! `$date`.

use mongodb::bson::{self, Bson, DateTime, RawDocumentBuf};
use serde_json::{Map, Value};

use super::fault::DAMAGED;
use crate::storage::{Body, Document, Key, Schema, StoreError, check};

/// As it is kept.
pub(super) fn kept(
    schema: &Schema,
    id: &str,
    version: u64,
    body: &Body,
) -> Result<RawDocumentBuf, StoreError> {
    let mut kept = bson::Document::new();
    kept.insert("_id", id);
    kept.insert(VERSION, signed(version));
    let expiry = schema.indexes.iter().find(|index| index.expiry).map(|index| index.fields[0]);
    if let Some(Key::Int(at)) = expiry.and_then(|field| check::key_at(body, field)) {
        kept.insert(EXPIRES, DateTime::from_millis(at));
    }
    kept.insert(BODY, object(body));
    RawDocumentBuf::try_from(kept).map_err(|_| StoreError::Invalid("the document cannot be written as BSON"))
}

/// As it was kept.
pub(super) fn document(kept: RawDocumentBuf) -> Result<Document, StoreError> {
    let mut kept = bson::Document::try_from(kept).map_err(|_| DAMAGED)?;
    match (kept.remove("_id"), kept.remove(VERSION), kept.remove(BODY)) {
        (Some(Bson::String(id)), Some(Bson::Int64(version)), Some(Bson::Document(body))) => {
            Ok(Document { id, version: version.unsigned_abs(), body: body_of(body)? })
        }
        _ => Err(DAMAGED),
    }
}

/// The id alone, whatever is there beside it.
pub(super) fn id(kept: &RawDocumentBuf) -> Bson {
    kept.get_str("_id").map(Bson::from).unwrap_or(Bson::Null)
}

pub(super) fn key(key: &Key) -> Bson {
    match key {
        Key::Bool(value) => Bson::Boolean(*value),
        Key::Int(value) => Bson::Int64(*value),
        Key::Text(value) => Bson::String(value.clone()),
    }
}

/// BSON has no unsigned integers; nobody writes a document that often.
pub(super) fn signed(version: u64) -> i64 {
    version.try_into().unwrap_or(i64::MAX)
}

fn object(fields: &Map<String, Value>) -> bson::Document {
    fields.iter().map(|(name, value)| (name.clone(), to_bson(value))).collect()
}

fn to_bson(value: &Value) -> Bson {
    match value {
        Value::Null => Bson::Null,
        Value::Bool(value) => Bson::Boolean(*value),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Bson::Int64(integer),
            // Larger integers were refused.
            None => Bson::Double(number.as_f64().unwrap_or_default()),
        },
        Value::String(value) => Bson::String(value.clone()),
        Value::Array(values) => Bson::Array(values.iter().map(to_bson).collect()),
        Value::Object(fields) => Bson::Document(object(fields)),
    }
}

fn body_of(document: bson::Document) -> Result<Body, StoreError> {
    document.into_iter().map(|(name, value)| Ok((name, from_bson(value)?))).collect()
}

fn from_bson(value: Bson) -> Result<Value, StoreError> {
    Ok(match value {
        Bson::Null => Value::Null,
        Bson::Boolean(value) => value.into(),
        // A person's hand may have written the smaller one.
        Bson::Int32(value) => value.into(),
        Bson::Int64(value) => value.into(),
        Bson::Double(value) => serde_json::Number::from_f64(value).ok_or(DAMAGED)?.into(),
        Bson::String(value) => value.into(),
        Bson::Array(values) => values.into_iter().map(from_bson).collect::<Result<Vec<_>, _>>()?.into(),
        Bson::Document(document) => Value::Object(body_of(document)?),
        _ => return Err(DAMAGED),
    })
}

/// When a document runs out, as a date: an expiry index takes nothing else.
pub(super) const EXPIRES: &str = "expires";
pub(super) const VERSION: &str = "v";
const BODY: &str = "d";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SCHEMA: Schema = Schema { collection: "things", indexes: &[] };

    #[test]
    fn documents_come_back_as_they_were() {
        let Value::Object(body) = json!({
            "$date": 1, "a.b": {"$oid": "507f1f77bcf86cd799439011"}, "": [null, true, 1, -1, i64::MAX, i64::MIN, 1.0, 0.1, "ä"],
        }) else {
            panic!("an object")
        };
        let before = Document { id: "x".into(), version: 3, body };
        let after = document(kept(&SCHEMA, "x", 3, &before.body).unwrap()).unwrap();
        assert!(before == after);
        assert_eq!(serde_json::to_string(&before.body).unwrap(), serde_json::to_string(&after.body).unwrap());
    }
}
