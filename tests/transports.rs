//! One recording over every transport of the real binary: what is heard does not depend on what carries it.
//!
//! Not here: what each transport promises (`engine/tests/transport_conformance.rs`), browsers (`chromium.rs`).
#![allow(clippy::unwrap_used)]

#[path = "support/server.rs"]
mod server;

use std::{
    net::{TcpListener, UdpSocket},
    path::PathBuf,
    thread,
    time::Duration,
};

use serde_json::Value;
use server::{Server, interviewai, run};

fn sample() -> Vec<PathBuf> {
    vec![PathBuf::from("samples/interview.flac")]
}

/// What was heard: each turn with its text and its place on the session's clock.
fn finals(events: &[Value]) -> Vec<(Value, Value, Value, Value)> {
    let finals = events.iter().filter(|event| event["type"] == "transcription" && event["is_final"] == true);
    let field = |event: &Value, name: &str| event[name].clone();
    finals.map(|e| (field(e, "turn"), field(e, "text"), field(e, "start_ms"), field(e, "end_ms"))).collect()
}

/// The addresses of QUIC and WebTransport, and the certificate's hash.
fn quic(server: &Server) -> (String, String, String) {
    let quic = server.ready["quic"].as_str().unwrap().to_owned();
    let web = format!("{}/audio", quic.replace("quic://", "https://"));
    (quic, web, server.ready["certificate_sha256"].as_str().unwrap().to_owned())
}

#[test]
fn the_same_is_heard_over_every_transport() {
    let server = Server::start(&[]);
    let (quic_url, web, sha256) = quic(&server);
    assert!(server.ws.starts_with("ws://"), "{}", server.ws);
    let fast = ["--speed", "0", "--silence", "1500"];
    let heard = finals(&server.stream(&fast, &sample()));
    assert_eq!(heard.len(), 2, "{heard:?}");

    let pinned = [&fast[..], &["--certificate-sha256", &sha256]].concat();
    for url in [&quic_url, &web] {
        let events =
            server.try_stream_to(url, &pinned, &sample()).unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(finals(&events), heard, "{url}");
        let dropped = &events.last().unwrap()["totals"]["audio_dropped_ms"];
        assert_eq!(dropped, 0, "{url}");
    }
    // A name whose first address may be another one: the server listens on 127.0.0.1 only.
    let named = web.replace("127.0.0.1", "localhost");
    let events = server.try_stream_to(&named, &pinned, &sample()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(finals(&events), heard);
    // The bytes of the file itself, in few large messages.
    let original =
        server.try_stream_to(&quic_url, &[&pinned[..], &["--original"]].concat(), &sample()).unwrap();
    assert_eq!(finals(&original).len(), 2);

    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let secure = Server::start(&[
        ("INTERVIEWAI_AUDIO__TLS_CERTIFICATE_FILE", certificate.to_str().unwrap()),
        ("INTERVIEWAI_AUDIO__TLS_KEY_FILE", key.to_str().unwrap()),
    ]);
    let (quic_url, _, sha256) = quic(&secure);
    assert!(secure.ws.starts_with("wss://"), "{}", secure.ws);
    let pinned = [&fast[..], &["--certificate-sha256", &sha256]].concat();
    for url in [&secure.ws, &quic_url] {
        let events =
            secure.try_stream_to(url, &pinned, &sample()).unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(finals(&events), heard, "{url}");
    }
    for url in [&secure.ws, &quic_url] {
        let error = secure.try_stream_to(url, &fast, &sample()).unwrap_err();
        assert!(error.contains("is not trusted") && error.contains("--certificate-sha256"), "{error}");
        let other = "00".repeat(32);
        let error = secure.try_stream_to(url, &["--certificate-sha256", &other], &sample()).unwrap_err();
        assert!(error.contains("is not trusted"), "{error}");
    }
    assert_eq!(server.terminate(), Some(0));
    assert_eq!(secure.terminate(), Some(0));
}

#[test]
fn datagrams_in_real_time_are_heard_too() {
    let server = Server::start(&[]);
    let (quic_url, web, sha256) = quic(&server);
    let arguments = ["--datagrams", "--silence", "1500", "--certificate-sha256", &sha256];
    for url in [quic_url, web] {
        let events = server.try_stream_to(&url, &arguments, &sample()).unwrap();
        let heard = finals(&events);
        assert_eq!(heard.len(), 2, "{url}: {heard:?}");
    }
}

#[test]
fn who_has_no_token_is_told_so_over_every_transport() {
    let token = "0123456789abcdef0123456789abcdef";
    let server = Server::start(&[("INTERVIEWAI_AUTH__TOKEN", token)]);
    let (quic_url, web, sha256) = quic(&server);
    for url in [&server.ws, &quic_url, &web] {
        let mut arguments = vec!["stream", "--json", "--speed", "0", "--url", url];
        if *url != server.ws {
            arguments.extend(["--certificate-sha256", &sha256]);
        }
        let stream = |token: Option<&str>| {
            let mut command = interviewai();
            command.args(&arguments).args(sample());
            if let Some(token) = token {
                command.env("INTERVIEWAI_AUTH__TOKEN", token);
            }
            let (output, _, err) = run(&mut command);
            (output.status.success(), err)
        };
        let (went_well, err) = stream(Some(token));
        assert!(went_well, "{url}: {err}");
        for wrong in [None, Some("fedcba9876543210fedcba9876543210")] {
            let (went_well, err) = stream(wrong);
            assert!(!went_well && err.contains("token"), "{url}: {err}");
            assert!(!err.contains("fedcba98"), "{err}");
        }
    }
    assert!(!server.log().contains(token));
}

/// Nothing answers over QUIC; later the server of a session over QUIC is killed, and what comes after it has none.
#[test]
fn who_gets_nowhere_over_quic_goes_on_over_the_web_socket() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("quic://{}", silent.local_addr().unwrap());
    let ports = [free_port(), free_port()];
    let start = |folder, quic| {
        let environment = [
            ("INTERVIEWAI_AUDIO__PORT", &*ports[0]),
            ("INTERVIEWAI_AUDIO__QUIC_PORT", &ports[1]),
            ("INTERVIEWAI_AUDIO__QUIC", quic),
        ];
        Server::start_in(folder, &environment)
    };
    let server = start(tempfile::tempdir().unwrap(), "true");
    let (quic_url, _, sha256) = quic(&server);
    let ws = server.ws.clone();
    let stream = |first: &str, speed: &str| {
        let arguments = ["--json", "--speed", speed, "--silence", "1500", "--certificate-sha256", &sha256];
        let mut command = interviewai();
        command.arg("stream").args(arguments).args(["--url", first, "--url", &ws]).args(sample());
        let (output, out, err) = run(&mut command);
        assert!(output.status.success(), "{err}");
        let events: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (finals(&events), err)
    };
    let (heard, _) = stream(&nowhere, "0");
    assert_eq!(heard.len(), 2, "{heard:?}");

    let (told, err) = thread::scope(|scope| {
        let client = scope.spawn(|| stream(&quic_url, "2"));
        pause(Duration::from_secs(3));
        let folder = server.kill();
        let _server = start(folder, "false");
        client.join().unwrap()
    });
    assert_eq!(told, heard);
    assert!(err.contains(&format!("resumed over {ws}")), "{err}");
}

/// The operator's own authority is believed, over TCP and over UDP, when it is named.
#[tokio::test]
async fn an_authority_that_is_named_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let server = Server::start(&[
        ("INTERVIEWAI_AUDIO__TLS_CERTIFICATE_FILE", certificate.to_str().unwrap()),
        ("INTERVIEWAI_AUDIO__TLS_KEY_FILE", key.to_str().unwrap()),
    ]);
    let (quic_url, web, _) = quic(&server);
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for url in [&server.ws, &quic_url, &web] {
        let mut config = client::ClientConfig::new(url.clone());
        config.roots = Some(made.cert.pem().into_bytes());
        let connected = client::connect(&config).await;
        assert!(connected.is_ok(), "{url}: {:?}", connected.err());
        for roots in [None, Some(other.cert.pem().into_bytes())] {
            config.roots = roots;
            let error = client::connect(&config).await.map(|_| ()).unwrap_err();
            assert!(error.to_string().contains("is not trusted"), "{url}: {error}");
        }
        config.roots = Some(b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n".to_vec());
        let error = client::connect(&config).await.map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("root certificates"), "{url}: {error}");
    }
}

fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

#[allow(clippy::disallowed_methods, reason = "a test's own thread waits for another process")]
fn pause(time: Duration) {
    thread::sleep(time);
}

#[test]
fn quic_can_be_turned_off() {
    let server = Server::start(&[("INTERVIEWAI_AUDIO__QUIC", "false")]);
    assert!(server.ready.get("quic").is_none() && server.ready.get("certificate_sha256").is_none());
}

#[test]
fn a_udp_port_in_use_is_named_with_what_to_do() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let (output, _, err) = run(interviewai()
        .arg("serve")
        .env("INTERVIEWAI_DATA_DIR", folder.path())
        .env("INTERVIEWAI_AUDIO__PORT", "0")
        .env("INTERVIEWAI_API__PORT", "0")
        .env("INTERVIEWAI_AUDIO__QUIC_PORT", &port));
    assert_eq!(output.status.code(), Some(1));
    assert!(err.contains(&port) && err.contains("audio.quic_port"), "{err}");
}
