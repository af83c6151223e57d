//! An S3 server for tests: the crates `s3s` and `s3s-fs`, over a socket, with signatures checked, on a temporary folder.
//!
//! Not here: any client.

use std::path::{Path, PathBuf};

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::task::AbortOnDropHandle;

/// A running server with one bucket; dropped, it stops.
pub(crate) struct S3Server {
    folder: TempDir,
    port: u16,
    running: AbortOnDropHandle<()>,
}

impl S3Server {
    /// Starts the server.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        std::fs::create_dir(folder.path().join(BUCKET)).expect("the folder can be written");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        let running = serve(listener, folder.path());
        Self { folder, port, running }
    }

    /// Base URL for a client.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where the bucket's objects lie.
    pub(crate) fn bucket_folder(&self) -> PathBuf {
        self.folder.path().join(BUCKET)
    }

    /// Stops answering: connections are refused from then on.
    pub(crate) async fn stop(&mut self) {
        self.running.abort();
        while !self.running.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    /// Answers again, where it did.
    pub(crate) async fn restart(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.expect("the port is free again");
        self.running = serve(listener, self.folder.path());
    }
}

fn serve(listener: TcpListener, folder: &Path) -> AbortOnDropHandle<()> {
    let mut service = S3ServiceBuilder::new(FileSystem::new(folder).expect("the folder is there"));
    service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    let service = service.build();
    AbortOnDropHandle::new(tokio::spawn(async move {
        // Gone with this task.
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone()));
        }
    }))
}

/// The bucket that is there.
pub(crate) const BUCKET: &str = "interviewai";
/// Who may use it.
pub(crate) const ACCESS_KEY: &str = "test-access";
/// And by what.
pub(crate) const SECRET_KEY: &str = "test-secret";
