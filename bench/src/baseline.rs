//! Bare SQL: the rate of PostgreSQL for a program that uses it directly.
//!
//! The write is the minimum of a follow (the edge, both counts, an event) in one transaction, as in an application without
//! group commit.

use std::time::Duration;

use anyhow::Result;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::load::{self, Outcome};

/// Copies of the real tables, which stay unchanged.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS bench_follows (LIKE follows INCLUDING ALL);
    CREATE TABLE IF NOT EXISTS bench_accounts (LIKE accounts INCLUDING ALL);
    CREATE TABLE IF NOT EXISTS bench_outbox (revision bigserial PRIMARY KEY, payload bytea NOT NULL)";

/// A pool with one connection per client.
pub async fn pool(url: &str, clients: usize) -> Result<PgPool> {
    Ok(PgPoolOptions::new().max_connections(clients as u32).test_before_acquire(false).connect(url).await?)
}

/// Follows, one transaction each.
pub async fn follows(url: &str, clients: usize, time: Duration) -> Result<Outcome> {
    let pool = pool(url, clients).await?;
    sqlx::raw_sql(AssertSqlSafe(TABLES.to_owned())).execute(&pool).await?;
    load::closed(
        clients,
        time,
        |_| pool.clone(),
        |pool, round| async move {
            let (a, b) = (Uuid::new_v4(), Uuid::from_u128(u128::from(round % 1_000) + 1));
            let mut transaction = pool.begin().await?;
            sqlx::query("INSERT INTO bench_follows VALUES ($1, $2, now(), 1, 1)")
                .bind(a)
                .bind(b)
                .execute(&mut *transaction)
                .await?;
            sqlx::query(
                "INSERT INTO bench_accounts (user_id, followers, following) VALUES ($1, 0, 1), ($2, 1, 0)
                 ON CONFLICT (user_id) DO UPDATE SET followers = bench_accounts.followers + excluded.followers,
                                                     following = bench_accounts.following + excluded.following",
            )
            .bind(a)
            .bind(b)
            .execute(&mut *transaction)
            .await?;
            sqlx::query("INSERT INTO bench_outbox (payload) VALUES ($1)")
                .bind(vec![7_u8; 250])
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(())
        },
    )
    .await
}
