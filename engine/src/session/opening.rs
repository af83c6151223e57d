//! A session is opened: what the client wants, what the account prefers, what is known of the candidate.
//!
//! Not here: one that is made again (`recovering`), or gets another connection (`resuming`).

use std::sync::Arc;

use protocol::{CloseCode, Framing, StartStream, Totals};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::{
    ClientError, PORT_TIMEOUT, Session,
    answering::Answers,
    events::EventLog,
    hearing::Hearing,
    journal::{Beginning, Journal},
    minutes::Minutes,
    record,
};
use crate::{
    Engine,
    answerer::Answerer,
    history::History,
    ports::{Access, CandidateContext, ContextError, Principal},
    resume::Registration,
    vocabulary,
};

impl Session {
    /// Opens the session that `start` asks for.
    pub(crate) async fn open(
        engine: Arc<Engine>,
        access: Access,
        start: StartStream,
    ) -> Result<(Self, Registration), ClientError> {
        let id = session_id(start.session_id.clone(), access.session_id.as_deref())?;
        let run = uuid::Uuid::now_v7().to_string();
        let known = known(&engine, &access).await?;
        let (mut session, unknown) = Self::build(engine, access, &start, &known, &id, &run)?;
        let resumables = &session.engine.resumables;
        let registration = resumables.register(&session.access.principal, &id, session.is_resumable());
        if let Some(journals) = &session.engine.journals
            && session.is_resumable()
            && session.config.save_history
        {
            let writer = journals.create(&registration.key());
            let mut journal = Journal::start(writer, &session.engine.writers, 0);
            let preferences = &known.context.preferences;
            journal.begin(&Beginning::new(&session.access, &id, &run, &start, preferences));
            session.journal = Some(journal);
        }
        metrics::counter!("sessions_total").increment(1);
        tracing::info!(session_id = session.id, "session opened");
        let started = session.stream_started(registration.token());
        session.emit(started);
        session.warm_model();
        session.prefill();
        if let Some(why) = known.missing {
            session.warn(
                "context_unavailable",
                format!("answers know nothing of the candidate, and nothing is kept unless asked for: {why}"),
            );
        }
        if let Some(why) = unknown {
            session.warn("preferences_ignored", format!("the account's preferences are not used: {why}"));
        }
        Ok((session, registration))
    }

    /// A session of which nobody has been told anything; and why the account's preferences are not used, if they are not.
    pub(super) fn build(
        engine: Arc<Engine>,
        access: Access,
        start: &StartStream,
        known: &Known,
        id: &str,
        run: &str,
    ) -> Result<(Self, Option<String>), ClientError> {
        let context = &known.context;
        // A preference that this server does not know any more is no reason to have no session.
        let preferred = engine.defaults.updated(context.preferences.clone());
        let (mut config, unknown) = match preferred {
            Ok(config) => (config, None),
            Err(error) => (engine.defaults.clone(), Some(error.to_string())),
        };
        // Who cannot be asked, or was not understood, may have wished to leave no trace.
        config.save_history &= known.missing.is_none() && context.preferences.save_history != Some(false);
        let config = match start.config.clone() {
            Some(update) => config.updated(update).map_err(|e| ClientError::malformed(e.to_string()))?,
            None => config,
        };
        let audio = start.audio.clone();
        let resumable = audio.framing == Framing::Numbered;
        let mut hearing = Hearing::new(&engine, audio.clone(), &config)?;
        hearing.set_candidate_terms(vocabulary::terms(&[&context.cv, &context.job_description]));
        let identity = identity(&access.principal, context);
        let answerer = Answerer::new(Arc::clone(&engine.chat), context.clone())
            .with_context_tokens(config.context_tokens);
        let remembered = engine.memories.take_over(&access.principal, id, hearing.key);
        let history = remembered.map(History::carried_over).unwrap_or_default();
        let recorder = config.save_history.then(|| record(&engine, &access, id, run));
        let session = Self {
            access,
            id: id.to_owned(),
            run: run.to_owned(),
            answers: Answers::new(answerer, identity, &config),
            config,
            history,
            recorder,
            events: EventLog::new(resumable),
            journal: None,
            given_up: None,
            elsewhere: false,
            replay: None,
            audio,
            ending: None,
            cut: false,
            next_config: None,
            goodbye: None,
            totals: Totals::default(),
            minutes: Minutes::default(),
            controls: 0,
            refused_messages: 0,
            history_warned: false,
            hearing,
            engine,
        };
        Ok((session, unknown))
    }
}

/// What the outside knows of the candidate, or why it does not.
pub(super) struct Known {
    pub(super) context: CandidateContext,
    missing: Option<String>,
}

pub(super) async fn known(engine: &Engine, access: &Access) -> Result<Known, ClientError> {
    let (context, missing) = match timeout(PORT_TIMEOUT, engine.context.context(access)).await {
        Ok(Ok(context)) => (context, None),
        Ok(Err(ContextError::Revoked)) => {
            let why = ContextError::Revoked.to_string();
            return Err(ClientError::new(CloseCode::Unauthenticated, why));
        }
        Ok(Err(ContextError::Unavailable(why))) => (CandidateContext::default(), Some(why)),
        Err(_) => (CandidateContext::default(), Some("it did not come in time".to_owned())),
    };
    Ok(Known { context, missing })
}

/// What answers depend on and no client changes.
fn identity(principal: &Principal, candidate: &CandidateContext) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in [&principal.user, &candidate.profile, &candidate.cv, &candidate.job_description] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// The session's id: what the client wants, unless it was let in for one session only.
fn session_id(wanted: Option<String>, only: Option<&str>) -> Result<String, ClientError> {
    match wanted {
        Some(id) if only.is_some_and(|only| only != id) => Err(ClientError::new(
            CloseCode::Forbidden,
            "the ticket is for another session; leave session_id out, or get another ticket",
        )),
        None if only.is_some() => Ok(only.unwrap_or_default().to_owned()),
        None => Ok(uuid::Uuid::now_v7().to_string()),
        Some(id) if (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) => Ok(id),
        Some(_) => Err(ClientError::malformed("session_id must be 1 to 64 printable ASCII characters")),
    }
}
