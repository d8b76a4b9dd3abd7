//! Imports: each edge succeeds or fails independently, each chunk is one revision.

use futures::stream;
use proto::command::v1::{ImportEdge, ImportEdgesRequest, OnConflict};
use proto::error::{Reason, reason_of};
use tests::clients::{List, page};
use tests::importing::chunk;
use tests::{Endpoints, graph, new_user};

fn edge(source: &str, target: &str) -> ImportEdge {
    ImportEdge { source_id: source.into(), target_id: target.into(), ..ImportEdge::default() }
}

fn dated(source: &str, target: &str, seconds: i64) -> ImportEdge {
    ImportEdge { created_at: Some(prost_types::Timestamp { seconds, nanos: 0 }), ..edge(source, target) }
}

#[tokio::test]
async fn a_chunk_is_one_revision_and_repeating_it_changes_nothing() {
    let endpoints = Endpoints::shared();
    let mut commands = endpoints.commands();
    let edges: Vec<_> = graph::random(1, 40, 300).iter().map(|(a, b)| edge(a, b)).collect();
    let request = ImportEdgesRequest { chunk: 9, edges, ..Default::default() };
    let first = chunk(&mut commands, request.clone()).await.expect("a chunk");
    assert_eq!((first.chunk, first.accepted, first.unchanged), (9, 300, 0));
    let again = chunk(&mut commands, request).await.expect("a chunk");
    assert_eq!((again.accepted, again.unchanged), (0, 300));
    assert!(again.written_at >= first.written_at);
}

#[tokio::test]
async fn bad_edges_are_refused_by_index_and_the_others_go_in() {
    let endpoints = Endpoints::shared();
    let (a, b, c) = (new_user(), new_user(), new_user());
    let edges = vec![
        edge(&a, &b),
        edge(&a, &a),
        edge("nobody", &b),
        dated(&a, &c, 99_999_999_999),
        edge(&a, &b),
        edge("", &b),
    ];
    let answer = chunk(&mut endpoints.commands(), ImportEdgesRequest { edges, ..Default::default() })
        .await
        .expect("a chunk");
    assert_eq!((answer.accepted, answer.unchanged), (1, 1));
    let refused: Vec<_> = answer.refused.iter().map(|r| (r.index, r.reason())).collect();
    assert_eq!(
        refused,
        [
            (1, Reason::SelfEdge),
            (2, Reason::InvalidUuid),
            (3, Reason::InvalidTimestamp),
            (5, Reason::FieldRequired)
        ]
    );
    assert!(answer.refused[1].message.contains("source_id"), "{:?}", answer.refused[1]);
}

#[tokio::test]
async fn on_conflict_fail_names_the_edges_that_exist() {
    let endpoints = Endpoints::shared();
    let mut commands = endpoints.commands();
    let (a, b, c) = (new_user(), new_user(), new_user());
    let request =
        |edges| ImportEdgesRequest { edges, on_conflict: OnConflict::Fail.into(), ..Default::default() };
    let first = chunk(&mut commands, request(vec![edge(&a, &b)])).await.expect("a chunk");
    assert_eq!(first.accepted, 1);
    let second = chunk(&mut commands, request(vec![edge(&a, &c), edge(&a, &b)])).await.expect("a chunk");
    assert_eq!(second.accepted, 1);
    assert_eq!(second.refused.len(), 1);
    assert_eq!((second.refused[0].index, second.refused[0].reason()), (1, Reason::EdgeExists));
}

#[tokio::test]
async fn dates_are_kept_and_lists_show_the_last_imported_first() {
    let endpoints = Endpoints::shared();
    let star = new_user();
    let fans: Vec<String> = (0..3).map(|_| new_user()).collect();
    let edges = fans.iter().zip(1_000..).map(|(fan, at)| dated(fan, &star, at)).collect();
    let answer = chunk(&mut endpoints.commands(), ImportEdgesRequest { edges, ..Default::default() })
        .await
        .expect("a chunk");
    let listed = page(
        &mut endpoints.queries(),
        List::Followers,
        &star,
        10,
        "",
        tests::clients::fresh(&answer.written_at),
    )
    .await
    .expect("a page");
    let rows: Vec<_> = listed
        .edges
        .iter()
        .map(|row| (row.user_id.clone(), row.created_at.as_ref().expect("a date").seconds))
        .collect();
    let wanted: Vec<_> = fans.iter().cloned().zip([1_000, 1_001, 1_002]).rev().collect();
    assert_eq!(rows, wanted);
}

#[tokio::test]
async fn chunks_are_answered_in_order_and_a_bad_one_ends_the_stream() {
    let endpoints = Endpoints::shared();
    let edges = graph::random(2, 60, 500);
    let good = |number: u64| ImportEdgesRequest {
        chunk: number,
        edges: edges[number as usize * 50..][..50].iter().map(|(a, b)| edge(a, b)).collect(),
        ..Default::default()
    };
    let bad = ImportEdgesRequest { edges: vec![edge("a", "b"); 1_001], ..good(5) };
    let mut requests: Vec<_> = (0..5).map(good).collect();
    requests.push(bad);
    requests.push(good(6));
    let mut answers =
        endpoints.commands().import_edges(stream::iter(requests)).await.expect("a stream").into_inner();
    for number in 0..5 {
        let answer = answers.message().await.expect("an answer").expect("not the end");
        assert_eq!((answer.chunk, answer.accepted), (number, 50));
    }
    let status = answers.message().await.expect_err("too many edges");
    assert_eq!(reason_of(&status), Some(Reason::TooManyItems));
}
