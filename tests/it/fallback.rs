//! I7: without Neo4j, PostgreSQL answers reads within a budget, and further reads are rejected at once; writes
//! continue.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use devstack::env_file::Env;
use proto::error::{Reason, reason_of};
use proto::query::v1::Source;
use tests::clients::{Queries, check, follow};
use tests::metrics::scrape;
use tests::own::Victim;
use tests::truth::wait_following;
use tests::{Own, new_user, until};
use tonic::Code;
use tonic_types::StatusExt as _;

const BUDGET: u32 = 50;
/// Concurrent callers, and the pause of each between two reads.
const CALLERS: usize = 12;
const REST: Duration = Duration::from_millis(10);
/// The token of a caller with few reads, and its pause: it uses a fifth of the budget, while the others request twenty
/// times the budget.
const MODEST: &str = "the-modest-callers-secret-00000001";
const MODEST_REST: Duration = Duration::from_millis(100);

/// Counts of read outcomes.
#[derive(Debug, Default)]
struct Seen {
    neo4j: AtomicUsize,
    postgres: AtomicUsize,
    refused: AtomicUsize,
}

impl Seen {
    fn at_least(&self, count: &AtomicUsize, wanted: usize) -> Result<(), String> {
        if count.load(Ordering::SeqCst) >= wanted { Ok(()) } else { Err(format!("{self:?}")) }
    }
}

/// Reads repeatedly; every answer must be right, and every rejection must have a reason and a retry delay.
async fn ask(
    mut queries: Queries,
    pair: (String, String),
    rest: Duration,
    over: Arc<AtomicBool>,
    seen: Arc<Seen>,
) {
    while !over.load(Ordering::SeqCst) {
        let count = match check(&mut queries, &pair.0, &pair.1, None).await {
            Ok(answer) => {
                assert!(answer.following, "no wrong answer");
                if answer.source() == Source::Postgres { &seen.postgres } else { &seen.neo4j }
            }
            Err(status) => {
                assert_eq!(reason_of(&status), Some(Reason::FallbackBudgetExhausted), "{status:?}");
                assert_eq!(status.code(), Code::ResourceExhausted);
                assert!(status.get_details_retry_info().is_some(), "it says when to try again");
                &seen.refused
            }
        };
        count.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(rest).await;
    }
}

/// query-service's count of its reads from PostgreSQL.
fn reads_of_postgres(admin: SocketAddr) -> f64 {
    let of_postgres = |sample: &tests::metrics::Sample| {
        sample.metric == "query_reads_total" && sample.labels.get("source").is_some_and(|s| s == "postgres")
    };
    scrape(admin).into_iter().filter(of_postgres).map(|sample| sample.value).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_without_neo4j_stay_within_the_budget() {
    let mut own = Own::start_through(|servers| {
        let tokens = format!("read+write+admin:{},modest=read:{MODEST}", servers.secrets.token);
        let more = Env::default().with("FALLBACK_BUDGET_PER_SECOND", BUDGET.to_string());
        more.with("AUTH_TOKENS", tokens)
    })
    .await;
    let endpoints = own.endpoints.clone();
    let (mut commands, queries) = (endpoints.commands(), endpoints.queries());
    let (a, b) = (new_user(), new_user());
    let written = follow(&mut commands, &a, &b).await.expect("a follow").written_at;
    tests::truth::wait_caught_up(&endpoints).await;
    // The first reads of a server that has just started may be slow, and then fall back to PostgreSQL.
    wait_following(&queries, &a, &b, &written).await;

    let admin = own.pipeline.query.admin_addr();
    let over = Arc::<AtomicBool>::default();
    let start = |queries: Queries, rest, seen: &Arc<Seen>| {
        tokio::spawn(ask(queries, (a.clone(), b.clone()), rest, over.clone(), seen.clone()))
    };
    let seen = Arc::new(Seen::default());
    let mut callers: Vec<_> = (0..CALLERS).map(|_| start(endpoints.queries(), REST, &seen)).collect();
    until("reads to be under way", || async { seen.at_least(&seen.neo4j, 100) }).await;
    let before = reads_of_postgres(admin);
    let begun = Instant::now();
    own.kill(Victim::Neo4j);
    let modest = Arc::new(Seen::default());
    callers.push(start(endpoints.with_token(MODEST).queries(), MODEST_REST, &modest));
    let mut follows = 0;
    while begun.elapsed() < Duration::from_secs(4) {
        let answer = follow(&mut commands, &new_user(), &new_user()).await.expect("writes continue");
        assert!(answer.changed);
        follows += 1;
    }
    until("callers to be refused", || async { seen.at_least(&seen.refused, 100) }).await;
    over.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.expect("no read is answered wrongly");
    }
    // The bucket may be full at the start, so the budget of one second is added.
    let allowed = f64::from(BUDGET) * (begun.elapsed().as_secs_f64() + 1.0);
    let asked = reads_of_postgres(admin) - before;
    println!("{follows} follows; PostgreSQL answered {asked} reads, of {allowed:.0} allowed; {seen:?}");
    assert!(asked <= allowed, "{asked} reads of PostgreSQL where {allowed} are allowed");
    assert!(asked > f64::from(BUDGET), "PostgreSQL answers: {asked}");
    assert!(follows > 20, "writes are not held up: {follows}");
    let (answered, refused) = (modest.postgres.load(Ordering::SeqCst), modest.refused.load(Ordering::SeqCst));
    assert!(answered > 2 * refused, "a caller below half of the budget is refused too often: {modest:?}");

    own.revive(Victim::Neo4j);
    until("Neo4j to answer again", || {
        let (mut queries, a, b) = (queries.clone(), a.clone(), b.clone());
        async move {
            let answer = check(&mut queries, &a, &b, None).await.map_err(|status| status.to_string())?;
            if answer.source() == Source::Neo4j { Ok(()) } else { Err("PostgreSQL answered".to_owned()) }
        }
    })
    .await;
}
