//! One conversation, from the open connection to the close code. Start reading here.
//!
//! The loop waits for whichever comes first: the client, a transcript, an answer, room in the outbox, a timer. It never
//! awaits anything else, so that it is never deaf; dropping what it holds is what cancels.

use std::{sync::Arc, time::Duration};

use protocol::{ClientMessage, CloseCode, ServerEvent, ServerMessage, StartStream};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Engine,
    outbox::{self, Outgoing},
    ports::Access,
    registry::{Full, Slot},
    session::{Ending, Goodbye, Session},
    transport::{Frame, Receive, ReceiveError, Transmit},
};

/// Serves one connection of who has `access` until it ends; `stop` asks it to finish soon.
///
/// Dropping the future drops the session with everything it computes.
pub async fn serve(
    engine: Arc<Engine>,
    access: Access,
    mut receive: impl Receive,
    transmit: impl Transmit + 'static,
    stop: CancellationToken,
) {
    let (outbox, writer) = outbox::start(transmit, engine.limits.ping_every);
    let patience = engine.limits.slow_client;
    let goodbye = match engine.registry.admit(&access) {
        Err(full) => refuse(full.into(), &outbox),
        Ok(slot) => {
            let goodbye = match open(&engine, access, &mut receive, &stop).await {
                Ok(session) => run(session, &mut receive, &outbox, &slot, stop).await,
                Err(refusal) => refuse(refusal, &outbox),
            };
            drop(slot);
            goodbye
        }
    };
    let abort = writer.abort_handle();
    if let Some((code, reason)) = goodbye {
        let parting = async {
            // Fails when the peer is gone, who needs no goodbye.
            let _ = outbox.send(Outgoing::Close(code, reason)).await;
            drop(outbox);
            // A socket closed with unread input is reset, and what it was told last is lost with it.
            let unread = async { while let Some(Ok(_)) = receive.recv().await {} };
            let _ = tokio::join!(writer, unread);
        };
        let _ = timeout(patience, parting).await;
    }
    // A writer stuck on a peer that does not read would keep the socket for ever.
    abort.abort();
}

/// Says why there is no session; the goodbye to close with.
fn refuse(refusal: Refusal, outbox: &mpsc::Sender<Outgoing>) -> Option<Goodbye> {
    let Refusal { code, message, retry_after_ms } = refusal;
    for counter in ["sessions_refused_total", "errors_total"] {
        metrics::counter!(counter, "code" => u16::from(code).to_string()).increment(1);
    }
    let error = ServerMessage::Error { code, message, fatal: true, retry_after_ms };
    // The first event of an empty outbox finds room.
    let _ = outbox.try_send(Outgoing::Event(Box::new(ServerEvent { event: 1, message: error })));
    Some((code, "refused"))
}

/// Why no session was opened.
struct Refusal {
    code: CloseCode,
    message: String,
    retry_after_ms: Option<u64>,
}

impl Refusal {
    fn new(code: CloseCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None }
    }
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        let (code, message) = match full {
            Full::Server(max) => (
                CloseCode::Overloaded,
                format!("all {max} session slots of this server are taken; try again, or another server"),
            ),
            Full::User(max) => (
                CloseCode::TooMany,
                format!(
                    "this account has {max} sessions open, as many as one may have at once; end one of them"
                ),
            ),
        };
        Self { code, message, retry_after_ms: Some(RETRY_AFTER_MS) }
    }
}

/// Waits for `start_stream` and builds its session.
async fn open(
    engine: &Arc<Engine>,
    access: Access,
    receive: &mut impl Receive,
    stop: &CancellationToken,
) -> Result<Session, Refusal> {
    let frame = tokio::select! {
        frame = timeout(engine.limits.start_timeout, receive.recv()) => frame,
        () = stop.cancelled() => return Err(Refusal::new(CloseCode::Leaving, "the server is shutting down")),
    };
    let start = match frame {
        Err(_) => return Err(Refusal::new(CloseCode::Idle, "no start_stream came in time")),
        Ok(None) => return Err(Refusal::new(CloseCode::Done, "closed before start_stream")),
        Ok(Some(Err(error))) => return Err(Refusal::new(receive_error_code(&error), error.to_string())),
        Ok(Some(Ok(Frame::Audio(_)))) => {
            return Err(Refusal::new(
                CloseCode::Malformed,
                "audio came before start_stream; send start_stream first",
            ));
        }
        Ok(Some(Ok(Frame::Control(json)))) => parse_start(&json)?,
    };
    let session = Session::open(Arc::clone(engine), access, start).await;
    session.map_err(|error| Refusal::new(error.code, error.message))
}

fn parse_start(json: &[u8]) -> Result<StartStream, Refusal> {
    let malformed = |message| Refusal::new(CloseCode::Malformed, message);
    match crate::session::parse(json) {
        Ok(ClientMessage::StartStream(start)) => Ok(*start),
        Ok(_) => Err(malformed("the first message must be start_stream".to_owned())),
        Err(error) => Err(Refusal::new(error.code, error.message)),
    }
}

/// The loop. Returns what to close with, or nothing when nobody reads.
async fn run(
    mut session: Session,
    receive: &mut impl Receive,
    outbox: &mpsc::Sender<Outgoing>,
    slot: &Slot,
    stop: CancellationToken,
) -> Option<Goodbye> {
    let limits = session.limits();
    let mut tick = interval(ACK_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut idle_at = Instant::now() + limits.idle_timeout;
    let mut slow_at = None;
    let mut drain_at = None;
    let mut cut = false;
    let mut revoked = false;

    loop {
        session.conclude();
        let sending = session.has_staged();
        if !sending {
            slow_at = None;
            if let Some(goodbye) = session.goodbye() {
                return Some(goodbye);
            }
        }
        let slow = *slow_at.get_or_insert_with(|| Instant::now() + limits.slow_client);
        let hearing = session.wants_to_hear();
        if !hearing {
            // A client that is not being heard is not idle.
            idle_at = Instant::now() + limits.idle_timeout;
        }
        if session.is_ending_early() && drain_at.is_none() {
            drain_at = Some(Instant::now() + limits.drain);
        }

        tokio::select! {
            permit = outbox.reserve(), if sending => match permit {
                Ok(permit) => session.send_next(permit),
                Err(_) => session.end(Ending::Gone),
            },
            frame = receive.recv(), if hearing => match frame {
                Some(Ok(frame)) => {
                    if session.on_frame(frame) {
                        idle_at = Instant::now() + limits.idle_timeout;
                    }
                }
                Some(Err(error)) => session.end(Ending::Fatal(receive_error_code(&error), error.to_string())),
                None => session.end(Ending::Gone),
            },
            () = outbox.closed(), if !session.is_ending() => session.end(Ending::Gone),
            () = session.advance(), if !sending => {}
            _ = tick.tick() => session.on_tick(),
            () = sleep_until(slow), if sending => {
                metrics::counter!("sessions_slow_total").increment(1);
                session.abandon("the client did not read its events in time");
                return None;
            }
            () = sleep_until(idle_at), if !session.is_ending() => session.end(Ending::Idle),
            () = sleep_until(drain_at.unwrap_or(idle_at)), if drain_at.is_some() && !cut => {
                cut = true;
                session.cut_drain();
            }
            () = slot.revoked(), if !revoked => {
                revoked = true;
                session.end(Ending::Fatal(CloseCode::Unauthenticated, REVOKED.to_owned()));
            }
            () = stop.cancelled(), if drain_at.is_none() => session.end(Ending::Shutdown),
        }
    }
}

fn receive_error_code(error: &ReceiveError) -> CloseCode {
    match error {
        ReceiveError::TooBig { .. } => CloseCode::TooBig,
        ReceiveError::Broken(_) => CloseCode::Malformed,
    }
}

const REVOKED: &str = "the login of this session has ended; log in and open a new session";
/// How often what was heard is acknowledged, if anything was: twice as often as promised.
const ACK_INTERVAL: Duration = Duration::from_millis(500);
/// When a refused client may try again: about the length of a short answer.
const RETRY_AFTER_MS: u64 = 2_000;
