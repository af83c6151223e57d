//! What people type: addresses, passwords, names.
//!
//! Not here: what is done with it.

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// An answer that only says something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Message {
    /// What happens now, for people.
    pub(super) message: &'static str,
}

/// An address as it is kept and compared: without spaces around it, in lower case.
pub(super) fn address<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    Ok(String::deserialize(input)?.trim().to_lowercase())
}

/// A name without spaces around it.
pub(super) fn trimmed<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    Ok(String::deserialize(input)?.trim().to_owned())
}

/// Whether a new password is allowed.
pub(super) fn new_password(password: &SecretString, (): &()) -> garde::Result {
    let password = password.expose_secret();
    let has = |what: fn(char) -> bool| password.chars().any(what);
    let other = |c: char| c.is_numeric() || !(c.is_alphanumeric() || c.is_whitespace() || c.is_control());
    if !(MIN_PASSWORD..=MAX_PASSWORD).contains(&password.chars().count()) {
        return Err(garde::Error::new("a password has 8 to 128 characters"));
    }
    if !(has(char::is_uppercase) && has(char::is_lowercase) && has(other)) {
        return Err(garde::Error::new(
            "a password has an upper-case letter, a lower-case letter, and a digit or a symbol",
        ));
    }
    Ok(())
}

/// Whether this may be a password that somebody has: the rules for new ones may have changed.
pub(super) fn known_password(password: &SecretString, (): &()) -> garde::Result {
    if (1..=MAX_PASSWORD).contains(&password.expose_secret().chars().count()) {
        Ok(())
    } else {
        Err(garde::Error::new("a password has 1 to 128 characters"))
    }
}

/// Whether this is a name.
pub(super) fn name(name: &str, (): &()) -> garde::Result {
    if name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(garde::Error::new("a name is one line of at most 200 bytes"));
    }
    Ok(())
}

/// Whether this names a language.
pub(super) fn language(language: &Option<String>, (): &()) -> garde::Result {
    let known =
        |code: &str| code == "auto" || (code.len() == 2 && code.bytes().all(|b| b.is_ascii_lowercase()));
    if language.as_deref().is_none_or(known) {
        Ok(())
    } else {
        Err(garde::Error::new("a language is `auto` or two lower-case letters (ISO 639-1), such as `en`"))
    }
}

/// Whether the terms were accepted.
pub(super) fn accepted(accepted: &bool, (): &()) -> garde::Result {
    if *accepted { Ok(()) } else { Err(garde::Error::new("accept the terms to have an account")) }
}

/// Longest address in bytes: RFC 5321, 4.5.3.1.3, less its brackets.
pub(super) const MAX_ADDRESS: usize = 254;
/// As the original design had it.
const MIN_PASSWORD: usize = 8;
/// More than anybody types; the original design had 50.
const MAX_PASSWORD: usize = 128;
const MAX_NAME_BYTES: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_passwords_have_letters_of_both_cases_and_something_else() {
        let long = format!("Aa1{}", "ü".repeat(125));
        let longer = format!("{long}x");
        for good in ["Abcdefg1", "Abcdefg!", "ÄÖÜäöü€€", &*long] {
            assert!(new_password(&good.into(), &()).is_ok(), "{good}");
        }
        for bad in ["", "Abcdef1", "abcdefg1", "ABCDEFG1", "Abcdefgh", "Abcdefg ", &*longer] {
            assert!(new_password(&bad.into(), &()).is_err(), "{bad}");
        }
        assert!(known_password(&"x".into(), &()).is_ok() && known_password(&"".into(), &()).is_err());
    }

    #[test]
    fn names_and_languages_are_bounded() {
        assert!(name("Ann-Marie O'Neil", &()).is_ok() && name("", &()).is_ok());
        assert!(name("a\nb", &()).is_err() && name(&"x".repeat(201), &()).is_err());
        for (code, good) in [("en", true), ("auto", true), ("EN", false), ("eng", false), ("", false)] {
            assert_eq!(language(&Some(code.to_owned()), &()).is_ok(), good, "{code}");
        }
    }
}
