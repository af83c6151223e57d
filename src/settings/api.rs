//! `[api]`: the control API's door.
//!
//! Not here: its routes (`control_api`).

use std::net::{IpAddr, SocketAddr};

use control_api::limits::RateLimits;

use super::Reader;

/// The control API's door.
#[derive(Debug)]
pub(crate) struct Api {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Web pages and extensions that may call it, beside pages of this machine.
    pub(crate) allowed_origins: Vec<String>,
    /// Proxies that tell the client's address.
    pub(crate) trusted_proxies: Vec<IpAddr>,
    /// What may be called how often.
    pub(crate) limits: RateLimits,
}

impl Reader {
    pub(super) fn api(&mut self, host: IpAddr) -> Api {
        Api {
            address: SocketAddr::new(self.get("api.host", host), self.get("api.port", 8080)),
            allowed_origins: self.get("api.allowed_origins", Vec::new()),
            trusted_proxies: self.get("api.trusted_proxies", Vec::new()),
            limits: RateLimits::default(),
        }
    }
}
