//! One connection to Redis that all share, made when it is needed and made anew when it broke.
//!
//! redis-rs' own `ConnectionManager` holds on to a failed attempt: the first call after an outage fails though the server is
//! back, and after a refusal (server loading, too many clients) every call does. Not here: commands.

use std::{sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo as _, ProtocolVersion,
    RedisError, ScriptInvocation,
    aio::{MultiplexedConnection, PubSub},
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{sync::Mutex, time};

use crate::cache::{CacheError, PATIENCE};

/// A Redis server. Clones share its connection.
#[derive(Clone)]
pub struct RedisConnection {
    client: Client,
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    connection: Option<MultiplexedConnection>,
    /// How many were made: says which one a failed call used.
    made: u64,
}

/// Why a command failed. Names no key and no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RedisFault {
    /// No answer, or one that says "not now".
    Down(String),
    /// Redis answered with this error code.
    Refused(String),
}

impl RedisConnection {
    /// The server at `url`, such as `redis://:password@host:6379/0` or `rediss://…` with TLS. Connects to nothing yet.
    ///
    /// # Errors
    /// [`CacheError::Invalid`] for a URL that is none; it is not shown, as it may hold a password.
    pub fn new(url: &SecretString) -> Result<Self, CacheError> {
        const BAD: CacheError = CacheError::Invalid("the URL of Redis is not redis://… or rediss://…");
        let info = url.expose_secret().into_connection_info().map_err(|_| BAD)?;
        let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
        let info = info.set_redis_settings(redis).set_tcp_settings(tcp());
        Ok(Self { client: Client::open(info).map_err(|_| BAD)?, held: Arc::default() })
    }

    /// Asks the server whether it is there.
    ///
    /// # Errors
    /// [`CacheError::Unavailable`].
    pub async fn ping(&self) -> Result<(), CacheError> {
        Ok(self.query(&redis::cmd("PING")).await?)
    }

    pub(crate) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisFault> {
        self.with(async |mut connection| command.query_async(&mut connection).await).await
    }

    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, RedisFault> {
        self.with(async |mut connection| script.invoke_async(&mut connection).await).await
    }

    /// A connection of its own, to hear what is published.
    pub(super) async fn pubsub(&self) -> Result<PubSub, RedisFault> {
        match time::timeout(PATIENCE, self.client.get_async_pubsub()).await {
            Ok(connected) => connected.map_err(fault),
            Err(_) => Err(no_answer()),
        }
    }

    async fn with<T>(
        &self,
        call: impl AsyncFnOnce(MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, RedisFault> {
        let work = async {
            let (connection, number) = self.connection().await.map_err(fault)?;
            match call(connection).await {
                Ok(out) => Ok(out),
                Err(error) => {
                    // READONLY: it is a replica now; the name may lead to the new primary.
                    let broken = error.is_io_error() && !error.is_timeout();
                    if broken || error.code() == Some("READONLY") {
                        self.forget(number).await;
                    }
                    Err(fault(error))
                }
            }
        };
        time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(no_answer()))
    }

    /// One caller connects, the others wait for that; a caller that gives up lets the next one try.
    async fn connection(&self) -> Result<(MultiplexedConnection, u64), RedisError> {
        let mut held = self.held.lock().await;
        if let Some(connection) = &held.connection {
            return Ok((connection.clone(), held.made));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        held.connection = Some(connection.clone());
        held.made += 1;
        Ok((connection, held.made))
    }

    async fn forget(&self, number: u64) {
        let mut held = self.held.lock().await;
        if held.made == number {
            held.connection = None;
        }
    }
}

impl std::fmt::Debug for RedisConnection {
    /// Without the address, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisConnection").finish_non_exhaustive()
    }
}

impl From<RedisFault> for CacheError {
    fn from(fault: RedisFault) -> Self {
        match fault {
            RedisFault::Down(reason) => Self::Unavailable(reason),
            RedisFault::Refused(code) => Self::Unavailable(format!("Redis says {code}")),
        }
    }
}

/// The kind of the error only: its text may repeat what was sent.
fn fault(error: RedisError) -> RedisFault {
    match error.code() {
        // It is there, and cannot for now.
        Some("LOADING" | "TRYAGAIN" | "MASTERDOWN" | "READONLY") => {
            RedisFault::Down("Redis starts, or is a replica".to_owned())
        }
        Some(code) if !error.is_io_error() => RedisFault::Refused(code.to_owned()),
        _ if error.kind() == ErrorKind::Io && error.is_timeout() => no_answer(),
        _ => RedisFault::Down(format!("no connection to Redis, or it broke ({})", error.category())),
    }
}

fn no_answer() -> RedisFault {
    RedisFault::Down(format!("Redis does not answer within {} ms", PATIENCE.as_millis()))
}

/// A peer that vanished is noticed in seconds; the kernel by itself would take a quarter of an hour.
fn tcp() -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(UNACKNOWLEDGED);
    settings
}

const KEEPALIVE: Duration = Duration::from_secs(5);
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);
