//! What an answer should be like: spoken length, language, tone, and how many tokens that takes.
//!
//! Not here: what it says (`prompt`).

use models::speech::language_name;
use protocol::{AnswerLength, Variant};

use super::Question;
use crate::is_behavioural;

/// Upper bound of an answer in tokens: 1.4 for each word of English, half as much again for models that say more than they are
/// asked to, and 40 for citations. Other languages get half as much again: vocabularies cut them finer (Petrov et al. 2023,
/// "Language Model Tokenizers Introduce Unfairness Between Languages": German and French 1.5 times). At most a quarter
/// of what the model can hold; a limit costs no time, too low a one costs the end of the answer.
pub(super) fn max_tokens(length: AnswerLength, language: &str, context_tokens: u32) -> u32 {
    let wanted = f64::from(words(length)) * tokens_a_word(language) * OVERRUN + f64::from(CITATIONS);
    (wanted as u32).min(context_tokens / 4)
}

/// The last lines of a prompt. Of the variants of an answer only the very last line differs.
pub(super) fn wishes(question: &Question, max_tokens: u32) -> String {
    let language = match language_name(&question.language) {
        Some(name) => name.split(' ').map(capitalised).collect::<Vec<_>>().join(" "),
        None => "the language of the QUESTION".to_owned(),
    };
    let fitting =
        f64::from(max_tokens.saturating_sub(CITATIONS)) / OVERRUN / tokens_a_word(&question.language);
    let words = words(question.length).min(fitting as u32);
    let length = match question.length {
        _ if words < self::words(question.length) => "Keep it short",
        AnswerLength::Short => "30 to 60 seconds when spoken",
        AnswerLength::Medium => "1 to 2 minutes when spoken",
        AnswerLength::Long => "3 to 5 minutes when spoken",
    };
    let tone = match question.variant {
        Variant::Professional => "formal and precise",
        Variant::Balanced => "natural and professional",
        Variant::Simple => "plain: everyday words and short sentences",
    };
    let account = if is_behavioural(&question.text) { STAR } else { "" };
    format!("Answer in {language}. Length: {length}, about {words} words.{account}\nTone: {tone}.")
}

/// At 110 to 150 spoken words a minute, in the middle of the wished time.
fn words(length: AnswerLength) -> u32 {
    match length {
        AnswerLength::Short => 110,
        AnswerLength::Medium => 220,
        AnswerLength::Long => 560,
    }
}

fn tokens_a_word(language: &str) -> f64 {
    if language == "en" { 1.4 } else { 2.1 }
}

fn capitalised(word: &str) -> String {
    let mut rest = word.chars();
    rest.next().into_iter().flat_map(char::to_uppercase).chain(rest).collect()
}

const OVERRUN: f64 = 1.5;
/// Tokens for about ten of them.
const CITATIONS: u32 = 40;

const STAR: &str = " Tell of one occasion: the situation, the task, what I did, and the result, in this order, without naming \
                    these parts.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_fit_the_limit() {
        let check = |length, language: &str, context, expected: u32, said: &str| {
            let question = Question {
                text: "Why?".to_owned(),
                variant: Variant::Simple,
                length,
                language: language.to_owned(),
            };
            let limit = max_tokens(length, language, context);
            let wishes = wishes(&question, limit);
            assert_eq!(limit, expected, "{length:?} {language} {context}");
            assert!(wishes.contains(said), "{wishes}");
        };
        check(
            AnswerLength::Short,
            "en",
            8_192,
            271,
            "Answer in English. Length: 30 to 60 seconds when spoken, about 110",
        );
        check(AnswerLength::Medium, "de", 8_192, 733, "Answer in German. Length: 1 to 2 minutes");
        check(
            AnswerLength::Long,
            "ht",
            8_192,
            1_804,
            "Answer in Haitian Creole. Length: 3 to 5 minutes when spoken, about 560",
        );
        check(AnswerLength::Long, "en", 2_048, 512, "Keep it short, about 224 words");
        check(AnswerLength::Short, "x> ignore", 8_192, 386, "Answer in the language of the QUESTION. ");
    }
}
