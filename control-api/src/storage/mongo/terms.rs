//! Filters, orders and increments in MongoDB's terms. Names are those of declarations, which are checked.

use mongodb::bson::{Bson, Document, doc};

use super::json::{self, key, signed};
use crate::storage::{Cursor, Filter, Increment, Query, check::end, query::Condition};

pub(super) fn filter(filter: &Filter) -> Document {
    all(conditions(filter))
}

/// A page's filter and sort.
pub(super) fn page(query: &Query) -> (Document, Document) {
    let mut terms = conditions(&query.filter);
    let order = query.order.map(path);
    let (direction, past) = if query.descending { (-1, "$lt") } else { (1, "$gt") };
    if let Some(order) = &order {
        // The first is what an index that leaves documents out knows.
        terms.push(doc! { order: { "$exists": true, "$ne": null } });
    }
    match (&query.after, &order) {
        (Some(Cursor { key: Some(at), id }), Some(order)) => {
            let at = key(at);
            terms.push(doc! { order: { format!("{past}e"): at.clone() } });
            terms.push(doc! { "$or": [{ order: { past: at.clone() } }, { order: at, "_id": { past: id } }] });
        }
        (Some(Cursor { id, .. }), _) => terms.push(doc! { "_id": { past: id } }),
        (None, _) => {}
    }
    let mut sort = Document::new();
    if let Some(order) = order {
        sort.insert(order, direction);
    }
    sort.insert("_id", direction);
    (all(terms), sort)
}

/// The filter by which the document is found if everything fits, and the change.
pub(super) fn increments(id: &str, increments: &[Increment]) -> (Document, Document) {
    let mut terms = vec![doc! { "_id": id }];
    let mut sums = doc! { json::VERSION: signed(1) };
    for increment in increments {
        let field = path(increment.field);
        let (most, least) = increment.possible();
        let integer = doc! { &field: { "$type": ["int", "long"], "$lte": most, "$gte": least } };
        let absent = doc! { &field: { "$exists": false } };
        terms.push(if (least..=most).contains(&0) {
            doc! { "$or": [integer, absent] }
        } else {
            integer
        });
        sums.insert(field, increment.by);
    }
    (all(terms), doc! { "$inc": sums })
}

/// Where a field of a record lies.
pub(super) fn path(field: &str) -> String {
    format!("d.{field}")
}

fn conditions(filter: &Filter) -> Vec<Document> {
    let term = |(field, condition): &(&str, Condition)| {
        let term = match condition {
            Condition::Is(value) => doc! { "$eq": key(value) },
            Condition::OneOf(values) => doc! { "$in": values.iter().map(key).collect::<Vec<Bson>>() },
            Condition::Within(from, to) => {
                let ends = [(from, "$gt"), (to, "$lt")].into_iter().filter_map(|(bound, sign)| {
                    let (value, included) = end(bound)?;
                    Some((format!("{sign}{}", if included { "e" } else { "" }), key(value)))
                });
                ends.collect()
            }
            Condition::Absent => doc! { "$eq": null },
        };
        // A range without ends.
        (!term.is_empty()).then(|| doc! { path(field): term })
    };
    filter.conditions.iter().filter_map(term).collect()
}

fn all(terms: Vec<Document>) -> Document {
    if terms.is_empty() {
        Document::new()
    } else {
        doc! { "$and": terms }
    }
}
