//! Answers from a query-service's memory: exact, as fresh as a token requires, on while Neo4j is down, and off when the
//! process may have missed something or the replica behind them was repaired.

use devstack::env_file::Env;
use devstack::process::Signal;
use neo4rs::query;
use proto::query::v1::{BatchCheckRequest, GetCountsRequest, Source};
use tests::clients::{List, consistent, follow, fresh, page, unfollow};
use tests::explained::{check, in_time};
use tests::own::Victim;
use tests::{Endpoints, Own, Queries, new_user, truth, until};
use tokio::task::block_in_place;

const FOLLOWED: usize = 5;

fn ids(number: usize) -> Vec<String> {
    (0..number).map(|_| new_user()).collect()
}

/// Whether the viewer follows each target, and the store that answered.
async fn batch(
    queries: &Queries,
    viewer: &str,
    targets: &[String],
    token: Option<&str>,
) -> (Vec<bool>, Source) {
    let request = BatchCheckRequest {
        viewer_id: viewer.to_owned(),
        target_ids: targets.to_vec(),
        consistency: token.and_then(fresh),
        ..Default::default()
    };
    let answer = queries.clone().batch_check(in_time(request)).await.expect("a batch check").into_inner();
    let source = answer.source();
    (answer.results.into_iter().map(|result| result.following).collect(), source)
}

/// The numbers of followers and of followed accounts, and the store that answered.
async fn counts(queries: &Queries, user: &str, token: Option<&str>) -> ((u64, u64), Source) {
    let request = GetCountsRequest {
        user_ids: vec![user.to_owned()],
        consistency: token.and_then(fresh),
        ..Default::default()
    };
    let answer = queries.clone().get_counts(in_time(request)).await.expect("counts").into_inner();
    let counts = &answer.counts[0];
    ((counts.followers, counts.following), answer.source())
}

/// The accounts of a list's first page, and the store that answered.
async fn list(queries: &Queries, list: List, user: &str, token: Option<&str>) -> (Vec<String>, Source) {
    let page = page(&mut queries.clone(), list, user, 100, "", token.and_then(fresh)).await.expect("a page");
    (page.edges.into_iter().map(|edge| edge.user_id).collect(), page.source)
}

/// Repeats a read until this source answers it. Each read counts as a miss, so the set is loaded soon.
async fn wait_source<F: Future<Output = Source>>(source: Source, mut read: impl FnMut() -> F) {
    until("another source to answer", || {
        let read = read();
        async move {
            let found = read.await;
            if found == source { Ok(()) } else { Err(format!("{found:?} answered")) }
        }
    })
    .await;
}

async fn wait_in_memory(queries: &Queries, viewer: &str, targets: &[String]) {
    wait_source(Source::Memory, || async { batch(queries, viewer, targets, None).await.1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_answers_exactly_and_only_while_it_may() {
    let settings = Env::default()
        .with("HOT_SET_BYTES", "8000000")
        .with("SWEEP_EDGES_PER_SECOND", "200000")
        .with("REPLICA_MAX_LAG_SECONDS", "5");
    let mut own = Own::light().start_with(settings).await;
    let endpoints = own.endpoints.clone();
    let queries = endpoints.queries();
    let (viewer, targets) = (new_user(), ids(2 * FOLLOWED));
    let mut commands = endpoints.commands();
    for target in &targets[..FOLLOWED] {
        follow(&mut commands, &viewer, target).await.expect("a follow");
    }
    writes_are_seen(&endpoints, &viewer, &targets).await;
    truth_is_not_memory(&queries, &viewer, &targets[0]).await;
    repaired_answers_are_forgotten(&mut own).await;
    an_older_projector_is_not_trusted(&mut own, &viewer, &targets).await;
    // What was loaded before is forgotten.
    writes_are_seen(&endpoints, &viewer, &targets).await;

    own.kill(Victim::Neo4j);
    // Every event still arrives, so memory goes on; what it does not hold comes from PostgreSQL.
    writes_are_seen(&endpoints, &viewer, &targets).await;
    let stranger = new_user();
    wait_source(Source::Postgres, || async { batch(&queries, &stranger, &targets, None).await.1 }).await;
    own.revive(Victim::Neo4j);
    own.wait_ready();
    writes_are_seen(&endpoints, &viewer, &targets).await;

    // Without reports of the head, query-service cannot know what it lacks.
    own.kill(Victim::Nats);
    own.kill(Victim::Postgres);
    wait_source(Source::Neo4j, || async {
        // A Neo4j that has just started may be slow, and no other store is there.
        let answer = check(&mut queries.clone(), &viewer, &targets[0], None).await;
        answer.map_or(Source::Unspecified, |answer| answer.source())
    })
    .await;
    own.revive(Victim::Postgres);
    own.revive(Victim::Nats);
    own.wait_ready();
    wait_in_memory(&queries, &viewer, &targets).await;
    writes_are_seen(&endpoints, &viewer, &targets).await;
}

/// Follows and unfollows, each seen at once in everything that memory holds.
async fn writes_are_seen(endpoints: &Endpoints, viewer: &str, targets: &[String]) {
    let (mut commands, queries) = (endpoints.commands(), endpoints.queries());
    let wanted = |followed: &[usize]| (0..targets.len()).map(|n| followed.contains(&n)).collect::<Vec<_>>();
    wait_in_memory(&queries, viewer, targets).await;
    let target = &targets[FOLLOWED];
    // While Neo4j is down nothing new is loaded, so the first call of this function brings these in.
    wait_source(Source::Memory, || async { counts(&queries, viewer, None).await.1 }).await;
    wait_source(Source::Memory, || async { counts(&queries, target, None).await.1 }).await;
    for (kind, user) in [(List::Following, viewer), (List::Followers, target)] {
        wait_source(Source::Memory, || async { list(&queries, kind, user, None).await.1 }).await;
    }
    let before: Vec<usize> = (0..FOLLOWED).collect();
    let after: Vec<usize> = (0..=FOLLOWED).collect();
    let newest_first =
        |followed: &[usize]| followed.iter().rev().map(|n| targets[*n].clone()).collect::<Vec<_>>();
    for _ in 0..3 {
        let token = follow(&mut commands, viewer, target).await.expect("a follow").written_at;
        let token = Some(token.as_str());
        until_memory_says(wanted(&after), || batch(&queries, viewer, targets, token)).await;
        until_memory_says((0, FOLLOWED as u64 + 1), || counts(&queries, viewer, token)).await;
        until_memory_says((1, 0), || counts(&queries, target, token)).await;
        until_memory_says(newest_first(&after), || list(&queries, List::Following, viewer, token)).await;
        until_memory_says(vec![viewer.to_owned()], || list(&queries, List::Followers, target, token)).await;
        let token = unfollow(&mut commands, viewer, target).await.expect("an unfollow").written_at;
        let token = Some(token.as_str());
        until_memory_says(wanted(&before), || batch(&queries, viewer, targets, token)).await;
        until_memory_says((0, FOLLOWED as u64), || counts(&queries, viewer, token)).await;
        until_memory_says(newest_first(&before), || list(&queries, List::Following, viewer, token)).await;
        until_memory_says(vec![], || list(&queries, List::Followers, target, token)).await;
    }
}

/// Every answer is the wanted one, from whichever store, and memory gives it soon.
async fn until_memory_says<T: PartialEq + std::fmt::Debug, F: Future<Output = (T, Source)>>(
    wanted: T,
    mut read: impl FnMut() -> F,
) {
    let wanted = &wanted;
    wait_source(Source::Memory, || {
        let read = read();
        async move {
            let (found, source) = read.await;
            assert_eq!(found, *wanted, "from {source:?}");
            source
        }
    })
    .await;
}

/// The source of truth is asked if the caller wants that, and an explanation names memory if it answered.
async fn truth_is_not_memory(queries: &Queries, viewer: &str, target: &str) {
    let answer =
        tests::clients::check(&mut queries.clone(), viewer, target, consistent()).await.expect("a check");
    assert_eq!((answer.following, answer.source()), (true, Source::Postgres));
    let answer = check(&mut queries.clone(), viewer, target, None).await.expect("a check");
    assert_eq!((answer.following, answer.source()), (true, Source::Memory));
    let steps = answer.explanation.expect("an explanation").steps;
    assert_eq!(steps.iter().map(|step| step.store.as_str()).collect::<Vec<_>>(), ["memory"]);
    assert_eq!(steps[0].store_as_of, answer.as_of);
}

/// An answer that was loaded from a damaged replica goes when the sweep repairs the replica. The projector stands still
/// until memory holds the wrong answer; query-service reads the events without it.
async fn repaired_answers_are_forgotten(own: &mut Own) {
    let endpoints = own.endpoints.clone();
    let queries = endpoints.queries();
    let (viewer, target) = (new_user(), new_user());
    follow(&mut endpoints.commands(), &viewer, &target).await.expect("a follow");
    truth::wait_caught_up(&endpoints).await;
    let before = generation(&endpoints).await;
    block_in_place(|| own.pipeline.projector.signal(Signal::SIGSTOP)).expect("stopped");
    let damage = query("MATCH ()-[r:FOLLOWS]->() WHERE r.src = $id DELETE r").param("id", viewer.as_str());
    endpoints.neo4j().run(damage).await.expect("the edge is gone");
    let targets = [target];
    until_memory_says(vec![false], || batch(&queries, &viewer, &targets, None)).await;
    block_in_place(|| own.pipeline.projector.signal(Signal::SIGCONT)).expect("it resumes");
    until("the repair to reach memory", || async {
        let (following, source) = batch(&queries, &viewer, &targets, None).await;
        if following[0] && source == Source::Memory {
            Ok(())
        } else {
            Err(format!("{following:?} {source:?}"))
        }
    })
    .await;
    assert_ne!(generation(&endpoints).await, before, "the repair began a generation");
}

/// Memory does not trust a read model whose writer does not maintain the generation of repairs, as an older projector
/// does not, until a projector of this version takes it over.
async fn an_older_projector_is_not_trusted(own: &mut Own, viewer: &str, targets: &[String]) {
    let queries = own.endpoints.queries();
    wait_in_memory(&queries, viewer, targets).await;
    let before = generation(&own.endpoints).await;
    let older = query("MATCH (c:Checkpoint) SET c.repairs_owner = 'another'");
    own.endpoints.neo4j().run(older).await.expect("a change");
    wait_source(Source::Neo4j, || async { batch(&queries, viewer, targets, None).await.1 }).await;
    own.kill(Victim::Projector);
    own.revive(Victim::Projector);
    own.wait_ready();
    wait_in_memory(&queries, viewer, targets).await;
    assert_ne!(generation(&own.endpoints).await, before, "the takeover began a generation");
}

/// The generation of repairs, once it is published.
async fn generation(endpoints: &Endpoints) -> i64 {
    until("a published generation", || async {
        let text = "MATCH (c:Checkpoint) RETURN c.repairs AS repairs, c.repairs_visible AS visible";
        let mut rows = endpoints.neo4j().execute(query(text)).await.expect("a statement");
        let row = rows.next().await.expect("an answer").expect("a checkpoint");
        let (repairs, visible): (i64, i64) =
            (row.get("repairs").expect("a number"), row.get("visible").expect("a number"));
        if repairs == visible { Ok(repairs) } else { Err(format!("{repairs} is not visible, {visible} is")) }
    })
    .await
}
