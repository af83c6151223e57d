//! What inference is: voice activity, speech recognition, chat, and the weights they need.
//!
//! Knows nothing of sessions, users or interviews. One seam a module, one file an implementation.

pub mod chat;
mod provider;
pub mod speech;
pub mod vad;
pub mod weights;
