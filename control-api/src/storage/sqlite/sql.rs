//! Filters and orders as SQL. Names are those of declarations, which are checked; values are always parameters.

use rusqlite::types::Value;

use crate::storage::{Cursor, Filter, Index, Key, Query, Schema, check::end, query::Condition, record::Only};

/// A statement and its parameters.
#[derive(Default)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

/// `SELECT columns` of what the filter finds.
pub(super) fn select(columns: &str, schema: &Schema, filter: &Filter) -> Statement {
    let mut statement =
        Statement { sql: format!("SELECT {columns} FROM \"{}\"", schema.collection), values: Vec::new() };
    statement.push_filter(filter);
    statement
}

/// A page and one document more, by which it is known that there is another page.
pub(super) fn page(schema: &Schema, query: &Query) -> Statement {
    let mut statement = select("id, version, body", schema, &query.filter);
    let field = query.order.map(field);
    if let Some(field) = &field {
        statement.condition(&format!("{field} IS NOT NULL"), []);
    }
    let (direction, past) = if query.descending { ("DESC", "<") } else { ("ASC", ">") };
    match (&query.after, &field) {
        (Some(Cursor { key: Some(key), id }), Some(field)) => {
            // The first condition alone is what an index can look up.
            let past = format!("{field} {past}= ? AND ({field} {past} ? OR id {past} ?)");
            statement.condition(&past, [value(key), value(key), Value::Text(id.clone())]);
        }
        (Some(Cursor { id, .. }), _) => {
            statement.condition(&format!("id {past} ?"), [Value::Text(id.clone())])
        }
        (None, _) => {}
    }
    let order = field.map(|field| format!("{field} {direction}, ")).unwrap_or_default();
    statement.sql.push_str(&format!(" ORDER BY {order}id {direction} LIMIT {}", query.limit + 1));
    statement
}

/// The statement that makes an index; exactly this is kept in the file's schema, and compared at the next start.
pub(super) fn create_index(schema: &Schema, index: &Index) -> String {
    let mut columns = index.fields.iter().map(|path| field(path)).collect::<Vec<_>>();
    if !index.unique {
        // The order of a page goes on by id.
        columns.push("id".to_owned());
    }
    let mut only = Vec::new();
    if index.sparse {
        only.extend(index.fields.iter().map(|path| format!("{} IS NOT NULL", field(path))));
    }
    match index.only {
        Some(Only::With(path, text)) => {
            only.push(format!("{} = '{}'", field(path), text.replace('\'', "''")))
        }
        Some(Only::Without(path)) => only.push(format!("{} IS NULL", field(path))),
        None => {}
    }
    let kind = if index.unique { "UNIQUE INDEX" } else { "INDEX" };
    let mut sql = format!(
        "CREATE {kind} \"{0}.{1}\" ON \"{0}\" ({2})",
        schema.collection,
        index.name,
        columns.join(", ")
    );
    if !only.is_empty() {
        sql.push_str(&format!(" WHERE {}", only.join(" AND ")));
    }
    sql
}

impl Statement {
    fn push_filter(&mut self, filter: &Filter) {
        for (path, condition) in &filter.conditions {
            let field = field(path);
            match condition {
                Condition::Is(key) => self.condition(&format!("{field} = ?"), [value(key)]),
                Condition::OneOf(keys) => {
                    let marks = vec!["?"; keys.len()].join(", ");
                    self.condition(&format!("{field} IN ({marks})"), keys.iter().map(value));
                }
                Condition::Within(from, to) => {
                    for (bound, sign) in [(from, ">"), (to, "<")] {
                        let Some((key, included)) = end(bound) else { continue };
                        let equal = if included { "=" } else { "" };
                        self.condition(&format!("{field} {sign}{equal} ?"), [value(key)]);
                    }
                }
                Condition::Absent => self.condition(&format!("{field} IS NULL"), []),
            }
        }
    }

    fn condition(&mut self, sql: &str, values: impl IntoIterator<Item = Value>) {
        self.sql.push_str(if self.sql.contains(" WHERE ") { " AND " } else { " WHERE " });
        self.sql.push_str(sql);
        self.values.extend(values);
    }
}

/// The expression that indexes are made of, so that a query which says the same uses them.
fn field(path: &str) -> String {
    format!("json_extract(body, '$.{path}')")
}

/// A boolean in JSON is 0 or 1 to SQL.
fn value(key: &Key) -> Value {
    match key {
        Key::Bool(value) => Value::Integer((*value).into()),
        Key::Int(value) => Value::Integer(*value),
        Key::Text(value) => Value::Text(value.clone()),
    }
}
