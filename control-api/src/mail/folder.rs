//! Mail into a folder, one `.eml` file each: for trying things out, and for machines without a mail server.
//!
//! The files hold secret links, so only their owner reads them. None is ever deleted here.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::task;
use uuid::Uuid;

use super::{Mail, MailError, Mailer, SenderError, message::Sender};

/// Writes mails into a folder. A file's name begins with when it was written, so that they are listed in order.
#[derive(Clone)]
pub struct FolderMailer {
    folder: Arc<Path>,
    sender: Sender,
}

impl FolderMailer {
    /// Mails from `from` into `folder`, which is made for its owner alone where there is none.
    ///
    /// # Errors
    /// [`SenderError`] for a `from` that is no address, or a folder that cannot be made.
    pub fn new(folder: impl Into<PathBuf>, from: &str) -> Result<Self, SenderError> {
        let (folder, sender) = (folder.into(), Sender::new(from)?);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|error| SenderError::Folder(error.kind()))?;
        Ok(Self { folder: folder.into(), sender })
    }
}

impl Mailer for FolderMailer {
    fn send(&self, mail: Mail) -> BoxFuture<'_, Result<(), MailError>> {
        async move {
            let message = self.sender.message(mail)?.formatted();
            let folder = Arc::clone(&self.folder);
            task::spawn_blocking(move || write(&folder, &message))
                .await
                .map_err(|_| MailError::Unavailable("writing it was broken off".to_owned()))?
        }
        .boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), MailError>> {
        async move { tokio::fs::read_dir(&self.folder).await.map(|_| ()).map_err(unavailable) }.boxed()
    }
}

impl std::fmt::Debug for FolderMailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FolderMailer").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Under another name until it is whole.
fn write(folder: &Path, message: &[u8]) -> Result<(), MailError> {
    let count = fs::read_dir(folder).map_err(unavailable)?.take(MAX_MAILS).count();
    if count >= MAX_MAILS {
        return Err(MailError::Unavailable(format!(
            "the mail folder has {MAX_MAILS} mails; delete old ones"
        )));
    }
    let name = Uuid::now_v7();
    let partial = folder.join(format!(".{name}.partial"));
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&partial)
        .and_then(|mut file| file.write_all(message).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&partial, folder.join(format!("{name}.eml"))));
    written.map_err(|error| {
        let _ = fs::remove_file(&partial);
        unavailable(error)
    })
}

fn unavailable(error: std::io::Error) -> MailError {
    MailError::Unavailable(format!("the mail folder: {}", error.kind()))
}

/// More than anybody reads.
const MAX_MAILS: usize = 10_000;
