//! A session that changes its connection: what its client has missed is sent again, and what is missing is waited for.
//!
//! Not here: who may have the session (`resume`), how long it waits (`pipeline`).

use protocol::{ClientMessage, CloseCode, Framing, StartStream};

use super::{
    ClientError, Ending, Session,
    events::NeverSent,
    journal::{GivenUp, Journal, Record, State},
};
use crate::ports::Access;

impl Session {
    /// Goes on over another connection, whose client has every event up to `last_event`. Refused, nothing has changed.
    pub(crate) fn attach(
        &mut self,
        access: Access,
        start: StartStream,
        token: &str,
        last_event: u64,
    ) -> Result<(), ClientError> {
        if access.session_id.as_ref().is_some_and(|only| *only != self.id) {
            return Err(ClientError::new(CloseCode::Forbidden, "the ticket is for another session"));
        }
        if start.audio != self.audio {
            return Err(ClientError::malformed(
                "audio is not as when the session was opened; send it unchanged",
            ));
        }
        if start.session_id.is_some_and(|id| id != self.id) {
            return Err(ClientError::malformed(
                "the resume token is of another session; leave session_id out",
            ));
        }
        let update = start.config.clone();
        let config = match start.config {
            Some(update) => {
                let current = self.next_config.as_ref().unwrap_or(&self.config);
                Some(current.updated(update).map_err(|error| ClientError::malformed(error.to_string()))?)
            }
            None => None,
        };
        let started = self.stream_started(token);
        // It says what was received, which must be written first.
        let after = self.journal.as_ref().map_or(0, Journal::position);
        let missing = self.events.rewind(started, last_event, after).map_err(|NeverSent| {
            ClientError::malformed(format!("event {last_event} was never sent; open a new session"))
        })?;
        tracing::info!(session_id = self.id, "session resumed");
        self.access = access;
        self.hearing.wait_for_gaps();
        if let (Some(config), Some(update)) = (config, update) {
            let message = ClientMessage::UpdateConfig { config: update };
            let json = serde_json::to_vec(&message).expect("client messages are plain data");
            self.log(&Record::Config(&json));
            self.take_config(config);
        }
        if let Some((first, last)) = missing {
            self.warn("events_lost", format!("events {first} to {last} are too long ago to be sent again"));
        }
        Ok(())
    }

    /// The connection is lost, or taken over: what is being computed goes on.
    pub(crate) fn detach(&mut self) {
        tracing::info!(session_id = self.id, "session without a connection");
    }

    /// Whether a client that lost its connection can go on with the session.
    pub(crate) fn is_resumable(&self) -> bool {
        self.audio.framing == Framing::Numbered
    }

    /// Whether the session should wait for its client, now that the connection is lost.
    pub(crate) fn can_wait(&self) -> bool {
        self.is_resumable() && matches!(self.ending, None | Some(Ending::Client | Ending::Limit))
    }

    /// The server is leaving: what was said is written down, as far as there is time; the rest is where the session goes on.
    pub(super) fn leave(&mut self) {
        tracing::info!(session_id = self.id, "session left for another server");
        self.drop_all_held();
        self.warn(
            "server_leaving",
            "the server is leaving; resume the session, here or elsewhere".to_owned(),
        );
        self.ending = Some(Ending::Leaving);
    }

    /// Hands what happened to the journal's writer. A journal that cannot keep up is given up, and the client told.
    pub(crate) fn flush(&mut self) {
        match self.journal.as_mut().map_or(State::Kept, Journal::flush) {
            State::Kept => {}
            State::Lost => self.lose_journal(),
            State::TakenOver => self.leave_to_others(),
        }
        if self.given_up.as_ref().is_some_and(GivenUp::is_taken_over) {
            self.leave_to_others();
        }
        let written = self.written();
        if let Some(recorder) = &mut self.recorder {
            recorder.pump(written);
        }
    }

    /// The journal cannot be written, and the client is told.
    pub(super) fn lose_journal(&mut self) {
        metrics::counter!("journals_given_up_total").increment(1);
        self.drop_journal();
        let why = "the session's journal cannot be written; it goes on, but would not survive a restart of the server";
        self.warn("journal_unavailable", why.to_owned());
    }

    /// Whether another server goes on with the session: this one has nothing more to say.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.elsewhere
    }

    /// Another server goes on with the session, from what the journal held then.
    pub(crate) fn leave_to_others(&mut self) {
        tracing::info!(session_id = self.id, "another server goes on with the session");
        self.elsewhere = true;
        (self.journal, self.given_up) = (None, None);
        if let Some(recorder) = self.recorder.take() {
            recorder.abandon();
        }
    }

    /// Whether another server could go on with the session.
    pub(crate) fn has_journal(&self) -> bool {
        self.journal.is_some() || self.given_up.as_ref().is_some_and(GivenUp::is_there)
    }

    /// The process ends, and the client has not read everything: it comes for the rest when the server is back.
    pub(crate) fn leave_journal(&mut self) {
        self.journal = None;
    }

    /// Keeps nothing any more.
    pub(super) fn drop_journal(&mut self) {
        if let Some(journal) = self.journal.take() {
            self.given_up = Some(journal.remove());
            self.events.release();
            if let Some(recorder) = &mut self.recorder {
                recorder.pump(u64::MAX);
            }
        }
    }
}
