//! What the API keeps things in, behind each seam every back-end under the same suite. One program, as in `api`.

#![allow(clippy::unwrap_used)] // A test may panic.

#[path = "../common/log.rs"]
mod log;
#[path = "../common/mongod.rs"]
mod mongod;
#[path = "../common/python.rs"]
mod python;
#[path = "../common/redis_server.rs"]
mod redis_server;
#[path = "../common/s3_server.rs"]
mod s3_server;
#[path = "../common/smtp_server.rs"]
mod smtp_server;

mod blobs;
mod cache;
mod jobs;
mod journals;
mod mail;
mod store;
