//! One suite for every transport: what a session may rely on, whatever carries its frames.

use std::time::Duration;

use engine::transport::{Frame, Receive, ReceiveError, Transmit, memory, websocket};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use protocol::CloseCode;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

/// The client's end of a transport under test.
trait Peer: Send + 'static {
    fn send(&mut self, frame: Frame) -> impl Future<Output = ()> + Send;
    fn next(&mut self) -> impl Future<Output = Option<String>> + Send;
    fn closed(&self) -> Option<u16>;
    fn hang_up(self) -> impl Future<Output = ()> + Send;
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
    };
}

conformance! {
    frames_arrive_in_order
    a_receive_dropped_a_thousand_times_loses_nothing
    events_arrive_and_the_close_code_last
    a_peer_that_hangs_up_is_the_end
}

fn audio(n: u32) -> Frame {
    Frame::Audio(n.to_be_bytes().to_vec().into())
}

async fn frames_arrive_in_order(mut receive: impl Receive, _transmit: impl Transmit, mut peer: impl Peer) {
    let sent = [audio(1), Frame::Control("{}".into()), audio(2), Frame::Audio(vec![7; 64 * 1024].into())];
    for frame in &sent {
        peer.send(frame.clone()).await;
    }
    for frame in sent {
        assert_eq!(receive.recv().await, Some(Ok(frame)));
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
