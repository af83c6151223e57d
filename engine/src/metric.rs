//! The engine's metrics: what each name means. Exporters read the descriptions once at start.

use metrics::{Unit, describe_counter, describe_histogram};

/// Describes every metric to the installed recorder.
pub fn describe() {
    describe_counter!("sessions_total", "Sessions opened");
    describe_counter!(
        "sessions_refused_total",
        "Connections closed before a session was open, by close code"
    );
    describe_counter!("sessions_slow_total", "Connections given up because the client did not read");
    describe_counter!("sessions_detached_total", "Times that a session went on without a connection");
    describe_counter!("sessions_resumed_total", "Sessions that went on over another connection");
    describe_counter!(
        "sessions_taken_over_total",
        "Connections closed because another took the session over"
    );
    describe_counter!("sessions_recovered_total", "Sessions made again from what a killed process had left");
    describe_counter!("sessions_expired_total", "Sessions whose client did not come back in time");
    describe_counter!("journal_failures_total", "Journals of sessions that could not be written");
    describe_counter!(
        "journals_given_up_total",
        "Sessions that a kill of the process would end from then on"
    );
    describe_counter!("audio_chunks_lost_total", "Numbered chunks that never came");
    describe_counter!("peers_silent_total", "Connections lost because the peer answered no ping");
    describe_counter!("handshakes_refused_total", "Handshakes answered with an HTTP error, by status");
    describe_counter!(
        "handshakes_dropped_total",
        "Connections dropped because too many were in their handshake"
    );
    describe_counter!(
        "handshake_addresses_forgotten_total",
        "Addresses whose handshakes were no longer counted, as there were too many"
    );
    describe_counter!("audio_dropped_ms_total", "Milliseconds of speech that could not be written down");
    describe_counter!("audio_chunks_late_total", "Chunks that came after their client had ended the stream");
    describe_counter!("messages_refused_total", "Messages answered with an error, by code");
    describe_counter!("warnings_total", "Warnings sent to clients, by code");
    describe_counter!("errors_total", "Errors sent to clients, by code");
    describe_counter!(
        "audio_datagrams_dropped_total",
        "Datagrams of audio dropped, as the session did not read in time"
    );
    describe_counter!("audio_chunks_repeated_total", "Numbered chunks that had been heard before");
    describe_counter!(
        "speculations_total",
        "Transcriptions begun on a guess that the turn was over, by outcome; skipped ones were over the bound"
    );
    describe_counter!(
        "speculations_dropped_audio_ms_total",
        "Milliseconds of audio sent for guesses that were dropped"
    );
    describe_counter!("turn_hints_late_total", "Pauses whose words had not come within a second");
    describe_counter!("turns_cut_for_length_total", "Cuts in long turns, to keep the audio of a pass short");
    describe_counter!("final_retries_total", "Final transcriptions tried again");
    describe_counter!("interims_failed_total", "Interim transcriptions that failed");
    describe_counter!("turns_empty_total", "Turns in which no words were found");
    describe_counter!("turns_echoed_total", "Turns of a candidate that were the interviewer's echo");
    describe_counter!("answers_cancelled_total", "Answers not finished");
    describe_counter!(
        "answers_switches_total",
        "Switches of a session to another model for answers, and back"
    );
    describe_counter!("prompts_prefilled_total", "Prompts of sessions that a model was given to read ahead");
    describe_counter!("prompts_prefilled_tokens_total", "Tokens of prompts read ahead");
    describe_counter!("citations_removed_total", "Citations of CV lines taken out of answers as wrong");
    describe_counter!("answers_withdrawn_total", "Complete answers withdrawn because their question went on");
    describe_counter!(
        "answer_speculations_total",
        "Answers begun on a guess that the question was over, by outcome; skipped ones were over the bound"
    );
    describe_counter!(
        "answer_speculations_dropped_tokens_total",
        "Tokens used by answers that were begun on a guess and dropped"
    );
    describe_counter!("history_failures_total", "Events that storage did not take");
    describe_histogram!("final_seconds", Unit::Seconds, "Turn decided to final text");
    describe_histogram!("first_token_seconds", Unit::Seconds, "End of speech to first text of the answer");
}
