//! A tiny HTTP/1.1 server that plays a script of bytes to each connection, and tells what it saw.
//!
//! Not here: any understanding of HTTP beyond where a request ends.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
};

/// One step of what the server does once it has read a request.
#[derive(Clone)]
pub(crate) enum Step {
    /// Sends these bytes at once, as a packet of their own as far as the kernel plays along.
    Send(Vec<u8>),
    /// Waits for [`SseServer::go_on`].
    Pause,
    /// Reads another request from the same connection.
    NextRequest,
    /// Closes the connection. Without it the server waits for the client to do so.
    Close,
}

/// Runs until dropped with its runtime.
pub(crate) struct SseServer {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    client_closed: Arc<Semaphore>,
    go_on: Arc<Notify>,
}

impl SseServer {
    /// Plays `steps` to every connection, beginning at its first request.
    pub(crate) async fn start(steps: Vec<Step>) -> Self {
        Self::start_in_order(vec![steps]).await
    }

    /// Plays the first script to the first connection, and so on; the last one to all further ones.
    pub(crate) async fn start_in_order(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            requests: Arc::default(),
            client_closed: Arc::new(Semaphore::new(0)),
            go_on: Arc::default(),
        };
        let (requests, client_closed, go_on) =
            (server.requests.clone(), server.client_closed.clone(), server.go_on.clone());
        tokio::spawn(async move {
            let last = scripts.len() - 1;
            let mut connections = 0..;
            while let Ok((mut socket, _)) = listener.accept().await {
                let number = connections.next().unwrap_or(last);
                let (steps, requests) = (scripts[number.min(last)].clone(), requests.clone());
                let (client_closed, go_on) = (client_closed.clone(), go_on.clone());
                tokio::spawn(async move {
                    socket.set_nodelay(true).unwrap();
                    let request = read_request(&mut socket).await;
                    requests.lock().unwrap().push(request);
                    for step in steps {
                        match step {
                            Step::Send(bytes) if socket.write_all(&bytes).await.is_err() => break,
                            Step::Send(_) => tokio::task::yield_now().await,
                            Step::Pause => tokio::select! {
                                () = go_on.notified() => {}
                                _ = socket.read_u8() => break,
                            },
                            Step::NextRequest => {
                                let request = read_request(&mut socket).await;
                                requests.lock().unwrap().push(request);
                            }
                            Step::Close => return,
                        }
                    }
                    // The client sends nothing more: whatever ends this read is the end of the connection.
                    let _ = socket.read_u8().await;
                    client_closed.add_permits(1);
                });
            }
        });
        server
    }

    /// What an OpenAI client takes as its base URL.
    pub(crate) fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// The requests so far, heads and bodies.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Ends one [`Step::Pause`].
    pub(crate) fn go_on(&self) {
        self.go_on.notify_one();
    }

    /// Waits until a client has closed its connection.
    pub(crate) async fn client_closed(&self) {
        let closed = tokio::time::timeout(Duration::from_secs(10), self.client_closed.acquire()).await;
        closed.expect("the client kept its connection open").unwrap().forget();
    }
}

/// Head and body of one request; what is no UTF-8 in it is replaced.
async fn read_request(socket: &mut TcpStream) -> String {
    let mut request = Vec::new();
    loop {
        let head_end = request.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        if let Some(end) = head_end {
            let head = String::from_utf8_lossy(&request[..end]);
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if request.len() - end - 4 >= length.unwrap_or(0) {
                break;
            }
        }
        let mut bytes = [0; 65_536];
        match socket.read(&mut bytes).await {
            Ok(read) if read > 0 => request.extend_from_slice(&bytes[..read]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&request).into_owned()
}
