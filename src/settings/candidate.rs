//! `[candidate]`: documents about the candidate, read at start. Not here: what is done with them.

use std::{fmt, path::PathBuf};

use super::Reader;

/// Documents about the candidate.
#[derive(Debug, Default)]
pub(crate) struct Candidate {
    /// The CV.
    pub(crate) cv: Option<Document>,
    /// The job description.
    pub(crate) job: Option<Document>,
}

/// A text file, read at start.
pub(crate) struct Document {
    /// Where it was.
    pub(crate) path: PathBuf,
    /// What it says.
    pub(crate) text: String,
}

impl Document {
    /// Reads a text of a sensible size.
    pub(crate) fn read(path: PathBuf) -> Result<Self, String> {
        let at = |why: String| format!("{}: {why}", path.display());
        let size = std::fs::metadata(&path).map_err(|error| at(error.to_string()))?.len();
        if size > MAX_DOCUMENT_BYTES {
            return Err(at(format!("{size} bytes; a text of at most {MAX_DOCUMENT_BYTES} is read")));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => {
                at("not a UTF-8 text; save the document as plain text".to_owned())
            }
            _ => at(error.to_string()),
        })?;
        Ok(Self { path, text })
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.path.display(), self.text.len())
    }
}

impl Reader {
    pub(super) fn candidate(&mut self) -> Candidate {
        Candidate { cv: self.document("candidate.cv_file"), job: self.document("candidate.job_file") }
    }

    fn document(&mut self, key: &'static str) -> Option<Document> {
        let path = self.optional(key)?;
        Document::read(path).map_err(|error| self.problem(format!("{key}: {error}"))).ok()
    }
}

const MAX_DOCUMENT_BYTES: u64 = 1024 * 1024;
