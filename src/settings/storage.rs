//! `[storage]`: where accounts, history and files are kept.
//!
//! Not here: opening it (`compose`).

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use control_api::{blobs::S3Settings, storage::MongoSettings};
use secrecy::{ExposeSecret as _, SecretString};

use super::Reader;

/// Where accounts, history and files are kept.
#[derive(Debug)]
pub(crate) struct Storage {
    /// Holds everything that no server was named for: SQLite, files, mails, keys.
    pub(crate) dir: PathBuf,
    /// Records lie in MongoDB then, and not in `dir`.
    pub(crate) mongodb_url: Option<SecretString>,
    /// What may be forgotten and what is done later lie in Redis then, shared by all nodes.
    pub(crate) redis_url: Option<SecretString>,
    /// Files lie in a bucket then.
    pub(crate) s3: Option<S3Settings>,
    /// How long a store that is away is waited for, before what a session has to keep is lost.
    pub(crate) history_patience: Duration,
}

impl Reader {
    pub(super) fn storage(&mut self) -> Option<Storage> {
        let mongodb_url = self.url("storage.mongodb_url", &["mongodb://", "mongodb+srv://"]);
        if mongodb_url.as_ref().is_some_and(|url| !MongoSettings::is_url(url.expose_secret())) {
            self.problem(
                "storage.mongodb_url cannot be read: mongodb://NAME:PASSWORD@HOST:27017/DATABASE, with name and password percent-encoded",
            );
        }
        let redis_url = self.url("storage.redis_url", &["redis://", "rediss://"]);
        let s3 = self.s3();
        let history_patience = self.seconds("storage.history_patience_s", Duration::from_secs(60));
        Some(Storage { dir: self.storage_dir()?, mongodb_url, redis_url, s3, history_patience })
    }

    /// A URL that may hold a password, so it is never shown.
    pub(super) fn url(&mut self, key: &'static str, schemes: &[&str]) -> Option<SecretString> {
        let url = self.optional::<String>(key)?;
        if schemes.iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme)) {
            return Some(url.into());
        }
        self.problem(format!("{key} must begin with {}", schemes.join(" or ")));
        None
    }

    fn s3(&mut self) -> Option<S3Settings> {
        let bucket = self.optional::<String>("storage.s3_bucket");
        let region = self.get("storage.s3_region", "us-east-1".to_owned());
        let endpoint = self.optional::<String>("storage.s3_endpoint");
        let id = self.optional::<String>("storage.s3_access_key_id");
        let secret = self.optional::<SecretString>("storage.s3_secret_access_key");
        let credentials = match (id, secret) {
            (Some(id), Some(secret)) => Some((id, secret)),
            (None, None) => None,
            _ => {
                self.problem("storage.s3_access_key_id and storage.s3_secret_access_key go together");
                None
            }
        };
        let Some(bucket) = bucket else {
            if endpoint.is_some() || credentials.is_some() {
                self.problem("storage.s3_bucket is missing: the other s3 settings do nothing without it");
            }
            return None;
        };
        Some(S3Settings { bucket, region, endpoint, credentials })
    }

    fn storage_dir(&mut self) -> Option<PathBuf> {
        if let Some(dir) = self.optional::<PathBuf>("storage.dir") {
            return Some(dir);
        }
        let xdg = self.xdg_data.clone().filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let dir = xdg.or_else(|| self.home.as_ref().map(|home| Path::new(home).join(".local/share")));
        match dir {
            Some(dir) => Some(dir.join("interviewai")),
            None => {
                self.problem("there is no home folder to keep accounts in: set INTERVIEWAI_DATA_DIR");
                None
            }
        }
    }
}
