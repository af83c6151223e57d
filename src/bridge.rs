//! Joins the control API to the engine: what one asks of the other is answered here, and nowhere else.

use std::sync::Arc;

use control_api::{About, ApiState, Readiness};
use engine::Engine;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::Error;

/// What the control API is told of the rest of the program.
pub(crate) fn api_state(engine: Arc<Engine>, metrics: PrometheusHandle) -> ApiState {
    let sessions: Arc<dyn Readiness> = Arc::new(SessionSlots(engine));
    ApiState {
        about: About {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            protocol: protocol::SUBPROTOCOL,
        },
        readiness: Arc::new([sessions]),
        metrics: Arc::new(move || metrics.render()),
    }
}

/// Starts counting, for the life of the process.
pub(crate) fn metrics() -> Result<PrometheusHandle, Error> {
    let handle = PrometheusBuilder::new().set_buckets(&LATENCY_BUCKETS_S)?.install_recorder()?;
    engine::metric::describe();
    Ok(handle)
}

/// Ready while a further session would be taken: a full server should get no new clients.
struct SessionSlots(Arc<Engine>);

impl Readiness for SessionSlots {
    fn name(&self) -> &str {
        "sessions"
    }

    fn check(&self) -> Result<(), String> {
        let registry = &self.0.registry;
        if registry.active() < registry.max() {
            Ok(())
        } else {
            Err(format!("all {} session slots are taken; see sessions.max", registry.max()))
        }
    }
}

/// Around the budget of a spoken answer: 50 ms from decided turn to text, 0.45 s and 0.8 s to the final text.
const LATENCY_BUCKETS_S: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.45, 0.8, 1.5, 3.0, 6.0, 12.0];
