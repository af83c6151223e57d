//! Mail to a real SMTP server, and into a folder.
//!
//! Not here: what mails say, and sending them again.

use crate::smtp_server;
use std::{
    collections::BTreeSet,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use control_api::mail::{FolderMailer, Mail, MailError, Mailer, SmtpMailer, SmtpSettings};
use futures_util::future::join_all;
use smtp_server::SmtpServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_arrives_as_it_was_written() {
    let Some(server) = SmtpServer::start("") else { return };
    let mailer = mailer(&server.address());
    let subject = "Grüße aus Zürich 👋 — please confirm";
    let text = "Hallo Zoë,\n\nhttps://app.example/verify#token=a_b-c\n.\n..\nFrom here on: 漢字";
    mailer.send(mail("ann@example.org", subject, text)).await.unwrap();
    let arrived = server.mail(0).await;
    assert_eq!(arrived["from"], "no-reply@example.com");
    assert_eq!(arrived["to"], serde_json::json!(["ann@example.org"]));
    assert_eq!(arrived["subject"], subject);
    assert_eq!(arrived["text"].as_str().unwrap().replace("\r\n", "\n").trim_end(), text);
    let headers = &arrived["headers"];
    assert_eq!(headers["From"], "InterviewAI <no-reply@example.com>");
    assert!(headers["Message-ID"].as_str().unwrap().ends_with("@example.com>"), "{headers}");
    assert!(!headers["Date"].as_str().unwrap().is_empty());
    assert!(
        headers["Content-Type"].as_str().unwrap().starts_with("text/plain; charset=\"utf-8\""),
        "{headers}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_arrive_each_over_its_own_connection() {
    let Some(server) = SmtpServer::start("") else { return };
    let mailer = mailer(&server.address());
    let sent = (0..40).map(|n| mailer.send(mail(&format!("ann{n}@example.org"), "Hello", "text")));
    assert!(join_all(sent).await.iter().all(Result::is_ok));
    assert_eq!(server.count(), 40);
    let mut connections = BTreeSet::new();
    for n in 0..40 {
        connections.insert(server.mail(n).await["connection"].as_u64().unwrap());
    }
    assert_eq!(connections.len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_ask_who_sends() {
    let Some(server) = SmtpServer::start("mailer:p@ss:wörd") else { return };
    let address = server.address();
    let right = mailer(&format!("mailer:p%40ss%3Aw%C3%B6rd@{address}"));
    right.send(to("ann@example.org")).await.unwrap();
    assert_eq!(server.mail(0).await["login"], true);
    for wrong in [format!("mailer:secret-canary@{address}"), address] {
        let error = mailer(&wrong).send(to("ann@example.org")).await.unwrap_err();
        assert!(matches!(&error, MailError::Refused(_)), "{error}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
    assert_eq!(server.count(), 1);
    assert!(!format!("{right:?}").contains("ss:"), "{right:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_tls_no_mail_where_tls_is_needed() {
    let Some(server) = SmtpServer::start("") else { return };
    let mailer = mailer(&format!("name:password@{}?tls=required", server.address()));
    let error = mailer.send(to("ann@example.org")).await.unwrap_err();
    assert!(error.to_string().contains("TLS"), "{error}");
    assert_eq!(server.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_off_may_be_sent_again_and_what_is_refused_not() {
    let Some(server) = SmtpServer::start("") else { return };
    let mailer = mailer(&server.address());
    let put_off = mailer.send(to("later@example.org")).await;
    assert_eq!(put_off, Err(MailError::Unavailable("it answered 451".to_owned())));
    assert_eq!(server.count(), 0);
    mailer.send(to("later@example.org")).await.unwrap();
    assert_eq!(server.mail(0).await["to"][0], "later@example.org");
    let refused = mailer.send(to("never@example.org")).await;
    assert_eq!(refused, Err(MailError::Refused("it answered 550".to_owned())));
    mailer.send(to("ann@example.org")).await.unwrap();
    assert_eq!(server.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_silent_or_away_costs_a_bounded_time() {
    let Some(server) = SmtpServer::start("") else { return };
    let address = server.address();
    let mailer = impatient(&address);
    let asked = Instant::now();
    for n in 0..2 {
        let silent = mailer.send(to("silence@example.org")).await.unwrap_err();
        assert!(matches!(&silent, MailError::Unavailable(_)), "{silent}");
        // Where the pool of lettre is used, this one waits for the answer to the one before.
        mailer.send(to("ann@example.org")).await.unwrap();
        assert_eq!(server.count(), n + 1);
    }
    assert!(asked.elapsed() < PATIENT, "{:?}", asked.elapsed());
    assert_eq!(mailer.check().await, Ok(()), "it would take mail");
    assert_eq!(server.count(), 2, "and none was sent to learn that");
    drop(server);
    assert!(matches!(mailer.check().await, Err(MailError::Unavailable(_))));
    let away = mailer.send(to("ann@example.org")).await.unwrap_err();
    assert!(matches!(&away, MailError::Unavailable(_)), "{away}");

    // Takes connections, and says nothing.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mailer = impatient(&mute.local_addr().unwrap().to_string());
    let error = mailer.send(to("ann@example.org")).await.unwrap_err();
    assert!(matches!(&error, MailError::Unavailable(_)), "{error}");
    assert!(asked.elapsed() < PATIENT, "{:?}", asked.elapsed());
}

#[tokio::test]
async fn mails_in_a_folder_are_for_its_owner_alone_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mails = folder.path().join("var/mails");
    let mailer = FolderMailer::new(&mails, FROM).unwrap();
    for n in 0..3 {
        mailer.send(mail("ann@example.org", &format!("Grüße {n}"), "Hallo Zoë")).await.unwrap();
    }
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(mails.clone()), 0o700);
    let mut files: Vec<_> = std::fs::read_dir(&mails).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 3);
    for (n, file) in files.into_iter().enumerate() {
        assert_eq!(file.extension().unwrap(), "eml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("To: ann@example.org\r\n") && text.contains("Message-ID: <"), "{text}");
        assert!(text.contains(&format!("Subject: =?utf-8?b?R3LDvMOfZQ==?= {n}\r\n")), "{text}");
        assert_eq!(mode(file), 0o600);
    }
    std::fs::remove_dir_all(&mails).unwrap();
    let error = mailer.send(to("ann@example.org")).await.unwrap_err();
    assert!(matches!(&error, MailError::Unavailable(_)), "{error}");
}

fn mailer(place: &str) -> SmtpMailer {
    SmtpMailer::new(&settings(place)).unwrap()
}

fn impatient(place: &str) -> SmtpMailer {
    SmtpMailer::new(&SmtpSettings { patience: Duration::from_secs(6), ..settings(place) }).unwrap()
}

fn settings(place: &str) -> SmtpSettings {
    SmtpSettings::new(format!("smtp://{place}").into(), FROM)
}

fn to(address: &str) -> Mail {
    mail(address, "Hello", "text")
}

fn mail(to: &str, subject: &str, text: &str) -> Mail {
    Mail { to: to.to_owned(), subject: subject.to_owned(), text: text.to_owned() }
}

const FROM: &str = "InterviewAI <no-reply@example.com>";
/// Long enough for any machine, and far from for ever.
const PATIENT: Duration = Duration::from_secs(60);
