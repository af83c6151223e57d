//! Other people's readers of the formats that are exported: Python packages.
//!
//! Not here: what they must see.

use std::{fs, process::Command};

use serde_json::Value;

use crate::python;

/// What the readers of `kind` (`srt`, `vtt`, `md`, `json`) see in `text`. `schema` is for JSON.
pub(crate) fn read(kind: &str, text: &str, schema: Option<&Value>) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(format!("export.{kind}"));
    fs::write(&file, text).unwrap();
    let mut command =
        Command::new(python::environment(VERSION, REQUIREMENTS, "readers of exports", "").join("bin/python"));
    command.args(["-I", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/formats.py"), kind]).arg(&file);
    if let Some(schema) = schema {
        let file = folder.path().join("schema.json");
        fs::write(&file, schema.to_string()).unwrap();
        command.arg(file);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{kind}: {}\n{text}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Names the environment in the cache; changes with [`REQUIREMENTS`].
const VERSION: &str = "formats-1";

/// All pure Python, so each has one wheel.
const REQUIREMENTS: &str = "\
webvtt-py==0.6.0 --hash=sha256:9f158d5045c7302293bd773ad1e6a9d3c109350a91e07d9fa3b34f54fb0ece00
pysubs2==1.8.1 --hash=sha256:eb5d8872b7f87208070dd6f0d85fc110b7ad6cc2a7ec422f5b12363e9194e4e4
markdown-it-py==4.3.0 --hash=sha256:7aa1511a46c39138de78d9eba92ce47e63124d8003fc98b3a351909e04239efa
mdurl==0.1.2 --hash=sha256:84008a41e51615a49fc9966191ff91509e3c40b939176e643fd50a5c2196b8f8
fastjsonschema==2.22.3 --hash=sha256:f670b443830b75aca3f00b75949efa20f4b2a80302ec7a21505c28dd54cffd43
";
