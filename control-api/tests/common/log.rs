//! What the tests of a process log, for what must and must not be said.
//!
//! Not here: other processes.

// Each suite uses a part.
#![allow(dead_code)]

use std::{
    io,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// What is logged.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// What all tests of this process log from now on. (A subscriber of one thread would miss the workers' threads.)
    pub(crate) fn of_this_process() -> Self {
        static LOG: LazyLock<Log> = LazyLock::new(|| {
            let log = Log::default();
            let lines = log.clone();
            tracing_subscriber::fmt()
                .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
                .with_ansi(false)
                .with_writer(move || lines.clone())
                .init();
            log
        });
        LOG.clone()
    }

    /// Everything that our crates say, and of others what an operator would see. Once in a process.
    pub(crate) fn of_our_crates() -> Self {
        let log = Log::default();
        let lines = log.clone();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || lines.clone());
        let levels = Targets::new()
            .with_default(tracing::Level::INFO)
            .with_target("control_api", tracing::Level::TRACE);
        tracing_subscriber::registry().with(layer).with(levels).init();
        tracing::trace!(target: "control_api", "the scan reads this level");
        log
    }

    /// Waits until something is logged.
    pub(crate) async fn wait_for(&self, what: &str) {
        for _ in 0..600 {
            if self.text().contains(what) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("`{what}` is not logged within 30 s:\n{}", self.text());
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
