//! `[accounts]`: what accounts need of the world: mail, links, sign-in elsewhere.
//!
//! Not here: who may open a live session (`access`).

use std::path::PathBuf;

use control_api::auth::GoogleSettings;
use secrecy::SecretString;

use super::Reader;

/// What accounts need of the world.
#[derive(Debug)]
pub(crate) struct Accounts {
    /// Where users reach the web pages, without a slash at the end.
    pub(crate) public_url: String,
    /// `iss` of access tokens.
    pub(crate) issuer: String,
    /// Keys that sign access tokens, shared by all nodes; without it, in the folder of the storage.
    pub(crate) keys_dir: Option<PathBuf>,
    /// Takes mail; without it, mails are written into a folder.
    pub(crate) smtp_url: Option<SecretString>,
    /// Who mails are from.
    pub(crate) mail_from: String,
    /// Sign-in with Google, or another OpenID Connect provider.
    pub(crate) google: Option<GoogleSettings>,
}

impl Reader {
    pub(super) fn accounts(&mut self) -> Accounts {
        let public_url = self.get("accounts.public_url", "http://localhost:3000".to_owned());
        if !(public_url.starts_with("http://") || public_url.starts_with("https://")) {
            self.problem("accounts.public_url must begin with http:// or https://");
        }
        let client_id = self.optional::<String>("accounts.google_client_id");
        let client_secret = self.optional::<SecretString>("accounts.google_client_secret");
        let issuer = self.get("accounts.google_issuer", "https://accounts.google.com".to_owned());
        let google = match (client_id, client_secret) {
            (Some(client_id), Some(client_secret)) => {
                Some(GoogleSettings { issuer, client_id, client_secret })
            }
            (None, None) => None,
            _ => {
                self.problem("accounts.google_client_id and accounts.google_client_secret go together");
                None
            }
        };
        Accounts {
            public_url: public_url.trim_end_matches('/').to_owned(),
            issuer: self.get("accounts.issuer", "interviewai".to_owned()),
            keys_dir: self.optional("accounts.keys_dir"),
            smtp_url: self.url("accounts.smtp_url", &["smtp://", "smtps://"]),
            mail_from: self.get("accounts.mail_from", "InterviewAI <no-reply@localhost>".to_owned()),
            google,
        }
    }
}
