//! The history checker (I8, I13): every answer is the state at its `as_of`, whatever is killed.
//!
//! Writers change a small set of accounts in every way. Readers make every call, with every consistency, through two
//! query-services with two read replicas. Meanwhile projectors, a query-service, NATS and a replica are killed. At the
//! end the events are replayed, and each answer is compared with the state at exactly the revision that it names: no
//! single-hop answer differs, no walk goes back in time, no count differs from its list. Each step waits until the
//! remaining replicas have given more answers, so that every step has an effect.

mod ask;
mod hops;
mod judge;
mod load;
mod older;
mod rush;
mod write;

use std::collections::BTreeMap;
use std::time::Instant;

use devstack::env_file::Env;
use devstack::services::Program;
use proto::query::v1::Source;
use tests::explained::wait_answering;
use tests::own::Victim;
use tests::{Own, truth};

use self::ask::{Mix, Observation, Reader};
use self::load::Load;

const ACCOUNTS: usize = 12;
const WRITERS: u64 = 4;
const READERS: u64 = 6;
const PODS: [usize; 2] = [0, 1];
/// Both read replicas.
const REPLICAS: [&str; 2] = ["projector-0", "projector-1"];
/// Number of answers of each replica through each query-service before the first kill. A cold Neo4j is slow, and a slow
/// one gets fewer reads: without this the first replica would give nearly all answers.
const TO_WARM_UP: u64 = 100;
/// Number of answers of each remaining replica at each step.
const MORE: u64 = 25;
/// The processes that each step kills.
const STEPS: [&[Victim]; 4] = [
    &[Victim::Projector],
    &[Victim::Query],
    &[Victim::SecondNeo4j],
    &[Victim::Nats, Victim::SecondProjector],
];

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_the_state_at_its_revision() {
    // All servers share one small machine here: that alone must not make reads avoid Neo4j, nor a lagging replica. Its
    // answers are as exact as any.
    let settings =
        Env::default().with("NEO4J_READ_TIMEOUT_MILLIS", "2000").with("REPLICA_MAX_LAG_SECONDS", "600");
    // The smallest hot set. It holds all of these accounts; projectors that restart end what was loaded.
    let settings = settings.with("HOT_SET_BYTES", "65536");
    let mut own = Own::start_to_grow(settings).await;
    own.grow();
    let second = tokio::task::block_in_place(|| own.another(Program::Query));
    let there = own.endpoints.reading_through(&second);
    // No other load until both are built.
    for queries in [own.endpoints.queries(), there.queries()] {
        for replica in REPLICAS {
            wait_answering(&queries, replica).await;
        }
    }
    let load = Load::of(ACCOUNTS);
    let readers: Vec<_> = (0..READERS)
        .map(|seed| {
            let pods = vec![own.endpoints.queries(), there.queries()];
            tokio::spawn(Reader::new(pods, load.clone(), seed, Mix::Single).until_over())
        })
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|seed| {
            tokio::spawn(write::until_over(own.endpoints.commands(), load.clone(), seed, write::REST))
        })
        .collect();
    load.wait_for_more("both replicas to be warm", TO_WARM_UP, &PODS, &REPLICAS).await;
    kill_one_after_the_other(&mut own, &load).await;
    load.end();

    let mut written = 0;
    for writer in writers {
        written += writer.await.expect("the writes succeed");
    }
    let mut seen = Vec::new();
    for reader in readers {
        seen.extend(reader.await.expect("the reads succeed").0);
    }
    // Expiries and jobs may still write; the log extends beyond every answer in any case.
    truth::wait_caught_up(&own.endpoints).await;
    let events = truth::stream(&own.endpoints).await;
    let count = |wanted: &dyn Fn(&Observation) -> bool| seen.iter().filter(|seen| wanted(seen)).count();
    let from_neo4j = count(&|seen| seen.source == Source::Neo4j);
    let from_memory = count(&|seen| seen.source == Source::Memory);
    let changed = count(&|seen| seen.overlaid_events > 0);
    let from_postgres = count(&|seen| seen.source == Source::Postgres);
    println!(
        "{written} writes in {} events; {} answers, {from_neo4j} from Neo4j, {changed} of them changed by recent \
         events, {from_memory} from memory, {from_postgres} from PostgreSQL; {} refused",
        events.len(),
        seen.len(),
        load.refusals(),
    );
    let mut reasons = BTreeMap::new();
    for reason in seen.iter().map(|seen| seen.fallback.clone()) {
        *reasons.entry(reason).or_insert(0) += 1;
    }
    println!("reasons for falling back to PostgreSQL: {reasons:?}");
    println!("which replica answered which query-service: {:?}", load.answers());
    let walked = judge::all(&events, seen, Vec::new());
    println!("{walked} walks of more than one page");
    assert!(from_neo4j > 1_000 && changed > 100, "too few answers with recent events applied");
    assert!(from_memory > 100, "too few answers of memory");
    assert!(from_postgres > 100, "too few answers of PostgreSQL");
    assert!(walked > 100, "too few walks");
}

/// Kills processes and restarts them under load.
async fn kill_one_after_the_other(own: &mut Own, load: &Load) {
    let began = Instant::now();
    for victims in STEPS {
        println!("{:?}: killing {victims:?}: {:?}", began.elapsed(), load.answers());
        let refused = load.refusals();
        victims.iter().for_each(|victim| own.kill(*victim));
        let (pods, replicas) = match victims {
            [Victim::Query] => (&PODS[1..], &REPLICAS[..]),
            [Victim::SecondNeo4j] => (&PODS[..], &REPLICAS[..1]),
            _ => (&PODS[..], &REPLICAS[..]),
        };
        load.wait_for_more("what is left to answer", MORE, pods, replicas).await;
        println!("{:?}: starting them again: {:?}", began.elapsed(), load.answers());
        load.spare(victims.contains(&Victim::SecondNeo4j));
        victims.iter().for_each(|victim| own.revive(*victim));
        load.wait_for_more("both replicas to answer", MORE, &PODS, &REPLICAS).await;
        load.spare(false);
        if victims == [Victim::SecondNeo4j] {
            assert_eq!(load.refusals(), refused, "no read fails while one replica is up");
        }
    }
    own.wait_ready();
}
