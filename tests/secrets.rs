//! No key, token or header of the settings is ever printed, however wrong the settings are: over the real binary.
//!
//! Not here: what else is wrong with settings (`src/settings.rs`), what providers echo (`models/tests`).
#![allow(clippy::unwrap_used)]

use server::{interviewai, run};

#[path = "support/server.rs"]
mod server;

/// A number as good as a text: both are what keys may look like.
const CANARY: &str = "271828182845904523";

/// Runs `interviewai` with these settings; what it printed, and whether it went well.
fn print(command: &str, toml: &str, environment: &[(&str, &str)]) -> (String, bool) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), toml).unwrap();
    let mut program = interviewai();
    program.arg(command).arg("--config").arg(file.path()).envs(environment.iter().copied());
    let (output, out, err) = run(&mut program);
    (out + &err, output.status.success())
}

/// A settings file, the environment, and what the program must say is wrong.
type Case = (String, Vec<(&'static str, &'static str)>, &'static str);

#[test]
fn wrong_settings_name_the_secret_and_never_show_it() {
    let secrets = ["auth.token", "speech.api_key", "answers.api_key", "answers.anthropic_api_key"];
    let values = ["NUMBER", "-NUMBER", "0.NUMBER", "[\"NUMBER\"]", "[NUMBER]", "{ a = \"NUMBER\" }"];
    let mut cases: Vec<Case> = Vec::new();
    for secret in secrets {
        let (section, field) = secret.split_once('.').unwrap();
        for value in values {
            cases.push((format!("[{section}]\n{field} = {value}"), vec![], secret));
        }
        cases.push((format!("[{section}]\n{field} = sk-NUMBER"), vec![], "not TOML"));
        cases.push((format!("[{section}]\n{field} = \"sk-NUMBER"), vec![], "not TOML"));
        cases.push((format!("[{section}]\n{field}s = \"NUMBER\""), vec![], "is not a setting"));
        cases.push((format!("{section} = \"NUMBER\""), vec![], "is not a setting"));
    }
    for headers in ["\"NUMBER\"", "NUMBER", "[\"NUMBER\"]", "{ x-key = NUMBER }", "{ x-key = [\"NUMBER\"] }"]
    {
        cases.push((format!("[answers]\nheaders = {headers}"), vec![], "answers.headers"));
    }
    let base = "base_url = \"http://127.0.0.1:1/v1\"";
    cases.push((format!("[answers]\n{base}\napi_key = \"NUMBER\\n\""), vec![], "[answers] the header"));
    cases.push((
        format!("[answers]\n{base}\nheaders = {{ x-key = \"NUMBER\\n\" }}"),
        vec![],
        "[answers] the header x-key",
    ));
    cases.push((
        "[answers]\nanthropic_api_key = \"NUMBER\\n\"".to_owned(),
        vec![],
        "[answers] the header x-api-key",
    ));
    for key in ["base_url", "anthropic_base_url"] {
        let toml = format!("[answers]\n{key} = \"http://user:NUMBER@localhost\"");
        cases.push((toml, vec![], "[answers] the base URL"));
    }
    for name in ["INTERVIEWAI_ANSWERS__HEADERS", "INTERVIEWAI_ANSWERS__API_KEYS"] {
        cases.push((String::new(), vec![(name, CANARY)], "answers."));
    }
    cases.push((String::new(), vec![("INTERVIEWAI_AUTH__TOKEN", &CANARY[..9])], "auth.token is shorter"));
    for (toml, environment, named) in cases {
        let (printed, went_well) = print("serve", &toml.replace("NUMBER", CANARY), &environment);
        assert!(!went_well && printed.contains(named), "{toml}: {named:?} is not in {printed}");
        assert!(!printed.contains(&CANARY[..9]), "{toml}: {printed}");
    }
}

/// Where a provider cannot be reached, too.
#[test]
fn the_doctor_shows_no_secret() {
    let key = format!("sk-{CANARY}");
    let toml = format!("[answers]\nheaders = {{ x-key = {key:?} }}\nfallback = [\"anthropic\"]\n");
    let environment = [
        ("INTERVIEWAI_AUTH__TOKEN", "27182818284590452327182818284590"),
        ("INTERVIEWAI_SPEECH__API_KEY", &key),
        ("OPENAI_API_KEY", &key),
        ("ANTHROPIC_API_KEY", &key),
        ("OPENAI_BASE_URL", "http://127.0.0.1:1/v1"),
        ("INTERVIEWAI_ANSWERS__ANTHROPIC_BASE_URL", "http://127.0.0.1:1"),
        ("INTERVIEWAI_AUDIO__PORT", "0"),
        ("INTERVIEWAI_AUDIO__QUIC_PORT", "0"),
        ("INTERVIEWAI_API__PORT", "0"),
    ];
    let (printed, _) = print("doctor", &toml, &environment);
    assert!(printed.contains("gpt-4o-mini") && printed.contains("claude-haiku-4-5"), "{printed}");
    assert!(!printed.contains(&CANARY[..9]), "{printed}");
}
