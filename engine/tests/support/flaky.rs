//! A client on a bad network: it loses connections, comes back, sends things twice and in the wrong order, as a seed says.
//!
//! Not here: the client that users have (`clients/rust`).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use engine::{
    Engine, pipeline,
    ports::{
        Access, JournalError, JournalWriter, Journals, KeptJournal, PortError, Principal, SessionRecorder,
        SessionWriter,
    },
    transport::memory::{self, ClientSender, MemoryClient},
};
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use models::speech::ScriptedTranscriber;
use protocol::{
    AudioFormat, ClientMessage, Codec, FrameHeader, Framing, Resume, Role, ServerEvent, ServerMessage,
    StartStream,
};
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::harness::{Setup, line, silence, transcript};

/// What happens, and what has.
pub(crate) struct Schedule {
    random: Option<fastrand::Rng>,
    pub(crate) lost: u64,
    pub(crate) taken_over: u64,
    pub(crate) out_of_order: u64,
    pub(crate) killed: u64,
    pub(crate) moved: u64,
    kills: bool,
    servers: usize,
}

impl Schedule {
    pub(crate) fn undisturbed() -> Self {
        Self {
            random: None,
            lost: 0,
            taken_over: 0,
            out_of_order: 0,
            killed: 0,
            moved: 0,
            kills: false,
            servers: 1,
        }
    }

    /// Of a bad network.
    pub(crate) fn random(seed: u64) -> Self {
        Self { random: Some(fastrand::Rng::with_seed(seed)), ..Self::undisturbed() }
    }

    /// The server is killed now and then, too.
    pub(crate) fn killing(seed: u64) -> Self {
        Self { kills: true, ..Self::random(seed) }
    }

    /// The client goes from server to server, which share their journals.
    pub(crate) fn moving(seed: u64) -> Self {
        Self { servers: 3, ..Self::random(seed) }
    }

    /// True once in `n` times, on average.
    fn once_in(&mut self, n: u32) -> bool {
        self.random.as_mut().is_some_and(|random| random.u32(..n) == 0)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.random.as_mut().map_or(0, |random| random.u64(..n))
    }
}

/// `start_stream` of one numbered channel.
pub(crate) fn start(resume: Option<Resume>) -> ClientMessage {
    let mut audio = AudioFormat::mono(Codec::PcmS16le, Some(16_000), Role::Mixed);
    audio.framing = Framing::Numbered;
    ClientMessage::StartStream(Box::new(StartStream {
        session_id: Some("test".to_owned()),
        audio,
        config: None,
        resume,
    }))
}

/// `audio` in chunks of 20 ms with their headers.
pub(crate) fn numbered(audio: &[u8]) -> Vec<Vec<u8>> {
    let chunks = audio.chunks(640).zip(0u32..);
    chunks
        .map(|(chunk, seq)| [&FrameHeader { channel: 0, seq, last: false }.to_bytes()[..], chunk].concat())
        .collect()
}

/// What the client is told that does not depend on when: by kind, one line an event.
pub(crate) fn told(events: &[ServerEvent]) -> Vec<String> {
    let mut told: Vec<_> = events.iter().filter_map(|event| line(&event.message)).collect();
    told.sort();
    told
}

/// What the client is told that holds for good, also when answers had to be begun anew.
pub(crate) fn for_good(events: &[ServerEvent]) -> Vec<String> {
    let mut told: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.message {
            ServerMessage::Answer(answer) => Some(format!("answer to {} {}", answer.turn, answer.content)),
            ServerMessage::SpeechStarted { .. }
            | ServerMessage::SpeechEnded { .. }
            | ServerMessage::Transcription(_)
            | ServerMessage::StreamEnded { .. } => line(&event.message),
            _ => None,
        })
        .collect();
    told.sort();
    told
}

/// Plays the conversation as `schedule` says; all events, each once.
pub(crate) fn play(mut schedule: Schedule) -> Vec<ServerEvent> {
    play_as(&mut schedule)
}

/// As [`play`], and tells what happened.
pub(crate) fn play_as(schedule: &mut Schedule) -> Vec<ServerEvent> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut client = Client::new(schedule.servers);
        client.play(schedule).await;
        // Who lost the connection just when the end had come might still have come back for it.
        sleep(Duration::from_secs(150)).await;
        let left = client.journals.lock().journals.len();
        assert_eq!(left, 0, "nothing of a session that is over is left");
        let kept = client.events.iter().filter(|event| is_kept(&event.message));
        let history = client.servers[0].history.events.lock().unwrap();
        assert!(history.values().eq(kept), "history has what the client was told: {:?}", history.values());
        drop(history);
        client.events
    })
}

/// Whether history is told.
fn is_kept(message: &ServerMessage) -> bool {
    match message {
        ServerMessage::Transcription(words) => words.is_final,
        ServerMessage::AnswerStarted { .. }
        | ServerMessage::Answer(_)
        | ServerMessage::AnswerCancelled { .. }
        | ServerMessage::StreamEnded { .. } => true,
        _ => false,
    }
}

/// Two questions, every sample of which matters to their text.
fn conversation() -> Vec<Vec<u8>> {
    let voice =
        |from: i16| (0..1_000i16 * 16).flat_map(move |n| (4_000 + from + n / 8).to_le_bytes()).collect();
    let parts: [Vec<u8>; 5] = [silence(100), voice(1), silence(1_900), voice(9_000), silence(1_000)];
    numbered(&parts.concat())
}

/// Journals that survive their engine, but for what was not written yet. Several engines may share them.
#[derive(Clone, Default)]
struct MemoryJournals(Arc<Mutex<Shelf>>);

#[derive(Clone, Default)]
struct Shelf {
    journals: HashMap<String, (u64, Vec<u8>)>,
    /// Writers so far: each has its number, and the last one of a journal may write.
    writers: u64,
}

impl MemoryJournals {
    /// What a process that is killed now leaves behind. It may go on for a while: nobody sees what it does.
    fn left_behind(&self) -> Self {
        Self(Arc::new(Mutex::new(self.lock().clone())))
    }

    fn writer(&self, key: &str) -> MemoryJournal {
        let mut shelf = self.lock();
        shelf.writers += 1;
        MemoryJournal { shelf: self.clone(), key: key.to_owned(), number: shelf.writers, began: false }
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap()
    }
}

/// One engine's way to journals that it shares with others.
struct Node {
    shelf: MemoryJournals,
    /// The last writer that this engine had for a journal.
    ours: Mutex<HashMap<String, u64>>,
}

impl Journals for Node {
    fn create(&self, key: &str) -> Box<dyn JournalWriter> {
        let writer = self.shelf.writer(key);
        self.ours.lock().unwrap().insert(key.to_owned(), writer.number);
        Box::new(writer)
    }

    fn reopen(&self, key: &str) -> BoxFuture<'static, Result<Option<KeptJournal>, PortError>> {
        let mut writer = self.shelf.writer(key);
        writer.began = true;
        let mut shelf = self.shelf.lock();
        let kept = shelf.journals.get_mut(key).map(|(number, bytes)| {
            *number = writer.number;
            self.ours.lock().unwrap().insert(key.to_owned(), writer.number);
            bytes.clone()
        });
        drop(shelf);
        ready(Ok(kept.map(|bytes| -> KeptJournal { (bytes, Box::new(writer)) }))).boxed()
    }

    fn is_ours(&self, key: &str) -> BoxFuture<'static, Result<bool, PortError>> {
        let ours = self.ours.lock().unwrap().get(key).copied();
        let shelf = self.shelf.lock();
        ready(Ok(shelf.journals.get(key).is_none_or(|(number, _)| Some(*number) == ours))).boxed()
    }
}

struct MemoryJournal {
    shelf: MemoryJournals,
    key: String,
    number: u64,
    began: bool,
}

impl MemoryJournal {
    /// What `change` makes of the journal's bytes, if it is still this writer's.
    fn change(&mut self, change: impl FnOnce(&mut Vec<u8>)) -> Result<(), JournalError> {
        let mut shelf = self.shelf.lock();
        if !std::mem::replace(&mut self.began, true) {
            shelf.journals.insert(self.key.clone(), (self.number, Vec::new()));
        }
        match shelf.journals.get_mut(&self.key) {
            Some((number, bytes)) if *number == self.number => change(bytes),
            // Somebody else had it, and has removed it.
            _ => return Err(JournalError::TakenOver),
        }
        Ok(())
    }
}

impl JournalWriter for MemoryJournal {
    /// In two halves, so that a kill may tear a record.
    fn append(&mut self, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), JournalError>> {
        async move {
            let (first, second) = bytes.split_at(bytes.len() / 2);
            for half in [first, second] {
                self.change(|bytes| bytes.extend(half))?;
                sleep(Duration::from_micros(100)).await;
            }
            Ok(())
        }
        .boxed()
    }

    fn truncate(&mut self, length: u64) -> BoxFuture<'_, Result<(), JournalError>> {
        ready(self.change(|bytes| bytes.truncate(length as usize))).boxed()
    }

    fn remove(&mut self) -> BoxFuture<'_, Result<(), JournalError>> {
        let mut shelf = self.shelf.lock();
        let removed = match shelf.journals.get(&self.key) {
            Some((number, _)) if *number != self.number => Err(JournalError::TakenOver),
            _ => {
                shelf.journals.remove(&self.key);
                Ok(())
            }
        };
        ready(removed).boxed()
    }

    fn keep_every(&self) -> Option<Duration> {
        Some(Duration::from_secs(5))
    }

    fn keep(&mut self) -> BoxFuture<'_, Result<(), JournalError>> {
        ready(self.change(|_| {})).boxed()
    }
}

/// What storage is told, by number. Whatever it is told twice must be the same.
#[derive(Clone, Default)]
struct SharedHistory {
    events: Arc<Mutex<BTreeMap<u64, ServerEvent>>>,
    /// Of an engine that was killed: it may go on for a while, and nobody hears it.
    dead: Arc<AtomicBool>,
}

impl SharedHistory {
    fn of_another_process(&self) -> Self {
        Self { events: Arc::clone(&self.events), dead: Arc::default() }
    }
}

impl SessionRecorder for SharedHistory {
    fn open(&self, _: &Access, _: &str, _: &str) -> Box<dyn SessionWriter> {
        Box::new(self.clone())
    }
}

impl SessionWriter for SharedHistory {
    fn write<'a>(&'a mut self, event: &'a ServerEvent) -> BoxFuture<'a, Result<(), PortError>> {
        if !self.dead.load(Ordering::Relaxed) {
            let mut events = self.events.lock().unwrap();
            let kept = events.entry(event.event).or_insert_with(|| event.clone());
            assert_eq!(kept, event, "history is told twice, and not the same");
        }
        ready(Ok(())).boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), PortError>> {
        ready(Ok(())).boxed()
    }
}

/// A process that serves.
struct Server {
    engine: Arc<Engine>,
    history: SharedHistory,
    serving: Vec<JoinHandle<()>>,
}

impl Server {
    fn start(shelf: &MemoryJournals, history: SharedHistory) -> Self {
        let transcriber = ScriptedTranscriber::new(|request| {
            let said = request.audio.iter().filter(|sample| sample.abs() > 0.05);
            let sum =
                said.fold(7u64, |sum, sample| sum.wrapping_mul(31).wrapping_add(u64::from(sample.to_bits())));
            (Duration::from_millis(50), Ok(transcript(&format!("How would you test {sum:x}?"))))
        });
        let mut setup = Setup::with(transcriber);
        setup.journals = Some(Arc::new(Node { shelf: shelf.clone(), ours: Mutex::default() }));
        setup.recorder = Arc::new(history.clone());
        Self { engine: setup.engine(), history, serving: Vec::new() }
    }

    fn kill(&mut self) {
        self.history.dead.store(true, Ordering::Relaxed);
        self.serving.drain(..).for_each(|serving| serving.abort());
    }
}

struct Client {
    /// All share their journals, and one of them serves.
    servers: Vec<Server>,
    at: usize,
    journals: MemoryJournals,
    chunks: Vec<Vec<u8>>,
    token: Option<String>,
    events: Vec<ServerEvent>,
    ended: bool,
}

struct Connection {
    sender: ClientSender,
    client: MemoryClient,
}

impl Client {
    fn new(servers: usize) -> Self {
        let journals = MemoryJournals::default();
        let history = SharedHistory::default();
        let start = |_| Server::start(&journals, history.of_another_process());
        Self {
            servers: (0..servers).map(start).collect(),
            at: 0,
            journals,
            chunks: conversation(),
            token: None,
            events: Vec::new(),
            ended: false,
        }
    }

    async fn play(&mut self, schedule: &mut Schedule) {
        let mut old = None;
        while !self.ended {
            let Some((mut connection, next_seq)) = self.connect().await else {
                sleep(Duration::from_millis(50)).await;
                continue;
            };
            if self.talk(&mut connection, next_seq as usize, schedule).await {
                return;
            }
            if self.servers.len() > 1 && schedule.once_in(2) {
                // The server that it leaves knows nothing of it, be the connection lost or still open.
                schedule.moved += 1;
                self.at = (self.at + 1) % self.servers.len();
                old = schedule.once_in(2).then_some(connection);
                sleep(Duration::from_millis(schedule.below(2) * schedule.below(8_000))).await;
            } else if schedule.kills && schedule.once_in(2) {
                schedule.killed += 1;
                self.journals = self.journals.left_behind();
                let server = &mut self.servers[self.at];
                server.kill();
                *server = Server::start(&self.journals, server.history.of_another_process());
                drop(connection);
                sleep(Duration::from_millis(schedule.below(500))).await;
            } else if schedule.once_in(3) {
                // It is still open on the server's side when the next one comes.
                schedule.taken_over += 1;
                old = Some(connection);
            } else {
                schedule.lost += 1;
                drop(connection);
                sleep(Duration::from_millis(schedule.below(3_000))).await;
            }
        }
        drop(old);
    }

    /// Opens or resumes the session; the sequence number that is wanted.
    async fn connect(&mut self) -> Option<(Connection, u32)> {
        let (receive, transmit, mut client) = memory::pair();
        let access = Principal { user: "ada".to_owned() }.into();
        let server = &mut self.servers[self.at];
        let engine = Arc::clone(&server.engine);
        let serving = pipeline::serve_in_memory(engine, access, receive, transmit, CancellationToken::new());
        server.serving.push(tokio::spawn(serving));
        let sender = client.sender();
        let last_event = self.events.last().map_or(0, |event| event.event);
        let resume = self.token.clone().map(|token| Resume { token, last_event });
        sender.send(&start(resume)).await.ok()?;
        let event = client.next().await?;
        let ServerMessage::StreamStarted { resume_token, next_seq, .. } = &event.message else {
            panic!("{event:?}")
        };
        assert_eq!(event.event, 1);
        let next_seq = next_seq[0];
        self.token = Some(resume_token.clone());
        if self.events.is_empty() {
            self.events.push(event);
        }
        Some((Connection { sender, client }, next_seq))
    }

    /// Sends from chunk `next` on until all is said, or the connection is lost; true when the end has come.
    async fn talk(&mut self, connection: &mut Connection, mut next: usize, schedule: &mut Schedule) -> bool {
        while next < self.chunks.len() {
            if schedule.once_in(150) {
                return false;
            }
            if schedule.once_in(10) {
                // Again what was sent before, perhaps long before.
                schedule.out_of_order += 1;
                let again = schedule.below(next as u64 + 1) as usize;
                self.send(connection, again).await;
            }
            let ahead = next + 1 + schedule.below(5) as usize;
            if schedule.once_in(20) && ahead < self.chunks.len() {
                // Before its turn, and again when that comes.
                schedule.out_of_order += 1;
                self.send(connection, ahead).await;
            }
            self.send(connection, next).await;
            next += 1;
            if !schedule.once_in(4) {
                sleep(Duration::from_millis(20)).await;
            }
            if !schedule.once_in(3) {
                self.read(connection);
            }
        }
        if connection.sender.send(&ClientMessage::EndStream {}).await.is_err() || schedule.once_in(3) {
            sleep(Duration::from_millis(schedule.below(200))).await;
            self.read(connection);
            return self.ended;
        }
        while let Some(event) = connection.client.next().await {
            self.take(event);
        }
        let _ = connection.sender.close().await;
        self.ended
    }

    async fn send(&self, connection: &Connection, chunk: usize) {
        // Who is not read any more notices at the next event.
        let _ = connection.sender.audio(self.chunks[chunk].clone()).await;
    }

    fn read(&mut self, connection: &mut Connection) {
        while let Some(Some(event)) = connection.client.next().now_or_never() {
            self.take(event);
        }
    }

    fn take(&mut self, event: ServerEvent) {
        let last = self.events.last().map_or(0, |event| event.event);
        if event.event > last {
            self.ended |= matches!(event.message, ServerMessage::StreamEnded { .. });
            self.events.push(event);
        } else {
            panic!("event {} came again after {last}", event.event);
        }
    }
}
