//! Operations on documents, each on a connection that is inside a transaction of its own or reads only.
//!
//! Reading before writing is safe here: from `BEGIN IMMEDIATE` on nobody else writes.

use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};

use super::{fault, sql};
use crate::storage::{
    Body, Document, Filter, Increment, Outcome, Page, Query, Schema, StoreError, increment, query::Gathering,
};

pub(super) fn insert(
    connection: &Connection,
    schema: &'static Schema,
    id: &str,
    json: &str,
) -> Result<(), StoreError> {
    let sql = format!("INSERT INTO \"{}\" (id, version, body) VALUES (?, 1, ?)", schema.collection);
    let insert = || connection.prepare_cached(&sql)?.execute(params![id, json]);
    match insert().map_err(|error| fault::of_write(schema, error)) {
        Ok(_) => Ok(()),
        // Where both are taken, SQLite names any.
        Err(StoreError::Duplicate { .. }) if version_of(connection, schema, id)?.is_some() => {
            Err(StoreError::Duplicate { index: "id" })
        }
        Err(error) => Err(error),
    }
}

pub(super) fn get(
    connection: &Connection,
    schema: &Schema,
    id: &str,
) -> Result<Option<Document>, StoreError> {
    let sql = format!("SELECT id, version, body FROM \"{}\" WHERE id = ?", schema.collection);
    let row = || connection.prepare_cached(&sql)?.query_row([id], raw).optional();
    row().map_err(fault::of)?.map(document).transpose()
}

pub(super) fn replace(
    connection: &Connection,
    schema: &'static Schema,
    id: &str,
    version: u64,
    json: &str,
) -> Result<u64, StoreError> {
    match version_of(connection, schema, id)? {
        None => Err(StoreError::NotFound),
        Some(now) if now != version => Err(StoreError::Conflict),
        Some(_) => put(connection, schema, id, version + 1, json),
    }
}

pub(super) fn increment(
    connection: &Connection,
    schema: &'static Schema,
    id: &str,
    increments: &[Increment],
) -> Result<Outcome, StoreError> {
    let mut document = get(connection, schema, id)?.ok_or(StoreError::NotFound)?;
    if let Err(field) = increment::apply(&mut document.body, increments)? {
        return Ok(Outcome::Refused { field, document });
    }
    let json = serde_json::to_string(&document.body).map_err(|_| fault::DAMAGED)?;
    document.version = put(connection, schema, id, document.version + 1, &json)?;
    Ok(Outcome::Done(document))
}

pub(super) fn delete(
    connection: &Connection,
    schema: &Schema,
    id: &str,
    version: Option<u64>,
) -> Result<bool, StoreError> {
    let sql = format!("DELETE FROM \"{}\" WHERE id = ?1 AND (?2 IS NULL OR version = ?2)", schema.collection);
    let delete = || connection.prepare_cached(&sql)?.execute(params![id, version.map(signed)]);
    delete().map(|deleted| deleted > 0).map_err(fault::of)
}

/// At most `most` of what the filter finds.
pub(super) fn delete_some(
    connection: &Connection,
    schema: &Schema,
    filter: &Filter,
    most: u64,
) -> Result<u64, StoreError> {
    let found = sql::select("rowid", schema, filter);
    let sql = format!("DELETE FROM \"{}\" WHERE rowid IN ({} LIMIT {most})", schema.collection, found.sql);
    let delete = || connection.prepare_cached(&sql)?.execute(params_from_iter(found.values));
    delete().map(|deleted| deleted as u64).map_err(fault::of)
}

pub(super) fn find(connection: &Connection, schema: &Schema, query: &Query) -> Result<Page, StoreError> {
    let page = sql::page(schema, query);
    let mut statement = connection.prepare_cached(&page.sql).map_err(fault::of)?;
    let mut rows = statement.query(params_from_iter(page.values)).map_err(fault::of)?;
    let mut gathering = Gathering::new(query);
    while let Some(row) = rows.next().map_err(fault::of)? {
        let row = raw(row).map_err(fault::of)?;
        if !gathering.has_room(row.2.len()) {
            break;
        }
        gathering.push(document(row)?);
    }
    Ok(gathering.page())
}

pub(super) fn count(connection: &Connection, schema: &Schema, filter: &Filter) -> Result<u64, StoreError> {
    let count = sql::select("count(*)", schema, filter);
    let row =
        || connection.prepare_cached(&count.sql)?.query_row(params_from_iter(count.values), |row| row.get(0));
    row().map(|count: i64| count.unsigned_abs()).map_err(fault::of)
}

pub(super) fn plan(connection: &Connection, schema: &Schema, query: &Query) -> Result<String, StoreError> {
    // A connection that has not run anything since the indexes were made does not know of them.
    find(connection, schema, query)?;
    let page = sql::page(schema, query);
    let lines = || {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", page.sql))?;
        let lines = statement.query_map(params_from_iter(page.values), |row| row.get::<_, String>(3))?;
        lines.collect::<Result<Vec<_>, _>>()
    };
    lines().map(|lines| lines.join("\n")).map_err(fault::of)
}

fn version_of(connection: &Connection, schema: &Schema, id: &str) -> Result<Option<u64>, StoreError> {
    let sql = format!("SELECT version FROM \"{}\" WHERE id = ?", schema.collection);
    let row = || connection.prepare_cached(&sql)?.query_row([id], |row| row.get::<_, i64>(0)).optional();
    Ok(row().map_err(fault::of)?.map(i64::unsigned_abs))
}

fn put(
    connection: &Connection,
    schema: &'static Schema,
    id: &str,
    version: u64,
    json: &str,
) -> Result<u64, StoreError> {
    let sql = format!("UPDATE \"{}\" SET version = ?, body = ? WHERE id = ?", schema.collection);
    let update = || connection.prepare_cached(&sql)?.execute(params![signed(version), json, id]);
    update().map(|_| version).map_err(|error| fault::of_write(schema, error))
}

type Raw = (String, i64, String);

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn document((id, version, json): Raw) -> Result<Document, StoreError> {
    let body: Body = serde_json::from_str(&json).map_err(|_| fault::DAMAGED)?;
    Ok(Document { id, version: version.unsigned_abs(), body })
}

/// SQLite has no unsigned integers; nobody writes a document that often.
fn signed(version: u64) -> i64 {
    version.try_into().unwrap_or(i64::MAX)
}
