//! One loaded Whisper model, run by CTranslate2: audio in, tokens, probabilities and times out.
//!
//! Thin and without policy: each method is one pass of a network on the calling worker's share of the model. Not here: what
//! is asked, what is believed, and what is tried again (`whisper.rs`).

use std::path::Path;

use ct2rs::sys::{ComputeType, Config, Device, ModelMemoryReader, StorageView, Whisper, WhisperOptions};

use super::{
    ct2,
    features::MelSpectrogram,
    ggml::{GgmlModel, Sizes},
    vocabulary::Vocabulary,
};

/// A model in memory, shared by all workers: each call takes one of its replicas, which share nothing that changes.
pub(in crate::speech) struct WhisperModel {
    whisper: Whisper,
    spectrogram: MelSpectrogram,
    pub(super) vocabulary: Vocabulary,
    sizes: Sizes,
}

/// Why a file did not become a model.
#[derive(Debug)]
pub(in crate::speech) enum ModelError {
    Unreadable(std::io::Error),
    Invalid,
    /// CTranslate2's reason.
    Refused(String),
}

/// What the encoder made of a stretch of audio.
pub(super) struct Encoded(StorageView<'static>);

/// What the decoder wrote.
#[derive(Debug)]
pub(super) struct Written {
    /// Text and time tokens, in order.
    pub(super) tokens: Vec<u32>,
    /// Probability, before anything is written, that nobody speaks; 0–1.
    pub(super) no_speech: f32,
}

/// Where a token was said, and how sure the model is of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Aligned {
    /// Seconds from the start of the audio.
    pub(super) start: f32,
    pub(super) end: f32,
    /// Of this token among all text tokens, all before it given; 0–1.
    pub(super) probability: f32,
}

impl WhisperModel {
    /// Loads the ggml file at `path` for `replicas` callers at once, each computing on `threads` threads. Takes about a
    /// second, and for that time three times the file's size in memory.
    pub(in crate::speech) fn load(
        path: &Path,
        compute_type: ComputeType,
        replicas: usize,
        threads: usize,
    ) -> Result<Self, ModelError> {
        let mut file = GgmlModel::open(path).map_err(ModelError::Unreadable)?.ok_or(ModelError::Invalid)?;
        let sizes = file.sizes;
        let vocabulary = Vocabulary::new(std::mem::take(&mut file.tokens), sizes.vocabulary);
        let spectrogram = MelSpectrogram::new(&file.filters);
        let mut files =
            ModelMemoryReader::new("whisper").map_err(|error| ModelError::Refused(text(error)))?;
        files.register_file("model.bin", &ct2::model_bin(&mut file).map_err(|_| ModelError::Invalid)?);
        files.register_file("vocabulary.txt", vocabulary.file().as_bytes());
        files.register_file("config.json", ct2::config(sizes, &vocabulary).as_bytes());
        let config = Config {
            device: Device::CPU,
            compute_type,
            device_indices: vec![0; replicas],
            num_threads_per_replica: threads,
            ..Config::default()
        };
        let whisper =
            Whisper::new_from_memory(&mut files, config).map_err(|error| ModelError::Refused(text(error)))?;
        Ok(Self { whisper, spectrogram, vocabulary, sizes })
    }

    /// The longest context: positions of 20 ms.
    pub(super) fn full_context(&self) -> usize {
        self.sizes.audio_context as usize
    }

    /// Runs the encoder over `audio` (16 kHz), silence behind it up to `context` positions of 20 ms.
    pub(super) fn encode(&self, audio: &[f32], context: usize) -> Result<Encoded, String> {
        let frames = 2 * context;
        let mut features = self.spectrogram.of(audio, frames);
        let shape = [1, self.sizes.mels as usize, frames];
        let features = StorageView::new(&shape, &mut features, Device::CPU).map_err(text)?;
        self.whisper.encode(&features, false).map(Encoded).map_err(text)
    }

    /// The token of the likeliest language.
    pub(super) fn detect_language(&self, audio: &Encoded) -> Result<u32, String> {
        let found = self.whisper.detect_language(&audio.0).map_err(text)?;
        let best = found.first().and_then(|languages| languages.first());
        let code = best.map(|best| best.language.trim_matches(['<', '|', '>']));
        Ok(code.and_then(|code| self.vocabulary.language(code)).unwrap_or(self.vocabulary.start() + 1))
    }

    /// Writes down what `audio` holds after `start` (what went before, and the task); `settled` is what the text begins with.
    /// Greedy, at most `longest` tokens of text and times beside `settled`, and no more than the decoder has room for.
    pub(super) fn write(
        &self,
        audio: &Encoded,
        start: &[u32],
        settled: &[u32],
        longest: usize,
    ) -> Result<Written, String> {
        let names: Vec<String> = start.iter().chain(settled).map(|id| self.vocabulary.name(*id)).collect();
        // CTranslate2 counts its steps from the last token of the task, what is settled included, and takes the lesser of
        // half of `max_length` and what `max_length` leaves (`whisper.cc`); beyond its positions it throws.
        let first_step = start.len() - 1;
        let steps = (longest + settled.len()).min(self.sizes.text_context as usize - first_step);
        let options = WhisperOptions {
            beam_size: 1,
            max_length: (2 * steps).max(steps + first_step),
            return_no_speech_prob: true,
            suppress_tokens: self.vocabulary.never_written().map(|id| id as i32).collect(),
            ..WhisperOptions::default()
        };
        let mut results = self.whisper.generate(&audio.0, &[names], &options).map_err(text)?;
        let result = results.pop().ok_or("it wrote nothing at all")?;
        let tokens = result.sequences_ids.into_iter().next().unwrap_or_default();
        Ok(Written {
            tokens: tokens.into_iter().map(|id| id as u32).collect(),
            no_speech: result.no_speech_prob,
        })
    }

    /// When each token of `words` was said in the first `seconds` of `audio`, and its probability: dynamic time warping over
    /// the attention of the heads that follow the audio (openai-whisper's `timing.py`). `start`: the prompt before the text.
    pub(super) fn align(
        &self,
        audio: &Encoded,
        start: &[u32],
        words: &[u32],
        seconds: f32,
    ) -> Result<Vec<Aligned>, String> {
        let wide = |ids: &[u32]| ids.iter().map(|id| *id as usize).collect::<Vec<_>>();
        let frames = (seconds * FRAMES_PER_SECOND).ceil() as usize;
        let results =
            self.whisper.align(&audio.0, &wide(start), &[wide(words)], &[frames.max(2)], MEDIAN_WIDTH);
        let result = results.map_err(text)?.pop().ok_or("it aligned nothing")?;
        let mut aligned: Vec<_> = result
            .text_token_probs
            .iter()
            .map(|probability| Aligned { probability: *probability, ..Aligned::default() })
            .collect();
        // Row r of the path is token r; the row after the last is the end of the text.
        let mut begun = vec![seconds; words.len() + 1];
        for step in result.alignments.iter().rev() {
            if let Some(begun) = begun.get_mut(step.token_x as usize) {
                *begun = (step.frame_x as f32 / POSITIONS_PER_SECOND).min(seconds);
            }
        }
        for (index, aligned) in aligned.iter_mut().enumerate() {
            (aligned.start, aligned.end) = (begun[index], begun[index + 1]);
        }
        Ok(aligned)
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Of the spectrogram.
const FRAMES_PER_SECOND: f32 = 100.0;
/// Of the encoder.
const POSITIONS_PER_SECOND: f32 = 50.0;
/// As OpenAI has it.
const MEDIAN_WIDTH: i64 = 7;
