//! What is promised of limits that replicas share.

// Where the server fails, and what becomes of requests then.
#[cfg(feature = "real-tools")]
mod failing;
// What it counts.
#[cfg(feature = "real-tools")]
mod counting;
// One who asks the server.
mod replica;
// Of whom it takes a certificate or a password.
#[cfg(feature = "real-tools")]
mod trust;

#[cfg(feature = "real-tools")]
#[path = "../../../../tests/api/support/valkey.rs"]
mod server;

use super::{Unavailable, Valkey, ValkeyFault, ValkeySettings};
use crate::rate_limit::{CallerLimits, Gcra};
use replica::{Replica, settings};
use std::{fs, net::TcpListener, time::Instant};

fn limits() -> CallerLimits {
    CallerLimits { rate: Gcra::new(60, 5), decodes_per_day: None }
}

fn fault(settings: ValkeySettings) -> ValkeyFault {
    Valkey::new(settings, Box::new(|_| {})).map(drop).unwrap_err()
}

#[test]
fn files_that_are_of_no_use_are_found_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        Some(path)
    };
    let tls = || settings("valkeys://localhost");
    let absent = || Some(folder.path().join("absent"));

    let plain = || settings("valkey://localhost");
    let no_password = ValkeySettings { password_file: absent(), ..plain() };
    let no_ca = ValkeySettings { ca_file: absent(), ..tls() };
    let empty = ValkeySettings { ca_file: file("empty", "\n"), ..tls() };
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let unusable = ValkeySettings { ca_file: file("unusable", nonsense), ..tls() };
    let torn = ValkeySettings { ca_file: file("torn", &nonsense[..40]), ..tls() };
    let no_tls = ValkeySettings { ca_file: file("any", nonsense), ..plain() };

    assert!(matches!(fault(no_password), ValkeyFault::Password(_)));
    assert!(matches!(fault(no_ca), ValkeyFault::Ca(_)));
    assert!(matches!(fault(empty), ValkeyFault::CaEmpty));
    assert!(matches!(fault(unusable), ValkeyFault::Tls(_)));
    assert!(matches!(fault(torn), ValkeyFault::Ca(_) | ValkeyFault::CaEmpty));
    assert!(matches!(fault(no_tls), ValkeyFault::CaWithoutTls));
    assert!(matches!(fault(settings("http://localhost")), ValkeyFault::Url));
}

#[tokio::test]
async fn where_nothing_listens_nobody_waits() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let replica = Replica::of(settings(&format!("valkey://{address}")));

    let began = Instant::now();
    for _ in 0..10_000 {
        assert_eq!(replica.decide("a", &limits(), true).await, Err(Unavailable));
        assert!(began.elapsed().as_secs() < 2);
    }
    assert_eq!(replica.valkey.decodes_today(&["a"]).await, Err(Unavailable));

    replica.is_down_because("no connection to it comes about").await;
    assert_eq!(replica.told(), [false]);
    assert!(!replica.valkey.is_up());
}

#[test]
fn decisions_may_be_waited_for_in_any_thread() {
    fn is_send(_: impl Send) {}
    let valkey = Valkey::new(settings("valkey://localhost"), Box::new(|_| {})).unwrap();
    let limits = limits();
    is_send(valkey.decide("a", &limits, true));
    is_send(valkey.decodes_today(&["a"]));
    is_send(valkey.keep_connected());
    assert_eq!(valkey.why_down().as_deref(), Some("it was not reached yet"));
}
