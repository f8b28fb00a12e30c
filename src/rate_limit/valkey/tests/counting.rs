//! What the server counts, shared by all who ask it.

use super::{
    replica::{Replica, comes_about, settings},
    server::ValkeyServer,
};
use crate::rate_limit::{CallerLimits, Gcra, LimitDecision, LimitOutcome, Now, QuotaLeft, Usage};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::sleep};

/// So slow that nothing is earned back while a test lasts.
fn limits(burst: u64, decodes_per_day: Option<u64>) -> CallerLimits {
    CallerLimits { rate: Gcra::new(1, burst), decodes_per_day }
}

/// Requests of one caller to several replicas, all at once.
async fn at_once(
    replicas: &[Arc<Replica>],
    limits: CallerLimits,
    requests: usize,
) -> Vec<LimitOutcome> {
    let mut asking = JoinSet::new();
    for number in 0..requests {
        let replica = Arc::clone(&replicas[number % replicas.len()]);
        asking.spawn(async move { replica.decide("league", &limits, true).await.unwrap() });
    }
    asking.join_all().await
}

fn allowed(verdicts: &[LimitOutcome]) -> usize {
    verdicts.iter().filter(|outcome| outcome.decision == LimitDecision::Allowed).count()
}

fn remaining(outcome: &LimitOutcome) -> (u64, Option<u64>) {
    (outcome.rate.remaining, outcome.quota.map(|quota| quota.remaining))
}

#[tokio::test]
async fn what_is_decided_is_what_is_decided_in_memory() {
    let server = ValkeyServer::start();
    let replica = Replica::connected(settings(&server.url())).await;
    let check = async |name: &str, limits: CallerLimits, requests: &[bool]| {
        let (mut used, now) = (Usage::default(), Now { monotonic: 0, since_epoch: Duration::ZERO });
        for (number, is_decode) in requests.iter().enumerate() {
            let expected = limits.decide(&mut used, *is_decode, now);
            let made = replica.decide(name, &limits, *is_decode).await.unwrap();
            assert_eq!(made.decision, expected.decision, "{name} {number}");
            assert_eq!(made.rate.is_allowed, expected.rate.is_allowed, "{name} {number}");
            assert_eq!(remaining(&made), remaining(&expected), "{name} {number}");
            // What passes of the time is a part of one interval.
            let is_near = |made: Duration, expected: Duration| {
                made <= expected && made + Duration::from_secs(59) >= expected
            };
            assert!(is_near(made.rate.full_in, expected.rate.full_in), "{name} {number}");
            assert!(is_near(made.rate.retry_after, expected.rate.retry_after), "{name} {number}");
        }
    };
    let (yes, no) = (true, false);
    check("rate", limits(3, None), &[yes, no, yes, yes, no]).await;
    check("quota", limits(9, Some(2)), &[yes, no, yes, yes, no, yes, no]).await;
    check("both", limits(3, Some(2)), &[yes, yes, yes, no, yes, no]).await;
    check("none", limits(2, Some(0)), &[yes, no, yes, no, no, yes]).await;
    check("large", limits(1_000_000_000, Some(u64::MAX)), &[]).await;
    check("much", limits(75_000_000, Some(u64::MAX)), &[yes, no, yes]).await;
}

#[tokio::test]
async fn what_was_owed_at_another_rate_is_cut_to_what_this_one_allows() {
    let server = ValkeyServer::start();
    let replica = Replica::connected(settings(&server.url())).await;
    let slow = CallerLimits { rate: Gcra::new(1, 1000), decodes_per_day: None };
    for _ in 0..1000 {
        assert!(replica.decide("a", &slow, false).await.unwrap().rate.is_allowed);
    }

    let fast = CallerLimits { rate: Gcra::new(60, 10), decodes_per_day: None };
    let made = replica.decide("a", &fast, false).await.unwrap();

    assert_eq!((made.decision, made.rate.remaining), (LimitDecision::RateLimited, 0));
    assert_eq!(made.rate.full_in, Duration::from_secs(10));
    assert_eq!(made.rate.retry_after, Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_let_exactly_a_burst_pass() {
    let server = ValkeyServer::start();
    let one = Arc::new(Replica::connected(settings(&server.url())).await);
    let other = Arc::new(Replica::connected(settings(&server.url())).await);

    let verdicts = at_once(&[one, other], limits(100, None), 1000).await;

    assert_eq!(allowed(&verdicts), 100);
    let mut left: Vec<u64> = verdicts.iter().map(|outcome| outcome.rate.remaining).collect();
    left.sort_unstable();
    let expected: Vec<u64> = std::iter::repeat_n(0, 900).chain(0..100).collect();
    assert_eq!(left, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_let_exactly_a_quota_pass() {
    let server = ValkeyServer::start();
    let one = Arc::new(Replica::connected(settings(&server.url())).await);
    let other = Arc::new(Replica::connected(settings(&server.url())).await);

    let verdicts = at_once(&[Arc::clone(&one), other], limits(10_000, Some(77)), 1000).await;

    assert_eq!(allowed(&verdicts), 77);
    let refused =
        verdicts.iter().filter(|outcome| outcome.decision == LimitDecision::QuotaExceeded);
    assert_eq!(refused.count(), 923);
    assert_eq!(one.valkey.decodes_today(&["league"]).await, Ok(vec![77]));
}

#[tokio::test]
async fn a_rate_is_earned_back_by_the_clock_of_the_server() {
    let server = ValkeyServer::start();
    let replica = Replica::connected(settings(&server.url())).await;
    let limits = CallerLimits { rate: Gcra::new(600, 1), decodes_per_day: None };
    let first = replica.decide("a", &limits, false).await.unwrap();
    assert_eq!(first.rate.full_in, Duration::from_millis(100));

    let mut refused = 0;
    loop {
        let made = replica.decide("a", &limits, false).await.unwrap();
        if made.rate.is_allowed {
            break;
        }
        refused += 1;
        sleep(made.rate.retry_after).await;
    }

    // Who waits for as long as it is told is let in.
    assert!(refused <= 1, "{refused}");
}

#[tokio::test]
async fn the_day_ends_at_midnight_of_the_server() {
    let server = ValkeyServer::start();
    let replica = Replica::connected(settings(&server.url())).await;
    let key = "blueprint-decoder:{a}";
    let now: u64 = server.command(&["TIME"]).lines().next().unwrap().parse().unwrap();
    let (today, day) = (now / 86_400, 86_400);
    let check = async |kept: u64, expected: (u64, u64, u64)| {
        server.command(&["HSET", key, "rest", "0", "day", &kept.to_string(), "decodes", "3"]);
        let known = replica.valkey.decodes_today(&["a"]).await.unwrap()[0];
        let made = replica.decide("a", &limits(9, Some(5)), true).await.unwrap();
        let QuotaLeft { remaining, renewed_in } = made.quota.unwrap();
        assert_eq!((known, remaining, renewed_in.as_secs() / day), expected, "{kept}");
    };
    check(today - 1, (0, 4, 0)).await;
    check(today, (3, 1, 0)).await;
    // The clock was set back: the day that is over stays over.
    check(today + 1, (3, 1, 1)).await;

    // A day that began with a refusal has begun as well.
    let owed = ((now + 3600) * 1_000_000).to_string();
    let yesterday = (today - 1).to_string();
    server.command(&["HSET", key, "rest", &owed, "day", &yesterday, "decodes", "3"]);
    let made = replica.decide("a", &limits(9, Some(5)), true).await.unwrap();
    assert_eq!((made.decision, remaining(&made)), (LimitDecision::RateLimited, (0, Some(5))));
    let kept = server.command(&["HMGET", key, "rest", "day", "decodes"]);
    assert_eq!(kept, format!("{owed}\n{today}\n0"));
}

#[tokio::test]
async fn a_decision_is_one_round_trip() {
    let server = ValkeyServer::start();
    let replica = Replica::connected(settings(&server.url())).await;
    assert_eq!(server.command(&["CONFIG", "RESETSTAT"]), "OK");

    for _ in 0..50 {
        replica.decide("a", &limits(40, Some(30)), true).await.unwrap();
    }

    let stats = server.command(&["INFO", "commandstats"]);
    let calls: BTreeMap<&str, &str> = stats
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="))
        .map(|(name, rest)| (name, rest.split(',').next().unwrap()))
        .collect();
    // But `evalsha`, what the script itself calls; what is refused is not written.
    let expected =
        [("evalsha", "50"), ("hmget", "50"), ("hset", "30"), ("pexpireat", "30"), ("time", "50")];
    let ours = ["config|resetstat", "info"];
    let calls: Vec<_> = calls.into_iter().filter(|(name, _)| !ours.contains(name)).collect();
    assert_eq!(calls, expected);
}

#[tokio::test]
async fn nothing_is_kept_for_ever() {
    let server = ValkeyServer::start();
    let replica = Replica::connected(settings(&server.url())).await;
    for count in ["rate", "quota"] {
        let quota = (count == "quota").then_some(5);
        replica.decide(count, &limits(9, quota), true).await.unwrap();
        replica.decide(count, &limits(9, quota), false).await.unwrap();
    }
    let left = |count: &str| -> i64 {
        let key = format!("blueprint-decoder:{{{count}}}");
        server.command(&["PTTL", &key]).parse().unwrap()
    };
    let now: i64 = server.command(&["TIME"]).lines().next().unwrap().parse().unwrap();
    let midnight = (86_400 - now % 86_400) * 1000;

    let (rate, quota) = (left("rate"), left("quota"));

    // In whole milliseconds, rather later than too early.
    assert!((100_000..=120_001).contains(&rate), "{rate}");
    let hour = 3_600_000;
    assert!((midnight + hour - 10_000..=midnight + hour + 1000).contains(&quota), "{quota}");
    // The rehearsal at the start leaves nothing, and no other key is there.
    let is_gone = async || server.command(&["EXISTS", "blueprint-decoder:{}"]) == "0";
    assert!(comes_about(is_gone).await);
    let mut keys: Vec<String> = server.command(&["KEYS", "*"]).lines().map(str::to_owned).collect();
    keys.sort();
    assert_eq!(keys, ["blueprint-decoder:{quota}", "blueprint-decoder:{rate}"]);
}

#[tokio::test]
async fn the_decodes_of_many_are_told_in_order() {
    let server = ValkeyServer::start();
    let replica = Replica::connected(settings(&server.url())).await;
    let names: Vec<String> = (0..600).map(|number| format!("tenant-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for at in [0, 1, 1, 599] {
        replica.decide(names[at], &limits(9, Some(9)), true).await.unwrap();
    }
    replica.decide(names[2], &limits(9, Some(9)), false).await.unwrap();

    let decodes = replica.valkey.decodes_today(&names).await.unwrap();

    assert_eq!((decodes.len(), decodes.iter().sum::<u64>()), (600, 4));
    assert_eq!((&decodes[..3], decodes[599]), (&[1, 2, 0][..], 1));
    assert_eq!(replica.valkey.decodes_today(&[]).await, Ok(Vec::new()));
}

#[tokio::test]
async fn the_largest_numbers_are_counted_exactly() {
    let server = ValkeyServer::start();
    let replica = Replica::connected(settings(&server.url())).await;
    let made = replica.decide("a", &limits(u64::MAX, Some(u64::MAX)), true).await.unwrap();
    assert_eq!(made.rate.remaining, 75_059_992);
    assert_eq!(made.quota.map(|quota| quota.remaining), Some(u64::MAX - 1));

    // All of the burst but one is owed, as far from now as it can be.
    let key = "blueprint-decoder:{a}";
    let rest: u64 = server.command(&["HGET", key, "rest"]).parse().unwrap();
    let late = (rest + 75_059_991 * 60_000_000).to_string();
    server.command(&["HSET", key, "rest", &late]);
    let rulings = [
        replica.decide("a", &limits(u64::MAX, None), false).await.unwrap(),
        replica.decide("a", &limits(u64::MAX, None), false).await.unwrap(),
    ];

    assert_eq!(
        rulings.map(|made| made.decision),
        [LimitDecision::Allowed, LimitDecision::RateLimited]
    );
    let moved: u64 = server.command(&["HGET", key, "rest"]).parse().unwrap();
    assert_eq!(moved, late.parse::<u64>().unwrap() + 60_000_000);
}
