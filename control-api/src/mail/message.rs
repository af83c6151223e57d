//! A mail as RFC 5322 has it: plain text in UTF-8, with its own id and date. Not here: how it travels.

use lettre::{
    Address, Message,
    message::{Mailbox, MessageBuilder, header::ContentType},
};
use uuid::Uuid;

use super::{Mail, MailError};

/// The mailer cannot be set up as an operator has it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SenderError {
    /// The address that mails come from.
    #[error("the sender is no mail address; give `name@example.org` or `Name <name@example.org>`")]
    From,
    /// Where the SMTP server is. The URL is not shown, as it may hold a password.
    #[error("the SMTP server's URL is refused: {0}")]
    Url(&'static str),
    /// Where mails are written.
    #[error("the folder for mails cannot be made: {0}")]
    Folder(std::io::ErrorKind),
}

/// Writes mails of one sender.
#[derive(Clone)]
pub(super) struct Sender(Mailbox);

impl Sender {
    pub(super) fn new(from: &str) -> Result<Self, SenderError> {
        from.parse().map(Self).map_err(|_| SenderError::From)
    }

    /// Addresses and headers are typed, so that no text of a mail can begin a header of its own.
    pub(super) fn message(&self, mail: Mail) -> Result<Message, MailError> {
        let to: Address =
            mail.to.parse().map_err(|_| MailError::Refused("the receiver is no mail address".to_owned()))?;
        if mail.subject.chars().any(char::is_control) {
            return Err(MailError::Refused("a subject is one line".to_owned()));
        }
        let id = format!("<{}@{}>", Uuid::new_v4(), self.0.email.domain());
        builder()
            .message_id(Some(id))
            .from(self.0.clone())
            .to(to.into())
            .subject(mail.subject)
            .header(ContentType::TEXT_PLAIN)
            .body(mail.text)
            .map_err(|_| MailError::Refused("it cannot be written as a mail".to_owned()))
    }
}

/// With the date of now.
fn builder() -> MessageBuilder {
    Message::builder().date_now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(to: &str, subject: &str, text: &str) -> Result<String, MailError> {
        let mail = Mail { to: to.to_owned(), subject: subject.to_owned(), text: text.to_owned() };
        let message = Sender::new("InterviewAI <no-reply@example.org>").unwrap().message(mail)?;
        Ok(String::from_utf8(message.formatted()).unwrap())
    }

    #[test]
    fn no_text_begins_a_header() {
        let forgeries = [
            ("ann@example.org\r\nBcc: eve@example.org", "Hello"),
            ("ann@example.org, eve@example.org", "Hello"),
            ("Ann <ann@example.org>", "Hello"),
            ("ann@example.org", "Hello\r\nBcc: eve@example.org"),
            ("ann@example.org", "Hello\nBcc: eve@example.org"),
            ("ann@example.org", "Hello\r\n\r\nAnother text"),
            ("", "Hello"),
        ];
        for (to, subject) in forgeries {
            let refusal = written(to, subject, "text").unwrap_err();
            assert!(matches!(&refusal, MailError::Refused(_)), "{refusal}");
            assert!(!refusal.to_string().contains("example.org"), "{refusal}");
        }
        let text = written("ann@example.org", "Grüße 👋", "Bcc: eve@example.org\r\n.\r\n").unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(!head.contains("Bcc") && body.contains("Bcc"), "{text}");
        assert!(head.contains("Message-ID: <") && head.contains("Date: "), "{head}");
        assert!(head.is_ascii(), "{head}");
    }

    #[test]
    fn a_sender_is_an_address() {
        for from in ["", "nobody", "a@b\r\nBcc: eve@example.org"] {
            assert_eq!(Sender::new(from).err(), Some(SenderError::From), "{from}");
        }
    }
}
