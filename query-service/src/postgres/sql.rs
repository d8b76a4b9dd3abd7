//! The statements of single-hop reads. Head and rows come from one statement, and so from one snapshot.
//!
//! Every pair is looked up separately, under a limit that the planner cannot remove: otherwise a plan may read all
//! edges of an account that has a million.
//!
//! sqlx accepts no statements that are assembled at run time, so macros assemble them at compile time.

use crate::queries::{ListKind, PublicList};

/// The head alone.
pub const HEAD: &str = "\
-- head
SELECT epoch, revision, database_id FROM log_head";

/// Which of `$2` does `$1` follow?
pub const CHECK: &str = "\
-- check
SELECT h.epoch, h.revision,
    ARRAY(SELECT following_id FROM follows WHERE follower_id = $1 AND following_id = ANY($2)) AS followed
FROM log_head h";

/// Edges of one kind between a viewer and the ids of a relation `ids(id)`, with the number of their link.
macro_rules! links {
    ($link:literal, $ids:literal, $table:literal, $viewers:literal, $viewer:literal, $others:literal, $expires:literal) => {
        concat!(
            "    SELECT ",
            $link,
            " AS link, ids.id AS other, l.* FROM ",
            $ids,
            " CROSS JOIN LATERAL (\n        SELECT position, revision, created_at, ",
            $expires,
            " AS expires_at FROM ",
            $table,
            " WHERE ",
            $viewers,
            " = ",
            $viewer,
            " AND ",
            $others,
            " = ids.id LIMIT 1\n    ) l\n"
        )
    };
}

/// All links. The numbers are indexes of `queries::LINKS`.
macro_rules! all_links {
    ($ids:literal, $viewer:literal) => {
        concat!(
            links!("0", $ids, "follows", "follower_id", $viewer, "following_id", "NULL::timestamptz"),
            "    UNION ALL\n",
            links!("1", $ids, "follows", "following_id", $viewer, "follower_id", "NULL::timestamptz"),
            "    UNION ALL\n",
            links!("2", $ids, "follow_requests", "requester_id", $viewer, "target_id", "NULL::timestamptz"),
            "    UNION ALL\n",
            links!("3", $ids, "follow_requests", "target_id", $viewer, "requester_id", "NULL::timestamptz"),
            "    UNION ALL\n",
            links!("4", $ids, "mutes", "muter_id", $viewer, "muted_id", "expires_at"),
            "    UNION ALL\n",
            links!("5", $ids, "blocks", "blocker_id", $viewer, "blocked_id", "expires_at"),
            "    UNION ALL\n",
            links!("6", $ids, "blocks", "blocked_id", $viewer, "blocker_id", "expires_at"),
        )
    };
}

/// A list of `$1` below position `$2`, newest first, at most `$3` rows.
pub fn list(kind: ListKind) -> &'static str {
    macro_rules! statement {
        ($name:literal, $table:literal, $own:literal, $other:literal) => {
            statement!($name, $table, $own, $other, "NULL::timestamptz")
        };
        ($name:literal, $table:literal, $own:literal, $other:literal, $expires:literal) => {
            concat!(
                "-- ",
                $name,
                "\nSELECT h.epoch, h.revision, r.user_id, r.position, r.created_at, r.expires_at\n\
                 FROM log_head h\n\
                 LEFT JOIN LATERAL (\n    SELECT ",
                $other,
                " AS user_id, position, created_at, ",
                $expires,
                " AS expires_at FROM ",
                $table,
                "\n    WHERE ",
                $own,
                " = $1 AND position < $2\n    ORDER BY position DESC LIMIT $3\n\
                 ) r ON true\n\
                 ORDER BY r.position DESC"
            )
        };
    }
    match kind {
        ListKind::Followers => statement!("list_followers", "follows", "following_id", "follower_id"),
        ListKind::Following => statement!("list_following", "follows", "follower_id", "following_id"),
        ListKind::Mutes => statement!("list_mutes", "mutes", "muter_id", "muted_id", "expires_at"),
        ListKind::Blocks => statement!("list_blocks", "blocks", "blocker_id", "blocked_id", "expires_at"),
        ListKind::RequestsReceived => {
            statement!("list_requests_received", "follow_requests", "target_id", "requester_id")
        }
        ListKind::RequestsSent => {
            statement!("list_requests_sent", "follow_requests", "requester_id", "target_id")
        }
    }
}

/// A list of `$1` as in [`list`], and all links of `$4` with its accounts. A row of the list has the number -1.
pub fn seen_list(list: PublicList) -> &'static str {
    macro_rules! statement {
        ($name:literal, $own:literal, $other:literal) => {
            concat!(
                "-- ",
                $name,
                "\nWITH page AS MATERIALIZED (\n    SELECT ",
                $other,
                " AS id, position, created_at FROM follows\n    WHERE ",
                $own,
                " = $1 AND position < $2\n    ORDER BY position DESC LIMIT $3\n\
                 )\n\
                 SELECT h.epoch, h.revision AS head, r.link, r.other, r.position, r.revision, r.created_at, r.expires_at\n\
                 FROM log_head h\n\
                 LEFT JOIN LATERAL (\n    \
                     SELECT -1 AS link, id AS other, position, 0::bigint AS revision, created_at,\n        \
                         NULL::timestamptz AS expires_at FROM page\n    \
                     UNION ALL\n",
                all_links!("page AS ids", "$4"),
                ") r ON true"
            )
        };
    }
    match list {
        PublicList::Followers => statement!("list_followers_seen", "following_id", "follower_id"),
        PublicList::Following => statement!("list_following_seen", "follower_id", "following_id"),
    }
}

/// All links of `$1` with each of `$2`.
pub const RELATIONS: &str = concat!(
    "-- relations\n\
     SELECT h.epoch, h.revision AS head, r.link, r.other, r.position, r.revision, r.created_at, r.expires_at\n\
     FROM log_head h\n\
     LEFT JOIN LATERAL (\n",
    all_links!("unnest($2::uuid[]) AS ids(id)", "$1"),
    ") r ON true"
);

/// The counts of `$1`.
pub const COUNTS: &str = "\
-- counts
SELECT h.epoch, h.revision, a.user_id, a.followers, a.following, a.muting, a.blocking, a.requests_sent,
    a.requests_received
FROM log_head h LEFT JOIN accounts a ON a.user_id = ANY($1)";
