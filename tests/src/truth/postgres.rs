//! The state of PostgreSQL: head, edges and accounts, all of one revision.

use std::collections::BTreeMap;

use proto::event::{EdgeKey, EdgeKind};
use proto::{Epoch, Revision, Token, UserId};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row as _};
use uuid::Uuid;

use super::{Counts, Edge, Edges, assert_rules, counts_of};
use crate::endpoints::Endpoints;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The stored counts.
    pub counts: Counts,
    /// The account is private.
    pub private: bool,
    /// "active", "archived", "restoring" or "erasing".
    pub state: String,
}

/// The state at one revision.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub head: Token,
    /// The visible edges.
    pub edges: Edges,
    /// The accounts that have a row.
    pub accounts: BTreeMap<UserId, Account>,
    /// True if it covers some accounts only.
    pub partial: bool,
}

impl Snapshot {
    /// Checks that counts equal the lists, and that the rules hold (I1).
    ///
    /// # Panics
    /// If they do not.
    #[track_caller]
    pub fn assert_consistent(&self) {
        let head = self.head.revision;
        let listed = counts_of(self.edges.keys());
        for (user, account) in &self.accounts {
            let wanted = listed.get(user).copied().unwrap_or_default();
            assert_eq!(account.counts, wanted, "kept counts of {user} and its lists at revision {head}");
        }
        // An account without counts and flags, for example the target of a mute, has no row.
        for (user, counts) in listed.iter().filter(|(_, counts)| **counts != Default::default()) {
            let known = self.partial || self.accounts.contains_key(user);
            assert!(known, "{user} has {counts:?} and no row at revision {head}");
        }
        for key in self.edges.keys() {
            assert_rules(&self.edges, key.source, key.target);
        }
    }
}

/// Everything, from one snapshot of the database.
pub async fn snapshot(pool: &PgPool) -> Snapshot {
    read(pool, None).await
}

/// These accounts, and the edges from and to them.
pub async fn snapshot_of(pool: &PgPool, users: &[UserId]) -> Snapshot {
    read(pool, Some(users.iter().map(|user| user.uuid()).collect())).await
}

async fn read(pool: &PgPool, users: Option<Vec<Uuid>>) -> Snapshot {
    let mut transaction =
        pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.expect("a snapshot");
    let snapshot = Snapshot {
        head: read_head(&mut transaction).await,
        edges: read_edges(&mut transaction, users.as_deref()).await,
        accounts: read_accounts(&mut transaction, users.as_deref()).await,
        partial: users.is_some(),
    };
    transaction.commit().await.expect("the end of a snapshot");
    snapshot
}

async fn read_head(connection: &mut PgConnection) -> Token {
    let (epoch, revision): (i64, i64) = sqlx::query_as("SELECT epoch, revision FROM log_head")
        .fetch_one(connection)
        .await
        .expect("there is a head");
    Token::new(Epoch::from_i64(epoch), Revision::from_i64(revision))
}

/// The kinds have the contract's numbers.
const EDGES: &str = "
    WITH edges AS (
        SELECT 1 AS kind, follower_id AS source, following_id AS target,
               position, created_at, NULL::timestamptz AS expires_at FROM follows
        UNION ALL
        SELECT 2, muter_id, muted_id, position, created_at, expires_at FROM mutes
        UNION ALL
        SELECT 3, blocker_id, blocked_id, position, created_at, expires_at FROM blocks
        UNION ALL
        SELECT 4, requester_id, target_id, position, created_at, NULL FROM follow_requests
    )
    SELECT * FROM edges WHERE $1::uuid[] IS NULL OR source = ANY ($1) OR target = ANY ($1)";

async fn read_edges(connection: &mut PgConnection, users: Option<&[Uuid]>) -> Edges {
    let rows = sqlx::query(EDGES).bind(users).fetch_all(connection).await.expect("edges are readable");
    rows.iter()
        .map(|row| {
            let key = key(row);
            let edge = Edge {
                position: row.get("position"),
                created_at: row.get("created_at"),
                expires_at: row.get("expires_at"),
            };
            (key, edge)
        })
        .collect()
}

/// The revision of each edge's last change.
pub async fn revisions(pool: &PgPool) -> BTreeMap<EdgeKey, i64> {
    let rows = sqlx::query(
        "SELECT 1 AS kind, follower_id AS source, following_id AS target, revision FROM follows
         UNION ALL SELECT 2, muter_id, muted_id, revision FROM mutes
         UNION ALL SELECT 3, blocker_id, blocked_id, revision FROM blocks
         UNION ALL SELECT 4, requester_id, target_id, revision FROM follow_requests",
    );
    let rows = rows.fetch_all(pool).await.expect("edges are readable");
    rows.iter().map(|row| (key(row), row.get("revision"))).collect()
}

/// The edge's key.
fn key(row: &PgRow) -> EdgeKey {
    let kind = EdgeKind::try_from(row.get::<i32, _>("kind")).expect("one of four");
    EdgeKey { kind, source: user(row.get("source")), target: user(row.get("target")) }
}

async fn read_accounts(connection: &mut PgConnection, users: Option<&[Uuid]>) -> BTreeMap<UserId, Account> {
    let rows = sqlx::query("SELECT * FROM accounts WHERE $1::uuid[] IS NULL OR user_id = ANY ($1)")
        .bind(users)
        .fetch_all(connection)
        .await
        .expect("accounts are readable");
    rows.iter()
        .map(|row| {
            let counts = Counts {
                followers: row.get("followers"),
                following: row.get("following"),
                muting: row.get("muting"),
                blocking: row.get("blocking"),
                requests_sent: row.get("requests_sent"),
                requests_received: row.get("requests_received"),
            };
            (
                user(row.get("user_id")),
                Account { counts, private: row.get("private"), state: row.get("state") },
            )
        })
        .collect()
}

fn user(uuid: Uuid) -> UserId {
    UserId::new(uuid).expect("no row has the nil id")
}

/// The newest revision.
pub async fn head(endpoints: &Endpoints) -> Revision {
    head_token(endpoints).await.revision
}

/// The newest revision and its epoch.
pub async fn head_token(endpoints: &Endpoints) -> Token {
    let mut connection = endpoints.postgres().await.acquire().await.expect("a connection");
    read_head(&mut connection).await
}
