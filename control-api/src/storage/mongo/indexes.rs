//! Indexes, made as they are declared. Those that others made, by name, are left alone.

use futures_util::TryStreamExt as _;
use mongodb::{
    Collection, IndexModel,
    bson::{Bson, Document, RawDocumentBuf, doc},
    error::Result,
    options::IndexOptions,
};

use super::{json, terms::path};
use crate::storage::{Index, Schema, record::Only};
use std::time::Duration;

/// Brings the indexes to what is declared.
pub(super) async fn make(collection: &Collection<RawDocumentBuf>, schema: &Schema) -> Result<()> {
    let declared = schema.indexes.iter().flat_map(declared).collect::<Vec<_>>();
    let there = collection.list_indexes().await?.try_collect::<Vec<_>>().await?;
    for index in there.iter().filter(|index| name(index).starts_with(OURS)) {
        if !declared.iter().any(|declared| same(declared, index)) {
            collection.drop_index(name(index)).await?;
        }
    }
    let missing =
        declared.into_iter().filter(|one| !there.iter().any(|index| same(one, index))).collect::<Vec<_>>();
    if !missing.is_empty() {
        collection.create_indexes(missing).await?;
    }
    Ok(())
}

fn declared(index: &Index) -> Vec<IndexModel> {
    let mut keys = index.fields.iter().map(|field| (path(field), Bson::Int32(1))).collect::<Document>();
    if !index.unique {
        // The order of a page goes on by id.
        keys.insert("_id", 1);
    }
    let mut only = Document::new();
    if index.sparse {
        // Nulls were taken out of these fields.
        only.extend(index.fields.iter().map(|field| (path(field), Bson::Document(doc! { "$exists": true }))));
    }
    match index.only {
        Some(Only::With(field, text)) => drop(only.insert(path(field), text)),
        Some(Only::Without(field)) => drop(only.insert(path(field), Bson::Null)),
        None => {}
    }
    let options = IndexOptions::builder()
        .name(format!("{OURS}{}", index.name))
        .unique(index.unique.then_some(true))
        .partial_filter_expression((!only.is_empty()).then_some(only))
        .build();
    let mut models = vec![IndexModel::builder().keys(keys).options(options).build()];
    if index.expiry {
        let options =
            IndexOptions::builder().name(format!("{OURS}expiry-date")).expire_after(Duration::ZERO).build();
        models.push(IndexModel::builder().keys(doc! { json::EXPIRES: 1 }).options(options).build());
    }
    models
}

/// Whether what is there is what is declared.
fn same(one: &IndexModel, other: &IndexModel) -> bool {
    let shape = |index: &IndexModel| {
        let options = index.options.clone().unwrap_or_default();
        let unique = options.unique.unwrap_or(false);
        (index.keys.clone(), options.name, unique, options.partial_filter_expression, options.expire_after)
    };
    shape(one) == shape(other)
}

fn name(index: &IndexModel) -> &str {
    index.options.as_ref().and_then(|options| options.name.as_deref()).unwrap_or_default()
}

/// Begins the names of the indexes that are declared.
pub(super) const OURS: &str = "app_";
