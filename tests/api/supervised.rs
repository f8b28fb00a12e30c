//! What a supervisor is told, in the protocol of systemd.

use crate::support::app::{PATIENCE, TestApp};
use std::os::{
    linux::net::SocketAddrExt,
    unix::net::{SocketAddr, UnixDatagram as StdDatagram},
};
use tokio::{net::UnixDatagram, time::timeout};

/// The next message.
async fn told(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 256];
    let received = timeout(PATIENCE, socket.recv(&mut bytes)).await.expect("a message in time");
    String::from_utf8(bytes[..received.expect("a message")].to_vec()).expect("UTF-8")
}

#[tokio::test]
async fn a_supervisor_hears_of_the_beginning_of_life_and_of_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let name = path.to_str().expect("UTF-8");

    let environment = [("NOTIFY_SOCKET", name), ("WATCHDOG_USEC", "200000")];
    let mut app = TestApp::start_in(&environment, "").await;

    assert!(told(&socket).await.starts_with("READY=1\n"));
    // It was ready when it said so.
    assert_eq!(app.get("/health/ready").await.status, 200);
    for _ in 0..3 {
        assert_eq!(told(&socket).await, "WATCHDOG=1");
    }
    app.signal("TERM");
    while !told(&socket).await.starts_with("STOPPING=1\n") {}
    assert_eq!(app.ended().await, Some(0));
}

#[tokio::test]
async fn its_socket_may_be_an_abstract_one_and_its_watchdog_for_another() {
    let name = format!("blueprint-decoder-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let socket = StdDatagram::bind_addr(&address).expect("a socket");
    socket.set_nonblocking(true).expect("settable");
    let socket = UnixDatagram::from_std(socket).expect("a socket");

    let name = format!("@{name}");
    let environment = [("NOTIFY_SOCKET", &*name), ("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")];
    let mut app = TestApp::start_in(&environment, "").await;
    assert!(told(&socket).await.starts_with("READY=1\n"));
    app.signal("TERM");

    // Nothing came in between.
    assert!(told(&socket).await.starts_with("STOPPING=1\n"));
    assert_eq!(app.ended().await, Some(0));
}

#[tokio::test]
async fn a_supervisor_that_is_not_there_is_no_reason_not_to_serve() {
    let app = TestApp::start_in(&[("NOTIFY_SOCKET", "/nowhere/at/all")], "").await;

    assert_eq!(app.get("/health").await.status, 200);
}
