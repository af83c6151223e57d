//! Joins the control API to the engine: what one asks of the other is answered here, and nowhere else.
//!
//! | module | answers |
//! |---|---|
//! | `access` | who may open a live session: tickets and access tokens, beside what works without accounts |
//! | `candidates` | who the candidate is, and what they prefer |
//! | `recording` | what is kept of a session |
//! | `metering` | what is left of a plan |
//! | `journals` | what a live session needs to go on at another server |
//! | `revocation` | which live sessions must end, as their login did |
//!
//! Not here: building either side (`compose`).

mod access;
mod candidates;
mod journals;
mod metering;
mod recording;
mod revocation;

pub(crate) use access::Doors;
pub(crate) use candidates::Candidates;
pub(crate) use journals::SharedJournals;
pub(crate) use metering::Meters;
pub(crate) use recording::Histories;
pub(crate) use revocation::watch as watch_revocations;

use std::sync::Arc;

use control_api::{About, Readiness};
use engine::{Engine, ports::Principal};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::Error;

/// Which program this is.
pub(crate) const ABOUT: About = About {
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    protocol: protocol::SUBPROTOCOL,
};

/// Whether this is a user with an account, and not whoever sits at this machine.
fn has_account(principal: &Principal) -> bool {
    *principal != Principal::local()
}

/// Starts counting, for the life of the process.
pub(crate) fn metrics() -> Result<PrometheusHandle, Error> {
    let handle = PrometheusBuilder::new().set_buckets(&LATENCY_BUCKETS_S)?.install_recorder()?;
    engine::metric::describe();
    metrics::describe_gauge!(TASKS_GAUGE, "Tasks alive in the runtime");
    metrics::describe_gauge!(SESSIONS_GAUGE, "Sessions open");
    Ok(handle)
}

/// Ready while a further session would be taken: a full server should get no new clients.
pub(crate) struct SessionSlots(pub(crate) Arc<Engine>);

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

/// The gauge of tasks; a leak would show here.
pub(crate) const TASKS_GAUGE: &str = "tasks_alive";
/// The gauge of open sessions.
pub(crate) const SESSIONS_GAUGE: &str = "sessions_open";
/// Around the budget of a spoken answer: 50 ms from decided turn to text, 0.45 s and 0.8 s to the final text.
const LATENCY_BUCKETS_S: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.45, 0.8, 1.5, 3.0, 6.0, 12.0];
