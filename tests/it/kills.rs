//! I1, I2, I3 and I5 while each of the six processes is killed with SIGKILL during an import and other writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proto::command::v1::{FollowRequest, UnfollowRequest};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tests::own::Victim;
use tests::{Commands, Own, graph, importing, new_user, truth};

/// Time for the read model to catch up, per kill of each process.
const CATCH_UP: Duration = Duration::from_secs(120);
/// Pause of the importer after 1,500 edges, so that the read model catches up sooner after the last kill.
const REST: Duration = Duration::from_secs(1);

/// Number of kills of each process: one, or `FOLLOWGRAPH_TEST_KILLS` (20 is the long form).
fn kills_each() -> u32 {
    std::env::var("FOLLOWGRAPH_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_when_processes_are_killed() {
    let mut own = Own::start().await;
    let over = Arc::new(AtomicBool::new(false));
    let importer = tokio::spawn(import_until(own.endpoints.commands(), over.clone()));
    let writer = tokio::spawn(write_until(own.endpoints.commands(), over.clone()));

    let seed = 7;
    let mut rng = StdRng::seed_from_u64(seed);
    let mut victims: Vec<_> = Victim::ALL.iter().copied().cycle().take(6 * kills_each() as usize).collect();
    victims.shuffle(&mut rng);
    for victim in victims {
        // Seeded moments under load; not waits for a state.
        tokio::time::sleep(Duration::from_millis(rng.random_range(100..1_500))).await;
        println!("killing {victim:?}");
        own.kill(victim);
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..1_000))).await;
        own.revive(victim);
    }
    over.store(true, Ordering::SeqCst);
    let imported = importer.await.expect("the import went through");
    let written = writer.await.expect("the writes went through");
    // The import may be far ahead of a killed projector.
    own.wait_ready_within(CATCH_UP * kills_each());

    let follows = truth::assert_agreement(&own.endpoints, 20).await;
    assert!(imported.len() > 1_000 && written.len() > 10, "{} and {} writes", imported.len(), written.len());
    for (pair, follows_now) in imported.iter().map(|pair| (pair, &true)).chain(&written) {
        assert_eq!(follows.contains_key(pair), *follows_now, "the acknowledged state of {pair:?}");
    }
    let acknowledged = imported.len() + written.values().filter(|follows| **follows).count();
    assert_eq!(follows.len(), acknowledged, "the acknowledged follows, and no others");
}

/// Imports chunk by chunk; returns all edges, each of which was acknowledged.
async fn import_until(mut commands: Commands, over: Arc<AtomicBool>) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for seed in 0.. {
        if over.load(Ordering::SeqCst) {
            break;
        }
        let edges = graph::random(seed, 400, 1_500);
        importing::all(&mut commands, &edges, 500).await;
        all.extend(edges);
        tokio::time::sleep(REST).await;
    }
    all
}

/// Follows and unfollows, each repeated with its request_id until it is answered; returns the acknowledged state of
/// each pair.
async fn write_until(commands: Commands, over: Arc<AtomicBool>) -> BTreeMap<(String, String), bool> {
    let mut rng = StdRng::seed_from_u64(11);
    let users: Vec<_> = (0..8).map(|_| new_user()).collect();
    let mut state = BTreeMap::new();
    while !over.load(Ordering::SeqCst) {
        let (a, b) = (rng.random_range(0..users.len()), rng.random_range(0..users.len()));
        if a == b {
            continue;
        }
        let (actor_id, target_id, request_id) = (users[a].clone(), users[b].clone(), new_user());
        let pair = (actor_id.clone(), target_id.clone());
        let followed = state.get(&pair) == Some(&true);
        // Each effective change of a pair, once, regardless of the kills.
        let changed = if followed {
            let request = UnfollowRequest { actor_id, target_id, request_id, precondition: None };
            importing::retried(|| {
                let (mut commands, request) = (commands.clone(), request.clone());
                async move { commands.unfollow(request).await }
            })
            .await
            .into_inner()
            .changed
        } else {
            let request = FollowRequest { actor_id, target_id, request_id, precondition: None };
            importing::retried(|| {
                let (mut commands, request) = (commands.clone(), request.clone());
                async move { commands.follow(request).await }
            })
            .await
            .into_inner()
            .changed
        };
        assert!(changed, "{pair:?}: the first answer of a request_id is given again");
        state.insert(pair, !followed);
    }
    state
}
