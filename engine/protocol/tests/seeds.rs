//! Every seed and every finding of the fuzz targets, as an ordinary test, through the same functions.
//!
//! Not here: fuzzing (`make fuzz`).

#![allow(clippy::unwrap_used)] // A test may panic.

#[allow(unreachable_pub, reason = "the targets use them")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::{fs, path::Path};

#[test]
fn every_seed_and_finding_keeps_the_promises() {
    assert!(check("frame_header", targets::frame_header) > 0);
    assert!(check("control_json", targets::control_json) > 0);
}

/// Runs what lies in the folders of `target`, and gives its number.
fn check(target: &str, run: impl Fn(&[u8])) -> usize {
    let mut count = 0;
    for kind in ["corpus", "findings"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind).join(target);
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            run(&fs::read(&path).unwrap());
            count += 1;
        }
    }
    count
}
