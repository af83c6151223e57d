//! Every seed and every finding of the fuzz targets, as an ordinary test, through the same functions.
//!
//! Not here: fuzzing (`make fuzz`), and the limits on memory of a fuzzing process (`hostile.rs` has its own).

#![allow(clippy::unwrap_used)] // A test may panic.

#[allow(unreachable_pub, reason = "the targets use them")]
#[path = "../fuzz/src/targets.rs"]
mod targets;

use std::{fs, path::Path};

use codecs::Codec;

#[test]
fn every_seed_and_finding_keeps_the_promises() {
    let containers = [
        ("wav", Codec::Wav, "wav"),
        ("flac", Codec::Flac, "flac"),
        ("ogg", Codec::Ogg, "ogg"),
        ("webm", Codec::WebM, "webm mkv"),
        ("mp4", Codec::Mp4, "mp4 m4a"),
        ("mp3", Codec::Mp3, "mp3"),
        ("aac", Codec::Aac, "aac"),
        ("aiff", Codec::Auto, "aiff"),
    ];
    for (target, codec, kinds) in containers {
        let run = |data: &[u8]| targets::container(codec, data);
        let fixtures: usize =
            kinds.split(' ').map(|kind| check(target, "fixtures", &format!("{kind}-"), run)).sum();
        assert!(fixtures > 0, "{target} has no fixture");
        check(target, &format!("fuzz/findings/{target}"), "", run);
    }
    assert_eq!(check("opus_packets", "fixtures", "opus.packets", targets::opus_packets), 1);
    check("opus_packets", "fuzz/findings/opus_packets", "", targets::opus_packets);
    assert!(check("resampler", "fuzz/corpus/resampler", "", targets::resampler) > 0);
    check("resampler", "fuzz/findings/resampler", "", targets::resampler);
}

/// Runs the files of `folder` whose names begin with `start`, and gives their number.
fn check(target: &str, folder: &str, start: &str, run: impl Fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let Ok(entries) = fs::read_dir(&folder) else { return 0 };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with(start));
    for path in &paths {
        println!("{target}: {}", path.display());
        run(&fs::read(path).unwrap());
    }
    paths.len()
}
