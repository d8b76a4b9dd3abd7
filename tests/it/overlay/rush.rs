//! Multi-hop answers, and answers of several statements, during continuous writes (I13).

use std::time::{Duration, Instant};

use devstack::env_file::Env;
use proto::legacy::v2::graph_service_client::GraphServiceClient;
use proto::query::v1::Source;
use tests::clients::channel;
use tests::explained::wait_answering;
use tests::{Own, truth, until_within};

use super::ask::{Answer, Mix, Observation, Reader};
use super::load::Load;
use super::older::{Older, Seen};
use super::{judge, write};

const WRITERS: u64 = 16;
const READERS: u64 = 8;
/// Share of answers of the read model, in percent, on a machine with spare CPU.
const FROM_THE_READ_MODEL: usize = 95;
/// Number of answers before the first write: with a cold Neo4j, all reads would fall back to PostgreSQL.
const TO_WARM_UP: u64 = 100;
/// Timeout of the wait for the answers.
const LIMIT: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn answers_over_hops_are_exact_among_few_accounts() {
    rush(12, 200, Duration::from_secs(20)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: the long form"]
async fn answers_over_hops_are_exact_among_few_accounts_for_long() {
    let share = rush(12, 20_000, Duration::ZERO).await;
    assert!(share >= FROM_THE_READ_MODEL, "{share} of 100 answers came from the read model");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: the long form"]
async fn answers_over_hops_are_exact_among_many_accounts_for_long() {
    let share = rush(12_000, 20_000, Duration::ZERO).await;
    assert!(share >= FROM_THE_READ_MODEL, "{share} of 100 answers came from the read model");
}

/// Checks at least this many answers of the read model, and all others, given in at least this time. Returns the
/// percentage that came from the read model.
async fn rush(accounts: usize, answers: u64, at_least: Duration) -> usize {
    // All servers share one small machine here: that alone must not make reads avoid Neo4j.
    let settings = Env::default()
        .with("NEO4J_READ_TIMEOUT_MILLIS", "8000")
        .with("LEGACY_FRESHNESS_WAIT_MILLIS", "5000")
        // The older API returns an older state when the budget is used up; here each answer must be fresh.
        .with("FALLBACK_BUDGET_PER_SECOND", "1000000");
    let own = Own::start_with(settings).await;
    wait_answering(&own.endpoints.queries(), "projector-0").await;
    let load = Load::of(accounts);
    let readers: Vec<_> = (0..READERS)
        .map(|seed| {
            let older = Older(GraphServiceClient::new(channel(&own.endpoints.query)));
            let reader = Reader::new(vec![own.endpoints.queries()], load.clone(), seed, Mix::Hops(older));
            tokio::spawn(reader.until_over())
        })
        .collect();
    let given = || load.answers().values().sum::<u64>();
    until_within(LIMIT, "the read model to be warm", || async {
        if given() >= TO_WARM_UP { Ok(()) } else { Err(format!("{} answers", given())) }
    })
    .await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|seed| {
            let commands = own.endpoints.commands();
            tokio::spawn(write::until_over(commands, load.clone(), seed, Duration::ZERO))
        })
        .collect();
    let began = Instant::now();
    until_within(LIMIT, "answers of the read model", || async {
        let given = given();
        let enough = given >= TO_WARM_UP + answers && began.elapsed() >= at_least;
        if enough { Ok(()) } else { Err(format!("{given} in {:?}", began.elapsed())) }
    })
    .await;
    load.end();
    let took = began.elapsed();
    let mut written = 0;
    for writer in writers {
        written += writer.await.expect("the writes succeed");
    }
    let (mut seen, mut older): (Vec<Observation>, Vec<Seen>) = Default::default();
    for reader in readers {
        let (new, old) = reader.await.expect("the reads succeed");
        seen.extend(new);
        older.extend(old);
    }
    truth::wait_caught_up(&own.endpoints).await;
    let events = truth::stream(&own.endpoints).await;
    let all = seen.len();
    let hops = seen.iter().filter(|seen| matches!(seen.answer, Answer::Hops(_))).count();
    let from_neo4j = seen.iter().filter(|seen| seen.source == Source::Neo4j).count();
    println!(
        "{written} writes in {} events in {took:?}; {all} answers, {hops} over hops, {from_neo4j} from Neo4j, {} \
         refused; {} of the older API",
        events.len(),
        load.refusals(),
        older.len(),
    );
    assert!(!older.is_empty() && hops * 2 > all, "too few of a kind");
    let refused = usize::try_from(load.refusals()).expect("few");
    judge::all(&events, seen, older);
    from_neo4j * 100 / (all + refused)
}
