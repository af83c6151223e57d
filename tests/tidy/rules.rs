//! The rules, one function each, and what they know. Not here: their samples (`tests/tidy.rs`).

use crate::file::{File, Offence, find, has_word};

pub(crate) fn header(file: &File) -> Vec<Offence> {
    if !file.is_rust() || file.text.starts_with("//!") {
        return Vec::new();
    }
    vec![(1, "a file opens with `//!`: what it is, and what it deliberately is not".to_owned())]
}

pub(crate) fn length(file: &File) -> Vec<Offence> {
    let lines = file.text.lines().count();
    if !file.is_rust() || lines <= MAX_LINES {
        return Vec::new();
    }
    vec![(MAX_LINES + 1, format!("{lines} lines; split it: 200 are the aim, {MAX_LINES} the limit"))]
}

pub(crate) fn name(file: &File) -> Vec<Offence> {
    if !file.is_rust() {
        return Vec::new();
    }
    let file_name = file.path.rsplit('/').next().unwrap_or_default();
    let stem = file_name.trim_end_matches(".rs");
    let why = match stem {
        "mod" => "use foo.rs beside foo/",
        "util" | "utils" | "helper" | "helpers" | "manager" => "name what is in it",
        // CTranslate2's own short name.
        "ct2" => return Vec::new(),
        _ if stem.ends_with('2') => "the old version goes when the new one comes",
        _ => return Vec::new(),
    };
    vec![(1, format!("{file_name} says nothing: {why}"))]
}

pub(crate) fn registry_host(file: &File) -> Vec<Offence> {
    if ["Cargo.lock", "package-lock.json"].iter().any(|lock| file.path.ends_with(lock)) {
        return Vec::new();
    }
    let hosts = HOSTS.map(|(host, domain)| format!("{host}.{domain}"));
    find(file.text.lines().enumerate(), |line| {
        let line = line.to_ascii_lowercase();
        let host = hosts.iter().find(|host| has_word(&line, host))?;
        Some(format!(
            "names the host {host}: packages and weights come through their ordinary clients, mirrors included"
        ))
    })
}

/// Invariant 6.
pub(crate) fn bounded_queue(file: &File) -> Vec<Offence> {
    let endless = [concat!("unbounded", "_channel"), concat!("mpsc::", "unbounded")];
    let mut offences = find(file.code(), |line| {
        let name = endless.iter().find(|name| has_word(line, name))?;
        Some(format!("{name}: a queue has a capacity, and says what happens when it is full (invariant 6)"))
    });
    offences.extend(find(file.production(), |line| {
        let queues = ["mpsc::channel", "sync_channel", "broadcast::channel"];
        let after = queues.iter().find_map(|queue| Some(line.split_once(queue)?.1))?;
        // Past a turbofish.
        let (_, capacity) = after.split_once('(')?;
        capacity
            .starts_with(|c: char| c.is_ascii_digit())
            .then(|| "give the capacity a name and say what happens when it is full (invariant 6)".to_owned())
    }));
    offences
}

pub(crate) fn print(file: &File) -> Vec<Offence> {
    if file.path.starts_with("src/") {
        return Vec::new();
    }
    find(file.production(), |line| {
        let name =
            ["println!", "eprintln!", "print!", "eprint!"].into_iter().find(|name| has_word(line, name))?;
        Some(format!("{name} in a library: return the text, or log it with tracing"))
    })
}

/// Invariant 8.
pub(crate) fn environment(file: &File) -> Vec<Offence> {
    if file.path == SETTINGS {
        return Vec::new();
    }
    find(file.production(), |line| {
        let direct = [
            "env::var",
            "env::var_os",
            "env::vars",
            "env::vars_os",
            "env::{var",
            "Env::raw",
            "Env::prefixed",
        ];
        // `#[arg(env = "X")]`: clap reads it.
        let clap = line.contains("#[arg(") && has_word(line, "env");
        (clap || direct.iter().any(|name| has_word(line, name))).then(|| {
            format!("only {SETTINGS} reads the environment (invariant 8); take the value as an argument")
        })
    })
}

/// Invariants 1 and 4: what a place must not touch. (2 and 3 are [`dependencies`].)
pub(crate) fn foreign(file: &File) -> Vec<Offence> {
    const PURE: [&str; 10] = [
        "std::time",
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "std::thread",
        "thread::spawn",
        "Instant",
        "SystemTime",
        "tokio",
    ];
    let why = match &*file.path {
        path if path.starts_with("codecs/src/") => "codecs has no I/O, no clock, no thread (invariant 1)",
        path if LISTENING_PATH.contains(&path) => "the listening path counts time in samples (invariant 4)",
        path if path.starts_with("engine/protocol/src/") => "the wire types do nothing",
        _ => return Vec::new(),
    };
    find(file.production(), |line| {
        let word = PURE.iter().find(|word| has_word(line, word))?;
        Some(format!("{word}: {why}"))
    })
}

/// Invariant 9, as far as names tell: no value that holds somebody's words or secrets in a log macro.
pub(crate) fn private_log(file: &File) -> Vec<Offence> {
    const MACROS: [&str; 6] = ["trace!(", "debug!(", "info!(", "warn!(", "error!(", "span!("];
    let mut offences = Vec::new();
    let mut inside = false;
    for (index, line) in file.production() {
        inside |= MACROS.iter().any(|start| line.contains(start));
        if inside && let Some(name) = PRIVATE.iter().find(|name| shows(&line, name)) {
            let why = format!("`{name}` in a log line: log its length, an id or a kind (invariant 9)");
            offences.push((index + 1, why));
        }
        inside &= !line.contains(");");
    }
    offences
}

/// Whether a line of a log macro shows the value `name`: captured in the message, or passed on and not only measured.
fn shows(line: &str, name: &str) -> bool {
    let captured = [format!("{{{name}}}"), format!("{{{name}:")].iter().any(|capture| line.contains(capture));
    // Every second piece is between quotes, where a word is a word.
    captured
        || line.split('"').step_by(2).any(|code| {
            code.match_indices(name).any(|(at, _)| {
                let (before, after) = (&code[..at], &code[at + name.len()..]);
                let whole = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
                let measured =
                    [".len(", ".is_empty(", ".chars().count("].iter().any(|call| after.starts_with(call));
                whole && !measured && (after.starts_with(['.', ',', ')']) || after.is_empty())
            })
        })
}

/// The arrows of ARCHITECTURE.md, and one importer for each heavy crate.
pub(crate) fn dependencies(file: &File) -> Vec<Offence> {
    let Some(directory) = file.path.strip_suffix("Cargo.toml").map(|path| path.trim_end_matches('/')) else {
        return Vec::new();
    };
    let Some((_, package, allowed)) = CRATES.iter().find(|(path, ..)| *path == directory) else {
        return vec![(
            1,
            "a new crate: give it a place among the arrows in tests/tidy.rs and ARCHITECTURE.md".to_owned(),
        )];
    };
    let mut offences = Vec::new();
    let (mut listing, mut of_tests) = (false, false);
    for (index, line) in file.text.lines().enumerate() {
        let line = line.trim();
        // `[workspace.dependencies]` gives versions only; `[dependencies.x]` is a dependency too.
        let mut dependency = None;
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            let (kind, one) = section.rsplit_once("dependencies").unwrap_or(("no", ""));
            listing = matches!(kind, "" | "dev-" | "build-") || kind.starts_with("target.");
            dependency = one.strip_prefix('.').filter(|_| listing);
            listing &= one.is_empty();
            of_tests = kind == "dev-";
        } else if listing && !line.starts_with('#') {
            dependency = line.split(['.', '=', ' ']).next().filter(|name| !name.is_empty());
        }
        let Some(dependency) = dependency else { continue };
        let of_workspace = CRATES.iter().any(|(_, name, _)| *name == dependency);
        if of_workspace && !allowed.contains(&dependency) {
            offences.push((
                index + 1,
                format!("{package} → {dependency} is against the arrows of ARCHITECTURE.md"),
            ));
        }
        if let Some((_, owners)) = OWNERS.iter().find(|(heavy, _)| heavy.contains(&dependency))
            && !owners.contains(package)
            && !(of_tests && OWNED_IN_TESTS.contains(&(dependency, package)))
        {
            offences.push((
                index + 1,
                format!("{dependency} is imported by {owners:?} only: ask there for what you need"),
            ));
        }
    }
    offences
}

pub(crate) fn invariants(file: &File) -> Vec<Offence> {
    if file.path != ARCHITECTURE {
        return Vec::new();
    }
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let page = words(&file.text);
    let numbered = (1..).zip(INVARIANTS);
    let missing =
        numbered.filter(|(number, invariant)| !page.contains(&format!("{number}. {}", words(invariant))));
    missing.map(|(number, text)| (1, format!("invariant {number} is missing or reworded: {text}"))).collect()
}

const MAX_LINES: usize = 600;
pub(crate) const SETTINGS: &str = "src/settings.rs";
pub(crate) const ARCHITECTURE: &str = "ARCHITECTURE.md";
pub(crate) const LISTENING_PATH: [&str; 9] = [
    "engine/src/listener.rs",
    "engine/src/endpointer.rs",
    "engine/src/endpointer/rhythm.rs",
    "engine/src/turn_end.rs",
    "engine/src/echo.rs",
    "engine/src/echo/coherence.rs",
    "engine/src/echo/path.rs",
    "engine/src/echo/recent.rs",
    "engine/src/echo/spectrum.rs",
];

/// Directory, package, and the crates of this workspace that it may depend on.
pub(crate) const CRATES: [(&str, &str, &[&str]); 10] = [
    ("codecs", "codecs", &[]),
    ("codecs/fuzz", "codecs-fuzz", &["codecs"]),
    ("models", "models", &["codecs"]),
    ("models/onednn", "onednn-src", &[]),
    ("engine/protocol", "protocol", &[]),
    ("engine/protocol/fuzz", "protocol-fuzz", &["protocol"]),
    ("engine", "engine", &["codecs", "models", "protocol"]),
    ("control-api", "control-api", &["models"]),
    ("clients/rust", "client", &["protocol"]),
    ("", "interviewai", &["codecs", "models", "protocol", "engine", "control-api", "client"]),
];

/// Heavy crates, and who imports them.
const OWNERS: [(&[&str], &[&str]); 5] = [
    (&["symphonia", "symphonia-adapter-libopus", "rubato", "corosensei"], &["codecs"]),
    (&["webrtc-vad", "earshot", "ct2rs", "async-openai"], &["models"]),
    (&["reqwest"], &["models", "control-api"]),
    (&["tokio-tungstenite", "quinn", "web-transport-quinn"], &["engine", "client"]),
    (
        &["axum", "utoipa", "utoipa-axum", "jsonwebtoken", "mongodb", "rusqlite", "redis", "object_store"],
        &["control-api"],
    ),
];

/// Who looks into a real server in tests, past its owner.
const OWNED_IN_TESTS: [(&str, &str); 1] = [("mongodb", "interviewai")];

/// Package registries, their mirrors, and model hubs; in two pieces, so that this file names none.
const HOSTS: [(&str, &str); 12] = [
    ("crates", "io"),
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("npmjs", "org"),
    ("npmjs", "com"),
    ("yarnpkg", "com"),
    ("huggingface", "co"),
    ("hf", "co"),
    ("hf-mirror", "com"),
    ("modelscope", "cn"),
    ("deb.debian", "org"),
    ("proxy.golang", "org"),
];

/// Names of values that hold somebody's words or secrets.
const PRIVATE: [&str; 12] = [
    "text",
    "transcript",
    "transcription",
    "question",
    "answer",
    "content",
    "prompt",
    "words",
    "vocabulary",
    "cv",
    "token",
    "ticket",
];

const INVARIANTS: [&str; 9] = [
    "`codecs` performs no I/O, reads no clock, spawns nothing.",
    "`models` knows nothing of sessions, users or interviews.",
    "`engine` knows nothing of HTTP, MongoDB or Redis: it asks `engine::ports`.",
    "Inside the listening path time is counted in **samples**, never read from a clock.",
    "The audio path never waits for storage.",
    "No unbounded channel; every queue names its capacity and what happens when full.",
    "Dropping a stream returned by a model cancels its work.",
    "One place reads the environment.",
    "Transcripts, answers, CV text and tokens never appear in a log line, a span or an error message.",
];
