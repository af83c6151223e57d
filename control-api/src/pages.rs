//! What routes that list have in common: cursors from a client's hands, and how refusals are described.
//!
//! Not here: what is listed.

use std::collections::BTreeMap;

use serde::Deserialize;
use utoipa::{
    IntoParams, IntoResponses,
    openapi::{Ref, RefOr, Response, ResponseBuilder, content::ContentBuilder},
};

use crate::{
    Problem,
    storage::{Cursor, Key},
};

/// Which page of a list.
#[derive(Clone, Debug, Deserialize, garde::Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// How many at most.
    #[garde(range(min = 1, max = MAX_LIMIT))]
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 50, default = 20)]
    pub(crate) limit: usize,
    /// `next` of the page before; leave it out for the first one.
    #[garde(skip)]
    #[serde(default)]
    #[param(nullable = false)]
    pub(crate) cursor: Option<String>,
}

impl PageQuery {
    /// Where the page begins, in an order by a number.
    pub(crate) fn after(&self) -> Result<Option<Cursor>, Problem> {
        let Some(text) = &self.cursor else { return Ok(None) };
        let cursor = text.parse::<Cursor>().ok();
        let cursor = cursor.filter(|cursor| matches!(cursor.key, Some(Key::Int(_))));
        Ok(Some(cursor.ok_or_else(no_cursor)?))
    }
}

/// 400 for a cursor that no page ended with.
pub(crate) fn no_cursor() -> Problem {
    Problem::field("cursor", "is not the `next` of a page of this list; leave it out to begin anew")
}

/// Describes the answer with this status: a [`crate::ProblemBody`].
pub(crate) struct Refused<const STATUS: u16>;

impl<const STATUS: u16> IntoResponses for Refused<STATUS> {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let description = match STATUS {
            400 => "A parameter, the path or the body is not as it must be; `errors` names the fields",
            401 => "Nobody is logged in, or not any more",
            404 => "You have no such thing: it never was, is gone, or is another user's",
            409 => "It is in conflict with what is there; `detail` says what to do",
            413 => "The body is too large",
            415 => "The body is no JSON by its content type",
            422 => "It cannot be done with this one; `detail` says why",
            429 => "Too often; come back after `Retry-After`",
            503 => "Something that is needed does not answer for now; come back after `Retry-After`",
            _ => "An error",
        };
        let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response =
            ResponseBuilder::new().description(description).content("application/problem+json", body);
        BTreeMap::from([(STATUS.to_string(), RefOr::T(response.build()))])
    }
}

fn default_limit() -> usize {
    20
}

const MAX_LIMIT: usize = 50;
