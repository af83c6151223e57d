//! Journals in Redis, 6.2 or later: bytes that are appended by one process at a time, and read by the one that takes over.
//!
//! Of a journal there are two keys: `interviewai:live:<key>` holds the bytes, `…:writer` who may append. Every change is one
//! script that looks at the writer first, so that a process that lost a journal and does not know it changes nothing. Both keys
//! run out unless they are written or kept. They are as durable as Redis is (see `jobs`), and its eviction policy must be
//! `noeviction`. Not here: what the bytes mean.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{FromRedisValue, Script, ScriptInvocation, cmd};
use tokio::time::{Instant, sleep};

use crate::cache::{PATIENCE, RedisConnection, RedisFault};

/// Journals in Redis. Clones are the same journals.
#[derive(Clone, Debug)]
pub struct RedisJournals {
    redis: RedisConnection,
    kept: Duration,
    /// Tells the writers of this process from those of others.
    process: String,
    writers: Arc<AtomicU64>,
    /// By key, the last writer of this process.
    ours: Arc<Mutex<HashMap<String, String>>>,
}

/// Why a journal cannot be read or written. Names no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalFault {
    /// Redis does not answer, or has lost the journal.
    #[error("{0}")]
    Unavailable(String),
    /// Somebody else writes it now.
    #[error("another process writes this journal")]
    TakenOver,
}

impl RedisJournals {
    /// Journals in `redis`, each kept for `kept` after it was last written or [kept](RedisJournal::keep).
    pub fn new(redis: RedisConnection, kept: Duration) -> Self {
        let process = uuid::Uuid::new_v4().simple().to_string();
        Self { redis, kept, process, writers: Arc::default(), ours: Arc::default() }
    }

    /// A new journal; it is there once something is appended.
    pub fn create(&self, key: &str) -> RedisJournal {
        self.journal(key)
    }

    /// Everything in the journal of `key`, and its writer from now on; none when there is no such journal.
    ///
    /// # Errors
    /// [`JournalFault::Unavailable`]; the journal may have been taken from its writer.
    pub async fn reopen(&self, key: &str) -> Result<Option<(Vec<u8>, RedisJournal)>, JournalFault> {
        let mut journal = self.journal(key);
        let length: u64 = journal.step(&REOPEN, |_| {}).await?;
        if length == 0 {
            return Ok(None);
        }
        journal.length = length;
        let mut bytes = Vec::with_capacity(length as usize);
        // Nobody appends meanwhile, as nobody else may.
        while (bytes.len() as u64) < length {
            let from = bytes.len() as u64;
            let range = cmd("GETRANGE").arg(&journal.keys[0]).arg(from).arg(from + READ - 1).to_owned();
            let part: Vec<u8> = self.redis.query(&range).await?;
            if part.is_empty() {
                return Err(gone());
            }
            bytes.extend(part);
        }
        Ok(Some((bytes, journal)))
    }

    /// Whether no other process has [reopened](Self::reopen) the journal that this one writes under `key`.
    ///
    /// # Errors
    /// [`JournalFault::Unavailable`].
    pub async fn is_ours(&self, key: &str) -> Result<bool, JournalFault> {
        // A journal that is not written here any more was given up, not taken.
        let Some(ours) = lock(&self.ours).get(key).cloned() else { return Ok(true) };
        let get = cmd("GET").arg(&keys(key)[1]).to_owned();
        let writer: Option<String> = self.redis.query(&get).await?;
        Ok(writer.is_none_or(|writer| writer == ours))
    }

    fn journal(&self, key: &str) -> RedisJournal {
        let number = self.writers.fetch_add(1, Ordering::Relaxed);
        let writer = format!("{}-{number}", self.process);
        lock(&self.ours).insert(key.to_owned(), writer.clone());
        RedisJournal { journals: self.clone(), key: key.to_owned(), keys: keys(key), writer, length: 0 }
    }
}

/// Writes one journal.
///
/// Every operation fails with [`JournalFault::TakenOver`] once another writer has the journal, and with
/// [`JournalFault::Unavailable`] when Redis has not answered for two and a half seconds, or has lost what it had.
#[derive(Debug)]
pub struct RedisJournal {
    journals: RedisJournals,
    key: String,
    /// Of the bytes, and of who may write them.
    keys: [String; 2],
    writer: String,
    /// Bytes that are there.
    length: u64,
}

impl RedisJournal {
    /// Appends `bytes`, once, however often it has to be tried. After an error, nothing may be appended.
    ///
    /// # Errors
    /// See [`RedisJournal`].
    pub async fn append(&mut self, bytes: &[u8]) -> Result<(), JournalFault> {
        let length = self.length;
        self.step::<()>(&APPEND, |step| _ = step.arg(length).arg(bytes)).await?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Cuts off everything after the first `length` bytes.
    ///
    /// # Errors
    /// See [`RedisJournal`].
    pub async fn truncate(&mut self, length: u64) -> Result<(), JournalFault> {
        self.step::<()>(&TRUNCATE, |step| _ = step.arg(length)).await?;
        self.length = length;
        Ok(())
    }

    /// Keeps the journal, for as long as if it were written now.
    ///
    /// # Errors
    /// See [`RedisJournal`].
    pub async fn keep(&mut self) -> Result<(), JournalFault> {
        self.step(&KEEP, |_| {}).await
    }

    /// Forgets the journal: who wrote it before is told that it is taken over, and nobody can reopen it.
    ///
    /// # Errors
    /// See [`RedisJournal`].
    pub async fn remove(&mut self) -> Result<(), JournalFault> {
        self.step(&REMOVE, |_| {}).await
    }

    async fn step<T: FromRedisValue>(
        &self,
        script: &Script,
        arguments: impl FnOnce(&mut ScriptInvocation<'_>),
    ) -> Result<T, JournalFault> {
        let mut step = script.prepare_invoke();
        for key in &self.keys {
            step.key(key);
        }
        step.arg(&self.writer).arg(self.journals.kept.as_millis() as u64);
        arguments(&mut step);
        // What was not answered in time has a second chance.
        let until = Instant::now() + PATIENCE * 3 / 2;
        loop {
            match self.journals.redis.run(&step).await {
                Err(RedisFault::Down(_)) if Instant::now() < until => sleep(PAUSE).await,
                done => return Ok(done?),
            }
        }
    }
}

impl Drop for RedisJournal {
    fn drop(&mut self) {
        let mut ours = lock(&self.journals.ours);
        if ours.get(&self.key) == Some(&self.writer) {
            ours.remove(&self.key);
        }
    }
}

impl From<RedisFault> for JournalFault {
    fn from(fault: RedisFault) -> Self {
        match fault {
            RedisFault::Refused(code) if code == "TAKENOVER" => Self::TakenOver,
            RedisFault::Refused(code) if code == "GONE" => gone(),
            RedisFault::Refused(code) => Self::Unavailable(format!("Redis says {code}")),
            RedisFault::Down(reason) => Self::Unavailable(reason),
        }
    }
}

fn gone() -> JournalFault {
    JournalFault::Unavailable("Redis has lost the journal".to_owned())
}

fn keys(key: &str) -> [String; 2] {
    [format!("{PREFIX}{key}"), format!("{PREFIX}{key}:writer")]
}

fn lock(ours: &Mutex<HashMap<String, String>>) -> MutexGuard<'_, HashMap<String, String>> {
    ours.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fails unless ARGV[1] is the writer. KEYS: bytes, writer. ARGV[2]: milliseconds to live.
macro_rules! by_its_writer {
    ($script:literal) => {
        LazyLock::new(|| {
            Script::new(concat!(
                r"
                local writer = redis.call('GET', KEYS[2])
                if not writer then return redis.error_reply('GONE it is not there') end
                if writer ~= ARGV[1] then return redis.error_reply('TAKENOVER by another') end
                ",
                $script,
                r"
                redis.call('PEXPIRE', KEYS[1], ARGV[2])
                redis.call('PEXPIRE', KEYS[2], ARGV[2])
                return 1"
            ))
        })
    };
}

/// The first bytes make the journal. ARGV[3]: bytes before them. ARGV[4]: what is appended, unless an earlier call did that
/// whose answer was lost.
static APPEND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local writer = redis.call('GET', KEYS[2])
        local before, length = tonumber(ARGV[3]), redis.call('STRLEN', KEYS[1])
        if writer and writer ~= ARGV[1] then return redis.error_reply('TAKENOVER by another') end
        if not writer and before > 0 then return redis.error_reply('GONE it is not there') end
        if length == before then
            redis.call('APPEND', KEYS[1], ARGV[4])
        elseif length ~= before + #ARGV[4] then
            return redis.error_reply('GONE it has another length')
        end
        redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
        redis.call('PEXPIRE', KEYS[1], ARGV[2])
        return 1",
    )
});

/// ARGV[3]: bytes that stay.
static TRUNCATE: LazyLock<Script> = by_its_writer!(
    r"
    if redis.call('STRLEN', KEYS[1]) > tonumber(ARGV[3]) then
        local rest = ''
        if tonumber(ARGV[3]) > 0 then rest = redis.call('GETRANGE', KEYS[1], 0, ARGV[3] - 1) end
        redis.call('SET', KEYS[1], rest)
    end"
);

static KEEP: LazyLock<Script> = by_its_writer!("");

/// Its writer stays for a while: whoever had it before learns that it is not theirs.
static REMOVE: LazyLock<Script> = by_its_writer!("redis.call('UNLINK', KEYS[1])");

/// ARGV[1]: its writer from now on, if there is a journal. How long it is.
static REOPEN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local length = redis.call('STRLEN', KEYS[1])
        if length == 0 then return 0 end
        redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
        redis.call('PEXPIRE', KEYS[1], ARGV[2])
        return length",
    )
});

const PREFIX: &str = "interviewai:live:";
/// Bytes that are read at once: other commands are answered in between.
const READ: u64 = 1 << 20;
/// Before what was not answered is tried again.
const PAUSE: Duration = Duration::from_millis(50);
