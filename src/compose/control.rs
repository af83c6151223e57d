//! Builds what the control API is made of: stores, queues, mail and keys, embedded or where the settings say.
//!
//! Nothing is waited for: a store that is down joins when it can, and what needs it says so. Not here: the routes.

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use control_api::{
    ApiSettings, ApiState, Readiness, SCHEMAS,
    auth::{AccessTokens, KeyFolder, Passwords},
    blobs::{self, Blobs},
    cache::{Cache, LocalCache, RedisCache, RedisConnection},
    jobs::{JobSettings, Jobs, RedisJobs, StoredJobs},
    journals::RedisJournals,
    mail::{FolderMailer, Mailer, SmtpMailer, SmtpSettings},
    storage::{MongoSettings, MongoStore, OpeningStore, SqliteStore, Store, StoreStatus},
};
use engine::ports::{Journals, folder::FolderJournals};
use futures_util::future::{BoxFuture, FutureExt as _};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{sync::watch, time::sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::{Error, bridge, settings::Settings};

/// What the control API is made of, and what keeps it going.
pub(crate) struct Control {
    /// Without what the engine adds to its readiness.
    pub(crate) state: ApiState,
    /// Of its stores.
    pub(crate) readiness: Vec<Arc<dyn Readiness>>,
    /// Of live sessions.
    pub(crate) journals: Arc<dyn Journals>,
    /// Dropped, these stop.
    pub(crate) keepers: Vec<AbortOnDropHandle<()>>,
}

/// Opens everything that `settings` name, in `dir` what they do not.
pub(crate) fn build(settings: &Settings, dir: &Path, metrics: PrometheusHandle) -> Result<Control, Error> {
    // What lies here is for nobody else on this machine.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| format!("storage.dir {}: {error}; name another folder", dir.display()))?;
    let (store, status) = store(settings, dir);
    let mut readiness: Vec<Arc<dyn Readiness>> = vec![Arc::new(StoreReadiness(status))];
    let mut keepers = Vec::new();
    let mut watch = |(dependency, keeper)| {
        readiness.push(dependency);
        keepers.push(keeper);
    };

    let trying = JobSettings { tries: JOB_TRIES, ..JobSettings::default() };
    let redis = settings.storage.redis_url.as_ref().map(RedisConnection::new).transpose()?;
    let (cache, jobs): (Arc<dyn Cache>, Arc<dyn Jobs>) = match redis.clone() {
        None => {
            let cache = LocalCache::new(CACHE_ENTRIES, CACHE_BYTES);
            (Arc::new(cache), Arc::new(StoredJobs::new(Arc::clone(&store), trying)))
        }
        Some(redis) => {
            let looked_at = redis.clone();
            watch(Watched::start("redis", true, LOOK, move || {
                let redis = looked_at.clone();
                async move { redis.ping().await.err().map(|error| error.to_string()) }.boxed()
            }));
            let cache = RedisCache::new(redis.clone());
            (Arc::new(cache), Arc::new(RedisJobs::new(redis, trying)))
        }
    };

    let place = match &settings.storage.s3 {
        Some(s3) => blobs::s3(s3)?,
        None => blobs::folder(&dir.join("files"))?,
    };
    let blobs = Blobs::new(place, MAX_BLOB_BYTES);
    if settings.storage.s3.is_some() {
        let looked_at = blobs.clone();
        // Files are put and erased by jobs, which wait.
        watch(Watched::start("files", false, FAR_LOOK, move || {
            let blobs = looked_at.clone();
            async move { blobs.check().await.err().map(|error| error.to_string()) }.boxed()
        }));
    }
    let mailer: Arc<dyn Mailer> = match &settings.accounts.smtp_url {
        Some(url) => {
            let mailer = SmtpMailer::new(&SmtpSettings::new(url.clone(), &settings.accounts.mail_from))?;
            let looked_at = mailer.clone();
            // Mails wait in a queue.
            watch(Watched::start("mail", false, FAR_LOOK, move || {
                let mailer = looked_at.clone();
                async move { mailer.check().await.err().map(|error| error.to_string()) }.boxed()
            }));
            Arc::new(mailer)
        }
        None => Arc::new(FolderMailer::new(dir.join("mail"), &settings.accounts.mail_from)?),
    };
    let kept = settings.limits.resume_within;
    let journals: Arc<dyn Journals> = match redis {
        Some(redis) => Arc::new(bridge::SharedJournals(RedisJournals::new(redis, kept + JOURNAL_GRACE))),
        None => {
            let live = dir.join("live");
            let journals = FolderJournals::new(live.clone())
                .map_err(|error| format!("{}: {error}; look at its rights", live.display()))?;
            keepers.push(AbortOnDropHandle::new(tokio::spawn(sweep(journals.clone(), kept))));
            Arc::new(journals)
        }
    };
    let keys = KeyFolder::open(settings.keys_dir())?;
    let tokens = Arc::new(AccessTokens::new(&settings.accounts.issuer, AUDIENCE, keys.keys()?));
    keepers.push(AbortOnDropHandle::new(tokio::spawn(follow_keys(keys, Arc::clone(&tokens)))));

    let state = ApiState {
        about: bridge::ABOUT,
        readiness: Arc::new([]),
        metrics: Arc::new(move || metrics.render()),
        store,
        cache,
        jobs,
        blobs,
        mailer,
        tokens,
        passwords: Passwords::default(),
        settings: Arc::new(ApiSettings {
            public_url: settings.accounts.public_url.clone(),
            allowed_origins: settings.api.allowed_origins.clone(),
            trusted_proxies: settings.api.trusted_proxies.clone(),
            google: settings.accounts.google.clone(),
            limits: settings.api.limits.clone(),
        }),
    };
    Ok(Control { state, readiness, journals, keepers })
}

fn store(settings: &Settings, dir: &Path) -> (Arc<dyn Store>, watch::Receiver<StoreStatus>) {
    let mongodb = settings.storage.mongodb_url.clone().map(MongoSettings::new);
    let file = dir.join("interviewai.db");
    let open = move || {
        let (mongodb, file) = (mongodb.clone(), file.clone());
        async move {
            Ok(match mongodb {
                Some(mongodb) => Arc::new(MongoStore::connect(&mongodb).await?) as Arc<dyn Store>,
                None => Arc::new(SqliteStore::open(file).await?),
            })
        }
        .boxed()
    };
    let store = OpeningStore::new(open, SCHEMAS, &[]);
    let status = store.status();
    (Arc::new(store), status)
}

struct StoreReadiness(watch::Receiver<StoreStatus>);

impl Readiness for StoreReadiness {
    fn name(&self) -> &str {
        "store"
    }

    fn check(&self) -> Result<(), String> {
        match &*self.0.borrow() {
            StoreStatus::Ready => Ok(()),
            StoreStatus::Opening => Err("it is being opened".to_owned()),
            StoreStatus::Away(error) | StoreStatus::Failed(error) => Err(error.to_string()),
        }
    }
}

/// Looks at a server again and again, for `/health/ready`.
struct Watched {
    name: &'static str,
    required: bool,
    /// Why it cannot be used, as last seen.
    away: Mutex<Option<String>>,
}

impl Readiness for Watched {
    fn name(&self) -> &str {
        self.name
    }

    fn check(&self) -> Result<(), String> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    fn required(&self) -> bool {
        self.required
    }
}

impl Watched {
    /// Calls `look`, which says why the server cannot be used, every `pause`, as long as the task lives.
    fn start(
        name: &'static str,
        required: bool,
        pause: Duration,
        look: impl Fn() -> BoxFuture<'static, Option<String>> + Send + 'static,
    ) -> (Arc<dyn Readiness>, AbortOnDropHandle<()>) {
        let watched = Arc::new(Self { name, required, away: Mutex::new(None) });
        let seen = Arc::clone(&watched);
        let task = tokio::spawn(async move {
            loop {
                let away = look().await;
                seen.see(away);
                sleep(pause).await;
            }
        });
        (watched, AbortOnDropHandle::new(task))
    }

    fn see(&self, now: Option<String>) {
        let mut before = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*before, &now) {
            (None, Some(error)) => tracing::warn!(server = self.name, error, "a server is away"),
            (Some(_), None) => tracing::info!(server = self.name, "a server is back"),
            _ => {}
        }
        *before = now;
    }
}

/// Removes what sessions left behind whose clients did not come back after the process was killed.
async fn sweep(journals: FolderJournals, kept: Duration) {
    loop {
        let swept = journals.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || swept.sweep(kept)).await {
            tracing::warn!(%error, "journals of sessions that nobody came back for cannot be removed");
        }
        sleep(SWEEP).await;
    }
}

/// Takes over new keys, so that they can be changed while the server runs.
async fn follow_keys(keys: KeyFolder, tokens: Arc<AccessTokens>) {
    loop {
        sleep(KEYS_LOOK).await;
        match keys.keys() {
            Ok(keys) => tokens.replace_keys(keys),
            Err(error) => {
                tracing::warn!(%error, "the folder of signing keys cannot be read; those read before are used")
            }
        }
    }
}

/// `aud` of access tokens.
const AUDIENCE: &str = "interviewai-api";
/// Over 10 to 20 minutes: a mail or an erasure outlives a restart of what it needs.
const JOB_TRIES: u32 = 8;
const CACHE_ENTRIES: u64 = 1_000_000;
const CACHE_BYTES: u64 = 64 << 20;
const MAX_BLOB_BYTES: usize = 32 << 20;
const LOOK: Duration = Duration::from_secs(5);
/// Of servers that are asked over a new connection each time, and that may be another's.
const FAR_LOOK: Duration = Duration::from_secs(30);
/// A journal in Redis outlives the time for coming back by this, and so the slowest client.
const JOURNAL_GRACE: Duration = Duration::from_secs(60);
const SWEEP: Duration = Duration::from_secs(30);
const KEYS_LOOK: Duration = Duration::from_secs(60);
