//! The certificates of every listener: the operator's own, or one made for development.
//!
//! TLS 1.3 for QUIC, 1.2 and 1.3 for the WebSocket. Not here: renewal; a server is started anew with new files.

use std::{fmt, sync::Arc, time::SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _},
};
use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsAcceptor;

/// A chain of certificates and the key of the first.
pub struct Tls {
    config: ServerConfig,
    sha256: [u8; 32],
}

/// Why certificates cannot be used; the text says which file and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The certificates are not what is needed.
    #[error("the certificates cannot be used: {0}; give a PEM file, the server's own certificate first")]
    Certificates(String),
    /// The key is not what is needed.
    #[error("the key cannot be used: {0}; give a PEM file with the private key of the first certificate")]
    Key(String),
}

impl Tls {
    /// From the contents of PEM files: the chain, the server's own certificate first, and its private key.
    ///
    /// # Errors
    /// Says which of the two is wrong, and how.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| TlsError::Certificates(error.to_string()))?;
        if chain.is_empty() {
            return Err(TlsError::Certificates("there is none in the file".to_owned()));
        }
        // The error names what was read, never the key.
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsError::Key(error.to_string()))?;
        Self::new(chain, key)
    }

    /// A certificate for `localhost`, 127.0.0.1 and ::1 that nobody else vouches for: clients take it by its
    /// [hash](Self::sha256). Browsers do so for ECDSA P-256 and 14 days at most.
    ///
    /// # Errors
    /// There is no randomness, which no machine lacks for long.
    pub fn self_signed() -> Result<Self, TlsError> {
        let made = || -> Result<_, rcgen::Error> {
            let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
            let mut parameters = CertificateParams::new(names)?;
            parameters.distinguished_name = DistinguishedName::new();
            parameters.distinguished_name.push(DnType::CommonName, "InterviewAI, for development");
            let now = SystemTime::now();
            parameters.not_before = (now - CLOCK_SKEW).into();
            parameters.not_after = (now + DEVELOPMENT).into();
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            Ok((parameters.self_signed(&key)?, key))
        };
        let (certificate, key) = made().map_err(|error| TlsError::Certificates(error.to_string()))?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Self::new(vec![certificate.der().clone()], key.into())
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, TlsError> {
        let sha256 = chain.first().map(|own| Sha256::digest(own).into()).unwrap_or_default();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Certificates(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| TlsError::Key(error.to_string()))?;
        Ok(Self { config, sha256 })
    }

    /// SHA-256 of the server's own certificate, as lower-case hexadecimal digits: what a client may pin.
    pub fn sha256(&self) -> String {
        self.sha256.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// For the WebSocket.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut config = self.config.clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    /// For QUIC, which has TLS 1.3 only. No early data: it could be sent twice by somebody else.
    pub(super) fn quic(&self, protocols: &[&str]) -> Arc<ServerConfig> {
        let mut config = self.config.clone();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.max_early_data_size = 0;
        Arc::new(config)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("sha256", &self.sha256()).finish_non_exhaustive()
    }
}

/// Clients' clocks may be behind.
const CLOCK_SKEW: std::time::Duration = std::time::Duration::from_secs(3_600);
/// With the hour before, less than the 14 days that browsers allow.
const DEVELOPMENT: std::time::Duration = std::time::Duration::from_secs(13 * 24 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let certificate = |pem: &[u8]| Tls::from_pem(pem, b"").unwrap_err().to_string();
        assert!(certificate(b"").contains("there is none in the file"));
        assert!(
            certificate(b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n")
                .contains("certificates")
        );
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
        Tls::from_pem(own.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        let error = Tls::from_pem(own.as_bytes(), b"").unwrap_err().to_string();
        assert!(error.contains("the key cannot be used"), "{error}");
        let other = KeyPair::generate().unwrap().serialize_pem();
        let error = Tls::from_pem(own.as_bytes(), other.as_bytes()).unwrap_err();
        assert!(matches!(error, TlsError::Key(_)), "{error}");
    }

    #[test]
    fn every_self_signed_certificate_is_another() {
        let (one, other) = (Tls::self_signed().unwrap(), Tls::self_signed().unwrap());
        assert_eq!(one.sha256().len(), 64);
        assert_ne!(one.sha256(), other.sha256());
    }
}
