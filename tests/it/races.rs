//! Two clients and two command-services on the same pairs: in any order, the final state obeys the rules, and a replay
//! of the log leads to it (I1, I6, I11).

use devstack::services::Service;
use futures::future::join_all;
use proto::UserId;
use proto::error::{Reason, reason_of};
use proto::event::EdgeKind;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tests::jobs::{self, OnAccount};
use tests::truth::postgres::snapshot_of;
use tests::truth::{self, Edges};
use tests::{Act, Ask, Commands, Endpoints, asks, own::second_replica, user, users};
use uuid::Uuid;

/// Two command-services, and a client of each.
struct Two {
    replicas: [Commands; 2],
    _second: Service,
    endpoints: Endpoints,
}

impl Two {
    fn start() -> Self {
        let endpoints = Endpoints::shared();
        let second = second_replica(&endpoints);
        let replicas = [endpoints.commands(), endpoints.through(&second).commands()];
        Self { replicas, _second: second, endpoints }
    }
}

/// Errors that are correct while the other side of the pair writes.
fn is_expected(reason: Option<Reason>) -> bool {
    matches!(reason, Some(Reason::Blocked | Reason::RequestNotFound))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_alone_gives_the_final_tables_after_every_race() {
    const ROUNDS: usize = 60;
    let two = Two::start();
    let pairs: Vec<[UserId; 2]> = (0..8).map(|_| users()).collect();
    for [_, private] in pairs.iter().step_by(2) {
        OnAccount::SetPrivate(true).finish(&two.replicas[0], *private).await;
    }
    // Each side of each pair sends all its commands, and sometimes changes its privacy.
    let first = [Act::Follow, Act::Unfollow, Act::Cancel, Act::Block, Act::Unblock, Act::Mute, Act::Unmute];
    let other = [Act::Accept, Act::Reject, Act::RemoveFollower, Act::Block, Act::Unblock, Act::Follow];
    let side = |commands: Commands, pair: [UserId; 2], acts: Vec<Act>, seed: u64| async move {
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..ROUNDS {
            let act = *acts.choose(&mut rng).expect("there are acts");
            if let Err(status) = Ask::new(act, pair[0], pair[1]).send(&commands).await {
                assert!(is_expected(reason_of(&status)), "{act:?}: {status:?}");
            }
            if act == Act::RemoveFollower {
                let private = OnAccount::SetPrivate(rng.random());
                private.send(&commands, pair[0], None).await.expect("privacy");
            }
        }
    };
    join_all(pairs.iter().zip((0..).step_by(2)).flat_map(|([a, b], seed)| {
        let [here, there] = &two.replicas;
        [
            tokio::spawn(side(here.clone(), [*a, *b], first.to_vec(), seed)),
            tokio::spawn(side(there.clone(), [*b, *a], other.to_vec(), seed + 1)),
        ]
    }))
    .await
    .into_iter()
    .for_each(|side| side.expect("no side saw what it should not"));
    let asked: Vec<_> = pairs.into_iter().flatten().collect();
    wait_for_jobs(&two.endpoints, &asked).await;
    // The replay checks the rules at every event.
    truth::assert_log(&two.endpoints).await;
}

/// Going public is a job; the tables are final when it is done.
async fn wait_for_jobs(endpoints: &Endpoints, users: &[UserId]) {
    let sql = "SELECT job_id FROM jobs WHERE state = 'running' AND user_id = ANY ($1)";
    let running: Vec<Uuid> = sqlx::query_scalar(sql)
        .bind(users.iter().map(|user| user.uuid()).collect::<Vec<_>>())
        .fetch_all(&endpoints.postgres().await)
        .await
        .expect("jobs are readable");
    for job in running {
        jobs::wait(&endpoints.commands(), &job.to_string()).await;
    }
}

/// One pair with a pending request of the first to the second, who is private.
async fn pending(commands: &Commands) -> [UserId; 2] {
    let [a, p] = users();
    OnAccount::SetPrivate(true).finish(commands, p).await;
    assert!(Ask::new(Act::Follow, a, p).done(commands).await.changed);
    [a, p]
}

async fn edges(endpoints: &Endpoints, pair: [UserId; 2]) -> Edges {
    let snapshot = snapshot_of(&endpoints.postgres().await, &pair).await;
    snapshot.assert_consistent();
    snapshot.edges
}

#[tokio::test(flavor = "multi_thread")]
async fn accept_against_a_block_or_a_cancel_ends_in_one_defined_state() {
    let two = Two::start();
    let [here, there] = &two.replicas;
    let mut outcomes = std::collections::BTreeMap::new();
    for round in 0..60 {
        let pair @ [a, p] = pending(here).await;
        // Against a block by either side, and against a cancel.
        let (name, against) = match round % 3 {
            0 => ("a block by the asker", Ask::new(Act::Block, a, p)),
            1 => ("a block by the requested account", Ask::new(Act::Block, p, a)),
            _ => ("a cancel", Ask::new(Act::Cancel, a, p)),
        };
        let accept = Ask::new(Act::Accept, p, a);
        let (accept_there, against_there) = (round % 2 == 0, round % 4 < 2);
        let (accepted, other) = tokio::join!(
            accept.send(if accept_there { there } else { here }),
            against.send(if against_there { there } else { here }),
        );
        let other = other.expect("no rule rejects it");
        let accepted = match accepted {
            Ok(answer) => answer.changed,
            Err(status) => {
                assert_eq!(reason_of(&status), Some(Reason::RequestNotFound), "{status:?}");
                false
            }
        };
        let kinds: Vec<_> = edges(&two.endpoints, pair).await.into_keys().map(|key| key.kind).collect();
        if against.act == Act::Block {
            assert!(other.changed);
            assert_eq!(kinds, [EdgeKind::Block], "{name}, accepted {accepted}");
        } else {
            assert_eq!(other.changed, !accepted, "one of the two got the request");
            let wanted: &[EdgeKind] = if accepted { &[EdgeKind::Follow] } else { &[] };
            assert_eq!(kinds, wanted, "{name}, accepted {accepted}");
        }
        *outcomes.entry((name, accepted)).or_insert(0) += 1;
    }
    println!("{outcomes:?}");
    truth::assert_log(&two.endpoints).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_answer_comes_from_any_replica_and_a_repeat_in_flight_changes_once() {
    let two = Two::start();
    let [here, there] = &two.replicas;
    for round in 0..20 {
        let [a, b] = users();
        let ask = match round % 3 {
            0 => Ask::new(Act::Follow, a, b),
            1 => Ask::new(Act::Block, a, b),
            _ => Ask::new(Act::Mute, a, b).until(asks::in_hours(3)),
        }
        .under(Uuid::new_v4());
        let answers =
            join_all([here, there].into_iter().cycle().take(8).map(|commands| ask.done(commands))).await;
        assert!(answers.iter().all(|answer| answer.changed && *answer == answers[0]), "{answers:?}");
        let other = Ask { other: user(), ..ask }.refused(there).await;
        assert_eq!(reason_of(&other), Some(Reason::RequestIdReused));
    }

    let [a, b] = users();
    Ask::new(Act::Follow, b, a).done(here).await;
    let id = Some(Uuid::new_v4());
    let (first, second) =
        tokio::join!(OnAccount::Erase.send(here, a, id), OnAccount::Erase.send(there, a, id));
    let mut job_ids = [first.expect("an erase").job_id, second.expect("an erase").job_id];
    job_ids.sort();
    // Also if the job has ended meanwhile, and has erased the first answer with the account.
    assert_eq!(job_ids[0], job_ids[1], "one job");
    assert!(!job_ids[1].is_empty(), "there was something to erase");
    jobs::wait(there, &job_ids[1]).await;
    wait_for_jobs(&two.endpoints, &[a]).await;
    truth::assert_log(&two.endpoints).await;
}
