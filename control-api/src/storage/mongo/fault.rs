//! What an error of MongoDB means to the caller. Its own messages name values and addresses, so none is passed on.

use mongodb::error::{Error, ErrorKind, WriteFailure};

use crate::storage::{Schema, StoreError, increment::NOT_COUNTED};

/// Of an operation on documents.
pub(super) fn of(error: Error) -> StoreError {
    StoreError::unavailable(match &*error.kind {
        ErrorKind::ServerSelection { .. } => "no MongoDB server can be used",
        ErrorKind::Authentication { .. } => "MongoDB refuses the login",
        ErrorKind::DnsResolve { .. } => "the name of the MongoDB server is not known",
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } => "the connection to MongoDB broke",
        ErrorKind::InvalidTlsConfig { .. } => "MongoDB's TLS cannot be used",
        ErrorKind::IncompatibleServer { .. } => "this MongoDB is too old",
        ErrorKind::Write(WriteFailure::WriteConcernError(_)) => "most MongoDB servers do not confirm writes",
        ErrorKind::BsonDeserialization(_) | ErrorKind::Bson(_) => return DAMAGED,
        _ => "MongoDB refused an operation",
    })
}

/// Of one that may meet a unique index.
pub(super) fn of_write(schema: &'static Schema, error: Error) -> StoreError {
    match code_and_message(&error) {
        Some((DUPLICATE, message)) => {
            // "E11000 duplicate key error collection: interviewai.accounts index: app_email dup key: { … }"; values come after.
            let name = message
                .split_once(" index: ")
                .and_then(|(_, rest)| rest.split_once(' '))
                .map(|(name, _)| name);
            let ours = name.and_then(|name| name.strip_prefix(super::indexes::OURS));
            let index = schema.indexes.iter().map(|index| index.name).find(|name| Some(*name) == ours);
            let id = if name == Some("_id_") { "id" } else { "unknown" };
            StoreError::Duplicate { index: index.unwrap_or(id) }
        }
        _ => of(error),
    }
}

/// Of an increment.
pub(super) fn of_count(error: Error) -> StoreError {
    match code_and_message(&error) {
        // The way to the field leads through something that is no object.
        Some((PATH_NOT_VIABLE | TYPE_MISMATCH, _)) => NOT_COUNTED,
        _ => of(error),
    }
}

/// Of making sense of the URL.
pub(super) fn of_url(error: Error) -> StoreError {
    match &*error.kind {
        ErrorKind::InvalidArgument { .. } => StoreError::Invalid("the URL of MongoDB"),
        _ => of(error),
    }
}

/// A collection that exists was made already.
pub(super) fn unless_there(error: Error) -> Result<(), Error> {
    match code_and_message(&error) {
        Some((NAMESPACE_EXISTS, _)) => Ok(()),
        _ => Err(error),
    }
}

fn code_and_message(error: &Error) -> Option<(i32, &str)> {
    match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some((error.code, &error.message)),
        ErrorKind::Command(error) => Some((error.code, &error.message)),
        _ => None,
    }
}

pub(super) const SLOW: StoreError = StoreError::unavailable("MongoDB does not answer");
pub(super) const DAMAGED: StoreError = StoreError::Corrupt("a document in MongoDB is none of ours");

// Codes of the server, from its `error_codes.yml`.
const DUPLICATE: i32 = 11000;
const PATH_NOT_VIABLE: i32 = 28;
const TYPE_MISMATCH: i32 = 14;
const NAMESPACE_EXISTS: i32 = 48;
