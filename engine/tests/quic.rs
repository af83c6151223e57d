//! The QUIC listener over real sockets: who is let in, what the others are told, and what a session survives.
#![allow(clippy::unwrap_used)]

#[path = "support/counters.rs"]
#[allow(dead_code, reason = "`losses` reads whole families")]
mod counters;
#[path = "support/harness.rs"]
#[allow(dead_code, reason = "the harness serves conversations too; this file uses its engine")]
mod harness;
#[path = "support/quic.rs"]
mod peer;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use counters::Counters;
use engine::{
    ports::memory::SharedToken,
    server::{self, Listeners, quic::QuicListener, tls::Tls},
};
use harness::{Setup, silence, speech, start_message, start_with};
use peer::{QuicPeer, code, connect};
use protocol::{
    AudioFormat, ClientMessage, Codec, FrameHeader, Framing, Resume, Role, ServerEvent, ServerMessage,
};
use tokio::{
    net::{TcpListener, UdpSocket},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use url::Url;
use web_transport_quinn::{
    ClientError, ConnectError, Session,
    http::{HeaderName, HeaderValue},
    proto::{ConnectError::WrongStatus, ConnectRequest},
};

/// Long enough for any machine: nothing here is a measurement.
const PATIENCE: Duration = Duration::from_secs(60);
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const RAW: &str = protocol::QUIC_ALPN;
const H3: &str = web_transport_quinn::ALPN;

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

async fn start(with_token: bool) -> Server {
    start_as(with_token, Setup::hearing("How would you test this?")).await
}

async fn start_as(with_token: bool, setup: Setup) -> Server {
    let mut engine = Arc::into_inner(setup.engine()).expect("not shared yet");
    if with_token {
        engine.authorizer = Arc::new(SharedToken::new(TOKEN.into()));
    }
    let websocket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let tls = Tls::self_signed().expect("randomness");
    let quic = QuicListener::bind(([127, 0, 0, 1], 0).into(), &tls).expect("a free port");
    let address = quic.local_addr().expect("bound");
    let stop = CancellationToken::new();
    let origins: Arc<[String]> = Arc::from(["chrome-extension://abc".to_owned()]);
    let listeners = Listeners { websocket, tls: None, quic: Some(quic) };
    let serving = tokio::spawn(server::serve(Arc::new(engine), listeners, origins, stop.clone()));
    Server { address, stop, serving }
}

async fn raw(address: SocketAddr) -> QuicPeer {
    let (connection, endpoint) = connect(address, RAW).await.expect("a connection");
    QuicPeer::new(Session::raw(connection), vec![endpoint]).await
}

/// Known to the server, with a session of numbered PCM that has begun.
async fn in_session(address: SocketAddr) -> QuicPeer {
    in_session_with_token(address).await.0
}

/// As [`in_session`], with what resumes it.
async fn in_session_with_token(address: SocketAddr) -> (QuicPeer, String) {
    let mut peer = raw(address).await;
    peer.control(&format!(r#"{{"type":"authenticate","token":"{TOKEN}"}}"#)).await;
    let token = begin(&mut peer).await;
    (peer, token)
}

/// Opens a session; its resume token.
async fn begin(peer: &mut QuicPeer) -> String {
    peer.control(&serde_json::to_string(&start_stream(None)).expect("plain data")).await;
    match event(peer).await {
        ServerMessage::StreamStarted { resume_token, .. } => resume_token,
        other => panic!("{other:?}"),
    }
}

/// `start_stream` of numbered PCM, for a new session or the one of a token.
fn start_stream(resume: Option<String>) -> ClientMessage {
    start_with(|stream| {
        stream.audio = AudioFormat {
            framing: Framing::Numbered,
            ..AudioFormat::mono(Codec::PcmS16le, Some(16_000), Role::Interviewer)
        };
        stream.resume = resume.map(|token| Resume { token, last_event: 1 });
    })
}

async fn event(peer: &mut QuicPeer) -> ServerMessage {
    let json = timeout(Duration::from_secs(20), peer.next()).await.expect("in time").expect("an event");
    serde_json::from_str::<ServerEvent>(&json).expect("an event").message
}

fn numbered(seq: u32, audio: &[u8]) -> Vec<u8> {
    [&FrameHeader { channel: 0, seq, last: false }.to_bytes()[..], audio].concat()
}

/// Reads to the end; the last event and the code.
async fn end(peer: &mut QuicPeer) -> (Option<ServerMessage>, Option<u16>) {
    let mut last = None;
    while let Some(json) = timeout(Duration::from_secs(20), peer.next()).await.expect("in time") {
        last = Some(serde_json::from_str::<ServerEvent>(&json).expect("an event").message);
    }
    (last, peer.closed)
}

#[tokio::test]
async fn who_says_first_who_they_are_is_let_in_over_raw_quic() {
    let server = start(true).await;
    let (open, guarded) = (start(false).await.address, server.address);
    let check = async |address, first: &str, expected: u16| {
        let mut peer = raw(address).await;
        peer.control(first).await;
        let (last, code) = end(&mut peer).await;
        assert_eq!((last, code), (None, Some(expected)), "{first:.80}");
    };
    check(guarded, r#"{"type":"authenticate","token":"wrong"}"#, 4401).await;
    check(guarded, r#"{"type":"authenticate","ticket":"wrong"}"#, 4401).await;
    check(guarded, r#"{"type":"authenticate"}"#, 4401).await;
    check(guarded, r#"{"type":"keep_alive"}"#, 4401).await;
    check(guarded, "no JSON", 4401).await;
    check(open, r#"{"type":"end_stream"}"#, 4401).await;
    check(guarded, &format!("{:17000}", ""), 1009).await;

    in_session(guarded).await;
    let mut peer = raw(open).await;
    peer.control(r#"{"type":"authenticate"}"#).await;
    begin(&mut peer).await;
    server.stop.cancel();
    timeout(Duration::from_secs(20), server.serving).await.expect("it ends").expect("without a panic");
}

#[tokio::test]
async fn who_does_not_say_who_they_are_is_closed_after_five_seconds() {
    let server = start(true).await;
    let silent = async {
        let peer = raw(server.address).await;
        let began = std::time::Instant::now();
        // Not even audio is taken from a stranger: more than a first window stays with the client.
        let mut audio = peer.session.open_uni().await.expect("a stream");
        let flood = audio.write_all(&[0; 1 << 20]);
        assert!(flood.await.is_err(), "a stranger's audio was taken");
        (code(&peer.session.closed().await), began.elapsed())
    };
    let half = async {
        let mut peer = raw(server.address).await;
        peer.control.write_all(&[0, 0]).await.expect("open");
        code(&peer.session.closed().await)
    };
    let browser = async {
        let (connection, _endpoint) = connect(server.address, H3).await.expect("a connection");
        connection.closed().await
    };
    let ((code, after), half, _) = tokio::join!(silent, half, browser);
    assert_eq!((code, half), (Some(4401), Some(4401)));
    assert!(after > Duration::from_secs(4), "closed after {after:?}");
}

#[tokio::test]
async fn a_web_transport_is_let_in_as_a_web_socket_is() {
    let (open, guarded) = (start(false).await, start(true).await);
    let check = async |server: &Server, path: &str, headers: &[(&'static str, &str)], status: u16| {
        let (connection, _endpoint) = connect(server.address, H3).await.expect("a connection");
        let url = format!("https://localhost:{}{path}", server.address.port());
        let mut request = ConnectRequest::new(Url::parse(&url).expect("a URL"));
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).expect("a header");
            request = request.with_header(HeaderName::from_static(name), value);
        }
        let answered = match Session::connect(connection, request).await {
            Ok(_) => 200,
            Err(ClientError::HttpError(ConnectError::ProtoError(WrongStatus(Some(status))))) => {
                status.as_u16()
            }
            Err(error) => panic!("{path} {headers:?}: {error}"),
        };
        assert_eq!(answered, status, "{path} {headers:?}");
    };
    let bearer = format!("Bearer {TOKEN}");
    check(&open, "/audio", &[], 200).await;
    check(&open, "/other", &[], 404).await;
    check(&open, "/audio", &[("origin", "http://localhost:3000")], 200).await;
    check(&open, "/audio", &[("origin", "chrome-extension://abc")], 200).await;
    check(&open, "/audio", &[("origin", "https://evil.example")], 403).await;
    check(&open, "/audio?ticket=abc", &[], 401).await;
    check(&guarded, "/audio", &[], 401).await;
    check(&guarded, "/audio", &[("origin", "https://evil.example"), ("authorization", &bearer)], 403).await;
    check(&guarded, "/audio", &[("authorization", "Bearer wrong")], 401).await;
    check(&guarded, "/audio", &[("authorization", &bearer)], 200).await;
}

#[tokio::test]
async fn other_protocols_are_not_spoken() {
    let server = start(false).await;
    for alpn in ["interviewai/2", "http/1.1"] {
        let error = connect(server.address, alpn).await.map(|_| ()).expect_err(alpn);
        // RFC 7301, 3.2: the alert `no_application_protocol`.
        assert!(error.to_string().contains("error 120"), "{error}");
    }
}

#[tokio::test]
async fn a_chunk_that_is_too_long_is_named_and_closed() {
    let server = start(true).await;
    for too_long in [64 * 1024 + 9, u32::MAX] {
        let mut peer = in_session(server.address).await;
        let mut audio = peer.session.open_uni().await.expect("a stream");
        audio.write_all(&too_long.to_be_bytes()).await.expect("open");
        let (last, code) = end(&mut peer).await;
        assert!(matches!(last, Some(ServerMessage::Error { fatal: true, .. })), "{last:?}");
        assert_eq!(code, Some(1009));
    }
}

#[tokio::test]
async fn audio_without_numbers_is_refused_as_it_may_come_in_any_order() {
    let server = start(false).await;
    let mut peer = raw(server.address).await;
    peer.control(r#"{"type":"authenticate"}"#).await;
    peer.control(&serde_json::to_string(&start_message()).expect("plain data")).await;
    let (last, code) = end(&mut peer).await;
    assert!(
        matches!(&last, Some(ServerMessage::Error { message, .. }) if message.contains("numbered")),
        "{last:?}"
    );
    assert_eq!(code, Some(4400));
}

/// The way from the client is another one from one moment to the next, as with a telephone that leaves the house.
#[tokio::test]
async fn a_session_goes_on_when_the_client_s_address_changes() {
    let server = start(true).await;
    let mut peer = in_session(server.address).await;
    let before = peer.endpoints[0].local_addr().expect("bound");
    let audio = speech(400);
    peer.audio(&numbered(0, &audio[..6_400])).await;
    let heard = event(&mut peer).await;
    assert!(matches!(heard, ServerMessage::SpeechStarted { .. } | ServerMessage::Ack { .. }), "{heard:?}");

    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    peer.endpoints[0].rebind(socket).expect("the endpoint moves");
    assert_ne!(peer.endpoints[0].local_addr().expect("bound"), before);
    peer.audio(&numbered(1, &audio[6_400..])).await;
    peer.settle().await;
    peer.session.send_datagram(numbered(2, &audio[..960]).into()).expect("datagrams are allowed");
    while !matches!(event(&mut peer).await, ServerMessage::Ack { next_seq: 3, .. }) {}
    peer.control(r#"{"type":"end_stream"}"#).await;
    let mut finals = 0;
    loop {
        match event(&mut peer).await {
            ServerMessage::Transcription(turn) if turn.is_final => finals += 1,
            ServerMessage::StreamEnded { totals, .. } => {
                assert_eq!((totals.audio_ms, totals.audio_dropped_ms), (430, 0));
                break;
            }
            ServerMessage::Error { message, .. } => panic!("{message}"),
            _ => {}
        }
    }
    assert_eq!(finals, 1);
    assert_eq!(end(&mut peer).await, (None, Some(1000)));
}

/// A relay that loses every tenth packet and lets others overtake, both ways. Dropped, it carries nothing any more.
struct BadWay {
    address: SocketAddr,
    _relays: JoinSet<()>,
}

async fn bad_way(to: SocketAddr) -> BadWay {
    let (outer, inner) = (socket().await, socket().await);
    inner.connect(to).await.expect("a way");
    let address = outer.local_addr().expect("bound");
    let (outer, inner) = (Arc::new(outer), Arc::new(inner));
    let client = Arc::new(std::sync::OnceLock::new());
    let mut relays = JoinSet::new();
    for up in [true, false] {
        let (outer, inner, client) = (Arc::clone(&outer), Arc::clone(&inner), Arc::clone(&client));
        relays.spawn(async move {
            let mut random = fastrand::Rng::with_seed(3);
            let mut buffer = [0; 2_048];
            loop {
                let length = if up {
                    let Ok((length, from)) = outer.recv_from(&mut buffer).await else { return };
                    client.get_or_init(|| from);
                    length
                } else {
                    let Ok(length) = inner.recv(&mut buffer).await else { return };
                    length
                };
                if random.u32(..10) == 0 {
                    continue;
                }
                let (packet, late) = (buffer[..length].to_vec(), random.u64(..60));
                let (outer, inner, client) = (Arc::clone(&outer), Arc::clone(&inner), Arc::clone(&client));
                tokio::spawn(async move {
                    sleep(Duration::from_millis(late)).await;
                    let _ = match client.get() {
                        Some(client) if !up => outer.send_to(&packet, client).await,
                        _ => inner.send(&packet).await,
                    };
                });
            }
        });
    }
    BadWay { address, _relays: relays }
}

async fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.expect("a free port")
}

/// Of streams nothing is lost. Of datagrams is, and the client told; what overtakes is put in order.
#[tokio::test]
async fn on_a_bad_way_streams_are_whole_and_of_datagrams_the_gaps_are_told() {
    let server = start(true).await;
    let chunks: Vec<_> = [speech(2_000), silence(1_000)].concat().chunks(640).map(<[u8]>::to_vec).collect();
    for datagrams in [false, true] {
        let way = bad_way(server.address).await;
        let mut peer = in_session(way.address).await;
        for (chunk, seq) in chunks.iter().zip(0..) {
            let frame = numbered(seq, chunk);
            if datagrams {
                peer.session.send_datagram(frame.into()).expect("datagrams are allowed");
            } else {
                peer.audio(&frame).await;
            }
            sleep(Duration::from_millis(10)).await;
        }
        // The last one comes for certain, so that it is known what is missing before it.
        peer.audio(&numbered(chunks.len() as u32, &[0; 640])).await;
        sleep(Duration::from_millis(500)).await;
        peer.control(r#"{"type":"end_stream"}"#).await;
        let (mut gaps, mut finals, mut heard) = (0, 0, 0);
        while let Some(json) = timeout(PATIENCE, peer.next()).await.expect("in time") {
            match serde_json::from_str::<ServerEvent>(&json).expect("an event").message {
                ServerMessage::Warning { code, .. } if code == "audio_gap" => gaps += 1,
                ServerMessage::Transcription(turn) if turn.is_final => finals += 1,
                ServerMessage::StreamEnded { totals, .. } => heard = totals.audio_ms,
                ServerMessage::Error { message, .. } | ServerMessage::Warning { message, .. } => {
                    panic!("{message}")
                }
                _ => {}
            }
        }
        assert_eq!(peer.closed, Some(1000));
        if datagrams {
            assert!(gaps > 0 && finals > 0, "{gaps} gaps, {finals} finals");
            // Each packet lost is 20 ms, and a tenth of 150 were.
            assert!((2_000..3_020).contains(&heard), "{heard} ms heard, {gaps} gaps");
        } else {
            assert_eq!((gaps, finals, heard), (0, 1, 3_020));
        }
    }
}

/// Its machine is off, or its network: nothing says so. Its session waits for it.
#[tokio::test]
async fn a_client_that_vanishes_is_noticed_before_its_session_has_been_silent_for_too_long() {
    let counters = Counters::default();
    let _counting = metrics::set_default_local_recorder(&counters);
    let server = start(true).await;
    let way = bad_way(server.address).await;
    let (_peer, token) = in_session_with_token(way.address).await;
    drop(way);
    let began = std::time::Instant::now();
    let noticed = async {
        while counters.get("sessions_detached_total") == 0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, noticed).await.expect("in time");
    let after = began.elapsed();
    assert!(after > Duration::from_secs(10), "it was lost after {after:?}, which a tunnel may take");
    let mut back = raw(server.address).await;
    back.control(&format!(r#"{{"type":"authenticate","token":"{TOKEN}"}}"#)).await;
    back.control(&serde_json::to_string(&start_stream(Some(token))).expect("plain data")).await;
    let started = event(&mut back).await;
    assert!(matches!(started, ServerMessage::StreamStarted { .. }), "it goes on: {started:?}");
}

#[tokio::test]
async fn a_server_that_stops_tells_its_clients_and_takes_no_others() {
    let server = start(true).await;
    let mut peer = in_session(server.address).await;
    server.stop.cancel();
    let (last, code) = end(&mut peer).await;
    assert!(matches!(last, Some(ServerMessage::StreamEnded { .. })), "{last:?}");
    assert_eq!(code, Some(1001));
    timeout(Duration::from_secs(20), server.serving).await.expect("it ends").expect("without a panic");
    let late = timeout(Duration::from_secs(2), connect(server.address, RAW)).await;
    assert!(!matches!(late, Ok(Ok(_))), "somebody still listens");
}

#[tokio::test]
async fn an_address_that_knocks_too_often_is_refused() {
    let mut setup = Setup::hearing("Well.");
    setup.limits.handshakes_per_minute = 3;
    let server = start_as(false, setup).await;
    let mut let_in = Vec::new();
    for _ in 0..3 {
        let_in.push(connect(server.address, RAW).await.expect("a connection"));
    }
    let refused = connect(server.address, RAW).await.map(|_| ()).expect_err("one too many");
    // RFC 9000, 20.1: CONNECTION_REFUSED.
    assert!(
        matches!(&refused, quinn::ConnectionError::ConnectionClosed(close) if close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED),
        "{refused:?}"
    );
    assert!(let_in.iter().all(|(connection, _)| connection.close_reason().is_none()), "the others stay");
}

/// What is sent before the handshake could be sent once more by somebody else.
#[tokio::test]
async fn nothing_is_taken_before_the_handshake() {
    let server = start(true).await;
    let (_client, _server, endpoints) = peer::connections(RAW).await;
    let other = endpoints[0].clone();
    let lax = other.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Some(incoming) = other.accept().await {
            let connection = incoming.await.expect("a connection");
            connection.open_uni().await.expect("allowed").write_all(b"x").await.expect("open");
            held.push(connection);
        }
    });
    for (address, early) in [(lax, true), (server.address, false)] {
        let (endpoint, config) = peer::client(RAW);
        let connect = || endpoint.connect_with(config.clone(), address, "localhost").expect("valid");
        let first = connect().await.expect("a connection");
        // By the time that something has come, the ticket for the next time has.
        if early {
            first.accept_uni().await.expect("a stream");
        } else {
            let mut peer = QuicPeer::new(Session::raw(first), Vec::new()).await;
            peer.control("{}").await;
            assert_eq!(end(&mut peer).await, (None, Some(4401)));
        }
        assert_eq!(connect().into_0rtt().is_ok(), early);
    }
}

/// Whoever claims an address has to be there: the first answer is a Retry (RFC 9000, 17.2.5), which keeps nothing.
#[tokio::test]
async fn an_address_has_to_prove_itself_first() {
    let server = start(true).await;
    let relay = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let address = relay.local_addr().expect("bound");
    let outside = server.address;
    let relaying = tokio::spawn(async move {
        let (mut buffer, mut client, mut first) = ([0; 2_048], None, None);
        while let Ok((length, from)) = relay.recv_from(&mut buffer).await {
            let to = if from == outside {
                first.get_or_insert(buffer[0]);
                client.expect("the client began")
            } else {
                client = Some(from);
                outside
            };
            relay.send_to(&buffer[..length], to).await.expect("loopback");
            if let (Some(first), false) = (first, from == outside) {
                return first;
            }
        }
        panic!("the relay broke")
    });
    let _attempt = timeout(Duration::from_millis(500), connect(address, RAW)).await;
    let first = timeout(Duration::from_secs(5), relaying).await.expect("in time").expect("no panic");
    assert_eq!(first & 0xf0, 0xf0, "the first answer was {first:#x}");
}
