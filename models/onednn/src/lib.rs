//! Nothing but a build script: it points CTranslate2's build to the system's oneDNN (Debian: `libdnnl-dev`).
//!
//! The crate of this name compiles oneDNN from source, which takes over half an hour on two cores; of all of it CTranslate2
//! calls three functions, unchanged since oneDNN 2. Not here: any Rust.
