//! JSON merge patch (RFC 7396): what a PATCH sends is laid over what is there, and the whole is checked.
//!
//! Unlike the RFC, a member that is not known is refused, null or not. Not here: which members there are.

use axum::{
    Json,
    extract::{FromRequest, Request},
};
use garde::Validate;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{Problem, body};

/// The body of a PATCH: a JSON object.
#[derive(Clone, Debug)]
pub(super) struct MergePatch(Map<String, Value>);

impl MergePatch {
    /// What becomes of `current`. `protected` members are known, and not changed like this.
    ///
    /// # Errors
    /// 400 names the member, and no value.
    pub(super) fn onto<T>(&self, current: &T, protected: &[&str]) -> Result<T, Problem>
    where
        T: Serialize + DeserializeOwned + Validate<Context = ()>,
    {
        if let Some(field) = self.0.keys().find(|key| protected.contains(&key.as_str())) {
            return Err(Problem::field(field.as_str(), "it is shown, and cannot be changed here"));
        }
        let mut merged = serde_json::to_value(current).expect("what is shown has text keys only");
        merge(&mut merged, &self.0);
        body::checked(serde_json::from_value(merged))
    }
}

impl<S: Send + Sync> FromRequest<S> for MergePatch {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Json(value) = Json::<Value>::from_request(request, state).await.map_err(body::refused)?;
        match value {
            Value::Object(members) => Ok(Self(members)),
            _ => {
                Err(Problem::new(axum::http::StatusCode::BAD_REQUEST, "send a JSON object with what changes"))
            }
        }
    }
}

/// As deep as the parser lets JSON be.
fn merge(target: &mut Value, patch: &Map<String, Value>) {
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let target = target.as_object_mut().expect("it was just made one");
    for (key, value) in patch {
        match value {
            // What is not there stays in the patch's words, to be refused.
            Value::Null if target.contains_key(key) => _ = target.remove(key),
            Value::Object(members) => merge(target.entry(key.as_str()).or_insert(Value::Null), members),
            value => _ = target.insert(key.clone(), value.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_is_merged_as_the_rfc_says() {
        for (mut target, patch, expected) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": 1}}), json!({"a": {"b": "d", "c": 1}})),
            (json!({"a": "foo"}), json!({"a": {"b": 1}}), json!({"a": {"b": 1}})),
            // Here the RFC leaves it out.
            (json!({"e": null}), json!({"a": null}), json!({"e": null, "a": null})),
        ] {
            merge(&mut target, patch.as_object().unwrap());
            assert_eq!(target, expected, "{patch}");
        }
    }
}
