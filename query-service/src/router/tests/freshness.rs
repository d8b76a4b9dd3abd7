//! Tokens and epochs: waits, rejections, and the stores that decide.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_token_that_this_process_has_read_is_not_waited_for() {
    let world = World::healthy();
    world.router.memory.recent.begin(token(102));
    world.router.heads.observe_event(token(102), Instant::now());
    world.neo4j[0].will(Act::Answer(token(102)));
    let began = Instant::now();
    assert_eq!(world.ask(at_least(token(102))).await, Ok((token(102), Source::Neo4j)));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_waited_for() {
    let world = World::healthy();
    world.neo4j[0].will(Act::Answer(token(103)));
    let began = Instant::now();
    let mut asked = pin!(world.ask(at_least(token(102))));
    begins_to_wait(asked.as_mut()).await;
    world.announce(103);
    assert_eq!(asked.await, Ok((token(103), Source::Neo4j)));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_does_not_come_in_time_is_answered_by_the_source_of_truth() {
    let world = World::healthy();
    world.postgres.will(Act::Answer(token(102)));
    let began = Instant::now();
    assert_eq!(world.ask(at_least(token(102))).await, Ok((token(102), Source::Postgres)));
    assert_eq!(began.elapsed(), SETTINGS.freshness_wait);
    assert!(world.neo4j[0].asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_heard_is_no_proof() {
    // The projector announced revision 102, but the answer is of 101: another read model, or restored.
    let world = World::healthy();
    world.announce(102);
    world.neo4j[0].will(Act::Answer(token(101)));
    world.postgres.will(Act::Answer(token(102)));
    assert_eq!(world.ask(at_least(token(102))).await, Ok((token(102), Source::Postgres)));
}

#[tokio::test(start_paused = true)]
async fn a_token_beyond_the_head_is_refused() {
    let world = World::healthy();
    world.postgres.will(Act::Answer(token(101)));
    assert_eq!(world.ask(at_least(token(102))).await, Err(Refusal::TokenAhead));
}

#[tokio::test(start_paused = true)]
async fn a_token_of_a_past_epoch_is_refused_at_once() {
    let world = World::healthy();
    world.router.heads.observe_head(of_epoch(2, 5), Instant::now());
    assert_eq!(world.ask(at_least(token(100))).await, Err(Refusal::EpochChanged));
    assert_eq!((world.neo4j[0].asked(), world.postgres.asked()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_new_epoch_does_not_satisfy_a_token_of_the_old_one() {
    // Tokens order by epoch first; the answer must not count as a later one of the same history.
    let world = World::healthy();
    world.neo4j[0].will(Act::Answer(of_epoch(2, 5)));
    world.postgres.will(Act::Answer(of_epoch(2, 5)));
    assert_eq!(world.ask(at_least(token(100))).await, Err(Refusal::EpochChanged));
}

#[tokio::test(start_paused = true)]
async fn only_the_source_of_truth_knows_of_an_epoch_that_was_not_heard_of() {
    let world = World::healthy();
    world.postgres.will(Act::Answer(of_epoch(2, 5)));
    // It has reported its head before the call only.
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(world.ask(at_least(of_epoch(2, 5))).await, Ok((of_epoch(2, 5), Source::Postgres)));
    // From now on the epoch is known, and the read model's data is outdated.
    world.postgres.will(Act::Answer(of_epoch(2, 6)));
    assert_eq!(world.ask(ANY).await, Ok((of_epoch(2, 6), Source::Postgres)));
    assert!(world.neo4j[0].asked().is_empty());
    world.postgres.will(Act::Answer(of_epoch(2, 6)));
    assert_eq!(world.ask(at_least(of_epoch(3, 1))).await, Err(Refusal::EpochChanged));
}

#[tokio::test(start_paused = true)]
async fn a_token_of_an_epoch_that_does_not_exist_costs_postgres_nothing() {
    let world = World::healthy();
    tokio::time::advance(Duration::from_millis(1)).await;
    let mut asked = pin!(world.ask(at_least(of_epoch(7, 1))));
    begins_to_wait(asked.as_mut()).await;
    world.router.heads.observe_head(token(101), Instant::now());
    assert_eq!(asked.await, Err(Refusal::EpochChanged));
    assert!(world.postgres.asked().is_empty() && world.neo4j[0].asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_epoch_that_postgres_tells_meanwhile_is_read_from_the_read_model() {
    let world = World::healthy();
    tokio::time::advance(Duration::from_millis(1)).await;
    world.neo4j[0].will(Act::Answer(of_epoch(2, 5)));
    let mut asked = pin!(world.ask(at_least(of_epoch(2, 5))));
    begins_to_wait(asked.as_mut()).await;
    world.router.heads.observe_head(of_epoch(2, 5), Instant::now());
    world.router.memory.recent.begin(of_epoch(2, 5));
    let checkpoint = Checkpoint { visible: of_epoch(2, 5), complete: true };
    world.model(0).replica.announced(checkpoint, Instant::now());
    assert_eq!(asked.await, Ok((of_epoch(2, 5), Source::Neo4j)));
}
