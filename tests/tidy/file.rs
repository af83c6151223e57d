//! How the rules read a file: its lines, with or without comments and tests. Not here: any rule.

use std::{fs, path::Path, process::Command};

/// A tracked text file: its path from the root, with `/`, and its text.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A line that breaks a rule, from 1, and why that is bad.
pub(crate) type Offence = (usize, String);

/// What git tracks, and what it would.
pub(crate) fn tracked_files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .expect("git is installed where the tests run");
    assert!(list.status.success(), "git ls-files: {}", String::from_utf8_lossy(&list.stderr));
    let paths = String::from_utf8(list.stdout).expect("paths are UTF-8");
    // What is no text, or was just deleted, has no lines to check.
    let read =
        |path: &str| Some(File { path: path.to_owned(), text: fs::read_to_string(root.join(path)).ok()? });
    paths.split_terminator('\0').filter_map(read).collect()
}

impl File {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Tests, benches, examples and build scripts, which are allowed more.
    fn is_test(&self) -> bool {
        let mut parts = self.path.split('/');
        parts.any(|part| {
            matches!(part, "tests" | "benches" | "examples" | "fuzz" | "build.rs" | "testing.rs" | "tests.rs")
        })
    }

    /// Lines of Rust with their numbers, without comments.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, String)> {
        let lines = if self.is_rust() { self.text.lines() } else { "".lines() };
        lines.map(without_comment).enumerate()
    }

    /// As [`code`](Self::code), and without tests: they stand at the foot of a file.
    pub(crate) fn production(&self) -> impl Iterator<Item = (usize, String)> {
        let foot = self.text.find("#[cfg(test)]\nmod tests").unwrap_or(self.text.len());
        let end = if self.is_test() { 0 } else { self.text[..foot].lines().count() };
        self.code().take(end)
    }
}

fn without_comment(line: &str) -> String {
    // `//` after an odd number of quotes is part of a text, such as an address.
    let comment = line.match_indices("//").find(|(at, _)| line[..*at].matches('"').count().is_multiple_of(2));
    comment.map_or(line, |(at, _)| &line[..at]).to_owned()
}

/// Offences of `why` in lines counted from 0.
pub(crate) fn find<L: AsRef<str>>(
    lines: impl Iterator<Item = (usize, L)>,
    why: impl Fn(&str) -> Option<String>,
) -> Vec<Offence> {
    lines.filter_map(|(index, line)| Some((index + 1, why(line.as_ref())?))).collect()
}

/// Whether `word` occurs in `line`, and is not part of a longer name.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let open = word.ends_with(in_name) && after.is_some_and(in_name);
        !(open || word.starts_with(in_name) && before.is_some_and(in_name))
    })
}
