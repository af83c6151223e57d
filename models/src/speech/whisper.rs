//! Local Whisper: one worker's use of the model, its decoding policy, and when a pass is run again.
//!
//! Not here: threads, queues and cancellation policy (`pool.rs`), judging what was written (`guard.rs`), the networks
//! (`whisper/model.rs`).
//!
//! The encoder's cost follows its context, not the speech, so each pass gets a context just longer than its audio
//! (+256 positions = 5 s) instead of Whisper's fixed 30 s: five times faster for a short utterance, at the price of
//! occasional nonsense, which `guard.rs` recognises and a pass at a longer context repairs. Decoding is greedy at
//! temperature 0. The model may write timestamps (fewer words invented at hard cuts, and it says where it broke off)
//! and annotations such as "(wind blowing)" (the surest sign that nobody speaks); both are taken out here.

mod ct2;
mod features;
mod ggml;
mod model;
mod vocabulary;

pub(super) use self::model::{ModelError, WhisperModel};

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use self::model::Encoded;
use super::{
    Priority, TranscribeRequest, Transcript, TranscriptEvent, Word,
    engine::{Engine, EngineError, Recognition},
    guard::{self, Evidence},
    pieces::pieces,
    word_times,
    words::{self, TextToken},
};

/// One worker's hold on the model. Used by one thread at a time.
pub(super) struct WhisperEngine {
    model: Arc<WhisperModel>,
}

impl WhisperEngine {
    /// A worker's engine; there must be no more of them than the model has replicas.
    pub(super) fn new(model: Arc<WhisperModel>) -> Self {
        Self { model }
    }
}

impl Engine for WhisperEngine {
    fn warm_up(&mut self) -> Option<Duration> {
        let audio = vec![0.0; MEASURED_SAMPLES];
        // Silence would be written down at once: words that are settled make the decoder and the aligner work.
        let prompt = Prompt {
            before: self.spellings(&[MEASURED_SPELLINGS.to_owned()]),
            settled: self.model.vocabulary.tokens(MEASURED_WORDS),
        };
        // The first pass touches the weights and makes the kernels; the second is measured.
        let pass = || self.pass(&audio, short_context(audio.len()), None, &prompt, &AtomicBool::new(false));
        if let Err(error) = pass() {
            tracing::warn!(?error, "the warm-up of a speech worker failed");
            return None;
        }
        let began = Instant::now();
        pass().ok().map(|_| began.elapsed())
    }

    fn recognise(
        &mut self,
        request: &TranscribeRequest,
        abort: &AtomicBool,
    ) -> Result<Recognition, EngineError> {
        let mut warnings = Vec::new();
        let mut language = self.language(request.language.as_deref(), &mut warnings);
        // Interim text may be wrong for half a second; late it is of no use.
        let patient = request.priority > Priority::Interim;
        let mut words: Vec<Word> = Vec::new();
        let pieces = pieces(&request.audio);
        // Settled words are those of a short stretch; of a long one the caller joins them itself.
        let mut settled = if pieces.len() == 1 { self.writing(&request.settled) } else { Vec::new() };
        for piece in pieces {
            let mut start = piece.start;
            loop {
                let audio = &request.audio[start..piece.end];
                let prompt =
                    Prompt { before: self.before(request, &words), settled: std::mem::take(&mut settled) };
                let heard = self.hear(audio, language, &prompt, patient, abort, &mut warnings)?;
                let offset = start as u32 / SAMPLES_PER_MS;
                words.extend(heard.words.into_iter().map(|word| Word {
                    start_ms: word.start_ms + offset,
                    end_ms: word.end_ms + offset,
                    ..word
                }));
                // What follows is in the language that was heard first.
                language = language.or(heard.language);
                // The model stopped writing before the end: go on from there, or the last words are lost.
                match heard.broke_off.map(|seconds| (seconds * SAMPLE_RATE) as usize) {
                    Some(more) if more >= LEAST_REST && audio.len() >= more + LEAST_REST => start += more,
                    _ => break,
                }
            }
        }
        let spoken = language.map_or("en", |id| self.model.vocabulary.language_code(id));
        Ok(Recognition { warnings, transcript: transcript(words, spoken) })
    }
}

/// What the decoder is given beside the audio.
#[derive(Default)]
struct Prompt {
    /// Text that went before.
    before: Vec<u32>,
    /// What the text begins with.
    settled: Vec<u32>,
}

/// What one stretch of at most 30 s gave.
struct Heard {
    words: Vec<Word>,
    /// Seconds at which the model stopped although it heard more.
    broke_off: Option<f32>,
    language: Option<u32>,
}

/// The outcome of one pass.
struct Pass {
    words: Vec<Word>,
    evidence: Evidence,
    broke_off: Option<f32>,
    language: Option<u32>,
}

impl WhisperEngine {
    /// Writes down `audio` (at most 30 s): a short-context pass and, when it is not to be believed and the caller is `patient`, one
    /// with ten seconds more.
    fn hear(
        &self,
        audio: &[f32],
        language: Option<u32>,
        prompt: &Prompt,
        patient: bool,
        abort: &AtomicBool,
        warnings: &mut Vec<TranscriptEvent>,
    ) -> Result<Heard, EngineError> {
        let full = self.model.full_context();
        let short = short_context(audio.len()).min(full);
        let mut pass = self.pass(audio, short, language, prompt, abort)?;
        let mut fault = pass.fault();
        let longer = (short + RETRY_MARGIN).min(full);
        if let Some(first) = fault.filter(|_| patient && short < longer) {
            metrics::counter!("speech_retries_total", "reason" => first.reason()).increment(1);
            // What was settled may be what is wrong.
            let fresh = Prompt { before: prompt.before.clone(), settled: Vec::new() };
            let mut again = self.pass(audio, longer, language, &fresh, abort)?;
            // A longer context makes the no-speech token likelier, for damaged speech up to what is noise in a short one.
            again.evidence.no_speech = again.evidence.no_speech.min(pass.evidence.no_speech);
            // A longer context may loop where the short one was only unsure.
            let worse = again.fault() == Some(guard::Fault::Repetition) && first != guard::Fault::Repetition;
            if !worse {
                fault = again.fault();
                pass = again;
            }
        }
        let language = pass.language;
        if !guard::is_speech(&pass.words, pass.evidence) {
            return Ok(Heard { words: Vec::new(), broke_off: pass.broke_off, language });
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
        Ok(Heard { words: pass.words, broke_off: pass.broke_off, language })
    }

    /// One run of encoder, decoder and aligner with `context` encoder positions (20 ms each). `abort` is read between them.
    fn pass(
        &self,
        audio: &[f32],
        context: usize,
        language: Option<u32>,
        prompt: &Prompt,
        abort: &AtomicBool,
    ) -> Result<Pass, EngineError> {
        let go_on = || if abort.load(Ordering::Relaxed) { Err(EngineError::Aborted) } else { Ok(()) };
        let vocabulary = &self.model.vocabulary;
        let seconds = audio.len() as f32 / SAMPLE_RATE;
        let encoded = self.model.encode(audio, context).map_err(failed)?;
        go_on()?;
        let language = match language {
            None if vocabulary.is_multilingual() => {
                Some(self.model.detect_language(&encoded).map_err(failed)?)
            }
            language => language,
        };
        let mut start = vec![vocabulary.start()];
        if let Some(language) = language.filter(|_| vocabulary.is_multilingual()) {
            start.extend([language, vocabulary.transcribe()]);
        }
        let longest = (8.0 * seconds).ceil() as usize + 8;
        let (before, settled) = self.full_prompt(prompt, &start);
        let written = self.model.write(&encoded, &before, &settled, longest).map_err(failed)?;
        go_on()?;
        let text: Vec<u32> =
            written.tokens.iter().copied().filter(|id| vocabulary.text(*id).is_some()).collect();
        let (mut words, mean_logprob) = self.read(&encoded, &start, &text, seconds)?;
        guard::remove_annotations(&mut words);
        word_times::refine(&mut words, audio);
        Ok(Pass {
            words,
            evidence: Evidence { mean_logprob, no_speech: written.no_speech },
            broke_off: self.broke_off(&written.tokens),
            language,
        })
    }

    /// The words of `text` where they were said, and the mean log-probability of its tokens.
    fn read(
        &self,
        encoded: &Encoded,
        start: &[u32],
        text: &[u32],
        seconds: f32,
    ) -> Result<(Vec<Word>, f32), EngineError> {
        if text.is_empty() {
            return Ok((Vec::new(), 0.0));
        }
        let aligned = self.model.align(encoded, start, text, seconds).map_err(failed)?;
        let tokens: Vec<_> = text
            .iter()
            .zip(&aligned)
            .map(|(id, aligned)| TextToken {
                bytes: self.model.vocabulary.text(*id).unwrap_or_default(),
                probability: aligned.probability,
                start: aligned.start,
                end: aligned.end,
            })
            .collect();
        let sum: f32 = tokens.iter().map(|token| token.probability.max(f32::MIN_POSITIVE).ln()).sum();
        Ok((words::words(&tokens), sum / tokens.len().max(1) as f32))
    }

    /// The prompt of the decoder: what went before and the start, and what the text begins with.
    fn full_prompt(&self, prompt: &Prompt, start: &[u32]) -> (Vec<u32>, Vec<u32>) {
        let vocabulary = &self.model.vocabulary;
        let mut all = Vec::new();
        if !prompt.before.is_empty() {
            all.push(vocabulary.previous());
            all.extend(&prompt.before);
        }
        all.extend(start);
        if prompt.settled.is_empty() {
            return (all, Vec::new());
        }
        // Where the text begins is not known exactly; the decoder wants a time before it.
        (all, [&[vocabulary.first_time()], &prompt.settled[..]].concat())
    }

    /// Where the pass says it broke off: the time of a closing and an opening timestamp at the very end. Speech after it
    /// was heard but not written (a single closing timestamp says that nothing follows; so do OpenAI's and whisper.cpp's
    /// long-form loops read it).
    fn broke_off(&self, tokens: &[u32]) -> Option<f32> {
        let seconds = |id: &u32| self.model.vocabulary.seconds(*id);
        match tokens {
            [.., text, closed, opened] if seconds(text).is_none() && seconds(closed).is_some() => {
                seconds(opened)
            }
            _ => None,
        }
    }

    /// The token for an ISO 639-1 code; `None` to detect. Always English for an English-only model.
    fn language(&self, code: Option<&str>, warnings: &mut Vec<TranscriptEvent>) -> Option<u32> {
        let vocabulary = &self.model.vocabulary;
        let known = code.and_then(|code| vocabulary.language(&code.to_ascii_lowercase()));
        let english = vocabulary.language("en");
        let (usable, id) = match (vocabulary.is_multilingual(), code) {
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

    /// What went before, as tokens: names and terms the way Whisper is told spellings, then what was said.
    fn before(&self, request: &TranscribeRequest, words: &[Word]) -> Vec<u32> {
        let mut before = self.spellings(&request.vocabulary);
        let said = match words {
            [] => self.model.vocabulary.tokens(request.before.trim_end()),
            words => self.writing(words),
        };
        before.extend(&said[said.len().saturating_sub(BEFORE_TOKENS)..]);
        before
    }

    /// `vocabulary` as a list; at most [`SPELLING_TOKENS`] tokens, earlier terms first. A term that is no text is left out.
    fn spellings(&self, vocabulary: &[String]) -> Vec<u32> {
        let mut prompt = Vec::new();
        for term in
            vocabulary.iter().map(|term| term.trim()).filter(|term| !term.is_empty() && term.len() <= 100)
        {
            let separator = if prompt.is_empty() { "" } else { "," };
            let tokens = self.model.vocabulary.tokens(&format!("{separator} {term}"));
            if prompt.len() + tokens.len() > SPELLING_TOKENS {
                break;
            }
            prompt.extend(tokens);
        }
        if !prompt.is_empty() {
            // Text that follows a list without an end is written without punctuation.
            prompt.extend(self.model.vocabulary.tokens("."));
        }
        prompt
    }

    /// `words` as the decoder writes them.
    fn writing(&self, words: &[Word]) -> Vec<u32> {
        words.iter().flat_map(|word| self.model.vocabulary.tokens(&format!(" {}", word.text))).collect()
    }
}

impl Pass {
    /// What is wrong with it; nothing when it found no speech with good reason.
    fn fault(&self) -> Option<guard::Fault> {
        let invented = !self.words.is_empty() && !guard::is_speech(&self.words, self.evidence);
        if invented { None } else { guard::fault(&self.words, self.evidence) }
    }
}

fn failed(reason: String) -> EngineError {
    EngineError::Failed(format!("CTranslate2: {reason}"))
}

/// Encoder positions for `samples` of audio: 50 a second, a margin, a multiple of 64.
fn short_context(samples: usize) -> usize {
    (samples.div_ceil(320) + MARGIN).next_multiple_of(64)
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
/// 5 s, about a question: what a worker's speed is measured with.
const MEASURED_SAMPLES: usize = 5 * 16_000;
/// As many words as are said in five seconds, after a list of names.
const MEASURED_WORDS: &str =
    " Tell me about a time when you reduced the latency of a production system, and how.";
const MEASURED_SPELLINGS: &str =
    "Kubernetes, PostgreSQL, gRPC, Redis, Kafka, Terraform, Prometheus, Harbourline";
/// Encoder positions beyond the audio: with 256 about 4 % of passes need the guard, below it far more.
const MARGIN: usize = 256;
/// Encoder positions more for a pass that is run again (10 s). The full context takes two to three times as long: finals came up to
/// 685 ms after their turn was decided (bench `speech`), with this at once, for 0.3 points of word error rate.
const RETRY_MARGIN: usize = 512;
/// Half a second: less than this after a break-off holds no word.
const LEAST_REST: usize = 8_000;
/// Whisper takes up to 223 tokens of what went before; each costs decoding time, and long lists leak into the text.
const SPELLING_TOKENS: usize = 100;
const BEFORE_TOKENS: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_follows_the_audio() {
        let check = |seconds: f32, expected: usize| {
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
