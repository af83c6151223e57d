//! Joins the control API to the engine: each answers the other's questions here, and nowhere else.

use std::sync::Arc;

use engine::Engine;

/// Whether the engine takes sessions, for `/health/ready`.
pub(crate) struct EngineReadiness(pub(crate) Arc<Engine>);
