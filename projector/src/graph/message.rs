//! Changes of edges, cut into statements that fit one Bolt message.
//!
//! The driver buffers 8 KiB and leaves Nagle's algorithm on, so a larger message waits 40 ms for an acknowledgement. A
//! row that does not fit (an id that is no UUID may be long) is sent alone, and slowly.

use neo4rs::{BoltList, BoltNull, BoltType, Query, query};

use super::cypher;
use crate::apply::Net;
use crate::edge::{Edge, Key, Kind};

/// Limit of a message, below the driver's buffer.
const MESSAGE_BYTES: usize = 8_000;
/// Bytes of a message without text and rows: chunk header, structure, names and sizes of at most six lists, the
/// transaction's mode.
const FRAME_BYTES: usize = 128;
/// Marker and length of a text.
const TEXT_BYTES: usize = 5;
/// Maximum size of an integer with its marker.
const INTEGER_BYTES: usize = 9;

/// An edge to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutRow {
    /// Account at its start.
    pub source: String,
    /// Account at its end.
    pub target: String,
    /// Values of the edge.
    pub edge: Edge,
}

/// Changes of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OfKind {
    deletes: Vec<(String, String)>,
    creates: Vec<PutRow>,
    puts: Vec<PutRow>,
}

/// Changes of one transaction. Each edge occurs once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    edges: [OfKind; 4],
    /// Accounts whose nodes are deleted, unless they have edges after all other changes.
    unused: Vec<String>,
}

impl Changes {
    /// Changes of a batch. With `trusting`, edges that are new in the log are created without a look-up.
    pub fn of_batch<'a>(net: impl IntoIterator<Item = (&'a Key, &'a Net)>, trusting: bool) -> Self {
        let mut changes = Self::default();
        for (key, net) in net {
            let (source, target) = (key.source.to_string(), key.target.to_string());
            match net.edge {
                None => changes.delete(key.kind, source, target),
                Some(edge) if net.fresh && trusting => {
                    changes.create(key.kind, PutRow { source, target, edge });
                }
                Some(edge) => changes.put(key.kind, PutRow { source, target, edge }),
            }
        }
        changes
    }

    /// Removes an edge.
    pub fn delete(&mut self, kind: Kind, source: String, target: String) {
        self.edges[kind as usize].deletes.push((source, target));
    }

    /// Adds an edge that does not exist.
    pub fn create(&mut self, kind: Kind, row: PutRow) {
        self.edges[kind as usize].creates.push(row);
    }

    /// Sets an edge.
    pub fn put(&mut self, kind: Kind, row: PutRow) {
        self.edges[kind as usize].puts.push(row);
    }

    /// Removes an account's node, unless the account has an edge after all other changes.
    pub fn remove_unused(&mut self, account: String) {
        self.unused.push(account);
    }

    /// Number of changed edges.
    pub fn edges(&self) -> usize {
        self.counts().iter().map(|(_, n)| n).sum()
    }

    /// True if there is no change.
    pub fn is_empty(&self) -> bool {
        self.edges() == 0 && self.unused.is_empty()
    }

    /// Number of changed edges by operation.
    pub fn counts(&self) -> [(&'static str, usize); 3] {
        let sum = |count: fn(&OfKind) -> usize| self.edges.iter().map(count).sum();
        [
            ("delete", sum(|of| of.deletes.len())),
            ("create", sum(|of| of.creates.len())),
            ("put", sum(|of| of.puts.len())),
        ]
    }

    /// The statements, each of which fits one message.
    pub fn statements(&self) -> Vec<Query> {
        let mut statements = Vec::new();
        for (kind, of) in Kind::ALL.into_iter().zip(&self.edges) {
            let text = &cypher::of(kind, cypher::DELETE);
            for rows in fitting(&of.deletes, text, |(source, target)| text_bytes(source) + text_bytes(target))
            {
                statements.push(
                    query(text)
                        .param("a", texts(rows.iter().map(|(source, _)| source)))
                        .param("b", texts(rows.iter().map(|(_, target)| target))),
                );
            }
            for (text, rows) in [(cypher::CREATE, &of.creates), (cypher::PUT, &of.puts)] {
                let text = &cypher::of(kind, text);
                statements.extend(fitting(rows, text, row_bytes).into_iter().map(|rows| write(text, rows)));
            }
        }
        for rows in fitting(&self.unused, cypher::REMOVE_UNUSED, |id| text_bytes(id)) {
            statements.push(query(cypher::REMOVE_UNUSED).param("a", texts(rows.iter())));
        }
        statements
    }
}

fn write(text: &str, rows: &[PutRow]) -> Query {
    let edges = || rows.iter().map(|row| &row.edge);
    query(text)
        .param("a", texts(rows.iter().map(|row| &row.source)))
        .param("b", texts(rows.iter().map(|row| &row.target)))
        .param("p", edges().map(|edge| edge.position).collect::<Vec<_>>())
        .param("t", edges().map(|edge| edge.created_at).collect::<Vec<_>>())
        .param("e", numbers(edges().map(|edge| edge.expires_at)))
        .param("r", numbers(edges().map(|edge| edge.changed_at)))
}

/// An absent number is a null; Neo4j removes a property that is set to null.
fn numbers(numbers: impl Iterator<Item = Option<i64>>) -> BoltType {
    let value = numbers.map(|number| number.map_or(BoltType::Null(BoltNull), BoltType::from));
    BoltType::List(BoltList { value: value.collect() })
}

fn texts<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<String> {
    texts.cloned().collect()
}

fn text_bytes(text: &str) -> usize {
    TEXT_BYTES + text.len()
}

fn row_bytes(row: &PutRow) -> usize {
    let optional = |number: Option<i64>| number.map_or(1, |_| INTEGER_BYTES);
    let numbers = 2 * INTEGER_BYTES + optional(row.edge.expires_at) + optional(row.edge.changed_at);
    text_bytes(&row.source) + text_bytes(&row.target) + numbers
}

/// Splits rows into runs that fit a message with this text.
fn fitting<'a, T>(rows: &'a [T], text: &str, bytes: fn(&T) -> usize) -> Vec<&'a [T]> {
    let budget = MESSAGE_BYTES.saturating_sub(FRAME_BYTES + text.len());
    let mut runs = Vec::new();
    let (mut start, mut used) = (0, 0);
    for (i, row) in rows.iter().enumerate() {
        let bytes = bytes(row);
        if i > start && used + bytes > budget {
            runs.push(&rows[start..i]);
            (start, used) = (i, 0);
        }
        used += bytes;
    }
    if start < rows.len() {
        runs.push(&rows[start..]);
    }
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    /// Bytes of a value on the wire, counted independently of the estimates above.
    fn packed(value: &BoltType) -> usize {
        let head = |n: usize| match n {
            0..16 => 1,
            16..256 => 2,
            256..65_536 => 3,
            _ => 5,
        };
        match value {
            BoltType::String(text) => head(text.value.len()) + text.value.len(),
            BoltType::Integer(_) => 9,
            BoltType::Null(_) => 1,
            BoltType::List(list) => head(list.value.len()) + list.value.iter().map(packed).sum::<usize>(),
            other => panic!("no such parameter is sent: {other:?}"),
        }
    }

    fn message(query: &Query) -> usize {
        let params: usize = query.get_params().value.iter().map(|(k, v)| 1 + k.value.len() + packed(v)).sum();
        // Chunk header and end, structure and tag, text, map of parameters, map with the mode.
        4 + 2 + 5 + query.query().len() + 1 + params + 1 + 5 + 2
    }

    fn row(n: usize, expires: bool) -> PutRow {
        PutRow {
            source: Uuid::from_u128(n as u128).to_string(),
            target: Uuid::from_u128(n as u128 + 1).to_string(),
            edge: Edge {
                position: i64::MAX,
                created_at: i64::MAX,
                expires_at: expires.then_some(i64::MAX),
                changed_at: expires.then_some(i64::MAX),
            },
        }
    }

    fn rows_of(query: &Query) -> usize {
        let lists = &query.get_params().value;
        let BoltType::List(sources) = &lists["a"] else { panic!("a list") };
        sources.value.len()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_message_fits_and_no_row_is_lost(
            deletes in 0usize..400, creates in 0usize..400, puts in 0usize..400, unused in 0usize..400, expires: bool,
            kind in 0usize..4,
        ) {
            let kind = Kind::ALL[kind];
            let mut changes = Changes::default();
            for n in 0..deletes {
                let row = row(n, false);
                changes.delete(kind, row.source, row.target);
            }
            (0..creates).for_each(|n| changes.create(kind, row(n, expires)));
            (0..puts).for_each(|n| changes.put(kind, row(n, expires)));
            (0..unused).for_each(|n| changes.remove_unused(row(n, false).source));
            let statements = changes.statements();
            prop_assert_eq!(statements.iter().map(rows_of).sum::<usize>(), changes.edges() + unused);
            for statement in &statements {
                prop_assert!(message(statement) <= MESSAGE_BYTES, "{}", message(statement));
            }
        }
    }

    #[test]
    fn statements_are_well_filled() {
        let mut changes = Changes::default();
        (0..2_000).for_each(|n| changes.create(Kind::Follow, row(n, false)));
        assert!(changes.statements().len() <= 28, "{}", changes.statements().len());
    }

    #[test]
    fn a_row_that_is_too_large_goes_alone() {
        let mut changes = Changes::default();
        changes.delete(Kind::Follow, "x".repeat(20_000), String::new());
        changes.delete(Kind::Follow, String::new(), String::new());
        assert_eq!(changes.statements().len(), 2);
    }
}
