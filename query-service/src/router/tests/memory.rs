//! Answers from memory, and reads that bypass it.

use super::*;
use crate::memory::FromMemory;
use crate::queries::QuestionName;

/// A question that memory answers as of this revision.
struct Remembered(Token);

impl Question for Remembered {
    type Answer = bool;

    fn name(&self) -> QuestionName {
        QuestionName::Check
    }

    fn items(&self) -> usize {
        1
    }
}

impl FromMemory for Remembered {
    fn answer_from_memory(&self, _: &Memory) -> Option<Answer<bool>> {
        Some(Answer { value: true, as_of: self.0, source: Source::Memory })
    }
}

async fn ask(world: &World, remembered: Token, need: Need) -> Result<bool, Refusal> {
    let until = Instant::now() + Duration::from_secs(2);
    let answer = world.router.answer(&Remembered(remembered), &call(need, until)).await;
    answer.map(|answer| answer.value)
}

#[tokio::test(start_paused = true)]
async fn memory_answers_before_any_store() {
    let world = World::healthy();
    assert_eq!(ask(&world, token(100), ANY).await, Ok(true));
    assert_eq!(ask(&world, token(100), at_least(token(100))).await, Ok(true));
    assert_eq!((world.neo4j[0].asked(), world.postgres.asked()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn memory_that_is_too_old_or_of_another_epoch_does_not_answer() {
    let world = World::healthy();
    for (remembered, need) in [(token(99), at_least(token(100))), (of_epoch(9, 100), ANY)] {
        world.neo4j[0].will(Act::Answer(token(100)));
        assert_eq!(ask(&world, remembered, need).await, Ok(false));
    }
    assert_eq!(world.neo4j[0].asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn memory_does_not_stand_for_the_source_of_truth() {
    for (source, need) in [(ReadSource::Auto, TRUTH), (ReadSource::Postgres, ANY)] {
        let world = World::healthy().only(source);
        world.postgres.will(Act::Answer(token(100)));
        assert_eq!(ask(&world, token(100), need).await, Ok(false));
    }
}

#[tokio::test(start_paused = true)]
async fn memory_answers_only_while_this_process_hears_of_the_head() {
    let world = World::healthy();
    let lag = SETTINGS.memory_max_lag;
    tokio::time::advance(lag).await;
    assert_eq!(ask(&world, token(100), ANY).await, Ok(true));
    tokio::time::advance(Duration::from_millis(1)).await;
    world.neo4j[0].will(Act::Answer(token(100)));
    assert_eq!(ask(&world, token(100), ANY).await, Ok(false));
    world.router.heads.observe_head(token(100), Instant::now());
    assert_eq!(ask(&world, token(100), ANY).await, Ok(true));
}

#[tokio::test(start_paused = true)]
async fn memory_that_lacks_something_old_does_not_answer() {
    let world = World::healthy();
    let second = Duration::from_secs(1);
    world.router.heads.observe_head(token(101), Instant::now());
    for _ in 0..SETTINGS.memory_max_lag.as_secs() {
        assert_eq!(ask(&world, token(100), ANY).await, Ok(true));
        tokio::time::advance(second).await;
        world.router.heads.observe_head(token(101), Instant::now());
    }
    tokio::time::advance(second).await;
    world.router.heads.observe_head(token(101), Instant::now());
    world.neo4j[0].will(Act::Answer(token(101)));
    assert_eq!(ask(&world, token(100), ANY).await, Ok(false));
}

#[tokio::test(start_paused = true)]
async fn read_source_neo4j_promises_neo4j() {
    let world = World::healthy().only(ReadSource::Neo4j);
    world.neo4j[0].will(Act::Answer(token(100)));
    assert_eq!(ask(&world, token(100), ANY).await, Ok(false));
}
