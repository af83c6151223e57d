//! Counting within bounds: plan quotas, monthly usage.
//!
//! Not here: which bounds a plan has.

use serde_json::Value;

use super::{Body, Document, StoreError};

/// An addition to one field of a document, if the sum stays within a bound. No bound is `None`, never a number.
///
/// The field is an integer, or absent, which counts as 0. Indexed fields are not counted in, and each field once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Increment {
    pub(crate) field: &'static str,
    pub(crate) by: i64,
    pub(crate) most: Option<i64>,
    pub(crate) least: Option<i64>,
}

impl Increment {
    /// Adds `by`, which may be negative, without a bound.
    pub fn add(field: &'static str, by: i64) -> Self {
        Self { field, by, most: None, least: None }
    }

    /// Only if the sum is not more than `most`. Does not hold up a subtraction: after a change to a smaller plan, what was
    /// reserved can still be given back.
    #[must_use]
    pub fn up_to(self, most: Option<i64>) -> Self {
        Self { most, ..self }
    }

    /// Only if the difference is not less than `least`. Does not hold up an addition.
    #[must_use]
    pub fn down_to(self, least: Option<i64>) -> Self {
        Self { least, ..self }
    }

    /// What the field must have, at the most and at the least, for this to be possible. Sums are those of `i64`.
    pub(crate) fn possible(&self) -> (i64, i64) {
        let most = if self.by > 0 { self.most.unwrap_or(i64::MAX).saturating_sub(self.by) } else { i64::MAX };
        let least =
            if self.by < 0 { self.least.unwrap_or(i64::MIN).saturating_sub(self.by) } else { i64::MIN };
        (most, least)
    }
}

/// What became of increments.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All are done; the document is as it is now.
    Done(Document),
    /// Nothing was changed: this field, the first such, would go out of its bound. The document is as it was.
    Refused {
        /// Which field.
        field: &'static str,
        /// For what is left.
        document: Document,
    },
}

/// Does all of them, or says which field is in the way.
pub(crate) fn apply(
    body: &mut Body,
    increments: &[Increment],
) -> Result<Result<(), &'static str>, StoreError> {
    let mut changed = body.clone();
    for increment in increments {
        let field = place(&mut changed, increment.field)?;
        let value = field.as_i64().ok_or(NOT_COUNTED)?;
        let (most, least) = increment.possible();
        if value > most || value < least {
            return Ok(Err(increment.field));
        }
        *field = (value + increment.by).into();
    }
    *body = changed;
    Ok(Ok(()))
}

/// Where a path leads; what is missing on the way is made, and counts as 0.
fn place<'a>(body: &'a mut Body, path: &str) -> Result<&'a mut Value, StoreError> {
    let (ways, leaf) = path.rsplit_once('.').map_or((None, path), |(ways, leaf)| (Some(ways), leaf));
    let mut object = body;
    for way in ways.into_iter().flat_map(|ways| ways.split('.')) {
        let next = object.entry(way).or_insert_with(|| Value::Object(Body::new()));
        object = next.as_object_mut().ok_or(NOT_COUNTED)?;
    }
    Ok(object.entry(leaf).or_insert_with(|| 0.into()))
}

pub(crate) const NOT_COUNTED: StoreError = StoreError::Invalid("what is counted is no integer");

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(before: Value, increment: Increment, after: Option<i64>) {
        let mut body = Body::from_iter([("n".to_owned(), before.clone())]);
        body.retain(|_, value| !value.is_null());
        let before = body.clone();
        let done = apply(&mut body, &[increment]).unwrap();
        let shown = done.ok().map(|()| body["n"].as_i64().unwrap());
        assert_eq!(shown, after);
        assert!(after.is_some() || body == before);
    }

    #[test]
    fn bounds_hold_in_their_direction_only() {
        let add = |by| Increment::add("n", by);
        check(json!(4), add(1).up_to(Some(5)), Some(5));
        check(json!(5), add(1).up_to(Some(5)), None);
        check(json!(9), add(-1).up_to(Some(5)), Some(8));
        check(json!(9), add(1).up_to(None), Some(10));
        check(json!(1), add(-1).down_to(Some(0)), Some(0));
        check(json!(0), add(-1).down_to(Some(0)), None);
        check(json!(-9), add(1).down_to(Some(0)), Some(-8));
        check(Value::Null, add(1).up_to(Some(0)), None);
        check(Value::Null, add(1).up_to(Some(1)), Some(1));
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_no_integer_is_left_alone() {
        let mut body = Body::new();
        assert_eq!(apply(&mut body, &[Increment::add("a.b.c", 2)]), Ok(Ok(())));
        assert_eq!(Value::Object(body), json!({"a": {"b": {"c": 2}}}));
        for taken in [json!(null), json!(1.5), json!("1"), json!({})] {
            let mut body = Body::from_iter([("n".to_owned(), taken)]);
            assert_eq!(apply(&mut body, &[Increment::add("n", 1)]), Err(NOT_COUNTED));
        }
    }

    #[test]
    fn sums_do_not_overflow() {
        check(json!(i64::MAX), Increment::add("n", 1), None);
        check(json!(i64::MIN), Increment::add("n", -1), None);
        check(json!(0), Increment::add("n", i64::MIN), Some(i64::MIN));
        check(json!(0), Increment::add("n", i64::MAX).up_to(Some(-1)), None);
    }
}
