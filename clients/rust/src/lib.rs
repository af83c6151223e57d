//! A client of the live session: connect, send audio and control messages, read events, over WebSocket, QUIC or WebTransport.
//!
//! [`connect`] opens one connection, and a lost one is an error. [`open_session`] keeps a session over as many as it takes.
//!
//! Used by the command line, the load generator and the tests. Not here: decoding, what an event means.
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
mod ring;
mod sender;
mod session;
mod tls;
mod websocket;

pub use connect::{ClientConfig, connect};
pub use error::ClientError;
pub use events::{Closed, Events};
pub use pacer::{InvalidSpeed, Pacer};
pub use sender::Sender;
pub use session::{SessionConfig, SessionEvent, SessionEvents, SessionSender, open_session};
pub use tls::{CertificateHash, InvalidCertificateHash};
