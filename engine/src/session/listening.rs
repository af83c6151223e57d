//! What the session does with what is heard: audio frames in, turns and texts out, questions to `answering`.
//!
//! Not here: what is kept between the steps (`hearing`).

use std::{collections::VecDeque, sync::Arc};

use codecs::{Finish, SampleIndex};
use futures_util::FutureExt as _;
use models::speech::{Priority, TranscribeError};
use protocol::{AnswerMode, CloseCode, FrameHeader, Framing, Role, ServerMessage, Transcription};
use tokio::time::Instant;

use super::{
    ClientError, Ending, Session,
    draft::{Draft, Pass, Text},
    guessing::Guess,
    hearing::{FinalText, Heard, HeardQuestion, InterimText, collect},
    journal::Record,
    parts::{Part, persist},
};
use crate::listener::{ListenError, TurnEvent, TurnEventKind, Utterance};

impl Session {
    pub(super) fn on_audio_frame(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        match self.hearing.framing {
            Framing::Raw => self.on_audio(0, None, false, bytes),
            Framing::Numbered => {
                let (header, audio) =
                    FrameHeader::parse(bytes).map_err(|error| ClientError::malformed(error.to_string()))?;
                self.on_audio(header.channel, Some(header.seq), header.last, audio)
            }
        }
    }

    pub(super) fn on_audio(
        &mut self,
        index: u8,
        seq: Option<u32>,
        last: bool,
        bytes: &[u8],
    ) -> Result<(), ClientError> {
        if self.ending.is_some() {
            // A microphone stops a little late: nobody waits for these words.
            metrics::counter!("audio_chunks_late_total").increment(1);
            return Ok(());
        }
        if bytes.len() > protocol::MAX_AUDIO_BYTES {
            let message = format!(
                "{} bytes of audio in one message; send at most {}",
                bytes.len(),
                protocol::MAX_AUDIO_BYTES
            );
            return Err(ClientError::new(CloseCode::TooBig, message));
        }
        let count = self.hearing.streams.len();
        let Some(stream) = self.hearing.streams.get_mut(usize::from(index)) else {
            return Err(ClientError::malformed(format!(
                "audio for channel {index}; audio.roles opened {count}"
            )));
        };
        if stream.finished {
            return Err(ClientError::malformed(format!(
                "audio came after the last chunk of channel {index}"
            )));
        }
        let expected = stream.next_seq;
        let seq = seq.unwrap_or(expected);
        if seq < expected || stream.early.has(seq) {
            metrics::counter!("audio_chunks_repeated_total").increment(1);
            return Ok(());
        }
        if let Some(journal) = &mut self.journal {
            journal.append_audio(FrameHeader { channel: index, seq, last }, bytes);
        }
        if seq > expected {
            if !stream.early.keep(seq, last, bytes) {
                self.give_up_gap(usize::from(index));
            }
        } else {
            self.hear(usize::from(index), last, bytes);
            self.hear_early(usize::from(index));
        }
        Ok(())
    }

    /// Hears the chunks whose turn has come.
    fn hear_early(&mut self, index: usize) {
        loop {
            let stream = &mut self.hearing.streams[index];
            if stream.finished {
                return;
            }
            let Some(chunk) = stream.early.take(stream.next_seq) else { return };
            self.hear(index, chunk.last, &chunk.audio);
        }
    }

    /// What is missing of a stream before the first early chunk is not waited for any longer.
    pub(super) fn give_up_gap(&mut self, index: usize) {
        let stream = &mut self.hearing.streams[index];
        let Some(first) = stream.early.first().filter(|_| !stream.finished) else { return };
        let expected = std::mem::replace(&mut stream.next_seq, first);
        let concealed = stream.listener.lose(first - expected);
        metrics::counter!("audio_chunks_lost_total").increment(u64::from(first - expected));
        let range = format!("audio chunks {expected} to {} of channel {index} never came", first - 1);
        let meaning = if concealed { "the gap is filled as well as can be" } else { "their words are lost" };
        self.warn("audio_gap", format!("{range}; {meaning}"));
        self.hear_early(index);
    }

    /// Gives up what has been waited for long enough.
    pub(super) fn give_up_late_gaps(&mut self) {
        let now = Instant::now();
        for index in 0..self.hearing.streams.len() {
            if self.hearing.streams[index].early.due().is_some_and(|due| due <= now) {
                self.log(&Record::GapGivenUp { stream: index as u8 });
                self.give_up_gap(index);
            }
        }
    }

    /// Hears the next chunk of a stream.
    fn hear(&mut self, index: usize, last: bool, bytes: &[u8]) {
        let mut events = Vec::new();
        let stream = &mut self.hearing.streams[index];
        stream.next_seq = stream.next_seq.wrapping_add(1);
        let heard = match bytes {
            // Says only that it is the last.
            [] if last => Ok(()),
            // A packet that the sender had nothing for: its time passes all the same.
            [] => {
                stream.listener.lose(1);
                Ok(())
            }
            bytes => stream.listener.push(bytes, &mut events),
        };
        self.on_turn_events(index, events);
        self.on_listened(index, heard);
        if last {
            self.finish_stream(index);
        }
        self.check_length();
    }

    /// A session is as long as its audio, however fast that comes.
    pub(super) fn check_length(&mut self) {
        if self.hearing.heard().as_ms() >= self.engine.limits.max_session.as_millis() as u64 {
            self.end(Ending::Limit);
        }
    }

    /// No more audio comes: ends every open turn.
    pub(super) fn finish_hearing(&mut self) {
        for index in 0..self.hearing.streams.len() {
            while self.hearing.streams[index].early.first().is_some() && !self.hearing.streams[index].finished
            {
                self.give_up_gap(index);
            }
            let stream = &mut self.hearing.streams[index];
            // A stream that never began has nothing to finish and nothing to complain of.
            if stream.next_seq == 0 {
                stream.finished = true;
            } else if !stream.finished {
                self.finish_stream(index);
            }
        }
        self.on_tick();
    }

    /// No more audio comes on this stream: hears what its decoder held back. Of a file that was kept that is
    /// only a part; [`advance`](Self::advance) goes on with the rest.
    pub(super) fn finish_stream(&mut self, index: usize) {
        let mut events = Vec::new();
        let stream = &mut self.hearing.streams[index];
        stream.finished = true;
        let heard = stream.listener.finish(&mut events);
        stream.draining = matches!(heard, Ok(Finish::More) | Err(ListenError::Skipped(_)));
        let released = stream.kept && !stream.draining;
        stream.kept &= stream.draining;
        self.on_turn_events(index, events);
        if released {
            self.hearing.release_markers(index);
        }
        self.on_listened(index, heard.map(|_| ()));
        self.check_length();
        self.answer_markers();
    }

    /// Gives up audio that is kept and not heard, and tells the client; what was heard of it is written down.
    pub(super) fn stop_draining(&mut self) {
        for index in 0..self.hearing.streams.len() {
            let mut events = Vec::new();
            let stream = &mut self.hearing.streams[index];
            let kept = std::mem::take(&mut stream.kept);
            if std::mem::take(&mut stream.draining) {
                stream.listener.finalize(None, &mut events);
                if !kept {
                    // It only stood still: what it had taken in is little, and is heard. What cannot be is told below.
                    let _ = stream.listener.finish(&mut events);
                }
                let heard_ms = stream.listener.heard().as_ms();
                let all = stream.listener.is_decoded();
                self.on_turn_events(index, events);
                if all {
                    continue;
                }
                let message = format!("the file was heard for {heard_ms} ms only; the rest of it is lost");
                self.warn("audio_cut", message);
            }
        }
    }

    pub(super) fn finalize(&mut self, channel: Option<u8>) -> Result<(), ClientError> {
        let wanted = channel.map(usize::from);
        if let Some(index) = wanted.filter(|index| *index >= self.hearing.channels.len()) {
            return Err(ClientError::malformed(format!(
                "finalize of channel {index}, which audio.roles did not open"
            )));
        }
        for index in 0..self.hearing.streams.len() {
            let mut events = Vec::new();
            let stream = &mut self.hearing.streams[index];
            let first = stream.first_channel;
            match wanted {
                Some(wanted) if self.hearing.channels[wanted].stream != index => continue,
                wanted => stream.listener.finalize(wanted.map(|wanted| wanted - first), &mut events),
            }
            self.on_turn_events(index, events);
        }
        Ok(())
    }

    fn on_listened(&mut self, stream: usize, heard: Result<(), ListenError>) {
        match heard {
            Ok(()) => {}
            Err(ListenError::Skipped(why)) => {
                self.warn("audio_skipped", format!("a damaged piece of audio was skipped: {why}"));
            }
            Err(ListenError::NotLive(why)) => {
                self.hearing.streams[stream].kept = true;
                self.warn("audio_not_live", why);
            }
            Err(ListenError::Deaf(why)) => self.end(Ending::Fatal(CloseCode::Undecodable, why)),
        }
    }

    pub(super) fn on_turn_events(&mut self, stream: usize, events: Vec<TurnEvent>) {
        let first = self.hearing.streams[stream].first_channel;
        for TurnEvent { channel, kind } in events {
            self.on_turn_event(first + channel, kind);
        }
        self.give_owed_hints();
    }

    pub(super) fn on_turn_event(&mut self, index: usize, kind: TurnEventKind) {
        let channel = &mut self.hearing.channels[index];
        match kind {
            TurnEventKind::Started(at) => {
                let turn = self.hearing.next_turn;
                self.hearing.next_turn += 1;
                channel.turn = Some(turn);
                let role = channel.role;
                self.take_next_config();
                self.expect_question(role);
                self.emit(ServerMessage::SpeechStarted {
                    channel: index as u8,
                    role,
                    at_ms: at.as_ms(),
                    turn,
                });
            }
            TurnEventKind::Growing if self.config.interim_results => self.hearing.request_interim(index),
            TurnEventKind::Growing => {}
            TurnEventKind::Paused(utterance) => self.on_pause(index, &utterance),
            TurnEventKind::Resumed => self.on_resumed(index),
            TurnEventKind::Ended(utterance) => self.on_turn_ended(index, utterance),
            TurnEventKind::Echoed(utterance) => self.on_echo(index, &utterance),
            TurnEventKind::EchoFound => self.warn_of_echo(),
        }
    }

    /// The turn was the interviewer's loudspeaker in the candidate's microphone: it ends without a text, as noise does.
    fn on_echo(&mut self, index: usize, utterance: &Utterance) {
        metrics::counter!("turns_echoed_total").increment(1);
        let channel = &mut self.hearing.channels[index];
        let Some(turn) = channel.turn.take() else { return };
        self.drop_held(turn);
        let channel = &mut self.hearing.channels[index];
        channel.guess = None;
        if let Some(replay) = &mut self.replay {
            replay.pause_over(index);
        }
        channel.draft = Draft::default();
        channel.parts.clear();
        channel.interim = None;
        channel.interim_due = false;
        channel.ended = utterance.heard;
        // There is no text that a marker could wait for.
        channel.passed = channel.passed.max(utterance.heard);
        let (role, at_ms) = (channel.role, utterance.speech_end.as_ms());
        self.emit(ServerMessage::SpeechEnded { channel: index as u8, role, at_ms, turn });
        self.warn_of_echo();
        self.answer_markers();
    }

    fn warn_of_echo(&mut self) {
        if !std::mem::replace(&mut self.hearing.echo_warned, true) {
            let why = "the candidate's microphone hears the interviewer; those words are left out, but headphones help: \
                       they cannot be told apart while both speak";
            self.warn("echo_suppressed", why.to_owned());
        }
    }

    fn on_turn_ended(&mut self, index: usize, utterance: Utterance) {
        let channel = &mut self.hearing.channels[index];
        let Some(turn) = channel.turn.take() else { return };
        channel.interim = None;
        channel.interim_due = false;
        channel.ended = utterance.heard;
        let role = channel.role;
        let draft = std::mem::take(&mut channel.draft);
        let parts = std::mem::take(&mut channel.parts);
        let guess = self.take_guess(index, utterance.speech_end);
        let at_ms = utterance.speech_end.as_ms();
        self.emit(ServerMessage::SpeechEnded { channel: index as u8, role, at_ms, turn });
        if let Some(replay) = &mut self.replay {
            return replay.turn_ended(turn, index, utterance);
        }
        self.write_down(turn, index, utterance, draft, parts, guess);
    }

    /// Has the last words of a whole turn written down.
    pub(super) fn write_down(
        &mut self,
        turn: u64,
        index: usize,
        utterance: Utterance,
        draft: Draft,
        parts: VecDeque<Part>,
        guess: Option<Guess>,
    ) {
        let decided = Instant::now();
        let said_ms = SampleIndex(utterance.speech_end - utterance.speech_start).as_ms();
        let transcriber = Arc::clone(&self.hearing.transcriber);
        let (again, start) = self.hearing.request(index, &draft, &utterance, Priority::Final);
        // What is asked for again, if it must be, begins where the guess began: a cut is made only after its guess is dropped.
        let (heard, first) = match guess {
            Some(guess) => (guess.heard, guess.text()),
            None => (utterance.heard, collect(transcriber.transcribe(again.clone())).boxed()),
        };
        let text = async move {
            let mut written = Vec::with_capacity(parts.len());
            for part in parts {
                written.push(part.await);
            }
            let (result, warnings) = persist(transcriber, first, again).await;
            let result = result.map(|transcript| Pass { start, heard, transcript });
            FinalText { turn, channel: index, utterance, decided, warnings, draft, parts: written, result }
        };
        self.hearing.finals.push_back(text.boxed());
        self.hearing.pending.push_back((index, said_ms));
    }

    pub(super) fn on_heard(&mut self, heard: Heard) {
        match heard {
            Heard::Final(text) => self.on_final(text),
            Heard::Interim(text) => self.on_interim(text),
            Heard::Part(index, part) => self.on_part(index, part),
            Heard::Guess(index) => self.on_guess(index),
            Heard::GuessLate => self.on_guess_late(),
        }
        self.answer_markers();
    }

    fn on_interim(&mut self, text: InterimText) {
        let InterimText { turn, channel: index, utterance, result } = text;
        let channel = &mut self.hearing.channels[index];
        if !channel.parts.is_empty() {
            // Its words come after some that are not known yet.
            channel.interim_due = true;
            return;
        }
        // A pass that failed counts too: a marker must not wait for what may never come.
        channel.passed = channel.passed.max(utterance.heard);
        let role = channel.role;
        let result = result.map(|pass| {
            let text = channel.draft.read(&pass);
            // A guess that is being made begins at the last cut.
            if channel.guess.is_none() {
                channel.draft.commit(&utterance);
            }
            text
        });
        if std::mem::take(&mut channel.interim_due) {
            self.hearing.request_interim(index);
        }
        match result {
            Ok(text) if text.text.is_empty() || !self.config.interim_results => {}
            Ok(text) => {
                let message = transcription(turn, index, role, &utterance, text, false);
                self.emit(ServerMessage::Transcription(message));
            }
            Err(TranscribeError::Superseded | TranscribeError::NotServed(_)) => {}
            Err(error) => {
                metrics::counter!("interims_failed_total").increment(1);
                if !std::mem::replace(&mut self.hearing.interim_failed, true) {
                    self.warn(
                        "interim_unavailable",
                        format!("interim text is missing for now; finals still come: {error}"),
                    );
                }
            }
        }
    }

    fn on_final(&mut self, text: FinalText) {
        let FinalText { turn, channel: index, utterance, decided, warnings, mut draft, parts, result } = text;
        let (_, said_ms) = self.hearing.pending.pop_front().unwrap_or_default();
        let channel = &mut self.hearing.channels[index];
        channel.settled = channel.settled.max(utterance.heard);
        let role = channel.role;
        for part in parts {
            self.fill(&mut draft, part);
        }
        for (code, message) in warnings {
            self.warn(code, message);
        }
        let text = match &result {
            Ok(pass) => draft.finish(Some(pass)),
            Err(error) => {
                self.lose_audio(said_ms);
                let message = format!("turn {turn} could not be written down, its words are lost: {error}");
                self.error(CloseCode::Overloaded, message, None);
                // All but those that were settled before.
                draft.finish(None)
            }
        };
        metrics::histogram!("final_seconds").record(decided.elapsed().as_secs_f64());
        if text.text.is_empty() {
            // Noise: no words were said, so there is no text to send.
            metrics::counter!("turns_empty_total").increment(u64::from(result.is_ok()));
            self.log(&Record::NoText { turn });
            self.drop_held(turn);
            return;
        }
        self.totals.turns += 1;
        let question = HeardQuestion {
            turn,
            channel: index,
            role,
            text: text.text.clone(),
            language: text.language.clone(),
            speech_start: utterance.speech_start,
            speech_end: utterance.speech_end,
            endpoint_ms: SampleIndex(utterance.heard - utterance.speech_end).as_ms(),
            decided,
        };
        let message = transcription(turn, index, role, &utterance, text, true);
        self.emit(ServerMessage::Transcription(message));
        // Before its answer, which may be there at once; the prompt leaves out what the question is made of.
        self.history.said(turn, role, &question.text);
        let answerable = self.config.answer_mode == AnswerMode::Auto && role != Role::Candidate;
        if answerable && self.ending.as_ref().is_none_or(|ending| *ending == Ending::Client) {
            self.answer_heard(&question);
        }
        // What was held back on another guess, or by other settings.
        self.drop_held(turn);
        self.remember();
    }

    /// Echoes the markers whose audio is all written down.
    pub(super) fn answer_markers(&mut self) {
        if self.replay.is_some() {
            return;
        }
        // Of a file that is kept nothing is written down yet.
        if self.hearing.streams.iter().any(|stream| stream.kept) {
            return;
        }
        while let Some(marker) = self.hearing.markers.front() {
            let mut needs = marker.needs.iter().enumerate();
            let settled = needs.all(|(index, need)| self.hearing.settled(index) >= *need);
            if !settled {
                return;
            }
            if let Some(marker) = self.hearing.markers.pop_front() {
                self.emit(ServerMessage::Marker { id: marker.id });
            }
        }
    }

    /// Gives up the texts still being computed; their number.
    pub(super) fn drop_pending_texts(&mut self) -> usize {
        let lost = std::mem::take(&mut self.hearing.pending);
        self.hearing.finals.clear();
        self.lose_audio(lost.iter().map(|(_, said_ms)| said_ms).sum());
        lost.len()
    }
}

fn transcription(
    turn: u64,
    channel: usize,
    role: Role,
    utterance: &Utterance,
    text: Text,
    is_final: bool,
) -> Transcription {
    Transcription {
        turn,
        channel: channel as u8,
        role,
        text: text.text,
        is_final,
        start_ms: utterance.speech_start.as_ms(),
        end_ms: utterance.speech_end.as_ms(),
        confidence: text.confidence,
        language: text.language,
        stable_chars: (!is_final).then_some(text.stable_chars),
        words: is_final.then_some(text.words),
    }
}
