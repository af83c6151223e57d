//! A language model's place for a bench: speaks streaming chat completions over real HTTP, and says when.
//!
//! Each token's text is the instant at which it was written, so that whoever reads it knows its age. Not here: a model.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{Stream, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    Request, Response,
    body::{Body, Bytes, Frame, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};

/// How the upstream answers.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    /// From the whole request to the first token.
    pub(crate) first: Duration,
    /// Between tokens.
    pub(crate) every: Duration,
    pub(crate) tokens: usize,
    /// Requests answered at once, as a local model server with so many slots; the others wait their turn.
    pub(crate) slots: usize,
}

/// A request that the upstream has read from its socket, to the last byte.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) at_us: u64,
    /// It was the first of its connection.
    pub(crate) cold: bool,
}

/// Runs as long as its runtime.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    manner: Manner,
    slots: Arc<Semaphore>,
    arrivals: Arc<Mutex<HashMap<u64, Arrival>>>,
}

impl Upstream {
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let slots = Arc::new(Semaphore::new(manner.slots));
        let upstream = Self { address, manner, slots, arrivals: Arc::default() };
        let serving = upstream.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(socket));
            }
        });
        upstream
    }

    /// The first request about question number `id`.
    pub(crate) fn arrival(&self, id: u64) -> Option<Arrival> {
        self.arrivals.lock().expect("nothing under this lock panics").get(&id).copied()
    }

    async fn serve(self, socket: TcpStream) {
        socket.set_nodelay(true).expect("the socket is open");
        let cold = AtomicBool::new(true);
        let service = service_fn(|request| self.answer(request, cold.swap(false, Ordering::Relaxed)));
        // A client that hangs up in mid-answer is none of the upstream's business.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        cold: bool,
    ) -> Result<Response<impl Body<Data = Bytes, Error = Infallible> + use<>>, hyper::Error> {
        let body = request.into_body().collect().await?.to_bytes();
        let arrival = Arrival { at_us: now_us(), cold };
        if let Some(id) = question_number(&String::from_utf8_lossy(&body)) {
            self.arrivals.lock().expect("nothing under this lock panics").entry(id).or_insert(arrival);
        }
        let slot = Arc::clone(&self.slots).acquire_owned().await.expect("it is never closed");
        let events = StreamBody::new(events(self.manner, slot));
        let response = Response::builder().header(CONTENT_TYPE, "text/event-stream").body(events);
        Ok(response.expect("one header, and it is valid"))
    }
}

/// The events of one answer, each made just before it is written. The slot is taken until the last is.
fn events(
    manner: Manner,
    slot: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
    stream::unfold((0, slot), move |(number, slot)| async move {
        if number > manner.tokens {
            return None;
        }
        sleep(if number == 0 { manner.first } else { manner.every }).await;
        let event = if number == manner.tokens {
            r#"{"model":"fake","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#.to_owned()
                + "\n\ndata: [DONE]"
        } else {
            format!(
                r#"{{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"fake","choices":[{{"index":0,"delta":{{"content":" {:012}"}},"finish_reason":null}}]}}"#,
                now_us()
            )
        };
        Some((Ok(Frame::data(Bytes::from(format!("data: {event}\n\n")))), (number + 1, slot)))
    })
}

/// The text of question `id`, as a recogniser writes it down.
pub(crate) fn question(id: u64) -> String {
    format!("How would you {MARK}{id}?")
}

/// The number of the newest question in a prompt, which may tell of older ones.
pub(crate) fn question_number(text: &str) -> Option<u64> {
    let numbers = text.split(MARK).skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    });
    numbers.max()
}

/// Takes the tokens out of an answer's text, however it is cut into pieces.
#[derive(Default)]
pub(crate) struct Tokens {
    digits: usize,
    written_us: u64,
}

impl Tokens {
    /// The ages, in milliseconds, of the tokens that are whole with `text`.
    pub(crate) fn ages(&mut self, text: &str, ages: &mut Vec<f64>) {
        let now = now_us();
        for digit in text.bytes().filter(u8::is_ascii_digit) {
            self.written_us = self.written_us * 10 + u64::from(digit - b'0');
            self.digits += 1;
            if self.digits == TOKEN_DIGITS {
                ages.push(ms_between(self.written_us, now));
                *self = Self::default();
            }
        }
    }
}

/// Microseconds on the clock of this process.
pub(crate) fn now_us() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_micros() as u64
}

/// Milliseconds from one [`now_us`] to a later one; negative when it was earlier.
pub(crate) fn ms_between(from_us: u64, to_us: u64) -> f64 {
    (to_us as f64 - from_us as f64) / 1e3
}

const MARK: &str = "build system number ";
const TOKEN_DIGITS: usize = 12;
