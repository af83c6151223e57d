//! Talking points from the CV, without any language model: the default on a machine that has no provider.
//!
//! From the question it picks the lines of the CV that bear on it and streams them in the CV's own words, each with
//! its line number. It never invents, and says so when the CV has nothing. Not here: prose, opinions, advice, and any
//! language but English (names are found in every language).

mod cv;
mod question;
mod rank;
mod relevance;
mod words;

use async_stream::stream;
use futures_util::stream::BoxStream;

use self::{
    cv::{Cv, Kind, Section},
    question::{Keyword, Question, Topic},
    rank::Ranker,
    words::Stems,
};

pub use self::relevance::{SourceIndex, StemSet};

use super::{AnswerDelta, AnswerEnd, ChatError, ChatModel, ChatRequest, TokenUsage};

/// Picks talking points from a CV.
///
/// An answer is a line that says what was found, then groups of points, the best first:
///
/// ```text
/// 2 points from your CV, best first:
/// Staff Engineer, Northwind Payments, 2022 – present [9] [10]
/// • Led the migration of the ledger to six Rust services. [12]
/// Skills [51]
/// • Programming: Rust, Go [52]
/// ```
///
/// `[n]` is the number of a [`SourceLine`](super::SourceLine). There are at most six points. A point that would exceed
/// [`max_tokens`](ChatRequest::max_tokens), at four characters a token, is left out with all after it, and the finish
/// reason is `length`; else it is `stop`. The confidence is `None`: nothing here is a probability.
#[derive(Clone, Debug)]
pub struct Notes {
    stems: Stems,
}

impl Notes {
    /// Needs nothing.
    pub fn new() -> Self {
        Self { stems: Stems::new() }
    }

    /// The lines of the answer, and whether some were left out.
    fn take(&self, request: &ChatRequest) -> (Vec<String>, bool) {
        if request.sources.is_empty() {
            return (vec!["There is no CV to take notes from.".into()], false);
        }
        let cv = Cv::read(request.sources.clone());
        let question = Question::read(&request.question, &self.stems);
        let Points { opening, passages } = Points::choose(&cv, &question, &self.stems);

        let mut lines = vec![opening];
        let mut characters = lines[0].chars().count();
        for group in groups(&cv, &passages) {
            // A heading without a point says nothing: the two stand or fall together.
            let mut heading = group.heading;
            for point in group.points {
                let added: Vec<String> = heading.take().into_iter().chain([point]).collect();
                characters += added.iter().map(|line| line.chars().count() + 1).sum::<usize>();
                if characters > request.max_tokens as usize * CHARACTERS_PER_TOKEN {
                    return (lines, true);
                }
                lines.extend(added);
            }
        }
        (lines, false)
    }
}

impl Default for Notes {
    fn default() -> Self {
        Self::new()
    }
}

impl ChatModel for Notes {
    fn name(&self) -> &str {
        NAME
    }

    /// Reads `question` and `sources`; the messages of the prompt are not looked at. The work, about a millisecond
    /// for a CV of 100 lines, is done in the first poll after [`AnswerDelta::RequestSent`]; then one word a delta.
    fn answer(&self, request: ChatRequest) -> BoxStream<'static, Result<AnswerDelta, ChatError>> {
        let notes = self.clone();
        Box::pin(stream! {
            yield Ok(AnswerDelta::RequestSent);
            let (lines, is_cut) = notes.take(&request);
            for word in lines.join("\n").split_inclusive(char::is_whitespace) {
                yield Ok(AnswerDelta::Text(word.to_owned()));
            }
            let finish_reason = if is_cut { "length" } else { "stop" };
            yield Ok(AnswerDelta::Done(AnswerEnd {
                // No tokens of any model.
                usage: Some(TokenUsage::default()),
                ..AnswerEnd::new(finish_reason, NAME)
            }));
        })
    }
}

/// What to say, before it is written down.
struct Points {
    opening: String,
    /// Indices into the CV's passages, the most important first.
    passages: Vec<usize>,
}

impl Points {
    fn choose(cv: &Cv, question: &Question, stems: &Stems) -> Self {
        let found = Ranker::new(cv, stems).find(cv, question);
        let names: Vec<Keyword> = found.missing.iter().filter(|keyword| keyword.is_name).cloned().collect();
        if !found.passages.is_empty() {
            let passages = points(cv, found.passages.into_iter().flat_map(|index| with_details(cv, index)));
            let exception = if names.is_empty() {
                String::new()
            } else {
                format!(", which says nothing about {}", quoted(&names))
            };
            let order = if passages.len() > 1 { ", best first" } else { "" };
            return Self { opening: format!("{}{exception}{order}:", count(passages.len())), passages };
        }
        let asks_more = !found.missing.is_empty();
        let passages = match question.topic {
            Some(topic @ Topic::Section(_)) => on(cv, topic),
            // Small talk around this one is not what is asked.
            Some(Topic::Candidate) if names.is_empty() => on(cv, Topic::Candidate),
            Some(topic) if !asks_more => on(cv, topic),
            _ => Vec::new(),
        };
        if !passages.is_empty() {
            let opening = match asks_more && question.topic != Some(Topic::Candidate) {
                true => format!("Your CV says nothing about {}. What it has:", quoted(&found.missing)),
                false => format!("{}:", count(passages.len())),
            };
            return Self { opening, passages };
        }
        if asks_more {
            let missing = if names.is_empty() { &found.missing } else { &names };
            return Self { opening: format!("Your CV says nothing about {}.", quoted(missing)), passages };
        }
        let passages = if question.topic.is_none() { on(cv, Topic::Candidate) } else { passages };
        let opening = match passages.is_empty() {
            true => "Your CV has nothing on this.".into(),
            false => "Your CV does not answer this directly. What it says of you:".into(),
        };
        Self { opening, passages }
    }
}

/// The passages for a standard question, in the order in which they are best said; at most [`MAX_POINTS`].
fn on(cv: &Cv, topic: Topic) -> Vec<usize> {
    let jobs = cv.jobs();
    let section = |wanted: Section| {
        let passages = cv.passages.iter().enumerate();
        passages
            .filter(move |(_, passage)| passage.section == wanted && passage.kind != Kind::Contact)
            .map(|(i, _)| i)
    };
    match topic {
        Topic::Section(wanted) => points(cv, section(wanted)),
        Topic::CurrentJob => points(cv, jobs.iter().take(1).flat_map(|&job| with_details(cv, job))),
        Topic::PreviousJob => points(cv, jobs.iter().skip(1).take(1).flat_map(|&job| with_details(cv, job))),
        Topic::Achievements => {
            let details = jobs.iter().flat_map(|&job| with_details(cv, job).skip(1));
            points(
                cv,
                details.filter(|&index| cv.text(&cv.passages[index]).contains(|c: char| c.is_ascii_digit())),
            )
        }
        Topic::Candidate => {
            let headline = section(Section::Top).filter(|&index| is_headline(cv, index)).take(1);
            let summary = section(Section::Summary).take(2);
            let current = jobs.iter().take(1).flat_map(|&job| with_details(cv, job).take(3));
            points(cv, headline.chain(summary).chain(current).chain(jobs.iter().skip(1).copied()))
        }
    }
}

/// A passage and, of a role, what is said under it.
fn with_details(cv: &Cv, index: usize) -> impl Iterator<Item = usize> {
    let details = cv.passages.iter().enumerate().filter(move |(_, passage)| passage.role == Some(index));
    std::iter::once(index).chain(details.map(|(index, _)| index))
}

/// Whether a line at the top says what the candidate is, rather than where.
fn is_headline(cv: &Cv, index: usize) -> bool {
    let passage = &cv.passages[index];
    let text = cv.text(passage);
    passage.kind == Kind::Detail && passage.role.is_none() && text.contains(' ') && !text.contains([',', '|'])
}

/// The first [`MAX_POINTS`] passages, each once, and no role that already heads the points under it.
fn points(cv: &Cv, passages: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut points: Vec<usize> = Vec::new();
    for index in passages {
        let heads_another = points.iter().any(|&point| cv.passages[point].role == Some(index));
        if points.contains(&index) || heads_another {
            continue;
        }
        let role = cv.passages[index].role;
        points.retain(|&point| Some(point) != role);
        if points.len() == MAX_POINTS {
            break;
        }
        points.push(index);
    }
    points
}

/// Points that stand under the same role or heading.
struct Group {
    heading: Option<String>,
    points: Vec<String>,
}

/// Gathers passages under their roles or headings; the group of the first passage comes first.
fn groups(cv: &Cv, passages: &[usize]) -> Vec<Group> {
    let mut groups: Vec<(_, Group)> = Vec::new();
    for &index in passages {
        let passage = &cv.passages[index];
        let key = (passage.role, passage.heading);
        let point = format!("• {} {}", cv.text(passage), cv.cite(passage.lines.clone()));
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, group)) => group.points.push(point),
            None => {
                let role = passage.role.map(|role| &cv.passages[role]);
                let heading = match role {
                    Some(role) => Some(format!("{} {}", cv.text(role), cv.cite(role.lines.clone()))),
                    None => {
                        passage.heading.map(|line| format!("{} {}", cv.line(line), cv.cite(line..line + 1)))
                    }
                };
                groups.push((key, Group { heading, points: vec![point] }));
            }
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn count(points: usize) -> String {
    match points {
        1 => "1 point from your CV".into(),
        _ => format!("{points} points from your CV"),
    }
}

/// The question's own words, neighbours together: `quantum computing, salary`.
fn quoted(keywords: &[Keyword]) -> String {
    let mut text = String::new();
    let mut previous = None;
    for keyword in keywords.iter().take(MAX_QUOTED) {
        text.push_str(match previous {
            None => "",
            Some(position) if position + 1 == keyword.position => " ",
            Some(_) => ", ",
        });
        text.push_str(&keyword.word);
        previous = Some(keyword.position);
    }
    text
}

const NAME: &str = "notes";

/// Points of one answer: what a glance can take in.
const MAX_POINTS: usize = 6;

/// Words of the question repeated when the CV has nothing on them.
const MAX_QUOTED: usize = 6;

/// Rule of thumb for English text and the tokenisers of language models.
const CHARACTERS_PER_TOKEN: usize = 4;
