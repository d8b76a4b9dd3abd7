//! Reads the tables of a subscriber, and compares them with PostgreSQL's.

use std::collections::BTreeMap;

use proto::event::{EdgeKey, EdgeKind};
use proto::{Revision, UserId};
use tests::truth::postgres::{Account, Snapshot};
use tests::truth::{self, Counts, Edge, Edges};
use time::OffsetDateTime;

/// The content of a subscriber's tables.
#[derive(Debug)]
pub struct Tables {
    /// The edges, with dates to the millisecond.
    pub edges: Edges,
    /// The counts of accounts, except those that are all zero.
    pub counts: BTreeMap<UserId, Counts>,
    /// The states of accounts since the export: whether it is private, and its state.
    pub accounts: BTreeMap<UserId, (Option<bool>, Option<String>)>,
    /// The newest applied revision.
    pub revision: Revision,
}

type EdgeRow = (String, String, String, i64, i64, Option<i64>);
type CountsRow = (String, i64, i64, i64, i64, i64, i64);
type AccountRow = (String, Option<i64>, Option<String>);
type CheckpointRow = (i64, i64, Option<String>, i64);

impl Tables {
    /// Reads rows by table.
    pub fn of_json(text: &[u8]) -> Self {
        let mut json: serde_json::Value = serde_json::from_slice(text).expect("JSON");
        let mut rows = |table: &str| json[table].take();
        let edges: Vec<EdgeRow> = serde_json::from_value(rows("edges")).expect("edges");
        let counts: Vec<CountsRow> = serde_json::from_value(rows("counts")).expect("counts");
        let accounts: Vec<AccountRow> = serde_json::from_value(rows("accounts")).expect("accounts");
        let checkpoint: Vec<CheckpointRow> = serde_json::from_value(rows("checkpoint")).expect("checkpoint");
        Self {
            edges: edges.into_iter().map(edge).collect(),
            counts: counts.into_iter().map(counted).filter(|(_, c)| *c != Counts::default()).collect(),
            accounts: accounts
                .into_iter()
                .map(|(id, private, state)| (user(&id), (private.map(|it| it == 1), state)))
                .collect(),
            revision: Revision::from_i64(checkpoint.first().expect("a checkpoint").1),
        }
    }

    /// Compares with PostgreSQL at the same revision.
    ///
    /// # Panics
    /// If they differ.
    #[track_caller]
    pub fn assert_same(&self, truth: &Snapshot) {
        assert_eq!(self.revision, truth.head.revision);
        let edges: Edges = truth.edges.iter().map(|(key, edge)| (*key, edge.to_the_millisecond())).collect();
        truth::assert_same("the subscriber", &self.edges, &edges);
        for user in truth.accounts.keys().chain(self.counts.keys()) {
            let kept = truth.accounts.get(user).map(|account| account.counts).unwrap_or_default();
            let told = self.counts.get(user).copied().unwrap_or_default();
            assert_eq!(told, kept, "counts of {user}");
        }
        let unknown = Account { state: "active".to_owned(), ..Account::default() };
        for (user, (private, state)) in &self.accounts {
            let account = truth.accounts.get(user).unwrap_or(&unknown);
            assert_eq!(private.unwrap_or(account.private), account.private, "privacy of {user}");
            // Until it is back, there are no events about an account that is being restored.
            let kept = if account.state == "restoring" { "archived" } else { &account.state };
            assert_eq!(state.as_deref().unwrap_or(kept), kept, "state of {user}");
        }
    }
}

fn user(text: &str) -> UserId {
    UserId::parse(text).expect("an id")
}

fn date(millis: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).expect("a date")
}

fn edge((source, target, kind, position, created, expires): EdgeRow) -> (EdgeKey, Edge) {
    let kind = EdgeKind::from_str_name(&format!("EDGE_KIND_{kind}")).expect("a kind of edge");
    let key = EdgeKey { kind, source: user(&source), target: user(&target) };
    (key, Edge { position, created_at: date(created), expires_at: expires.map(date) })
}

fn counted(row: CountsRow) -> (UserId, Counts) {
    let (id, followers, following, muting, blocking, requests_sent, requests_received) = row;
    (user(&id), Counts { followers, following, muting, blocking, requests_sent, requests_received })
}
