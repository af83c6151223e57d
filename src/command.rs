//! One file a command. Each takes checked settings and its arguments, and returns the exit code.

pub(crate) mod bench;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod keys;
pub(crate) mod models;
pub(crate) mod serve;
pub(crate) mod stream;
pub(crate) mod transcribe;
