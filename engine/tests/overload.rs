//! More than can be served, and clients that mean no good: each is bounded, told why where it can be, and counted.
//!
//! Not here: what is lost inside a session (`losses`), who may connect (`server`).
#![allow(clippy::unwrap_used)]

#[path = "support/counters.rs"]
#[allow(dead_code, reason = "`losses` reads whole families")]
mod counters;
#[path = "support/harness.rs"]
#[allow(dead_code, reason = "the harness serves conversations in real time too")]
mod harness;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use counters::Counters;
use engine::{
    Engine,
    ports::{Access, AuthError, Authorizer, Credentials, Principal},
    server::{self, Listeners, tls::Tls},
    transport::Frame,
};
use futures_util::{
    SinkExt as _, StreamExt as _,
    future::{BoxFuture, FutureExt as _, ready},
    stream::{self, BoxStream},
};
use harness::*;
use models::{
    chat::{ScriptedChat, ScriptedDelta},
    speech::{ScriptedTranscriber, TranscribeError, TranscribeRequest, Transcriber, TranscriptEvent},
};
use protocol::{ClientMessage, CloseCode, ServerEvent, ServerMessage};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};
use tokio_util::sync::CancellationToken;

const HANDSHAKE: &str = "GET /audio HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Serves `engine` on a free port for as long as the test lasts.
async fn listen(engine: Arc<Engine>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(server::serve(engine, listener, Arc::from([]), CancellationToken::new()));
    address
}

/// Sends a handshake; all that comes back before the server closes or waits.
async fn knock(address: SocketAddr) -> Option<String> {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(HANDSHAKE.as_bytes()).await.ok()?;
    let mut answer = vec![0; 4_096];
    match socket.read(&mut answer).await {
        Ok(0) | Err(_) => None,
        Ok(read) => Some(String::from_utf8_lossy(&answer[..read]).into_owned()),
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open(address: SocketAddr) -> Socket {
    tokio_tungstenite::connect_async(format!("ws://{address}/audio")).await.unwrap().0
}

fn json(message: &ClientMessage) -> Message {
    Message::text(serde_json::to_string(message).unwrap())
}

/// The last event and the close code.
async fn goodbye(mut socket: Socket) -> (Option<ServerMessage>, Option<u16>) {
    let (mut last, mut code) = (None, None);
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) => last = Some(serde_json::from_str::<ServerEvent>(&text).unwrap().message),
            Message::Close(frame) => code = frame.map(|frame| u16::from(frame.code)),
            _ => {}
        }
    }
    (last, code)
}

/// Waits until nobody is served any more.
async fn emptied(engine: &Engine) {
    let empty = async {
        while engine.registry.active() > 0 {
            tokio::time::sleep(ms(5)).await;
        }
    };
    timeout(PATIENCE, empty).await.expect("the place is free again");
}

/// Long enough for any machine: nothing here is a measurement.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_address_that_knocks_too_often_is_told_when_to_come_back_before_anything_is_asked() {
    struct Counted(AtomicUsize);
    impl Authorizer for Counted {
        fn authorize(&self, _: Credentials) -> BoxFuture<'_, Result<Access, AuthError>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            ready(Ok(Principal::local().into())).boxed()
        }
    }
    let counters = Counters::default();
    let _counting = metrics::set_default_local_recorder(&counters);
    let mut setup = Setup::hearing("Well.");
    setup.limits.handshakes_per_minute = 3;
    let mut engine = Arc::into_inner(setup.engine()).unwrap();
    let asked = Arc::new(Counted(AtomicUsize::new(0)));
    engine.authorizer = asked.clone();
    let address = listen(Arc::new(engine)).await;
    for _ in 0..3 {
        assert!(knock(address).await.unwrap().contains("101 Switching"));
    }
    let refused = knock(address).await.unwrap().to_lowercase();
    assert!(refused.contains("429 too many requests"), "{refused}");
    let wait = refused.split("retry-after: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
    assert!((1..=20).contains(&wait.parse::<u64>().unwrap()), "{refused}");
    assert_eq!(asked.0.load(Ordering::Relaxed), 3);
    assert_eq!(counters.get("handshakes_refused_total 429"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_user_has_so_many_sessions_at_once_and_another_has_others() {
    let counters = Counters::default();
    let _counting = metrics::set_default_local_recorder(&counters);
    let mut setup = Setup::hearing("Well.");
    setup.limits.max_per_user = 2;
    let engine = setup.engine();
    let mut open = Vec::new();
    for user in ["ada", "ada", "bob"] {
        let mut conversation = Conversation::of_user(Arc::clone(&engine), user);
        conversation.send(start_message()).await;
        conversation.wait_for(|message| matches!(message, ServerMessage::StreamStarted { .. })).await;
        open.push(conversation);
    }
    let refused = Conversation::of_user(Arc::clone(&engine), "ada");
    refused.send(start_message()).await;
    let refused = refused.read_to_end().await;
    let ServerMessage::Error { code, message, fatal, retry_after_ms } = &refused.events[0].message else {
        panic!("{:?}", refused.events)
    };
    assert_eq!((*code, *fatal, refused.code), (CloseCode::TooMany, true, Some(CloseCode::TooMany)));
    assert!(message.contains("2 sessions") && retry_after_ms.is_some(), "{message}");
    assert_eq!(counters.get("sessions_refused_total 4429"), 1);
    open.remove(0).finish().await;
    let again = Conversation::of_user(engine, "ada");
    again.send(start_message()).await;
    assert_eq!(again.finish().await.code, Some(CloseCode::Done), "the place is free again");
}

#[tokio::test]
async fn a_full_server_says_so_and_when_to_come_back() {
    let counters = Counters::default();
    let _counting = metrics::set_default_local_recorder(&counters);
    let mut setup = Setup::hearing("Well.");
    setup.limits.max_sessions = 1;
    let address = listen(setup.engine()).await;
    let mut first = open(address).await;
    first.send(json(&start_message())).await.unwrap();
    first.next().await.unwrap().unwrap();
    for _ in 0..20 {
        let mut refused = open(address).await;
        refused.send(json(&start_message())).await.unwrap();
        let (last, code) = goodbye(refused).await;
        let Some(ServerMessage::Error { fatal: true, retry_after_ms: Some(_), .. }) = last else {
            panic!("{last:?}")
        };
        assert_eq!(code, Some(4503));
    }
    assert_eq!(counters.get("sessions_refused_total 4503"), 20);
}

#[tokio::test]
async fn slow_handshakes_are_cut_off_and_hold_up_nobody() {
    let address = listen(Setup::hearing("Well.").engine()).await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    let (mut dripping, mut drip) = TcpStream::connect(address).await.unwrap().into_split();
    let drops = tokio::spawn(async move {
        for byte in HANDSHAKE.bytes().cycle() {
            tokio::time::sleep(ms(100)).await;
            if drip.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    });
    assert!(knock(address).await.unwrap().contains("101 Switching"), "others get in meanwhile");
    let mut said = Vec::new();
    // A reset is as good as a close.
    let _ = timeout(PATIENCE, silent.read_to_end(&mut said)).await.expect("the silent one is cut off");
    let _ = timeout(PATIENCE, dripping.read_to_end(&mut said)).await.expect("the dripping one is cut off");
    timeout(PATIENCE, drops).await.expect("it cannot write any more").unwrap();
}

#[tokio::test]
async fn a_tls_handshake_that_nobody_finishes_is_cut_off() {
    let websocket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = websocket.local_addr().unwrap();
    let tls = Some(Tls::self_signed().unwrap());
    let listeners = Listeners { websocket, tls, quic: None };
    let engine = Setup::hearing("Well.").engine();
    tokio::spawn(server::serve(engine, listeners, Arc::from([]), CancellationToken::new()));
    let silent = TcpStream::connect(address).await.unwrap();
    let mut half = TcpStream::connect(address).await.unwrap();
    // A handshake record that says 512 bytes follow: RFC 8446, 5.1.
    half.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(HANDSHAKE.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    for mut socket in [silent, half, plain] {
        let _ = timeout(PATIENCE, socket.read_to_end(&mut said)).await.expect("it is cut off");
    }
    assert!(!said.windows(4).any(|at| at == b"HTTP"), "who speaks no TLS is told nothing else");
}

#[tokio::test]
async fn handshakes_that_nobody_finishes_take_only_so_many_places() {
    let counters = Counters::default();
    let _counting = metrics::set_default_local_recorder(&counters);
    let mut setup = Setup::hearing("Well.");
    setup.limits.max_handshakes = 2;
    let address = listen(setup.engine()).await;
    let held = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    assert_eq!(knock(address).await, None);
    assert_eq!(counters.get("handshakes_dropped_total"), 1);
    drop(held);
    let let_in = async {
        while knock(address).await.is_none() {
            tokio::time::sleep(ms(5)).await;
        }
    };
    timeout(PATIENCE, let_in).await.expect("there is room again");
}

#[tokio::test]
async fn who_is_let_in_and_says_nothing_is_closed() {
    let mut setup = Setup::hearing("Well.");
    setup.limits.start_timeout = ms(100);
    let engine = setup.engine();
    let address = listen(Arc::clone(&engine)).await;
    let (last, code) = timeout(PATIENCE, goodbye(open(address).await)).await.unwrap();
    assert!(matches!(last, Some(ServerMessage::Error { fatal: true, .. })), "{last:?}");
    assert_eq!(code, Some(4408));
    emptied(&engine).await;
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_closed_and_frees_its_place() {
    let mut setup = Setup::hearing("Well.");
    (setup.limits.idle_timeout, setup.limits.slow_client) = (ms(100), ms(2_000));
    let engine = setup.engine();
    let address = listen(Arc::clone(&engine)).await;
    let mut polite = open(address).await;
    polite.send(json(&start_message())).await.unwrap();
    let (last, code) = timeout(PATIENCE, goodbye(polite)).await.unwrap();
    assert!(matches!(last, Some(ServerMessage::Error { fatal: true, .. })), "{last:?}");
    assert_eq!(code, Some(4408));
    // Half open: its machine is gone, nothing is ever read or closed.
    let mut gone = open(address).await;
    gone.send(json(&start_message())).await.unwrap();
    while engine.registry.active() == 0 {
        tokio::time::sleep(ms(5)).await;
    }
    emptied(&engine).await;
    drop(gone);
}

#[tokio::test]
async fn a_dead_peer_is_noticed_long_before_it_is_idle_and_a_living_one_is_left_alone() {
    let counters = Counters::default();
    let _counting = metrics::set_default_local_recorder(&counters);
    let mut setup = Setup::hearing("Well.");
    (setup.limits.idle_timeout, setup.limits.ping_every) = (ms(3_600_000), ms(500));
    let engine = setup.engine();
    let address = listen(Arc::clone(&engine)).await;
    let mut living = open(address).await;
    living.send(json(&start_message())).await.unwrap();
    // Its connection stands, but nobody is there to answer.
    let mut dead = open(address).await;
    dead.send(json(&start_message())).await.unwrap();
    let mut pings = 0;
    let noticed = async {
        while counters.get("peers_silent_total") == 0 || pings < 3 {
            if let Ok(message) = timeout(ms(20), living.next()).await {
                pings += usize::from(matches!(message, Some(Ok(Message::Ping(_)))));
            }
        }
    };
    timeout(PATIENCE, noticed).await.expect("the dead one is noticed");
    while engine.registry.active() > 1 {
        tokio::time::sleep(ms(5)).await;
    }
    living.send(json(&ClientMessage::EndStream {})).await.unwrap();
    assert_eq!(timeout(PATIENCE, goodbye(living)).await.unwrap().1, Some(1000));
    assert_eq!(counters.get("peers_silent_total"), 1);
    drop(dead);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_and_counted() {
    let counters = Counters::default();
    let _counting = metrics::set_default_local_recorder(&counters);
    let mut setup = Setup::hearing("Well.");
    setup.chat = Arc::new(ScriptedChat::new(vec![ScriptedDelta::Text("word ".repeat(200)); 50_000]));
    setup.limits.slow_client = ms(200);
    let engine = setup.engine();
    let address = listen(Arc::clone(&engine)).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8_192).unwrap();
    let socket = socket.connect(address).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async("ws://x/audio", socket).await.unwrap();
    socket.send(json(&start_message())).await.unwrap();
    for _ in 0..6 {
        socket.send(json(&ClientMessage::AnswerNow { text: Some("Why?".into()), turn: None })).await.unwrap();
    }
    while engine.registry.active() == 0 {
        tokio::time::sleep(ms(5)).await;
    }
    emptied(&engine).await;
    assert_eq!(counters.get("sessions_slow_total"), 1);
}

#[tokio::test(start_paused = true)]
async fn audio_sent_at_a_hundred_times_its_speed_waits_for_the_words() {
    let stuck = ScriptedTranscriber::new(|_| (Duration::from_secs(3_600), Ok(transcript("Too late."))));
    let asked = stuck.clone();
    let conversation = Setup::with(stuck).start().await;
    conversation.send(config(r#"{"turns":{"eager":false}}"#)).await;
    let mut sent_ms = 0;
    let flood = async {
        loop {
            for piece in [speech(1_000), silence(1_000)].concat().chunks(640) {
                tokio::time::sleep(Duration::from_micros(200)).await;
                conversation.sender.audio(piece.to_vec()).await.unwrap();
                sent_ms += 20;
            }
        }
    };
    assert!(timeout(Duration::from_secs(20), flood).await.is_err());
    // 2,000 s were there to be sent: four turns wait for their words, and the transport holds 16 pieces.
    assert!((8_000..=10_000).contains(&sent_ms), "{sent_ms} ms were taken");
    assert_eq!(asked.requests().len(), 4);
}

/// Says the same of everything; one that is scripted would remember the audio.
struct Forgetful;

impl Transcriber for Forgetful {
    fn transcribe(
        &self,
        _: TranscribeRequest,
    ) -> BoxStream<'static, Result<TranscriptEvent, TranscribeError>> {
        stream::once(ready(Ok(TranscriptEvent::Final(transcript("Thank you."))))).boxed()
    }
}

#[tokio::test]
async fn half_an_hour_of_speech_at_once_takes_no_memory_and_every_turn_is_written_down() {
    let mut setup = Setup::hearing("Thank you.");
    setup.transcriber = Arc::new(Forgetful);
    let address = listen(setup.engine()).await;
    let mut socket = open(address).await;
    socket.send(json(&start_message())).await.unwrap();
    let (mut sink, mut events) = socket.split();
    let before = peak_kib();
    let turn = [speech(2_000), silence(1_000)].concat();
    let sending = async {
        for _ in 0..TURNS {
            for piece in turn.chunks(protocol::MAX_AUDIO_BYTES) {
                sink.send(Message::binary(piece.to_vec())).await.unwrap();
            }
        }
        sink.send(json(&ClientMessage::EndStream {})).await.unwrap();
    };
    let reading = async {
        let mut finals = 0;
        while let Some(Ok(message)) = events.next().await {
            let Message::Text(text) = message else { continue };
            match serde_json::from_str::<ServerEvent>(&text).unwrap().message {
                ServerMessage::Transcription(words) => finals += usize::from(words.is_final),
                ServerMessage::StreamEnded { totals, .. } => return (finals, totals),
                _ => {}
            }
        }
        panic!("the session ended without its totals");
    };
    let (_, (finals, totals)) = tokio::join!(sending, reading);
    assert_eq!((finals, totals.turns, totals.audio_dropped_ms), (TURNS, TURNS as u64, 0));
    assert_eq!(totals.audio_ms, 3_000 * TURNS as u64);
    // The audio is 56 MiB, and twice that as samples.
    let grown = peak_kib() - before;
    assert!(grown < 24 * 1_024, "the peak grew by {grown} KiB");
}

const TURNS: usize = 600;

/// The most memory that this process ever had resident, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn nonsense_is_told_and_closed_when_it_does_not_stop() {
    let counters = Counters::default();
    let _counting = metrics::set_default_local_recorder(&counters);
    let mut conversation = Setup::hearing("Well.").start().await;
    for _ in 0..101 {
        conversation.sender.frame(Frame::Control("{\"type\":\"\u{0}\"}".into())).await.unwrap();
        tokio::task::yield_now().await;
        conversation.take_in();
    }
    let ended = conversation.read_to_end().await;
    let errors = ended.events.iter().filter(|event| matches!(event.message, ServerMessage::Error { .. }));
    assert_eq!((errors.count(), ended.code), (101, Some(CloseCode::Malformed)));
    assert_eq!(counters.get("messages_refused_total 4400"), 101);
}

#[tokio::test]
async fn frames_that_break_the_rules_end_only_their_own_connection() {
    let engine = Setup::hearing("Well.").engine();
    let address = listen(Arc::clone(&engine)).await;
    let mut good = open(address).await;
    good.send(json(&start_message())).await.unwrap();
    // Unmasked; reserved bits; a reserved opcode; a control frame of 126 bytes; a frame that says it has 2^63 bytes.
    let broken: [&[u8]; 5] = [
        &[0x81, 0x01, b'x'],
        &[0xf1, 0x80, 0, 0, 0, 0],
        &[0x83, 0x80, 0, 0, 0, 0],
        &[0x89, 0xfe, 0, 126, 0, 0, 0, 0],
        &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    for frame in broken {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(HANDSHAKE.as_bytes()).await.unwrap();
        socket.write_all(frame).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut said = Vec::new();
        let _ = timeout(PATIENCE, socket.read_to_end(&mut said)).await.expect("it is closed");
    }
    good.send(json(&ClientMessage::EndStream {})).await.unwrap();
    assert_eq!(timeout(PATIENCE, goodbye(good)).await.unwrap().1, Some(1000));
    emptied(&engine).await;
}
