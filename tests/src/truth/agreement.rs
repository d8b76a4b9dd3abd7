//! Compares the state of all stores.

use std::collections::{BTreeMap, BTreeSet};

use proto::event::{AccountOp, EdgeKind};
use proto::graph::v1::{StreamState, StreamStatus};
use proto::query::v1::{CheckRequest, Source};
use proto::{Revision, Token, subjects};

use super::postgres::{self, Snapshot, snapshot};
use super::{Edge, Edges, Replay, counts_of, head_token, neo4j, stream};
use crate::clients::{self, List};
use crate::endpoints::Endpoints;
use crate::until;

/// The follows: pair to position.
pub type Follows = BTreeMap<(String, String), i64>;

/// Waits until the stream and every read model have reached the head.
pub async fn wait_caught_up(endpoints: &Endpoints) {
    let Token { epoch, revision: head } = head_token(endpoints).await;
    let commands = endpoints.commands();
    until("stream and read model to reach the head", || {
        let mut commands = commands.clone();
        async move {
            let status = commands
                .get_status(proto::command::v1::GetStatusRequest {})
                .await
                .map_err(|status| status.to_string())?
                .into_inner();
            let of_epoch =
                |s: &&StreamStatus| s.name == subjects::stream_name(epoch) && s.state() == StreamState::Ok;
            let stream = status.stream.as_ref().filter(of_epoch).map_or(0, |stream| stream.last_revision);
            let complete = |r: &proto::graph::v1::ReplicaStatus| r.complete && r.visible >= head.0;
            let done =
                stream >= head.0 && !status.replicas.is_empty() && status.replicas.iter().all(complete);
            if done { Ok(()) } else { Err(format!("head {head}, {status:?}")) }
        }
    })
    .await;
}

/// Waits until the read model answers: the first reads of a server that has just started may be slow, and then fall
/// back to PostgreSQL.
pub async fn wait_answering(endpoints: &Endpoints) {
    let queries = endpoints.queries();
    let request = CheckRequest {
        viewer_id: crate::new_user(),
        target_id: crate::new_user(),
        ..CheckRequest::default()
    };
    until("the read model to answer", || {
        let (mut queries, request) = (queries.clone(), request.clone());
        async move {
            let answer = queries.check(request).await.map_err(|status| status.to_string())?.into_inner();
            if answer.source() == Source::Neo4j { Ok(()) } else { Err("PostgreSQL answered".to_owned()) }
        }
    })
    .await;
}

/// Waits until the read model answers that `a` follows `b`, as of a write's token.
///
/// # Panics
/// On a wrong answer of any store.
pub async fn wait_following(queries: &clients::Queries, a: &str, b: &str, written: &str) {
    until("the read model to answer", || {
        let mut queries = queries.clone();
        async move {
            let seen = clients::check(&mut queries, a, b, clients::fresh(written)).await;
            let seen = seen.map_err(|status| status.to_string())?;
            assert!(seen.following, "no store answers wrongly");
            if seen.source() == Source::Neo4j { Ok(()) } else { Err("PostgreSQL answered".to_owned()) }
        }
    })
    .await;
}

/// Waits for the read model, then compares lists, counts and flags in PostgreSQL, in Neo4j, in the stream (if it
/// reaches back to the first revision) and through the API (for the given number of accounts). Returns the follows.
///
/// # Panics
/// If two of them differ.
pub async fn assert_agreement(endpoints: &Endpoints, accounts_through_api: usize) -> Follows {
    let truth = assert_read_model(endpoints, accounts_through_api).await;
    let events = stream(endpoints).await;
    if events.first().is_some_and(|event| event.revision == Revision(1)) {
        assert_replay(&Replay::of(&events), &truth);
    }
    follows(&truth.edges)
}

/// Like [`assert_agreement`], without the stream, which may contain events that this program cannot read. Returns
/// PostgreSQL's state.
///
/// # Panics
/// If two of them differ.
pub async fn assert_read_model(endpoints: &Endpoints, accounts_through_api: usize) -> Snapshot {
    wait_caught_up(endpoints).await;
    let truth = snapshot(&endpoints.postgres().await).await;
    truth.assert_consistent();

    let graph = endpoints.neo4j();
    let in_millis: Edges = truth.edges.iter().map(|(key, edge)| (*key, edge.to_the_millisecond())).collect();
    assert_same("Neo4j", &neo4j::edges(&graph).await, &in_millis);
    let (told, kept) =
        (neo4j::revisions(&graph).await, postgres::revisions(&endpoints.postgres().await).await);
    let wrong = told.iter().find(|(key, revision)| kept.get(*key) != Some(*revision));
    assert_eq!(wrong, None, "an edge whose revision in Neo4j is not that of PostgreSQL");
    let counts = counts_of(truth.edges.keys());
    for (user, degrees) in neo4j::degrees(&graph).await {
        assert_eq!(degrees, counts.get(&user).copied().unwrap_or_default(), "degrees of {user} in Neo4j");
    }
    assert_api(endpoints, &truth, accounts_through_api).await;
    truth
}

/// Compares a replay of the log with the tables at one revision; others may keep writing.
///
/// # Panics
/// If they differ, or the log does not reach back to the first revision.
pub async fn assert_log(endpoints: &Endpoints) {
    let truth = snapshot(&endpoints.postgres().await).await;
    truth.assert_consistent();
    wait_caught_up(endpoints).await;
    let mut events = stream(endpoints).await;
    events.retain(|event| event.revision <= truth.head.revision);
    assert_eq!(events.first().map(|event| event.revision), Some(Revision(1)), "the log is whole");
    assert_replay(&Replay::of(&events), &truth);
}

/// Compares a replay of the events with the tables.
fn assert_replay(replay: &Replay, truth: &Snapshot) {
    assert_eq!(replay.revision, truth.head.revision, "the stream ends at the head");
    assert_same("the replayed stream", &replay.edges, &truth.edges);
    for (user, account) in &truth.accounts {
        assert_eq!(replay.private.contains(user), account.private, "privacy of {user} by the events");
        // No event marks the end of a restore.
        let told: &[&str] = match replay.states.get(user) {
            Some(AccountOp::Archived) => &["archived"],
            Some(AccountOp::EraseStarted) => &["erasing"],
            _ => &["active", "restoring"],
        };
        assert!(
            told.contains(&account.state.as_str()),
            "{user} is {}, by the events {told:?}",
            account.state
        );
    }
    // A restored account without edges and flags has no row.
    let hidden = replay.states.iter().filter(|(_, op)| **op != AccountOp::Restored).map(|(user, _)| user);
    for user in replay.private.iter().chain(hidden) {
        assert!(truth.accounts.contains_key(user), "{user} has a flag by the events and no row");
    }
}

async fn assert_api(endpoints: &Endpoints, truth: &Snapshot, accounts: usize) {
    let follows = follows(&truth.edges);
    let mut lists: BTreeMap<&str, (BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
    for (source, target) in follows.keys() {
        lists.entry(target).or_default().0.insert(source);
        lists.entry(source).or_default().1.insert(target);
    }
    let mut busiest: Vec<_> = lists.iter().collect();
    busiest.sort_by_key(|(_, (followers, following))| std::cmp::Reverse(followers.len() + following.len()));
    busiest.truncate(accounts);
    let mut queries = endpoints.queries();
    for (user, (followers, following)) in busiest {
        for (list, wanted) in [(List::Followers, followers), (List::Following, following)] {
            let walked = clients::walk(&mut queries, list, user, 1_000, None).await.expect("a list");
            let set: BTreeSet<&str> = walked.iter().map(String::as_str).collect();
            assert_eq!(walked.len(), set.len(), "{list:?} of {user} repeat an account");
            assert!(set == *wanted, "{list:?} of {user}: {} listed, {} true", set.len(), wanted.len());
        }
        let counts = clients::counts(&mut queries, &[(*user).to_owned()], None).await.expect("counts");
        let counted = (counts[0].followers as usize, counts[0].following as usize);
        assert_eq!(counted, (followers.len(), following.len()), "counts of {user} through the API");
    }
}

/// The follows among edges.
pub fn follows(edges: &Edges) -> Follows {
    edges
        .iter()
        .filter(|(key, _)| key.kind == EdgeKind::Follow)
        .map(|(key, edge)| ((key.source.to_string(), key.target.to_string()), edge.position))
        .collect()
}

/// Compares edges and their values.
///
/// # Panics
/// If they differ; shows the first few differences.
#[track_caller]
pub fn assert_same(name: &str, found: &Edges, truth: &Edges) {
    let differs = |a: &Edges, b: &Edges| -> Vec<_> {
        let other = |(key, edge): &(&_, &Edge)| b.get(*key) != Some(*edge);
        a.iter().filter(other).take(3).map(|(key, edge)| (*key, *edge)).collect()
    };
    assert!(
        found == truth,
        "{name} has {} edges, PostgreSQL {}; only there or other there {:?}, only here or other here {:?}",
        found.len(),
        truth.len(),
        differs(found, truth),
        differs(truth, found),
    );
}
