//! Which lines of a CV bear on a question, for those who build prompts, and which words a line shares with a text.
//!
//! The ranking is that of the notes. Not here: what is made of it, and any budget.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::{Arc, LazyLock},
};

use super::{
    super::SourceLine,
    cv::Cv,
    on,
    question::{FILLERS, Question, Topic},
    rank::Ranker,
    words::Stems,
};

/// The lines of a document, ready to be searched.
///
/// Making one takes about as long as one answer of [`Notes`](super::Notes), 2 ms for a CV of 100 lines; a search takes a
/// tenth of that. Made for CVs in English; of other texts names and numbers are found.
pub struct SourceIndex {
    lines: Arc<[SourceLine]>,
    cv: Cv,
    ranker: Ranker,
    /// By line number: the index of the passage that the line is part of, or else none.
    passages: HashMap<u32, Option<usize>>,
    /// Stems of each passage, and of each line that is in none.
    passage_stems: Vec<HashSet<String>>,
    line_stems: HashMap<u32, HashSet<String>>,
    /// Stems that many passages have.
    frequent: HashSet<String>,
}

impl SourceIndex {
    /// Reads `lines`, of which the numbers rise.
    pub fn new(lines: Arc<[SourceLine]>) -> Self {
        let stems = &*STEMS;
        let cv = Cv::read(Arc::clone(&lines));
        let ranker = Ranker::new(&cv, stems);
        let mut passages: HashMap<u32, Option<usize>> =
            lines.iter().map(|line| (line.number, None)).collect();
        for (index, passage) in cv.passages.iter().enumerate() {
            passages.extend(lines[passage.lines.clone()].iter().map(|line| (line.number, Some(index))));
        }
        let passage_stems: Vec<HashSet<String>> =
            cv.passages.iter().map(|passage| stems.of(&cv.text(passage)).into_iter().collect()).collect();
        let line_stems = lines
            .iter()
            .filter(|line| passages[&line.number].is_none())
            .map(|line| (line.number, stems.of(&line.text).into_iter().collect()))
            .collect();
        let mut counts: HashMap<&String, usize> = HashMap::new();
        for stem in passage_stems.iter().flatten() {
            *counts.entry(stem).or_default() += 1;
        }
        let few = MIN_FREQUENT.max(passage_stems.len() / FREQUENT_SHARE);
        let frequent =
            counts.into_iter().filter(|(_, count)| *count > few).map(|(stem, _)| stem.clone()).collect();
        Self { lines, cv, ranker, passages, passage_stems, line_stems, frequent }
    }

    /// Numbers of the lines that bear on `question`, the best first; none when the document has nothing on it.
    ///
    /// Of a standard question that names nothing ("tell me about yourself") they are the lines that usually answer it.
    pub fn relevant(&self, question: &str) -> Vec<u32> {
        let question = Question::read(question, &STEMS);
        let found = self.ranker.find(&self.cv, &question);
        if !found.passages.is_empty() {
            return self.numbers(found.passages);
        }
        match question.topic {
            // Beside a name that the CV lacks, only a section is still what is asked.
            Some(topic @ Topic::Section(_)) => self.numbers(on(&self.cv, topic)),
            Some(topic) if found.missing.iter().all(|keyword| !keyword.is_name) => {
                self.numbers(on(&self.cv, topic))
            }
            _ => Vec::new(),
        }
    }

    /// Numbers of the lines that say who the candidate is, whatever is asked: name, headline, summary, jobs, the most
    /// recent first.
    pub fn overview(&self) -> Vec<u32> {
        // The name, when there is one, is the first passage.
        let name = self.cv.name().map(|_| 0).into_iter();
        self.numbers(name.chain(on(&self.cv, Topic::Candidate)).chain(self.cv.jobs()))
    }

    /// Numbers of the lines that `line` cannot be read without: its heading, its role, the rest of its sentence.
    pub fn around(&self, line: u32) -> Vec<u32> {
        let Some(passage) = self.passages.get(&line).copied().flatten().map(|index| &self.cv.passages[index])
        else {
            return Vec::new();
        };
        let role = passage.role.map(|role| self.cv.passages[role].lines.clone());
        let heading = passage.heading.map(|heading| heading..heading + 1);
        let lines = heading.into_iter().chain(role).chain([passage.lines.clone()]);
        lines.flat_map(|lines| self.lines_at(lines)).filter(|&number| number != line).collect()
    }

    /// How many of `words` the passage has that `line` is part of; `None` when there is no such line.
    pub fn shared(&self, line: u32, words: &StemSet) -> Option<usize> {
        let passage = *self.passages.get(&line)?;
        let stems =
            passage.map_or_else(|| self.line_stems.get(&line), |index| self.passage_stems.get(index))?;
        Some(words.0.iter().filter(|word| stems.contains(*word)).count())
    }

    /// Those of `words` that tell one line from another: neither "worked", "team" or "year", which any CV may have anywhere,
    /// nor what more than 3 passages and an eighth of this CV's have, such as "und" in German.
    pub fn telling(&self, words: &StemSet) -> StemSet {
        let tells = |word: &&String| !COMMON.contains(*word) && !self.frequent.contains(*word);
        StemSet(words.0.iter().filter(tells).cloned().collect())
    }

    /// The lines, as given.
    pub fn lines(&self) -> &[SourceLine] {
        &self.lines
    }

    /// Numbers of the lines of passages, each once.
    fn numbers(&self, passages: impl IntoIterator<Item = usize>) -> Vec<u32> {
        let mut seen = HashSet::new();
        let passages = passages.into_iter().map(|index| self.cv.passages[index].lines.clone());
        passages.flat_map(|lines| self.lines_at(lines)).filter(|number| seen.insert(*number)).collect()
    }

    fn lines_at(&self, lines: Range<usize>) -> impl Iterator<Item = u32> {
        self.lines[lines].iter().map(|line| line.number)
    }
}

/// The different words of a text as they are compared: stems, names, numbers; no stop words of English.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StemSet(HashSet<String>);

impl StemSet {
    /// All of `text`.
    pub fn of(text: &str) -> Self {
        Self(STEMS.of(text).into_iter().collect())
    }

    /// These, and words that are used of the same matter: `led` beside `leader`.
    pub fn with_related(&self) -> Self {
        let own: Vec<String> = self.0.iter().cloned().collect();
        Self(STEMS.related(&own).into_iter().chain(own).collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One for all sessions: its lists are larger than a CV.
static STEMS: LazyLock<Stems> = LazyLock::new(Stems::new);

static COMMON: LazyLock<HashSet<String>> = LazyLock::new(|| STEMS.of(FILLERS).into_iter().collect());

/// A word is frequent that more passages have than this, and than one in [`FREQUENT_SHARE`].
const MIN_FREQUENT: usize = 3;
const FREQUENT_SHARE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn index(cv: &str) -> SourceIndex {
        let lines =
            cv.lines().zip(1..).map(|(line, number)| SourceLine { number, text: line.trim().to_owned() });
        SourceIndex::new(lines.filter(|line| !line.text.is_empty()).collect())
    }

    const CV: &str = "Ada Lovelace\nAnalyst\n\nExperience\nEngine Ltd, 2020 – present\n- Wrote a program in Rust\n  for \
                      numbers\n- Led six people\nMill & Co, 1999\n- Swept\nSkills\nRust, Go";

    #[test]
    fn lines_are_found_with_what_they_stand_under() {
        let index = index(CV);
        assert_eq!(index.relevant("Have you used Rust?"), [6, 7, 12]);
        assert_eq!(index.relevant("Were you a leader?"), [8]);
        assert_eq!(index.relevant("What are your skills?"), [12]);
        assert_eq!(index.relevant("Tell me about yourself."), index.relevant("Tell me your story, Ada."));
        assert_eq!(index.relevant("Have you used Haskell?"), [0; 0]);
        assert_eq!(index.relevant("Your story with Haskell?"), [0; 0], "a name that the CV lacks");
        assert_eq!(index.overview(), [1, 6, 7, 8, 9, 5]);
        assert_eq!(index.around(6), [4, 5, 7]);
        assert_eq!((index.around(12), index.around(11), index.around(99)), (vec![11], vec![], vec![]));
    }

    #[test]
    fn words_are_counted_by_passage() {
        let index = index(CV);
        let words = StemSet::of("I wrote programs with numbers and numbers.");
        assert_eq!(
            [6, 7, 8, 11, 3].map(|line| index.shared(line, &words)),
            [Some(3), Some(3), Some(0), Some(0), None]
        );
        assert_eq!(index.shared(8, &StemSet::of("leadership")), Some(0));
        assert_eq!(index.shared(8, &StemSet::of("leadership").with_related()), Some(1));
        assert_eq!(index.telling(&StemSet::of("worked with people on Rust")), StemSet::of("Rust"));
        let german = "- und Rust\n".repeat(9) + "- und Perl\n";
        let index = self::index(&german);
        assert_eq!(index.telling(&StemSet::of("und Perl")), StemSet::of("Perl"));
        assert!(StemSet::of("and the").is_empty() && index.overview().len() <= 10);
    }

    #[test]
    fn nothing_is_found_in_nothing() {
        let index = index("");
        assert!(index.relevant("Tell me about yourself.").is_empty() && index.overview().is_empty());
    }
}
