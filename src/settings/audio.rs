//! `[audio]`: the doors of live sessions, and their certificates.
//!
//! Not here: handshakes (`engine::server`).

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use engine::server::tls::Tls;

use super::Reader;

/// The doors of live sessions.
#[derive(Debug)]
pub(crate) struct Audio {
    /// Where the WebSocket listens.
    pub(crate) address: SocketAddr,
    /// Where QUIC and WebTransport do, on the same host; none when that is off.
    pub(crate) quic: Option<SocketAddr>,
    /// The operator's own certificates: with them the WebSocket is `wss://`, and without QUIC makes one for development.
    pub(crate) tls: Option<Tls>,
    /// Origins of web pages and extensions that may connect, beside pages of this machine.
    pub(crate) allowed_origins: Vec<String>,
}

impl Audio {
    /// Loopback on any free port, with a WebSocket only.
    pub(crate) fn websocket_here() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { address, quic: None, tls: None, allowed_origins: Vec::new() }
    }

    /// The address of a client on this machine.
    pub(crate) fn url(&self, address: SocketAddr) -> String {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{address}{}", protocol::AUDIO_PATH)
    }
}

impl Reader {
    pub(super) fn audio(&mut self, host: IpAddr) -> Audio {
        let host = self.get("audio.host", host);
        let address = SocketAddr::new(host, self.get("audio.port", 8081));
        let port = self.get("audio.quic_port", 8443);
        let quic = self.get("audio.quic", true).then_some(SocketAddr::new(host, port));
        let allowed_origins = self.get("audio.allowed_origins", Vec::new());
        Audio { address, quic, tls: self.tls(), allowed_origins }
    }

    fn tls(&mut self) -> Option<Tls> {
        const CERTIFICATE: &str = "audio.tls_certificate_file";
        const KEY: &str = "audio.tls_key_file";
        let (certificate, key) = match (self.optional::<PathBuf>(CERTIFICATE), self.optional(KEY)) {
            (None, None) => return None,
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(_), None) => {
                self.problem(format!("{CERTIFICATE} is set and {KEY} is not: both are needed"));
                return None;
            }
            (None, Some(_)) => {
                self.problem(format!("{KEY} is set and {CERTIFICATE} is not: both are needed"));
                return None;
            }
        };
        let certificate = self.pem(CERTIFICATE, certificate);
        let key = self.pem(KEY, key);
        match Tls::from_pem(&certificate?, &key?) {
            Ok(tls) => Some(tls),
            Err(error) => {
                self.problem(format!("{CERTIFICATE} and {KEY}: {error}"));
                None
            }
        }
    }

    fn pem(&mut self, setting: &str, path: PathBuf) -> Option<Vec<u8>> {
        match std::fs::read(&path) {
            Ok(pem) => Some(pem),
            Err(error) => {
                self.problem(format!("{setting}: {}: {error}", path.display()));
                None
            }
        }
    }
}
