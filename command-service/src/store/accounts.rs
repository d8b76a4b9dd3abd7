//! Accounts: counts and flags.

use std::collections::{BTreeMap, BTreeSet};

use proto::UserId;
use sqlx::PgConnection;
use sqlx::Row as _;
use uuid::Uuid;

use crate::domain::{Account, AccountState};

/// Loads those of the accounts that have a row.
pub async fn list(
    connection: &mut PgConnection,
    users: &BTreeSet<UserId>,
) -> Result<BTreeMap<UserId, Account>, sqlx::Error> {
    let ids: Vec<Uuid> = users.iter().map(|user| user.uuid()).collect();
    let rows = sqlx::query(
        "-- accounts_list
         SELECT user_id, followers, following, muting, blocking, requests_sent, requests_received, state
         FROM accounts WHERE user_id = ANY($1)",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    let mut accounts = BTreeMap::new();
    for row in rows {
        let Some(user) = UserId::new(row.try_get(0)?) else { continue };
        let count = |column: usize| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
        let account = Account {
            followers: count(1)?,
            following: count(2)?,
            muting: count(3)?,
            blocking: count(4)?,
            requests_sent: count(5)?,
            requests_received: count(6)?,
            state: match row.try_get::<&str, _>(7)? {
                "archived" => AccountState::Archived,
                "erasing" => AccountState::Erasing,
                _ => AccountState::Active,
            },
        };
        accounts.insert(user, account);
    }
    Ok(accounts)
}

/// Writes counts. Flags stay as they are. Absolute values are right because the
/// transaction has locked the head before it read them.
pub async fn put_counts(
    connection: &mut PgConnection,
    accounts: impl Iterator<Item = (UserId, Account)>,
) -> Result<(), sqlx::Error> {
    let mut ids: Vec<Uuid> = Vec::new();
    let mut counts: [Vec<i64>; 6] = Default::default();
    for (user, a) in accounts {
        ids.push(user.uuid());
        let values = [a.followers, a.following, a.muting, a.blocking, a.requests_sent, a.requests_received];
        for (column, value) in counts.iter_mut().zip(values) {
            column.push(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
    let query = sqlx::query(
        "-- accounts_put_counts
         INSERT INTO accounts (user_id, followers, following, muting, blocking, requests_sent, requests_received)
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                              $7::bigint[])
         ON CONFLICT (user_id) DO UPDATE
         SET followers = excluded.followers, following = excluded.following, muting = excluded.muting,
             blocking = excluded.blocking, requests_sent = excluded.requests_sent,
             requests_received = excluded.requests_received",
    )
    .bind(ids);
    counts.into_iter().fold(query, |query, column| query.bind(column)).execute(connection).await.map(|_| ())
}
