//! Where blobs may lie: a folder of this machine, or a bucket that speaks S3.
//!
//! Not here: what is read and written there.

use std::{fs, io, path::Path, sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, RetryConfig, aws::AmazonS3Builder, local::LocalFileSystem,
};
use secrecy::{ExposeSecret as _, SecretString};

use super::BlobError;

/// The folder `root`, made when it is not there, for this user's eyes only. What is written is synced to disk; emptied folders
/// go. Blocks: it looks through the folder once, for what a crash left there.
///
/// # Errors
/// [`BlobError::Unavailable`] when it cannot be made or read.
pub fn folder(root: &Path) -> Result<Arc<dyn ObjectStore>, BlobError> {
    make_private(root)
        .and_then(|()| sweep(root))
        .map_err(|error| BlobError::Unavailable(format!("{}: {error}", root.display())))?;
    let store = LocalFileSystem::new_with_prefix(root)
        .map_err(|error| BlobError::Unavailable(error.to_string()))?
        .with_automatic_cleanup(true)
        .with_fsync(true);
    Ok(Arc::new(store))
}

/// A bucket.
#[derive(Clone, Debug)]
pub struct S3Settings {
    /// Its name.
    pub bucket: String,
    /// Such as `eu-west-1`; servers that are not Amazon's take `us-east-1`.
    pub region: String,
    /// Base URL of a server that is not Amazon's, such as `https://minio.internal:9000`. `http` is allowed: keep it inside.
    pub endpoint: Option<String>,
    /// Key and secret; without them, those of the machine's role are asked for.
    pub credentials: Option<(String, SecretString)>,
}

/// The bucket of `settings`. Connects to nothing yet; a request is tried up to 4 times.
///
/// # Errors
/// [`BlobError::Unavailable`] when the settings make no sense.
pub fn s3(settings: &S3Settings) -> Result<Arc<dyn ObjectStore>, BlobError> {
    let client = ClientOptions::new().with_connect_timeout(CONNECT_TIMEOUT).with_timeout(REQUEST_TIMEOUT);
    let backoff = BackoffConfig { init_backoff: FIRST_PAUSE, max_backoff: MAX_PAUSE, base: 2.0 };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&settings.bucket)
        .with_region(&settings.region)
        .with_retry(RetryConfig { backoff, max_retries: MAX_RETRIES, retry_timeout: RETRY_TIMEOUT });
    builder = match &settings.endpoint {
        Some(endpoint) => builder
            .with_endpoint(endpoint)
            .with_client_options(client.with_allow_http(endpoint.starts_with("http://"))),
        None => builder.with_client_options(client),
    };
    if let Some((key, secret)) = &settings.credentials {
        builder = builder.with_access_key_id(key).with_secret_access_key(secret.expose_secret());
    }
    let store = builder.build().map_err(|error| BlobError::Unavailable(error.to_string()))?;
    Ok(Arc::new(store))
}

fn make_private(root: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(root)
}

/// Removes what puts left that a crash cut short: `object_store` writes beside the blob, to `NAME#NUMBER`, which is no key.
/// What is younger than an hour may be another process's.
fn sweep(root: &Path) -> io::Result<()> {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if entry.file_name().to_string_lossy().contains('#') {
                let old = entry.metadata()?.modified()?.elapsed().is_ok_and(|age| age > ABANDONED);
                if old {
                    fs::remove_file(entry.path())?;
                }
            }
        }
    }
    Ok(())
}

const ABANDONED: Duration = Duration::from_secs(3600);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
const MAX_RETRIES: usize = 3;
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);
