//! The etag of a pair: names its state as one of the two accounts may know it.
//!
//! Every service computes it from the edges that its store has, so the digest covers only what PostgreSQL, the read
//! model and the events all keep: kind, direction, revision and dates in milliseconds.
//!
//! Equal states have equal etags, because the digest depends on nothing else. Different states have different etags:
//! - Within an epoch a revision is one event, and an event changes an edge at most once. So (kind, direction, revision)
//!   names one value of one edge. An edge that ended and was added again, an expiry that changed and changed back, and
//!   an edge that an archived account hid and restored have new revisions.
//! - A recovery from a backup gives revisions out again in its new epoch. Two values of an edge with the same revision
//!   then still differ in `created_at` or `expires_at`, unless the edge is the same for every reader.
//! - The number of edges and both ids are part of the digest, so an etag of one pair is none of another pair, and the
//!   two accounts of a pair, who may know different edges, have different etags.

use std::fmt;

use ring::digest::{Context, SHA256};

use crate::event::EdgeKind;
use crate::ids::{Revision, UserId};

const VERSION: &str = "1";
/// 128 bits: enough against collisions by chance, and small enough for caches.
const BYTES: usize = 16;

/// The state of a pair, seen from one of its accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Etag([u8; BYTES]);

/// One edge of a pair that the viewer may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairEdge {
    /// Kind of the edge.
    pub kind: EdgeKind,
    /// True if the edge starts at the viewer.
    pub outgoing: bool,
    /// The revision of its last change.
    pub revision: Revision,
    /// Creation time in milliseconds since 1970, the precision of the read model.
    pub created_at_millis: i64,
    /// Expiry time in milliseconds since 1970.
    pub expires_at_millis: Option<i64>,
}

impl PairEdge {
    /// True if the viewer may know of the edge. Accounts never learn that they are muted.
    fn is_known_to_viewer(&self) -> bool {
        self.kind != EdgeKind::Mute || self.outgoing
    }
}

impl Etag {
    /// The etag of a pair with these edges, in any order. Leaves out a mute by the other account.
    pub fn of(viewer: UserId, other: UserId, edges: impl IntoIterator<Item = PairEdge>) -> Self {
        let mut edges: Vec<PairEdge> = edges.into_iter().filter(PairEdge::is_known_to_viewer).collect();
        edges.sort_unstable_by_key(|edge| (i32::from(edge.kind), edge.outgoing));
        let mut digest = Context::new(&SHA256);
        digest.update(viewer.uuid().as_bytes());
        digest.update(other.uuid().as_bytes());
        for edge in &edges {
            // Each edge has the same length, so no two sets of edges give the same bytes.
            digest.update(&i32::from(edge.kind).to_be_bytes());
            digest.update(&[u8::from(edge.outgoing), u8::from(edge.expires_at_millis.is_some())]);
            digest.update(&edge.revision.0.to_be_bytes());
            digest.update(&edge.created_at_millis.to_be_bytes());
            digest.update(&edge.expires_at_millis.unwrap_or_default().to_be_bytes());
        }
        let mut bytes = [0; BYTES];
        bytes.copy_from_slice(&digest.finish().as_ref()[..BYTES]);
        Self(bytes)
    }

    /// Reads what [`fmt::Display`] wrote; `None` for any other text, which is the etag of no state.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(VERSION)?.strip_prefix('.')?;
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if digits.len() != 2 * BYTES || !digits.bytes().all(lower_hex) {
            return None;
        }
        u128::from_str_radix(digits, 16).ok().map(|number| Self(number.to_be_bytes()))
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}.{:032x}", u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const KINDS: [EdgeKind; 4] = [EdgeKind::Follow, EdgeKind::FollowRequest, EdgeKind::Mute, EdgeKind::Block];

    fn user(n: u128) -> UserId {
        UserId::new(Uuid::from_u128(n)).expect("not nil")
    }

    fn edge(kind: EdgeKind, outgoing: bool, revision: u64) -> PairEdge {
        let revision = Revision(revision);
        PairEdge { kind, outgoing, revision, created_at_millis: 1_000, expires_at_millis: None }
    }

    fn of(edges: &[PairEdge]) -> Etag {
        Etag::of(user(1), user(2), edges.iter().copied())
    }

    /// A pair's edges by slot, from few values, so that equal states are frequent.
    fn states() -> impl Strategy<Value = BTreeMap<(usize, bool), (u64, i64, Option<i64>)>> {
        let value = (1..3u64, 0..2i64, prop::option::of(0..2i64));
        prop::collection::btree_map((0..KINDS.len(), any::<bool>()), value, 0..3)
    }

    fn edges(state: &BTreeMap<(usize, bool), (u64, i64, Option<i64>)>) -> Vec<PairEdge> {
        let edge = |(slot, value): (&(usize, bool), &(u64, i64, Option<i64>))| PairEdge {
            kind: KINDS[slot.0],
            outgoing: slot.1,
            revision: Revision(value.0),
            created_at_millis: value.1,
            expires_at_millis: value.2,
        };
        state.iter().map(edge).collect()
    }

    proptest! {
        #[test]
        fn etags_are_equal_exactly_if_known_states_are(a in states(), b in states()) {
            let known = |mut edges: Vec<PairEdge>| {
                edges.retain(PairEdge::is_known_to_viewer);
                edges
            };
            let (a, b) = (edges(&a), edges(&b));
            prop_assert_eq!(of(&a) == of(&b), known(a) == known(b));
        }

        #[test]
        fn order_of_edges_does_not_matter(state in states()) {
            let mut edges = edges(&state);
            let etag = of(&edges);
            edges.reverse();
            prop_assert_eq!(of(&edges), etag);
        }

        #[test]
        fn any_text_is_an_etag_or_none(text in ".{0,40}") {
            if let Some(etag) = Etag::parse(&text) {
                prop_assert_eq!(etag.to_string(), text);
            }
        }
    }

    #[test]
    fn every_edge_but_a_mute_by_the_other_moves_the_etag() {
        let none = of(&[]);
        for kind in KINDS {
            for outgoing in [true, false] {
                let moved = of(&[edge(kind, outgoing, 5)]) != none;
                assert_eq!(moved, kind != EdgeKind::Mute || outgoing, "{kind:?}, outgoing: {outgoing}");
            }
        }
    }

    #[test]
    fn each_pair_and_each_viewer_has_etags_of_its_own() {
        let none = |viewer, other| Etag::of(user(viewer), user(other), []);
        assert_ne!(none(1, 2), none(2, 1));
        assert_ne!(none(1, 2), none(1, 3));
    }

    /// Both services of a rolling upgrade must compute the same text.
    #[test]
    fn golden() {
        let etag = of(&[edge(EdgeKind::Follow, true, 901), edge(EdgeKind::Block, false, 902)]);
        assert_eq!(etag.to_string(), "1.aa8fdbcd3df76691ea5ff2a07af3e88c");
        assert_eq!(Etag::parse(&etag.to_string()), Some(etag));
    }
}
