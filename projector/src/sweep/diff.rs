//! The difference between a range in PostgreSQL and the same range in the read model.
//!
//! If one side is longer than the limit of its read, only what both reads cover is compared, and the range is compared
//! again.

use std::collections::BTreeMap;

use crate::edge::{Edge, Kind};
use crate::graph::{Changes, Found, PutRow};
use crate::truth::Row;

/// The result of a comparison.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// The repairs.
    pub changes: Changes,
    /// Number of edges missing in the read model.
    pub missing: u64,
    /// Number of edges missing in PostgreSQL.
    pub extra: u64,
    /// Number of edges with other values.
    pub different: u64,
    /// Ends of all different edges.
    pub accounts: Vec<String>,
    /// True if the changes repair the whole range; otherwise it must be compared again.
    pub whole: bool,
}

/// Compares a range. `found` was read in order up to `read_limit` edges. Returns at most `most` changes.
pub fn compare(kind: Kind, truth: &[Row], found: Vec<Found>, read_limit: usize, most: usize) -> Difference {
    let cut = found.len() >= read_limit;
    // The last edge read, if there may be more after it.
    let horizon = cut.then(|| found.last().map(|last| (last.source.clone(), last.target.clone()))).flatten();
    let mut found: BTreeMap<(String, String), Edge> =
        found.into_iter().map(|found| ((found.source, found.target), found.edge)).collect();
    let mut difference = Difference { whole: !cut, ..Difference::default() };

    for row in truth {
        let pair = (row.source.to_string(), row.target.to_string());
        if horizon.as_ref().is_some_and(|horizon| pair > *horizon) {
            break;
        }
        let present = found.remove(&pair);
        if present == Some(row.edge) {
            continue;
        }
        if difference.changes.edges() >= most {
            difference.whole = false;
            return difference;
        }
        difference.accounts.extend([pair.0.clone(), pair.1.clone()]);
        let (source, target) = pair;
        let put = PutRow { source, target, edge: row.edge };
        if present.is_some() {
            difference.different += 1;
            difference.changes.put(kind, put);
        } else {
            difference.missing += 1;
            difference.changes.create(kind, put);
        }
    }
    for (source, target) in found.into_keys() {
        if difference.changes.edges() >= most {
            difference.whole = false;
            return difference;
        }
        difference.extra += 1;
        difference.accounts.extend([source.clone(), target.clone()]);
        difference.changes.delete(kind, source, target);
    }
    difference
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proto::UserId;
    use uuid::Uuid;

    use super::*;

    fn user(n: u8) -> UserId {
        UserId::new(Uuid::from_u128(u128::from(n) + 1)).unwrap()
    }

    fn edge(n: u8) -> Edge {
        Edge { position: i64::from(n), created_at: 0, expires_at: None, changed_at: None }
    }

    type Side = BTreeMap<(u8, u8), u8>;

    fn rows(side: &Side) -> Vec<Row> {
        let row = |((s, t), n): (&(u8, u8), &u8)| Row { source: user(*s), target: user(*t), edge: edge(*n) };
        side.iter().map(row).collect()
    }

    /// Reads as the read model does: in order, at most `limit`.
    fn read(model: &BTreeMap<(String, String), Edge>, limit: usize) -> Vec<Found> {
        let found = |((source, target), edge): (&(String, String), &Edge)| Found {
            source: source.clone(),
            target: target.clone(),
            edge: *edge,
        };
        model.iter().take(limit).map(found).collect()
    }

    /// A model of the statements: creating what is there is refused.
    fn apply(model: &mut BTreeMap<(String, String), Edge>, truth: &[Row], difference: &Difference) {
        let before = model.len() as u64;
        let truth: BTreeMap<_, _> =
            truth.iter().map(|r| ((r.source.to_string(), r.target.to_string()), r.edge)).collect();
        for pair in difference.accounts.chunks(2) {
            let pair = (pair[0].clone(), pair[1].clone());
            match truth.get(&pair) {
                Some(edge) => model.insert(pair, *edge),
                None => model.remove(&pair),
            };
        }
        assert_eq!(model.len() as u64, before + difference.missing - difference.extra);
    }

    fn side() -> impl Strategy<Value = Side> {
        prop::collection::btree_map((0u8..6, 0u8..6), 0u8..3, 0..30)
    }

    proptest! {
        #[test]
        fn repairing_until_whole_gives_the_truth(truth in side(), model in side(), most in 1usize..6) {
            let truth = rows(&truth);
            let mut model: BTreeMap<_, _> =
                rows(&model).into_iter().map(|r| ((r.source.to_string(), r.target.to_string()), r.edge)).collect();
            model.insert(("not an id".to_owned(), String::new()), edge(0));
            let limit = truth.len() + most;
            let mut rounds = 0;
            loop {
                let difference = compare(Kind::Follow, &truth, read(&model, limit), limit, most);
                prop_assert!(difference.changes.edges() <= most);
                apply(&mut model, &truth, &difference);
                if difference.whole {
                    break;
                }
                rounds += 1;
                prop_assert!(rounds < 100, "no progress");
            }
            let expected: BTreeMap<_, _> =
                truth.iter().map(|r| ((r.source.to_string(), r.target.to_string()), r.edge)).collect();
            prop_assert_eq!(model, expected);
        }
    }

    #[test]
    fn equal_ranges_need_no_change() {
        let truth = rows(&Side::from([((1, 2), 3), ((1, 3), 4)]));
        let model = truth.iter().map(|r| ((r.source.to_string(), r.target.to_string()), r.edge)).collect();
        let difference = compare(Kind::Mute, &truth, read(&model, 100), 100, 10);
        assert_eq!(difference, Difference { whole: true, ..Difference::default() });
    }
}
