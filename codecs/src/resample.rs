//! Any sample rate to 16 kHz mono, by rubato's synchronous FFT resampler.
//!
//! Not here: choosing or mixing channels.

/// The rate cannot be resampled. Tell the client which rates can: 8,000 to 192,000.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ResampleError(String);

/// Mono samples at one rate in, mono samples at 16 kHz out, delay compensated.
pub struct Resampler {}
