//! The weights catalogue: which files exist, how to get each, and where they lie.
//!
//! Not here: loading them into a model.
