//! The rules of ARCHITECTURE.md that a reader of the text can check; each complains about a bad sample, so none is vacuous.
//!
//! Not here: what clippy (clippy.toml), the compiler or a behaviour test checks. No Rust is parsed: code is read line by
//! line, without comments, which is enough for code that rustfmt has formatted.

#[path = "tidy/file.rs"]
mod file;
#[path = "tidy/rules.rs"]
mod rules;

use std::fmt::Write as _;

use file::{File, Offence, tracked_files};
use rules::{ARCHITECTURE, CRATES, LISTENING_PATH, SETTINGS};

struct Rule {
    name: &'static str,
    check: fn(&File) -> Vec<Offence>,
    /// Path and text of files that the rule must refuse.
    bad: &'static [(&'static str, &'static str)],
    /// Path and text of files that it must accept.
    good: &'static [(&'static str, &'static str)],
}

#[test]
fn the_repository_is_tidy() {
    let files = tracked_files();
    let mut report = String::new();
    for rule in &RULES {
        for file in &files {
            for (line, why) in (rule.check)(file) {
                writeln!(report, "{}:{line}: [{}] {why}", file.path, rule.name).expect("a String takes all");
            }
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn every_rule_complains_about_bad_samples_only() {
    let file = |(path, text): &(&str, &str)| File { path: (*path).to_owned(), text: (*text).to_owned() };
    for rule in &RULES {
        assert!(!rule.bad.is_empty(), "{} has no bad sample", rule.name);
        for sample in rule.bad {
            assert!(!(rule.check)(&file(sample)).is_empty(), "{} accepts {sample:?}", rule.name);
        }
        for sample in rule.good {
            assert_eq!((rule.check)(&file(sample)), [], "{} refuses {sample:?}", rule.name);
        }
    }
}

/// A file that is renamed takes its rule along, or the rule would check nothing.
#[test]
fn every_file_that_a_rule_names_exists() {
    let files = tracked_files();
    let manifests = CRATES.iter().map(|(directory, ..)| match *directory {
        "" => "Cargo.toml".to_owned(),
        directory => format!("{directory}/Cargo.toml"),
    });
    let named =
        [SETTINGS, ARCHITECTURE].into_iter().chain(LISTENING_PATH).map(str::to_owned).chain(manifests);
    for path in named {
        assert!(
            files.iter().any(|file| file.path == path),
            "{path} is named in tests/tidy and does not exist"
        );
    }
    assert!(files.len() > 50, "git lists {} files; it must list the repository's", files.len());
}

const RULES: [Rule; 11] = [
    Rule {
        name: "header",
        check: rules::header,
        bad: &[
            ("a.rs", "use std::io;\n"),
            ("a.rs", ""),
            ("a.rs", "// Not a doc comment.\n"),
            ("a.rs", "\n//! Late.\n"),
        ],
        good: &[("a.rs", "//! What it is.\n"), ("a.md", "Anything.\n")],
    },
    Rule {
        name: "length",
        check: rules::length,
        bad: &[("a.rs", LINES_601)],
        good: &[("a.rs", LINES_601.split_at(600).0), ("a.json", LINES_601)],
    },
    Rule {
        name: "name",
        check: rules::name,
        bad: &[
            ("codecs/src/decode/mod.rs", ""),
            ("src/utils.rs", ""),
            ("src/session_2.rs", ""),
            ("src/helpers.rs", ""),
        ],
        good: &[("src/sha256.rs", ""), ("codecs/src/model.rs", ""), ("docs/utils.md", "")],
    },
    Rule {
        name: "registry host",
        check: rules::registry_host,
        bad: &[
            ("README.md", concat!("Fetch it from https://Hugging", "Face.co/x\n")),
            ("a.toml", concat!("index = \"https://index.crates", ".io\"\n")),
            ("a.yml", concat!("url: files.python", "hosted.org\n")),
        ],
        good: &[
            ("Cargo.lock", concat!("source = \"crates", ".io\"\n")),
            ("web/package-lock.json", concat!("registry.npm", "js.org\n")),
            ("README.md", "npm pack NAME, [patch.crates-io], hf.config, self.co\n"),
        ],
    },
    Rule {
        name: "bounded queue",
        check: rules::bounded_queue,
        bad: &[
            ("engine/src/a.rs", concat!("let (a, b) = mpsc::unb", "ounded_channel();\n")),
            ("engine/tests/a.rs", concat!("let (a, b) = mpsc::unb", "ounded::<u8>();\n")),
            ("engine/src/a.rs", "let (a, b) = mpsc::channel(16);\n"),
            ("engine/src/a.rs", "let (a, b) = broadcast::channel::<Event>(16);\n"),
        ],
        good: &[
            (
                "engine/src/a.rs",
                concat!("// Never unb", "ounded_channel.\nlet (a, b) = mpsc::channel(CAPACITY);\n"),
            ),
            ("engine/src/a.rs", "fn a() {}\n\n#[cfg(test)]\nmod tests {\n let x = mpsc::channel(16);\n}\n"),
            ("engine/src/a.rs", "audio.channels(2); listen(channel, 0);\n"),
        ],
    },
    Rule {
        name: "print",
        check: rules::print,
        bad: &[
            ("engine/src/a.rs", "    println!(\"x\");\n"),
            ("models/src/a.rs", "let u = \"ws://x\"; eprintln!(\"{u}\");\n"),
        ],
        good: &[
            ("src/terminal.rs", "println!();\n"),
            ("benches/a.rs", "println!();\n"),
            ("engine/src/a.rs", "/// println!();\nwriteln!(out);\n"),
        ],
    },
    Rule {
        name: "environment",
        check: rules::environment,
        bad: &[
            ("src/cli.rs", "let key = std::env::var(\"KEY\");\n"),
            ("models/src/a.rs", "for (k, v) in env::vars_os() {}\n"),
            ("src/cli.rs", "    #[arg(long, env = \"INTERVIEWAI_URL\")]\n"),
        ],
        good: &[
            ("src/settings.rs", "std::env::vars_os()\n"),
            ("build.rs", "std::env::var(\"OUT_DIR\")\n"),
            ("tests/a.rs", "std::env::var(\"X\")\n"),
            ("src/cli.rs", "env!(\"CARGO_PKG_VERSION\"); std::env::args(); env::current_exe();\n"),
        ],
    },
    Rule {
        name: "foreign",
        check: rules::foreign,
        bad: &[
            ("codecs/src/a.rs", "use std::time::Duration;\n"),
            ("codecs/src/a.rs", "let now = Instant::now();\n"),
            ("codecs/src/a.rs", "let file = std::fs::File::open(path)?;\n"),
            ("engine/src/endpointer.rs", "tokio::spawn(x);\n"),
            ("engine/protocol/src/a.rs", "use tokio::net::TcpStream;\n"),
        ],
        good: &[
            ("codecs/src/a.rs", "// Like Instant, in samples.\nstruct SampleInstant;\n"),
            ("engine/src/session.rs", "use std::time::Instant;\n"),
            ("src/bridge.rs", "use tokio::sync::watch;\n"),
        ],
    },
    Rule {
        name: "private log",
        check: rules::private_log,
        bad: &[
            ("engine/src/a.rs", "info!(%text, \"final\");\n"),
            ("engine/src/a.rs", "debug!(\n    turn,\n    question = ?turn.question,\n    \"asked\"\n);\n"),
            ("engine/src/a.rs", "warn!(\"no answer to {question}\");\n"),
            ("src/a.rs", "tracing::error!(\"refused {}\", token);\n"),
            ("src/a.rs", "info!(cv.name);\n"),
        ],
        good: &[
            ("engine/src/a.rs", "info!(turn, chars = text.len(), \"final text\");\nlet x = text;\n"),
            ("engine/src/a.rs", "warn!(%error, \"an answer has no text\");\n"),
            ("engine/tests/a.rs", "info!(%text);\n"),
        ],
    },
    Rule {
        name: "dependencies",
        check: rules::dependencies,
        bad: &[
            ("codecs/Cargo.toml", "[dependencies]\nmodels.workspace = true\n"),
            ("models/Cargo.toml", "[dev-dependencies]\nengine = { path = \"../engine\" }\n"),
            ("engine/Cargo.toml", "[dependencies.symphonia]\nversion = \"0.6\"\n"),
            ("engine/Cargo.toml", "[build-dependencies]\naxum = \"0.8\"\n"),
            ("Cargo.toml", "[dependencies]\nct2rs.workspace = true\n"),
            ("clients/rust/Cargo.toml", "[target.'cfg(unix)'.dependencies]\nengine.workspace = true\n"),
            ("shared/Cargo.toml", "[package]\nname = \"shared\"\n"),
        ],
        good: &[
            (
                "Cargo.toml",
                "[workspace.dependencies]\naxum = \"0.8\"\n[dependencies]\nengine.workspace = true\n",
            ),
            ("models/Cargo.toml", "[dependencies]\n# engine\ncodecs.workspace = true\n[lints]\nengine = 1\n"),
        ],
    },
    Rule {
        name: "invariants",
        check: rules::invariants,
        bad: &[("ARCHITECTURE.md", ""), ("ARCHITECTURE.md", "8. One place reads the environment, mostly.\n")],
        good: &[("docs/ARCHITECTURE.md", "")],
    },
];

/// A line for each byte.
const LINES_601: &str = match std::str::from_utf8(&[b'\n'; 601]) {
    Ok(text) => text,
    Err(_) => panic!("newlines are UTF-8"),
};
