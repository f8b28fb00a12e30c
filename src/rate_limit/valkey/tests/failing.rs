//! A server that forgets, ends, hangs or refuses, and what becomes of requests then.

use super::{
    super::{Unavailable, ValkeySettings},
    limits,
    replica::{Replica, comes_about, settings},
    server::ValkeyServer,
};
use crate::rate_limit::{CallerLimits, LimitDecision};
use std::{
    fs::{self, File},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::sleep};

/// With a timeout that may be waited for.
fn impatient(server: &ValkeyServer) -> ValkeySettings {
    ValkeySettings { timeout: Duration::from_millis(200), ..settings(&server.url()) }
}

/// Waits until there were some connections more.
async fn was_tried_again(server: &ValkeyServer) {
    let connections = || -> u64 {
        let stats = server.command(&["INFO", "stats"]);
        let received = |line: &str| line.strip_prefix("total_connections_received:")?.parse().ok();
        stats.lines().find_map(received).unwrap()
    };
    // Each question is asked over a connection of its own.
    let (before, mut asked) = (connections(), 1);
    let has_begun = async || {
        asked += 1;
        connections() >= before + asked + 2
    };
    assert!(comes_about(has_begun).await);
}

async fn passes(replica: &Replica) {
    let made = replica.decide("a", &limits(), true).await;
    assert_eq!(made.map(|made| made.decision), Ok(LimitDecision::Allowed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_else_has_put_in_the_place_of_a_count_harms_nobody() {
    let server = ValkeyServer::start();
    let replica = Replica::connected(settings(&server.url())).await;
    server.command(&["SET", "blueprint-decoder:{a}", "x"]);

    for _ in 0..5 {
        passes(&replica).await;
    }

    let sixth = replica.decide("a", &limits(), true).await;
    assert_eq!(sixth.map(|made| made.decision), Ok(LimitDecision::RateLimited));
    assert_eq!(replica.told(), [false, true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_forgets_the_script_is_told_it_again() {
    let server = ValkeyServer::start();
    let replica = Arc::new(Replica::connected(settings(&server.url())).await);
    for _ in 0..5 {
        passes(&replica).await;
    }

    server.flush();

    let mut asking = JoinSet::new();
    for _ in 0..100 {
        let replica = Arc::clone(&replica);
        asking.spawn(async move { replica.decide("a", &limits(), true).await.unwrap().decision });
    }
    let rulings = asking.join_all().await;
    assert_eq!(rulings.iter().filter(|&&decision| decision == LimitDecision::Allowed).count(), 5);
    assert_eq!(replica.told(), [false, true]);
}

#[tokio::test]
async fn a_server_that_is_killed_and_comes_again_is_used_again() {
    let mut server = ValkeyServer::start();
    let replica = Replica::connected(settings(&server.url())).await;
    passes(&replica).await;

    server.kill();
    // Nobody has to ask for it to be noticed.
    replica.is_down().await;
    assert_eq!(replica.decide("a", &limits(), true).await, Err(Unavailable));
    replica.is_down_because("no connection to it comes about").await;

    server.restart();
    replica.is_up().await;
    passes(&replica).await;
    assert_eq!(replica.valkey.why_down(), None);
    assert_eq!(replica.told(), [false, true, false, true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_holds_nobody_up() {
    let server = ValkeyServer::start();
    let replica = Arc::new(Replica::connected(impatient(&server)).await);
    passes(&replica).await;

    server.stop();
    let mut asking = JoinSet::new();
    for _ in 0..200 {
        let replica = Arc::clone(&replica);
        asking.spawn(async move {
            let began = Instant::now();
            (replica.decide("a", &limits(), true).await, began.elapsed())
        });
    }
    for (made, took) in asking.join_all().await {
        assert_eq!(made, Err(Unavailable));
        assert!(took < Duration::from_secs(2), "{took:?}");
    }

    // From now on nobody waits at all, though connections to it come about.
    let began = Instant::now();
    for _ in 0..10_000 {
        assert_eq!(replica.decide("a", &limits(), true).await, Err(Unavailable));
        assert!(began.elapsed() < Duration::from_secs(2));
    }
    replica.is_down().await;
    replica.is_down_because("it does not answer in time").await;
    // Longer than an attempt to connect may take.
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(replica.told(), [false, true, false]);

    server.go_on();
    replica.is_up().await;
    // What was sent to it before may be counted, but is nobody's answer.
    let other = replica.decide("b", &limits(), true).await.unwrap();
    assert_eq!((other.decision, other.rate.remaining), (LimitDecision::Allowed, 4));
}

#[tokio::test]
async fn the_first_who_gets_no_answer_spares_all_others() {
    let server = ValkeyServer::start();
    let replica = Replica::connected(impatient(&server)).await;

    server.stop();
    assert_eq!(replica.decide("a", &limits(), true).await, Err(Unavailable));

    // At once, without anything else having run.
    assert!(!replica.valkey.is_up());
    assert_eq!(replica.valkey.why_down().as_deref(), Some("it does not answer in time"));
    replica.is_down().await;
    server.go_on();
    replica.is_up().await;
}

#[tokio::test]
async fn a_late_answer_is_not_taken_for_one_to_another_question() {
    let server = ValkeyServer::start();
    let replica = Replica::connected(impatient(&server)).await;
    for round in 0..5 {
        server.stop();
        let slow = CallerLimits { decodes_per_day: Some(1), ..limits() };
        assert_eq!(replica.decide("late", &slow, true).await, Err(Unavailable), "{round}");
        replica.is_down().await;
        server.go_on();
        replica.is_up().await;
        let name = format!("other {round}");
        let made = replica.decide(&name, &limits(), true).await.unwrap();
        assert_eq!((made.rate.remaining, made.quota), (4, None), "{round}");
    }
}

#[tokio::test]
async fn a_replica_that_takes_no_writes_is_of_no_use() {
    let server = ValkeyServer::start();
    let replica = Replica::connected(settings(&server.url())).await;

    assert_eq!(server.command(&["REPLICAOF", "127.0.0.1", "1"]), "OK");
    assert_eq!(replica.decide("a", &limits(), true).await, Err(Unavailable));
    replica.is_down_because("it is a replica that takes no writes").await;
    was_tried_again(&server).await;
    assert_eq!(replica.told(), [false, true, false]);

    assert_eq!(server.command(&["REPLICAOF", "NO", "ONE"]), "OK");
    replica.is_up().await;
    passes(&replica).await;
}

#[tokio::test]
async fn a_server_whose_memory_is_full_is_of_no_use() {
    let server = ValkeyServer::start();
    let replica = Replica::connected(settings(&server.url())).await;

    assert_eq!(server.command(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    assert_eq!(replica.decide("a", &limits(), true).await, Err(Unavailable));
    replica.is_down_because("its memory is full").await;
    was_tried_again(&server).await;
    assert_eq!(replica.told(), [false, true, false]);

    assert_eq!(server.command(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    replica.is_up().await;
    passes(&replica).await;
}

#[tokio::test]
async fn a_server_that_does_not_permit_what_is_needed_is_of_no_use() {
    let server = ValkeyServer::start();
    let replica = Replica::connected(settings(&server.url())).await;

    assert_eq!(server.command(&["ACL", "SETUSER", "default", "-evalsha"]), "OK");
    assert_eq!(replica.decide("a", &limits(), true).await, Err(Unavailable));
    replica.is_down_because("it does not permit what is needed").await;

    assert_eq!(server.command(&["ACL", "SETUSER", "default", "+evalsha"]), "OK");
    replica.is_up().await;
}

#[tokio::test]
async fn another_database_is_another_count() {
    let server = ValkeyServer::start();
    let replica = Replica::connected(settings(&format!("{}/5", server.url()))).await;
    passes(&replica).await;

    let keyspace = server.command(&["INFO", "keyspace"]);
    assert!(keyspace.contains("db5:") && !keyspace.contains("db0:"), "{keyspace}");
    let absent = Replica::of(settings(&format!("{}/99", server.url())));
    absent.is_down_because("it answers with an error").await;
}

#[tokio::test]
async fn the_log_has_a_line_for_each_change_and_no_password() {
    let mut server = ValkeyServer::start_with(&["--requirepass", "hunter2"]);
    let folder = tempfile::tempdir().unwrap();
    let (log, password) = (folder.path().join("log"), folder.path().join("password"));
    fs::write(&password, "hunter2").unwrap();
    let subscriber = tracing_subscriber::fmt().with_writer(Arc::new(File::create(&log).unwrap()));
    let _logging = tracing::subscriber::set_default(subscriber.with_ansi(false).finish());
    let settings = ValkeySettings { password_file: Some(password), ..settings(&server.url()) };
    let replica = Replica::connected(settings).await;

    server.kill();
    replica.is_down().await;
    for _ in 0..100 {
        assert_eq!(replica.decide("a", &limits(), true).await, Err(Unavailable));
    }
    replica.is_down_because("no connection to it comes about").await;
    server.restart();
    replica.is_up().await;

    let log = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("::valkey")).collect();
    assert!(lines[0].contains("INFO") && lines[3].contains("INFO"), "{log}");
    let why = "reason=it ended the connection";
    assert!(lines[1].contains("WARN") && lines[1].contains(why), "{log}");
    // Each reason once, however often it is met.
    let then = "reason=no connection to it comes about";
    assert!(lines[2].contains("WARN") && lines[2].contains(then), "{log}");
    assert_eq!(lines.len(), 4, "{log}");
    assert!(!log.contains("hunter2") && !log.contains("127.0.0.1"), "{log}");
}
