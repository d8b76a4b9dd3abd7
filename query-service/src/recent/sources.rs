//! The sources of the log.

use std::sync::Arc;

use event_log::{KnownHead, Monitor, SourceState};
use proto::Token;

use super::HeadTracker;
use crate::metrics::{FEED_OUTBOX, FEED_REBUILDS};

/// The log and its head. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Sources {
    pub log: event_log::Sources,
    pub heads: Arc<HeadTracker>,
}

impl KnownHead for HeadTracker {
    fn head(&self) -> Option<Token> {
        self.head()
    }
}

/// Metrics of the log's readers.
#[derive(Debug)]
pub struct FeedMonitor;

impl Monitor for FeedMonitor {
    /// Answers contain their revision, whichever source the events come from.
    fn state(&self, _: SourceState<'_>) {}

    fn stream_ended(&self, cause: &'static str) {
        metrics::counter!(FEED_REBUILDS, "cause" => cause).increment(1);
    }

    fn outbox_event(&self) {
        metrics::counter!(FEED_OUTBOX).increment(1);
    }
}

#[cfg(test)]
impl Sources {
    /// NATS is down, and PostgreSQL is at this address.
    pub(crate) async fn unreachable(postgres: &str) -> Self {
        use service_kit::{config::Env, nats, postgres as database};

        let mut env = Env::from_pairs([
            ("NATS_URL", "nats://127.0.0.1:1"),
            ("DATABASE_URL", &format!("postgres://nobody@{postgres}/nothing")),
        ]);
        let settings = (nats::Settings::read(&mut env), database::Settings::read(&mut env));
        let (stream, database) = env.finish(settings).expect("valid settings");
        let pool = service_kit::postgres::connect_lazy(&database, "test").expect("nothing is opened yet");
        let heads = Arc::new(HeadTracker::default());
        let log = event_log::Sources {
            nats: nats::connect(&stream, "test", "test-0").await.expect("no server is needed yet"),
            outbox: event_log::Outbox::new(pool),
            head: Arc::clone(&heads) as _,
            monitor: Arc::new(FeedMonitor),
            consumer: "test",
            batch: 1,
            buffer_bytes: 1,
        };
        Self { log, heads }
    }
}
