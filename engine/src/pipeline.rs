//! One conversation, from the open connection to the close code. Start reading here.
//!
//! The loop waits for whichever comes first: the client, a transcript, an answer, room in the outbox, a timer. It never
//! awaits anything else, so that it is never deaf; dropping what it holds is what cancels.

mod waiting;

use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, FutureExt as _};
use protocol::{ClientMessage, CloseCode, Framing, Resume, ServerEvent, ServerMessage, StartStream};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::waiting::wait;
use crate::{
    Engine,
    outbox::{self, Outgoing},
    ports::Access,
    registry::Full,
    resume::{Claim, ClaimError, Live, Place},
    session::{Ending, Goodbye, Session},
    transport::{
        Frame, Receive, ReceiveError, Transmit,
        memory::{MemoryReceiver, MemorySender},
    },
};

/// Serves one connection of who has `access` until it ends, and its session until another connection takes it over; `stop`
/// asks it to finish soon.
///
/// Dropping the future drops the session with everything it computes.
pub(crate) async fn serve(
    engine: Arc<Engine>,
    access: Access,
    mut receive: impl Receive,
    transmit: impl Transmit + 'static,
    stop: CancellationToken,
) {
    let (outbox, writer) = outbox::start(transmit, engine.limits.ping_every);
    let connection =
        Connection { outbox, writer: AbortOnDropHandle::new(writer), patience: engine.limits.slow_client };
    let mut live = match open(&engine, access, &mut receive, &stop).await {
        Ok(live) => live,
        Err(refusal) => {
            let goodbye = refuse(refusal, &connection.outbox);
            connection.part(&mut receive, goodbye).await;
            return;
        }
    };
    match run(&mut live, &mut receive, &connection.outbox, &stop).await {
        Exit::Over(goodbye) if !live.session.is_resumable() => {
            drop(live);
            connection.part(&mut receive, goodbye).await;
        }
        Exit::Over(goodbye) => {
            // Others may have its slot; where there is no other place it keeps it.
            let _ = engine.resumables.rest(&mut live.place);
            let read = tokio::select! {
                read = connection.part(&mut receive, goodbye) => read,
                // Whoever has not read the end comes for it over another connection.
                claim = live.registration.claimed() => match claim.hand_over(live) {
                    Ok(()) => return,
                    Err(back) => {
                        live = back;
                        false
                    }
                },
            };
            drop(receive);
            if !read {
                wait(&engine, live, &stop).await;
            }
        }
        Exit::Lost => {
            drop((connection, receive));
            wait(&engine, live, &stop).await;
        }
        Exit::Elsewhere => {
            drop(live);
            metrics::counter!("sessions_taken_over_total").increment(1);
            let goodbye = tell(Refusal::taken_over(), &connection.outbox);
            connection.part(&mut receive, goodbye).await;
        }
        Exit::Claimed(claim) => {
            live.session.detach();
            if let Err(live) = claim.hand_over(live) {
                // Whoever asked has gone, and this connection no longer knows what it has missed.
                drop((connection, receive));
                wait(&engine, live, &stop).await;
            } else {
                metrics::counter!("sessions_taken_over_total").increment(1);
                let goodbye = tell(Refusal::taken_over(), &connection.outbox);
                connection.part(&mut receive, goodbye).await;
            }
        }
    }
}

/// Serves one connection over memory, as the server does one over a network. Compiled once, here, and not in everyone who uses it.
pub fn serve_in_memory(
    engine: Arc<Engine>,
    access: Access,
    receive: MemoryReceiver,
    transmit: MemorySender,
    stop: CancellationToken,
) -> BoxFuture<'static, ()> {
    serve(engine, access, receive, transmit, stop).boxed()
}

/// The way to the client.
struct Connection {
    outbox: mpsc::Sender<Outgoing>,
    /// Stuck on a peer that does not read it would keep the socket for ever, so it is aborted.
    writer: AbortOnDropHandle<()>,
    patience: Duration,
}

impl Connection {
    /// Says goodbye, if there is one to be said; whether the client has read it, as far as that can be known.
    async fn part(self, receive: &mut impl Receive, goodbye: Option<Goodbye>) -> bool {
        let Some((code, reason)) = goodbye else { return false };
        let Self { outbox, writer, patience } = self;
        let parting = async {
            if outbox.send(Outgoing::Close(code, reason)).await.is_err() {
                // The peer is gone, and needs no goodbye.
                return false;
            }
            drop(outbox);
            // A socket closed with unread input is reset, and what it was told last is lost with it.
            let unread = async {
                loop {
                    match receive.recv().await {
                        Some(Ok(_)) => {}
                        Some(Err(_)) => return false,
                        None => return true,
                    }
                }
            };
            tokio::join!(writer, unread).1
        };
        timeout(patience, parting).await.unwrap_or(false)
    }
}

/// How the loop of a connection ended.
enum Exit {
    /// The session is over: what to close with, or nothing when nobody reads.
    Over(Option<Goodbye>),
    /// The connection is lost, and its client may come back.
    Lost,
    /// Another connection takes the session over.
    Claimed(Claim),
    /// Another server has taken it over.
    Elsewhere,
}

/// Says why there is no session; the goodbye to close with.
fn refuse(refusal: Refusal, outbox: &mpsc::Sender<Outgoing>) -> Option<Goodbye> {
    metrics::counter!("sessions_refused_total", "code" => u16::from(refusal.code).to_string()).increment(1);
    tell(refusal, outbox)
}

/// Says why there is no session on this connection, or no longer; the goodbye to close with.
fn tell(refusal: Refusal, outbox: &mpsc::Sender<Outgoing>) -> Option<Goodbye> {
    let Refusal { code, message, retry_after_ms } = refusal;
    metrics::counter!("errors_total", "code" => u16::from(code).to_string()).increment(1);
    let error = ServerMessage::Error { code, message, fatal: true, retry_after_ms };
    let event = ServerEvent { event: 1, message: error };
    let json = serde_json::to_string(&event).expect("events are plain data");
    // The first event of an empty outbox finds room; who is taken over and does not read needs to know nothing.
    let _ = outbox.try_send(Outgoing::Event(json.into()));
    Some((code, "see the error event"))
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

    fn taken_over() -> Self {
        Self::new(
            CloseCode::TakenOver,
            "another connection with the same resume token goes on with this session",
        )
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

/// Waits for `start_stream`, and opens its session or takes it over.
async fn open(
    engine: &Arc<Engine>,
    access: Access,
    receive: &mut impl Receive,
    stop: &CancellationToken,
) -> Result<Box<Live>, Refusal> {
    let frame = tokio::select! {
        frame = timeout(engine.limits.start_timeout, receive.recv()) => frame,
        () = stop.cancelled() => return Err(Refusal::new(CloseCode::Leaving, "the server is shutting down")),
    };
    let mut start = match frame {
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
    if receive.needs_numbers() && start.audio.framing != Framing::Numbered {
        return Err(Refusal::new(CloseCode::Malformed, "over QUIC, audio.framing must be \"numbered\""));
    }
    if let Some(resume) = start.resume.take() {
        return take_over(engine, access, start, &resume, stop).await;
    }
    let slot = engine.registry.admit(&access)?;
    let opened = Session::open(Arc::clone(engine), access, start).await;
    let (session, registration) = opened.map_err(|error| Refusal::new(error.code, error.message))?;
    Ok(Box::new(Live { session, place: Place::among_the_served(slot), registration }))
}

/// Takes the session that `resume` names from the connection that has it, or had it.
async fn take_over(
    engine: &Arc<Engine>,
    access: Access,
    start: StartStream,
    resume: &Resume,
    stop: &CancellationToken,
) -> Result<Box<Live>, Refusal> {
    let claimed = match claim(engine, &access, &resume.token).await {
        Err(ClaimError::Unknown) => match recover(engine, &access, &resume.token).await? {
            Some(live) => Ok(live),
            // Another connection may be making it again just now.
            None => claim(engine, &access, &resume.token).await,
        },
        claimed => claimed,
    };
    let mut live = claimed.map_err(|error| {
        let message = error.to_string();
        match error {
            ClaimError::Unknown => Refusal::new(CloseCode::Forbidden, message),
            ClaimError::Busy => {
                Refusal { code: CloseCode::Overloaded, message, retry_after_ms: Some(CLAIM_AGAIN_MS) }
            }
        }
    })?;
    if live.place.is_resting() && live.session.goodbye().is_none() {
        match engine.registry.admit(&access) {
            Ok(slot) => live.place = Place::among_the_served(slot),
            Err(full) => {
                go_on_waiting(engine, live, stop);
                return Err(full.into());
            }
        }
    } else {
        // One that is over is read to the end, and computes nothing.
        live.place.slot.set_access(&access);
    }
    let token = live.registration.token().to_owned();
    match live.session.attach(access, start, &token, resume.last_event) {
        Ok(()) => {
            metrics::counter!("sessions_resumed_total").increment(1);
            Ok(live)
        }
        Err(error) => {
            go_on_waiting(engine, live, stop);
            Err(Refusal::new(error.code, error.message))
        }
    }
}

/// Takes the session with `token` from the connection that has it here, unless another server goes on with it by now.
async fn claim(engine: &Engine, access: &Access, token: &str) -> Result<Box<Live>, ClaimError> {
    let mut live = engine.resumables.claim(access, token).await?;
    if let Some(journals) = engine.journals.as_ref().filter(|_| live.session.has_journal())
        && journals.is_ours(&live.registration.key()).await == Ok(false)
    {
        live.session.leave_to_others();
        return Err(ClaimError::Unknown);
    }
    Ok(live)
}

/// The session is as it was, for a client that asks as it should, or later.
fn go_on_waiting(engine: &Arc<Engine>, live: Box<Live>, stop: &CancellationToken) {
    let (engine, stop) = (Arc::clone(engine), stop.clone());
    tokio::spawn(async move { wait(&engine, live, &stop).await });
}

/// Makes the session with `token` again that an earlier process served, or another one, if there is a journal.
async fn recover(engine: &Arc<Engine>, access: &Access, token: &str) -> Result<Option<Box<Live>>, Refusal> {
    let Some(journals) = &engine.journals else { return Ok(None) };
    let Some(registration) = engine.resumables.register_again(&access.principal, token) else {
        return Ok(None);
    };
    // Before the journal is taken from whoever writes it.
    let slot = engine.registry.admit(access)?;
    let kept = journals.reopen(&registration.key()).await.map_err(|error| {
        tracing::warn!(%error, "a session cannot be recovered");
        Refusal {
            code: CloseCode::Overloaded,
            message: "the session cannot be read back for now; try again".to_owned(),
            retry_after_ms: Some(RETRY_AFTER_MS),
        }
    })?;
    let Some(kept) = kept else { return Ok(None) };
    let recovered = Session::recover(Arc::clone(engine), access.clone(), kept).await;
    let session = recovered.map_err(|error| Refusal::new(error.code, error.message))?;
    Ok(Some(Box::new(Live { session, place: Place::among_the_served(slot), registration })))
}

fn parse_start(json: &[u8]) -> Result<StartStream, Refusal> {
    let malformed = |message| Refusal::new(CloseCode::Malformed, message);
    match crate::session::parse(json) {
        Ok(ClientMessage::StartStream(start)) => Ok(*start),
        Ok(_) => Err(malformed("the first message must be start_stream".to_owned())),
        Err(error) => Err(Refusal::new(error.code, error.message)),
    }
}

/// The loop of a session on one connection.
async fn run(
    live: &mut Live,
    receive: &mut impl Receive,
    outbox: &mpsc::Sender<Outgoing>,
    stop: &CancellationToken,
) -> Exit {
    let Live { session, place, registration } = live;
    let limits = session.limits();
    let mut tick = interval(ACK_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut idle_at = Instant::now() + limits.idle_timeout;
    let mut slow_at = None;
    let mut drain_at = None;
    let mut cut = false;
    let mut revoked = false;
    let mut gone = false;

    loop {
        session.conclude();
        session.flush();
        if session.is_elsewhere() {
            return Exit::Elsewhere;
        }
        let sending = session.has_staged();
        if !sending {
            slow_at = None;
        }
        if !session.has_unsent()
            && let Some(goodbye) = session.goodbye()
        {
            return Exit::Over(Some(goodbye));
        }
        // Only looked at while something is to be sent.
        let slow = *slow_at.get_or_insert_with(|| Instant::now() + limits.slow_client);
        let hearing = session.wants_to_hear();
        if !hearing {
            // A client that is not being heard is not idle.
            idle_at = Instant::now() + limits.idle_timeout;
        }
        if session.is_ending_early() && drain_at.is_none() {
            drain_at = Some(Instant::now() + limits.drain);
        }

        let lost = tokio::select! {
            permit = outbox.reserve(), if sending => match permit {
                Ok(permit) => {
                    session.send_next(permit);
                    false
                }
                Err(_) => true,
            },
            frame = receive.recv(), if hearing => match frame {
                Some(Ok(frame)) => {
                    if session.on_frame(frame) {
                        idle_at = Instant::now() + limits.idle_timeout;
                    }
                    false
                }
                Some(Err(ReceiveError::Lost)) => true,
                Some(Err(error)) => {
                    session.end(Ending::Fatal(receive_error_code(&error), error.to_string()));
                    false
                }
                // It hung up, and wants no more.
                None => {
                    session.end(Ending::Gone);
                    false
                }
            },
            () = outbox.closed(), if !gone => {
                gone = true;
                true
            }
            () = session.advance(), if !sending => false,
            _ = tick.tick() => {
                session.on_tick();
                false
            }
            () = sleep_until(slow), if sending => {
                metrics::counter!("sessions_slow_total").increment(1);
                if session.can_wait() {
                    return Exit::Lost;
                }
                session.abandon("the client did not read its events in time");
                return Exit::Over(None);
            }
            () = sleep_until(idle_at), if !session.is_ending() => {
                session.end(Ending::Idle);
                false
            }
            () = sleep_until(drain_at.unwrap_or(idle_at)), if drain_at.is_some() && !cut => {
                cut = true;
                session.cut_drain();
                false
            }
            () = place.slot.revoked(), if !revoked => {
                revoked = true;
                session.end(Ending::Fatal(CloseCode::Unauthenticated, REVOKED.to_owned()));
                false
            }
            claim = registration.claimed() => return Exit::Claimed(claim),
            () = stop.cancelled(), if drain_at.is_none() => {
                session.end(Ending::Shutdown);
                false
            }
        };
        if lost {
            if session.can_wait() {
                return Exit::Lost;
            }
            session.end(Ending::Gone);
        }
    }
}

fn receive_error_code(error: &ReceiveError) -> CloseCode {
    match error {
        ReceiveError::TooBig { .. } => CloseCode::TooBig,
        ReceiveError::Broken(_) => CloseCode::Malformed,
        // Nobody reads the code.
        ReceiveError::Lost => CloseCode::Done,
    }
}

const REVOKED: &str = "the login of this session has ended; log in and open a new session";
/// How often what was heard is acknowledged, if anything was: twice as often as promised.
const ACK_INTERVAL: Duration = Duration::from_millis(500);
/// When a refused client may try again: about the length of a short answer.
const RETRY_AFTER_MS: u64 = 2_000;
/// When a client may ask again for a session that others ask for too.
const CLAIM_AGAIN_MS: u64 = 500;
