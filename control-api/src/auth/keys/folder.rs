//! Signing keys in a folder, and their change without logging anybody out.
//!
//! Nodes that share the folder read it once a minute. A new key is published before it signs, and an old one verifies for as
//! long as a token that it signed may live. An operator's own key (RS256, for example) is a file like the others. Not here: the timer.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use uuid::Uuid;

use super::{KeyError, SigningKey, SigningKeys, pem};
use crate::auth::token::{LEEWAY_S, LIFETIME_S};

/// A folder of private keys: `*.pem`, PKCS#8, readable for their owner alone. In the order of their names the later is the newer
/// one; ours begin with when they were made. All operations read and write files, and block.
#[derive(Clone, Debug)]
pub struct KeyFolder {
    folder: PathBuf,
}

/// A key's file.
struct KeyFile {
    path: PathBuf,
    key: SigningKey,
    /// When it was written.
    since: SystemTime,
}

impl KeyFolder {
    /// The keys in `folder`. Where there is no folder, or no key in it, an Ed25519 key is made.
    ///
    /// # Errors
    /// [`KeyError`] names the file that is in the way, and nothing of what is in it.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, KeyError> {
        let this = Self { folder: folder.into() };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&this.folder)
            .map_err(|error| failed(&this.folder, &error))?;
        if this.files()?.is_empty() {
            this.add()?;
        }
        Ok(this)
    }

    /// The keys as they are now. The newest one that has been here for six minutes signs; all verify. Ask once a minute and give
    /// them to [`AccessTokens::replace_keys`](crate::auth::AccessTokens::replace_keys).
    ///
    /// # Errors
    /// As [`KeyFolder::open`]; keep those from before then.
    pub fn keys(&self) -> Result<SigningKeys, KeyError> {
        let mut files = self.files()?;
        let now = SystemTime::now();
        let signs = files.iter().rposition(|file| age(now, file.since) >= ANNOUNCED);
        // Those who are all young have nobody yet who knows the older ones only.
        let newest = files.len().checked_sub(1);
        let at =
            signs.or(newest).ok_or_else(|| KeyError("there is none in the folder any more".to_owned()))?;
        let signs = files.remove(at).key;
        Ok(SigningKeys::new(signs, files.into_iter().rev().map(|file| file.key).collect()))
    }

    /// Adds a key, which signs in six minutes, and removes those that signed nothing which may still be shown. Do it once a month
    /// or so, on one node.
    ///
    /// # Errors
    /// As [`KeyFolder::open`].
    pub fn rotate(&self) -> Result<SigningKeys, KeyError> {
        let files = self.files()?;
        self.add()?;
        let now = SystemTime::now();
        for (file, successor) in files.iter().zip(files.iter().skip(1)) {
            if age(now, successor.since) > ANNOUNCED + OVERLAP {
                fs::remove_file(&file.path).map_err(|error| failed(&file.path, &error))?;
            }
        }
        self.keys()
    }

    /// Writes a fresh key, under another name until it is whole.
    fn add(&self) -> Result<(), KeyError> {
        let text = pem(&SigningKey::generate()?);
        let name = Uuid::now_v7();
        let partial = self.folder.join(format!(".{name}.partial"));
        let written = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&partial, self.folder.join(format!("{name}.pem"))));
        written.map_err(|error| {
            let _ = fs::remove_file(&partial);
            failed(&self.folder, &error)
        })
    }

    /// The oldest first.
    fn files(&self) -> Result<Vec<KeyFile>, KeyError> {
        let entries = fs::read_dir(&self.folder).map_err(|error| failed(&self.folder, &error))?;
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| failed(&self.folder, &error))?.path();
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if path.extension().is_some_and(|extension| extension == "pem") && !hidden {
                paths.push(path);
            }
            if paths.len() > MAX_KEYS {
                return Err(KeyError(format!("more than {MAX_KEYS} lie in the folder; remove old ones")));
            }
        }
        paths.sort();
        // A key that another node has just removed is not there any more.
        paths.into_iter().filter_map(|path| read(path).transpose()).collect()
    }
}

fn read(path: PathBuf) -> Result<Option<KeyFile>, KeyError> {
    let mut file = match fs::File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|error| failed(&path, &error))?,
    };
    let about = file.metadata().map_err(|error| failed(&path, &error))?;
    if about.mode() & 0o077 != 0 {
        return Err(KeyError(format!("others may read {0}; run `chmod 600 {0}`", path.display())));
    }
    let since = about.modified().map_err(|error| failed(&path, &error))?;
    let mut text = String::new();
    (&mut file).take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(|error| failed(&path, &error))?;
    let key = SigningKey::from_pem(&text)
        .map_err(|KeyError(reason)| KeyError(format!("{}: {reason}", path.display())))?;
    Ok(Some(KeyFile { path, key, since }))
}

fn age(now: SystemTime, since: SystemTime) -> Duration {
    now.duration_since(since).unwrap_or_default()
}

fn failed(path: &Path, error: &std::io::Error) -> KeyError {
    KeyError(format!("{}: {}", path.display(), error.kind()))
}

/// From when a key is made until it signs: longer than other nodes and readers of the JWK Set take to know it.
const ANNOUNCED: Duration = Duration::from_secs(6 * 60);
/// From when a key signs until no token of the one before it is in force. Other nodes may begin a minute later.
const OVERLAP: Duration = Duration::from_secs(LIFETIME_S.unsigned_abs() + LEEWAY_S + 2 * 60);
const MAX_KEYS: usize = 32;
const MAX_FILE_BYTES: u64 = 16 * 1024;
