//! The HTTP API over real sockets. One program, as each links the whole of it and takes long to build.
//!
//! Not here: what must have a process of its own, as it counts or hears everything in it (`observed`).

#![allow(clippy::unwrap_used)] // A test may panic.

#[path = "../common/account.rs"]
mod account;
#[path = "../common/api.rs"]
mod api;
#[path = "../common/formats.rs"]
mod formats;
#[path = "../common/mongod.rs"]
#[allow(dead_code, reason = "`seams` uses more of it")]
mod mongod;
#[path = "../common/oidc_issuer.rs"]
mod oidc_issuer;
#[path = "../common/python.rs"]
mod python;
#[path = "../common/redis_server.rs"]
mod redis_server;
#[path = "../common/schemathesis.rs"]
mod schemathesis;
#[path = "../common/history.rs"]
mod written;

mod accounts;
mod accounts_erasure;
mod accounts_tokens;
mod defects;
mod described;
mod export;
mod forged_tokens;
mod google;
mod history;
mod history_erasure;
mod http;
mod idempotency;
mod interviews;
mod keys;
mod limits;
mod matrix;
mod quotas;
mod users;
