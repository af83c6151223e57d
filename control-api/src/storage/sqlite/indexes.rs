//! Tables and indexes, made as they are declared.

use rusqlite::Connection;

use super::{fault, sql};
use crate::storage::{Schema, StoreError};

pub(super) fn prepare(connection: &Connection, schema: &Schema) -> Result<(), StoreError> {
    let table = format!(
        "CREATE TABLE IF NOT EXISTS \"{}\" (id TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL, body TEXT NOT NULL) STRICT",
        schema.collection
    );
    connection.execute_batch(&table).map_err(fault::of)
}

/// All or nothing.
pub(super) fn index(connection: &Connection, schema: &'static Schema) -> Result<(), StoreError> {
    connection.execute_batch("SAVEPOINT indexes").map_err(fault::of)?;
    let done = change(connection, schema);
    if done.is_err() {
        connection.execute_batch("ROLLBACK TO indexes").map_err(fault::of)?;
    }
    connection.execute_batch("RELEASE indexes").map_err(fault::of)?;
    done
}

fn change(connection: &Connection, schema: &'static Schema) -> Result<(), StoreError> {
    let mut kept = Vec::new();
    for (name, made_by) in made(connection, schema).map_err(fault::of)? {
        let same = |index| sql::create_index(schema, index) == made_by;
        if schema.indexes.iter().any(same) {
            kept.push(made_by);
        } else {
            connection.execute_batch(&format!("DROP INDEX \"{name}\"")).map_err(fault::of)?;
        }
    }
    for statement in schema.indexes.iter().map(|index| sql::create_index(schema, index)) {
        if !kept.contains(&statement) {
            connection.execute_batch(&statement).map_err(|error| fault::of_write(schema, error))?;
        }
    }
    Ok(())
}

/// Names and statements of the indexes; that of the id, which SQLite made by itself, has none.
fn made(connection: &Connection, schema: &Schema) -> rusqlite::Result<Vec<(String, String)>> {
    let indexes =
        "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL";
    let mut statement = connection.prepare(indexes)?;
    statement.query_map([schema.collection], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}
