//! Several read models: which is tried first, and which next.

use std::collections::BTreeMap;

use super::*;

/// Sends one read. Returns the replicas that were tried, in order, and the store that answered.
async fn asked(world: &World, need: Need) -> (Vec<String>, Result<Source, Refusal>) {
    let someone = UserId::parse("f47ac10b-58cc-4372-a567-0e02b2c3d479").expect("an id");
    let question = Check { viewer: someone, targets: vec![someone] };
    let until = Instant::now() + Duration::from_secs(2);
    let call = Call { trace: QueryTrace::new(true), ..call(need, until) };
    let answer = world.router.answer(&question, &call).await;
    let record = call.trace.record().expect("it was wanted");
    let steps = record.steps.into_iter().filter_map(|step| Some(step.replica?.to_string()));
    (steps.collect(), answer.map(|answer| answer.source))
}

#[tokio::test(start_paused = true)]
async fn reads_are_spread_evenly() {
    let world = World::with_replicas(3);
    let mut counts = BTreeMap::new();
    for _ in 0..30 {
        world.neo4j.iter().for_each(|fake| fake.will(Act::Answer(token(100))));
        let (steps, answer) = asked(&world, ANY).await;
        assert_eq!(answer, Ok(Source::Neo4j));
        *counts.entry(steps[0].clone()).or_insert(0) += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [10, 10, 10]);
}

#[tokio::test(start_paused = true)]
async fn the_one_with_fewer_calls_under_way_is_asked() {
    let world = World::with_replicas(2);
    // One of them does not answer the first call; every other call avoids it until that call ends.
    world.neo4j.iter().for_each(|fake| fake.will(Act::Hang));
    let mut slow = Box::pin(world.ask(ANY));
    assert!(futures::poll!(slow.as_mut()).is_pending());
    let busy = world.neo4j.iter().position(|fake| !fake.asked().is_empty()).expect("one received the read");
    let free = 1 - busy;
    world.neo4j[free].acts.lock().clear();
    for _ in 0..10 {
        world.neo4j[free].will(Act::Answer(token(100)));
        let (steps, answer) = asked(&world, ANY).await;
        assert_eq!((steps.len(), answer), (1, Ok(Source::Neo4j)));
    }
    assert_eq!((world.neo4j[busy].asked().len(), world.neo4j[free].asked().len()), (1, 10));
    // The slow call is abandoned and sent to the other one.
    world.neo4j[free].will(Act::Answer(token(100)));
    assert_eq!(slow.await, Ok((token(100), Source::Neo4j)));
    assert!(world.postgres.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_is_put_to_the_next_one_before_the_source_of_truth() {
    for failure in [
        || Error::failed("reset"),
        || Error::NotBuilt,
        || Error::NotComplete,
        || Error::NotExact,
        || Error::TimedOut,
    ] {
        let world = World::with_replicas(3);
        // Whichever are tried first and second.
        let mut order = Vec::new();
        for _ in 0..2 {
            for fake in &world.neo4j {
                fake.acts.lock().clear();
            }
            world.neo4j.iter().for_each(|fake| fake.will(Act::Fail(failure())));
            world.postgres.will(Act::Answer(token(100)));
            let (steps, answer) = asked(&world, ANY).await;
            // All three failed in the same way: then, and only then, the read falls back to PostgreSQL.
            let mut sorted = steps.clone();
            sorted.sort_unstable();
            let all = ["projector-0", "projector-1", "projector-2"];
            // A replica that is known to be empty is not tried again.
            assert!(sorted == all || sorted.is_empty(), "{sorted:?}");
            assert_eq!(answer, Ok(Source::Postgres));
            order.push(steps.len());
        }
        assert_eq!(order[0], 3);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_answers_is_enough() {
    let world = World::with_replicas(2);
    for number in 0..2 {
        world.fail_probes(&world.model(number).breaker);
        let other = 1 - number;
        for _ in 0..5 {
            world.neo4j[other].will(Act::Answer(token(100)));
            let (steps, answer) = asked(&world, ANY).await;
            assert_eq!(steps, [format!("projector-{other}")]);
            assert_eq!(answer, Ok(Source::Neo4j));
        }
        world.model(number).breaker.close(Instant::now());
    }
    assert!(world.postgres.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn each_has_a_breaker_of_its_own() {
    let world = World::with_replicas(2);
    for _ in 0..20 {
        world.neo4j[0].will(Act::Fail(Error::failed("reset")));
        world.neo4j[1].will(Act::Answer(token(100)));
        let (_, answer) = asked(&world, ANY).await;
        assert_eq!(answer, Ok(Source::Neo4j), "no read fails");
        world.neo4j[1].acts.lock().clear();
        world.neo4j[0].acts.lock().clear();
    }
    assert!(world.model(0).breaker.open().is_some());
    assert_eq!(world.model(1).breaker.open(), None);
    assert_eq!(world.neo4j[0].asked().len(), 5, "then it is left alone");
}

#[tokio::test(start_paused = true)]
async fn one_that_lags_is_asked_only_where_no_other_can_be() {
    let world = World::with_replicas(2);
    world.router.heads.observe_event(token(101), Instant::now());
    world.announced_by(1, 101);
    tokio::time::advance(TOLERANCE.max_lag * 2).await;
    for _ in 0..6 {
        world.neo4j[1].will(Act::Answer(token(101)));
        let (steps, _) = asked(&world, ANY).await;
        assert_eq!(steps, ["projector-1"]);
    }
    world.neo4j[1].will(Act::Fail(Error::failed("reset")));
    world.neo4j[0].will(Act::Answer(token(100)));
    let (steps, answer) = asked(&world, ANY).await;
    assert_eq!(steps, ["projector-1", "projector-0"]);
    assert_eq!(answer, Ok(Source::Neo4j));
    let lagging: Vec<_> = world.router.health(Instant::now()).iter().map(|replica| replica.lagging).collect();
    assert_eq!(lagging, [true, false]);
    world.announced_by(0, 101);
    world.neo4j.iter().for_each(|fake| fake.will(Act::Answer(token(101))));
    let (first, _) = asked(&world, ANY).await;
    world.neo4j.iter().for_each(|fake| fake.will(Act::Answer(token(101))));
    let (second, _) = asked(&world, ANY).await;
    assert_ne!(first, second, "it has caught up and has its turn");
}

#[tokio::test(start_paused = true)]
async fn one_that_has_reached_the_token_is_preferred() {
    let world = World::with_replicas(2);
    world.router.heads.observe_event(token(102), Instant::now());
    world.announced_by(1, 102);
    for _ in 0..4 {
        world.neo4j[1].will(Act::Answer(token(102)));
        let (steps, answer) = asked(&world, at_least(token(102))).await;
        assert_eq!((steps, answer), (vec!["projector-1".to_owned()], Ok(Source::Neo4j)));
    }
    // Events that this process has read are applied to the answers of either one.
    world.router.memory.recent.begin(token(102));
    world.neo4j.iter().for_each(|fake| fake.will(Act::Answer(token(102))));
    let (first, _) = asked(&world, at_least(token(102))).await;
    world.neo4j.iter().for_each(|fake| fake.will(Act::Answer(token(102))));
    let (second, _) = asked(&world, at_least(token(102))).await;
    assert_ne!(first, second);
}

#[tokio::test(start_paused = true)]
async fn whoever_reaches_the_token_first_answers() {
    let world = World::with_replicas(2);
    world.router.heads.observe_event(token(102), Instant::now());
    world.neo4j[1].will(Act::Answer(token(102)));
    let began = Instant::now();
    let mut asked = pin!(asked(&world, at_least(token(102))));
    begins_to_wait(asked.as_mut()).await;
    world.announced_by(1, 102);
    assert_eq!(asked.await, (vec!["projector-1".to_owned()], Ok(Source::Neo4j)));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_too_old_is_asked_of_another_one() {
    let world = World::with_replicas(2);
    world.router.heads.observe_event(token(102), Instant::now());
    (0..2).for_each(|number| world.announced_by(number, 102));
    // Both claim to have reached it, and one was restored from a backup since.
    world.neo4j[0].will(Act::Answer(token(90)));
    for _ in 0..2 {
        world.neo4j[1].will(Act::Answer(token(102)));
    }
    for _ in 0..2 {
        let (steps, answer) = asked(&world, at_least(token(102))).await;
        assert_eq!((steps.last().map(String::as_str), answer), (Some("projector-1"), Ok(Source::Neo4j)));
    }
    assert_eq!(world.neo4j[0].asked().len(), 1, "it had its turn");
}

#[tokio::test(start_paused = true)]
async fn each_gets_a_share_of_the_time_and_the_source_of_truth_too() {
    let world = World::with_replicas(2);
    world.neo4j.iter().for_each(|fake| fake.will(Act::Hang));
    world.postgres.will(Act::Answer(token(100)));
    let began = Instant::now();
    let answer = world.ask_within(ANY, Duration::from_millis(900)).await;
    assert_eq!(answer, Ok((token(100), Source::Postgres)));
    let mut given = [world.neo4j[0].asked()[0], world.neo4j[1].asked()[0]];
    given.sort();
    assert_eq!(given, [Duration::from_millis(300), Duration::from_millis(400)]);
    assert_eq!(began.elapsed(), Duration::from_millis(700));
    assert_eq!(world.postgres.asked(), [Duration::from_millis(200)]);
}

#[tokio::test(start_paused = true)]
async fn what_speaks_against_each_is_told() {
    let world = World::with_replicas(3);
    world.fail_probes(&world.model(0).breaker);
    let replica = &world.model(2).replica;
    replica.looked_up(None, replica.begin_look_up());
    let replicas = world.router.health(Instant::now());
    let told: Vec<_> = replicas.iter().map(|replica| (&*replica.name, replica.problem.is_none())).collect();
    assert_eq!(told, [("projector-0", false), ("projector-1", true), ("projector-2", false)]);
    assert_eq!(replicas[1].visible, Some(token(100)));
    assert_eq!(replicas[2].visible, None);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_replica_leaves_the_others_alone() {
    let world = World::with_replicas(2);
    let foreign = |visible| Checkpoint { visible, complete: true };
    world.model(0).replica.announced(foreign(of_epoch(9, 1)), Instant::now());
    world.router.heads.observe_read_model(of_epoch(9, 1), Instant::now());
    for _ in 0..4 {
        world.neo4j[1].will(Act::Answer(token(100)));
        let (steps, answer) = asked(&world, at_least(token(100))).await;
        assert_eq!((steps, answer), (vec!["projector-1".to_owned()], Ok(Source::Neo4j)));
    }
    // Its projector has rebuilt it: it is used again.
    world.announced_by(0, 100);
    let mut first = Vec::new();
    for _ in 0..2 {
        world.neo4j.iter().for_each(|fake| fake.will(Act::Answer(token(100))));
        first.extend(asked(&world, ANY).await.0);
    }
    first.sort();
    assert_eq!(first, ["projector-0", "projector-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_replica_of_another_database_is_not_asked() {
    let world = World::with_replicas(2);
    let (ours, theirs) = (uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(2));
    world.router.heads.observe_database(ours);
    world.model(0).replica.belongs_to(Some(theirs));
    world.model(1).replica.belongs_to(Some(ours));
    for _ in 0..4 {
        world.neo4j[1].will(Act::Answer(token(100)));
        assert_eq!(asked(&world, ANY).await.0, ["projector-1"]);
    }
    let replicas = world.router.health(Instant::now());
    let problems: Vec<_> = replicas.iter().map(|one| one.problem.as_deref()).collect();
    assert_eq!(problems, [Some("it is of another epoch or another database"), None]);
    world.model(0).replica.belongs_to(Some(ours));
    assert_eq!(world.router.health(Instant::now())[0].problem, None);
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_another_epoch_is_dropped() {
    let world = World::with_replicas(1);
    world.neo4j[0].will(Act::Answer(of_epoch(9, 1)));
    world.postgres.will(Act::Answer(token(100)));
    assert_eq!(world.ask(ANY).await, Ok((token(100), Source::Postgres)));
    assert_eq!(world.router.heads.head(), Some(token(100)));
}
