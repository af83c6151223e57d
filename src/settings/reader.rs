//! Settings taken one by one from file and environment, with what was wrong and which names there are.
//!
//! Not here: which settings there are; each section has a file of its own.

use std::{collections::BTreeSet, path::Path, time::Duration};

use figment::{
    Figment,
    providers::{Format as _, Serialized, Toml},
    value::{Dict, Value},
};
use serde::de::DeserializeOwned;

/// Takes settings one by one, remembering which names there are and what was wrong.
pub(super) struct Reader {
    figment: Figment,
    pub(super) known: BTreeSet<&'static str>,
    pub(super) problems: Vec<String>,
    pub(super) home: Option<String>,
    pub(super) xdg_cache: Option<String>,
    pub(super) xdg_data: Option<String>,
}

impl Reader {
    pub(super) fn new(file: Option<&Path>, environment: &[(String, String)]) -> Self {
        let mut figment = Figment::new();
        let mut problems = Vec::new();
        if let Some(file) = file {
            match std::fs::read_to_string(file) {
                Ok(text) => {
                    let toml = Figment::from(Toml::string(&text));
                    match toml.extract::<Dict>() {
                        Ok(_) => figment = figment.merge(toml),
                        Err(error) => {
                            problems.push(format!("{}: not TOML: {}", file.display(), first_line(&error)))
                        }
                    }
                }
                Err(error) => problems.push(format!("{}: {error}", file.display())),
            }
        }
        let find = |wanted: &str| {
            environment.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
        };
        for (name, key) in SHORT_FORMS {
            // Shells and container files set what they do not have to nothing.
            if let Some(value) = find(name).filter(|value| !value.is_empty()) {
                figment = figment.merge(Serialized::default(key, value));
            }
        }
        for (name, value) in environment {
            let Some((section, field)) =
                name.strip_prefix("INTERVIEWAI_").and_then(|rest| rest.split_once("__"))
            else {
                continue;
            };
            let key = format!("{}.{}", section.to_lowercase(), field.to_lowercase());
            // Figment's own reading of a value: numbers, booleans and lists are recognised, the rest is text.
            let read: Value = value.parse().unwrap_or_else(|never: std::convert::Infallible| match never {});
            let read = match read {
                read @ Value::String(..) => read,
                // A key or token is text, whatever it looks like.
                _ if SECRETS.contains(&key.as_str()) => value.clone().into(),
                read => read,
            };
            figment = figment.merge(Serialized::default(&key, read));
        }
        Self {
            figment,
            known: BTreeSet::new(),
            problems,
            home: find("HOME"),
            xdg_cache: find("XDG_CACHE_HOME"),
            xdg_data: find("XDG_DATA_HOME"),
        }
    }

    pub(super) fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    pub(super) fn optional<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        self.known.insert(key);
        match self.figment.extract_inner(key) {
            Ok(value) => Some(value),
            Err(error) if error.missing() => None,
            Err(error) => {
                // The error quotes the value.
                let what = match key {
                    HEADERS => r#"use { "Name" = "value" }, each value a text in quotes"#.to_owned(),
                    _ if SECRETS.contains(&key) => "use a text, in quotes".to_owned(),
                    _ => error.kind.to_string(),
                };
                self.problem(format!("{key}: {what}"));
                None
            }
        }
    }

    pub(super) fn get<T: DeserializeOwned>(&mut self, key: &'static str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    pub(super) fn seconds(&mut self, key: &'static str, default: Duration) -> Duration {
        let seconds = self.get(key, default.as_secs_f64());
        if (0.1..=86_400.0).contains(&seconds) {
            Duration::from_secs_f64(seconds)
        } else {
            self.problem(format!("{key} is {seconds}: use 0.1 to 86400"));
            default
        }
    }

    /// A number from 0 to `most`.
    pub(super) fn number(&mut self, key: &'static str, default: usize, most: usize) -> usize {
        let number = self.get(key, default);
        if number > most {
            self.problem(format!("{key} is {number}: use 0 to {most}"));
        }
        number.min(most)
    }

    /// A misspelt name would otherwise be silently without effect.
    pub(super) fn refuse_unknown(&mut self) {
        match self.figment.extract::<Dict>() {
            Ok(dict) => {
                let mut found = Vec::new();
                for (section, value) in &dict {
                    match value.as_dict() {
                        Some(fields) => found.extend(fields.keys().map(|field| format!("{section}.{field}"))),
                        None => found.push(section.clone()),
                    }
                }
                found.retain(|key| !self.known.contains(key.as_str()));
                for key in found {
                    let close: Vec<_> =
                        self.known.iter().filter(|known| similar(known, &key)).copied().collect();
                    let hint = if close.is_empty() {
                        String::new()
                    } else {
                        format!("; is it {}?", close.join(" or "))
                    };
                    self.problem(format!("{key} is not a setting{hint}"));
                }
            }
            // Without the error, which may quote a value.
            Err(_) => self.problem("the settings are not sections of names and values"),
        }
    }
}

/// What is wrong and where, without the line itself, which may hold a key.
fn first_line(error: &figment::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Same section or same field: enough for a hint.
fn similar(known: &str, key: &str) -> bool {
    let (section, field) = known.split_once('.').unwrap_or((known, ""));
    key.split_once('.').is_none_or(|(s, f)| {
        f == field || (s == section && (f.starts_with(&field[..field.len().min(3)]) || field.contains(f)))
    }) && (key.contains('.') || key == section)
}

/// Never shown, and text always.
const SECRETS: [&str; 10] = [
    "accounts.google_client_secret",
    "accounts.smtp_url",
    "answers.anthropic_api_key",
    "answers.api_key",
    "auth.token",
    "speech.api_key",
    "storage.mongodb_url",
    "storage.redis_url",
    "storage.s3_access_key_id",
    "storage.s3_secret_access_key",
];
/// Never shown either, by names that are.
const HEADERS: &str = "answers.headers";
/// Names that people know, and what they mean here.
const SHORT_FORMS: [(&str, &str); 8] = [
    ("ANTHROPIC_API_KEY", "answers.anthropic_api_key"),
    ("INTERVIEWAI_AUTH", "auth.mode"),
    ("INTERVIEWAI_CACHE_DIR", "cache.dir"),
    ("INTERVIEWAI_DATA_DIR", "storage.dir"),
    ("INTERVIEWAI_MONGODB_URL", "storage.mongodb_url"),
    ("INTERVIEWAI_REDIS_URL", "storage.redis_url"),
    ("OPENAI_API_KEY", "answers.api_key"),
    ("OPENAI_BASE_URL", "answers.base_url"),
];
