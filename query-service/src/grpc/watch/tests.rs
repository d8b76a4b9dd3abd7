//! Tests of watches whose client does not take its messages.

use event_log::LoggedEvent;
use proto::Epoch;
use proto::event::Event as LogEvent;
use time::OffsetDateTime;
use uuid::Uuid;

use super::*;
use crate::recent::Limits;

const EVENT_BYTES: usize = 100 * 1024;

fn token(revision: u64) -> Token {
    Token::new(Epoch(1), Revision(revision))
}

fn arrival(revision: u64) -> LoggedEvent {
    let event = LogEvent {
        epoch: Epoch(1),
        revision: Revision(revision),
        event_id: Uuid::from_u128(u128::from(revision)),
        prev_id: None,
        committed_at: OffsetDateTime::UNIX_EPOCH,
        verb: Verb::Import,
        actor: None,
        edges: Vec::new(),
        accounts: Vec::new(),
        counts: Vec::new(),
    };
    LoggedEvent { event, payload: vec![0; EVENT_BYTES].into(), traceparent: None }
}

/// A watch from revision 0 of a ring that holds `held` events; its client takes nothing by itself.
async fn watch(held: usize) -> (Arc<Recent>, Taker, tokio::task::JoinHandle<(End, Token)>) {
    let recent = Arc::new(Recent::without_hot_set(Limits { events: held, bytes: usize::MAX }));
    recent.begin(token(0));
    let sources = Sources::unreachable("127.0.0.1:1").await;
    let readers = Arc::new(Semaphore::new(1));
    let cursor = EventCursor::after(token(0), Filter::default(), Arc::clone(&recent), sources, readers);
    let (queue, taker) = Queue::after(token(0));
    let task = tokio::spawn(async move {
        let mut sent = token(0);
        let end = run(cursor, &queue, &CancellationToken::new(), &mut sent).await;
        (end, sent)
    });
    (recent, taker, task)
}

#[tokio::test]
async fn a_watcher_behind_the_recent_events_is_cut_off() {
    let (recent, _taker, task) = watch(20).await;
    for revision in 1..=21 {
        assert!(recent.push(&arrival(revision)));
        // The watch must read the ring's events before they are replaced.
        tokio::task::yield_now().await;
    }
    let (end, sent) = task.await.expect("no panic");
    assert!(matches!(end, End::TooSlow), "{end:?}");
    assert_eq!(sent, token(2), "no more than two events fit the queue");
}

#[tokio::test]
async fn a_watcher_that_takes_its_messages_gets_all_of_them() {
    let (recent, mut taker, task) = watch(20).await;
    assert!(matches!(taker.next().await, Some(Item::Heartbeat(at)) if at == token(0)));
    for revision in 1..=100 {
        assert!(recent.push(&arrival(revision)));
        let taken = taker.next().await.expect("a message");
        assert!(matches!(taken, Item::Event(at, _) if at == token(revision)), "{taken:?}");
    }
    drop(taker);
    let (end, sent) = task.await.expect("no panic");
    assert!(matches!(end, End::Gone), "{end:?}");
    assert_eq!(sent, token(100));
}
