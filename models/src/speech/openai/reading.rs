//! What a server's answer says: text, words with times, confidence, whatever of that there is.
//!
//! Read by field rather than as the library's type: compatible servers leave out, or null, what that demands. Not here:
//! HTTP.

use serde_json::Value;

use crate::speech::{TranscribeRequest, Transcript, Word, guard, languages::LANGUAGES, words::spread};

/// The transcript of `request` that `answer` holds.
///
/// # Errors
/// When there is no text in it; the message quotes nothing.
pub(super) fn transcript(answer: &Value, request: &TranscribeRequest) -> Result<Transcript, String> {
    let seconds = request.audio.len() as f32 / SAMPLE_RATE;
    let segments: Vec<Segment> =
        answer["segments"].as_array().into_iter().flatten().filter_map(segment).collect();
    let whole = || segments.iter().map(|segment| segment.text.as_str()).collect::<String>();
    let text = match answer["text"].as_str() {
        Some(text) => text.to_owned(),
        None if !segments.is_empty() => whole(),
        None => return Err("the server's answer has no text".into()),
    };
    let heard: Vec<&Segment> = segments.iter().filter(|segment| !segment.is_silence()).collect();
    let overall = mean(&heard).or_else(|| mean_of_tokens(answer)).unwrap_or(UNKNOWN_CONFIDENCE);

    let mut found = if heard.len() < segments.len() {
        in_segments(&heard, overall, seconds)
    } else if let Some(timed) = timed(&text, answer, &heard, overall, seconds) {
        timed
    } else if same_words(&text, &whole()) {
        in_segments(&heard, overall, seconds)
    } else {
        spread(&text, overall, 0.0, seconds)
    };
    guard::remove_annotations(&mut found);
    let language = answer["language"].as_str().and_then(code).or_else(|| request.language.clone());
    Ok(assembled(found, language))
}

/// The transcript of `request` when nobody speaks in it.
pub(super) fn nothing(request: &TranscribeRequest) -> Transcript {
    assembled(Vec::new(), request.language.clone())
}

/// `words` as a whole. The language is English where neither server nor request names one.
fn assembled(words: Vec<Word>, language: Option<String>) -> Transcript {
    let text = words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
    let logprobs: f32 = words.iter().map(|word| word.confidence.max(f32::MIN_POSITIVE).ln()).sum();
    let confidence = if words.is_empty() { 0.0 } else { (logprobs / words.len() as f32).exp() };
    Transcript { text, language: language.unwrap_or_else(|| "en".into()), confidence, words }
}

/// A stretch of text with times.
struct Segment {
    start: f32,
    end: f32,
    text: String,
    /// Mean natural log-probability of its tokens.
    logprob: Option<f32>,
    no_speech: f32,
}

impl Segment {
    /// OpenAI's own rule for text that was made up (whisper/transcribe.py: `no_speech_threshold`, `logprob_threshold`).
    fn is_silence(&self) -> bool {
        self.no_speech > 0.6 && self.logprob.is_some_and(|logprob| logprob < -1.0)
    }

    fn confidence(&self) -> Option<f32> {
        self.logprob.map(|logprob| logprob.exp().clamp(0.0, 1.0))
    }
}

fn segment(value: &Value) -> Option<Segment> {
    Some(Segment {
        start: number(&value["start"])?,
        end: number(&value["end"])?,
        text: value["text"].as_str()?.to_owned(),
        logprob: number(&value["avg_logprob"]),
        no_speech: number(&value["no_speech_prob"]).unwrap_or(0.0),
    })
}

fn number(value: &Value) -> Option<f32> {
    value.as_f64().map(|number| number as f32).filter(|number| number.is_finite())
}

/// Geometric mean of the segments' probabilities, longer text counting more.
fn mean(segments: &[&Segment]) -> Option<f32> {
    let known = || segments.iter().filter_map(|segment| Some((segment.logprob?, segment.text.len() as f32)));
    let length: f32 = known().map(|(_, length)| length).sum();
    (length > 0.0).then(|| {
        let sum: f32 = known().map(|(logprob, length)| logprob * length).sum();
        (sum / length).exp().clamp(0.0, 1.0)
    })
}

/// The same of OpenAI's newer models, which list tokens instead.
fn mean_of_tokens(answer: &Value) -> Option<f32> {
    let tokens = answer["logprobs"].as_array()?;
    let known: Vec<f32> = tokens.iter().filter_map(|token| number(&token["logprob"])).collect();
    let count = known.len() as f32;
    (count > 0.0).then(|| (known.into_iter().sum::<f32>() / count).exp().clamp(0.0, 1.0))
}

/// Words with the times of their segments, shared out by length of writing.
fn in_segments(segments: &[&Segment], overall: f32, seconds: f32) -> Vec<Word> {
    let mut words = Vec::new();
    let mut before = 0.0f32;
    for segment in segments {
        let start = segment.start.clamp(before, seconds.max(before));
        let end = segment.end.clamp(start, seconds.max(start));
        words.extend(spread(&segment.text, segment.confidence().unwrap_or(overall), start, end));
        before = end;
    }
    words
}

/// The words of `text` with the times that the server gives them. Servers write the words of that list without
/// punctuation, or divide them otherwise, so letters are matched, not words; `None` when they differ.
fn timed(text: &str, answer: &Value, segments: &[&Segment], overall: f32, seconds: f32) -> Option<Vec<Word>> {
    let mut spoken = Vec::new();
    for word in answer["words"].as_array()? {
        let (start, end) = (number(&word["start"])?, number(&word["end"])?);
        let probability = number(&word["probability"]);
        spoken.extend(letters(word["word"].as_str()?).map(|letter| (letter, start, end, probability)));
    }
    let mut spoken = spoken.into_iter();
    let mut written = Vec::new();
    let mut before = 0.0f32;
    for word in text.split_whitespace() {
        let (mut start, mut end, mut probability) = (None, before, None);
        for letter in letters(word) {
            let (same, from, to, probable) = spoken.next()?;
            if same != letter {
                return None;
            }
            start.get_or_insert(from);
            (end, probability) = (to, probable);
        }
        // A word without letters, such as a dash, takes no time.
        let start = start.unwrap_or(before).clamp(before, seconds.max(before));
        let end = end.clamp(start, seconds.max(start));
        before = start;
        let middle = (start + end) / 2.0;
        let around = segments.iter().find(|segment| (segment.start..=segment.end).contains(&middle));
        let confidence = probability.or_else(|| around.and_then(|segment| segment.confidence()));
        written.push(Word {
            text: word.to_owned(),
            start_ms: milliseconds(start),
            end_ms: milliseconds(end),
            confidence: confidence.unwrap_or(overall).clamp(0.0, 1.0),
        });
    }
    (spoken.next().is_none() && !written.is_empty()).then_some(written)
}

fn letters(word: &str) -> impl Iterator<Item = char> + '_ {
    word.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase)
}

fn milliseconds(seconds: f32) -> u32 {
    (seconds * 1000.0).round() as u32
}

fn same_words(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

/// The ISO 639-1 code of a language that a server names, in full or by code.
fn code(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let found = LANGUAGES.iter().find(|(code, full)| *code == name || *full == name);
    found.map(|(code, _)| (*code).to_owned())
}

const SAMPLE_RATE: f32 = 16_000.0;

/// Of words whose server says nothing about probability: neither trust nor distrust.
const UNKNOWN_CONFIDENCE: f32 = 0.5;
