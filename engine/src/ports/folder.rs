//! Journals in a folder of this machine, a file each.
//!
//! A record that is written survives a kill of the process; a power cut may take the last seconds. Not here: what is in them.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use tokio::task::spawn_blocking;

use super::{JournalError, JournalWriter, Journals, KeptJournal, PortError};

/// Journals in a folder. Clones are the same folder.
#[derive(Clone, Debug)]
pub struct FolderJournals {
    folder: PathBuf,
    /// Of sessions that this process serves.
    open: Arc<Mutex<HashSet<PathBuf>>>,
}

impl FolderJournals {
    /// In `folder`, made for its owner alone when it is not there. Blocks.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(folder: PathBuf) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Self { folder, open: Arc::default() })
    }

    /// Removes the journals that nobody came back for within `kept`. Blocks.
    ///
    /// # Errors
    /// The folder cannot be read, or a file not removed.
    pub fn sweep(&self, kept: Duration) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let path = entry.path();
            let old = entry.metadata()?.modified()?.elapsed().is_ok_and(|age| age > kept);
            let ours = path.extension().is_some_and(|extension| extension == EXTENSION);
            if old && ours && !lock(&self.open).contains(&path) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn writer(&self, key: &str) -> Writer {
        debug_assert!(key.bytes().all(|byte| byte.is_ascii_hexdigit()), "keys are no paths");
        let path = self.folder.join(key).with_extension(EXTENSION);
        lock(&self.open).insert(path.clone());
        Writer { path, file: None, open: Arc::clone(&self.open) }
    }
}

impl Journals for FolderJournals {
    fn create(&self, key: &str) -> Box<dyn JournalWriter> {
        Box::new(self.writer(key))
    }

    fn reopen(&self, key: &str) -> BoxFuture<'static, Result<Option<KeptJournal>, PortError>> {
        let writer = self.writer(key);
        let path = writer.path.clone();
        let read = spawn_blocking(move || match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        });
        async move {
            let bytes = finished(read.await)?;
            Ok(bytes.map(|bytes| -> KeptJournal { (bytes, Box::new(writer)) }))
        }
        .boxed()
    }
}

struct Writer {
    path: PathBuf,
    /// Open while something is written.
    file: Option<File>,
    open: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Writer {
    /// Does `work` with the file, off the audio path.
    fn with_file(
        &mut self,
        work: impl FnOnce(&mut File) -> io::Result<()> + Send + 'static,
    ) -> BoxFuture<'_, Result<(), JournalError>> {
        let (path, file) = (self.path.clone(), self.file.take());
        async move {
            let worked = spawn_blocking(move || {
                let mut file = match file {
                    Some(file) => file,
                    None => open(&path)?,
                };
                work(&mut file)?;
                Ok(file)
            });
            self.file = Some(finished(worked.await)?);
            Ok(())
        }
        .boxed()
    }
}

impl JournalWriter for Writer {
    fn append(&mut self, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), JournalError>> {
        self.with_file(move |file| file.write_all(&bytes))
    }

    fn truncate(&mut self, length: u64) -> BoxFuture<'_, Result<(), JournalError>> {
        self.with_file(move |file| file.set_len(length))
    }

    fn remove(&mut self) -> BoxFuture<'_, Result<(), JournalError>> {
        self.file = None;
        let removed = match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(problem(&error).into()),
            _ => Ok(()),
        };
        ready(removed).boxed()
    }

    fn keep_every(&self) -> Option<Duration> {
        self.file.is_some().then_some(CLOSE_AFTER)
    }

    /// Who says nothing needs no descriptor.
    fn keep(&mut self) -> BoxFuture<'_, Result<(), JournalError>> {
        self.file = None;
        ready(Ok(())).boxed()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        lock(&self.open).remove(&self.path);
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn finished<T>(done: Result<io::Result<T>, tokio::task::JoinError>) -> Result<T, PortError> {
    match done {
        Ok(done) => done.map_err(|error| problem(&error)),
        Err(_) => Err(PortError("work on a journal was broken off".to_owned())),
    }
}

fn problem(error: &io::Error) -> PortError {
    PortError(format!("the journal of a live session: {error}"))
}

fn lock(open: &Mutex<HashSet<PathBuf>>) -> MutexGuard<'_, HashSet<PathBuf>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

const EXTENSION: &str = "journal";
const CLOSE_AFTER: Duration = Duration::from_secs(5);
