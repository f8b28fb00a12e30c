//! Who may know whom: passwords and certificates.

use super::{
    super::ValkeySettings,
    limits,
    replica::{Replica, settings},
    server::{ValkeyServer, free_port},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

/// An authority, what it has signed for `localhost`, and their files.
struct Authority {
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let signed = params.signed_by(&key, &ca).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        fs::write(folder.path().join("cert.pem"), signed.pem()).unwrap();
        fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
        Self { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A server with its certificate, and the port where it speaks TLS.
    fn server(&self) -> (ValkeyServer, u16) {
        let text = |name| self.file(name).to_str().unwrap().to_owned();
        let (port, cert, key) = (free_port(), text("cert.pem"), text("key.pem"));
        let server = ValkeyServer::start_with(&[
            "--tls-port",
            &port.to_string(),
            "--tls-auth-clients",
            "no",
            "--tls-cert-file",
            &cert,
            "--tls-key-file",
            &key,
        ]);
        (server, port)
    }
}

fn trusting(url: &str, ca: &Authority) -> ValkeySettings {
    ValkeySettings { ca_file: Some(ca.file("ca.pem")), ..settings(url) }
}

fn with_password(server: &ValkeyServer, path: &Path) -> ValkeySettings {
    ValkeySettings { password_file: Some(path.to_owned()), ..settings(&server.url()) }
}

#[tokio::test]
async fn a_password_is_read_again_for_each_connection() {
    let server = ValkeyServer::start_with(&["--requirepass", "right horse"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "wrong horse\n").unwrap();

    let replica = Replica::of(with_password(&server, file.path()));
    replica.is_down_because("it does not accept the password").await;
    assert_eq!(replica.told(), [false]);
    fs::remove_file(file.path()).unwrap();
    replica.is_down_because("the password for it cannot be read").await;

    fs::write(file.path(), "right horse\n").unwrap();
    replica.is_up().await;
    assert!(replica.decide("a", &limits(), true).await.is_ok());
}

#[tokio::test]
async fn a_password_that_is_missing_or_not_wanted_is_told() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "horse").unwrap();

    let strict = ValkeyServer::start_with(&["--requirepass", "horse"]);
    let without = Replica::of(settings(&strict.url()));
    without.is_down_because("it wants a password").await;

    let open = ValkeyServer::start();
    let with = Replica::of(with_password(&open, file.path()));
    with.is_down_because("it does not accept the password").await;
}

#[tokio::test]
async fn tls_is_spoken_with_whom_the_file_signs_for() {
    let ca = Authority::new();
    let (_server, port) = ca.server();

    let replica = Replica::connected(trusting(&format!("valkeys://localhost:{port}"), &ca)).await;

    assert!(replica.decide("a", &limits(), true).await.is_ok());
}

#[tokio::test]
async fn tls_is_not_spoken_with_anybody_else() {
    let (ca, other) = (Authority::new(), Authority::new());
    let (server, port) = ca.server();
    let url = format!("rediss://localhost:{port}");

    let refusing = [
        // Someone else has signed,
        Replica::of(trusting(&url, &other)),
        // or nobody whom the system knows,
        Replica::of(settings(&url)),
        // or it is for another name.
        Replica::of(trusting(&format!("valkeys://127.0.0.1:{port}"), &ca)),
    ];
    // Who speaks no TLS waits for more of what it takes for a command.
    let plain = trusting(&format!("valkeys://localhost:{}", server.port()), &ca);
    let plain = Replica::of(ValkeySettings { timeout: Duration::from_millis(200), ..plain });

    for replica in &refusing {
        replica.is_down_because("no TLS with it comes about").await;
    }
    plain.is_down_because("it does not answer in time").await;
    for replica in refusing.iter().chain([&plain]) {
        assert_eq!(replica.told(), [false]);
    }
}
