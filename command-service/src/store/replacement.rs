//! Reads the snapshot that a replacement is planned on: in chunks, without the lock on the head.

use proto::{Position, UserId};
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};
use uuid::Uuid;

use crate::domain::{Account, AccountState, Listed, Target};

/// Rows of one statement.
const CHUNK: i64 = 10_000;
/// Targets of one statement.
const TARGETS: usize = 1_000;

/// Begins a snapshot whose statements always use indexes: the planner's statistics lag behind an import.
pub async fn begin_snapshot(connection: &mut PgConnection) -> sqlx::Result<Transaction<'_, Postgres>> {
    let mut snapshot = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    sqlx::query(
        "-- replacement_by_keys
         SELECT set_config(name, 'off', true)
         FROM unnest(ARRAY['enable_seqscan', 'enable_hashjoin', 'enable_mergejoin', 'enable_bitmapscan']) AS name",
    )
    .execute(&mut *snapshot)
    .await?;
    Ok(snapshot)
}

/// Returns the account whose list is replaced; the default if it has no row.
pub async fn account(connection: &mut PgConnection, user: UserId) -> sqlx::Result<Account> {
    let row: Option<(i64, i64, i64, bool, String)> = sqlx::query_as(
        "-- replacement_account
         SELECT followers, following, requests_sent, private, state FROM accounts WHERE user_id = $1",
    )
    .bind(user.uuid())
    .fetch_optional(connection)
    .await?;
    Ok(row.map_or_else(Account::default, |(followers, following, requests_sent, private, state)| Account {
        followers: followers.unsigned_abs(),
        following: following.unsigned_abs(),
        requests_sent: requests_sent.unsigned_abs(),
        private,
        state: AccountState::named(&state),
        ..Account::default()
    }))
}

/// Returns the live follows and pending requests of an account.
pub async fn listed(connection: &mut PgConnection, user: UserId) -> sqlx::Result<Listed> {
    const FOLLOWS: &str = "-- replacement_follows
        SELECT position, following_id FROM follows WHERE follower_id = $1 AND position > $2 ORDER BY position LIMIT $3";
    const REQUESTS: &str = "-- replacement_requests
        SELECT position, target_id FROM follow_requests
        WHERE requester_id = $1 AND position > $2 ORDER BY position LIMIT $3";
    Ok(Listed {
        follows: all(connection, FOLLOWS, user).await?,
        requests: all(connection, REQUESTS, user).await?,
    })
}

async fn all(connection: &mut PgConnection, sql: &'static str, user: UserId) -> sqlx::Result<Vec<UserId>> {
    let (mut users, mut after) = (Vec::new(), 0_i64);
    loop {
        let rows: Vec<(i64, Uuid)> =
            sqlx::query_as(sql).bind(user.uuid()).bind(after).bind(CHUNK).fetch_all(&mut *connection).await?;
        users.extend(rows.iter().filter_map(|(_, id)| UserId::new(*id)));
        match rows.last() {
            Some((position, _)) if rows.len() as i64 == CHUNK => after = *position,
            _ => return Ok(users),
        }
    }
}

/// Returns state, privacy and blocks of the accounts of the new list, in their order.
pub async fn targets(
    connection: &mut PgConnection,
    actor: UserId,
    users: &[UserId],
) -> sqlx::Result<Vec<Target>> {
    let mut targets = Vec::with_capacity(users.len());
    for chunk in users.chunks(TARGETS) {
        let rows: Vec<(Option<String>, Option<bool>, bool)> = sqlx::query_as(
            "-- replacement_targets
             SELECT a.state, a.private,
                    EXISTS (SELECT FROM blocks WHERE blocker_id = $1 AND blocked_id = t)
                    OR EXISTS (SELECT FROM blocks WHERE blocker_id = t AND blocked_id = $1)
             FROM unnest($2::uuid[]) WITH ORDINALITY AS x(t, n) LEFT JOIN accounts AS a ON a.user_id = t
             ORDER BY n",
        )
        .bind(actor.uuid())
        .bind(chunk.iter().map(|user| user.uuid()).collect::<Vec<_>>())
        .fetch_all(&mut *connection)
        .await?;
        targets.extend(chunk.iter().zip(rows).map(|(user, (state, private, blocked))| Target {
            user: *user,
            state: state.as_deref().map_or(AccountState::Active, AccountState::named),
            private: private.unwrap_or(false),
            blocked,
        }));
    }
    Ok(targets)
}

/// Whether the following list of an account has no edge newer than a revision. Restored edges keep their old positions,
/// so a restore of any account since then counts as a change.
pub async fn is_unchanged(
    connection: &mut PgConnection,
    user: UserId,
    since: proto::Revision,
) -> sqlx::Result<bool> {
    let restored = proto::subjects::verb_name(proto::event::Verb::RestoreAccount);
    sqlx::query_scalar(
        "-- replacement_is_unchanged
         SELECT NOT EXISTS (SELECT FROM follows WHERE follower_id = $1 AND position >= $2)
            AND NOT EXISTS (SELECT FROM follow_requests WHERE requester_id = $1 AND position >= $2)
            AND NOT EXISTS (SELECT FROM outbox WHERE revision > $3 AND verb = $4)",
    )
    .bind(user.uuid())
    .bind(Position::new(since.next(), 0).as_i64())
    .bind(since.as_i64())
    .bind(restored)
    .fetch_one(connection)
    .await
}
