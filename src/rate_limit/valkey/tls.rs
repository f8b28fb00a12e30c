//! Whose certificates are trusted to be the server's.

use super::settings::ValkeyFault;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use std::{path::Path, sync::Arc};
use tokio_rustls::TlsConnector;

/// How TLS is spoken with a server that one of the file signs for, or without a file one
/// whom the system trusts.
pub(super) fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, ValkeyFault> {
    let roots = match ca_file {
        Some(path) => in_file(path)?,
        None => of_system()?,
    };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(ValkeyFault::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn in_file(path: &Path) -> Result<RootCertStore, ValkeyFault> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(ValkeyFault::Ca)? {
        roots.add(certificate.map_err(ValkeyFault::Ca)?).map_err(ValkeyFault::Tls)?;
    }
    if roots.is_empty() {
        return Err(ValkeyFault::CaEmpty);
    }
    Ok(roots)
}

fn of_system() -> Result<RootCertStore, ValkeyFault> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(ValkeyFault::NoAuthority);
    }
    Ok(roots)
}
