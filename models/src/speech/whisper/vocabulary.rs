//! Whisper's vocabulary: token ids, their bytes, the special ones, and text into tokens.
//!
//! Byte-level BPE as tiktoken does it: a plain token's id is its rank, and the pair with the lowest rank is joined first.
//! Not here: which tokens a prompt is made of.

use std::collections::HashMap;

use crate::speech::languages::LANGUAGES;

/// The tokens of one model.
#[derive(Debug)]
pub(super) struct Vocabulary {
    /// Bytes of the plain tokens, by id.
    plain: Vec<Vec<u8>>,
    ranks: HashMap<Vec<u8>, u32>,
    size: u32,
}

impl Vocabulary {
    /// `tokens`: the bytes of the plain tokens as a ggml file has them; `size`: all tokens of the model.
    pub(super) fn new(mut tokens: Vec<Vec<u8>>, size: u32) -> Self {
        // English files carry the end-of-text token too; multilingual ones have one plain token more.
        tokens.truncate(if size == ENGLISH { ENGLISH_PLAIN } else { ENGLISH_PLAIN + 1 } as usize);
        let ranks = (0..).zip(&tokens).map(|(id, bytes)| (bytes.clone(), id)).collect();
        Self { plain: tokens, ranks, size }
    }

    /// Whether the model knows other languages than English.
    pub(super) fn is_multilingual(&self) -> bool {
        self.size != ENGLISH
    }

    /// The bytes of `id` when it is part of the text.
    pub(super) fn text(&self, id: u32) -> Option<&[u8]> {
        self.plain.get(id as usize).map(Vec::as_slice)
    }

    /// Seconds from the start of the audio, when `id` is a time token.
    pub(super) fn seconds(&self, id: u32) -> Option<f32> {
        (id >= self.first_time()).then(|| (id - self.first_time()) as f32 * SECONDS_PER_TIME_TOKEN)
    }

    /// A plain space.
    pub(super) fn space(&self) -> u32 {
        self.ranks.get(&b" "[..]).copied().unwrap_or_default()
    }

    /// `<|endoftext|>`, the first of the special tokens.
    pub(super) fn end_of_text(&self) -> u32 {
        if self.is_multilingual() { ENGLISH_PLAIN + 1 } else { ENGLISH_PLAIN }
    }

    /// `<|startoftranscript|>`.
    pub(super) fn start(&self) -> u32 {
        self.end_of_text() + 1
    }

    /// The tokens of the languages, in the order of [`LANGUAGES`].
    pub(super) fn languages(&self) -> impl Iterator<Item = u32> {
        let first = self.start() + 1;
        first..first + self.language_count()
    }

    /// The token of the language `code` (ISO 639-1).
    pub(super) fn language(&self, code: &str) -> Option<u32> {
        self.languages().zip(LANGUAGES).find(|(_, (known, _))| *known == code).map(|(id, _)| id)
    }

    /// The code of a language's token.
    pub(super) fn language_code(&self, id: u32) -> &'static str {
        self.languages().zip(LANGUAGES).find(|(known, _)| *known == id).map_or("en", |(_, (code, _))| code)
    }

    /// `<|transcribe|>`.
    pub(super) fn transcribe(&self) -> u32 {
        self.start() + self.language_count() + 2
    }

    /// `<|startofprev|>`: what was said before follows.
    pub(super) fn previous(&self) -> u32 {
        self.transcribe() + 2
    }

    /// Special tokens that are never part of a transcript; the end and the times are.
    pub(super) fn never_written(&self) -> impl Iterator<Item = u32> {
        self.start()..self.first_time() - 1
    }

    /// The file that CTranslate2 reads, one token a line. Plain tokens are called by their numbers there: only ids go in
    /// and out. A nameless token tells CTranslate2 that the model is multilingual.
    pub(super) fn file(&self) -> String {
        let plain = (0..ENGLISH_PLAIN).map(|id| id.to_string());
        let nameless = self.is_multilingual().then(String::new);
        let special = ["endoftext", "startoftranscript"].into_iter().map(str::to_owned);
        let languages =
            LANGUAGES[..self.language_count() as usize].iter().map(|(code, _)| (*code).to_owned());
        let tasks = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"];
        let times =
            (self.first_time()..self.size).map(|id| format!("{:.2}", self.seconds(id).unwrap_or_default()));
        let special = special.chain(languages).chain(tasks.map(str::to_owned)).chain(times);
        let special = special.map(|name| format!("<|{name}|>"));
        plain.chain(nameless).chain(special).map(|name| name + "\n").collect()
    }

    /// What [`file`](Self::file) calls `id`.
    pub(super) fn name(&self, id: u32) -> String {
        let at = |name: &str| format!("<|{name}|>");
        match id {
            id if self.text(id).is_some() => id.to_string(),
            id if id == self.start() => at("startoftranscript"),
            id if id == self.transcribe() => at("transcribe"),
            id if id == self.previous() => at("startofprev"),
            id if self.languages().any(|language| language == id) => at(self.language_code(id)),
            id => self.seconds(id).map_or(at("endoftext"), |seconds| at(&format!("{seconds:.2}"))),
        }
    }

    /// The tokens of `text`.
    pub(super) fn tokens(&self, text: &str) -> Vec<u32> {
        pieces(text).flat_map(|piece| self.join(piece.as_bytes())).collect()
    }

    /// Byte-pair encoding of one piece.
    fn join(&self, piece: &[u8]) -> Vec<u32> {
        let mut parts: Vec<&[u8]> = piece.chunks(1).collect();
        let rank = |parts: &[&[u8]], at: usize| {
            let joined = [parts[at], parts[at + 1]].concat();
            self.ranks.get(&joined).map(|rank| (*rank, at))
        };
        while let Some((_, at)) = (0..parts.len().saturating_sub(1)).filter_map(|at| rank(&parts, at)).min() {
            let start = parts[..at].iter().map(|part| part.len()).sum::<usize>();
            let length = parts[at].len() + parts[at + 1].len();
            parts[at] = &piece[start..start + length];
            parts.remove(at + 1);
        }
        parts.iter().filter_map(|part| self.ranks.get(*part).copied()).collect()
    }

    /// `<|0.00|>`, the first time token.
    pub(super) fn first_time(&self) -> u32 {
        self.size - TIMES
    }

    fn language_count(&self) -> u32 {
        // Beside the plain tokens, the languages and the times there are eight.
        self.size - self.end_of_text() - 8 - TIMES
    }
}

/// What BPE never joins across: a word with the space before it, figures, marks (GPT-2's pattern, but for its
/// contractions, which only move a cut).
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let class = |c: char| match c {
        c if c.is_alphabetic() => 0,
        c if c.is_numeric() => 1,
        c if c.is_whitespace() => 2,
        _ => 3,
    };
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut characters = rest.char_indices().peekable();
        let (_, first) = characters.next()?;
        let mut kind = class(first);
        if first == ' '
            && let Some((_, next)) = characters.peek()
        {
            kind = class(*next);
        }
        let end = characters.find(|(_, c)| class(*c) != kind).map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

/// All tokens of an English-only model.
pub(super) const ENGLISH: u32 = 51_864;
const ENGLISH_PLAIN: u32 = 50_256;
/// 0.00 to 30.00 s.
const TIMES: u32 = 1_501;
const SECONDS_PER_TIME_TOKEN: f32 = 0.02;

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes first, as in the real one, then a few joined.
    fn vocabulary(size: u32) -> Vocabulary {
        let mut tokens: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).collect();
        tokens.extend(["he", "ll", " t", "hell", "hello", " th"].map(|text| text.as_bytes().to_vec()));
        tokens.resize_with(50_300, || b"\xff\xfe filler".to_vec());
        Vocabulary::new(tokens, size)
    }

    #[test]
    fn special_tokens_are_where_openai_has_them() {
        let english = vocabulary(ENGLISH);
        assert_eq!((english.end_of_text(), english.start(), english.first_time()), (50_256, 50_257, 50_363));
        assert_eq!((english.transcribe(), english.previous()), (50_358, 50_360));
        assert_eq!((english.language("en"), english.language_count()), (Some(50_258), 99));
        let multilingual = vocabulary(51_865);
        assert_eq!((multilingual.start(), multilingual.first_time()), (50_258, 50_364));
        assert_eq!((multilingual.transcribe(), multilingual.previous()), (50_359, 50_361));
        assert_eq!(multilingual.language("su"), Some(50_357));
        assert_eq!(multilingual.language("xx"), None);
        assert_eq!(vocabulary(51_866).language("yue"), Some(50_358));
    }

    #[test]
    fn each_id_has_its_line() {
        for vocabulary in [vocabulary(ENGLISH), vocabulary(51_865)] {
            let file = vocabulary.file();
            let lines: Vec<_> = file.lines().collect();
            assert_eq!(lines.len() as u32, vocabulary.size);
            let special = [vocabulary.start(), vocabulary.previous(), vocabulary.transcribe()];
            let german = vocabulary.language("de").unwrap();
            for id in special.into_iter().chain([0, 77, german, vocabulary.first_time(), vocabulary.size - 1])
            {
                assert_eq!(lines[id as usize], vocabulary.name(id), "{id}");
            }
            assert_eq!(lines.contains(&""), vocabulary.is_multilingual());
            assert_eq!(vocabulary.seconds(vocabulary.size - 1), Some(30.0));
        }
    }

    #[test]
    fn text_becomes_tokens_by_rank() {
        let vocabulary = vocabulary(ENGLISH);
        let check = |text: &str, expected: &[&str]| {
            let tokens = vocabulary.tokens(text);
            let parts: Vec<_> = tokens.iter().map(|id| vocabulary.text(*id).unwrap()).collect();
            assert_eq!(parts, expected.iter().map(|part| part.as_bytes()).collect::<Vec<_>>(), "{text}");
        };
        check("", &[]);
        check("hello", &["hello"]);
        // "he" is joined before "ll" and before " t".
        check("hellhello the", &["hell", "hello", " t", "he"]);
        check("t, t42", &["t", ",", " t", "4", "2"]);
        assert_eq!(vocabulary.tokens("é").len(), 2);
    }
}
