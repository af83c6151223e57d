//! Hears what is published in Redis, for all subscribers of this process, over one connection that is kept up.
//!
//! Not here: publishing.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::StreamExt as _;
use redis::{Msg, Value, aio::PubSub};
use tokio::{sync::watch, time};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::{RedisConnection, RedisFault, TOPICS};
use crate::cache::{CacheError, Heard, PATIENCE, Subscription, subscription::Topics};

/// Subscribers of this process. Clones are the same ones; with the last clone the connection goes.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    redis: RedisConnection,
    topics: Arc<Topics>,
    /// Whether the connection hears.
    hears: watch::Sender<bool>,
    task: OnceLock<AbortOnDropHandle<()>>,
}

impl Listener {
    pub(super) fn new(redis: RedisConnection) -> Self {
        let hears = watch::Sender::new(false);
        Self { shared: Arc::new(Shared { redis, topics: Arc::default(), hears, task: OnceLock::new() }) }
    }

    /// Returns when the server has confirmed: what is published from then on is heard.
    pub(super) async fn subscribe(&self, topic: &str) -> Result<Subscription, CacheError> {
        let Shared { redis, topics, hears, task } = &*self.shared;
        let subscription = topics.subscribe(topic)?;
        task.get_or_init(|| {
            let listen = listen(redis.clone(), Arc::clone(topics), hears.clone());
            AbortOnDropHandle::new(tokio::spawn(listen))
        });
        match time::timeout(PATIENCE, hears.subscribe().wait_for(|hears| *hears)).await {
            Ok(Ok(_)) => Ok(subscription),
            _ => Err(CacheError::Unavailable("what is published cannot be heard now".to_owned())),
        }
    }
}

async fn listen(redis: RedisConnection, topics: Arc<Topics>, hears: watch::Sender<bool>) {
    let mut pause = FIRST_PAUSE;
    let mut again = false;
    loop {
        match connect(&redis).await {
            Ok(connection) => {
                pause = FIRST_PAUSE;
                info!("hears what other processes publish");
                // Nobody was promised anything before the first connection.
                if again {
                    topics.tell_all_missed();
                }
                again = true;
                hears.send_replace(true);
                hear(connection, &topics).await;
                hears.send_replace(false);
                warn!("the connection for published messages broke");
            }
            Err(fault) => warn!(?fault, "cannot hear what other processes publish; trying again"),
        }
        time::sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

async fn connect(redis: &RedisConnection) -> Result<PubSub, RedisFault> {
    let mut connection = redis.pubsub().await?;
    match time::timeout(PATIENCE, connection.psubscribe(format!("{TOPICS}*"))).await {
        Ok(Ok(())) => Ok(connection),
        _ => Err(RedisFault::Down("the subscription is not confirmed".to_owned())),
    }
}

/// Until the connection breaks, or a ping is not answered.
async fn hear(connection: PubSub, topics: &Topics) {
    let (mut questions, mut messages) = connection.split();
    let mut next_ping = time::interval_at(time::Instant::now() + PING_EVERY, PING_EVERY);
    loop {
        tokio::select! {
            message = messages.next() => match message {
                Some(message) => tell(topics, &message),
                None => return,
            },
            _ = next_ping.tick() => {
                // Messages wait for the pong, a second at most: they queue inside the connection.
                match time::timeout(PATIENCE, questions.ping::<Value>()).await {
                    Ok(Ok(_)) => {}
                    _ => return,
                }
            }
        }
    }
}

fn tell(topics: &Topics, message: &Msg) {
    if let Some(topic) = message.get_channel_name().strip_prefix(TOPICS) {
        topics.tell(topic, Heard::Message(message.get_payload_bytes().to_vec().into()));
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);
const PING_EVERY: Duration = Duration::from_secs(5);
