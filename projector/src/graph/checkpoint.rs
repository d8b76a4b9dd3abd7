//! The checkpoint: how far the read model is, and whose it is.
//!
//! Three numbers: `revision` changes in the transaction of each batch; `visible` and `target` change in a small
//! transaction between two batches, because Neo4j makes a commit visible to readers piece by piece. Readers take
//! `visible` before the data and `target` after it. An event that is too large for one transaction is applied in parts:
//! between them `partial_revision` names it, and `target` must not be lower.
//!
//! The generation of repairs: a random number. `repairs` changes in the transaction of each repair, and
//! `repairs_visible` follows in the next publication. So if a reader finds the same number in `repairs_visible` before
//! the data and in `repairs` after it, no repair was under way. A program that keeps answers drops them when the number
//! changes. `repairs_owner` names the writer that maintains both: an older version does not.
//!
//! Nothing is written to a server that holds data of another program ([`Content::Foreign`]).

use event_log::LogPosition;
use neo4rs::{Query, Row, Txn, query};
use proto::{Epoch, Revision};
use service_kit::{ids, neo4j::run_detached};
use uuid::Uuid;

use super::error::Error;
use super::exchange::{AsyncBody, EXCHANGE_TIMEOUT, Replica, one_row};
use super::node::{NAME, event_text, lock};

pub(super) const READ: &str = "MATCH (c:Checkpoint {name: $name}) RETURN c.epoch AS epoch, c.revision AS revision, \
    c.event_id AS event_id, c.owner AS owner, coalesce(c.owner_name, '') AS owner_name, \
    coalesce(c.complete, false) AS complete, coalesce(c.sweep_stage, 0) AS stage, \
    coalesce(c.sweep_source, '') AS source, coalesce(c.sweep_target, '') AS target, \
    coalesce(c.sweep_rows, 0) AS rows, coalesce(c.kept, true) AS kept, c.database_id AS database_id, \
    c.partial_revision AS partial_revision, c.partial_event_id AS partial_event_id";

const ANYTHING: &str = "MATCH (n) RETURN 1 AS found LIMIT 1";

const NOT_ONLINE: &str = "SHOW INDEXES YIELD state WHERE state <> 'ONLINE' RETURN count(*) AS n";

const CREATE: &str = "MERGE (c:Checkpoint {name: $name}) ON CREATE SET c.epoch = $epoch, c.revision = $revision, \
    c.event_id = $event_id, c.visible = $revision, c.target = $revision, c.complete = false, c.kept = false, \
    c.owner = $owner, c.owner_name = $owner_name, c.sweep_stage = 0, c.sweep_source = '', c.sweep_target = '', \
    c.sweep_rows = 0, c.database_id = $database_id, c.repairs = $repairs, c.repairs_visible = $repairs, \
    c.repairs_owner = $owner";

/// The previous owner may have died between a batch and the publication after it. Its last commit is complete: it held
/// the lock that we hold. If it died between two parts of an event, `target` stays at that event.
const TAKE: &str = "MATCH (c:Checkpoint {name: $name}) \
    SET c.owner = $owner, c.owner_name = $owner_name, c.visible = c.revision, \
    c.target = CASE WHEN c.partial_revision > c.revision THEN c.partial_revision ELSE c.revision END, \
    c.repairs = $repairs, c.repairs_visible = $repairs, c.repairs_owner = $owner";

/// Precedes the reset: a reader might see the new numbers before it sees that the read model is incomplete.
const DISOWN: &str = "MATCH (c:Checkpoint {name: $name}) WHERE c.owner = $owner SET c.complete = false";

const RESET: &str = "MATCH (c:Checkpoint {name: $name}) WHERE c.owner = $owner \
    SET c.epoch = $epoch, c.revision = $revision, c.event_id = $event_id, c.visible = $revision, \
    c.target = $revision, c.complete = false, c.kept = true, c.sweep_stage = 0, c.sweep_source = '', \
    c.sweep_target = '', c.sweep_rows = 0, c.database_id = $database_id, \
    c.partial_revision = null, c.partial_event_id = null, c.repairs = $repairs, c.repairs_visible = $repairs, \
    c.repairs_owner = $owner";

/// The read model was restored from a backup: its contents may differ from those of the same generation before.
const RENEW: &str = "MATCH (c:Checkpoint {name: $name}) WHERE c.owner = $owner \
    SET c.repairs = $repairs, c.repairs_visible = $repairs, c.repairs_owner = $owner";

/// For read models of older versions, which do not name their database.
const NAME_DATABASE: &str = "MATCH (c:Checkpoint {name: $name}) WHERE c.owner = $owner \
    SET c.database_id = $database_id";

/// Progress of the sweep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The stage of the pass: one for each kind of edge, then the walk.
    pub stage: i64,
    /// Source of the last edge compared, or the last account walked; empty at the start.
    pub source: String,
    /// Target of the last edge compared; empty at the start.
    pub target: String,
    /// Edges compared in this pass.
    pub rows: i64,
    /// A pass was completed since the read model was built.
    pub complete: bool,
}

/// The properties of the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last event that is applied.
    pub position: LogPosition,
    /// The event after `position` that is applied in part.
    pub partial: Option<LogPosition>,
    /// The `database_id` that it was built from; `None` if an older version wrote it.
    pub database: Option<Uuid>,
    /// Random id of the process that may write.
    pub owner: Option<String>,
    /// `PROJECTOR_NAME` of that process.
    pub owner_name: String,
    /// Progress of the sweep.
    pub cursor: Cursor,
    /// The checkpoint was reset, and the edges from before were kept.
    pub kept: bool,
}

/// Contents of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A read model.
    Ours(Box<Checkpoint>),
    /// No node at all.
    Nothing,
    /// Nodes, but no checkpoint.
    Foreign,
}

pub(super) fn named(text: &str) -> Query {
    query(text).param("name", NAME)
}

/// Sets the number of a new generation of repairs.
pub(super) fn new_generation(query: Query) -> Query {
    // Any 63 bits: only equality counts.
    query.param("repairs", (ids::random().as_u64_pair().0 >> 1).cast_signed())
}

pub(super) fn checkpoint(row: &Row) -> Result<Checkpoint, Error> {
    let epoch = Epoch::from_i64(row.get("epoch")?);
    let database: Option<String> = row.get("database_id")?;
    let position = |revision: i64, event_id: Option<String>| LogPosition {
        epoch,
        revision: Revision::from_i64(revision),
        // An id that does not parse becomes one that matches no event; the check of the chain fails then.
        event_id: event_id.map(|text| text.parse().unwrap_or_default()),
    };
    let revision: i64 = row.get("revision")?;
    let partial: Option<i64> = row.get("partial_revision")?;
    // A projector of an earlier version advances and leaves the name of the event.
    let partial = match partial.filter(|partial| *partial > revision) {
        Some(partial) => Some(position(partial, row.get("partial_event_id")?)),
        None => None,
    };
    Ok(Checkpoint {
        position: position(revision, row.get("event_id")?),
        partial,
        // An id that does not parse matches no database.
        database: database.map(|text| text.parse().unwrap_or_default()),
        owner: row.get("owner")?,
        owner_name: row.get("owner_name")?,
        cursor: Cursor {
            stage: row.get("stage")?,
            source: row.get("source")?,
            target: row.get("target")?,
            rows: row.get("rows")?,
            complete: row.get("complete")?,
        },
        kept: row.get("kept")?,
    })
}

struct Look;

impl AsyncBody<Content> for Look {
    async fn run(self, tx: &mut Txn) -> Result<Content, Error> {
        if let Some(row) = one_row(tx, named(READ)).await? {
            return Ok(Content::Ours(Box::new(checkpoint(&row)?)));
        }
        let anything = one_row(tx, query(ANYTHING)).await?;
        Ok(if anything.is_some() { Content::Foreign } else { Content::Nothing })
    }
}

/// Locks the checkpoint, changes it, and reads it.
struct LockedChange {
    before: Option<Query>,
    after: Option<Query>,
}

impl AsyncBody<Checkpoint> for LockedChange {
    async fn run(self, tx: &mut Txn) -> Result<Checkpoint, Error> {
        if let Some(create) = self.before {
            tx.run(create).await?;
        }
        lock(tx).await?;
        if let Some(change) = self.after {
            tx.run(change).await?;
        }
        let row = one_row(tx, named(READ)).await?.ok_or(Error::Gone)?;
        checkpoint(&row)
    }
}

impl Replica {
    /// Reads the contents of the server, without a lock.
    pub async fn look(&self) -> Result<Content, Error> {
        self.transaction(Look).await
    }

    /// Creates missing constraints and indexes. Fails if an index is not online yet.
    pub async fn prepare_schema(&self) -> Result<(), Error> {
        let graph = self.graph.clone();
        run_detached(EXCHANGE_TIMEOUT, async move { migrations::migrate_neo4j(&graph).await }).await?;
        let row = self.read(query(NOT_ONLINE)).await?;
        match row.map(|row| row.get("n")).transpose()?.unwrap_or(0) {
            0 => Ok(()),
            n => Err(Error::IndexesNotOnline(n)),
        }
    }

    /// Creates the checkpoint at `head`, or returns the one that another projector has created.
    pub async fn create(&self, head: LogPosition, database: Uuid) -> Result<Checkpoint, Error> {
        let create = self.started(CREATE, head, database);
        self.transaction(LockedChange { before: Some(create), after: None }).await
    }

    /// Becomes the one writer. The previous one fails at its next change.
    pub async fn take_over(&self) -> Result<Checkpoint, Error> {
        self.change(Some(new_generation(self.owned(TAKE)))).await
    }

    /// Begins a new generation of repairs.
    pub async fn renew(&self) -> Result<Checkpoint, Error> {
        self.mine(self.change(Some(new_generation(self.owned(RENEW)))).await?)
    }

    /// Reads the checkpoint behind its lock, so that an exchange of ours whose outcome is unknown has ended.
    pub async fn settle(&self) -> Result<Checkpoint, Error> {
        self.mine(self.change(None).await?)
    }

    /// Sets the checkpoint to `head` and keeps the edges. The read model is not complete then, and the sweep starts
    /// over.
    pub async fn reset(&self, head: LogPosition, database: Uuid) -> Result<Checkpoint, Error> {
        self.change(Some(self.owned(DISOWN))).await?;
        let reset = self.started(RESET, head, database);
        self.mine(self.change(Some(reset)).await?)
    }

    /// Writes the database that the read model belongs to.
    pub async fn name_database(&self, database: Uuid) -> Result<Checkpoint, Error> {
        let change = self.owned(NAME_DATABASE).param("database_id", database.to_string());
        self.mine(self.change(Some(change)).await?)
    }

    async fn change(&self, change: Option<Query>) -> Result<Checkpoint, Error> {
        self.transaction(LockedChange { before: None, after: change }).await
    }

    /// True if the checkpoint is ours.
    pub fn owns(&self, checkpoint: &Checkpoint) -> bool {
        checkpoint.owner.as_deref() == Some(self.owner.to_string().as_str())
    }

    fn mine(&self, found: Checkpoint) -> Result<Checkpoint, Error> {
        if self.owns(&found) { Ok(found) } else { Err(Error::Lost { by: found.owner_name }) }
    }

    fn owned(&self, text: &str) -> Query {
        named(text).param("owner", self.owner.to_string()).param("owner_name", self.name.as_str())
    }

    /// A statement that begins at `head`.
    fn started(&self, text: &str, head: LogPosition, database: Uuid) -> Query {
        new_generation(self.owned(text))
            .param("epoch", head.epoch.as_i64())
            .param("revision", head.revision.as_i64())
            .param("event_id", event_text(head.event_id))
            .param("database_id", database.to_string())
    }
}
