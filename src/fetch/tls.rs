//! Whose certificates are trusted, and how TLS is spoken to sources.

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem, pem::PemObject},
};
use std::{fmt, path::Path, sync::Arc};

/// The authorities could not be read.
#[derive(Debug)]
pub enum RootsError {
    /// The file of extra ones is no list of certificates in PEM.
    Unreadable(pem::Error),
    /// A certificate in it cannot be an authority's.
    Unusable(rustls::Error),
    /// There is none in it.
    Empty,
}

impl fmt::Display for RootsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "it cannot be read as PEM: {error}"),
            Self::Unusable(error) => write!(f, "a certificate in it cannot be trusted: {error}"),
            Self::Empty => f.write_str("there is no certificate in it"),
        }
    }
}

impl std::error::Error for RootsError {}

/// The authorities that the system trusts, and those in a file.
pub fn roots(extra: Option<&Path>) -> Result<RootCertStore, RootsError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    let (_, ignored) = roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        tracing::warn!(
            "the system trusts no certificate authority: documents at public https URLs cannot be \
             fetched; install the package ca-certificates or set SSL_CERT_FILE"
        );
    } else if ignored > 0 {
        tracing::debug!(ignored, "some certificate authorities of the system could not be used");
    }
    if let Some(path) = extra {
        let mut found = false;
        for certificate in CertificateDer::pem_file_iter(path).map_err(RootsError::Unreadable)? {
            let certificate = certificate.map_err(RootsError::Unreadable)?;
            roots.add(certificate).map_err(RootsError::Unusable)?;
            found = true;
        }
        if !found {
            return Err(RootsError::Empty);
        }
    }
    Ok(roots)
}

pub(super) fn client_config(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
