//! Which passages of a CV bear on a question, and how much: BM25 over each passage and over its context.
//!
//! Not here: standard questions that name nothing, and how points are written down.

use std::collections::HashSet;

use bm25::{EmbedderBuilder, Embedding, Scorer, TokenEmbedder, TokenEmbedding};

use super::{
    cv::{Cv, Kind, Section},
    question::{Keyword, Question, Topic},
    words::Stems,
};

/// What was found for a question's key words.
#[derive(Debug)]
pub(super) struct Found {
    /// Passages by index, the best first; none when the CV has nothing on the question.
    pub(super) passages: Vec<usize>,
    /// The key words on which the CV has nothing.
    pub(super) missing: Vec<Keyword>,
}

/// A CV, ready to be searched any number of times.
pub(super) struct Ranker {
    /// Indices of the passages that can be found.
    candidates: Vec<usize>,
    own: Index,
    /// The headings and roles that passages stand under.
    context: Index,
    /// Stems that the CV has.
    known: HashSet<String>,
    /// Stems that it writes as names.
    names: HashSet<String>,
    /// Stems of the candidate's name.
    addressed: Vec<String>,
}

impl Ranker {
    pub(super) fn new(cv: &Cv, stems: &Stems) -> Self {
        let candidates: Vec<usize> =
            (0..cv.passages.len()).filter(|&index| cv.passages[index].kind != Kind::Contact).collect();
        let own: Vec<String> = candidates.iter().map(|&index| cv.text(&cv.passages[index])).collect();
        let context: Vec<String> = candidates
            .iter()
            .map(|&index| {
                let passage = &cv.passages[index];
                let heading = passage.heading.map(|line| cv.line(line)).unwrap_or_default();
                let role = passage.role.map(|role| cv.text(&cv.passages[role])).unwrap_or_default();
                format!("{heading} {role}")
            })
            .collect();
        let texts = |texts: &[String]| {
            Index::new(stems, candidates.iter().copied().zip(texts.iter().map(String::as_str)))
        };
        Self {
            known: own.iter().chain(&context).flat_map(|text| stems.of(text)).collect(),
            names: names(cv, stems),
            addressed: cv.name().map(|name| stems.of(name)).unwrap_or_default(),
            own: texts(&own),
            context: texts(&context),
            candidates,
        }
    }

    /// Finds the passages of `cv`, of which this was made, that bear on the question's key words.
    ///
    /// A passage is found by its own words, for less by the heading and role it stands under, and for less by words that
    /// are used of the same matter. When the question names something that the CV has, a passage must have it; when it
    /// names only what the CV has not, nothing is found. A word right behind one that the CV lacks does not count:
    /// "computing" does not answer "quantum computing".
    pub(super) fn find(&self, cv: &Cv, question: &Question) -> Found {
        // The interviewer says the candidate's name, but does not ask about it.
        let asked = |keyword: &&Keyword| {
            let mut stems = keyword.stems.iter();
            stems.any(|stem| self.known.contains(stem) || !self.addressed.contains(stem))
        };
        let keywords = question.keywords.iter().filter(asked).cloned().map(|mut keyword| {
            keyword.is_name |= keyword.stems.iter().any(|stem| self.names.contains(stem));
            keyword
        });
        let (covered, missing) = split(keywords, &self.known);
        let asks_by_name = covered.iter().any(|keyword| keyword.is_name);
        if covered.is_empty() || !asks_by_name && missing.iter().any(|keyword| keyword.is_name) {
            return Found { passages: Vec::new(), missing };
        }

        let mut passages: Vec<(usize, f32)> = self
            .candidates
            .iter()
            .filter_map(|&index| {
                let score =
                    |stem: &String| self.own.score(index, stem) + CONTEXT * self.context.score(index, stem);
                let mut total = 0.0;
                let mut has_name = false;
                for keyword in &covered {
                    let said: f32 = keyword.stems.iter().map(score).sum();
                    let related: f32 = keyword.related.iter().map(score).sum();
                    total += said + RELATED * related;
                    has_name |= keyword.is_name && said > 0.0;
                }
                let weight = match cv.passages[index].section {
                    section if question.topic == Some(Topic::Section(section)) => ASKED,
                    Section::Experience | Section::Projects => EVIDENCE,
                    _ => 1.0,
                };
                (total > 0.0 && (has_name || !asks_by_name)).then_some((index, total * weight))
            })
            .collect();
        passages.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let best = passages.first().map_or(0.0, |&(_, score)| score);
        let near_best = passages.into_iter().take_while(|&(_, score)| score >= best * NEAR_BEST);
        Found { passages: near_best.map(|(index, _)| index).collect(), missing }
    }
}

/// Stems that the CV writes as names: a transcript may have them in small letters. Titles have capitals everywhere, so
/// only details count, and not their first word.
fn names(cv: &Cv, stems: &Stems) -> HashSet<String> {
    let details =
        cv.passages.iter().filter(|passage| passage.kind == Kind::Detail).map(|passage| cv.text(passage));
    details
        .flat_map(|text| {
            let words = text.split_whitespace().skip(1).filter(|word| word.starts_with(char::is_uppercase));
            words.flat_map(|word| stems.of(word)).collect::<Vec<_>>()
        })
        .collect()
}

/// Key words that the CV has something on, and those that it has not.
fn split(keywords: impl Iterator<Item = Keyword>, known: &HashSet<String>) -> (Vec<Keyword>, Vec<Keyword>) {
    let mut covered: Vec<Keyword> = Vec::new();
    let mut missing: Vec<Keyword> = Vec::new();
    for keyword in keywords {
        let is_known = keyword.stems.iter().chain(&keyword.related).any(|stem| known.contains(stem));
        let is_narrowed = missing.last().is_some_and(|last| last.position + 1 == keyword.position);
        if is_known && (keyword.is_name || !is_narrowed) {
            covered.push(keyword);
        } else {
            missing.push(keyword);
        }
    }
    (covered, missing)
}

/// BM25 over one text a passage.
struct Index {
    scorer: Scorer<usize, u64>,
}

impl Index {
    fn new<'a>(stems: &Stems, texts: impl Iterator<Item = (usize, &'a str)> + Clone) -> Self {
        let corpus: Vec<&str> = texts.clone().map(|(_, text)| text).collect();
        let embedder =
            EmbedderBuilder::<u64, Stems>::with_tokenizer_and_fit_to_corpus(stems.clone(), &corpus)
                .b(LENGTH)
                .build();
        let mut scorer = Scorer::new();
        for (index, text) in texts {
            scorer.upsert(&index, embedder.embed(text));
        }
        Self { scorer }
    }

    fn score(&self, passage: usize, stem: &str) -> f32 {
        // Not by the embedder: it would stem what is a stem already, and that may change it once more.
        let query = Embedding(vec![TokenEmbedding { index: u64::embed(stem), value: 1.0 }]);
        self.scorer.score(&passage, &query).unwrap_or_default()
    }
}

/// Weight of what was done, against what is merely listed.
const EVIDENCE: f32 = 1.5;

/// Weight of the section that the question is about.
const ASKED: f32 = 3.0;

/// Weight of a word of the same matter.
const RELATED: f32 = 0.5;

/// Weight of the heading and role that a passage stands under.
const CONTEXT: f32 = 0.4;

/// A passage counts when it scores at least this share of the best one.
const NEAR_BEST: f32 = 0.4;

/// BM25's `b`, usually 0.75: how much a long text is held against it. Lines of a CV differ in style, not in scope.
const LENGTH: f32 = 0.3;
