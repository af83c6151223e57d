//! `[api]`: the control API's door.
//!
//! Not here: its routes (`control_api`).

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use control_api::{cache::Limit, limits::RateLimits};

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
            limits: self.rate_limits(),
        }
    }

    fn rate_limits(&mut self) -> RateLimits {
        let default = RateLimits::default();
        RateLimits {
            entrance: self.per_minute("api.entrance_per_minute", default.entrance),
            anonymous: self.per_minute("api.anonymous_per_minute", default.anonymous),
            reads: self.per_minute("api.reads_per_minute", default.reads),
            writes: self.per_minute("api.writes_per_minute", default.writes),
            costly: self.per_minute("api.exports_per_minute", default.costly),
        }
    }

    fn per_minute(&mut self, key: &'static str, default: Option<Limit>) -> Option<Limit> {
        let default = default.map_or(0, |limit| limit.calls() as usize);
        let calls = self.number(key, default, MAX_CALLS);
        u32::try_from(calls).ok().and_then(|calls| Limit::new(calls, Duration::from_secs(60)).ok())
    }
}

const MAX_CALLS: usize = 1_000_000;
