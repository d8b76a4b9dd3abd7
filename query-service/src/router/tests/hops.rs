//! Multi-hop questions.

use super::*;

fn suggest() -> queries::Suggest {
    queries::Suggest { viewer: someone(), limit: 1 }
}

fn far() -> queries::ListAt {
    queries::ListAt { kind: ListKind::Followers, user: someone(), offset: 2_000, limit: 1, viewer: None }
}

fn someone() -> UserId {
    UserId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").expect("an id")
}

fn until() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

#[tokio::test(start_paused = true)]
async fn what_the_read_model_alone_can_answer_is_not_asked_elsewhere() {
    let world = World::healthy();
    world.neo4j[0].will(Act::Fail(Error::failed("no")));
    let refused = world.router.answer(&suggest(), &call(ANY, until())).await;
    assert!(matches!(refused, Err(Refusal::Unavailable { .. })), "{refused:?}");
    assert!(world.postgres.asked().is_empty());
    world.neo4j[0].will(Act::Fail(Error::failed("no")));
    world.postgres.will(Act::Answer(token(100)));
    let answer = world.router.answer(&far(), &call(ANY, until())).await;
    assert_eq!(answer.expect("an answer").source, Source::Postgres);
}

#[tokio::test(start_paused = true)]
async fn suggestions_that_no_read_model_can_make_yet_say_when_to_come_back() {
    for error in [None, Some(Error::NotExact)] {
        let world = World::healthy();
        let need = if error.is_some() { ANY } else { at_least(token(101)) };
        if let Some(error) = error {
            world.neo4j[0].will(Act::Fail(error));
        }
        let refused = world.router.answer(&suggest(), &call(need, until())).await;
        let Err(Refusal::Behind { retry_after }) = refused else { panic!("{refused:?}") };
        assert!(retry_after >= Duration::from_millis(100), "{retry_after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_recent_events_confirm_is_not_waited_for() {
    let world = World::healthy();
    world.router.memory.recent.begin(token(105));
    world.neo4j[0].will(Act::Answer(token(105)));
    let began = Instant::now();
    let answer = world.router.answer(&far(), &call(at_least(token(105)), until())).await;
    assert_eq!((answer.expect("an answer").as_of, began.elapsed()), (token(105), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_they_do_not_confirm_waits_for_the_read_model() {
    let world = World::healthy();
    world.router.memory.recent.begin(token(105));
    world.neo4j[0].will(Act::Answer(token(103)));
    world.neo4j[0].will(Act::Answer(token(106)));
    let (question, call) = (far(), call(at_least(token(105)), until()));
    let mut asked = pin!(world.router.answer(&question, &call));
    begins_to_wait(asked.as_mut()).await;
    assert_eq!(world.neo4j[0].asked().len(), 1);
    // Longer than a single-hop question would wait.
    tokio::time::advance(SETTINGS.freshness_wait * 3).await;
    begins_to_wait(asked.as_mut()).await;
    world.announce(106);
    let answer = asked.await.expect("an answer");
    assert_eq!((answer.as_of, answer.source), (token(106), Source::Neo4j));
}

#[tokio::test(start_paused = true)]
async fn a_read_model_that_stays_behind_is_waited_for_a_second() {
    let world = World::healthy();
    world.postgres.will(Act::Answer(token(105)));
    let began = Instant::now();
    let answer = world.router.answer(&far(), &call(at_least(token(105)), until())).await;
    assert_eq!(answer.expect("an answer").source, Source::Postgres);
    assert_eq!(began.elapsed(), Duration::from_secs(1));
}
