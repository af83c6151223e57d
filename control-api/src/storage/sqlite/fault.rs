//! What an error of SQLite means to the caller. SQLite's own messages may name values, so none is passed on.

use rusqlite::{Error, ErrorCode, ffi};

use crate::storage::{Schema, StoreError};

/// Of an operation on documents.
pub(super) fn of(error: Error) -> StoreError {
    match &error {
        Error::SqliteFailure(failure, message) => match failure.code {
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => DAMAGED,
            ErrorCode::DiskFull => StoreError::unavailable("the disk is full"),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                StoreError::unavailable("another process is writing to the database file")
            }
            ErrorCode::Unknown if starts(message, "no such table") => NOT_PREPARED,
            ErrorCode::Unknown if starts(message, "malformed JSON") => DAMAGED,
            _ => StoreError::unavailable("the database file cannot be read or written"),
        },
        Error::FromSqlConversionFailure(..)
        | Error::InvalidColumnType(..)
        | Error::IntegralValueOutOfRange(..) => DAMAGED,
        _ => StoreError::unavailable("the database refused a statement"),
    }
}

/// Of one that may meet a unique index.
pub(super) fn of_write(schema: &'static Schema, error: Error) -> StoreError {
    let Error::SqliteFailure(failure, message) = &error else { return of(error) };
    match failure.extended_code {
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY => StoreError::Duplicate { index: "id" },
        ffi::SQLITE_CONSTRAINT_UNIQUE => {
            // "UNIQUE constraint failed: index 'accounts.email'".
            let named = |name: &str| {
                let quoted = format!("'{}.{name}'", schema.collection);
                message.as_ref().is_some_and(|message| message.contains(&quoted))
            };
            let index = schema.indexes.iter().map(|index| index.name).find(|name| named(name));
            StoreError::Duplicate { index: index.unwrap_or("unknown") }
        }
        _ => of(error),
    }
}

/// Of opening the file.
pub(super) fn of_start(error: Error) -> StoreError {
    match of(error) {
        StoreError::Corrupt(_) => FOREIGN,
        error => error,
    }
}

fn starts(message: &Option<String>, with: &str) -> bool {
    message.as_ref().is_some_and(|message| message.starts_with(with))
}

pub(super) const SLOW: StoreError = StoreError::unavailable("it took too long");
pub(super) const STOPPED: StoreError = StoreError::unavailable("the database's thread has stopped");
pub(super) const ROLLED_BACK: StoreError = StoreError::unavailable("a write beside it failed");
pub(super) const NO_FILE: StoreError = StoreError::unavailable("the database file cannot be opened");
pub(super) const DAMAGED: StoreError = StoreError::Corrupt("the database file is damaged");
pub(super) const FOREIGN: StoreError = StoreError::Corrupt("the file is no database of this program");
pub(super) const NEWER: StoreError = StoreError::Corrupt("the database is of a newer program");
const NOT_PREPARED: StoreError = StoreError::Invalid("the collection was not prepared");
