//! Who gets a permit, who waits, and who is refused.

use super::*;
use std::net::Ipv4Addr;

const MS: Duration = Duration::from_millis(1);

fn queue(permits: usize, queue: usize) -> Queue<&'static str> {
    let max_wait = Some(500 * MS);
    Queue::new(PoolLimits { permits, queue, max_wait, keeps_reserve: true })
}

fn key(number: u32) -> QuotaKey {
    QuotaKey::V4(Ipv4Addr::from_bits(number))
}

/// Releases a permit of a caller; returns the waiter that gets it.
fn release(
    queue: &mut Queue<&'static str>,
    number: u32,
    now: Instant,
) -> Option<(&'static str, Instant)> {
    queue.release(key(number), false, || now).pop().map(|next| (next.waiter, next.since))
}

/// Releases permits one after the other until no waiter is left; returns the waiters in order.
fn release_all(queue: &mut Queue<&'static str>, first: u32, now: Instant) -> Vec<&'static str> {
    let mut releases = key(first);
    let next = || {
        let next = queue.release(releases, false, || now).pop()?;
        releases = next.key;
        Some(next.waiter)
    };
    std::iter::from_fn(next).collect()
}

/// Queued, with no waiter displaced.
fn queued(ticket: u64) -> Arrival<&'static str> {
    Arrival::Queued { ticket, displaced: None }
}

#[test]
fn a_request_without_a_permit_waits_for_the_next_one() {
    let (mut queue, now) = (queue(1, 2), Instant::now());

    assert_eq!(queue.arrive(key(1), || now, || "a"), Arrival::Admitted);
    assert_eq!(queue.arrive(key(1), || now, || "b"), queued(1));
    assert_eq!(queue.arrive(key(1), || now + MS, || "c"), queued(2));
    assert_eq!(queue.arrive(key(1), || now, || "d"), Arrival::Refused);
    assert_eq!((queue.in_use(), queue.waiting()), (1, 2));
    assert_eq!(release(&mut queue, 1, now), Some(("b", now)));
    assert_eq!(release(&mut queue, 1, now + MS), Some(("c", now + MS)));
    assert_eq!(release(&mut queue, 1, now + MS), None);
    assert_eq!((queue.in_use(), queue.waiting()), (0, 0));
}

#[test]
fn callers_take_turns() {
    let (mut queue, now) = (queue(1, 9), Instant::now());
    queue.arrive(key(0), || now, || "");
    for (number, name) in [(1, "a1"), (1, "a2"), (1, "a3"), (2, "b1"), (3, "c1"), (2, "b2")] {
        queue.arrive(key(number), || now, || name);
    }

    assert_eq!(release_all(&mut queue, 0, now), ["a1", "b1", "c1", "a2", "b2", "a3"]);
}

#[test]
fn a_waiter_that_gives_up_is_skipped() {
    let (mut queue, now) = (queue(1, 9), Instant::now());
    queue.arrive(key(0), || now, || "");
    for (number, name) in [(1, "a1"), (2, "b1"), (1, "a2")] {
        queue.arrive(key(number), || now, || name);
    }

    assert!(queue.give_up(key(2), 2, now));
    assert!(!queue.give_up(key(2), 2, now));
    assert!(!queue.give_up(key(1), 2, now));
    assert!(queue.give_up(key(1), 1, now));

    assert_eq!(queue.waiting(), 1);
    assert_eq!(release_all(&mut queue, 0, now), ["a2"]);
}

#[test]
fn the_longest_line_makes_room() {
    let (mut queue, now) = (queue(1, 3), Instant::now());
    for name in ["", "a1", "a2", "a3"] {
        queue.arrive(key(1), || now, || name);
    }

    let displaces = |name| Arrival::Queued { ticket: 4, displaced: Some(name) };
    assert_eq!(queue.arrive(key(2), || now, || "b1"), displaces("a3"));
    // Two against one: displacing would only change which request is refused.
    assert_eq!(queue.arrive(key(2), || now, || "b2"), Arrival::Refused);
    assert_eq!(queue.waiting(), 3);
    assert_eq!(release(&mut queue, 1, now), Some(("a1", now)));
    assert_eq!(release(&mut queue, 1, now), Some(("b1", now)));
}

#[test]
fn a_request_that_would_wait_too_long_is_refused() {
    let (mut queue, start) = (queue(1, 100), Instant::now());
    queue.arrive(key(1), || start, || "");
    // One release each 100 ms, for long enough to have an estimate.
    for at in 1..=10 {
        queue.arrive(key(1), || start + 100 * MS * at, || "x");
        release(&mut queue, 1, start + 100 * MS * at);
    }
    let now = start + 1000 * MS;

    for ticket in 11..=15 {
        assert_eq!(queue.arrive(key(1), || now, || "x"), queued(ticket));
    }
    assert_eq!(queue.arrive(key(1), || now, || "x"), Arrival::Refused);
    // A caller without waiters is served in the first turn.
    assert_eq!(queue.arrive(key(2), || now, || "y"), queued(16));
}

#[test]
fn a_standing_queue_is_kept_short_until_it_is_empty() {
    let (mut queue, start) = (queue(1, 100), Instant::now());
    queue.arrive(key(1), || start, || "");
    // One release each 10 ms with 20 waiters: they wait for 200 ms, which is late.
    for _ in 0..20 {
        queue.arrive(key(1), || start, || "x");
    }
    let mut now = start;
    for _ in 0..60 {
        now += 10 * MS;
        release(&mut queue, 1, now);
        queue.arrive(key(1), || now, || "x");
    }
    assert_eq!(queue.arrive(key(1), || now, || "x"), Arrival::Refused);

    while queue.waiting() > 4 {
        now += 10 * MS;
        release(&mut queue, 1, now);
    }
    assert!(matches!(queue.arrive(key(1), || now, || "x"), Arrival::Queued { .. }));
    assert_eq!(queue.arrive(key(1), || now, || "x"), Arrival::Refused);
    // Waits below 50 ms do not end it; an empty line does.
    for _ in 0..5 {
        now += 10 * MS;
        release(&mut queue, 1, now);
        queue.arrive(key(1), || now, || "x");
    }
    assert_eq!(queue.arrive(key(1), || now, || "x"), Arrival::Refused);
    while queue.waiting() > 0 {
        release(&mut queue, 1, now);
    }
    for _ in 0..10 {
        assert!(matches!(queue.arrive(key(1), || now, || "x"), Arrival::Queued { .. }));
    }
}

#[test]
fn a_reclaimed_permit_is_given_at_once_and_the_next_release_is_not_passed_on() {
    let (mut queue, now) = (queue(1, 9), Instant::now());
    queue.arrive(key(1), || now, || "");
    queue.arrive(key(1), || now, || "a");

    assert_eq!(release(&mut queue, 1, now), Some(("a", now)));
    assert!(queue.reclaim(key(1)));
    queue.arrive(key(1), || now, || "b");
    assert_eq!(queue.in_use(), 2);
    assert_eq!(release(&mut queue, 1, now), None);
    let next = queue.release(key(1), true, || now).pop().map(|next| next.waiter);
    assert_eq!(next, Some("b"));
    assert_eq!(release(&mut queue, 1, now), None);
    assert_eq!(queue.in_use(), 0);
}

#[test]
fn a_lowered_limit_is_reached_by_releases_and_raised_in_steps() {
    let (mut queue, now) = (queue(100, 9), Instant::now());
    let arrive = |queue: &mut Queue<_>| queue.arrive(key(1), || now, || "a");
    for _ in 0..20 {
        arrive(&mut queue);
    }

    queue.lower_limit(4, now);
    // The limit is 10 of 20: ten releases are not passed on.
    arrive(&mut queue);
    for _ in 0..10 {
        assert_eq!(release(&mut queue, 1, now), None);
    }
    assert_eq!(release(&mut queue, 1, now), Some(("a", now)));
    assert_eq!((queue.in_use(), queue.waiting(), queue.is_at_full_limit()), (10, 0, false));

    // The limit is 5, then the least, while 10 permits are in use.
    queue.lower_limit(4, now);
    queue.lower_limit(4, now);
    arrive(&mut queue);
    arrive(&mut queue);
    assert_eq!(queue.raise_limit(now), []);
    while queue.in_use() > 5 {
        release(&mut queue, 1, now);
    }
    assert_eq!(queue.raise_limit(now).len(), 1);
    assert_eq!(queue.raise_limit(now).len(), 1);
    for _ in 0..60 {
        queue.raise_limit(now);
    }
    assert!(queue.is_at_full_limit());
    assert_eq!(queue.in_use(), 7);
}

#[test]
fn time_with_free_permits_is_not_counted_after_a_lowered_limit() {
    let (mut queue, now) = (queue(2, 9), Instant::now());
    let arrive = |queue: &mut Queue<_>, number, now| queue.arrive(key(number), || now, || "");
    arrive(&mut queue, 1, now);
    queue.lower_limit(1, now);
    queue.raise_limit(now + MS);
    let later = now + Duration::from_secs(3600);

    assert_eq!(arrive(&mut queue, 2, later), Arrival::Admitted);
    assert_eq!(arrive(&mut queue, 3, later), queued(1));
    // After an hour without a release, this one would be refused.
    assert_eq!(arrive(&mut queue, 3, later), queued(2));
}

#[test]
fn no_caller_gets_all_permits() {
    let check = |places: usize, expected: usize| {
        let (mut queue, now) = (queue(places, 1000), Instant::now());
        for _ in 0..2 * places {
            queue.arrive(key(1), || now, || "a");
        }
        assert_eq!(queue.in_use(), expected, "{places}");
        // Another caller gets one at once while the first one waits.
        let other = queue.arrive(key(2), || now, || "b");
        assert_eq!(other == Arrival::Admitted, places > 1, "{places}");
    };
    check(1, 1);
    check(2, 1);
    check(9, 8);
    check(64, 56);
    check(256, 227);
    check(512, 455);
}

#[test]
fn a_caller_with_many_permits_gives_way_to_one_with_few_as_it_releases() {
    let (mut queue, now) = (queue(64, 1000), Instant::now());
    let arrive = |queue: &mut Queue<_>, number| queue.arrive(key(number), || now, || "x");
    for _ in 0..1000 {
        arrive(&mut queue, 1);
    }
    let mut others = 0;
    while arrive(&mut queue, 2) == Arrival::Admitted {
        others += 1;
    }
    assert_eq!(others, 7);

    // As both release, they end up with as many each.
    let held = |queue: &Queue<_>, number| queue.lines[&key(number)].held;
    for _ in 0..200 {
        arrive(&mut queue, 2);
        arrive(&mut queue, 2);
        queue.release(key(1), false, || now);
        queue.release(key(2), false, || now);
    }
    let (first, second) = (held(&queue, 1), held(&queue, 2));
    assert!(first.abs_diff(second) <= 4, "{first} {second}");
    assert!(queue.in_use() < 64, "{}", queue.in_use());
    // A third caller finds a free one.
    assert_eq!(arrive(&mut queue, 3), Arrival::Admitted);
}

#[test]
fn a_caller_at_its_share_does_not_block_others() {
    let (mut queue, now) = (queue(4, 9), Instant::now());
    for name in ["a1", "a2", "a3", "a4"] {
        queue.arrive(key(1), || now, || name);
    }
    assert_eq!((queue.in_use(), queue.waiting()), (3, 1));
    assert_eq!(queue.arrive(key(2), || now, || "b1"), Arrival::Admitted);
    queue.arrive(key(2), || now, || "b2");

    // The caller that is next in turn is at its share.
    assert_eq!(release(&mut queue, 2, now), Some(("b2", now)));
    assert_eq!(release(&mut queue, 2, now), None);
    assert_eq!(release(&mut queue, 1, now), Some(("a4", now)));
    for left in [2, 1, 0] {
        assert_eq!(release(&mut queue, 1, now), None);
        assert_eq!(queue.in_use(), left);
    }
    assert!(queue.lines.is_empty());
}

#[test]
fn a_new_caller_does_not_wait_for_callers_above_a_lowered_limit() {
    let (mut queue, now) = (queue(64, 9), Instant::now());
    let arrive = |queue: &mut Queue<_>, number| queue.arrive(key(number), || now, || "x");
    for _ in 0..40 {
        arrive(&mut queue, 1);
    }
    queue.lower_limit(4, now);
    while queue.limit() > 4 {
        queue.lower_limit(4, now);
    }

    // Three more callers get one, as the limit is four; a fifth does not.
    for number in 2..=4 {
        assert_eq!(arrive(&mut queue, number), Arrival::Admitted);
        assert!(matches!(arrive(&mut queue, number), Arrival::Queued { .. }));
    }
    assert!(matches!(arrive(&mut queue, 5), Arrival::Queued { .. }));
    // A caller without a permit gets the next one, the first caller does not.
    let next = queue.release(key(3), false, || now).pop().map(|next| next.key);
    assert_eq!(next, Some(key(3)));
    assert_eq!(queue.release(key(1), false, || now), []);
}

#[test]
fn a_waiter_that_gives_up_does_not_lower_the_release_rate() {
    let (mut queue, now) = (queue(9, 9), Instant::now());
    let arrive = |queue: &mut Queue<_>, number, now| queue.arrive(key(number), || now, || "x");
    for _ in 0..8 {
        assert_eq!(arrive(&mut queue, 1, now), Arrival::Admitted);
    }
    assert_eq!(arrive(&mut queue, 1, now), queued(1));
    assert!(queue.give_up(key(1), 1, now));
    let later = now + Duration::from_secs(3600);
    for _ in 0..4 {
        queue.release(key(1), false, || later);
    }

    for number in 2..=6 {
        assert_eq!(arrive(&mut queue, number, later), Arrival::Admitted);
    }
    // If that hour counted as full, these would be refused.
    assert_eq!(arrive(&mut queue, 7, later), queued(2));
    assert_eq!(arrive(&mut queue, 8, later), queued(3));
}

#[test]
fn a_permit_reclaimed_beyond_a_share_does_not_count_against_others() {
    let (mut queue, now) = (queue(9, 9), Instant::now());
    let arrive = |queue: &mut Queue<_>, number| queue.arrive(key(number), || now, || "x");
    // Lent, so that there is always a free one.
    for _ in 0..20 {
        assert_eq!(arrive(&mut queue, 1), Arrival::Admitted);
        queue.release(key(1), false, || now);
    }
    let extra = (0..20).filter(|_| queue.reclaim(key(1))).count();

    assert_eq!((extra, queue.in_use()), (12, 20));
    assert_eq!(arrive(&mut queue, 2), Arrival::Admitted);
    assert!(matches!(arrive(&mut queue, 1), Arrival::Queued { .. }));
    for _ in 0..12 {
        queue.release(key(1), true, || now);
    }
    assert_eq!((queue.in_use(), queue.extra), (9, 0));
}

#[test]
fn every_waiter_that_may_have_a_permit_gets_one() {
    let (mut queue, now) = (queue(18, 99), Instant::now());
    let arrive = |queue: &mut Queue<_>, number| queue.arrive(key(number), || now, || "x");
    for number in [1, 2].repeat(30) {
        arrive(&mut queue, number);
    }
    // Whichever caller releases, no waiter that may have a permit is left waiting.
    for number in [1, 2, 2, 1, 1, 1, 2].repeat(3) {
        queue.release(key(number), false, || now);
        for number in [1, 2] {
            let held = queue.lines[&key(number)].held;
            let is_waiting = queue.waiting_of(key(number)) > 0;
            let may_have_one = queue.usage().allows_one_more(held, queue.limits);
            assert!(!(is_waiting && may_have_one), "{number}: {held} of {}", queue.in_use());
        }
    }
}
