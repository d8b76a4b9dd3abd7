//! Checks the plan of every statement on a real server: index seeks, no sort, and no operator whose cost grows with the
//! graph.

use super::raw_bolt::operators_of;
use super::*;
use crate::queries::{ListKind, PublicList};

/// Operators that no plan may contain: they read everything, or sort.
const FORBIDDEN: [&str; 8] =
    ["Scan", "Sort", "Top", "CartesianProduct", "Eager", "AllNodes", "ValueHashJoin", "Procedure"];

/// Eager, but only over rows that were collected already.
const ALLOWED: [&str; 1] = ["EagerAggregation"];

#[tokio::test]
async fn every_statement_seeks_in_an_index_and_none_sorts() {
    let lists = ListKind::ALL.map(|kind| (cypher::list(kind), 1));
    // The list, and seven kinds of links.
    let seen = PublicList::ALL.map(|list| (cypher::seen_list(list), 8));
    let others = [
        (cypher::CHECK, 1),
        (cypher::CHECK_PAIRS, 1),
        (cypher::RELATIONS, 7),
        (cypher::RELATION_PAIRS, 7),
        (cypher::COUNTS, 0),
        (cypher::CHECKPOINT, 0),
    ];
    for (statement, edge_seeks) in lists.into_iter().chain(seen).chain(others) {
        // The checkpoint, before the data and, but for the checkpoint alone, after it; counts begin at accounts.
        let node_seeks = match statement {
            cypher::CHECKPOINT => 1,
            cypher::COUNTS => 3,
            _ => 2,
        };
        assert_seeks(statement, edge_seeks, node_seeks, &[]).await;
    }
}

#[tokio::test]
async fn questions_over_several_hops_seek_for_each_hop() {
    for statement in cypher::hops::all() {
        if statement == cypher::hops::SUGGEST {
            // Two hops, and five reasons to exclude an account. The ranking needs a sort.
            assert_seeks(statement, 7, 2, &["Sort", "PartialSort"]).await;
        } else if statement.contains("AS total") && !statement.contains("$second") {
            // The total begins at the account.
            assert_seeks(statement, 1, 3, &[]).await;
        } else {
            assert_seeks(statement, 2, 2, &[]).await;
        }
    }
}

/// Compares the plan of a statement with the forbidden operators and the expected seeks.
async fn assert_seeks(statement: &str, edge_seeks: usize, node_seeks: usize, allowed: &[&str]) {
    let operators = operators_of(statement).await;
    for operator in &operators {
        let forbidden = FORBIDDEN.iter().any(|word| operator.contains(word));
        let allowed = ALLOWED.contains(&operator.as_str()) || allowed.contains(&operator.as_str());
        assert!(!forbidden || allowed, "{operator} in {operators:?}: {statement}");
    }
    let count = |names: &[&str]| operators.iter().filter(|name| names.contains(&name.as_str())).count();
    let seeks = ["DirectedRelationshipIndexSeek", "DirectedRelationshipUniqueIndexSeek"];
    assert_eq!(count(&seeks), edge_seeks, "{operators:?}: {statement}");
    assert_eq!(count(&["NodeUniqueIndexSeek"]), node_seeks, "{operators:?}: {statement}");
}
