//! Guarded changes: lock the checkpoint, check it, then change.
//!
//! A plain read takes no lock, so two projectors would both pass a check that came first. So the first statement writes
//! to the checkpoint, which takes its lock until the commit; the second checks that the checkpoint is ours and at our
//! revision. If the guard refuses ([`Error::Gone`], [`Error::Lost`], [`Error::Moved`]), nothing was changed.

use event_log::LogPosition;
use neo4rs::{Query, Txn, query};
use proto::Revision;
use service_kit::trace::{Database, Parent, Span, db};
use uuid::Uuid;

use super::checkpoint::{Cursor, READ, checkpoint, named, new_generation};
use super::cypher;
use super::error::Error;
use super::exchange::{AsyncBody, Replica, one_row};
use super::message::Changes;
use super::node::{event_text, lock};
use crate::edge::Kind;

/// Changes of the checkpoint by the second statement.
const ADVANCE: &str =
    "c.revision = $to, c.event_id = $event_id, c.partial_revision = null, c.partial_event_id = null";

/// Names the event that is applied in part, in the transaction of that part: the next session must neither publish the
/// checkpoint's revision as the whole content, nor apply another event in its place.
const PART: &str = "c.partial_revision = $to, c.partial_event_id = $event_id";

const PUBLISH: &str = "c.visible = $from, c.target = $target, c.repairs_visible = c.repairs";

const STAY: &str = "c.sweep_stage = $stage, c.sweep_source = $source, c.sweep_target = $target, \
    c.sweep_rows = $rows, c.complete = $complete";

/// Precedes [`STAY`] in the transaction of a repair.
const REPAIR: &str = "c.repairs = $repairs, ";

/// The second statement: changes the checkpoint if it is ours and at our revision.
fn second(changes: &str) -> Query {
    named(&format!(
        "MATCH (c:Checkpoint {{name: $name}}) WHERE c.owner = $owner AND c.epoch = $epoch AND c.revision = $from \
         SET {changes} RETURN c.revision AS revision"
    ))
}

/// The guard, and the changes behind it.
struct Guarded {
    owner: Uuid,
    at: LogPosition,
    second: Query,
    then: Vec<Query>,
}

impl AsyncBody<()> for Guarded {
    async fn run(self, tx: &mut Txn) -> Result<(), Error> {
        lock(tx).await?;
        let guard = self
            .second
            .param("owner", self.owner.to_string())
            .param("epoch", self.at.epoch.as_i64())
            .param("from", self.at.revision.as_i64());
        if one_row(tx, guard).await?.is_none() {
            return Err(refusal(tx, self.owner, self.at).await?);
        }
        for statement in self.then {
            tx.run(statement).await?;
        }
        Ok(())
    }
}

async fn refusal(tx: &mut Txn, owner: Uuid, at: LogPosition) -> Result<Error, Error> {
    let Some(row) = one_row(tx, named(READ)).await? else { return Ok(Error::Gone) };
    // Before the rest is read: whatever the checkpoint contains, another owner ends this process.
    if row.get::<Option<String>>("owner")?.as_deref() != Some(owner.to_string().as_str()) {
        return Ok(Error::Lost { by: row.get("owner_name")? });
    }
    Ok(Error::Moved { expected: at.revision, found: checkpoint(&row)?.position.revision })
}

impl Replica {
    async fn guarded(
        &self,
        at: LogPosition,
        second: Query,
        then: Vec<Query>,
        mut span: Span,
    ) -> Result<(), Error> {
        // Two statements of the guard.
        span.set("db.operation.batch.size", 2 + then.len() as u64);
        span.finish(self.transaction(Guarded { owner: self.owner, at, second, then }).await)
    }

    /// Applies a batch, or what is left of it after its parts: the changes and the checkpoint's new revision, or
    /// nothing.
    pub async fn advance(
        &self,
        from: LogPosition,
        to: LogPosition,
        changes: &Changes,
        parent: &Parent,
    ) -> Result<(), Error> {
        let second = at_event(second(ADVANCE), to);
        let span = db(Database::Neo4j, "batch.apply", parent);
        self.guarded(from, second, changes.statements(), span).await
    }

    /// Applies a part of the event `of`. The checkpoint stays at `from` and names the event. The caller has published
    /// `of` as the target before, and applies the last part with [`Self::advance`].
    pub async fn apply_part(
        &self,
        from: LogPosition,
        of: LogPosition,
        changes: &Changes,
        parent: &Parent,
    ) -> Result<(), Error> {
        let second = at_event(second(PART), of);
        let span = db(Database::Neo4j, "batch.apply_part", parent);
        self.guarded(from, second, changes.statements(), span).await
    }

    /// Publishes that readers see everything up to `at`, and nothing beyond `target`.
    /// A repair that was committed before becomes a generation that readers can load from.
    pub async fn publish(&self, at: LogPosition, target: Revision, parent: &Parent) -> Result<(), Error> {
        let second = second(PUBLISH).param("target", target.as_i64());
        self.guarded(at, second, Vec::new(), db(Database::Neo4j, "checkpoint.publish", parent)).await
    }

    /// Repairs edges without moving the checkpoint's revision, and writes the progress of the sweep.
    pub async fn repair(&self, at: LogPosition, cursor: &Cursor, changes: &Changes) -> Result<(), Error> {
        let second = if changes.edges() > 0 { repair(cursor) } else { stay("", cursor) };
        self.guarded(at, second, changes.statements(), Span::default()).await
    }

    /// Removes edges whose values do not name their ends, and sets the edges that PostgreSQL has in their places.
    pub async fn replace_misplaced(
        &self,
        at: LogPosition,
        cursor: &Cursor,
        kind: Kind,
        ids: Vec<String>,
        changes: &Changes,
    ) -> Result<(), Error> {
        let remove = query(&cypher::of(kind, cypher::DELETE_MISPLACED)).param("ids", ids);
        let then = std::iter::once(remove).chain(changes.statements()).collect();
        self.guarded(at, repair(cursor), then, Span::default()).await
    }
}

fn repair(cursor: &Cursor) -> Query {
    new_generation(stay(REPAIR, cursor))
}

fn stay(before: &str, cursor: &Cursor) -> Query {
    second(&format!("{before}{STAY}"))
        .param("stage", cursor.stage)
        .param("source", cursor.source.as_str())
        .param("target", cursor.target.as_str())
        .param("rows", cursor.rows)
        .param("complete", cursor.complete)
}

fn at_event(query: Query, event: LogPosition) -> Query {
    query.param("to", event.revision.as_i64()).param("event_id", event_text(event.event_id))
}
