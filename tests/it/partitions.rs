//! The log does not grow for ever.

use tests::Endpoints;

#[tokio::test]
async fn old_partitions_are_dropped_also_where_the_catalogue_was_analysed() {
    let pool = Endpoints::shared().postgres().await;
    for statement in [
        "CREATE TABLE outbox_20200101 PARTITION OF outbox
         FOR VALUES FROM ('2020-01-01 00:00:00+00') TO ('2020-01-02 00:00:00+00')",
        "CREATE TABLE replies_20200101 PARTITION OF replies
         FOR VALUES FROM ('2020-01-01 00:00:00+00') TO ('2020-01-02 00:00:00+00')",
        // The planner may then look at the names of all relations first.
        "ANALYZE pg_class, pg_inherits",
    ] {
        sqlx::query(statement).execute(&pool).await.expect("a statement");
    }
    for parent in ["outbox", "replies"] {
        let dropped: i32 = sqlx::query_scalar("SELECT drop_partitions($1, interval '7 days')")
            .bind(parent)
            .fetch_one(&pool)
            .await
            .expect("it finds what is old");
        assert_eq!(dropped, 1, "partitions of {parent}");
        let old: Option<String> = sqlx::query_scalar("SELECT to_regclass($1)::text")
            .bind(format!("{parent}_20200101"))
            .fetch_one(&pool)
            .await
            .expect("an answer");
        assert_eq!(old, None);
    }
}
