//! What a question asks, as far as a CV can answer: its key words, the names among them, and the standard questions
//! that name nothing ("tell me about yourself").
//!
//! English interview phrasing only; of a question in another language every word is a key word. Not here: the CV.

use super::cv::Section;
use super::words::Stems;

/// What a standard question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    /// "Tell me about yourself."
    Candidate,
    CurrentJob,
    PreviousJob,
    /// "What are you most proud of?", "the hardest problem you solved".
    Achievements,
    /// "What did you study?"
    Section(Section),
}

/// A word of the question that a CV line can bear on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Keyword {
    /// As it was said.
    pub(super) word: String,
    /// Its place in the question; neighbours with no pause between them differ by one.
    pub(super) position: usize,
    /// Stems that mean this word; more than one for "event-sourced".
    pub(super) stems: Vec<String>,
    /// Stems of words that are used of the same matter.
    pub(super) related: Vec<String>,
    /// Written like a name: `Kafka`, `SQL`, `C++`.
    pub(super) is_name: bool,
}

/// What a question asks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Question {
    pub(super) topic: Option<Topic>,
    pub(super) keywords: Vec<Keyword>,
}

impl Question {
    /// Reads at most the last [`MAX_WORDS`] words: what is asked comes last.
    pub(super) fn read(text: &str, stems: &Stems) -> Self {
        let text = text.replace('’', "'");
        let words: Vec<&str> = text.split_whitespace().flat_map(|word| word.split(['/', '—', '–'])).collect();
        let words = &words[words.len().saturating_sub(MAX_WORDS)..];
        let plain: Vec<String> = words.iter().map(|word| trim(word).to_lowercase()).collect();

        let (topic, consumed) = topic_of(&plain);
        let mut keywords: Vec<Keyword> = Vec::new();
        let mut pauses = 0;
        for (index, word) in words.iter().enumerate() {
            let starts_sentence = index == 0 || words[index - 1].ends_with(['.', '?', '!', ':']);
            pauses += usize::from(index > 0 && words[index - 1].ends_with(['.', '?', '!', ':', ',', ';']));
            let said = trim(word);
            let said = said.strip_suffix("'s").unwrap_or(said);
            let stem = plain[index].split('\'').next().unwrap_or_default();
            let is_language = said == "Go" && !starts_sentence;
            let is_filler = FILLERS.split_whitespace().any(|filler| filler == stem) && !is_language;
            let is_word = !is_number(stem) && stem.len() <= MAX_WORD;
            if consumed.contains(&index) || is_filler || !is_word {
                continue;
            }
            let own = stems.of(said);
            if own.is_empty() || keywords.iter().any(|keyword| keyword.stems == own) {
                continue;
            }
            keywords.push(Keyword {
                word: said.to_owned(),
                position: index + pauses,
                related: stems.related(&own),
                is_name: is_name(said, starts_sentence),
                stems: own,
            });
        }
        Self { topic, keywords }
    }
}

/// The first standard question that is found, and the places of the words that tell it.
fn topic_of(words: &[String]) -> (Option<Topic>, Vec<usize>) {
    for (phrases, topic) in TOPICS {
        let mut places = Vec::new();
        for phrase in phrases.split('|') {
            let phrase: Vec<&str> = phrase.split_whitespace().collect();
            for (start, window) in words.windows(phrase.len()).enumerate() {
                if window.iter().zip(&phrase).all(|(word, expected)| word == expected) {
                    places.extend(start..start + phrase.len());
                }
            }
        }
        if !places.is_empty() {
            return (Some(topic), places);
        }
    }
    (None, Vec::new())
}

/// Without punctuation around it, but with what belongs to `C++`, `C#` and `.NET`.
fn trim(word: &str) -> &str {
    let word = word.trim_end_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '+' | '#'));
    let start = word.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '.');
    if start.to_lowercase() == ".net" { start } else { start.trim_start_matches('.') }
}

fn is_number(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_digit() || matches!(c, ',' | '.' | '%'))
}

fn is_name(word: &str, starts_sentence: bool) -> bool {
    let capitals = word.chars().filter(|c| c.is_uppercase()).count();
    let begins = word.starts_with(char::is_uppercase);
    capitals > usize::from(begins) || begins && !starts_sentence || word.contains(['+', '#'])
}

/// Words read of a question; spoken ones have 10 to 40.
const MAX_WORDS: usize = 120;

/// Bytes of a word that is read; longer ones are not words.
const MAX_WORD: usize = 60;

/// Standard questions, by the words they are recognised by. The first that is found counts.
const TOPICS: [(&str, Topic); 10] = [
    (
        "about yourself | introduce yourself | describe yourself | your background | through your cv | \
         through your resume | through your résumé | through your career | through your experience | \
         your career so far | who are you | your story | your journey | hire you | good fit | right fit \
         | right person | your strengths | greatest strength | biggest strength | you stand out",
        Topic::Candidate,
    ),
    (
        "previous role | previous job | previous position | previous company | previous employer | last \
         role | last job | last position | last company | last employer | before that",
        Topic::PreviousJob,
    ),
    (
        "current role | current job | current position | current company | current employer | currently \
         | present role | day to day | day-to-day | typical day | latest role | recent role | recent \
         job | these days | at the moment | right now",
        Topic::CurrentJob,
    ),
    (
        "proud | proudest | achievement | achievements | accomplishment | accomplishments | \
         accomplished | biggest success | biggest impact | greatest success | challenge | challenges | \
         challenging | difficult problem | difficult project | hardest problem | hard problem | tough \
         problem | complex problem | complex project | complicated problem | above and beyond",
        Topic::Achievements,
    ),
    (
        "degree | university | college | education | educational | study | studied | studies | \
         qualification | qualifications | academic",
        Topic::Section(Section::Education),
    ),
    (
        "certification | certifications | certificate | certificates | certified",
        Topic::Section(Section::Certifications),
    ),
    (
        "languages do you speak | languages can you speak | speak any | foreign languages | other \
         languages",
        Topic::Section(Section::Languages),
    ),
    (
        "hobbies | hobby | outside of work | outside work | free time | spare time | your interests | \
         for fun | when you're not working",
        Topic::Section(Section::Interests),
    ),
    (
        "side project | side projects | personal project | personal projects | own projects",
        Topic::Section(Section::Projects),
    ),
    (
        "skills | skill set | tech stack | technologies | programming languages | tools do you | \
         technical strengths | strongest in",
        Topic::Section(Section::Skills),
    ),
];

/// How interviewers speak: words that say nothing of what is asked about. Stop words of English come on top.
pub(super) const FILLERS: &str = "\
    a able actually again also always another answer any anybody anyone anything approach area around ask \
    aspect back basically be become best better big biggest bit brief briefly bring build built business \
    came can candidate career case come comfortable companies company consider could cv day days deal \
    dealing dealt describe detail details difficult discuss done easy else encountered enjoy etc ever \
    every everybody everyone exactly example examples excited experience experienced experiences explain \
    face faced familiar favorite favourite feel find first five for friday full gave general get getting \
    give given go goes going gone good got gotten great greatest grew grow guess had hand handle handled \
    handling happen happened hard hardest hello help here hey hi hope idea important instance interested \
    interesting interview involve involved involving job join joining keep kind kinds know knowledge large \
    largest last learn learned learnt let lets level life like little long look looking lot made main \
    major make making many may maybe mean meet met might moment much must name necessary need needed new \
    next nice now ok okay one opportunity ours overcame overcome overview part particular particularly \
    people person piece place play played please position possible practical practice previous previously \
    problem process production professional project projects put question questions quick quickly quite \
    really recent recently reduce reduced regarding related resolve resolved resolving resume right role \
    roles run résumé said say second see several shall share short should show significant situation \
    situations so solve solved solving somebody someone something sometimes somewhere sort specific \
    specifically start started step still stuff successful sure take taken taking talk talking task tasks \
    tell thank thanks thing things think three through tight time times today together took tough towards \
    tried true try two type types understand understanding us use used using usually various walk want \
    wanted way ways welcome well went will within without wonderful wondering work worked working works \
    world would yeah year years yes yet yourself";

#[cfg(test)]
mod tests {
    use super::*;

    /// Each question with its topic and key words; names are marked by `!`.
    #[test]
    fn what_is_asked_remains() {
        let stems = Stems::new();
        let check = |text: &str, topic: Option<Topic>, expected: &[&str]| {
            let question = Question::read(text, &stems);
            let keywords: Vec<String> = question
                .keywords
                .iter()
                .map(|keyword| format!("{}{}", keyword.word, if keyword.is_name { "!" } else { "" }))
                .collect();
            assert_eq!(question.topic, topic, "{text}");
            assert_eq!(keywords, expected, "{text}");
        };
        let education = Some(Topic::Section(Section::Education));
        check("", None, &[]);
        check("So, tell me about yourself.", Some(Topic::Candidate), &[]);
        check("Tell me about a time when you had to handle a conflict.", None, &["conflict"]);
        check("What's your experience with Kafka, C++ and .NET?", None, &["Kafka!", "C++!", ".NET!"]);
        check("Okay. Kafka? And how well do you know Go?", None, &["Kafka", "Go!"]);
        check("Let’s go: what did you study at university?", education, &[]);
        check("Did you study physics at university?", education, &["physics"]);
        check(
            "Which CI/CD tools — if any — did Acme's teams use?",
            None,
            &["CI!", "CD!", "tools", "Acme!", "teams"],
        );
        check("Have you led teams, and what team?", None, &["led", "teams"]);
    }

    #[test]
    fn only_the_last_words_of_a_long_question_are_read() {
        let question =
            Question::read(&format!("Haskell? {} Rust?", "well ".repeat(MAX_WORDS)), &Stems::new());
        let words: Vec<&str> = question.keywords.iter().map(|keyword| keyword.word.as_str()).collect();
        assert_eq!(words, ["Rust"]);
    }
}
