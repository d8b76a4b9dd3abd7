//! The sweep and the projector with erased ids, accounts with very many edges, wrong counts, and transactions that
//! Neo4j terminates.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream;
use devstack::env_file::Env;
use devstack::process::Signal;
use futures::StreamExt as _;
use neo4rs::{Graph, query};
use prost::Message as _;
use proto::events::v1::ProjectorAnnouncement;
use proto::subjects;
use sqlx::{AssertSqlSafe, PgPool, Row as _};
use tests::clients::{counts, follow, unfollow};
use tests::fault_proxy::{Fault, FaultProxy};
use tests::jobs::{self, OnAccount};
use tests::metrics::scrape;
use tests::own::Victim;
use tests::{Endpoints, LIMIT, Own, importing, new_user, truth, until, user};
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use uuid::Uuid;

/// More than the walk counts in one transaction.
const CELEBRITY: usize = 11_000;
/// Retention time of the stream.
const STREAM_AGE_SECONDS: &str = "5";
/// Tables whose rows expire; docs/security.md names each.
const AGEING: [&str; 5] = ["outbox", "replies", "jobs", "job_targets", "erase_requests"];

fn sum(own: &Own, metric: &str) -> f64 {
    let samples = block_in_place(|| scrape(own.pipeline.projector.admin_addr()));
    samples.iter().filter(|sample| sample.metric == metric).map(|sample| sample.value).sum()
}

async fn wait_for(own: &Own, what: &str, mut holds: impl FnMut() -> bool) {
    until(what, || {
        let held = holds();
        async move { if held { Ok(()) } else { Err("not yet".to_owned()) } }
    })
    .await;
    assert!(own.pipeline.projector.is_ready(), "the projector serves");
}

/// Waits for two more passes of the sweep, because one may be in progress.
async fn wait_swept(own: &Own) {
    let passes = sum(own, "projector_sweep_passes_total");
    wait_for(own, "two passes of the sweep", || sum(own, "projector_sweep_passes_total") >= passes + 2.0)
        .await;
}

async fn number(graph: &Graph, text: &str, id: &str) -> i64 {
    let mut rows = graph.execute(query(text).param("id", id)).await.expect("a statement");
    rows.next().await.expect("an answer").expect("a row").get("n").expect("a number")
}

/// The nodes and relationships of Neo4j with a property that contains the id.
async fn in_neo4j(graph: &Graph, id: &str) -> i64 {
    let of = |pattern: &str| {
        format!(
            "MATCH {pattern} WHERE any(k IN keys(x) WHERE toStringOrNull(x[k]) CONTAINS $id) RETURN count(x) AS n"
        )
    };
    number(graph, &of("(x)"), id).await + number(graph, &of("()-[x]->()"), id).await
}

/// The tables of PostgreSQL that contain the id in a text, UUID or bytes column; a partition counts as its table.
async fn in_postgres(pool: &PgPool, id: Uuid) -> Vec<String> {
    let columns = sqlx::query(
        "SELECT coalesce(i.inhparent, c.oid)::regclass::text AS name, c.oid::regclass::text AS part,
                quote_ident(a.attname) AS \"column\", t.typname::text AS type
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid
         LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
         WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
           AND t.typname IN ('uuid', '_uuid', 'text', 'varchar', 'bytea', 'json', 'jsonb')",
    )
    .fetch_all(pool)
    .await
    .expect("the catalogue");
    assert!(columns.len() > 20, "the catalogue is read");
    let mut found = Vec::new();
    for column in columns {
        let (name, part, column, kind): (String, String, String, String) =
            (column.get("name"), column.get("part"), column.get("column"), column.get("type"));
        let holds = if kind == "bytea" {
            format!(
                "position($1::text::bytea IN {column}) > 0 OR position(uuid_send($1::uuid) IN {column}) > 0"
            )
        } else {
            format!("position($1::text IN {column}::text) > 0")
        };
        let count = format!("SELECT count(*) FROM {part} WHERE {holds}");
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(count))
            .bind(id.to_string())
            .fetch_one(pool)
            .await
            .unwrap_or_else(|error| panic!("{part}.{column}: {error}"));
        if count > 0 && !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn upkeep_of_a_read_model_passes_celebrities_and_collects_ids() {
    let mut own = Own::light()
        .start_with(
            Env::default()
                .with("SWEEP_EDGES_PER_SECOND", "200000")
                .with("STREAM_MAX_AGE_SECONDS", STREAM_AGE_SECONDS),
        )
        .await;
    let endpoints = own.endpoints.clone();
    let star = new_user();
    let fans: Vec<_> = (0..CELEBRITY).map(|_| (new_user(), star.clone())).collect();
    importing::all(&mut endpoints.commands(), &fans, 500).await;
    truth::wait_caught_up(&endpoints).await;

    a_celebrity_is_searched_while_it_gains_followers(&own, &star).await;
    counts_are_compared_account_by_account(&own, &fans).await;
    ids_that_pass_leave_nothing(&own).await;
    an_erased_id_is_in_no_store(&own, &star).await;
    repaired_accounts_are_announced_after_nats_was_away(&mut own).await;
    truth::assert_read_model(&endpoints, 3).await;
}

async fn a_celebrity_is_searched_while_it_gains_followers(own: &Own, star: &str) {
    let graph = own.endpoints.neo4j();
    // Two of its edges have other ends than their properties say: one starts at another account, one ends there.
    let elsewhere = "CREATE (z:User {id: $id}) WITH z MATCH (x:User)-[r:FOLLOWS]->(y:User) WHERE r.dst = $star \
                     WITH z, x, y, r, properties(r) AS p LIMIT 2 DELETE r WITH z, collect([x, y, p]) AS all \
                     WITH z, all[0] AS a, all[1] AS b, all[0][0] AS ax, all[0][1] AS ay, all[1][0] AS bx \
                     CREATE (z)-[r1:FOLLOWS]->(ay) SET r1 = a[2] CREATE (bx)-[r2:FOLLOWS]->(z) SET r2 = b[2]";
    let damage = query(elsewhere).param("id", new_user()).param("star", star);
    graph.run(damage).await.expect("two edges are damaged");
    let passes = sum(own, "projector_sweep_passes_total");
    let mut commands = own.endpoints.commands();
    until("two passes while followers come", || {
        let star = star.to_owned();
        let mut commands = commands.clone();
        let passed = sum(own, "projector_sweep_passes_total") - passes;
        async move {
            follow(&mut commands, &new_user(), &star).await.map_err(|status| status.to_string())?;
            // Else each of the walk's statements has new edges to compare again.
            tokio::time::sleep(Duration::from_millis(200)).await;
            if passed >= 2.0 { Ok(()) } else { Err(format!("{passed} passes")) }
        }
    })
    .await;
    assert!(sum(own, "projector_sweep_differences_total") >= 2.0, "the misplaced edges are found");
    assert_eq!(sum(own, "projector_sweep_accounts_skipped_total"), 0.0, "no account is skipped");
    follow(&mut commands, &new_user(), star).await.expect("a follow");
    truth::wait_caught_up(&own.endpoints).await;
}

/// One too many and one too few, far apart: the sum over all accounts is right.
async fn counts_are_compared_account_by_account(own: &Own, fans: &[(String, String)]) {
    let pool = own.endpoints.postgres().await;
    let ids = || fans.iter().map(|(fan, _)| fan.parse::<Uuid>().expect("an id"));
    let (first, last) = (ids().min().expect("some"), ids().max().expect("some"));
    let change = async |more: Uuid, less: Uuid| {
        let statement = "UPDATE accounts SET following = following + CASE user_id WHEN $1 THEN 1 ELSE -1 END
                         WHERE user_id IN ($1, $2)";
        let done = sqlx::query(statement).bind(more).bind(less).execute(&pool).await.expect("an update");
        assert_eq!(done.rows_affected(), 2);
    };
    change(first, last).await;
    wait_for(own, "the difference", || sum(own, "projector_counts_difference") == 2.0).await;
    change(last, first).await;
    wait_for(own, "no difference", || sum(own, "projector_counts_difference") == 0.0).await;
    assert!(sum(own, "projector_counts_compared_timestamp_seconds") > 0.0);
    assert_eq!(sum(own, "projector_counts_skipped_total"), 0.0);
}

async fn ids_that_pass_leave_nothing(own: &Own) {
    let mut commands = own.endpoints.commands();
    let pairs: Vec<_> = (0..20).map(|_| (new_user(), new_user())).collect();
    for (a, b) in &pairs {
        follow(&mut commands, a, b).await.expect("a follow");
        unfollow(&mut commands, a, b).await.expect("an unfollow");
    }
    let ids: Vec<Uuid> =
        pairs.iter().flat_map(|(a, b)| [a, b]).map(|id| id.parse().expect("an id")).collect();
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM accounts WHERE user_id = ANY($1)")
        .bind(&ids)
        .fetch_one(&own.endpoints.postgres().await)
        .await
        .expect("a count");
    assert_eq!(rows, 0, "rows that say nothing");
    truth::wait_caught_up(&own.endpoints).await;
    wait_swept(own).await;
    let nodes = "MATCH (u:User) WHERE NOT EXISTS { (u)--() } AND $id = $id RETURN count(u) AS n";
    assert_eq!(number(&own.endpoints.neo4j(), nodes, "").await, 0, "nodes without edges");
}

async fn an_erased_id_is_in_no_store(own: &Own, star: &str) {
    let endpoints = &own.endpoints;
    let (commands, pool) = (endpoints.commands(), endpoints.postgres().await);
    let erased = user();
    let text = erased.to_string();
    let mut writer = commands.clone();
    for (a, b) in [(&text, star), (&new_user(), text.as_str()), (&new_user(), &text)] {
        follow(&mut writer, a, b).await.expect("a follow");
    }
    let graph = endpoints.neo4j();
    truth::wait_caught_up(endpoints).await;
    assert!(in_neo4j(&graph, &text).await > 3, "the search finds the node and its edges");
    let job = OnAccount::Erase.send(&commands, erased, Some(Uuid::new_v4())).await.expect("an erase");
    jobs::wait(&commands, &job.job_id).await;
    truth::wait_caught_up(endpoints).await;
    let node = "MATCH (u:User {id: $id}) RETURN count(u) AS n";
    assert_eq!(number(&graph, node, &text).await, 0, "the node is removed at the end of the erasure");

    let left = in_postgres(&pool, erased.uuid()).await;
    for table in ["outbox", "erase_requests"] {
        assert!(left.contains(&table.to_owned()), "the search finds the id in {table}: {left:?}");
    }
    let strange: Vec<_> = left.iter().filter(|table| !AGEING.contains(&table.as_str())).collect();
    assert!(strange.is_empty(), "tables without an age that hold an erased id: {strange:?}");
    // The rows expire. Partitions are days, so the owner deletes the rows instead of dropping them.
    for statement in [
        "DELETE FROM outbox WHERE revision < (SELECT max(revision) FROM outbox)",
        "TRUNCATE replies",
        "DELETE FROM jobs WHERE state <> 'running'",
    ] {
        // The newest event defines the head, and must not be the erased account's.
        follow(&mut writer, &new_user(), star).await.expect("a follow");
        sqlx::query(statement).execute(&pool).await.expect(statement);
    }
    sqlx::query("DELETE FROM outbox WHERE revision < (SELECT max(revision) FROM outbox)")
        .execute(&pool)
        .await
        .expect("the events before");
    assert_eq!(in_postgres(&pool, erased.uuid()).await, Vec::<String>::new());
    // The walk's cursor may contain it for a moment.
    until("Neo4j without the id", || async {
        let left = in_neo4j(&graph, &text).await;
        if left == 0 { Ok(()) } else { Err(format!("{left} nodes and edges")) }
    })
    .await;
    let name = subjects::stream_name(truth::head_token(endpoints).await.epoch);
    let jetstream = jetstream::new(endpoints.nats().await);
    until("a stream without messages", || async {
        let stream = jetstream.get_stream(&name).await.map_err(|error| error.to_string())?;
        let left = stream.cached_info().state.messages;
        if left == 0 { Ok(()) } else { Err(format!("{left} messages")) }
    })
    .await;
}

/// A subscriber that caches edges drops those of each repaired account.
async fn repaired_accounts_are_announced_after_nats_was_away(own: &mut Own) {
    let (a, b) = (new_user(), new_user());
    let mut commands = own.endpoints.commands();
    follow(&mut commands, &a, &b).await.expect("a follow");
    truth::wait_caught_up(&own.endpoints).await;
    let before = sum(own, "projector_sweep_differences_total");
    own.kill(Victim::Nats);
    let damage = query("MATCH ()-[r:FOLLOWS]->() WHERE r.src = $id DELETE r").param("id", a.as_str());
    own.endpoints.neo4j().run(damage).await.expect("the edge is gone");
    wait_for(own, "the repair", || sum(own, "projector_sweep_differences_total") > before).await;

    // It must not announce before the subscriber is there.
    block_in_place(|| own.pipeline.projector.signal(Signal::SIGSTOP)).expect("stopped");
    own.revive(Victim::Nats);
    let nats = own.endpoints.nats().await;
    let mut announcements = nats.subscribe(subjects::projector("*")).await.expect("a subscription");
    nats.flush().await.expect("NATS knows of it");
    block_in_place(|| own.pipeline.projector.signal(Signal::SIGCONT)).expect("it resumes");
    let mut missing = BTreeSet::from([a, b]);
    while !missing.is_empty() {
        let message = tokio::time::timeout(LIMIT, announcements.next()).await;
        let message = message.unwrap_or_else(|_| panic!("{missing:?} are not announced"));
        let announced = ProjectorAnnouncement::decode(message.expect("a message").payload).expect("protobuf");
        announced.repaired_user_ids.iter().for_each(|id| {
            missing.remove(id);
        });
    }
    own.wait_ready();
}

/// With added latency, a large batch exceeds the transaction timeout: it has a statement for about seventy edges. So
/// does a single event of 1,000 edges.
#[tokio::test(flavor = "multi_thread")]
async fn upkeep_halves_batches_that_neo4j_ends() {
    let mut proxy = None;
    let mut own = Own::light()
        .start_through(|servers| {
            let port = servers.neo4j.port();
            let started = block_in_place(|| Handle::current().block_on(FaultProxy::start(port)));
            let env = Env::default().with("NEO4J_URI", started.through(&servers.neo4j.url(), port));
            proxy = Some(started);
            env
        })
        .await;
    let proxy = proxy.expect("it was started");
    let endpoints: Endpoints = own.endpoints.clone();
    own.kill(Victim::Projector);
    own.kill(Victim::Neo4j);
    own.servers.neo4j.set_transaction_timeout(Duration::from_secs(1));
    own.revive(Victim::Neo4j);
    // Two events: they are one batch at first.
    let edges = tests::graph::random(11, 500, 2_000);
    importing::all(&mut endpoints.commands(), &edges, 1_000).await;
    let by = Duration::from_millis(40);
    proxy.set_both(Fault::Delay { by, jitter: Duration::ZERO });
    own.revive(Victim::Projector);
    truth::wait_caught_up(&endpoints).await;
    assert!(sum(&own, "projector_session_retries_total") >= 1.0, "a batch was ended");
    let limit = sum(&own, "projector_batch_limit");
    assert!((1.0..1_000.0).contains(&limit), "an event is written in parts: the limit is {limit}");

    a_kill_between_two_parts_shows_no_part(&mut own, &proxy).await;
    truth::assert_read_model(&endpoints, 3).await;
    assert_eq!(sum(&own, "projector_sweep_differences_total"), 0.0, "the sweep finds nothing to repair");
}

/// I2, I13: the checkpoint keeps the event in `target`, so that readers do not mistake its first part for the state
/// before it.
async fn a_kill_between_two_parts_shows_no_part(own: &mut Own, proxy: &FaultProxy) {
    let endpoints = own.endpoints.clone();
    let star = new_user();
    let fans: Vec<_> = (0..1_000).map(|_| (new_user(), star.clone())).collect();
    importing::all(&mut endpoints.commands(), &fans, 1_000).await;
    let graph = endpoints.neo4j();
    let begun = "MATCH (c:Checkpoint) WHERE c.partial_revision > c.revision AND c.visible = c.revision \
                 AND c.target = c.partial_revision RETURN count(c) AS n";
    until("a part of the event in Neo4j", || async {
        if number(&graph, begun, "").await == 1 { Ok(()) } else { Err("no part".to_owned()) }
    })
    .await;
    own.kill(Victim::Projector);
    assert_eq!(number(&graph, begun, "").await, 1, "killed before the last part");
    let edges = "MATCH ()-[r:FOLLOWS]->() WHERE r.dst = $id RETURN count(r) AS n";
    let found = number(&graph, edges, &star).await;
    assert!((1..1_000).contains(&found), "{found} edges of 1,000");
    let counts = counts(&mut endpoints.queries(), &[star], None).await.expect("counts");
    assert!([0, 1_000].contains(&counts[0].followers), "all of the event or nothing of it: {counts:?}");

    proxy.set_both(Fault::None);
    own.revive(Victim::Projector);
    truth::wait_caught_up(&endpoints).await;
    assert_eq!(number(&graph, begun, "").await, 0, "the event is applied");
}
