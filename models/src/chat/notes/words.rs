//! Words as they are compared: stems, and which of them interviewers and CVs use of the same matter.
//!
//! Splitting, English stop words and stemming are `bm25`'s.

use std::sync::Arc;

use bm25::{DefaultTokenizer, Language, Tokenizer};

/// Turns text into stems. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Stems {
    tokenizer: Arc<DefaultTokenizer>,
    themes: Arc<[Vec<String>]>,
}

impl Stems {
    pub(super) fn new() -> Self {
        let tokenizer = DefaultTokenizer::new(Language::English);
        let themes = THEMES.iter().map(|theme| tokenizer.tokenize(theme)).collect();
        Self { tokenizer: Arc::new(tokenizer), themes }
    }

    /// The stems of `text`, in order, without stop words.
    pub(super) fn of(&self, text: &str) -> Vec<String> {
        // Splitting at punctuation would make one language of these.
        let text = text
            .to_lowercase()
            .replace("c++", "cplusplus")
            .replace("c#", "csharp")
            .replace(".net", " dotnet");
        self.tokenizer.tokenize(&text)
    }

    /// Stems of the themes that any of `stems` belongs to, without these themselves.
    pub(super) fn related(&self, stems: &[String]) -> Vec<String> {
        let themes = self.themes.iter().filter(|theme| stems.iter().any(|stem| theme.contains(stem)));
        let mut related: Vec<String> =
            themes.flatten().filter(|stem| !stems.contains(stem)).cloned().collect();
        related.sort();
        related.dedup();
        related
    }
}

impl Tokenizer for Stems {
    fn tokenize(&self, text: &str) -> Vec<String> {
        self.of(text)
    }
}

/// Words of one matter each. Stemming joins `lead` and `leader`; only these join `lead` and `led`.
const THEMES: [&str; 18] = [
    "lead led leader leadership head headed manage managed manager management supervise coordinate",
    "mentor mentored coach coached train trained onboard teach taught preceptor junior",
    "team teams teamwork colleague cross-functional collaborate collaboration",
    "conflict disagree disagreed disagreement negotiate negotiated mediate persuade convince de-escalate dispute aggressive violent",
    "fail failed failure mistake wrong incident outage post-mortem lesson regret",
    "deadline deliver delivered ship shipped launch schedule pressure",
    "performance perform latency throughput optimise optimize speed fast faster slow",
    "scale scaling scalable scalability traffic million growth",
    "reliability reliable uptime incident outage on-call alert availability monitoring observability",
    "test tests testing quality coverage errors bugs",
    "cost costs bill budget saving saved spend money",
    "database databases postgresql mysql sql mongodb redis storage",
    "cloud aws azure gcp kubernetes",
    "automate automated automation script pipeline ci cd jenkins",
    "public talk talks speak speaking speaker conference audience",
    "security secure vulnerability audit encryption fraud compliance",
    "initiative introduced proposed founded improve improved improvement",
    "hire hiring recruit recruitment recruiting interviewed",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_one_matter_meet() {
        let stems = Stems::new();
        let meet = |a: &str, b: &str| {
            let (a, b) = (stems.of(a), stems.of(b));
            let related = stems.related(&a);
            b.iter().any(|stem| a.contains(stem) || related.contains(stem))
        };
        let cases = [
            ("migrations", "Migrated", true),
            ("leadership", "led", true),
            ("conflict", "negotiated", true),
            ("C++", "C++", true),
            ("C++", "C#", false),
            (".NET", "net", false),
            ("résumé", "resume", true),
            ("leadership", "latency", false),
        ];
        for (a, b, expected) in cases {
            assert_eq!(meet(a, b), expected, "{a} and {b}");
        }
    }
}
