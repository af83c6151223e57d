//! Local Whisper: one state of whisper.cpp, its decoding policy, and when a pass is run again.
//!
//! Not here: threads, queues and cancellation policy (`pool.rs`), judging what was written (`guard.rs`).
//!
//! The encoder's cost follows its context, not the speech, so each pass gets a context just longer than its audio
//! (+256 positions = 5 s) instead of Whisper's fixed 30 s: five times faster for a short utterance, at the price of
//! occasional nonsense, which `guard.rs` recognises and one pass at full context repairs. Decoding is greedy at
//! temperature 0. The model may write timestamps (fewer words invented at hard cuts, and it says where it broke off)
//! and annotations such as "(wind blowing)" (the surest sign that nobody speaks); both are taken out here.

use std::{
    collections::HashMap,
    ffi::{c_int, c_void},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use whisper_rs::{
    FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperError, WhisperState,
    WhisperTokenId, get_lang_id, get_lang_str,
};

use super::{
    TranscribeRequest, Transcript, TranscriptEvent, Word,
    engine::{Engine, EngineError, Recognition},
    guard::{self, Evidence},
    pieces::pieces,
    words::{self, Token},
};

/// Loads the weights at `path` (ggml format), once for all engines made from them.
///
/// # Errors
/// whisper.cpp's refusal, which names no cause.
pub(super) fn load_weights(path: &Path) -> Result<Arc<WhisperContext>, WhisperError> {
    whisper_rs::install_logging_hooks();
    // Flash attention was slower on CPUs and changed words.
    WhisperContext::new_with_params(path, WhisperContextParameters::new()).map(Arc::new)
}

/// One whisper.cpp state. Used by one thread at a time.
pub(super) struct WhisperEngine {
    context: Arc<WhisperContext>,
    state: WhisperState,
    threads: usize,
    /// By language id, `None` = detect. whisper-rs leaks a copy of the language on each `set_language`, so it is
    /// called once a language and the parameters are cloned.
    parameters: HashMap<Option<c_int>, FullParams<'static, 'static>>,
}

impl WhisperEngine {
    /// A state of its own over shared weights, for `threads` threads of computing.
    pub(super) fn new(context: Arc<WhisperContext>, threads: usize) -> Result<Self, WhisperError> {
        let state = context.create_state()?;
        Ok(Self { context, state, threads, parameters: HashMap::new() })
    }
}

impl Engine for WhisperEngine {
    /// A pass over silence: touches the weights, and starts this thread's OpenMP team, which must exist for the spin
    /// limit that [`PoolConfig::for_cores`](super::PoolConfig::for_cores) relies on.
    fn warm_up(&mut self) {
        let english = get_lang_id("en");
        if let Err(error) = self.pass(&[], short_context(0), english, &[], &AtomicBool::new(false)) {
            tracing::warn!(?error, "the warm-up of a speech worker failed");
        }
    }

    fn recognise(
        &mut self,
        request: &TranscribeRequest,
        abort: &AtomicBool,
    ) -> Result<Recognition, EngineError> {
        let mut warnings = Vec::new();
        let language = self.language(request.language.as_deref(), &mut warnings);
        let prompt = self.prompt(&request.vocabulary);
        let mut words = Vec::new();
        let mut spoken = self.spoken_language(language);
        for piece in pieces(&request.audio) {
            let mut start = piece.start;
            loop {
                let audio = &request.audio[start..piece.end];
                let heard = self.hear(audio, language, &prompt, abort, &mut warnings)?;
                let offset = start as u32 / SAMPLES_PER_MS;
                words.extend(heard.words.into_iter().map(|word| Word {
                    start_ms: word.start_ms + offset,
                    end_ms: word.end_ms + offset,
                    ..word
                }));
                spoken = self.spoken_language(language);
                // The model stopped writing before the end: go on from there, or the last words are lost.
                match heard.broke_off.map(|seconds| (seconds * SAMPLE_RATE) as usize) {
                    Some(more) if more >= LEAST_REST && audio.len() >= more + LEAST_REST => start += more,
                    _ => break,
                }
            }
        }
        Ok(Recognition { warnings, transcript: transcript(words, spoken) })
    }
}

/// What one stretch of at most 30 s gave.
struct Heard {
    words: Vec<Word>,
    /// Seconds at which the model stopped although it heard more.
    broke_off: Option<f32>,
}

/// The outcome of one pass.
struct Pass {
    words: Vec<Word>,
    evidence: Evidence,
    broke_off: Option<f32>,
}

impl WhisperEngine {
    /// Writes down `audio` (at most 30 s): a short-context pass and, when it is not to be believed, one at full context.
    fn hear(
        &mut self,
        audio: &[f32],
        language: Option<c_int>,
        prompt: &[WhisperTokenId],
        abort: &AtomicBool,
        warnings: &mut Vec<TranscriptEvent>,
    ) -> Result<Heard, EngineError> {
        let full = self.context.n_audio_ctx();
        let short = short_context(audio.len()).min(full);
        let mut pass = self.pass(audio, short, language, prompt, abort)?;
        let mut fault = pass.fault();
        if let Some(first) = fault
            && short < full
        {
            metrics::counter!("speech_retries_total", "reason" => first.reason()).increment(1);
            let mut again = self.pass(audio, full, language, prompt, abort)?;
            // A full context makes the no-speech token likelier, for damaged speech up to what is noise in a short one.
            again.evidence.no_speech = again.evidence.no_speech.min(pass.evidence.no_speech);
            // A full context may loop where the short one was only unsure.
            let worse = again.fault() == Some(guard::Fault::Repetition) && first != guard::Fault::Repetition;
            if !worse {
                fault = again.fault();
                pass = again;
            }
        }
        if !guard::is_speech(&pass.words, pass.evidence) {
            return Ok(Heard { words: Vec::new(), broke_off: pass.broke_off });
        }
        if matches!(fault, Some(guard::Fault::Repetition | guard::Fault::Compression)) {
            let removed = guard::collapse_loops(&mut pass.words);
            if removed > 0 {
                warnings.push(TranscriptEvent::Warning {
                    code: "repetition_removed",
                    message: format!(
                        "the recogniser repeated itself; {removed} repeated words were left out"
                    ),
                });
            }
        }
        Ok(Heard { words: pass.words, broke_off: pass.broke_off })
    }

    /// One run of encoder and decoder with `context` encoder positions (20 ms each).
    fn pass(
        &mut self,
        audio: &[f32],
        context: c_int,
        language: Option<c_int>,
        prompt: &[WhisperTokenId],
        abort: &AtomicBool,
    ) -> Result<Pass, EngineError> {
        let seconds = audio.len() as f32 / SAMPLE_RATE;
        let mut parameters = self.parameters(language);
        parameters.set_audio_ctx(context);
        parameters.set_max_tokens((8.0 * seconds).ceil() as c_int + 8);
        if !prompt.is_empty() {
            parameters.set_tokens(prompt);
        }
        if audio.len() < SHORTEST {
            let mut padded = [0.0; SHORTEST];
            padded[..audio.len()].copy_from_slice(audio);
            run(&mut self.state, parameters, &padded, abort)?;
        } else {
            run(&mut self.state, parameters, audio, abort)?;
        }
        let (tokens, mean_logprob) = self.written();
        // The pass's own figure is read from the wrong row of logits once there is a prompt (whisper.cpp 1.8), so ask.
        let no_speech = if mean_logprob < guard::CERTAIN { self.no_speech()? } else { 0.0 };
        let mut words = words::words(&tokens, seconds);
        guard::remove_annotations(&mut words);
        Ok(Pass {
            words,
            evidence: Evidence { mean_logprob, no_speech },
            broke_off: words::broke_off(&tokens),
        })
    }

    /// What the last pass wrote, and the mean log-probability of the text in it.
    fn written(&self) -> (Vec<Token>, f32) {
        let (first_special, first_time) = (self.context.token_eot(), self.context.token_beg());
        let (mut tokens, mut logprobs, mut count) = (Vec::new(), 0.0, 0);
        for segment in self.state.as_iter() {
            for token in (0..segment.n_tokens()).filter_map(|index| segment.get_token(index)) {
                let data = token.token_data();
                if data.id >= first_time {
                    tokens.push(Token::Time((data.id - first_time) as f32 * SECONDS_PER_TIME_TOKEN));
                } else if data.id < first_special {
                    tokens.push(Token::Text(token.to_bytes().unwrap_or_default().to_vec(), data.p));
                    logprobs += data.plog;
                    count += 1;
                }
            }
        }
        (tokens, if count == 0 { 0.0 } else { logprobs / count as f32 })
    }

    /// Probability of the no-speech token right after the start token, over the encoder output of the last pass.
    fn no_speech(&mut self) -> Result<f32, EngineError> {
        self.state.decode(&[self.context.token_sot()], 0, self.threads).map_err(failed)?;
        let logits = self.state.get_logits().map_err(failed)?;
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = logits.iter().map(|logit| (logit - highest).exp()).sum();
        let token = usize::try_from(self.context.token_nosp()).expect("token ids are not negative");
        Ok((logits[token] - highest).exp() / sum)
    }

    /// The decoding policy for `language`.
    fn parameters<'a>(&mut self, language: Option<c_int>) -> FullParams<'a, 'a> {
        let (multilingual, threads) = (self.context.is_multilingual(), self.threads);
        self.parameters
            .entry(language)
            .or_insert_with(|| {
                let mut parameters = FullParams::new(SamplingStrategy::Greedy { best_of: 1 });
                parameters.set_n_threads(threads as c_int);
                parameters.set_no_context(true);
                parameters.set_single_segment(true);
                parameters.set_temperature(0.0);
                parameters.set_temperature_inc(0.0);
                parameters.set_suppress_blank(true);
                parameters.set_suppress_nst(false);
                // Above 1: whisper.cpp is not to drop text by itself.
                parameters.set_no_speech_thold(2.0);
                parameters.set_print_progress(false);
                if multilingual {
                    parameters.set_language(language.and_then(get_lang_str));
                }
                parameters
            })
            .clone()
    }

    /// The id for an ISO 639-1 code; `None` to detect. Always English for an English-only model.
    fn language(&self, code: Option<&str>, warnings: &mut Vec<TranscriptEvent>) -> Option<c_int> {
        // The lookup panics on NUL and takes English names too.
        let known = code.filter(|code| code.len() == 2 && code.is_ascii()).and_then(|code| {
            if code.contains('\0') { None } else { get_lang_id(&code.to_ascii_lowercase()) }
        });
        let english = get_lang_id("en");
        let (usable, id) = match (self.context.is_multilingual(), code) {
            (true, None) => (true, None),
            (true, Some(_)) => (known.is_some(), known),
            (false, None) => (true, english),
            (false, Some(_)) => (known == english, english),
        };
        if !usable {
            warnings.push(TranscriptEvent::Warning {
                code: "language_unsupported",
                message: "the loaded weights do not know the requested language; the text may be wrong"
                    .into(),
            });
        }
        id
    }

    /// The code of the language the last pass was written in.
    fn spoken_language(&self, language: Option<c_int>) -> &'static str {
        let id = language.unwrap_or_else(|| self.state.full_lang_id_from_state());
        get_lang_str(id).unwrap_or("en")
    }

    /// `vocabulary` as the text that went before, the way Whisper is told spellings; at most [`PROMPT_TOKENS`] tokens,
    /// earlier terms first. A term that cannot be written in tokens is left out.
    fn prompt(&self, vocabulary: &[String]) -> Vec<WhisperTokenId> {
        let mut prompt = Vec::new();
        for term in
            vocabulary.iter().map(|term| term.trim()).filter(|term| !term.is_empty() && term.len() <= 100)
        {
            let separator = if prompt.is_empty() { "" } else { "," };
            let Ok(tokens) = self.context.tokenize(&format!("{separator} {term}"), PROMPT_TOKENS) else {
                continue;
            };
            if prompt.len() + tokens.len() > PROMPT_TOKENS {
                break;
            }
            prompt.extend(tokens);
        }
        if !prompt.is_empty() {
            // Text that follows a list without an end is written without punctuation.
            prompt.extend(self.context.tokenize(".", 1).unwrap_or_default());
        }
        prompt
    }
}

impl Pass {
    /// What is wrong with it; nothing when it found no speech with good reason.
    fn fault(&self) -> Option<guard::Fault> {
        let invented = !self.words.is_empty() && !guard::is_speech(&self.words, self.evidence);
        if invented { None } else { guard::fault(&self.words, self.evidence) }
    }
}

/// Runs whisper.cpp over `audio` until done or `abort` is set, which is read after the encoder and after each token.
fn run(
    state: &mut WhisperState,
    mut parameters: FullParams<'_, '_>,
    audio: &[f32],
    abort: &AtomicBool,
) -> Result<(), EngineError> {
    /// Reads the flag that `data` points to.
    #[allow(unsafe_code)]
    unsafe extern "C" fn aborted(data: *mut c_void) -> bool {
        // SAFETY: `data` is the `&AtomicBool` set below.
        unsafe { &*data.cast::<AtomicBool>() }.load(Ordering::Relaxed)
    }
    // SAFETY: whisper.cpp calls the callback only inside `full`, during which `abort` is borrowed, with the pointer
    // given here; the callback reads an atomic and cannot unwind. whisper-rs's safe variant calls a wrong function.
    #[allow(unsafe_code)]
    unsafe {
        parameters.set_abort_callback(Some(aborted));
        parameters.set_abort_callback_user_data(std::ptr::from_ref(abort).cast_mut().cast());
    }
    match state.full(parameters, audio) {
        Ok(()) => Ok(()),
        Err(_) if abort.load(Ordering::Relaxed) => Err(EngineError::Aborted),
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: WhisperError) -> EngineError {
    EngineError::Failed(format!("whisper.cpp: {error}"))
}

/// Encoder positions for `samples` of audio: 50 a second, a margin, a multiple of 64.
fn short_context(samples: usize) -> c_int {
    let positions = (samples.div_ceil(320) + MARGIN).next_multiple_of(64);
    c_int::try_from(positions).unwrap_or(c_int::MAX)
}

/// Puts the words together; the text is them, joined by single spaces.
fn transcript(words: Vec<Word>, language: &str) -> Transcript {
    let text = words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
    let confidence = match words.len() {
        0 => 0.0,
        count => (words.iter().map(|word| word.confidence.max(f32::MIN_POSITIVE).ln()).sum::<f32>()
            / count as f32)
            .exp(),
    };
    Transcript { text, language: language.into(), confidence, words }
}

const SAMPLE_RATE: f32 = 16_000.0;
const SAMPLES_PER_MS: u32 = 16;
/// Whisper's timestamp tokens count in steps of 20 ms.
const SECONDS_PER_TIME_TOKEN: f32 = 0.02;
/// 1 s: whisper.cpp refuses less than 100 ms and writes little sense for less than this.
const SHORTEST: usize = 16_000;
/// Encoder positions beyond the audio: with 256 about 4 % of passes need the guard, below it far more.
const MARGIN: usize = 256;
/// Half a second: less than this after a break-off holds no word.
const LEAST_REST: usize = 8_000;
/// Whisper takes up to 223 tokens of prompt; each costs decoding time, and long prompts leak into the text.
const PROMPT_TOKENS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_follows_the_audio() {
        let check = |seconds: f32, expected: c_int| {
            assert_eq!(short_context((seconds * SAMPLE_RATE) as usize), expected, "{seconds}");
        };
        check(0.0, 256);
        check(0.2, 320);
        check(3.0, 448);
        check(11.0, 832);
        check(28.0, 1664);
    }

    #[test]
    fn text_is_its_words() {
        let word = |text: &str, confidence| Word { text: text.into(), start_ms: 0, end_ms: 0, confidence };
        let joined = transcript(vec![word("Hello,", 0.25), word("world.", 1.0)], "en");
        assert_eq!((joined.text.as_str(), joined.confidence), ("Hello, world.", 0.5));
        assert_eq!(transcript(vec![], "en"), Transcript { language: "en".into(), ..Transcript::default() });
    }
}
