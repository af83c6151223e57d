//! What is asked of a collection: filters, order, pages and cursors.
//!
//! Not here: how a store answers.

use std::ops::{Bound, RangeBounds};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Document, Key, MAX_PAGE_BYTES, StoreError, check};

/// Which documents: those for which every condition holds.
///
/// A field has values of one type in a collection. One of the filter's fields, or the field of the order, must be the first of an index, so that no query reads a whole collection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    pub(crate) conditions: Vec<(&'static str, Condition)>,
}

/// What holds of a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Condition {
    Is(Key),
    OneOf(Vec<Key>),
    Within(Bound<Key>, Bound<Key>),
    Absent,
}

impl Filter {
    /// Every document, until a condition is added.
    pub fn all() -> Self {
        Self::default()
    }

    /// `field` has this value.
    #[must_use]
    pub fn eq(self, field: &'static str, value: impl Into<Key>) -> Self {
        self.with(field, Condition::Is(value.into()))
    }

    /// `field` has one of these values, at most [`MAX_PAGE`](super::MAX_PAGE); none of them finds nothing.
    #[must_use]
    pub fn one_of<K: Into<Key>>(self, field: &'static str, values: impl IntoIterator<Item = K>) -> Self {
        self.with(field, Condition::OneOf(values.into_iter().map(Into::into).collect()))
    }

    /// `field` lies in this range: `since..until` in unix ms, for example.
    #[must_use]
    pub fn within<K: Into<Key> + Clone>(self, field: &'static str, range: impl RangeBounds<K>) -> Self {
        let key = |bound: Bound<&K>| bound.cloned().map(Into::into);
        self.with(field, Condition::Within(key(range.start_bound()), key(range.end_bound())))
    }

    /// There is no `field`, or it is null.
    #[must_use]
    pub fn without(self, field: &'static str) -> Self {
        self.with(field, Condition::Absent)
    }

    fn with(mut self, field: &'static str, condition: Condition) -> Self {
        self.conditions.push((field, condition));
        self
    }
}

/// A filter, an order, and which page.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    pub(crate) filter: Filter,
    pub(crate) order: Option<&'static str>,
    pub(crate) descending: bool,
    pub(crate) limit: usize,
    pub(crate) after: Option<Cursor>,
}

impl Query {
    /// What `filter` finds, in the order of ids, 50 a page.
    pub fn new(filter: Filter) -> Self {
        Self { filter, order: None, descending: false, limit: 50, after: None }
    }

    /// In the order of `field`, then of ids. A document that lacks the field is not found.
    #[must_use]
    pub fn order(self, field: &'static str) -> Self {
        Self { order: Some(field), ..self }
    }

    /// The other way round: the newest first, for example.
    #[must_use]
    pub fn descending(self) -> Self {
        Self { descending: true, ..self }
    }

    /// At most `limit` documents a page: 1 to [`MAX_PAGE`](super::MAX_PAGE).
    #[must_use]
    pub fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// The page after the one that came with this cursor, of the same filter and order.
    #[must_use]
    pub fn after(self, cursor: Option<Cursor>) -> Self {
        Self { after: cursor, ..self }
    }
}

/// Where a page ended: the place of its last document in the order, so that documents that come or go meanwhile neither shift
/// nor repeat the others. Opaque to clients, and no secret: it grants nothing, as the filter is asked anew.
#[derive(Clone, Debug, PartialEq)]
pub struct Cursor {
    /// The value of the order's field; none in the order of ids.
    pub(crate) key: Option<Key>,
    pub(crate) id: String,
}

impl std::fmt::Display for Cursor {
    /// Up to 16,384 characters that need no escaping in a URL.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = serde_json::to_vec(&(&self.key, &self.id)).map_err(|_| std::fmt::Error)?;
        f.write_str(&URL_SAFE_NO_PAD.encode(place))
    }
}

impl std::str::FromStr for Cursor {
    type Err = StoreError;

    /// From a client's hands: anything but a cursor is [`StoreError::Invalid`].
    fn from_str(text: &str) -> Result<Self, StoreError> {
        const NONE: StoreError = StoreError::Invalid("this is no cursor");
        if text.len() > MAX_CURSOR_CHARS {
            return Err(NONE);
        }
        let place = URL_SAFE_NO_PAD.decode(text).map_err(|_| NONE)?;
        let (key, id): (Option<Key>, String) = serde_json::from_slice(&place).map_err(|_| NONE)?;
        check::id(&id).and_then(|()| key.as_ref().map_or(Ok(()), check::key)).map_err(|_| NONE)?;
        Ok(Self { key, id })
    }
}

/// Some of what a query found, in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// At most as many as asked for; fewer when they are large.
    pub documents: Vec<Document>,
    /// Where to go on; none when this was all.
    pub next: Option<Cursor>,
}

/// Gathers a page from what a store reads in order.
pub(crate) struct Gathering<'a> {
    query: &'a Query,
    documents: Vec<Document>,
    bytes: usize,
    full: bool,
}

impl<'a> Gathering<'a> {
    pub(crate) fn new(query: &'a Query) -> Self {
        Self { query, documents: Vec::new(), bytes: 0, full: false }
    }

    /// Whether there is room for another document; when not, it is the beginning of the next page.
    pub(crate) fn has_room(&mut self, bytes: usize) -> bool {
        let count = self.documents.len();
        self.full = count == self.query.limit || (count > 0 && self.bytes + bytes > MAX_PAGE_BYTES);
        self.bytes += bytes;
        !self.full
    }

    pub(crate) fn push(&mut self, document: Document) {
        self.documents.push(document);
    }

    pub(crate) fn page(self) -> Page {
        let last = self.documents.last().filter(|_| self.full);
        let next = last.map(|last| Cursor {
            key: self.query.order.and_then(|field| check::key_at(&last.body, field)),
            id: last.id.clone(),
        });
        Page { next, documents: self.documents }
    }
}

/// Longest cursor: an id and a key of `check::MAX_KEY_BYTES`, in the worst escaping.
const MAX_CURSOR_CHARS: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_and_nothing_else_is_one() {
        for key in [None, Some(Key::Int(-3)), Some(Key::Text("ä\u{1}\"".into())), Some(Key::Bool(true))] {
            let cursor = Cursor { key, id: "a".into() };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        let with_empty_id = Cursor { key: None, id: String::new() }.to_string();
        let with_fraction = URL_SAFE_NO_PAD.encode(r#"[1.5,"a"]"#);
        let long = "A".repeat(MAX_CURSOR_CHARS + 1);
        for text in ["", "!", "W10", &with_empty_id, &with_fraction, &long] {
            assert!(matches!(text.parse::<Cursor>(), Err(StoreError::Invalid(_))), "{text}");
        }
    }
}
