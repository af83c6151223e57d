//! Request bodies and queries: JSON of the declared shape, checked before a handler sees it.
//!
//! Not here: how large a body may be (`routes`), what the fields mean.

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Query, Request, rejection::JsonRejection},
    http::{StatusCode, request::Parts},
};
use garde::Validate;
use serde::de::DeserializeOwned;

use crate::problem::{FieldError, Problem};

/// A JSON body that passed its own checks. The type should refuse unknown fields.
///
/// Refusals name the field and never its value, as it may be a password.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Valid<T>(pub(crate) T);

impl<S, T> FromRequest<S> for Valid<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Validate<Context = ()>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Json(value) = Json::<serde_json::Value>::from_request(request, state).await.map_err(refused)?;
        // serde takes an array for a struct, too.
        if !value.is_object() {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "the body is no JSON object"));
        }
        checked(serde_json::from_value(value)).map(Self)
    }
}

/// A query string that passed its own checks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ValidQuery<T>(pub(crate) T);

impl<S, T> FromRequestParts<S> for ValidQuery<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Validate<Context = ()>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(query) = Query::<T>::try_from_uri(&parts.uri).map_err(|_| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "the query has an unknown parameter, or one of the wrong type; /docs lists what is known",
            )
        })?;
        validated(query).map(Self)
    }
}

pub(crate) fn checked<T: DeserializeOwned + Validate<Context = ()>>(
    parsed: Result<T, serde_json::Error>,
) -> Result<T, Problem> {
    validated(parsed.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, without_values(&error)))?)
}

fn validated<T: Validate<Context = ()>>(value: T) -> Result<T, Problem> {
    match value.validate() {
        Ok(()) => Ok(value),
        Err(report) => {
            let errors = report.iter().map(|(path, error)| FieldError {
                field: path.to_string(),
                message: error.message().to_owned(),
            });
            Err(Problem::fields(errors.collect()))
        }
    }
}

pub(crate) fn refused(rejection: JsonRejection) -> Problem {
    match rejection {
        JsonRejection::MissingJsonContentType(_) => Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send JSON, with `Content-Type: application/json`",
        ),
        JsonRejection::BytesRejection(rejection) => Problem::new(rejection.status(), rejection.body_text()),
        _ => Problem::new(StatusCode::BAD_REQUEST, "the body is no JSON"),
    }
}

/// What serde says of a value's shape, without the value: it may be a password in the wrong place.
fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let safe = ["unknown field", "missing field", "duplicate field"];
    if safe.iter().any(|safe| text.starts_with(safe)) {
        return text;
    }
    // `invalid type: string "…", expected u8`, `unknown variant `…`, expected one of …`
    match text.rfind(", expected ") {
        Some(at) => format!("a field has the wrong type or value: {}", &text[at + 2..]),
        None => "the body has not the declared shape; /docs shows it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize, Validate)]
    #[serde(deny_unknown_fields)]
    struct Example {
        #[garde(length(min = 3))]
        name: String,
        #[garde(skip)]
        #[serde(default)]
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Short,
        Long,
    }

    fn refusal(body: serde_json::Value) -> String {
        match checked::<Example>(serde_json::from_value(body)) {
            Ok(example) => panic!("{} {:?} is accepted", example.name, example.kind),
            Err(problem) => format!("{problem:?}"),
        }
    }

    #[test]
    fn refusals_name_the_field_and_never_the_value() {
        assert!(refusal(json!({"name": "canary", "role": "x"})).contains("unknown field `role`"));
        assert!(refusal(json!({})).contains("missing field `name`"));
        assert!(refusal(json!({"name": "ca"})).contains("name"));
        for body in [json!({"name": {"canary": 1}}), json!({"name": "abc", "kind": "canary"})] {
            let refusal = refusal(body);
            assert!(refusal.contains("expected") && !refusal.contains("canary"), "{refusal}");
        }
    }
}
