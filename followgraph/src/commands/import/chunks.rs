//! Chunks of lines, as they are sent. The same input gives the same chunks; resuming relies on it.

use proto::command::v1::{ImportEdge, ImportEdgesRequest, OnConflict};
use proto::graph::v1::EdgeKind;

use super::progress::TablePlace;
use super::reader::Lines;
use super::row::{Line, Refused, Row};

/// Chunks that are read ahead of the window.
pub const READ_AHEAD: usize = 16;

/// Lines per chunk. The service limits the edges of a chunk; for blocks, which also remove follows and requests, the
/// limit is lower.
pub fn size(kind: EdgeKind) -> usize {
    if kind == EdgeKind::Block { 300 } else { 1_000 }
}

/// Consecutive lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chunk {
    /// Number of the chunk, from 0.
    pub number: u64,
    pub edges: Vec<Row>,
    /// The lines that are not edges.
    pub refused: Vec<Refused>,
    /// Number of lines left out: edges of accounts that the older system has marked as deleted.
    pub left_out: u64,
    /// Number of edges of accounts that the older system does not know.
    pub unknown: u64,
    /// Its last edge, if the input is a table.
    pub mark: Option<TablePlace>,
}

impl Chunk {
    pub fn lines(&self) -> u64 {
        (self.edges.len() + self.refused.len()) as u64 + self.left_out
    }

    pub fn request(&self, kind: EdgeKind, on_conflict: OnConflict) -> ImportEdgesRequest {
        let edges = self.edges.iter().map(|row| ImportEdge {
            source_id: row.source.user().to_string(),
            target_id: row.target.user().to_string(),
            created_at: row.created_at.map(proto::timestamp::to_proto),
            expires_at: row.expires_at.map(proto::timestamp::to_proto),
        });
        ImportEdgesRequest {
            chunk: self.number,
            kind: kind.into(),
            on_conflict: on_conflict.into(),
            edges: edges.collect(),
        }
    }
}

/// Groups lines into chunks of `size` lines.
pub fn chunks(mut lines: Lines, size: usize) -> impl Iterator<Item = anyhow::Result<Chunk>> + Send {
    (0..).map_while(move |number| {
        let mut chunk = Chunk { number, ..Chunk::default() };
        for line in lines.by_ref().take(size) {
            match line {
                Ok(Line::Edge(row)) => chunk.edges.push(row),
                Ok(Line::Refused(refused)) => chunk.refused.push(refused),
                Err(error) => return Some(Err(error)),
            }
        }
        (chunk.lines() > 0).then_some(Ok(chunk))
    })
}

#[cfg(test)]
mod tests {
    use csv::ByteRecord;

    use super::super::header::Columns;
    use super::super::row;
    use super::*;

    fn numbered(lines: usize) -> Vec<Chunk> {
        let lines = (0..lines).map(|i| {
            let target = if i == 1_000 { "bad" } else { "0" };
            let columns = ByteRecord::from(vec![(i + 1).to_string(), target.to_owned()]);
            Ok(row::parse(i as u64 + 1, &columns, &Columns::in_place(EdgeKind::Follow)))
        });
        let lines = Box::new(lines.collect::<Vec<_>>().into_iter());
        chunks(lines, size(EdgeKind::Follow)).map(Result::unwrap).collect()
    }

    #[test]
    fn every_line_is_in_one_chunk() {
        let chunks = numbered(2_500);
        let sizes: Vec<_> = chunks.iter().map(|c| (c.number, c.edges.len(), c.refused.len())).collect();
        assert_eq!(sizes, [(0, 1_000, 0), (1, 999, 1), (2, 500, 0)]);
        assert_eq!(chunks[1].lines(), 1_000);
    }

    #[test]
    fn no_lines_give_no_chunk() {
        assert_eq!(numbered(0), []);
        assert_eq!(numbered(1_000).len(), 1);
    }

    #[test]
    fn a_request_has_uuids_and_the_number() {
        let request = numbered(2_001)[2].request(EdgeKind::Follow, OnConflict::Fail);
        assert_eq!(request.chunk, 2);
        assert_eq!(request.on_conflict(), OnConflict::Fail);
        let id: crate::ids::Id = "2001".parse().unwrap();
        assert_eq!(request.edges[0].source_id, id.user().to_string());
        assert_eq!(request.edges[0].created_at, None);
    }
}
