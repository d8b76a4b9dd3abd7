//! The history checker: every answer is the state at its `as_of`, whatever is killed.
//!
//! Writers change a small set of accounts in every way, readers ask everything with every consistency of two
//! query-services, and meanwhile the projector, a query-service and NATS are killed. At the end the events are replayed,
//! and each answer is compared with the state at exactly the revision that it names: no single-hop answer differs, no
//! walk goes back in time, no count differs from its list.

mod ask;
mod judge;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proto::UserId;
use proto::query::v1::Source;
use tests::own::Victim;
use tests::{Endpoints, Own, Queries, truth, until};
use tokio::sync::watch;
use xtask::env_file::Env;
use xtask::services::Program;

use self::ask::{Observation, Reader};

const ACCOUNTS: usize = 12;
const WRITERS: u64 = 4;
const READERS: u64 = 6;
/// Between two calls of a reader or writer, so that the servers keep up.
const REST: Duration = Duration::from_millis(4);
const LIMIT: Duration = Duration::from_secs(60);

/// What writers and readers share.
#[derive(Clone)]
struct Load {
    users: Arc<Vec<UserId>>,
    /// The newest token that any writer was given.
    newest: watch::Sender<String>,
    over: Arc<AtomicBool>,
}

impl Load {
    fn new() -> Self {
        let users = (0..ACCOUNTS).map(|_| tests::user()).collect();
        Self { users: Arc::new(users), newest: watch::channel(String::new()).0, over: Arc::default() }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

/// A query-service that has just started warms Neo4j up first. Then Neo4j answers every list, also an empty one.
async fn wait_for_neo4j(queries: &Queries) {
    for (list, viewer) in ask::LISTS_AND_VIEWERS {
        until("Neo4j to answer", LIMIT, || async {
            let source = ask::source_of_empty_list(&mut queries.clone(), list, viewer).await;
            match source.map_err(|status| status.to_string())? {
                Source::Neo4j => Ok(()),
                other => Err(format!("{other:?} answered {list:?}")),
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_the_state_at_its_revision() {
    // Everything runs on one small machine here: that alone must not turn readers away from Neo4j.
    let mut own = Own::start_with(Env::default().with("NEO4J_READ_TIMEOUT_MILLIS", "2000")).await;
    let second = tokio::task::block_in_place(|| own.another(Program::Query));
    let there = Endpoints { query: second.grpc_addr().expect("a port").to_string(), ..own.endpoints.clone() };
    for queries in [own.endpoints.queries(), there.queries()] {
        wait_for_neo4j(&queries).await;
    }
    let load = Load::new();
    let writers: Vec<_> = (0..WRITERS)
        .map(|seed| tokio::spawn(write::until_over(own.endpoints.commands(), load.clone(), seed)))
        .collect();
    let readers: Vec<_> = (0..READERS)
        .map(|seed| {
            let pods = [own.endpoints.queries(), there.queries()];
            tokio::spawn(Reader::new(pods, load.clone(), seed).until_over())
        })
        .collect();

    // The load goes on meanwhile, so these are no waits for a state.
    let a_while = || tokio::time::sleep(Duration::from_secs(3));
    a_while().await;
    for victim in [Victim::Projector, Victim::Query, Victim::Nats, Victim::Projector] {
        println!("killing {victim:?}");
        own.kill(victim);
        a_while().await;
        own.revive(victim);
        a_while().await;
    }
    own.wait_ready();
    a_while().await;
    load.over.store(true, Ordering::SeqCst);

    let mut written = 0;
    for writer in writers {
        written += writer.await.expect("the writes went well");
    }
    let (mut seen, mut refused) = (Vec::new(), 0);
    for reader in readers {
        let (observations, refusals) = reader.await.expect("the reads went well");
        seen.extend(observations);
        refused += refusals;
    }
    // Blocks and mutes go on to run out, and jobs to work; the log reaches beyond every answer in any case.
    truth::wait_caught_up(&own.endpoints).await;
    let events = truth::stream(&own.endpoints).await;
    let count = |wanted: &dyn Fn(&Observation) -> bool| seen.iter().filter(|seen| wanted(seen)).count();
    let from_neo4j = count(&|seen| seen.source == Source::Neo4j);
    let changed = count(&|seen| seen.overlaid_events > 0);
    let from_postgres = count(&|seen| seen.source == Source::Postgres);
    println!(
        "{written} writes in {} events; {} answers, {from_neo4j} from Neo4j, {changed} of them changed by recent \
         events, {from_postgres} from PostgreSQL; {refused} refused",
        events.len(),
        seen.len(),
    );
    let mut reasons = BTreeMap::new();
    for reason in seen.iter().map(|seen| seen.fallback.clone()) {
        *reasons.entry(reason).or_insert(0) += 1;
    }
    println!("why PostgreSQL was asked: {reasons:?}");
    let walked = judge::all(&events, &load.users, seen);
    println!("{walked} walks of more than one page");
    assert!(from_neo4j > 1_000 && changed > 100, "the overlay was hardly used");
    assert!(from_postgres > 100, "the source of truth was hardly asked");
    assert!(walked > 100, "hardly any walks");
}
