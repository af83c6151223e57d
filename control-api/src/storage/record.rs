//! How a feature declares what it keeps.
//!
//! Not here: how an index is made.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Something that is kept: a struct with named fields.
///
/// Fields that an index names are strings, integers, booleans or absent; null is absent, which serde reads back as `None`.
/// Integers are those of `i64`. A field is named by its path in the JSON (`plan.name`).
pub trait Record: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Where it is kept: lower case letters, digits and `_`.
    const COLLECTION: &'static str;
    /// By what it is found and what is unique, beside the id.
    const INDEXES: &'static [Index];
    /// Both of them.
    const SCHEMA: &'static Schema = &Schema { collection: Self::COLLECTION, indexes: Self::INDEXES };

    /// What it is known by: 1 to 200 bytes, unique in the collection, never used again for another one.
    fn id(&self) -> &str;
}

/// A collection and its indexes.
#[derive(Debug, PartialEq, Eq)]
pub struct Schema {
    /// Its name.
    pub collection: &'static str,
    /// Its indexes.
    pub indexes: &'static [Index],
}

/// An index, declared in a `const`.
///
/// ```
/// # use control_api::storage::{Index, Key};
/// const INDEXES: &[Index] = &[
///     Index::on("email", &["email"]).unique().only_without("deleted_at"),
///     Index::on("newest", &["user_id", "created_at"]),
///     Index::expiry(&["expires_at"]),
/// ];
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    pub(crate) name: &'static str,
    pub(crate) fields: &'static [&'static str],
    pub(crate) unique: bool,
    pub(crate) sparse: bool,
    pub(crate) only: Option<Only>,
    pub(crate) expiry: bool,
}

/// Which documents a partial index has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Only {
    With(&'static str, &'static str),
    Without(&'static str),
}

impl Index {
    /// By one field or several. Documents are found by the first of them, or the first two and so on, and come in the order of
    /// the next one.
    pub const fn on(name: &'static str, fields: &'static [&'static str]) -> Self {
        Self { name, fields, unique: false, sparse: false, only: None, expiry: false }
    }

    /// Documents vanish when this one field, in unix ms, has passed: within two minutes or so, until when they are still found.
    /// One that lacks it stays. A collection has at most one such index; it is called `expiry`.
    pub const fn expiry(field: &'static [&'static str]) -> Self {
        Self { expiry: true, sparse: true, ..Self::on("expiry", field) }
    }

    /// No two documents of the index have the same fields. A document that lacks one of them is not in the index.
    #[must_use]
    pub const fn unique(self) -> Self {
        Self { unique: true, sparse: true, ..self }
    }

    /// A document that lacks one of the fields is not in the index.
    #[must_use]
    pub const fn sparse(self) -> Self {
        Self { sparse: true, ..self }
    }

    /// Only documents whose `field` has this text are in the index. It helps queries that ask for the same.
    #[must_use]
    pub const fn only_with(self, field: &'static str, text: &'static str) -> Self {
        Self { only: Some(Only::With(field, text)), ..self }
    }

    /// Only documents that lack `field` are in the index. It helps queries that ask for the same.
    #[must_use]
    pub const fn only_without(self, field: &'static str) -> Self {
        Self { only: Some(Only::Without(field)), ..self }
    }

    /// Every field it looks at.
    pub(crate) fn looks_at(&self) -> impl Iterator<Item = &'static str> {
        let only = self.only.map(|only| match only {
            Only::With(field, _) | Only::Without(field) => field,
        });
        self.fields.iter().copied().chain(only)
    }
}

/// A value by which documents are found and ordered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Key {
    /// A boolean; false is first.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A text, in the order of its UTF-8 bytes.
    Text(String),
}

impl From<bool> for Key {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Key {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u32> for Key {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<&str> for Key {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Key {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}
