//! Groups the edges of the older system's database into chunks.

use proto::UserId;
use proto::error::{Reason, reason_name};
use proto::graph::v1::EdgeKind;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use uuid::Uuid;

use crate::commands::import::chunks::{self, Chunk};
use crate::commands::import::progress::{Done, TablePlace};
use crate::commands::import::row::{Refused, Row};
use crate::dates;
use crate::ids::Id;
use crate::older::{DatedEdge, Snapshot};

/// Reads the edges of a kind that are not imported yet. The task returns the snapshot at the end.
pub fn read(
    source: Snapshot,
    kind: EdgeKind,
    done: &Done,
) -> (mpsc::Receiver<anyhow::Result<Chunk>>, JoinHandle<Snapshot>) {
    let (sender, receiver) = mpsc::channel(chunks::READ_AHEAD);
    let builder = ChunkBuilder::after(kind, done);
    (receiver, tokio::spawn(send(source, kind, done.mark, builder, sender)))
}

async fn send(
    mut source: Snapshot,
    kind: EdgeKind,
    after: Option<TablePlace>,
    mut builder: ChunkBuilder,
    sender: mpsc::Sender<anyhow::Result<Chunk>>,
) -> Snapshot {
    let mut rows = source.by_date(kind, after.map(|place| (place.date(), place.source, place.target)));
    while let Some(row) = rows.next().await {
        let Some(chunk) = row.map(|row| builder.add(row)).transpose() else { continue };
        let failed = chunk.is_err();
        if sender.send(chunk).await.is_err() || failed {
            drop(rows);
            return source;
        }
    }
    drop(rows);
    if let Some(rest) = builder.rest() {
        // An import that has ended does not need it.
        let _ = sender.send(Ok(rest)).await;
    }
    source
}

/// Groups edges into chunks.
struct ChunkBuilder {
    size: u64,
    line: u64,
    chunk: Chunk,
}

impl ChunkBuilder {
    fn after(kind: EdgeKind, done: &Done) -> Self {
        let chunk = Chunk { number: done.chunks, ..Chunk::default() };
        Self { size: chunks::size(kind) as u64, line: done.lines, chunk }
    }

    /// Adds an edge. Returns a chunk when it is full.
    fn add(&mut self, (source, target, created_at, deleted, unknown): DatedEdge) -> Option<Chunk> {
        self.line += 1;
        self.chunk.mark = Some(TablePlace::new(created_at, source, target));
        if deleted {
            self.chunk.left_out += 1;
        } else {
            self.chunk.unknown += u64::from(unknown);
            match edge(self.line, source, target, created_at) {
                Ok(row) => self.chunk.edges.push(row),
                Err(refused) => self.chunk.refused.push(refused),
            }
        }
        if self.chunk.lines() < self.size { None } else { self.rest() }
    }

    /// The last, incomplete chunk.
    fn rest(&mut self) -> Option<Chunk> {
        let next = Chunk { number: self.chunk.number + 1, ..Chunk::default() };
        let chunk = std::mem::replace(&mut self.chunk, next);
        (chunk.lines() > 0).then_some(chunk)
    }
}

fn edge(line: u64, source: Uuid, target: Uuid, created_at: Option<OffsetDateTime>) -> Result<Row, Refused> {
    let refused = |reason, message: &str| {
        let date = created_at.map(dates::format).unwrap_or_default();
        Refused {
            line,
            reason: reason_name(reason),
            message: message.to_owned(),
            row: format!("{source}\t{target}\t{date}"),
        }
    };
    let nil = |column| refused(Reason::NilUuid, column);
    let source = UserId::new(source).ok_or_else(|| nil("source_id must not be the nil UUID"))?;
    let target = UserId::new(target).ok_or_else(|| nil("target_id must not be the nil UUID"))?;
    if source == target {
        return Err(refused(Reason::SelfEdge, "target_id must be another account than source_id"));
    }
    Ok(Row {
        line,
        source: Id::from(source),
        target: Id::from(target),
        created_at,
        expires_at: None,
        without_zone: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: u128, deleted: bool) -> DatedEdge {
        (Uuid::from_u128(n), Uuid::from_u128(1_000_000), None, deleted, n == 7)
    }

    #[test]
    fn chunks_continue_after_the_last_run() {
        let done = Done { chunks: 4, lines: 1_200, ..Done::default() };
        let mut builder = ChunkBuilder::after(EdgeKind::Block, &done);
        let mut chunks: Vec<_> = (1..=301).filter_map(|n| builder.add(row(n, n == 5))).collect();
        chunks.extend(builder.rest());
        let sizes: Vec<_> = chunks.iter().map(|c| (c.number, c.edges.len(), c.left_out, c.unknown)).collect();
        assert_eq!(sizes, [(4, 299, 1, 1), (5, 1, 0, 0)]);
        assert_eq!(chunks[0].edges[0].line, 1_201);
        assert_eq!(
            chunks[0].mark,
            Some(TablePlace::new(None, Uuid::from_u128(300), Uuid::from_u128(1_000_000)))
        );
        assert_eq!(builder.rest(), None);
    }

    #[test]
    fn invalid_edges_are_refused() {
        let (a, nil) = (Uuid::from_u128(1), Uuid::nil());
        let reason = |source, target| edge(1, source, target, None).expect_err("refused").reason;
        assert_eq!(reason(a, a), "SELF_EDGE");
        assert_eq!(reason(nil, a), "NIL_UUID");
        assert_eq!(reason(a, nil), "NIL_UUID");
        let shown = edge(1, a, a, Some(OffsetDateTime::UNIX_EPOCH)).expect_err("refused").row;
        assert_eq!(shown, format!("{a}\t{a}\t1970-01-01T00:00:00Z"));
    }
}
