//! A transport within one process, for tests of sessions in virtual time and for offline transcription.

use protocol::{ClientMessage, CloseCode, ServerEvent};
use tokio::sync::mpsc;

use super::{Frame, Gone, Receive, ReceiveError, Transmit};

/// A connected pair: the server's halves and the client.
pub fn pair() -> (MemoryReceiver, MemorySender, MemoryClient) {
    let (to_server, from_client) = mpsc::channel(CAPACITY);
    let (to_client, from_server) = mpsc::channel(CAPACITY);
    let client = MemoryClient { sender: Some(ClientSender(to_server)), events: from_server, closed: None };
    (MemoryReceiver(from_client, false), MemorySender(to_client), client)
}

/// The server's receiving half, and whether the client has closed.
#[derive(Debug)]
pub struct MemoryReceiver(mpsc::Receiver<Option<Frame>>, bool);

impl Receive for MemoryReceiver {
    async fn recv(&mut self) -> Option<Result<Frame, ReceiveError>> {
        if self.1 {
            return None;
        }
        match self.0.recv().await {
            Some(Some(frame)) => Some(Ok(frame)),
            Some(None) => {
                self.1 = true;
                None
            }
            None => Some(Err(ReceiveError::Lost)),
        }
    }
}

/// The server's sending half.
#[derive(Debug)]
pub struct MemorySender(mpsc::Sender<Sent>);

impl Transmit for MemorySender {
    async fn send(&mut self, json: String) -> Result<(), Gone> {
        self.0.send(Sent::Event(json)).await.map_err(|_| Gone)
    }

    async fn close(&mut self, code: CloseCode, _: &'static str) {
        // A client that is gone needs no goodbye.
        let _ = self.0.send(Sent::Close(code)).await;
    }
}

/// The client of a memory transport. Dropping it, and every [`ClientSender`] of it, loses the connection.
#[derive(Debug)]
pub struct MemoryClient {
    sender: Option<ClientSender>,
    events: mpsc::Receiver<Sent>,
    closed: Option<CloseCode>,
}

/// The sending half of a [`MemoryClient`].
#[derive(Clone, Debug)]
pub struct ClientSender(mpsc::Sender<Option<Frame>>);

impl ClientSender {
    /// Sends a control message; waits while the server does not read.
    ///
    /// # Errors
    /// The session is over.
    pub async fn send(&self, message: &ClientMessage) -> Result<(), Gone> {
        let json = serde_json::to_vec(message).expect("client messages are plain data");
        self.frame(Frame::Control(json.into())).await
    }

    /// Sends audio bytes; waits while the server does not read.
    ///
    /// # Errors
    /// The session is over.
    pub async fn audio(&self, bytes: Vec<u8>) -> Result<(), Gone> {
        self.frame(Frame::Audio(bytes.into())).await
    }

    /// Sends any frame, well-formed or not.
    ///
    /// # Errors
    /// The session is over.
    pub async fn frame(&self, frame: Frame) -> Result<(), Gone> {
        self.0.send(Some(frame)).await.map_err(|_| Gone)
    }

    /// Closes for good: the client will not come back. Nothing that is sent later is received.
    ///
    /// # Errors
    /// The session is over.
    pub async fn close(&self) -> Result<(), Gone> {
        self.0.send(None).await.map_err(|_| Gone)
    }
}

impl MemoryClient {
    /// The sending half.
    ///
    /// # Panics
    /// After [`hang_up`](Self::hang_up).
    pub fn sender(&self) -> ClientSender {
        self.sender.clone().expect("the client has not hung up")
    }

    /// Is lost, without a word; events already sent can still be read.
    pub fn hang_up(&mut self) {
        self.sender = None;
    }

    /// The next event, or `None` after the end of the session. Cancel-safe.
    pub async fn next(&mut self) -> Option<ServerEvent> {
        match self.events.recv().await? {
            Sent::Event(json) => {
                Some(serde_json::from_str(&json).expect("the engine sends events of the protocol"))
            }
            Sent::Close(code) => {
                self.closed = Some(code);
                None
            }
        }
    }

    /// The code the session was closed with.
    pub fn closed(&self) -> Option<CloseCode> {
        self.closed
    }
}

#[derive(Debug)]
enum Sent {
    Event(String),
    Close(CloseCode),
}

/// As a socket's buffer, small: a sender soon waits for the reader.
const CAPACITY: usize = 16;
