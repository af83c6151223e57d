//! What of a server's message may be shown: servers that check their input often quote it when they refuse it.
//!
//! Not here: reading the message out of a response (`refusal`).

use secrecy::{ExposeSecret, SecretString};

/// What a message may not repeat.
pub(crate) struct Censor<'a> {
    /// Key and headers.
    pub(crate) api_key: Option<&'a SecretString>,
    /// Values are secret, names are not.
    pub(crate) headers: &'a [(String, SecretString)],
    /// What was asked: prompts, vocabulary.
    pub(crate) asked: Vec<&'a str>,
}

impl Censor<'_> {
    /// At most [`MESSAGE`] characters of `message`, or a word on why it is withheld.
    pub(crate) fn apply(&self, message: String) -> String {
        let secrets = self.headers.iter().map(|(_, value)| value).chain(self.api_key);
        let mut secrets = secrets.map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty());
        let shown: Vec<char> = message.chars().take(MESSAGE).collect();
        let quotes = |window: &[char]| {
            let window: String = window.iter().collect();
            self.asked.iter().any(|said| said.contains(&window))
        };
        // A term shorter than that is quoted when the whole of it stands there; shorter still, it is any word.
        let names = |said: &&str| (TERM..QUOTE).contains(&said.chars().count()) && message.contains(*said);
        if secrets.any(|secret| message.contains(secret))
            || shown.windows(QUOTE).any(quotes)
            || self.asked.iter().any(names)
        {
            return "its message is withheld, as it quotes the request".into();
        }
        shown.into_iter().collect()
    }
}

/// Characters of a server's message that are passed on.
const MESSAGE: usize = 300;

/// A message that shares this many characters in a row with the prompt is taken to quote it.
const QUOTE: usize = 16;
const TERM: usize = 4;
