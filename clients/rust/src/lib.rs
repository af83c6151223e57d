//! A client of the live session: connect, send audio and control messages, read events, over WebSocket, QUIC or WebTransport.
//!
//! Used by the command line, the load generator and the tests. Not here: decoding, what an event means, any retry
//! (resuming a lost session will live in this crate; today a lost connection is an error).
//!
//! ```no_run
//! # async fn example(audio: &[u8]) -> Result<(), client::ClientError> {
//! use client::{ClientConfig, connect};
//! use protocol::{AudioFormat, ClientMessage, Codec, Role, ServerMessage, StartStream};
//!
//! let (mut sender, mut events) = connect(&ClientConfig::new("ws://127.0.0.1:8081/audio")).await?;
//! let audio_format = AudioFormat::mono(Codec::Wav, None, Role::Interviewer);
//! sender.start(StartStream { session_id: None, audio: audio_format, config: None, resume: None }).await?;
//! sender.audio(audio).await?;
//! sender.send(&ClientMessage::EndStream {}).await?;
//! while let Some(event) = events.next().await {
//!     if let ServerMessage::Transcription(words) = event?.message {
//!         println!("{}", words.text);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod connect;
mod error;
mod events;
mod pacer;
mod quic;
mod sender;
mod tls;
mod websocket;

pub use connect::{ClientConfig, connect};
pub use error::ClientError;
pub use events::{Closed, Events};
pub use pacer::{InvalidSpeed, Pacer};
pub use sender::Sender;
pub use tls::{CertificateHash, InvalidCertificateHash};
