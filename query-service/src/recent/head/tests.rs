//! Tests of the head: what counts, what is stale, and that reads without the lock see the same.

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
    let horizon = Horizon::default();
    for (at, revision) in [(0, 10), (1, 20), (2, 30)] {
        horizon.told(token(1, revision), start + seconds(at));
    }
    let now = start + seconds(5);
    assert_eq!(horizon.staleness(token(1, 30), now), Duration::ZERO);
    assert_eq!(horizon.staleness(token(1, 29), now), seconds(3));
    assert_eq!(horizon.staleness(token(1, 10), now), seconds(4));
    assert_eq!(horizon.staleness(token(1, 0), now), seconds(5));
}

#[test]
fn what_was_committed_before_this_process_began_has_the_date_that_is_looked_up() {
    let now = Instant::now();
    let horizon = Horizon::default();
    // A read model may be the first that is heard of.
    horizon.hint(token(1, 10), now);
    horizon.told(token(1, 30), now);
    assert!(horizon.undated(token(1, 10), now) && horizon.undated(token(1, 29), now));
    assert!(!horizon.undated(token(1, 30), now));
    horizon.dated(token(1, 30), seconds(10), now);
    assert!(!horizon.undated(token(1, 29), now));
    assert_eq!(horizon.staleness(token(1, 29), now), seconds(10));
    horizon.dated(token(1, 11), seconds(90), now);
    assert!(!horizon.undated(token(1, 10), now));
    assert_eq!(horizon.staleness(token(1, 10), now), seconds(90));
    // It moves on a little: at least as old is the guess until that is looked up too.
    assert_eq!(horizon.staleness(token(1, 12), now), seconds(90));
    horizon.dated(token(1, 13), seconds(60), now);
    assert_eq!(horizon.staleness(token(1, 12), now), seconds(60));
    assert_eq!(horizon.staleness(token(1, 30), now), Duration::ZERO);
    // What comes from now on needs no look-up.
    horizon.told(token(1, 31), now + seconds(1));
    assert!(!horizon.undated(token(1, 30), now + seconds(1)));
    assert_eq!(horizon.staleness(token(1, 30), now + seconds(3)), seconds(2));
}

#[test]
fn what_was_committed_while_nothing_was_heard_is_looked_up_too() {
    let start = Instant::now();
    let horizon = Horizon::default();
    horizon.told(token(1, 10), start);
    horizon.told(token(1, 12), start + seconds(1));
    let later = start + seconds(100);
    horizon.told(token(1, 40), later);
    assert!(horizon.undated(token(1, 20), later));
    horizon.dated(token(1, 21), seconds(50), later);
    assert_eq!(horizon.staleness(token(1, 20), later), seconds(50));
}

#[test]
fn clocks_that_differ_put_nothing_out_of_order() {
    let now = Instant::now();
    let horizon = Horizon::default();
    horizon.told(token(1, 30), now);
    horizon.dated(token(1, 11), seconds(5), now);
    horizon.dated(token(1, 21), seconds(8), now);
    horizon.dated(token(1, 25), Duration::ZERO, now + seconds(1));
    let ages = [10, 20, 24].map(|revision| horizon.staleness(token(1, revision), now));
    assert_eq!(ages, [seconds(8), seconds(8), Duration::ZERO]);
}

#[test]
fn what_is_as_old_as_can_be_told_is_not_looked_up_over_and_over() {
    let now = Instant::now();
    let horizon = Horizon::default();
    horizon.told(token(1, 30), now);
    for revision in [11, 21] {
        horizon.dated(token(1, revision), LONGEST_STALENESS * 2, now);
    }
    let later = now + seconds(1);
    horizon.told(token(1, 31), later);
    for revision in [10, 20] {
        assert!(!horizon.undated(token(1, revision), later));
        assert_eq!(horizon.staleness(token(1, revision), later), LONGEST_STALENESS);
    }
}

#[test]
fn who_missed_a_head_long_ago_stays_stale_when_another_one_comes() {
    let start = Instant::now();
    let horizon = Horizon::default();
    horizon.advanced(token(1, 10), start);
    let later = start + LONGEST_STALENESS * 2;
    horizon.advanced(token(1, 11), later);
    assert_eq!(horizon.staleness(token(1, 9), later), LONGEST_STALENESS);
    assert_eq!(horizon.staleness(token(1, 10), later + seconds(1)), seconds(1));
}

#[test]
fn nothing_is_stale_before_a_head_is_known() {
    assert_eq!(Horizon::default().staleness(token(1, 0), Instant::now()), Duration::ZERO);
}

fn heartbeat(head: Token) -> Heartbeat {
    Heartbeat { head, sent_at: prost_types::Timestamp::default() }
}

#[test]
fn a_new_epoch_makes_the_old_one_stale() {
    let now = Instant::now();
    let horizon = Horizon::default();
    horizon.told(token(1, 900), now);
    horizon.told(token(2, 5), now);
    horizon.advanced(token(1, 901), now);
    horizon.heartbeat(heartbeat(token(1, 902)), now);
    assert_eq!((horizon.head(), horizon.last_heartbeat()), (Some(token(2, 5)), None));
    assert_eq!(horizon.staleness(token(1, 900), now), LONGEST_STALENESS);
    assert_eq!(horizon.staleness(token(2, 5), now), Duration::ZERO);
}

#[test]
fn lost_commits_take_the_head_back() {
    let start = Instant::now();
    let horizon = Horizon::default();
    horizon.told(token(1, 100), start);
    horizon.advanced(token(1, 110), start);
    let now = start + seconds(60);
    horizon.told(token(1, 106), now);
    assert_eq!(horizon.head(), Some(token(1, 110)), "a standby that lags, as far as is known");
    horizon.went_back(token(1, 106), now);
    horizon.hint(token(1, 110), now);
    assert_eq!(horizon.head(), Some(token(1, 106)));
    assert_eq!(horizon.staleness(token(1, 106), now), Duration::ZERO);
}

#[test]
fn a_read_model_never_changes_a_known_epoch() {
    let now = Instant::now();
    for hear in [
        (|horizon: &Horizon, now| horizon.told(token(1, 50), now)) as fn(&Horizon, Instant),
        |horizon, now| horizon.heartbeat(heartbeat(token(1, 50)), now),
    ] {
        let horizon = Horizon::default();
        hear(&horizon, now);
        horizon.hint(token(9, 900), now);
        horizon.hint(token(1, 60), now);
        assert_eq!(horizon.head(), Some(token(1, 50)));
        assert!(!horizon.same_history(token(9, 900), None));
        assert_eq!(horizon.staleness(token(1, 50), now), Duration::ZERO);
    }
}

#[test]
fn postgres_overrides_what_read_models_and_heartbeats_said() {
    let now = Instant::now();
    let horizon = Horizon::default();
    horizon.hint(token(9, 900), now);
    assert_eq!(horizon.head(), Some(token(9, 900)));
    horizon.heartbeat(heartbeat(token(2, 7)), now);
    assert_eq!(horizon.head(), Some(token(2, 7)), "a heartbeat overrides a read model");
    horizon.told(token(1, 50), now);
    assert_eq!(horizon.head(), Some(token(1, 50)));
    // Of another installation on the same NATS.
    horizon.heartbeat(heartbeat(token(2, 8)), now + SILENCE);
    assert_eq!(horizon.head(), Some(token(1, 50)));
    horizon.heartbeat(heartbeat(token(2, 9)), now + SILENCE * 2);
    assert_eq!(horizon.head(), Some(token(2, 9)), "PostgreSQL has been silent");
}

#[test]
fn another_database_is_another_history() {
    let horizon = Horizon::default();
    let (ours, theirs) = (Uuid::from_u128(1), Uuid::from_u128(2));
    horizon.told(token(1, 50), Instant::now());
    assert!(horizon.same_history(token(1, 40), Some(theirs)), "ours is not known yet");
    horizon.told_database(ours);
    assert!(horizon.same_history(token(1, 40), Some(ours)));
    assert!(horizon.same_history(token(1, 40), None));
    assert!(!horizon.same_history(token(1, 40), Some(theirs)));
}

#[test]
fn many_heads_in_a_moment_take_little_room() {
    let start = Instant::now();
    let horizon = Horizon::default();
    for revision in 0..100_000 {
        horizon.advanced(token(1, revision), start + Duration::from_micros(revision));
    }
    assert_eq!(horizon.inner.lock().heard.len(), 1);
    assert_eq!(horizon.head(), Some(token(1, 99_999)));
    // The newest of them counts as missed too.
    assert!(horizon.staleness(token(1, 99_998), start + seconds(9)) >= seconds(8));
}

/// What may happen to the head; the number is a revision.
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
        let horizon = Horizon::default();
        let (mut now, mut epoch) = (Instant::now(), 1);
        for (step, pause) in steps {
            now += Duration::from_millis(pause);
            match step {
                Happens::Told(revision) => horizon.told(token(epoch, revision), now),
                Happens::Advanced(revision) => horizon.advanced(token(epoch, revision), now),
                Happens::Heartbeat(revision) => horizon.heartbeat(heartbeat(token(epoch, revision)), now),
                Happens::Hint(revision) => horizon.hint(token(epoch, revision), now),
                Happens::Dated(revision, age) => horizon.dated(token(epoch, revision), seconds(age), now),
                Happens::WentBack(revision) => horizon.went_back(token(epoch, revision), now),
                Happens::NewEpoch(revision) => {
                    epoch += 1;
                    horizon.told(token(epoch, revision), now);
                }
            }
        }
        now += Duration::from_millis(later);
        let inner = horizon.inner.lock();
        let exact: Vec<_> = (epoch.saturating_sub(1)..=epoch)
            .flat_map(|epoch| (0..40).map(move |revision| token(epoch, revision)))
            .map(|of| (of, inner.staleness(of, now), inner.undated(of, now)))
            .collect();
        let head = inner.head;
        drop(inner);
        prop_assert_eq!(horizon.head(), head);
        for (of, staleness, undated) in exact {
            prop_assert_eq!(horizon.staleness(of, now), staleness, "{:?}", of);
            prop_assert_eq!(horizon.undated(of, now), undated, "{:?}", of);
            for limit in [Duration::ZERO, FRESH, seconds(1), seconds(60)] {
                prop_assert_eq!(horizon.is_staler(of, limit, now), staleness > limit, "{:?}", of);
            }
        }
    }
}
