//! A read model that is healthy, dead, slow, empty, incomplete or lagging.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_healthy_read_model_answers_and_leaves_time_for_the_fallback() {
    let world = World::healthy();
    world.neo4j[0].will(Act::Answer(token(100)));
    assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Neo4j)));
    world.neo4j[0].will(Act::Answer(token(100)));
    assert!(world.ask_within(ANY, Duration::from_millis(300)).await.is_ok());
    assert_eq!(world.neo4j[0].asked(), [SETTINGS.neo4j_timeout, Duration::from_millis(200)]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_read_model_costs_a_read_no_time() {
    let world = World::healthy();
    world.fail_probes(&world.model(0).breaker);
    world.postgres.will(Act::Answer(token(100)));
    let began = Instant::now();
    assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Postgres)));
    assert_eq!(Instant::now(), began);
    assert!(world.neo4j[0].asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_empty_read_model_never_answers() {
    let world = World::healthy();
    world.neo4j[0].will(Act::Fail(Error::NotBuilt));
    world.postgres.will(Act::Answer(token(100)));
    assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Postgres)));
    // It is known now, and not tried again until a checkpoint is reported.
    world.postgres.will(Act::Answer(token(100)));
    assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Postgres)));
    assert_eq!(world.neo4j[0].asked().len(), 1);
    assert_eq!(world.model(0).breaker.open(), None, "an empty server is no dead server");
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_read_model_is_not_asked() {
    let world = World::healthy();
    let checkpoint = Checkpoint { visible: token(100), complete: false };
    world.model(0).replica.announced(checkpoint, Instant::now());
    world.postgres.will(Act::Answer(token(100)));
    assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Postgres)));
    assert!(world.neo4j[0].asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_slow_read_model_is_given_up() {
    let world = World::with_budget(100);
    for _ in 0..5 {
        world.neo4j[0].will(Act::Hang);
        world.postgres.will(Act::Answer(token(100)));
    }
    let began = Instant::now();
    let answers = futures::future::join_all((0..5).map(|_| world.ask(ANY))).await;
    assert_eq!(answers, vec![Ok((token(100), Source::Postgres)); 5]);
    assert_eq!(began.elapsed(), SETTINGS.neo4j_timeout);
    assert!(world.model(0).breaker.open().is_some());
}

#[tokio::test(start_paused = true)]
async fn impatient_callers_do_not_condemn_the_read_model() {
    let world = World::with_budget(100);
    for _ in 0..20 {
        world.neo4j[0].will(Act::Hang);
        world.postgres.will(Act::Answer(token(100)));
        assert!(world.ask_within(ANY, Duration::from_millis(30)).await.is_ok());
    }
    assert_eq!(world.model(0).breaker.open(), None);
}

#[tokio::test(start_paused = true)]
async fn a_failing_read_model_is_given_up() {
    let world = World::with_budget(100);
    for _ in 0..5 {
        world.neo4j[0].will(Act::Fail(Error::failed("reset")));
        world.postgres.will(Act::Answer(token(100)));
        assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Postgres)));
    }
    assert!(world.model(0).breaker.open().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_read_model_that_is_too_far_behind_is_not_asked() {
    let world = World::healthy();
    world.router.heads.observe_event(token(101), Instant::now());
    tokio::time::advance(TOLERANCE.max_staleness).await;
    world.neo4j[0].will(Act::Answer(token(100)));
    assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Neo4j)));
    tokio::time::advance(Duration::from_millis(1)).await;
    world.postgres.will(Act::Answer(token(101)));
    assert_eq!(world.ask(ANY).await, Ok((token(101), Source::Postgres)));
}

#[tokio::test(start_paused = true)]
async fn a_read_model_whose_lag_is_made_up_for_is_asked_however_far_behind() {
    let world = World::healthy();
    world.router.memory.recent.begin(token(100));
    world.router.heads.observe_event(token(101), Instant::now());
    tokio::time::advance(TOLERANCE.max_staleness * 2).await;
    world.neo4j[0].will(Act::Answer(token(101)));
    assert_eq!(world.ask(ANY).await, Ok((token(101), Source::Neo4j)));
    world.router.memory.recent.begin(token(101));
    world.announce(100);
    world.postgres.will(Act::Answer(token(101)));
    assert_eq!(world.ask(ANY).await, Ok((token(101), Source::Postgres)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_of_no_revision_is_the_source_of_truths_to_give() {
    let world = World::healthy();
    world.neo4j[0].will(Act::Fail(Error::NotExact));
    world.postgres.will(Act::Answer(token(101)));
    assert_eq!(world.ask(ANY).await, Ok((token(101), Source::Postgres)));
    assert_eq!(world.model(0).breaker.open(), None, "the read model did answer");
}

#[tokio::test(start_paused = true)]
async fn it_comes_back_to_the_read_model_when_the_breaker_closes() {
    let world = World::healthy();
    let breaker = &world.model(0).breaker;
    world.fail_probes(breaker);
    world.postgres.will(Act::Answer(token(100)));
    assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Postgres)));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(breaker.probe_succeeded(Instant::now()));
    breaker.close(Instant::now());
    world.neo4j[0].will(Act::Answer(token(100)));
    assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Neo4j)));
}

#[tokio::test(start_paused = true)]
async fn our_own_queue_neither_opens_a_breaker_nor_reaches_postgres() {
    let world = World::with_replicas(2);
    for _ in 0..20 {
        (0..2).for_each(|number| world.neo4j[number].will(Act::Fail(Error::Busy)));
        let refused = world.ask(ANY).await;
        assert!(matches!(refused, Err(Refusal::Busy { .. })), "{refused:?}");
    }
    assert!((0..2).all(|number| world.model(number).breaker.open().is_none()));
}
