//! Single-hop reads of both stores, compared with the model of the contract, with each other, and with examples.

mod compare;
mod examples;
mod mistakes;
mod sources;

use proto::UserId;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tests::model::Model;
use tests::{Act, Ask, Endpoints, asks, users};

use compare::Compare;

const ACCOUNTS: usize = 7;
const ROUNDS: usize = 6;
const COMMANDS_A_ROUND: usize = 60;

const ACTS: [Act; 10] = [
    Act::Follow,
    Act::Unfollow,
    Act::RemoveFollower,
    Act::Mute,
    Act::Unmute,
    Act::Block,
    Act::Unblock,
    Act::Accept,
    Act::Reject,
    Act::Cancel,
];

/// A command that more often adds an edge, because lists would stay empty otherwise.
fn command(random: &mut StdRng, users: &[UserId]) -> Ask {
    let actor = users[random.random_range(0..users.len())];
    let others: Vec<_> = users.iter().filter(|user| **user != actor).collect();
    let other = *others[random.random_range(0..others.len())];
    let adds = [Act::Follow, Act::Follow, Act::Follow, Act::Mute, Act::Accept];
    let act = if random.random_bool(0.6) {
        adds[random.random_range(0..adds.len())]
    } else {
        ACTS[random.random_range(0..ACTS.len())]
    };
    let ask = Ask::new(act, actor, other);
    match act {
        Act::Mute | Act::Block if random.random_bool(0.5) => {
            ask.until(asks::in_hours(random.random_range(24..48)))
        }
        _ => ask,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_read_of_both_stores_is_the_models() {
    let endpoints = Endpoints::shared();
    let commands = endpoints.commands();
    let users: [UserId; ACCOUNTS] = users();
    let mut model = Model::default();
    let mut random = StdRng::seed_from_u64(5);
    // Some private accounts, so that there are requests.
    for user in &users[..3] {
        tests::jobs::OnAccount::SetPrivate(true).send(&commands, *user, None).await.expect("made private");
        model.begin_step();
        model.set_private(*user, true).expect("made private");
    }
    let compare = Compare::new(&endpoints, &users);
    for round in 0..ROUNDS {
        let mut newest = None;
        for _ in 0..COMMANDS_A_ROUND {
            let ask = command(&mut random, &users);
            model.begin_step();
            if let Ok(answer) = ask.send(&commands).await {
                model.act(&ask).expect("the model accepts what the service accepts");
                newest = Some(answer.written_at);
            } else {
                model.act(&ask).expect_err("the model rejects what the service rejects");
            }
        }
        if round == ROUNDS / 2 {
            // Hidden accounts are in no list, count or pair, and come back at their old positions.
            tests::jobs::OnAccount::Archive.finish(&commands, users[6]).await;
            model.begin_step();
            model.set_archived(users[6], true);
            newest = None;
        }
        let token = match newest {
            Some(token) => token,
            None => tests::truth::head_token(&endpoints).await.to_string(),
        };
        compare.all(&model, &token).await;
    }
}
