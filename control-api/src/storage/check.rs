//! The bounds of what a store is given, the same for every store, checked before anything is asked of it.
//!
//! Not here: what only a store can know, such as whether an id is taken.

use serde_json::Value;

use super::{
    Body, Filter, Increment, Index, Key, MAX_DOCUMENT_BYTES, MAX_ID_BYTES, MAX_PAGE, Query, Schema,
    StoreError, query::Condition, record::Only,
};

/// The declarations of a program: a mistake in them is found at its start.
pub(crate) fn schema(schema: &Schema) -> Result<(), StoreError> {
    let expiries = schema.indexes.iter().filter(|index| index.expiry);
    let ok = plain(schema.collection)
        && !schema.collection.starts_with("sqlite")
        && schema.indexes.iter().all(|index| {
            let twice = schema.indexes.iter().filter(|other| other.name == index.name).count() > 1;
            let columns = if index.expiry { 1..=1 } else { 1..=4 };
            plain(index.name)
                && !twice
                && columns.contains(&index.fields.len())
                && index.looks_at().all(|field| path(field).is_ok())
        })
        && expiries.count() <= 1;
    ok.then_some(()).ok_or(StoreError::Invalid(
        "names of collections, indexes and fields are a-z, 0-9 and _, an index has 1 to 4 fields and a name of its own",
    ))
}

/// Whether this may name a collection, an index, or a step of a path.
fn plain(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn path(text: &str) -> Result<(), StoreError> {
    let ok = text.split('.').all(plain);
    ok.then_some(())
        .ok_or(StoreError::Invalid("a field is named by a-z, 0-9 and _, and a path by dots between"))
}

pub(crate) fn id(id: &str) -> Result<(), StoreError> {
    let ok = (1..=MAX_ID_BYTES).contains(&id.len()) && !id.contains('\0');
    ok.then_some(()).ok_or(StoreError::Invalid("an id has 1 to 200 bytes"))
}

/// Bounds `body`; a null in an indexed field is taken out. Returns its JSON.
pub(crate) fn body(schema: &Schema, body: &mut Body) -> Result<String, StoreError> {
    for field in schema.indexes.iter().flat_map(Index::looks_at) {
        let value = at(body, field);
        if value.is_some_and(Value::is_null) {
            remove(body, field);
            continue;
        }
        match value.map(as_key) {
            None => {}
            Some(Some(key)) => self::key(&key)?,
            Some(None) => return Err(StoreError::Invalid("an indexed field is a text, integer or boolean")),
        }
    }
    body.values().try_for_each(|value| portable(value, 1))?;
    body.keys().try_for_each(|name| self::name(name))?;
    let json =
        serde_json::to_string(body).map_err(|_| StoreError::Invalid("the document cannot be written"))?;
    if json.len() > MAX_DOCUMENT_BYTES {
        return Err(StoreError::Invalid("a document has at most 1 MiB of JSON"));
    }
    Ok(json)
}

/// The conditions, and whether an index helps with them.
pub(crate) fn filter(schema: &Schema, filter: &Filter) -> Result<(), StoreError> {
    query_by(schema, filter, None)
}

/// As [`filter`], with the order, the cursor and the size of a page.
pub(crate) fn query(schema: &Schema, query: &Query) -> Result<(), StoreError> {
    query_by(schema, &query.filter, query.order)?;
    if !(1..=MAX_PAGE).contains(&query.limit) {
        return Err(StoreError::Invalid("a page has 1 to 200 documents"));
    }
    if query.after.as_ref().is_some_and(|cursor| cursor.key.is_some() != query.order.is_some()) {
        return Err(StoreError::Invalid("this cursor is of another order"));
    }
    Ok(())
}

fn query_by(schema: &Schema, filter: &Filter, order: Option<&str>) -> Result<(), StoreError> {
    order.map_or(Ok(()), path)?;
    for (field, condition) in &filter.conditions {
        path(field)?;
        match condition {
            Condition::Is(value) => key(value)?,
            Condition::OneOf(values) if values.len() > MAX_PAGE => {
                return Err(StoreError::Invalid("a field is asked for at most 200 values"));
            }
            Condition::OneOf(values) => values.iter().try_for_each(key)?,
            Condition::Within(from, to) => {
                let ends = [from, to].into_iter().filter_map(end);
                ends.map(|(value, _)| value).try_for_each(key)?;
            }
            Condition::Absent => {}
        }
    }
    let asked = |field: &str| {
        let present = |(name, held): &(&str, Condition)| *name == field && *held != Condition::Absent;
        order == Some(field) || filter.conditions.iter().any(present)
    };
    // An index that leaves documents out is of use where the query leaves them out, too.
    let usable = |index: &&Index| match index.only {
        _ if index.sparse && !index.fields.iter().all(|field| asked(field)) => false,
        None => true,
        Some(Only::Without(field)) => asks(filter, field, &Condition::Absent),
        Some(Only::With(field, text)) => asks(filter, field, &Condition::Is(text.into())),
    };
    let helped = schema.indexes.iter().filter(usable).any(|index| asked(index.fields[0]));
    let all = filter.conditions.is_empty() && order.is_none();
    (all || helped).then_some(()).ok_or(StoreError::Invalid(
        "no index begins with a field that is asked for, or it leaves out what is asked for",
    ))
}

fn asks(filter: &Filter, field: &str, condition: &Condition) -> bool {
    filter.conditions.iter().any(|(asked, held)| *asked == field && held == condition)
}

/// An end of a range, and whether it is part of it.
pub(crate) fn end(bound: &std::ops::Bound<Key>) -> Option<(&Key, bool)> {
    match bound {
        std::ops::Bound::Included(key) => Some((key, true)),
        std::ops::Bound::Excluded(key) => Some((key, false)),
        std::ops::Bound::Unbounded => None,
    }
}

pub(crate) fn increments(schema: &Schema, increments: &[Increment]) -> Result<(), StoreError> {
    increments.iter().try_for_each(|increment| path(increment.field))?;
    let counts = (1..=8).contains(&increments.len());
    let alone = increments.iter().enumerate().all(|(at, one)| {
        let within = |path: &str| overlaps(path, one.field);
        !increments[..at].iter().any(|other| within(other.field))
            && !schema.indexes.iter().flat_map(Index::looks_at).any(within)
    });
    (counts && alone)
        .then_some(())
        .ok_or(StoreError::Invalid("1 to 8 fields are counted in at once, each once, none of them indexed"))
}

/// Whether one path is the other or leads into it.
fn overlaps(one: &str, other: &str) -> bool {
    let into = |outer: &str, inner: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    into(one, other) || into(other, one)
}

pub(crate) fn key(key: &Key) -> Result<(), StoreError> {
    let ok = !matches!(key, Key::Text(text) if text.len() > MAX_KEY_BYTES || text.contains('\0'));
    ok.then_some(()).ok_or(StoreError::Invalid("an indexed text has at most 1,024 bytes and no NUL"))
}

/// The value at a path, as an index has it.
pub(crate) fn key_at(body: &Body, path: &str) -> Option<Key> {
    at(body, path).and_then(as_key)
}

fn at<'a>(body: &'a Body, path: &str) -> Option<&'a Value> {
    let mut ways = path.split('.');
    let first = body.get(ways.next()?)?;
    ways.try_fold(first, |value, way| value.as_object()?.get(way))
}

fn remove(body: &mut Body, path: &str) {
    match path.split_once('.') {
        None => drop(body.remove(path)),
        Some((way, rest)) => {
            if let Some(Value::Object(inner)) = body.get_mut(way) {
                remove(inner, rest);
            }
        }
    }
}

fn as_key(value: &Value) -> Option<Key> {
    match value {
        Value::Bool(value) => Some(Key::Bool(*value)),
        Value::Number(value) => value.as_i64().map(Key::Int),
        Value::String(value) => Some(Key::Text(value.clone())),
        _ => None,
    }
}

/// What every store keeps as it is: integers of `i64`, names without NUL, not nested deeper than BSON is.
fn portable(value: &Value, depth: usize) -> Result<(), StoreError> {
    if depth > MAX_DEPTH {
        return Err(StoreError::Invalid("a document is nested at most 50 deep"));
    }
    match value {
        Value::Number(number) if number.is_u64() && !number.is_i64() => {
            Err(StoreError::Invalid("an integer is one of i64"))
        }
        Value::Array(values) => values.iter().try_for_each(|value| portable(value, depth + 1)),
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            self::name(name)?;
            portable(value, depth + 1)
        }),
        _ => Ok(()),
    }
}

fn name(name: &str) -> Result<(), StoreError> {
    (!name.contains('\0')).then_some(()).ok_or(StoreError::Invalid("a field's name has no NUL"))
}

/// Longest text by which something is found.
pub(crate) const MAX_KEY_BYTES: usize = 1024;
const MAX_DEPTH: usize = 50;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SCHEMA: Schema = Schema {
        collection: "things",
        indexes: &[
            Index::on("owner", &["owner", "at"]),
            Index::on("mail", &["mail"]).unique().only_without("gone"),
            Index::expiry(&["until"]),
        ],
    };

    fn check_body(value: Value) -> Result<String, StoreError> {
        let Value::Object(mut body) = value else { panic!("an object") };
        self::body(&SCHEMA, &mut body)
    }

    #[test]
    fn documents_are_bounded() {
        assert_eq!(
            check_body(json!({"owner": "a", "mail": null, "x": null})).unwrap(),
            r#"{"owner":"a","x":null}"#
        );
        for refused in [
            json!({"owner": ["a"]}),
            json!({"owner": 1.5}),
            json!({"owner": "a\u{0}"}),
            json!({"owner": "a".repeat(MAX_KEY_BYTES + 1)}),
            json!({"until": {}}),
            json!({"x": u64::MAX}),
            json!({"x": {"a\u{0}": 1}}),
            json!({"x": "a".repeat(MAX_DOCUMENT_BYTES)}),
            (0..=MAX_DEPTH).fold(json!(1), |inner, _| json!({"x": inner})),
        ] {
            assert!(matches!(check_body(refused), Err(StoreError::Invalid(_))));
        }
        assert!(id("").is_err() && id(&"i".repeat(201)).is_err() && id("a\0").is_err() && id("é").is_ok());
    }

    #[test]
    fn a_query_has_an_index() {
        let query = |filter: Filter, order: Option<&'static str>| query_by(&SCHEMA, &filter, order).is_ok();
        assert!(query(Filter::all(), None));
        assert!(query(Filter::all().eq("owner", "a"), Some("at")));
        assert!(query(Filter::all(), Some("owner")));
        assert!(!query(Filter::all(), Some("at")));
        assert!(!query(Filter::all().eq("at", 1i64), None));
        assert!(!query(Filter::all().without("owner"), None));
        assert!(!query(Filter::all().eq("mail", "a"), None));
        assert!(query(Filter::all().eq("mail", "a").without("gone"), None));
        assert!(!query(Filter::all().eq("owner", "a").eq("x') OR ('1' = '1", "a"), None));
        assert!(!query(Filter::all().eq("owner", "a"), Some("x') --")));
    }

    #[test]
    fn declarations_are_checked() {
        const NONE: &[Index] = &[];
        let check = |collection, indexes| schema(&Schema { collection, indexes }).is_ok();
        assert!(schema(&SCHEMA).is_ok());
        assert!(!check("", NONE) && !check("a-b", NONE) && !check("sqlite_x", NONE));
        assert!(!check("a", const { &[Index::on("x", &["a'"])] }));
        assert!(!check("a", const { &[Index::on("x", &[])] }));
        assert!(!check("a", const { &[Index::on("x", &["a"]), Index::on("x", &["b"])] }));
    }

    #[test]
    fn what_is_counted_is_not_indexed() {
        let check = |fields: &[&'static str]| {
            increments(&SCHEMA, &fields.iter().map(|field| Increment::add(field, 1)).collect::<Vec<_>>())
                .is_ok()
        };
        assert!(check(&["a", "b.c"]));
        assert!(!check(&[]) && !check(&["a", "a"]) && !check(&["a", "a.b"]) && !check(&["until"]));
        assert!(check(&["untilled"]));
    }
}
