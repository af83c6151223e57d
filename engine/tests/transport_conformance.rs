//! One suite for every transport: what a session may rely on, whatever carries its frames.

#[path = "support/quic.rs"]
mod peer;

use std::time::Duration;

use engine::transport::{
    Frame, Receive, ReceiveError, Transmit, memory,
    quic::{self, QuicReceiver, QuicSender},
    websocket,
};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use peer::QuicPeer;
use protocol::CloseCode;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};
use url::Url;
use web_transport_quinn::{Request, Session, proto::ConnectRequest};

/// The client's end of a transport under test.
trait Peer: Send + 'static {
    fn send(&mut self, frame: Frame) -> impl Future<Output = ()> + Send;
    fn next(&mut self) -> impl Future<Output = Option<String>> + Send;
    fn closed(&self) -> Option<u16>;
    fn hang_up(self) -> impl Future<Output = ()> + Send;
    /// Its process ends in the middle of everything, once what it sent is there.
    fn vanish(self) -> impl Future<Output = ()> + Send;
}

struct MemoryPeer(memory::MemoryClient);

impl Peer for MemoryPeer {
    async fn send(&mut self, frame: Frame) {
        self.0.sender().frame(frame).await.expect("the server's half is there");
    }

    async fn next(&mut self) -> Option<String> {
        self.0.next().await.map(|event| serde_json::to_string(&event).expect("an event"))
    }

    fn closed(&self) -> Option<u16> {
        self.0.closed().map(u16::from)
    }

    async fn hang_up(self) {
        self.0.sender().close().await.expect("the server's half is there");
    }

    async fn vanish(self) {
        drop(self);
    }
}

struct WebSocketPeer {
    socket: WebSocketStream<TcpStream>,
    closed: Option<u16>,
}

impl Peer for WebSocketPeer {
    async fn send(&mut self, frame: Frame) {
        let message = match frame {
            Frame::Control(json) => Message::text(String::from_utf8(json.to_vec()).expect("text")),
            Frame::Audio(bytes) => Message::Binary(bytes),
        };
        self.socket.send(message).await.expect("the server's half is there");
    }

    async fn next(&mut self) -> Option<String> {
        match self.socket.next().await? {
            Ok(Message::Text(text)) => Some(text.to_string()),
            Ok(Message::Close(frame)) => {
                self.closed = frame.map(|frame| frame.code.into());
                None
            }
            other => panic!("{other:?}"),
        }
    }

    fn closed(&self) -> Option<u16> {
        self.closed
    }

    async fn hang_up(mut self) {
        let _ = self.socket.close(None).await;
    }

    async fn vanish(self) {
        drop(self);
    }
}

impl Peer for QuicPeer {
    async fn send(&mut self, frame: Frame) {
        self.send(frame).await;
    }

    async fn next(&mut self) -> Option<String> {
        self.next().await
    }

    fn closed(&self) -> Option<u16> {
        self.closed
    }

    async fn hang_up(self) {
        self.hang_up().await;
    }

    async fn vanish(mut self) {
        self.settle().await;
        drop(self);
    }
}

async fn raw_quic() -> (QuicReceiver, QuicSender, QuicPeer) {
    let (client, server, endpoints) = peer::connections(protocol::QUIC_ALPN).await;
    let peer = QuicPeer::new(Session::raw(client), endpoints).await;
    greeted(Session::raw(server), peer).await
}

async fn web_transport() -> (QuicReceiver, QuicSender, QuicPeer) {
    let (client, server, endpoints) = peer::connections(web_transport_quinn::ALPN).await;
    let request = ConnectRequest::new(Url::parse("https://localhost/audio").expect("a URL"));
    let accept =
        async { Request::accept(server).await.expect("a CONNECT request").ok().await.expect("answered") };
    let (client, server) = tokio::join!(Session::connect(client, request), accept);
    let peer = QuicPeer::new(client.expect("a session"), endpoints).await;
    greeted(server, peer).await
}

/// The first control message tells the server of the stream; here nobody asks who the client is.
async fn greeted(server: Session, mut peer: QuicPeer) -> (QuicReceiver, QuicSender, QuicPeer) {
    peer.control("{}").await;
    let (mut receive, transmit) = quic::open(server).await.expect("the control stream");
    receive.welcome();
    assert_eq!(receive.recv().await, Some(Ok(Frame::Control("{}".into()))));
    (receive, transmit, peer)
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.expect("connected"), accepted.expect("accepted").0)
}

/// Runs one check on every transport.
macro_rules! conformance {
    ($($check:ident)*) => {
        mod over_memory {
            $(#[tokio::test] async fn $check() {
                let (receive, transmit, client) = super::memory::pair();
                super::$check(receive, transmit, super::MemoryPeer(client)).await;
            })*
        }
        mod over_websocket {
            $(#[tokio::test] async fn $check() {
                let (client, server) = super::sockets().await;
                let (receive, transmit) = super::websocket::open(server).await;
                let socket = super::WebSocketStream::from_raw_socket(client, super::Role::Client, None).await;
                super::$check(receive, transmit, super::WebSocketPeer { socket, closed: None }).await;
            })*
        }
        mod over_quic {
            $(#[tokio::test] async fn $check() {
                let (receive, transmit, peer) = super::raw_quic().await;
                super::$check(receive, transmit, peer).await;
            })*
        }
        mod over_web_transport {
            $(#[tokio::test] async fn $check() {
                let (receive, transmit, peer) = super::web_transport().await;
                super::$check(receive, transmit, peer).await;
            })*
        }
    };
}

conformance! {
    frames_arrive_in_order
    a_receive_dropped_a_thousand_times_loses_nothing
    events_arrive_and_the_close_code_last
    a_peer_that_hangs_up_is_the_end
    a_peer_that_is_lost_has_not_hung_up
}

fn audio(n: u32) -> Frame {
    Frame::Audio(n.to_be_bytes().to_vec().into())
}

async fn frames_arrive_in_order(mut receive: impl Receive, _transmit: impl Transmit, mut peer: impl Peer) {
    let control = |json: &'static str| Frame::Control(json.into());
    let sent =
        [audio(1), audio(2), Frame::Audio(vec![7; 64 * 1024].into()), control("{}"), control("[]"), audio(3)];
    // What is said about audio comes after it. (QUIC does not promise the contrary, so the last one waits.)
    let (first, last) = sent.split_at(5);
    for frames in [first, last] {
        for frame in frames {
            peer.send(frame.clone()).await;
        }
        for frame in frames {
            assert_eq!(receive.recv().await, Some(Ok(frame.clone())));
        }
    }
}

async fn a_receive_dropped_a_thousand_times_loses_nothing(
    mut receive: impl Receive,
    _transmit: impl Transmit,
    mut peer: impl Peer,
) {
    const FRAMES: u32 = 2_000;
    let sender = tokio::spawn(async move {
        for n in 0..FRAMES {
            peer.send(audio(n)).await;
            if n % 16 == 0 {
                tokio::task::yield_now().await;
            }
        }
        peer
    });
    let (mut received, mut dropped) = (Vec::new(), 0);
    while received.len() < FRAMES as usize {
        // Polled once and dropped when not ready, at whatever point inside a frame that happens to be.
        match receive.recv().now_or_never() {
            Some(frame) => received.push(frame.expect("the peer is there").expect("the frame is whole")),
            None => {
                dropped += 1;
                tokio::time::sleep(Duration::from_micros(20)).await;
            }
        }
        // Also when there is more: a future that was never polled.
        if received.len() % 2 == 0 {
            drop(receive.recv());
            dropped += 1;
        }
    }
    assert!(dropped >= 1_000, "only {dropped} receives were dropped");
    assert!(received.into_iter().eq((0..FRAMES).map(audio)));
    sender.await.expect("the peer does not panic");
}

async fn events_arrive_and_the_close_code_last(
    _receive: impl Receive,
    mut transmit: impl Transmit + 'static,
    mut peer: impl Peer,
) {
    let event = r#"{"event":1,"type":"marker","id":1}"#;
    let server = tokio::spawn(async move {
        transmit.send(event.to_owned()).await.expect("the peer is there");
        transmit.close(CloseCode::Overloaded, "overloaded").await;
    });
    let received: serde_json::Value =
        serde_json::from_str(&peer.next().await.expect("the event")).expect("JSON");
    assert_eq!(received, serde_json::from_str::<serde_json::Value>(event).expect("JSON"));
    assert_eq!(peer.next().await, None);
    assert_eq!(peer.closed(), Some(4503));
    drop(peer);
    server.await.expect("the server does not panic");
}

async fn a_peer_that_hangs_up_is_the_end(
    mut receive: impl Receive,
    mut transmit: impl Transmit,
    mut peer: impl Peer,
) {
    peer.send(audio(1)).await;
    peer.hang_up().await;
    assert_eq!(receive.recv().await, Some(Ok(audio(1))));
    assert_eq!(receive.recv().await, None);
    // Sending into the void ends too, at the latest when the buffers are full.
    let sending = async { while transmit.send("{}".repeat(1_000)).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(5), sending).await.expect("the sender notices");
}

/// It may come back, unlike one that hung up.
async fn a_peer_that_is_lost_has_not_hung_up(
    mut receive: impl Receive,
    _transmit: impl Transmit,
    mut peer: impl Peer,
) {
    peer.send(audio(1)).await;
    peer.vanish().await;
    assert_eq!(receive.recv().await, Some(Ok(audio(1))));
    assert_eq!(receive.recv().await, Some(Err(ReceiveError::Lost)));
}

#[tokio::test]
async fn a_message_over_the_bound_is_refused_before_it_is_kept() {
    let (client, server) = sockets().await;
    let (mut receive, mut transmit) = websocket::open(server).await;
    let socket = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    let mut peer = WebSocketPeer { socket, closed: None };
    let sender = tokio::spawn(async move {
        // The server stops reading in the middle of it.
        let _ = peer.socket.send(Message::Binary(vec![0; 1024 * 1024].into())).await;
        peer
    });
    assert!(matches!(receive.recv().await, Some(Err(ReceiveError::TooBig { .. }))));
    transmit.close(CloseCode::TooBig, "too big").await;
    drop((receive, transmit));
    drop(sender.await);
}

/// A length says more than is accepted: it is refused before the bytes come.
#[tokio::test]
async fn a_quic_message_is_refused_by_its_length() {
    for (on_control, max) in [(true, 16 * 1024), (false, 64 * 1024 + 8)] {
        let (mut receive, _transmit, mut peer) = raw_quic().await;
        let length = u32::try_from(max + 1).expect("small").to_be_bytes();
        let mut audio = peer.session.open_uni().await.expect("a stream");
        let stream = if on_control { &mut peer.control } else { &mut audio };
        stream.write_all(&length).await.expect("the server is there");
        assert_eq!(receive.recv().await, Some(Err(ReceiveError::TooBig { max })));
    }
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_message_is_broken_and_one_that_is_given_up_is_not() {
    let (mut receive, _transmit, mut peer) = raw_quic().await;
    let mut given_up = peer.session.open_uni().await.expect("a stream");
    given_up.write_all(&[0, 0, 0, 9, 1]).await.expect("the server is there");
    given_up.reset(7).expect("open");
    peer.audio(&[1]).await;
    assert_eq!(receive.recv().await, Some(Ok(Frame::Audio(vec![1].into()))));
    let mut cut = peer.session.open_uni().await.expect("a stream");
    cut.write_all(&[0, 0, 0, 9, 1]).await.expect("the server is there");
    cut.finish().expect("open");
    assert!(matches!(receive.recv().await, Some(Err(ReceiveError::Broken(_)))));
}

#[tokio::test]
async fn each_channel_may_have_a_stream_and_none_starves() {
    let (mut receive, _transmit, peer) = raw_quic().await;
    let mut streams = Vec::new();
    for channel in 0..8_u8 {
        let mut stream = peer.session.open_uni().await.expect("eight streams are allowed");
        for _ in 0..4 {
            stream.write_all(&peer::message(&[channel; 100])).await.expect("the server is there");
        }
        stream.finish().expect("open");
        assert_eq!(stream.stopped().await.expect("all of it is there"), None);
        streams.push(stream);
    }
    let mut heard = Vec::new();
    while heard.len() < 32 {
        let Some(Ok(Frame::Audio(bytes))) = receive.recv().await else { panic!("audio") };
        heard.push(bytes[0]);
    }
    for round in heard.chunks(8) {
        let mut round = round.to_vec();
        round.sort_unstable();
        assert_eq!(round, (0..8).collect::<Vec<_>>(), "{heard:?}");
    }
}

/// A flood of audio does not keep a wish of the client's unread.
#[tokio::test]
async fn control_is_read_in_the_midst_of_audio_without_end() {
    let (mut receive, _transmit, mut peer) = raw_quic().await;
    let session = peer.session.clone();
    let flood = tokio::spawn(async move {
        let mut stream = session.open_uni().await.expect("a stream");
        let message = peer::message(&[0; 1_000]);
        while stream.write_all(&message).await.is_ok() {}
    });
    assert!(matches!(receive.recv().await, Some(Ok(Frame::Audio(_)))));
    peer.control("[]").await;
    let mut heard = 0;
    while receive.recv().await != Some(Ok(Frame::Control("[]".into()))) {
        heard += 1;
        assert!(heard < 20_000, "control is never read");
    }
    flood.abort();
}

#[tokio::test]
async fn datagrams_are_audio_and_a_receive_given_up_loses_none() {
    for (mut receive, _transmit, peer) in [raw_quic().await, web_transport().await] {
        let mut received = Vec::new();
        for n in 0..300_u32 {
            peer.session.send_datagram(n.to_be_bytes().to_vec().into()).expect("datagrams are allowed");
            while received.len() <= n as usize {
                match receive.recv().now_or_never() {
                    Some(frame) => received.push(frame.expect("open").expect("whole")),
                    None => tokio::time::sleep(Duration::from_micros(20)).await,
                }
            }
        }
        assert!(received.into_iter().eq((0..300).map(audio)));
    }
}

#[tokio::test]
async fn of_datagrams_that_nobody_reads_the_last_200_ms_are_kept() {
    let (mut receive, _transmit, peer) = raw_quic().await;
    for n in 0..400_u32 {
        peer.session.send_datagram(n.to_be_bytes().to_vec().into()).expect("datagrams are allowed");
        tokio::task::yield_now().await;
    }
    // Events of a stream come after what was sent before them: then all datagrams are there, or lost on the way.
    let mut peer = peer;
    peer.audio(&[9]).await;
    peer.settle().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut kept = Vec::new();
    while let Some(Some(Ok(Frame::Audio(bytes)))) = receive.recv().now_or_never() {
        if let Ok(number) = <[u8; 4]>::try_from(&bytes[..]) {
            kept.push(u32::from_be_bytes(number));
        }
    }
    assert_eq!(kept.len(), 160, "{kept:?}");
    assert_eq!(kept.last(), Some(&399));
    assert!(kept.is_sorted(), "the oldest are gone: {kept:?}");
}
