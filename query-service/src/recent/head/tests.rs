//! Tests of the head: which sources count, what is stale, and that reads without the lock see the same.

use proptest::prelude::*;

use super::*;

fn token(epoch: u64, revision: u64) -> Token {
    Token::new(Epoch(epoch), Revision(revision))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn staleness_counts_from_the_first_head_that_was_missed() {
    let start = Instant::now();
    let heads = HeadTracker::default();
    for (at, revision) in [(0, 10), (1, 20), (2, 30)] {
        heads.observe_head(token(1, revision), start + seconds(at));
    }
    let now = start + seconds(5);
    assert_eq!(heads.staleness(token(1, 30), now), Duration::ZERO);
    assert_eq!(heads.staleness(token(1, 29), now), seconds(3));
    assert_eq!(heads.staleness(token(1, 10), now), seconds(4));
    assert_eq!(heads.staleness(token(1, 0), now), seconds(5));
}

#[test]
fn what_was_committed_before_this_process_began_has_the_date_that_is_looked_up() {
    let now = Instant::now();
    let heads = HeadTracker::default();
    // A read model may be the first source.
    heads.observe_read_model(token(1, 10), now);
    heads.observe_head(token(1, 30), now);
    assert!(heads.lacks_age(token(1, 10), now) && heads.lacks_age(token(1, 29), now));
    assert!(!heads.lacks_age(token(1, 30), now));
    heads.observe_age(token(1, 30), seconds(10), now);
    assert!(!heads.lacks_age(token(1, 29), now));
    assert_eq!(heads.staleness(token(1, 29), now), seconds(10));
    heads.observe_age(token(1, 11), seconds(90), now);
    assert!(!heads.lacks_age(token(1, 10), now));
    assert_eq!(heads.staleness(token(1, 10), now), seconds(90));
    // It advances a little: until the next look-up, its age is estimated to be at least that.
    assert_eq!(heads.staleness(token(1, 12), now), seconds(90));
    heads.observe_age(token(1, 13), seconds(60), now);
    assert_eq!(heads.staleness(token(1, 12), now), seconds(60));
    assert_eq!(heads.staleness(token(1, 30), now), Duration::ZERO);
    // Later revisions need no look-up.
    heads.observe_head(token(1, 31), now + seconds(1));
    assert!(!heads.lacks_age(token(1, 30), now + seconds(1)));
    assert_eq!(heads.staleness(token(1, 30), now + seconds(3)), seconds(2));
}

#[test]
fn what_was_committed_while_nothing_was_heard_is_looked_up_too() {
    let start = Instant::now();
    let heads = HeadTracker::default();
    heads.observe_head(token(1, 10), start);
    heads.observe_head(token(1, 12), start + seconds(1));
    let later = start + seconds(100);
    heads.observe_head(token(1, 40), later);
    assert!(heads.lacks_age(token(1, 20), later));
    heads.observe_age(token(1, 21), seconds(50), later);
    assert_eq!(heads.staleness(token(1, 20), later), seconds(50));
}

#[test]
fn clocks_that_differ_put_nothing_out_of_order() {
    let now = Instant::now();
    let heads = HeadTracker::default();
    heads.observe_head(token(1, 30), now);
    heads.observe_age(token(1, 11), seconds(5), now);
    heads.observe_age(token(1, 21), seconds(8), now);
    heads.observe_age(token(1, 25), Duration::ZERO, now + seconds(1));
    let ages = [10, 20, 24].map(|revision| heads.staleness(token(1, revision), now));
    assert_eq!(ages, [seconds(8), seconds(8), Duration::ZERO]);
}

#[test]
fn what_is_as_old_as_can_be_told_is_not_looked_up_over_and_over() {
    let now = Instant::now();
    let heads = HeadTracker::default();
    heads.observe_head(token(1, 30), now);
    for revision in [11, 21] {
        heads.observe_age(token(1, revision), LONGEST_STALENESS * 2, now);
    }
    let later = now + seconds(1);
    heads.observe_head(token(1, 31), later);
    for revision in [10, 20] {
        assert!(!heads.lacks_age(token(1, revision), later));
        assert_eq!(heads.staleness(token(1, revision), later), LONGEST_STALENESS);
    }
}

#[test]
fn who_missed_a_head_long_ago_stays_stale_when_another_one_comes() {
    let start = Instant::now();
    let heads = HeadTracker::default();
    heads.observe_event(token(1, 10), start);
    let later = start + LONGEST_STALENESS * 2;
    heads.observe_event(token(1, 11), later);
    assert_eq!(heads.staleness(token(1, 9), later), LONGEST_STALENESS);
    assert_eq!(heads.staleness(token(1, 10), later + seconds(1)), seconds(1));
}

#[test]
fn nothing_is_stale_before_a_head_is_known() {
    assert_eq!(HeadTracker::default().staleness(token(1, 0), Instant::now()), Duration::ZERO);
}

fn heartbeat(head: Token) -> Heartbeat {
    Heartbeat { head, sent_at: prost_types::Timestamp::default() }
}

#[test]
fn a_new_epoch_makes_the_old_one_stale() {
    let now = Instant::now();
    let heads = HeadTracker::default();
    heads.observe_head(token(1, 900), now);
    heads.observe_head(token(2, 5), now);
    heads.observe_event(token(1, 901), now);
    heads.observe_heartbeat(heartbeat(token(1, 902)), now);
    assert_eq!((heads.head(), heads.last_heartbeat()), (Some(token(2, 5)), None));
    assert_eq!(heads.staleness(token(1, 900), now), LONGEST_STALENESS);
    assert_eq!(heads.staleness(token(2, 5), now), Duration::ZERO);
}

#[test]
fn lost_commits_take_the_head_back() {
    let start = Instant::now();
    let heads = HeadTracker::default();
    heads.observe_head(token(1, 100), start);
    heads.observe_event(token(1, 110), start);
    let now = start + seconds(60);
    heads.observe_head(token(1, 106), now);
    assert_eq!(heads.head(), Some(token(1, 110)), "a standby that lags, as far as is known");
    heads.went_back(token(1, 106), now);
    heads.observe_read_model(token(1, 110), now);
    assert_eq!(heads.head(), Some(token(1, 106)));
    assert_eq!(heads.staleness(token(1, 106), now), Duration::ZERO);
}

#[test]
fn a_read_model_never_changes_a_known_epoch() {
    let now = Instant::now();
    for hear in [
        (|heads: &HeadTracker, now| heads.observe_head(token(1, 50), now)) as fn(&HeadTracker, Instant),
        |heads, now| heads.observe_heartbeat(heartbeat(token(1, 50)), now),
    ] {
        let heads = HeadTracker::default();
        hear(&heads, now);
        heads.observe_read_model(token(9, 900), now);
        heads.observe_read_model(token(1, 60), now);
        assert_eq!(heads.head(), Some(token(1, 50)));
        assert!(!heads.same_history(token(9, 900), None));
        assert_eq!(heads.staleness(token(1, 50), now), Duration::ZERO);
    }
}

#[test]
fn postgres_overrides_what_read_models_and_heartbeats_said() {
    let now = Instant::now();
    let heads = HeadTracker::default();
    heads.observe_read_model(token(9, 900), now);
    assert_eq!(heads.head(), Some(token(9, 900)));
    heads.observe_heartbeat(heartbeat(token(2, 7)), now);
    assert_eq!(heads.head(), Some(token(2, 7)), "a heartbeat overrides a read model");
    heads.observe_head(token(1, 50), now);
    assert_eq!(heads.head(), Some(token(1, 50)));
    // Of another installation on the same NATS.
    heads.observe_heartbeat(heartbeat(token(2, 8)), now + SILENCE);
    assert_eq!(heads.head(), Some(token(1, 50)));
    heads.observe_heartbeat(heartbeat(token(2, 9)), now + SILENCE * 2);
    assert_eq!(heads.head(), Some(token(2, 9)), "PostgreSQL has been silent");
}

#[test]
fn another_database_is_another_history() {
    let heads = HeadTracker::default();
    let (ours, theirs) = (Uuid::from_u128(1), Uuid::from_u128(2));
    heads.observe_head(token(1, 50), Instant::now());
    assert!(heads.same_history(token(1, 40), Some(theirs)), "ours is not known yet");
    heads.observe_database(ours);
    assert!(heads.same_history(token(1, 40), Some(ours)));
    assert!(heads.same_history(token(1, 40), None));
    assert!(!heads.same_history(token(1, 40), Some(theirs)));
}

#[test]
fn many_heads_in_a_moment_take_little_room() {
    let start = Instant::now();
    let heads = HeadTracker::default();
    for revision in 0..100_000 {
        heads.observe_event(token(1, revision), start + Duration::from_micros(revision));
    }
    assert_eq!(heads.inner.lock().observed.len(), 1);
    assert_eq!(heads.head(), Some(token(1, 99_999)));
    // The newest of them counts as missing too.
    assert!(heads.staleness(token(1, 99_998), start + seconds(9)) >= seconds(8));
}

/// Observations of the head; the number is a revision.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Told(u64),
    Advanced(u64),
    Heartbeat(u64),
    Hint(u64),
    Dated(u64, u64),
    WentBack(u64),
    NewEpoch(u64),
}

fn happens() -> impl Strategy<Value = Happens> {
    use Happens::{Advanced, Dated, Heartbeat, Hint, NewEpoch, Told, WentBack};
    prop_oneof![
        (0u64..40).prop_map(Told),
        (0u64..40).prop_map(Advanced),
        (0u64..40).prop_map(Heartbeat),
        (0u64..40).prop_map(Hint),
        (0u64..40, 0u64..700).prop_map(|(revision, age)| Dated(revision, age)),
        (0u64..40).prop_map(WentBack),
        (0u64..40).prop_map(NewEpoch),
    ]
}

proptest! {
    #[test]
    fn reads_without_the_lock_see_the_same(
        steps in prop::collection::vec((happens(), 0u64..1_500), 0..30),
        later in 0u64..3_000,
    ) {
        let heads = HeadTracker::default();
        let (mut now, mut epoch) = (Instant::now(), 1);
        for (step, pause) in steps {
            now += Duration::from_millis(pause);
            match step {
                Happens::Told(revision) => heads.observe_head(token(epoch, revision), now),
                Happens::Advanced(revision) => heads.observe_event(token(epoch, revision), now),
                Happens::Heartbeat(revision) => heads.observe_heartbeat(heartbeat(token(epoch, revision)), now),
                Happens::Hint(revision) => heads.observe_read_model(token(epoch, revision), now),
                Happens::Dated(revision, age) => heads.observe_age(token(epoch, revision), seconds(age), now),
                Happens::WentBack(revision) => heads.went_back(token(epoch, revision), now),
                Happens::NewEpoch(revision) => {
                    epoch += 1;
                    heads.observe_head(token(epoch, revision), now);
                }
            }
        }
        now += Duration::from_millis(later);
        let inner = heads.inner.lock();
        let exact: Vec<_> = (epoch.saturating_sub(1)..=epoch)
            .flat_map(|epoch| (0..40).map(move |revision| token(epoch, revision)))
            .map(|of| (of, inner.staleness(of, now), inner.lacks_age(of, now)))
            .collect();
        let head = inner.head;
        drop(inner);
        prop_assert_eq!(heads.head(), head);
        for (of, staleness, undated) in exact {
            prop_assert_eq!(heads.staleness(of, now), staleness, "{:?}", of);
            prop_assert_eq!(heads.lacks_age(of, now), undated, "{:?}", of);
            for limit in [Duration::ZERO, FRESH, seconds(1), seconds(60)] {
                prop_assert_eq!(heads.is_staler(of, limit, now), staleness > limit, "{:?}", of);
            }
        }
    }
}
