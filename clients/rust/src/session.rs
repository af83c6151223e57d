//! A session that outlives its connections: what is lost with one is sent again over the next, which may be of another kind.
//!
//! A task of its own keeps the connection; it ends when both halves are dropped, or the session is over. Not here: one
//! connection ([`connect`]), what is kept ([`ring`](crate::ring)).

use std::time::Duration;

use bytes::Bytes;
use protocol::{
    ClientMessage, CloseCode, Framing, MAX_JSON_BYTES, Resume, ServerEvent, ServerMessage, StartStream,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    ClientConfig, ClientError, Events, connect,
    ring::{Item, Ring},
};

/// Where to connect, and how hard to try.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The servers, or the ways to one: the first that answers is taken, such as QUIC and then WebSocket. Each time anew. All but
    /// the last have 3 s to answer.
    pub servers: Vec<ClientConfig>,
    /// How long to try to come back. A server waits 120 s by default. Default: 120 s.
    pub give_up: Duration,
    /// Pause before the second try; it doubles with each, up to 5 s, give or take half. Default: 100 ms.
    pub first_pause: Duration,
    /// Audio that may be unacknowledged, in bytes: [`SessionSender::audio`] waits beyond. Default: 4 MiB.
    pub max_unacknowledged: usize,
    /// A connection on which audio is not acknowledged for so long is given up. Default: 15 s.
    pub silence: Duration,
}

impl SessionConfig {
    /// The defaults, for these servers.
    pub fn new(servers: Vec<ClientConfig>) -> Self {
        Self {
            servers,
            give_up: Duration::from_secs(120),
            first_pause: Duration::from_millis(100),
            max_unacknowledged: 4 << 20,
            silence: Duration::from_secs(15),
        }
    }
}

/// What happens in a session.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionEvent {
    /// The server's next event: each once, in order.
    Event(ServerEvent),
    /// The connection is lost; what is said is kept, and the session is being resumed.
    Disconnected {
        /// What the network or the server said.
        why: String,
    },
    /// The session goes on.
    Resumed {
        /// Over this address, without its query.
        address: String,
    },
}

/// Says things. Clones say them in the same session.
#[derive(Clone, Debug)]
pub struct SessionSender(mpsc::Sender<Input>);

/// Hears what comes of it.
#[derive(Debug)]
pub struct SessionEvents {
    events: mpsc::Receiver<Result<SessionEvent, ClientError>>,
    _driver: AbortOnDropHandle<()>,
}

#[derive(Debug)]
enum Input {
    Audio { channel: u8, last: bool, audio: Bytes },
    Control(Box<ClientMessage>),
}

/// Opens a session that `start` describes; its audio is numbered whatever `start` says, and `start.resume` is not used.
///
/// # Errors
/// As [`connect`], of the last server tried; [`ClientError::Refused`] and the like are not tried again here, so that a wrong
/// address is noticed at once. [`ClientError::Ended`] when the server opens no session.
pub async fn open_session(
    config: SessionConfig,
    mut start: StartStream,
) -> Result<(SessionSender, SessionEvents), ClientError> {
    start.audio.framing = Framing::Numbered;
    start.resume = None;
    let (say, input) = mpsc::channel(INPUTS);
    let (output, events) = mpsc::channel(EVENTS);
    let mut driver = Driver {
        config,
        start,
        token: String::new(),
        last_event: 0,
        ended: false,
        ring: Ring::default(),
        input,
        says: true,
        output,
    };
    let (connection, first) = driver.reach().await?;
    let driver = tokio::spawn(async move { driver.run(connection, first).await });
    Ok((SessionSender(say), SessionEvents { events, _driver: AbortOnDropHandle::new(driver) }))
}

impl SessionSender {
    /// Says the next audio of `channel`; `last` ends the channel. Cut into chunks of 16 KiB, except Opus packets, which are
    /// never larger. Waits while too much is unacknowledged.
    ///
    /// Keep reading [`SessionEvents`] meanwhile. Cancel-safe up to chunks: those already taken are said.
    ///
    /// # Errors
    /// [`ClientError::Closed`]: the session is over, [`SessionEvents`] says why.
    pub async fn audio(&self, channel: u8, last: bool, audio: &[u8]) -> Result<(), ClientError> {
        let mut chunks = audio.chunks(CHUNK_BYTES).peekable();
        if chunks.peek().is_none() {
            return self.say(Input::Audio { channel, last, audio: Bytes::new() }).await;
        }
        while let Some(chunk) = chunks.next() {
            let last = last && chunks.peek().is_none();
            self.say(Input::Audio { channel, last, audio: Bytes::copy_from_slice(chunk) }).await?;
        }
        Ok(())
    }

    /// Sends a control message, once, after what was said before.
    ///
    /// # Errors
    /// [`ClientError::TooBig`], or [`ClientError::Closed`].
    pub async fn send(&self, message: ClientMessage) -> Result<(), ClientError> {
        let bytes = serde_json::to_vec(&message).expect("client messages are plain data").len();
        if bytes > MAX_JSON_BYTES {
            return Err(ClientError::TooBig { bytes });
        }
        self.say(Input::Control(Box::new(message))).await
    }

    async fn say(&self, input: Input) -> Result<(), ClientError> {
        self.0.send(input).await.map_err(|_| ClientError::Closed)
    }
}

impl SessionEvents {
    /// What happens next; `None` once the session is over. Cancel-safe.
    ///
    /// # Errors
    /// Why the session is over before its end: [`ClientError::Ended`] by the server, or what kept it from being resumed.
    /// `None` follows. [`ClientError::Event`]: one event was not understood, go on.
    pub async fn next(&mut self) -> Option<Result<SessionEvent, ClientError>> {
        self.events.recv().await
    }
}

/// Keeps the connection.
struct Driver {
    config: SessionConfig,
    start: StartStream,
    /// Empty until the session is open.
    token: String,
    last_event: u64,
    /// `stream_ended` has come.
    ended: bool,
    ring: Ring,
    input: mpsc::Receiver<Input>,
    /// Somebody may still say something.
    says: bool,
    output: mpsc::Sender<Result<SessionEvent, ClientError>>,
}

struct Connection {
    events: Events,
    to_writer: mpsc::Sender<Item>,
    _writer: AbortOnDropHandle<Result<(), ClientError>>,
}

/// Why a connection is of no more use.
enum Lost {
    /// Try to resume.
    Retry { why: String, after: Duration },
    /// The session is over: with an error, or as it should be.
    Over(Option<ClientError>),
}

impl Driver {
    async fn run(mut self, mut connection: Connection, first: ServerEvent) {
        if self.tell(Ok(SessionEvent::Event(first))).await.is_err() {
            return;
        }
        loop {
            let (why, after) = match self.serve(&mut connection).await {
                Lost::Over(None) => return,
                Lost::Over(Some(error)) => {
                    let _ = self.tell(Err(error)).await;
                    return;
                }
                Lost::Retry { why, after } => (why, after),
            };
            drop(connection);
            if self.tell(Ok(SessionEvent::Disconnected { why })).await.is_err() {
                return;
            }
            connection = match self.come_back(after).await {
                Ok(connection) => connection,
                Err(error) => {
                    let _ = self.tell(Err(error)).await;
                    return;
                }
            };
        }
    }

    /// Moves what is said to the server and events to the user, until the connection is of no more use.
    async fn serve(&mut self, connection: &mut Connection) -> Lost {
        let mut refused = None;
        let mut broken_at = None;
        let mut silent_at = Instant::now() + self.config.silence;
        loop {
            let room = self.ring.audio_bytes() < self.config.max_unacknowledged;
            let waits = self.ring.waits_for_ack();
            if !waits {
                silent_at = Instant::now() + self.config.silence;
            }
            tokio::select! {
                event = connection.events.next() => match event {
                    Some(Ok(event)) => {
                        silent_at = Instant::now() + self.config.silence;
                        if let ServerMessage::Error { code, message, fatal: true, retry_after_ms } = &event.message {
                            refused = Some((*code, message.clone(), *retry_after_ms));
                        }
                        if self.on_event(event).await.is_err() {
                            return Lost::Over(None);
                        }
                    }
                    Some(Err(error @ ClientError::Event(_))) => {
                        if self.tell(Err(error)).await.is_err() {
                            return Lost::Over(None);
                        }
                    }
                    Some(Err(_)) | None if self.ended => return Lost::Over(None),
                    Some(Err(error)) => return retry(error.to_string(), None),
                    None => return self.closed(connection, refused),
                },
                permit = connection.to_writer.reserve(), if self.ring.has_unsent() && broken_at.is_none() => match permit {
                    Ok(permit) => {
                        if let Some(item) = self.ring.take_unsent() {
                            permit.send(item);
                        }
                    }
                    // The events may tell why.
                    Err(_) => broken_at = Some(Instant::now() + REASON),
                },
                input = self.input.recv(), if room && self.says => match input {
                    Some(Input::Audio { channel, last, audio }) => self.ring.push_audio(channel, last, audio),
                    Some(Input::Control(message)) => match *message {
                        // It is worth nothing later.
                        ClientMessage::KeepAlive {} => {
                            let _ = connection.to_writer.try_send(Item::Control(0, ClientMessage::KeepAlive {}));
                        }
                        message => self.ring.push_control(message),
                    },
                    // Whoever says nothing more may still listen.
                    None => self.says = false,
                },
                () = sleep_until(silent_at), if waits => {
                    return retry("the server acknowledges nothing".to_owned(), None);
                }
                () = sleep_until(broken_at.unwrap_or(silent_at)), if broken_at.is_some() => {
                    return retry("the connection broke off".to_owned(), None);
                }
                () = self.output.closed() => return Lost::Over(None),
            }
        }
    }

    async fn on_event(&mut self, event: ServerEvent) -> Result<(), ()> {
        if event.event <= self.last_event {
            return Ok(());
        }
        self.last_event = event.event;
        match &event.message {
            ServerMessage::Ack { channel, next_seq, .. } => self.ring.acknowledge(*channel, *next_seq),
            ServerMessage::StreamEnded { .. } => self.ended = true,
            _ => {}
        }
        self.tell(Ok(SessionEvent::Event(event))).await
    }

    fn closed(&self, connection: &Connection, refused: Option<(CloseCode, String, Option<u64>)>) -> Lost {
        let closed = connection.events.closed();
        let code = closed.map_or(0, |closed| closed.code);
        let why = match (&refused, closed) {
            (Some((_, message, _)), _) => message.clone(),
            (None, Some(closed)) => closed.reason.clone(),
            (None, None) => "the connection broke off".to_owned(),
        };
        match CloseCode::try_from(code) {
            Ok(CloseCode::Leaving | CloseCode::Internal) | Err(_) => retry(why, None),
            Ok(CloseCode::Overloaded) => retry(why, refused.and_then(|(_, _, after)| after)),
            Ok(_) => Lost::Over(Some(ClientError::Ended { code, reason: why })),
        }
    }

    /// Resumes the session, however often that takes within the limit.
    async fn come_back(&mut self, first: Duration) -> Result<Connection, ClientError> {
        let until = Instant::now() + self.config.give_up;
        let mut pause = self.config.first_pause;
        let mut wait = first;
        loop {
            sleep(wait.mul_f64(0.5 + fastrand::f64())).await;
            match self.reach().await {
                Ok((connection, _)) => return Ok(connection),
                Err(error) if Instant::now() >= until || !passes(&error) => return Err(error),
                Err(ClientError::Busy { after, .. }) => wait = after,
                Err(_) => {
                    wait = pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Opens or resumes the session over the first server that answers, and has it.
    async fn reach(&mut self) -> Result<(Connection, ServerEvent), ClientError> {
        let mut last = None;
        let resumes = !self.token.is_empty();
        let servers = self.config.servers.len();
        for index in 0..servers {
            let mut server = ClientConfig { datagrams: false, ..self.config.servers[index].clone() };
            // A server that makes the session again hears all of it first.
            let to_begin = if resumes { REHEARING } else { server.connect_timeout };
            if index + 1 < servers {
                server.connect_timeout = server.connect_timeout.min(NEXT_WAY);
            }
            let address = crate::connect::shown(&server.url);
            match self.begin(&server, to_begin).await {
                Ok((connection, event)) => {
                    if resumes {
                        let _ = self.tell(Ok(SessionEvent::Resumed { address })).await;
                    }
                    return Ok((connection, event));
                }
                Err(error @ ClientError::Ended { .. }) if !resumes => return Err(error),
                // Another one may have the session, perhaps one that does not answer now.
                Err(error) if last.as_ref().is_some_and(passes) && !passes(&error) => {}
                Err(error) => last = Some(error),
            }
        }
        // Of a list without servers.
        Err(last.unwrap_or(ClientError::Closed))
    }

    /// `patience` is for the first event.
    async fn begin(
        &mut self,
        server: &ClientConfig,
        patience: Duration,
    ) -> Result<(Connection, ServerEvent), ClientError> {
        let (mut sender, mut events) = connect(server).await?;
        let mut start = self.start.clone();
        if !self.token.is_empty() {
            start.resume = Some(Resume { token: self.token.clone(), last_event: self.last_event });
            // It may have been changed since.
            start.config = None;
        }
        sender.start(start).await?;
        let address = crate::connect::shown(&server.url);
        let first = timeout(patience, events.next()).await;
        let event = match first.map_err(|_| ClientError::TimedOut { address, after: patience })? {
            Some(event) => event?,
            None => {
                let closed = events.closed().cloned();
                let (code, reason) = closed.map_or((0, String::new()), |closed| (closed.code, closed.reason));
                return Err(ClientError::Ended { code, reason });
            }
        };
        match &event.message {
            ServerMessage::StreamStarted { resume_token, next_seq, next_control, .. } => {
                self.token.clone_from(resume_token);
                self.ring.rewind(next_seq, *next_control);
            }
            ServerMessage::Error {
                code: CloseCode::Overloaded | CloseCode::Leaving | CloseCode::TooMany,
                message,
                retry_after_ms,
                ..
            } => {
                let after = Duration::from_millis(retry_after_ms.unwrap_or(DEFAULT_RETRY_MS));
                return Err(ClientError::Busy { reason: message.clone(), after });
            }
            ServerMessage::Error { code, message, .. } => {
                return Err(ClientError::Ended { code: (*code).into(), reason: message.clone() });
            }
            _ => return Err(ClientError::Event("the first event does not open the session".to_owned())),
        }
        self.last_event = self.last_event.max(event.event);
        let (to_writer, mut items) = mpsc::channel(IN_FLIGHT);
        let writer = tokio::spawn(async move {
            while let Some(item) = items.recv().await {
                match item {
                    Item::Audio(header, audio) => sender.frame(header, &audio).await?,
                    Item::Control(_, message) => sender.send(&message).await?,
                }
            }
            Ok(())
        });
        Ok((Connection { events, to_writer, _writer: AbortOnDropHandle::new(writer) }, event))
    }

    async fn tell(&mut self, event: Result<SessionEvent, ClientError>) -> Result<(), ()> {
        self.output.send(event).await.map_err(|_| ())
    }
}

fn retry(why: String, after_ms: Option<u64>) -> Lost {
    Lost::Retry { why, after: Duration::from_millis(after_ms.unwrap_or(0)) }
}

/// Whether another try may go better.
fn passes(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { .. }
        | ClientError::Unreachable { .. }
        | ClientError::TimedOut { .. }
        | ClientError::Busy { .. }
        | ClientError::Closed
        | ClientError::Lost(_) => true,
        ClientError::Rejected { status, .. } => *status == 429 || *status >= 500,
        ClientError::Ended { code, .. } => !(4400..4500).contains(code),
        _ => false,
    }
}

/// Said and not yet kept: the user waits beyond.
const INPUTS: usize = 16;
/// Heard and not yet read: the server waits beyond.
const EVENTS: usize = 64;
/// On the way to the socket.
const IN_FLIGHT: usize = 8;
/// Small enough that little is sent again, and that no message holds others up for long.
const CHUNK_BYTES: usize = 16 * 1024;
/// How long one way is waited for when there is another: several round trips of the slowest network. Where UDP goes nowhere, this
/// is what comes before the WebSocket.
const NEXT_WAY: Duration = Duration::from_secs(3);
/// Longest wait for a server that makes a session again: hours of it are heard in about a minute.
const REHEARING: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const DEFAULT_RETRY_MS: u64 = 1_000;
/// Longest wait for what the server said before it broke off.
const REASON: Duration = Duration::from_secs(1);
