//! Mail: to an SMTP server, or into a folder.
//!
//! Not here: what mails say (the features), when they are sent (jobs).

mod folder;
mod message;
mod smtp;

pub use folder::FolderMailer;
pub use message::SenderError;
pub use smtp::{SmtpMailer, SmtpSettings};

use futures_util::future::BoxFuture;

/// A mail to one person. Its words may hold a secret link, so it has no `Debug`.
pub struct Mail {
    /// Address.
    pub to: String,
    /// Subject, one line.
    pub subject: String,
    /// Plain text.
    pub text: String,
}

/// Sends mail.
pub trait Mailer: Send + Sync {
    /// Hands `mail` over. On return it is the receiver's duty.
    ///
    /// # Errors
    /// [`MailError`] says whether to try again; it names neither address nor words.
    fn send(&self, mail: Mail) -> BoxFuture<'_, Result<(), MailError>>;

    /// Whether mail would be taken now; none is sent.
    ///
    /// # Errors
    /// As of [`Mailer::send`].
    fn check(&self) -> BoxFuture<'_, Result<(), MailError>>;
}

/// A mail was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// The server did not answer, or refused for now.
    #[error("the mail server does not take mail for now: {0}")]
    Unavailable(String),
    /// It will never be taken: the address or the login at the server.
    #[error("the mail is refused: {0}")]
    Refused(String),
}
