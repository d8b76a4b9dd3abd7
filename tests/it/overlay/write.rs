//! Writers: random commands that change edges, among a few accounts.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tests::asks::batch;
use tests::jobs::OnAccount;
use tests::{Act, Ask, Commands};
use time::OffsetDateTime;

use super::load::Load;

/// Pause between two commands of a writer, so that both projectors keep up on a small machine.
pub const REST: Duration = Duration::from_millis(80);
/// Timeout of one response.
const PATIENCE: Duration = Duration::from_secs(10);

const ACTS: [Act; 14] = [
    Act::Follow,
    Act::Follow,
    Act::Follow,
    Act::Follow,
    Act::Unfollow,
    Act::RemoveFollower,
    Act::Mute,
    Act::Unmute,
    Act::Block,
    Act::Unblock,
    Act::Unblock,
    Act::Accept,
    Act::Reject,
    Act::Cancel,
];

/// Writes until the load ends; returns the number of executed commands.
pub async fn until_over(commands: Commands, load: Load, seed: u64, rest: Duration) -> u64 {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut done = 0;
    while !load.is_over() {
        load.pause(rest).await;
        let outcome = tokio::time::timeout(PATIENCE, one(&commands, &load, &mut rng)).await;
        // Rejected by a rule, or without an answer: both happen here.
        let Ok(Some(token)) = outcome else { continue };
        load.newest.send_if_modified(|newest| {
            let newer = *newest < token;
            if newer {
                *newest = token;
            }
            newer
        });
        done += 1;
    }
    done
}

/// Sends one command; returns its token.
async fn one(commands: &Commands, load: &Load, rng: &mut StdRng) -> Option<String> {
    let users = &load.users;
    match rng.random_range(0..100) {
        // The first accounts are private at times, so that there are requests.
        0..3 => {
            let user = users[rng.random_range(0..3)];
            let started = OnAccount::SetPrivate(rng.random_range(0..4) > 0).send(commands, user, None).await;
            started.ok().map(|started| started.written_at)
        }
        3 => {
            // The last account is archived and restored, with all of its edges.
            let what = if rng.random() { OnAccount::Archive } else { OnAccount::Restore };
            let started = what.send(commands, users[users.len() - 1], None).await;
            started.ok().map(|started| started.written_at)
        }
        4..12 => {
            let asks: Vec<_> = (0..rng.random_range(2..8)).map(|_| ask(load, rng)).collect();
            let answer = batch(commands, &asks, false, None).await.ok()?;
            Some(answer.written_at)
        }
        _ => ask(load, rng).send(commands).await.ok().map(|answer| answer.written_at),
    }
}

fn ask(load: &Load, rng: &mut StdRng) -> Ask {
    let actor = load.pick(rng);
    let other = (actor + rng.random_range(1..load.users.len())) % load.users.len();
    let ask = Ask::new(ACTS[rng.random_range(0..ACTS.len())], load.users[actor], load.users[other]);
    let runs_out = matches!(ask.act, Act::Mute | Act::Block) && rng.random_range(0..3) > 0;
    if runs_out {
        ask.until(OffsetDateTime::now_utc() + Duration::from_millis(rng.random_range(500..3_000)))
    } else {
        ask
    }
}
