//! The thread that writes. What waits when it is free goes into one transaction, and shares its commit.
//!
//! Not here: what is written.

use std::{thread, time::Duration};

use rusqlite::Connection;
use tokio::{
    sync::{mpsc, oneshot},
    time,
};

use super::{BUSY, fault};
use crate::storage::{PATIENCE, StoreError};

/// Gives work to the thread, which ends when this is dropped and the work is done.
pub(super) struct Writer {
    queue: mpsc::Sender<Task>,
}

enum Task {
    Work(Work),
    /// Brings everything from the log into the file, and empties the log.
    Checkpoint(oneshot::Sender<Result<(), StoreError>>),
}

/// Runs inside a transaction, or learns that there is none; what it returns is run with the result of the commit, and answers.
type Work = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

impl Writer {
    pub(super) fn start(connection: Connection) -> Result<Self, StoreError> {
        let (queue, tasks) = mpsc::channel(QUEUE);
        thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(&connection, tasks))
            .map_err(|_| StoreError::unavailable("no thread for the writer"))?;
        Ok(Self { queue })
    }

    /// Does `work` in a transaction; returns when it is on disk. An error of `work` must leave nothing half done: a single
    /// statement that writes, after any that read.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        time::timeout(PATIENCE, self.write_long(work)).await.unwrap_or(Err(fault::SLOW))
    }

    /// The same, without a limit of time.
    pub(super) async fn write_long<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            // Nobody waits any more for what took too long.
            let done = if answer.is_closed() { Err(fault::SLOW) } else { connection.and_then(work) };
            Box::new(move |committed| {
                let _ = answer.send(committed.and(done));
            })
        });
        self.queue.send(Task::Work(work)).await.map_err(|_| fault::STOPPED)?;
        answered.await.unwrap_or(Err(fault::STOPPED))
    }

    pub(super) async fn checkpoint(&self) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(Task::Checkpoint(answer)).await.map_err(|_| fault::STOPPED)?;
        answered.await.unwrap_or(Err(fault::STOPPED))
    }
}

fn run(connection: &Connection, mut tasks: mpsc::Receiver<Task>) {
    let mut next = None;
    while let Some(task) = next.take().or_else(|| tasks.blocking_recv()) {
        match task {
            Task::Work(first) => next = group(connection, first, &mut tasks),
            Task::Checkpoint(answer) => {
                let _ = answer.send(checkpoint(connection));
            }
        }
    }
}

/// Does what waits in one transaction; returns a task that cannot be part of it.
fn group(connection: &Connection, first: Work, tasks: &mut mpsc::Receiver<Task>) -> Option<Task> {
    let mut open = connection.execute_batch("BEGIN IMMEDIATE").map_err(fault::of);
    let mut answers = vec![first(open.clone().map(|()| connection))];
    let mut next = None;
    while answers.len() < GROUP && next.is_none() {
        // A full disk, for example, rolls everything back by itself.
        if open.is_ok() && connection.is_autocommit() {
            open = Err(fault::ROLLED_BACK);
        }
        match tasks.try_recv() {
            Ok(Task::Work(work)) => answers.push(work(open.clone().map(|()| connection))),
            Ok(other) => next = Some(other),
            Err(_) => break,
        }
    }
    let committed = open.and_then(|()| connection.execute_batch("COMMIT").map_err(fault::of));
    if !connection.is_autocommit() {
        // Of a failed commit; what cannot be rolled back now is when the file is opened next.
        let _ = connection.execute_batch("ROLLBACK");
    }
    for answer in answers {
        answer(committed.clone());
    }
    next
}

fn checkpoint(connection: &Connection) -> Result<(), StoreError> {
    // A reader that holds it up is not waited for, as writers would wait with it: the next checkpoint will do.
    let done = connection
        .busy_timeout(Duration::ZERO)
        .and_then(|()| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
    connection.busy_timeout(BUSY).and(done).map_err(fault::of)
}

/// Writes that wait. When full, writers wait for room, up to their patience.
const QUEUE: usize = 1024;
/// Writes that share a commit, at most: the first of them waits for the last.
const GROUP: usize = 256;
