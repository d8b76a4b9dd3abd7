//! Fallback to PostgreSQL: when it happens, and within which budget.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_source_of_truth_is_asked_when_the_caller_wants_it() {
    let world = World::healthy();
    world.postgres.will(Act::Answer(token(101)));
    assert_eq!(world.ask(TRUTH).await, Ok((token(101), Source::Postgres)));
    assert!(world.neo4j[0].asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn beyond_the_budget_it_refuses_at_once_and_says_when_to_come_back() {
    let world = World::with_budget(3);
    world.fail_probes(&world.model(0).breaker);
    for _ in 0..3 {
        world.postgres.will(Act::Answer(token(100)));
        assert!(world.ask(ANY).await.is_ok());
    }
    let began = Instant::now();
    let refused = world.ask(ANY).await;
    let Err(Refusal::BudgetExhausted { limit: Limit::Rate, retry_after }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(Instant::now(), began);
    assert!(
        retry_after >= Duration::from_millis(300) && retry_after <= Duration::from_millis(700),
        "{retry_after:?}"
    );
    tokio::time::advance(retry_after).await;
    world.postgres.will(Act::Answer(token(100)));
    assert!(world.ask(ANY).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn without_any_store_it_says_so_at_once() {
    let world = World::healthy();
    world.fail_probes(&world.model(0).breaker);
    world.fail_probes(&world.router.postgres.breaker);
    assert!(matches!(world.ask(ANY).await, Err(Refusal::Unavailable { .. })));
    assert_eq!((world.neo4j[0].asked(), world.postgres.asked()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_is_told_as_such() {
    let world = World::healthy();
    assert_eq!(world.ask_within(ANY, Duration::ZERO).await, Err(Refusal::DeadlineExceeded));
    world.postgres.will(Act::Hang);
    assert_eq!(world.ask_within(TRUTH, Duration::from_millis(50)).await, Err(Refusal::DeadlineExceeded));
    assert_eq!(world.router.postgres.breaker.open(), None);
}

#[tokio::test(start_paused = true)]
async fn a_read_model_that_is_to_answer_alone_is_not_replaced() {
    let world = World::healthy().only(ReadSource::Neo4j);
    world.neo4j[0].will(Act::Answer(token(100)));
    assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Neo4j)));
    world.neo4j[0].will(Act::Fail(Error::failed("reset")));
    assert!(matches!(world.ask(ANY).await, Err(Refusal::Unavailable { .. })));
    assert!(world.postgres.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_no_store_that_may_be_asked_can_ever_answer_is_not_to_be_tried_again() {
    let world = World::healthy().only(ReadSource::Neo4j);
    assert_eq!(world.ask(TRUTH).await, Err(Refusal::RuledOut { read_source: ReadSource::Neo4j }));
    let world = World::healthy().only(ReadSource::Postgres);
    let viewer = UserId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").expect("an id");
    let (suggest, until) = (queries::Suggest { viewer, limit: 1 }, Instant::now() + Duration::from_secs(1));
    let refused = world.router.answer(&suggest, &call(ANY, until)).await;
    assert_eq!(refused.map(|_| ()), Err(Refusal::RuledOut { read_source: ReadSource::Postgres }));
    assert_eq!((world.neo4j[0].asked(), world.postgres.asked()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_source_of_truth_that_is_to_answer_alone_has_no_budget_per_second() {
    let world = World::with_budget(1).only(ReadSource::Postgres);
    for _ in 0..5 {
        world.postgres.will(Act::Answer(token(100)));
        assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Postgres)));
    }
    assert!(world.neo4j[0].asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_trail_tells_what_was_asked_and_why() {
    let world = World::healthy();
    world.neo4j[0].will(Act::Fail(Error::NotComplete));
    world.postgres.will(Act::Answer(token(100)));
    let someone = UserId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").expect("an id");
    let question = Check { viewer: someone, targets: vec![someone] };
    let until = Instant::now() + Duration::from_secs(1);
    let call = Call { trace: QueryTrace::new(true), ..call(ANY, until) };
    assert!(world.router.answer(&question, &call).await.is_ok());
    let record = call.trace.record().expect("it was wanted");
    assert_eq!(record.fallback, Some("not_complete"));
    let steps: Vec<_> =
        record.steps.iter().map(|s| (s.store, s.question, s.outcome.name(), s.store_as_of)).collect();
    let wanted =
        [(Source::Neo4j, "check", "not_ready", None), (Source::Postgres, "check", "ok", Some(token(100)))];
    assert_eq!(steps, wanted);
}

#[tokio::test(start_paused = true)]
async fn a_read_from_postgres_ends_at_our_timeout() {
    let world = World::healthy();
    world.postgres.will(Act::Hang);
    let began = Instant::now();
    let refused = world.ask_within(TRUTH, Duration::from_secs(3_600)).await;
    assert!(matches!(refused, Err(Refusal::Unavailable { .. })), "{refused:?}");
    assert_eq!(began.elapsed(), SETTINGS.postgres_timeout);
    // A caller with a shorter deadline proves nothing, and gets its deadline as the reason.
    world.postgres.will(Act::Hang);
    let refused = world.ask_within(TRUTH, Duration::from_millis(100)).await;
    assert_eq!(refused, Err(Refusal::DeadlineExceeded));
}
