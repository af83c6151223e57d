//! `[auth]`: who may connect.
//!
//! Not here: comparing tokens (`engine`).

use std::net::SocketAddr;

use secrecy::{ExposeSecret as _, SecretString};

use super::Reader;

/// Who may connect.
#[derive(Debug)]
pub(crate) enum Auth {
    /// Everybody on this machine.
    Off,
    /// Who shows this token.
    Token(SecretString),
    /// Only who has an account.
    Accounts,
}

impl Reader {
    pub(super) fn auth(&mut self, listeners: &[(&str, SocketAddr)]) -> Option<Auth> {
        let token = self.optional::<SecretString>("auth.token");
        let mode = self.get("auth.mode", if token.is_some() { "token" } else { "off" }.to_owned());
        match (mode.as_str(), token) {
            ("off", _) => {
                for (name, address) in listeners.iter().filter(|(_, address)| !address.ip().is_loopback()) {
                    self.problem(format!(
                        "auth.mode is off, which is only for one machine, but {name} is {}: \
                         use 127.0.0.1, set auth.token, or auth.mode = \"accounts\"",
                        address.ip()
                    ));
                }
                Some(Auth::Off)
            }
            ("token", Some(token)) => {
                if token.expose_secret().len() < MIN_TOKEN_BYTES {
                    self.problem(format!("auth.token is shorter than {MIN_TOKEN_BYTES} characters"));
                }
                Some(Auth::Token(token))
            }
            ("token", None) => {
                self.problem("auth.mode is token: set auth.token");
                None
            }
            ("accounts", None) => Some(Auth::Accounts),
            ("accounts", Some(_)) => {
                self.problem("auth.mode is accounts, which lets in nobody without one: remove auth.token");
                None
            }
            (other, _) => {
                self.problem(format!("auth.mode is {other:?}: use \"off\", \"token\" or \"accounts\""));
                None
            }
        }
    }
}

/// 128 bits as hexadecimal digits.
const MIN_TOKEN_BYTES: usize = 32;
