//! Write-ahead of one session: what comes in is written before it is acknowledged, and what goes out before it is sent.
//!
//! A record survives the process once it is written; nothing waits for a disk. What cannot be written in time costs
//! durability, never the conversation. Not here: where journals lie (`ports`), reading one back (`recovering`).

use std::{
    collections::VecDeque,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use codecs::SampleIndex;
use protocol::{ConfigUpdate, FrameHeader, StartStream};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::task::TaskTracker;

use crate::{
    ports::{Access, JournalError, JournalWriter, Principal},
    turn_end::TurnEnd,
};

/// One thing that happened, in the order in which it did.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Record<'a> {
    /// A chunk of audio with its header.
    Audio(&'a [u8]),
    /// A control message.
    Control(&'a [u8]),
    /// `update_config` that came with a connection.
    Config(&'a [u8]),
    /// An event for the client.
    Event(&'a [u8]),
    /// A listener was told what the words before a pause mean.
    Hint { channel: u8, speech_end: SampleIndex, hint: TurnEnd },
    /// A gap in this stream is not waited for any longer.
    GapGivenUp { stream: u8 },
    /// More was heard of what this stream had kept.
    Drained { stream: u8 },
    /// A turn was noise, or could not be written down: it has no text.
    NoText { turn: u64 },
}

/// What a session begins with: the first record.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Beginning {
    version: u32,
    pub(super) user: String,
    login: Option<String>,
    only_session: Option<String>,
    interview: Option<String>,
    pub(super) session_id: String,
    /// What history calls it.
    pub(super) run: String,
    pub(super) start: StartStream,
    /// As they were: what was heard depends on them.
    pub(super) preferences: ConfigUpdate,
}

impl Beginning {
    pub(super) fn new(
        access: &Access,
        session_id: &str,
        run: &str,
        start: &StartStream,
        preferences: &ConfigUpdate,
    ) -> Self {
        Self {
            version: VERSION,
            user: access.principal.user.clone(),
            login: access.login.clone(),
            only_session: access.session_id.clone(),
            interview: access.interview.clone(),
            session_id: session_id.to_owned(),
            run: run.to_owned(),
            start: start.clone(),
            preferences: preferences.clone(),
        }
    }

    /// Who had been let in.
    pub(super) fn access(&self) -> Access {
        Access {
            principal: Principal { user: self.user.clone() },
            login: self.login.clone(),
            session_id: self.only_session.clone(),
            interview: self.interview.clone(),
        }
    }
}

/// The beginning of a journal, and its records one by one. A last record that is only there in part was never written.
pub(super) fn read(journal: &[u8]) -> Option<(Beginning, Records<'_>)> {
    let mut records = Records(journal);
    let (BEGINNING, json) = records.next_raw()? else { return None };
    let beginning: Beginning = serde_json::from_slice(json).ok()?;
    (beginning.version == VERSION).then_some((beginning, records))
}

/// The records of a journal.
pub(super) struct Records<'a>(&'a [u8]);

impl Records<'_> {
    /// Bytes that were not read: once there is no further record, those of a torn one.
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }
}

impl<'a> Records<'a> {
    fn next_raw(&mut self) -> Option<(u8, &'a [u8])> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length) as usize;
        let record = rest.get(..length)?;
        self.0 = &rest[length..];
        record.split_first().map(|(kind, body)| (*kind, body))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let (kind, body) = self.next_raw()?;
        Some(match (kind, body) {
            (AUDIO, bytes) => Record::Audio(bytes),
            (CONTROL, json) => Record::Control(json),
            (CONFIG, json) => Record::Config(json),
            (EVENT, json) => Record::Event(json),
            (HINT, [channel, hint, end @ ..]) => Record::Hint {
                channel: *channel,
                speech_end: SampleIndex(u64::from_be_bytes(end.try_into().ok()?)),
                hint: *HINTS.get(usize::from(*hint))?,
            },
            (GAP, [stream]) => Record::GapGivenUp { stream: *stream },
            (DRAINED, [stream]) => Record::Drained { stream: *stream },
            (NO_TEXT, turn) => Record::NoText { turn: u64::from_be_bytes(turn.try_into().ok()?) },
            _ => return None,
        })
    }
}

/// The journal of a session that is being served.
pub(super) struct Journal {
    tell: mpsc::Sender<Vec<u8>>,
    /// Nobody needs it any more; the writer looks once it has been told everything.
    over: Arc<AtomicBool>,
    written: watch::Receiver<Written>,
    /// Not yet handed to the writer.
    batch: Vec<u8>,
    /// Bytes so far, the batch's included.
    length: u64,
    /// When what is not written yet was appended, oldest first.
    waiting: VecDeque<(u64, Instant)>,
}

/// How far the writer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    UpTo(u64),
    Failed,
    Removed,
    TakenOver,
}

/// A journal that was given up, and may not be gone yet: somebody may go on with the session from it.
pub(super) struct GivenUp(watch::Receiver<Written>);

impl GivenUp {
    /// Whether another process goes on with the session.
    pub(super) fn is_taken_over(&self) -> bool {
        *self.0.borrow() == Written::TakenOver
    }

    /// Whether it is being removed still.
    pub(super) fn is_there(&self) -> bool {
        *self.0.borrow() != Written::Removed && self.0.has_changed().is_ok()
    }
}

/// What became of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Kept,
    /// The writer has failed, or is too far behind.
    Lost,
    /// Another process writes it, and goes on with the session.
    TakenOver,
}

impl Journal {
    /// Starts the writing task among `writers`, after `length` bytes that are there already.
    pub(super) fn start(mut writer: Box<dyn JournalWriter>, writers: &TaskTracker, length: u64) -> Self {
        let (tell, mut told) = mpsc::channel::<Vec<u8>>(CAPACITY);
        let (progress, written) = watch::channel(Written::UpTo(length));
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        writers.spawn(async move {
            let mut length = length;
            loop {
                let keep_every = writer.keep_every().unwrap_or(Duration::MAX);
                let done = match timeout(keep_every, told.recv()).await {
                    Ok(None) => break,
                    Ok(Some(_)) if is_over.load(Ordering::Acquire) => break,
                    Ok(Some(bytes)) => {
                        length += bytes.len() as u64;
                        writer.append(bytes).await
                    }
                    // What cannot be asked now is asked again, or by the next record.
                    Err(_) => writer.keep().await.or_else(|error| match error {
                        JournalError::Failed(_) => Ok(()),
                        JournalError::TakenOver => Err(error),
                    }),
                };
                match done {
                    Ok(()) => drop(progress.send_replace(Written::UpTo(length))),
                    Err(JournalError::TakenOver) => {
                        progress.send_replace(Written::TakenOver);
                        return;
                    }
                    Err(error @ JournalError::Failed(_)) => {
                        metrics::counter!("journal_failures_total").increment(1);
                        tracing::warn!(%error, "a session's journal cannot be written");
                        progress.send_replace(Written::Failed);
                        is_over.store(true, Ordering::Release);
                        break;
                    }
                }
            }
            if is_over.load(Ordering::Acquire) {
                match remove(&mut *writer).await {
                    Some(done) => drop(progress.send_replace(done)),
                    // No reason for a server that leaves to stay.
                    None => drop(tokio::spawn(remove_at_last(writer, progress))),
                }
            }
        });
        Self { tell, over, written, batch: Vec::new(), length, waiting: VecDeque::new() }
    }

    pub(super) fn begin(&mut self, beginning: &Beginning) {
        let json = serde_json::to_vec(beginning).expect("it is plain data");
        self.write(BEGINNING, &[&json]);
    }

    /// Appends `record`; the position that the journal must be written to for it.
    pub(super) fn append(&mut self, record: &Record<'_>) -> u64 {
        match record {
            Record::Audio(bytes) => self.write(AUDIO, &[bytes]),
            Record::Control(json) => self.write(CONTROL, &[json]),
            Record::Config(json) => self.write(CONFIG, &[json]),
            Record::Event(json) => self.write(EVENT, &[json]),
            Record::Hint { channel, speech_end, hint } => {
                let hint = HINTS.iter().position(|known| known == hint).unwrap_or_default() as u8;
                self.write(HINT, &[&[*channel, hint], &speech_end.0.to_be_bytes()]);
            }
            Record::GapGivenUp { stream } => self.write(GAP, &[&[*stream]]),
            Record::Drained { stream } => self.write(DRAINED, &[&[*stream]]),
            Record::NoText { turn } => self.write(NO_TEXT, &[&turn.to_be_bytes()]),
        }
        self.length
    }

    /// Appends a chunk of audio, as [`Record::Audio`] is read back, with one copy of it.
    pub(super) fn append_audio(&mut self, header: FrameHeader, audio: &[u8]) {
        self.write(AUDIO, &[&header.to_bytes(), audio]);
    }

    fn write(&mut self, kind: u8, parts: &[&[u8]]) {
        let length = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
        let before = self.batch.len();
        self.batch.extend_from_slice(&(length as u32).to_be_bytes());
        self.batch.push(kind);
        parts.iter().for_each(|part| self.batch.extend_from_slice(part));
        self.length += (self.batch.len() - before) as u64;
    }

    /// Hands what was appended to the writer.
    pub(super) fn flush(&mut self) -> State {
        let written = match *self.written.borrow() {
            Written::UpTo(written) => written,
            Written::Failed | Written::Removed => return State::Lost,
            Written::TakenOver => return State::TakenOver,
        };
        while self.waiting.front().is_some_and(|(position, _)| *position <= written) {
            self.waiting.pop_front();
        }
        let late = self.waiting.front().is_some_and(|(_, since)| since.elapsed() > PATIENCE);
        if late || self.length - written > MAX_BEHIND || self.length > MAX_LENGTH {
            return State::Lost;
        }
        if !self.batch.is_empty()
            && let Ok(permit) = self.tell.try_reserve()
        {
            self.waiting.push_back((self.length, Instant::now()));
            permit.send(std::mem::take(&mut self.batch));
        }
        State::Kept
    }

    /// How far it is written.
    pub(super) fn written(&self) -> u64 {
        match *self.written.borrow() {
            Written::UpTo(written) => written,
            // Nothing waits for it any more.
            Written::Failed | Written::Removed => u64::MAX,
            // Nothing goes out any more.
            Written::TakenOver => 0,
        }
    }

    /// Completes when it is written further. Cancel-safe.
    pub(super) async fn progress(&mut self) {
        if self.written.changed().await.is_err() {
            pending::<()>().await;
        }
    }

    /// The session is over: nobody needs it any more.
    pub(super) fn remove(self) -> GivenUp {
        self.over.store(true, Ordering::Release);
        GivenUp(self.written)
    }

    /// Where the next record begins.
    pub(super) fn position(&self) -> u64 {
        self.length
    }
}

/// None when it cannot be said what became of it.
async fn remove(writer: &mut dyn JournalWriter) -> Option<Written> {
    match writer.remove().await {
        Ok(()) => Some(Written::Removed),
        Err(JournalError::TakenOver) => Some(Written::TakenOver),
        Err(JournalError::Failed(_)) => None,
    }
}

/// Removes the journal, as often as it takes: from what is left of it somebody could go on with the session.
async fn remove_at_last(mut writer: Box<dyn JournalWriter>, progress: watch::Sender<Written>) {
    let until = Instant::now() + REMOVAL;
    while Instant::now() < until {
        sleep(REMOVE_AGAIN).await;
        if let Some(done) = remove(&mut *writer).await {
            progress.send_replace(done);
            return;
        }
    }
    tracing::warn!("a journal that was given up cannot be removed");
}

/// As long as a journal in Redis is kept, about.
const REMOVAL: Duration = Duration::from_secs(180);
const REMOVE_AGAIN: Duration = Duration::from_secs(1);
const VERSION: u32 = 1;
const BEGINNING: u8 = 0;
const AUDIO: u8 = 1;
const CONTROL: u8 = 2;
const EVENT: u8 = 3;
const HINT: u8 = 4;
const GAP: u8 = 5;
const DRAINED: u8 = 6;
const NO_TEXT: u8 = 7;
const CONFIG: u8 = 8;
const HINTS: [TurnEnd; 4] = [TurnEnd::Finished, TurnEnd::Open, TurnEnd::Unfinished, TurnEnd::Unknown];
/// Batches that wait for the writer; what comes meanwhile makes the next one larger.
const CAPACITY: usize = 16;
/// Longest wait of an event for its record. Storage that stands still must not hold up the conversation.
const PATIENCE: Duration = Duration::from_secs(1);
/// As much may wait: several seconds of the fattest audio.
const MAX_BEHIND: u64 = 4 << 20;
/// Two hours of 16 kHz PCM; four, the longest session, of everything compressed. It is read into memory to go on.
const MAX_LENGTH: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use futures_util::future::{BoxFuture, FutureExt as _, ready};
    use protocol::{AudioFormat, Codec, Role};

    use super::*;
    use crate::ports::PortError;

    fn beginning() -> Beginning {
        let audio = AudioFormat::mono(Codec::Opus, Some(48_000), Role::Mixed);
        let start = StartStream { session_id: None, audio, config: None, resume: None };
        let access = Access { login: Some("phone".to_owned()), ..Principal::local().into() };
        Beginning::new(&access, "s", "run", &start, &ConfigUpdate::default())
    }

    struct Kept(std::sync::Arc<std::sync::Mutex<Vec<u8>>>, bool);

    impl JournalWriter for Kept {
        fn append(&mut self, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), JournalError>> {
            self.0.lock().unwrap().extend(bytes);
            ready(if self.1 { Err(PortError("full".to_owned()).into()) } else { Ok(()) }).boxed()
        }

        fn truncate(&mut self, length: u64) -> BoxFuture<'_, Result<(), JournalError>> {
            self.0.lock().unwrap().truncate(length as usize);
            ready(Ok(())).boxed()
        }

        fn remove(&mut self) -> BoxFuture<'_, Result<(), JournalError>> {
            self.0.lock().unwrap().clear();
            ready(Ok(())).boxed()
        }
    }

    #[tokio::test]
    async fn what_is_written_is_read_back_and_a_torn_end_is_left_out() {
        let kept = std::sync::Arc::default();
        let mut journal =
            Journal::start(Box::new(Kept(std::sync::Arc::clone(&kept), false)), &TaskTracker::new(), 0);
        journal.begin(&beginning());
        let records = [
            Record::Audio(b"12345678abc"),
            Record::Control(b"{}"),
            Record::Event(b"{\"event\":1}"),
            Record::Hint { channel: 1, speech_end: SampleIndex(77), hint: TurnEnd::Unfinished },
            Record::GapGivenUp { stream: 2 },
            Record::Drained { stream: 0 },
            Record::NoText { turn: 9 },
        ];
        let positions: Vec<_> = records.iter().map(|record| journal.append(record)).collect();
        assert!(journal.flush() == State::Kept && journal.written() < positions[6]);
        while journal.written() < positions[6] {
            journal.progress().await;
        }
        let bytes = kept.lock().unwrap().clone();
        let check = |bytes: &[u8], expected: &[Record<'_>]| {
            let (begun, read) = read(bytes).unwrap();
            assert_eq!(begun.access(), beginning().access());
            assert_eq!(read.collect::<Vec<_>>(), expected);
        };
        check(&bytes, &records);
        for torn in positions[5] as usize..positions[6] as usize {
            check(&bytes[..torn], &records[..6]);
        }
        assert!(read(&bytes[..10]).is_none());
        let given_up = journal.remove();
        tokio::task::yield_now().await;
        assert!(kept.lock().unwrap().is_empty() && !given_up.is_there() && !given_up.is_taken_over());
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_fails_holds_nothing_up() {
        let mut journal =
            Journal::start(Box::new(Kept(std::sync::Arc::default(), true)), &TaskTracker::new(), 0);
        let position = journal.append(&Record::GapGivenUp { stream: 0 });
        assert_eq!(journal.flush(), State::Kept);
        journal.progress().await;
        assert!(journal.written() >= position && journal.flush() == State::Lost);
    }
}
