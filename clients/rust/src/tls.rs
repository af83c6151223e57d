//! Whom a client believes to be the server: who the machine's authorities vouch for, or a certificate known by its hash.

use std::{fmt, str::FromStr, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use rustls_platform_verifier::Verifier;
use sha2::{Digest as _, Sha256};

/// SHA-256 of a server's certificate, as `interviewai serve` prints it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CertificateHash([u8; 32]);

/// The text is no such hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a certificate's SHA-256 has 64 hexadecimal digits")]
pub struct InvalidCertificateHash;

impl FromStr for CertificateHash {
    type Err = InvalidCertificateHash;

    /// Reads hexadecimal digits, with or without colons between bytes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(InvalidCertificateHash);
        }
        let mut hash = [0; 32];
        for (n, byte) in hash.iter_mut().enumerate() {
            let digits = digits.get(2 * n..2 * n + 2).ok_or(InvalidCertificateHash)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| InvalidCertificateHash)?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for CertificateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CertificateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// TLS as a client speaks it, for one of `protocols` (ALPN). QUIC takes version 1.3 of it.
///
/// `pinned` is the only certificate that is believed; without one the machine's authorities are, and those in `roots` (PEM).
///
/// # Errors
/// What cannot be used, in words.
pub(crate) fn config(
    pinned: Option<CertificateHash>,
    roots: Option<&[u8]>,
    protocol: &str,
) -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match pinned {
        Some(hash) => Arc::new(Pinned { hash, provider: Arc::clone(&provider) }),
        None => {
            let roots = CertificateDer::pem_slice_iter(roots.unwrap_or_default())
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| format!("the extra root certificates are not PEM: {error}"))?;
            let verifier = Verifier::new_with_extra_roots(roots, Arc::clone(&provider));
            Arc::new(verifier.map_err(|error| format!("no authority can be asked: {error}"))?)
        }
    };
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    Ok(config)
}

/// Believes the one certificate, whoever signed it and whatever it is for; that the server has its key is checked as ever.
#[derive(Debug)]
struct Pinned {
    hash: CertificateHash,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.hash.0 == Sha256::digest(own)[..] {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_as_it_is_printed_and_as_openssl_prints_it() {
        let text = "00ff".repeat(16);
        let hash: CertificateHash = text.parse().unwrap();
        assert_eq!(hash.to_string(), text);
        let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap().to_uppercase());
        assert_eq!(pairs.collect::<Vec<_>>().join(":").parse(), Ok(hash));
        for wrong in ["", "00ff", &"0g".repeat(32), &"é".repeat(32), &"00".repeat(33)] {
            assert_eq!(wrong.parse::<CertificateHash>(), Err(InvalidCertificateHash), "{wrong}");
        }
    }
}
