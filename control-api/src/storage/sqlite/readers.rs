//! Connections that read, beside the writer and each other. They see what is committed.
//!
//! Not here: what is read.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::Connection;
use tokio::{sync::Semaphore, task, time};

use super::{connect, fault};
use crate::storage::{PATIENCE, StoreError};

pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    /// As many as there are connections; who waits for one waits in line.
    free: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn open(file: &Path) -> Result<Self, StoreError> {
        let open = || {
            let connection = connect(file)?;
            connection.pragma_update(None, "query_only", "on")?;
            Ok(connection)
        };
        let idle = (0..READERS).map(|_| open()).collect::<Result<_, _>>().map_err(fault::of_start)?;
        Ok(Self { idle: Arc::new(Mutex::new(idle)), free: Arc::new(Semaphore::new(READERS)) })
    }

    /// Reads on a thread for blocking work, and off the runtime's.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let read = async {
            let free = Arc::clone(&self.free).acquire_owned().await.map_err(|_| fault::STOPPED)?;
            let idle = Arc::clone(&self.idle);
            let reading = task::spawn_blocking(move || {
                let connection = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let connection = connection.ok_or(fault::STOPPED)?;
                let done = work(&connection);
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
                drop(free);
                done
            });
            reading.await.unwrap_or(Err(fault::STOPPED))
        };
        time::timeout(PATIENCE, read).await.unwrap_or(Err(fault::SLOW))
    }
}

/// Reads at once. More wait, up to their patience: they would share the same few cores and the same disk.
const READERS: usize = 4;
