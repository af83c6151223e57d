//! A session over QUIC: raw, or WebTransport from a browser, which is the same with an HTTP/3 greeting before it.
//!
//! Control goes both ways on the client's first bidirectional stream, audio comes as datagrams or on streams of the client.
//! Both kinds of connection are one type of `web-transport-quinn`, so nothing here knows which it is. Not here: who may
//! connect (`server`), what frames mean (`session`).

mod datagrams;
mod messages;

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use protocol::{CloseCode, FrameHeader, MAX_AUDIO_BYTES, MAX_JSON_BYTES};
use quinn::{ConnectionError, VarInt};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use web_transport_quinn::{
    RecvStream, SendStream, Session, SessionError, WebTransportError, generic::poll::Session as _,
};

use self::{
    datagrams::Datagrams,
    messages::{Messages, Read},
};
use super::{Frame, Gone, Receive, ReceiveError, Transmit};

/// Waits for the client's control stream. `None` when the client hangs up instead.
///
/// No audio is read and none may be sent beyond the windows of an unknown peer until [`QuicReceiver::welcome`].
/// Not cancel-safe: a dropped call may take the stream with it.
pub async fn open(session: Session) -> Option<(QuicReceiver, QuicSender)> {
    let (send, receive) = session.accept_bi().await.ok()?;
    let finished = CancellationToken::new();
    let closing = Arc::new(AtomicBool::new(false));
    let sender = QuicSender {
        session: session.clone(),
        control: send,
        finished: finished.clone(),
        closing: Arc::clone(&closing),
    };
    let receiver = QuicReceiver {
        session,
        control: Some(Messages::new(receive, MAX_JSON_BYTES)),
        finished,
        closing,
        audio: Vec::new(),
        next: 0,
        incoming: None,
        begun: false,
        in_a_row: 0,
        gone: false,
        all_taken: false,
    };
    Some((receiver, sender))
}

/// The receiving half.
///
/// QUIC keeps no order between streams. Here it is: the first control message before any audio, and then audio that has
/// come before control messages that have come. So whatever a client says about audio it has had acknowledged is read after
/// that audio, as it would be on one stream.
#[derive(Debug)]
pub struct QuicReceiver {
    session: Session,
    /// `None` once the client has said all that it has to say.
    control: Option<Messages>,
    /// Tells the sender that the client has closed its half of the control stream.
    finished: CancellationToken,
    /// The sender closes the connection.
    closing: Arc<AtomicBool>,
    audio: Vec<Messages>,
    /// Which stream is looked at first, so that no channel starves the others.
    next: usize,
    /// `None` until the client is known.
    incoming: Option<Incoming>,
    /// The first control message has been given out.
    begun: bool,
    /// Bytes of audio since control was last looked at.
    in_a_row: usize,
    /// The connection is closed: what has come is still given out.
    gone: bool,
    /// It is, and no stream waits to be looked at any more.
    all_taken: bool,
}

impl QuicReceiver {
    /// The next control message, and no audio: for the greeting of a client that is not known yet. Cancel-safe.
    pub(crate) async fn greeting(&mut self) -> Option<Result<Frame, ReceiveError>> {
        poll_fn(|cx| self.poll_control(cx)).await
    }

    /// The client may send audio from now on: gives it the windows of a session.
    ///
    /// In a tokio runtime.
    pub fn welcome(&mut self) {
        self.session.set_receive_window(VarInt::from_u32(RECEIVE_WINDOW));
        self.session.set_max_concurrent_uni_streams(VarInt::from_u32(MAX_STREAMS + HTTP3_STREAMS));
        self.incoming = Some(Incoming::start(self.session.clone()));
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, ReceiveError>>> {
        // More audio than can have been there when a control message came would leave that one unread for ever.
        let control_first = !self.begun || self.in_a_row > MOST_UNREAD;
        if control_first {
            self.in_a_row = 0;
            if let Poll::Ready(Some(message)) = self.poll_control(cx) {
                self.begun = true;
                return Poll::Ready(Some(message));
            }
        }
        if self.begun
            && let Poll::Ready(frame) = self.poll_audio(cx)
        {
            if let Ok(Frame::Audio(bytes)) = &frame {
                self.in_a_row += bytes.len();
            }
            return Poll::Ready(Some(frame));
        }
        self.in_a_row = 0;
        let control = self.poll_control(cx);
        self.begun |= matches!(control, Poll::Ready(Some(_)));
        match control {
            // The task that takes audio out of QUIC has something left, and will wake us.
            Poll::Ready(None) if self.incoming.is_some() && !self.all_taken => Poll::Pending,
            control => control,
        }
    }

    /// `None` once the connection is closed; pending for ever when only the control stream has ended.
    fn poll_control(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, ReceiveError>>> {
        if let Some(control) = &mut self.control {
            match ready!(control.poll_next(cx)) {
                Read::Message(json) => return Poll::Ready(Some(Ok(Frame::Control(json)))),
                Read::Failed(error) => return Poll::Ready(Some(Err(error))),
                Read::Finished | Read::Reset => self.finished.cancel(),
                Read::Gone => self.gone = true,
            }
            self.control = None;
        }
        if !self.gone {
            // No more control may come, and audio may: only the end of the connection is the end.
            ready!(self.session.poll_closed(cx));
            self.gone = true;
        }
        Poll::Ready(None)
    }

    /// Whether the connection ended without the client's saying that it is done: its process, its network or its page is gone.
    fn is_lost(&self) -> bool {
        let done = u32::from(u16::from(CloseCode::Done));
        match self.session.close_reason() {
            Some(SessionError::ConnectionError(ConnectionError::ApplicationClosed(close))) => {
                close.error_code != VarInt::from_u32(done)
            }
            // A process that ends says 0.
            Some(SessionError::WebTransportError(WebTransportError::Closed(code, _))) => code != done,
            // web-transport-quinn says so, too, when a peer is gone without a word.
            Some(SessionError::ConnectionError(ConnectionError::LocallyClosed)) => {
                !self.closing.load(Ordering::Relaxed)
            }
            Some(_) => true,
            None => false,
        }
    }

    fn poll_audio(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, ReceiveError>> {
        self.accept_streams(cx);
        if let Some(incoming) = &self.incoming
            && let Poll::Ready(bytes) = incoming.datagrams.poll_pop(cx)
        {
            return Poll::Ready(Ok(Frame::Audio(bytes)));
        }
        let (mut looked_at, mut ended) = (0, 0);
        while looked_at < self.audio.len() {
            let index = self.next % self.audio.len();
            match self.audio[index].poll_next(cx) {
                Poll::Pending => {
                    self.next = index + 1;
                    looked_at += 1;
                }
                Poll::Ready(Read::Message(bytes)) => {
                    self.next = index + 1;
                    return Poll::Ready(Ok(Frame::Audio(bytes)));
                }
                Poll::Ready(Read::Failed(error)) => return Poll::Ready(Err(error)),
                // Of a stream that was given up, the missing numbers tell.
                Poll::Ready(Read::Finished | Read::Reset | Read::Gone) => {
                    self.audio.swap_remove(index);
                    ended += 1;
                    if ended > 2 * MAX_STREAMS {
                        // Empty streams without end are no reason to look at nothing else.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    // There is room for one that waits.
                    self.accept_streams(cx);
                    looked_at = 0;
                }
            }
        }
        Poll::Pending
    }

    fn accept_streams(&mut self, cx: &mut Context<'_>) {
        let Some(incoming) = &mut self.incoming else { return };
        while !self.all_taken && self.audio.len() < MAX_STREAMS as usize {
            match incoming.streams.poll_recv(cx) {
                Poll::Ready(Some(stream)) => self.audio.push(Messages::new(stream, MAX_CHUNK)),
                Poll::Ready(None) => self.all_taken = true,
                Poll::Pending => return,
            }
        }
    }
}

/// Audio that has come. A task takes it out of QUIC, which forgets streams that nobody has accepted when it closes.
#[derive(Debug)]
struct Incoming {
    datagrams: Datagrams,
    streams: mpsc::Receiver<RecvStream>,
    _taker: AbortOnDropHandle<()>,
}

impl Incoming {
    fn start(session: Session) -> Self {
        let datagrams = Datagrams::default();
        let waiting = datagrams.clone();
        let (accepted, streams) = mpsc::channel(MAX_STREAMS as usize);
        let taker = tokio::spawn(async move {
            let accept = async {
                // When there are too many, the next one is left to QUIC, which allows no more.
                while let Ok(stream) = session.accept_uni().await {
                    if accepted.send(stream).await.is_err() {
                        return;
                    }
                }
            };
            tokio::join!(waiting.take(&session), accept);
            // Only now, when all datagrams are taken too: this is how the receiver knows.
            drop(accepted);
        });
        Self { datagrams, streams, _taker: AbortOnDropHandle::new(taker) }
    }
}

impl Receive for QuicReceiver {
    fn needs_numbers(&self) -> bool {
        true
    }

    async fn recv(&mut self) -> Option<Result<Frame, ReceiveError>> {
        // What has come of a message is kept in `Messages`: dropping this future loses nothing.
        let received = poll_fn(|cx| self.poll_recv(cx)).await;
        if received.is_none() && self.is_lost() { Some(Err(ReceiveError::Lost)) } else { received }
    }
}

/// The sending half.
#[derive(Debug)]
pub struct QuicSender {
    session: Session,
    control: SendStream,
    /// The client has closed its half of the control stream.
    finished: CancellationToken,
    /// Tells the receiver that it is we who close.
    closing: Arc<AtomicBool>,
}

impl Transmit for QuicSender {
    async fn send(&mut self, json: String) -> Result<(), Gone> {
        let length = u32::try_from(json.len()).map_err(|_| Gone)?;
        let mut message = Vec::with_capacity(LENGTH + json.len());
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(json.as_bytes());
        self.control.write_all(&message).await.map_err(|_| Gone)
    }

    /// A close overtakes what is under way, and a browser forgets what its page has not read yet: so the control stream is
    /// ended first, and the close waits until the client has ended its own half, for half a second at most.
    async fn close(&mut self, code: CloseCode, reason: &'static str) {
        let session = self.session.clone();
        let parting = async {
            let _ = self.control.finish();
            let _ = self.control.stopped().await;
            tokio::select! {
                () = self.finished.cancelled() => {}
                () = sleep(FAREWELL) => {}
            }
        };
        tokio::select! {
            _ = timeout(DELIVERY, parting) => {}
            _ = session.closed() => {}
        }
        self.closing.store(true, Ordering::Relaxed);
        session.close(u16::from(code).into(), reason.as_bytes());
        let _ = timeout(FAREWELL, session.closed()).await;
    }
}

/// The largest chunk: a whole audio message with its header.
const MAX_CHUNK: usize = MAX_AUDIO_BYTES + FrameHeader::LEN;
/// Length before each message.
const LENGTH: usize = 4;
/// Streams of audio at once: one a channel, as many channels as a session may have.
pub(crate) const MAX_STREAMS: u32 = 8;
/// Unidirectional streams that HTTP/3 has for itself: control and two of QPACK, and one of nonsense that browsers send to keep
/// servers tolerant.
pub(crate) const HTTP3_STREAMS: u32 = 4;
/// What a client of a session may have sent that is not read yet, on all streams: half a second of eight channels at 48 kHz, 16 bit.
const RECEIVE_WINDOW: u32 = 384 * 1024;
/// Audio that can be here unread, whatever carries it.
const MOST_UNREAD: usize = RECEIVE_WINDOW as usize + datagrams::MAX_BYTES;
/// For the last events to arrive.
const DELIVERY: Duration = Duration::from_secs(4);
/// For the client to read them.
const FAREWELL: Duration = Duration::from_millis(500);
