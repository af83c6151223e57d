//! `[cache]`: what is kept, and where. Not here: who keeps it.

use std::path::{Path, PathBuf};

use super::Reader;

/// What is kept.
#[derive(Debug)]
pub(crate) struct Cache {
    /// Where weights lie.
    pub(crate) dir: PathBuf,
    /// Texts kept in memory; 0 keeps none.
    pub(crate) transcripts_mb: usize,
    /// Answers kept in memory; 0 keeps none.
    pub(crate) answers_mb: usize,
}

impl Reader {
    pub(super) fn cache(&mut self) -> Option<Cache> {
        let transcripts_mb = self.number("cache.transcripts_mb", 16, 65_536);
        let answers_mb = self.number("cache.answers_mb", 16, 65_536);
        Some(Cache { dir: self.cache_dir()?, transcripts_mb, answers_mb })
    }

    fn cache_dir(&mut self) -> Option<PathBuf> {
        if let Some(dir) = self.optional::<PathBuf>("cache.dir") {
            return Some(dir);
        }
        let xdg = self.xdg_cache.clone().filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let dir = xdg.or_else(|| self.home.as_ref().map(|home| Path::new(home).join(".cache")));
        match dir {
            Some(dir) => Some(dir.join("interviewai")),
            None => {
                self.problem("there is no home folder to keep weights in: set INTERVIEWAI_CACHE_DIR");
                None
            }
        }
    }
}
