//! A QUIC client made of `web-transport-quinn` alone, so that the server is not tested against its own code.

#![allow(dead_code, reason = "each test that includes this file uses a part of it")]

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use engine::transport::Frame;
use quinn::{
    ClientConfig, Connection, Endpoint, ServerConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
};
use web_transport_quinn::{RecvStream, SendStream, Session, SessionError, WebTransportError};

/// The client's end of a session: control, and audio on one stream.
pub(crate) struct QuicPeer {
    pub(crate) session: Session,
    pub(crate) control: SendStream,
    events: RecvStream,
    audio: Option<SendStream>,
    pub(crate) closed: Option<u16>,
    /// Keeps the sockets.
    pub(crate) endpoints: Vec<Endpoint>,
}

impl QuicPeer {
    /// Opens the control stream, which the server sees with the first message on it.
    pub(crate) async fn new(session: Session, endpoints: Vec<Endpoint>) -> Self {
        let (control, events) = session.open_bi().await.expect("a stream is allowed");
        Self { session, control, events, audio: None, closed: None, endpoints }
    }

    pub(crate) async fn control(&mut self, json: &str) {
        self.settle().await;
        self.control.write_all(&message(json.as_bytes())).await.expect("the server is there");
    }

    pub(crate) async fn audio(&mut self, bytes: &[u8]) {
        if self.audio.is_none() {
            self.audio = Some(self.session.open_uni().await.expect("a stream is allowed"));
        }
        let audio = self.audio.as_mut().expect("just opened");
        audio.write_all(&message(bytes)).await.expect("the server is there");
    }

    /// Ends the stream of audio, if there is one, and waits until the server has all of it.
    pub(crate) async fn settle(&mut self) {
        if let Some(mut audio) = self.audio.take() {
            audio.finish().expect("it was open");
            assert_eq!(audio.stopped().await.expect("the server is there"), None);
        }
    }

    pub(crate) async fn send(&mut self, frame: Frame) {
        match frame {
            Frame::Control(json) => self.control(std::str::from_utf8(&json).expect("text")).await,
            Frame::Audio(bytes) => self.audio(&bytes).await,
        }
    }

    pub(crate) async fn next(&mut self) -> Option<String> {
        let mut length = [0; 4];
        if self.events.read_exact(&mut length).await.is_err() {
            let _ = self.control.finish();
            self.closed = code(&self.session.closed().await);
            return None;
        }
        let mut json = vec![0; u32::from_be_bytes(length) as usize];
        self.events.read_exact(&mut json).await.expect("a message is whole");
        Some(String::from_utf8(json).expect("text"))
    }

    pub(crate) async fn hang_up(mut self) {
        self.settle().await;
        self.control.finish().expect("it was open");
        assert_eq!(self.control.stopped().await.expect("the server is there"), None);
        self.session.close(1000, b"");
        self.session.closed().await;
    }
}

/// The code that the server closed with.
pub(crate) fn code(error: &SessionError) -> Option<u16> {
    match error {
        SessionError::WebTransportError(WebTransportError::Closed(code, _)) => u16::try_from(*code).ok(),
        _ => None,
    }
}

pub(crate) fn message(bytes: &[u8]) -> Bytes {
    let length = u32::try_from(bytes.len()).expect("short");
    [&length.to_be_bytes()[..], bytes].concat().into()
}

/// An endpoint of this machine, and its configuration to speak `alpn` with anybody.
pub(crate) fn client(alpn: &str) -> (Endpoint, ClientConfig) {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3 is there")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    tls.enable_early_data = true;
    let tls = QuicClientConfig::try_from(tls).expect("TLS 1.3");
    let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a free port");
    (endpoint, ClientConfig::new(Arc::new(tls)))
}

/// Connects to a server that is running.
pub(crate) async fn connect(
    address: SocketAddr,
    alpn: &str,
) -> Result<(Connection, Endpoint), quinn::ConnectionError> {
    let (endpoint, config) = client(alpn);
    let connecting = endpoint.connect_with(config, address, "localhost").expect("a valid configuration");
    Ok((connecting.await?, endpoint))
}

/// Two connected ends, without any of the server's code.
pub(crate) async fn connections(alpn: &str) -> (Connection, Connection, Vec<Endpoint>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).expect("randomness");
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3 is there")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .expect("they belong together");
    tls.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    // Unlike the server under test.
    tls.max_early_data_size = u32::MAX;
    let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).expect("TLS 1.3")));
    let server = Endpoint::server(config, ([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = server.local_addr().expect("bound");
    let accepted = async { server.accept().await.expect("an attempt").await.expect("a connection") };
    let (connected, accepted) = tokio::join!(connect(address, alpn), accepted);
    let (connected, endpoint) = connected.expect("a connection");
    (connected, accepted, vec![server, endpoint])
}

/// Whoever the server says it is: these tests are about sessions.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
