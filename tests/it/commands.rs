//! Each command by examples: its effects, and the rules that reject it.

mod access;
mod batches;
mod gathering;
mod importing;
mod limits;
mod pairs;
mod preconditions;
mod privacy;
mod repeats;
mod replacing;

use proto::event::{EdgeKey, EdgeKind, EdgeOp, Event};
use proto::{Revision, Token, UserId};
use tests::truth::{self, Edge};
use tests::{Act, Ask, Commands, Endpoints, asks};

/// The shared pipeline and a client of it.
struct Shared {
    endpoints: Endpoints,
    commands: Commands,
}

impl Shared {
    fn new() -> Self {
        let endpoints = Endpoints::shared();
        Self { commands: endpoints.commands(), endpoints }
    }

    /// Executes a command without extras.
    async fn done(&self, act: Act, actor: UserId, other: UserId) -> asks::Answer {
        Ask::new(act, actor, other).done(&self.commands).await
    }

    /// Executes a command, which must change something.
    async fn changed(&self, act: Act, actor: UserId, other: UserId) -> asks::Answer {
        let answer = self.done(act, actor, other).await;
        assert!(answer.changed, "{act:?} of {other} by {actor}: {answer:?}");
        answer
    }

    /// The event of a token.
    async fn event(&self, written_at: &str) -> Event {
        let token = Token::parse(written_at).expect("a token");
        truth::event(&self.endpoints, token.revision).await
    }

    /// One edge in PostgreSQL.
    async fn edge(&self, kind: EdgeKind, source: UserId, target: UserId) -> Option<Edge> {
        let pool = self.endpoints.postgres().await;
        let snapshot = truth::postgres::snapshot_of(&pool, &[source]).await;
        snapshot.edges.get(&EdgeKey { kind, source, target }).copied()
    }
}

/// The edges of an event with their changes.
fn changes(event: &Event) -> Vec<(EdgeOp, EdgeKind, UserId, UserId)> {
    let mut changes: Vec<_> =
        event.edges.iter().map(|c| (c.op, c.key.kind, c.key.source, c.key.target)).collect();
    changes.sort_by_key(|(_, kind, source, target)| (*kind, *source, *target));
    changes
}

/// The revision of a token.
pub fn revision(written_at: &str) -> Revision {
    Token::parse(written_at).expect("a token").revision
}
