//! What the fuzz targets share. Not here: libFuzzer, whose entry points are in `targets/`.

pub mod guard;
pub mod targets;
