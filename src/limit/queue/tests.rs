//! Who has a place, who waits, and who is turned away.

use super::*;
use std::net::Ipv4Addr;

const MS: Duration = Duration::from_millis(1);

fn queue(places: usize, waiting: usize) -> Queue<&'static str> {
    Queue::new(Bounds { places, waiting, max_wait: 500 * MS, leaves_some: true })
}

fn caller(number: u32) -> Caller {
    Caller::V4(Ipv4Addr::from_bits(number))
}

/// One of a caller's goes; who is next.
fn leave(
    queue: &mut Queue<&'static str>,
    number: u32,
    now: Instant,
) -> Option<(&'static str, Instant)> {
    queue.leave(caller(number), false, || now).pop().map(|next| (next.waiter, next.since))
}

/// Who is next, and so on until nobody is: each leaves in their turn.
fn all_leave(queue: &mut Queue<&'static str>, first: u32, now: Instant) -> Vec<&'static str> {
    let mut leaves = caller(first);
    let next = || {
        let next = queue.leave(leaves, false, || now).pop()?;
        leaves = next.caller;
        Some(next.waiter)
    };
    std::iter::from_fn(next).collect()
}

/// Waits, having displaced nobody.
fn waits(ticket: u64) -> Arrival<&'static str> {
    Arrival::Waits { ticket, displaced: None }
}

#[test]
fn who_finds_no_place_waits_and_has_the_next_one() {
    let (mut queue, now) = (queue(1, 2), Instant::now());

    assert_eq!(queue.arrive(caller(1), || now, || "a"), Arrival::Admitted);
    assert_eq!(queue.arrive(caller(1), || now, || "b"), waits(1));
    assert_eq!(queue.arrive(caller(1), || now + MS, || "c"), waits(2));
    assert_eq!(queue.arrive(caller(1), || now, || "d"), Arrival::Refused);
    assert_eq!((queue.taken(), queue.waiting()), (1, 2));
    assert_eq!(leave(&mut queue, 1, now), Some(("b", now)));
    assert_eq!(leave(&mut queue, 1, now + MS), Some(("c", now + MS)));
    assert_eq!(leave(&mut queue, 1, now + MS), None);
    assert_eq!((queue.taken(), queue.waiting()), (0, 0));
}

#[test]
fn callers_take_turns() {
    let (mut queue, now) = (queue(1, 9), Instant::now());
    queue.arrive(caller(0), || now, || "");
    for (number, name) in [(1, "a1"), (1, "a2"), (1, "a3"), (2, "b1"), (3, "c1"), (2, "b2")] {
        queue.arrive(caller(number), || now, || name);
    }

    assert_eq!(all_leave(&mut queue, 0, now), ["a1", "b1", "c1", "a2", "b2", "a3"]);
}

#[test]
fn who_gives_up_is_passed_over() {
    let (mut queue, now) = (queue(1, 9), Instant::now());
    queue.arrive(caller(0), || now, || "");
    for (number, name) in [(1, "a1"), (2, "b1"), (1, "a2")] {
        queue.arrive(caller(number), || now, || name);
    }

    assert!(queue.give_up(caller(2), 2, now));
    assert!(!queue.give_up(caller(2), 2, now));
    assert!(!queue.give_up(caller(1), 2, now));
    assert!(queue.give_up(caller(1), 1, now));

    assert_eq!(queue.waiting(), 1);
    assert_eq!(all_leave(&mut queue, 0, now), ["a2"]);
}

#[test]
fn who_has_the_longest_line_makes_room() {
    let (mut queue, now) = (queue(1, 3), Instant::now());
    for name in ["", "a1", "a2", "a3"] {
        queue.arrive(caller(1), || now, || name);
    }

    let displaces = |name| Arrival::Waits { ticket: 4, displaced: Some(name) };
    assert_eq!(queue.arrive(caller(2), || now, || "b1"), displaces("a3"));
    // Two against one: to go on would only change who is refused.
    assert_eq!(queue.arrive(caller(2), || now, || "b2"), Arrival::Refused);
    assert_eq!(queue.waiting(), 3);
    assert_eq!(leave(&mut queue, 1, now), Some(("a1", now)));
    assert_eq!(leave(&mut queue, 1, now), Some(("b1", now)));
}

#[test]
fn nobody_begins_to_wait_who_would_wait_too_long() {
    let (mut queue, start) = (queue(1, 100), Instant::now());
    queue.arrive(caller(1), || start, || "");
    // A place each 100 ms, for long enough to know.
    for at in 1..=10 {
        queue.arrive(caller(1), || start + 100 * MS * at, || "x");
        leave(&mut queue, 1, start + 100 * MS * at);
    }
    let now = start + 1000 * MS;

    for ticket in 11..=15 {
        assert_eq!(queue.arrive(caller(1), || now, || "x"), waits(ticket));
    }
    assert_eq!(queue.arrive(caller(1), || now, || "x"), Arrival::Refused);
    // Who has no line yet is served in the first turn.
    assert_eq!(queue.arrive(caller(2), || now, || "y"), waits(16));
}

#[test]
fn a_standing_queue_is_kept_short_until_it_is_empty() {
    let (mut queue, start) = (queue(1, 100), Instant::now());
    queue.arrive(caller(1), || start, || "");
    // A place each 10 ms, and always 20 that wait: 200 ms, which is late.
    for _ in 0..20 {
        queue.arrive(caller(1), || start, || "x");
    }
    let mut now = start;
    for _ in 0..60 {
        now += 10 * MS;
        leave(&mut queue, 1, now);
        queue.arrive(caller(1), || now, || "x");
    }
    assert_eq!(queue.arrive(caller(1), || now, || "x"), Arrival::Refused);

    while queue.waiting() > 4 {
        now += 10 * MS;
        leave(&mut queue, 1, now);
    }
    assert!(matches!(queue.arrive(caller(1), || now, || "x"), Arrival::Waits { .. }));
    assert_eq!(queue.arrive(caller(1), || now, || "x"), Arrival::Refused);
    // To be served within 50 ms does not end it, but that nobody waits any longer.
    for _ in 0..5 {
        now += 10 * MS;
        leave(&mut queue, 1, now);
        queue.arrive(caller(1), || now, || "x");
    }
    assert_eq!(queue.arrive(caller(1), || now, || "x"), Arrival::Refused);
    while queue.waiting() > 0 {
        leave(&mut queue, 1, now);
    }
    for _ in 0..10 {
        assert!(matches!(queue.arrive(caller(1), || now, || "x"), Arrival::Waits { .. }));
    }
}

#[test]
fn who_comes_back_has_a_place_and_whoever_leaves_then_is_not_followed() {
    let (mut queue, now) = (queue(1, 9), Instant::now());
    queue.arrive(caller(1), || now, || "");
    queue.arrive(caller(1), || now, || "a");

    assert_eq!(leave(&mut queue, 1, now), Some(("a", now)));
    assert!(queue.come_back(caller(1)));
    queue.arrive(caller(1), || now, || "b");
    assert_eq!(queue.taken(), 2);
    assert_eq!(leave(&mut queue, 1, now), None);
    let next = queue.leave(caller(1), true, || now).pop().map(|next| next.waiter);
    assert_eq!(next, Some("b"));
    assert_eq!(leave(&mut queue, 1, now), None);
    assert_eq!(queue.taken(), 0);
}

#[test]
fn what_the_machine_cannot_bear_is_not_given_out_for_a_while() {
    let (mut queue, now) = (queue(100, 9), Instant::now());
    let arrive = |queue: &mut Queue<_>| queue.arrive(caller(1), || now, || "a");
    for _ in 0..20 {
        arrive(&mut queue);
    }

    queue.narrow(4, now);
    // 10 of 20: ten leave and nobody follows.
    arrive(&mut queue);
    for _ in 0..10 {
        assert_eq!(leave(&mut queue, 1, now), None);
    }
    assert_eq!(leave(&mut queue, 1, now), Some(("a", now)));
    assert_eq!((queue.taken(), queue.waiting(), queue.is_wide()), (10, 0, false));

    // 5, and then the least, while 10 have a place.
    queue.narrow(4, now);
    queue.narrow(4, now);
    arrive(&mut queue);
    arrive(&mut queue);
    assert_eq!(queue.widen(now), []);
    while queue.taken() > 5 {
        leave(&mut queue, 1, now);
    }
    assert_eq!(queue.widen(now).len(), 1);
    assert_eq!(queue.widen(now).len(), 1);
    for _ in 0..60 {
        queue.widen(now);
    }
    assert!(queue.is_wide());
    assert_eq!(queue.taken(), 7);
}

#[test]
fn time_with_free_places_is_not_counted_after_a_narrow_one() {
    let (mut queue, now) = (queue(2, 9), Instant::now());
    let arrive = |queue: &mut Queue<_>, number, now| queue.arrive(caller(number), || now, || "");
    arrive(&mut queue, 1, now);
    queue.narrow(1, now);
    queue.widen(now + MS);
    let later = now + Duration::from_secs(3600);

    assert_eq!(arrive(&mut queue, 2, later), Arrival::Admitted);
    assert_eq!(arrive(&mut queue, 3, later), waits(1));
    // Of an hour without a leave, nobody else would be let in.
    assert_eq!(arrive(&mut queue, 3, later), waits(2));
}

#[test]
fn no_caller_has_all_places() {
    let check = |places: usize, expected: usize| {
        let (mut queue, now) = (queue(places, 1000), Instant::now());
        for _ in 0..2 * places {
            queue.arrive(caller(1), || now, || "a");
        }
        assert_eq!(queue.taken(), expected, "{places}");
        // Someone else has one at once, while others wait.
        let other = queue.arrive(caller(2), || now, || "b");
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
fn who_has_many_makes_room_for_who_has_few_as_they_leave() {
    let (mut queue, now) = (queue(64, 1000), Instant::now());
    let arrive = |queue: &mut Queue<_>, number| queue.arrive(caller(number), || now, || "x");
    for _ in 0..1000 {
        arrive(&mut queue, 1);
    }
    let mut others = 0;
    while arrive(&mut queue, 2) == Arrival::Admitted {
        others += 1;
    }
    assert_eq!(others, 7);

    // As one of each goes, both come to have as many.
    let held = |queue: &Queue<_>, number| queue.lines[&caller(number)].held;
    for _ in 0..200 {
        arrive(&mut queue, 2);
        arrive(&mut queue, 2);
        queue.leave(caller(1), false, || now);
        queue.leave(caller(2), false, || now);
    }
    let (first, second) = (held(&queue, 1), held(&queue, 2));
    assert!(first.abs_diff(second) <= 4, "{first} {second}");
    assert!(queue.taken() < 64, "{}", queue.taken());
    // And a third finds one.
    assert_eq!(arrive(&mut queue, 3), Arrival::Admitted);
}

#[test]
fn who_may_have_no_more_is_in_nobodys_way() {
    let (mut queue, now) = (queue(4, 9), Instant::now());
    for name in ["a1", "a2", "a3", "a4"] {
        queue.arrive(caller(1), || now, || name);
    }
    assert_eq!((queue.taken(), queue.waiting()), (3, 1));
    assert_eq!(queue.arrive(caller(2), || now, || "b1"), Arrival::Admitted);
    queue.arrive(caller(2), || now, || "b2");

    // The first in turn is one that may have no more.
    assert_eq!(leave(&mut queue, 2, now), Some(("b2", now)));
    assert_eq!(leave(&mut queue, 2, now), None);
    assert_eq!(leave(&mut queue, 1, now), Some(("a4", now)));
    for left in [2, 1, 0] {
        assert_eq!(leave(&mut queue, 1, now), None);
        assert_eq!(queue.taken(), left);
    }
    assert!(queue.lines.is_empty());
}

#[test]
fn who_has_none_does_not_wait_until_those_are_through_who_have_too_many() {
    let (mut queue, now) = (queue(64, 9), Instant::now());
    let arrive = |queue: &mut Queue<_>, number| queue.arrive(caller(number), || now, || "x");
    for _ in 0..40 {
        arrive(&mut queue, 1);
    }
    queue.narrow(4, now);
    while queue.allowed() > 4 {
        queue.narrow(4, now);
    }

    // Three more callers, as there are four places to give out; then nobody new either.
    for number in 2..=4 {
        assert_eq!(arrive(&mut queue, number), Arrival::Admitted);
        assert!(matches!(arrive(&mut queue, number), Arrival::Waits { .. }));
    }
    assert!(matches!(arrive(&mut queue, 5), Arrival::Waits { .. }));
    // Who has had theirs has the next one at once, the first one not yet.
    let next = queue.leave(caller(3), false, || now).pop().map(|next| next.caller);
    assert_eq!(next, Some(caller(3)));
    assert_eq!(queue.leave(caller(1), false, || now), []);
}

#[test]
fn who_gives_up_leaves_no_time_behind_that_counts_against_others() {
    let (mut queue, now) = (queue(9, 9), Instant::now());
    let arrive = |queue: &mut Queue<_>, number, now| queue.arrive(caller(number), || now, || "x");
    for _ in 0..8 {
        assert_eq!(arrive(&mut queue, 1, now), Arrival::Admitted);
    }
    assert_eq!(arrive(&mut queue, 1, now), waits(1));
    assert!(queue.give_up(caller(1), 1, now));
    let later = now + Duration::from_secs(3600);
    for _ in 0..4 {
        queue.leave(caller(1), false, || later);
    }

    for number in 2..=6 {
        assert_eq!(arrive(&mut queue, number, later), Arrival::Admitted);
    }
    // Of an hour in which one waited, nobody would be let wait.
    assert_eq!(arrive(&mut queue, 7, later), waits(2));
    assert_eq!(arrive(&mut queue, 8, later), waits(3));
}

#[test]
fn what_is_had_again_beyond_a_share_is_not_at_the_expense_of_others() {
    let (mut queue, now) = (queue(9, 9), Instant::now());
    let arrive = |queue: &mut Queue<_>, number| queue.arrive(caller(number), || now, || "x");
    // Lent, so that there is always room for the next one.
    for _ in 0..20 {
        assert_eq!(arrive(&mut queue, 1), Arrival::Admitted);
        queue.leave(caller(1), false, || now);
    }
    let extra = (0..20).filter(|_| queue.come_back(caller(1))).count();

    assert_eq!((extra, queue.taken()), (12, 20));
    assert_eq!(arrive(&mut queue, 2), Arrival::Admitted);
    assert!(matches!(arrive(&mut queue, 1), Arrival::Waits { .. }));
    for _ in 0..12 {
        queue.leave(caller(1), true, || now);
    }
    assert_eq!((queue.taken(), queue.extra), (9, 0));
}

#[test]
fn as_many_go_on_as_may() {
    let (mut queue, now) = (queue(18, 99), Instant::now());
    let arrive = |queue: &mut Queue<_>, number| queue.arrive(caller(number), || now, || "x");
    for number in [1, 2].repeat(30) {
        arrive(&mut queue, number);
    }
    // Whoever waits may have none at that moment, whichever leaves.
    for number in [1, 2, 2, 1, 1, 1, 2].repeat(3) {
        queue.leave(caller(number), false, || now);
        for number in [1, 2] {
            let held = queue.lines[&caller(number)].held;
            let is_waiting = queue.waiting_of(caller(number)) > 0;
            let may_have_one = queue.given().leaves_one_for(held, queue.bounds);
            assert!(!(is_waiting && may_have_one), "{number}: {held} of {}", queue.taken());
        }
    }
}
