//! An authority that lives as long as the process, and what it signs.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use std::{
    io::Write,
    sync::{Arc, LazyLock},
};
use tempfile::{NamedTempFile, TempPath};
use tokio_rustls::rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};

type Authority = CertifiedIssuer<'static, KeyPair>;

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| authority("The tests' authority"));
static HONEST: LazyLock<Arc<ServerConfig>> =
    LazyLock::new(|| server(&AUTHORITY, certificate(&["source.test", "localhost", "127.0.0.1"])));

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TlsFault {
    WrongName,
    Expired,
    UnknownAuthority,
    SelfSigned,
}

pub(super) fn honest() -> Arc<ServerConfig> {
    Arc::clone(&HONEST)
}

/// The same for a server that speaks HTTP/2.
pub(crate) fn honest_http_2() -> Arc<ServerConfig> {
    let mut config = ServerConfig::clone(&HONEST);
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

pub(super) fn with(fault: TlsFault) -> Arc<ServerConfig> {
    let mut params = certificate(&["source.test"]);
    match fault {
        TlsFault::WrongName => server(&AUTHORITY, certificate(&["other.test"])),
        TlsFault::Expired => {
            params.not_after = date_time_ymd(2001, 1, 1);
            server(&AUTHORITY, params)
        }
        TlsFault::UnknownAuthority => server(&authority("Some authority"), params),
        TlsFault::SelfSigned => {
            let key = key();
            let certificate = params.self_signed(&key).expect("signed");
            serving(certificate.into(), &key)
        }
    }
}

pub(super) fn ca_file() -> TempPath {
    let mut file = NamedTempFile::new().expect("a folder for such files");
    file.write_all(AUTHORITY.pem().as_bytes()).expect("written");
    file.into_temp_path()
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Authority::self_signed(params, key()).expect("signed")
}

fn certificate(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    CertificateParams::new(names).expect("valid names")
}

fn server(authority: &Authority, params: CertificateParams) -> Arc<ServerConfig> {
    let key = key();
    let certificate = params.signed_by(&key, authority).expect("signed");
    serving(certificate.into(), &key)
}

fn serving(certificate: CertificateDer<'static>, key: &KeyPair) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions that ring has")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate],
            PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS #8"),
        )
        .expect("a key that fits");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

fn key() -> KeyPair {
    KeyPair::generate().expect("randomness")
}
