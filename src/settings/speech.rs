//! `[speech]`: who writes speech down. Not here: loading weights (`compose`).

use std::{num::NonZeroUsize, path::PathBuf};

use super::Reader;

/// Local speech recognition.
#[derive(Debug)]
pub(crate) struct Speech {
    /// Name of the weights in the catalogue.
    pub(crate) weights: String,
    /// A ggml file to use instead.
    pub(crate) weights_file: Option<PathBuf>,
    /// Inference threads that work at once; chosen by the number of cores when `None`.
    pub(crate) workers: Option<NonZeroUsize>,
    /// Threads of each worker; chosen by the number of cores when `None`.
    pub(crate) threads: Option<NonZeroUsize>,
}

impl Reader {
    pub(super) fn speech(&mut self) -> Speech {
        let speech = Speech {
            weights: self.get("speech.weights", models::weights::DEFAULT_WEIGHTS.to_owned()),
            weights_file: self.optional("speech.weights_file"),
            workers: self.optional("speech.workers"),
            threads: self.optional("speech.threads"),
        };
        if let Err(error) = models::weights::find(&speech.weights) {
            self.problem(format!("speech.weights: {error}"));
        }
        for (name, value) in [("speech.workers", speech.workers), ("speech.threads", speech.threads)] {
            if value.is_some_and(|value: NonZeroUsize| value.get() > 64) {
                self.problem(format!("{name}: use 1 to 64, or leave it out"));
            }
        }
        if let Some(file) = speech.weights_file.as_ref().filter(|file| !file.is_file()) {
            self.problem(format!("speech.weights_file: {} is no file", file.display()));
        }
        speech
    }
}
