//! Whole files by key: uploads, exports. In a folder by default, in an S3 bucket when configured.
//!
//! What comes back is what was put there: a hash over key and content is kept with each blob and checked on reading. Not
//! here: who may read a blob, what is in it, links for others to fetch it.

mod key;
mod places;

pub use key::{BlobKey, BlobPrefix};
pub use places::{S3Settings, folder, s3};

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload, path::Path};
use sha2::{Digest, Sha256};
use tokio::time;

/// Blobs in one place. Clones are the same place.
///
/// Every operation ends after [`PATIENCE`] with [`BlobError::Unavailable`], [`Blobs::delete_prefix`] after that for each
/// blob. Dropping a future leaves its operation done or not done, never half done.
#[derive(Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    max_bytes: usize,
}

impl Blobs {
    /// Blobs of at most `max_bytes` bytes in `store`; see [`folder`] and [`s3`].
    pub fn new(store: Arc<dyn ObjectStore>, max_bytes: usize) -> Self {
        Self { store, max_bytes }
    }

    /// Keeps `content` under `key`, in place of what was there. On return it is on disk, or acknowledged by the bucket.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`] before anything is sent; [`BlobError::Unavailable`]: put it again, nothing is lost by that.
    pub async fn put(&self, key: &BlobKey, content: Bytes) -> Result<(), BlobError> {
        if content.len() > self.max_bytes {
            return Err(BlobError::TooLarge { max_bytes: self.max_bytes });
        }
        let payload: PutPayload =
            [Bytes::copy_from_slice(&header(key, &content)), content].into_iter().collect();
        within(self.store.put(&path(key.as_str()), payload)).await?;
        Ok(())
    }

    /// The content of `key`.
    ///
    /// # Errors
    /// [`BlobError::NotFound`]; [`BlobError::Damaged`] when it is not what was put there; [`BlobError::TooLarge`] before
    /// memory is spent, when it was put under a higher bound.
    pub async fn get(&self, key: &BlobKey) -> Result<Bytes, BlobError> {
        let max = self.max_bytes + HEADER_BYTES;
        let blob = within(async {
            let found = self.store.get(&path(key.as_str())).await?;
            let size = found.meta.size;
            if size > max as u64 {
                return Ok(None);
            }
            let mut blob = BytesMut::with_capacity(usize::try_from(size).unwrap_or(max));
            let mut pieces = found.into_stream();
            while let Some(piece) = pieces.try_next().await? {
                if blob.len() + piece.len() > max {
                    return Ok(None);
                }
                blob.extend_from_slice(&piece);
            }
            Ok(Some(blob.freeze()))
        })
        .await?;
        let mut blob = blob.ok_or(BlobError::TooLarge { max_bytes: self.max_bytes })?;
        if blob.len() < HEADER_BYTES {
            return Err(BlobError::Damaged);
        }
        let content = blob.split_off(HEADER_BYTES);
        if *blob != header(key, &content) {
            return Err(BlobError::Damaged);
        }
        Ok(content)
    }

    /// Forgets `key`, whether or not it was there.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`].
    pub async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        self.delete_path(&path(key.as_str())).await
    }

    /// Forgets every blob under `prefix`; says how many. A blob that is put meanwhile may stay.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`]; some may be deleted then: delete the prefix again.
    pub async fn delete_prefix(&self, prefix: &BlobPrefix) -> Result<u64, BlobError> {
        let prefix = path(prefix.as_str());
        let mut deleted = 0;
        loop {
            // A listing is read in pieces and not held open while blobs vanish under it.
            let page: Vec<Path> = within(async {
                let listing = self.store.list(Some(&prefix)).take(LIST_PAGE);
                listing.map_ok(|found| found.location).try_collect().await
            })
            .await?;
            for location in &page {
                self.delete_path(location).await?;
                deleted += 1;
            }
            if page.len() < LIST_PAGE {
                return Ok(deleted);
            }
        }
    }

    /// Whether the place answers; nothing is written.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`].
    pub async fn check(&self) -> Result<(), BlobError> {
        let looked = within(async { self.store.list(None).take(1).try_collect::<Vec<_>>().await }).await;
        match looked {
            Err(BlobError::NotFound) => Err(BlobError::Unavailable("there is no such bucket".to_owned())),
            looked => looked.map(|_| ()),
        }
    }

    async fn delete_path(&self, path: &Path) -> Result<(), BlobError> {
        match within(self.store.delete(path)).await {
            Ok(()) | Err(BlobError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl std::fmt::Debug for Blobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blobs").field("max_bytes", &self.max_bytes).finish_non_exhaustive()
    }
}

/// Why a blob operation failed. Names no content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// Nothing is there.
    #[error("there is no such blob")]
    NotFound,
    /// It is larger than allowed.
    #[error("the blob is larger than {max_bytes} bytes")]
    TooLarge {
        /// The bound of this [`Blobs`].
        max_bytes: usize,
    },
    /// What is there is not what was put there: a broken disk, or somebody's hand.
    #[error("the blob is damaged: it is not what was stored; restore it from a backup")]
    Damaged,
    /// The key or prefix is not one; see [`BlobKey::new`].
    #[error("not a blob key: {0}")]
    Invalid(&'static str),
    /// The place did not answer, or refused; the reason is for an operator.
    #[error("the blob store is unavailable: {0}")]
    Unavailable(String),
}

/// What lies before the content: a mark, and a hash that ties content and key, so that blobs cannot be swapped unnoticed.
fn header(key: &BlobKey, content: &[u8]) -> [u8; HEADER_BYTES] {
    let mut hash = Sha256::new();
    hash.update((key.as_str().len() as u64).to_le_bytes());
    hash.update(key.as_str());
    hash.update(content);
    let mut header = [0; HEADER_BYTES];
    header[..MARK.len()].copy_from_slice(&MARK);
    header[MARK.len()..].copy_from_slice(&hash.finalize());
    header
}

fn path(key: &str) -> Path {
    Path::from(key)
}

async fn within<T>(work: impl Future<Output = object_store::Result<T>>) -> Result<T, BlobError> {
    match time::timeout(PATIENCE, work).await {
        Ok(Ok(out)) => Ok(out),
        Ok(Err(object_store::Error::NotFound { .. })) => Err(BlobError::NotFound),
        Ok(Err(error)) => Err(BlobError::Unavailable(without_answer(&error.to_string()))),
        Err(_) => Err(BlobError::Unavailable(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

/// What an S3 server answers names the access key, so the XML of it goes.
fn without_answer(error: &str) -> String {
    error.split('<').next().unwrap_or_default().trim_end_matches([' ', ':', '\n']).to_owned()
}

/// Longest wait for one operation, tries included.
pub const PATIENCE: Duration = Duration::from_secs(30);

const MARK: [u8; 4] = *b"iab1";
const HEADER_BYTES: usize = MARK.len() + 32;
const LIST_PAGE: usize = 1000;
