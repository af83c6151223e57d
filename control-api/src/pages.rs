//! What routes that list have in common: cursors from a client's hands.
//!
//! Not here: what is listed.

use serde::Deserialize;
use utoipa::IntoParams;

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

fn default_limit() -> usize {
    20
}

const MAX_LIMIT: usize = 50;
