//! Mail over SMTP, by lettre: a few mails at once, each over a connection of its own and within a bounded time.
//!
//! lettre's pool is not used: it takes back a connection that was given up in mid-mail, and the mails after that wait there
//! for the answer to the first. Not here: sending again, which is the job queue's.

use std::{net::IpAddr, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, FutureExt as _};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor, transport::smtp::Error};
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{sync::Semaphore, time};

use super::{Mail, MailError, Mailer, SenderError, message::Sender};

/// Where mail goes.
#[derive(Clone, Debug)]
pub struct SmtpSettings {
    /// `smtps://user:password@host` (TLS, port 465) or `smtp://user:password@host:587` (STARTTLS, which the server must
    /// offer). Name and password are percent-encoded. Without TLS only to this machine, or with `?tls=none`.
    pub url: SecretString,
    /// `name@example.org` or `Name <name@example.org>`.
    pub from: String,
    /// The longest that one mail takes, its wait for others included; then it is [`MailError::Unavailable`]. Default 20 s.
    pub patience: Duration,
}

impl SmtpSettings {
    /// With the default patience.
    pub fn new(url: SecretString, from: impl Into<String>) -> Self {
        Self { url, from: from.into(), patience: Duration::from_secs(20) }
    }
}

/// Sends mail to an SMTP server, at most four at once. Cheap to clone.
///
/// Dropping a `send` may leave the mail sent or not sent.
#[derive(Clone)]
pub struct SmtpMailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    at_once: Arc<Semaphore>,
    sender: Sender,
    patience: Duration,
}

impl SmtpMailer {
    /// Connects when the first mail is sent. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`SenderError`] says which setting is wrong.
    pub fn new(settings: &SmtpSettings) -> Result<Self, SenderError> {
        let url = with_tls(settings.url.expose_secret())?;
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.as_str())
            .map_err(|_| {
                SenderError::Url("give smtps://user:password@host or smtp://user:password@host:587")
            })?
            .timeout(Some(settings.patience.min(CONNECT)))
            .build();
        let at_once = Arc::new(Semaphore::new(CONNECTIONS));
        Ok(Self { transport, at_once, sender: Sender::new(&settings.from)?, patience: settings.patience })
    }

    /// lettre bounds connecting, not the conversation.
    async fn timely<T>(&self, conversation: impl Future<Output = Result<T, Error>>) -> Result<T, MailError> {
        let conversation = async {
            let _one = self.at_once.acquire().await.expect("it is never closed");
            conversation.await
        };
        match time::timeout(self.patience, conversation).await {
            Ok(done) => done.map_err(|error| refusal(&error)),
            Err(_) => {
                let limit = self.patience.as_secs_f32();
                Err(MailError::Unavailable(format!("it was not done within {limit} s")))
            }
        }
    }
}

impl Mailer for SmtpMailer {
    fn send(&self, mail: Mail) -> BoxFuture<'_, Result<(), MailError>> {
        async move {
            let message = self.sender.message(mail)?;
            self.timely(self.transport.send(message)).await.map(|_| ())
        }
        .boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), MailError>> {
        async move {
            let answers = self.timely(self.transport.test_connection()).await?;
            answers
                .then_some(())
                .ok_or_else(|| MailError::Unavailable("it answers that it is not ready".to_owned()))
        }
        .boxed()
    }
}

impl std::fmt::Debug for SmtpMailer {
    /// Without the server's password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmtpMailer").field("patience", &self.patience).finish_non_exhaustive()
    }
}

/// As lettre takes it, where `smtp:` alone would mean no TLS.
fn with_tls(url: &str) -> Result<Url, SenderError> {
    let mut url = Url::parse(url).map_err(|_| SenderError::Url("it is no URL"))?;
    let host = url.host_str().ok_or(SenderError::Url("it names no host"))?;
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    let tls = url.query_pairs().find(|(name, _)| name == "tls").map(|(_, value)| value.into_owned());
    let query = match (url.scheme(), tls.as_deref()) {
        ("smtps", None | Some("required")) => None,
        ("smtp", Some("none")) => None,
        ("smtp", None) if here => None,
        ("smtp", None | Some("required")) => Some("tls=required"),
        ("smtp" | "smtps", _) => return Err(SenderError::Url("tls is `required` or `none`")),
        _ => return Err(SenderError::Url("it begins with smtp:// or smtps://")),
    };
    url.set_query(query);
    Ok(url)
}

/// Whether to try again. What the server says may name the receiver, so only its code is passed on.
fn refusal(error: &Error) -> MailError {
    let code = error.status().map(|code| format!("it answered {code}"));
    match code {
        Some(code) if error.is_permanent() => MailError::Refused(code),
        Some(code) => MailError::Unavailable(code),
        None if error.is_client() => MailError::Refused(
            "it offers no way to do this: STARTTLS, a kind of login, or UTF-8 addresses".to_owned(),
        ),
        None if error.is_tls() => {
            MailError::Unavailable("no TLS with it: look at its certificate and name".to_owned())
        }
        None if error.is_response() => MailError::Unavailable("it does not speak SMTP".to_owned()),
        None => MailError::Unavailable("it cannot be reached, or hung up".to_owned()),
    }
}

const CONNECTIONS: usize = 4;
const CONNECT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_goes_out_in_the_clear_only_where_that_was_asked_for() {
        let query = |url| with_tls(url).map(|url| url.query().map(str::to_owned));
        let required = Ok(Some("tls=required".to_owned()));
        assert_eq!(query("smtp://u:p@mail.example.org:587"), required);
        assert_eq!(query("smtp://u:p@localhost.example.org"), required);
        assert_eq!(query("smtp://u:p@127.0.0.1?tls=required"), required);
        for plain in
            ["smtp://mail.example.org?tls=none", "smtp://127.0.0.1:25", "smtp://[::1]", "smtp://localhost"]
        {
            assert_eq!(query(plain), Ok(None), "{plain}");
        }
        assert_eq!(query("smtps://u:p@mail.example.org"), Ok(None));
        for wrong in [
            "",
            "mail.example.org",
            "https://mail.example.org",
            "smtps://a?tls=none",
            "smtp://a?tls=opportunistic",
        ] {
            assert!(matches!(query(wrong), Err(SenderError::Url(_))), "{wrong}");
        }
    }
}
