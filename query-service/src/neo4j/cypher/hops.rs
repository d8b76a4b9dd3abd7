//! The read model's statements for multi-hop questions.
//!
//! Like those for a single hop, they read the checkpoint before and after the data, and their hints demand seeks. Edges
//! are collected before any look-up, so that no plan reads an edge twice, and a bound counts it once.

use crate::queries::{ListKind, PublicList};

/// Walks the set of `$user`, and looks each account up in the set of `$second`. `$found_src` and `$found_dst` are the
/// ends of the edge used for the look-up.
macro_rules! sift {
    ($name:literal, $own:literal, $other:literal, $found_src:literal, $found_dst:literal) => {
        statement!(
            $name,
            [
                "CALL (visible) {\n",
                walk!("FOLLOWS", $own, "$before", "LIMIT $look"),
                "  RETURN collect([r.",
                $other,
                ", r.pos, r.created_at]) AS looked\n\
                 }\n\
                 CALL (looked) {\n  \
                   UNWIND looked AS l\n  \
                   CALL (l) {\n    \
                     MATCH ()-[b:FOLLOWS]->()\n    \
                     USING INDEX SEEK b:FOLLOWS(src, dst)\n    \
                     WHERE b.src = ",
                $found_src,
                " AND b.dst = ",
                $found_dst,
                " AND b.pos < $since AND coalesce(b.rev, 0) < $since / 1024\n    \
                     RETURN count(b) AS met, max(b.created_at) AS met_at\n  \
                   }\n  \
                   WITH l, met, met_at WHERE (met > 0) = $members\n  \
                   WITH l, met_at LIMIT $limit\n  \
                   RETURN collect(l[0]) AS users, collect(l[1]) AS positions, collect(l[2]) AS dates,\n    \
                     collect(met_at) AS met_dates\n\
                 }\n\
                 CALL (looked) {\n  \
                   RETURN size(looked) AS looked_at, coalesce(last(looked)[1], -1) AS looked_to\n\
                 }\n"
            ],
            "users, positions, dates, met_dates, looked_at, looked_to"
        )
    };
}

/// Walks a set of `$user`, and keeps the accounts that are in a set of `$second`, or those that are not.
pub fn sift(walked: PublicList, other: PublicList) -> &'static str {
    match (walked, other) {
        (PublicList::Following, PublicList::Followers) => {
            sift!("sift_following_by_followers", "src", "dst", "l[0]", "$second")
        }
        (PublicList::Following, PublicList::Following) => {
            sift!("sift_following_by_following", "src", "dst", "$second", "l[0]")
        }
        (PublicList::Followers, PublicList::Followers) => {
            sift!("sift_followers_by_followers", "dst", "src", "l[0]", "$second")
        }
        (PublicList::Followers, PublicList::Following) => {
            sift!("sift_followers_by_following", "dst", "src", "$second", "l[0]")
        }
    }
}

/// Accounts that `$user` follows and that follow `$second`, and their number, among the newest `$look` follows.
pub const KNOWN: &str = statement!(
    "known",
    [
        "CALL (visible) {\n",
        walk!("FOLLOWS", "src", "$newest", "LIMIT $look"),
        "  MATCH ()-[b:FOLLOWS]->()
  USING INDEX SEEK b:FOLLOWS(src, dst)
  WHERE b.src = r.dst AND b.dst = $second
  RETURN collect([r.dst, r.pos, r.created_at, b.created_at]) AS found
}
CALL (found) {
  UNWIND found AS f
  WITH f WHERE f[1] < $before
  WITH f SKIP $skip LIMIT $limit
  RETURN collect(f[0]) AS users, collect(f[1]) AS positions, collect(f[2]) AS dates, collect(f[3]) AS met_dates
}
CALL (found) {
  RETURN size(found) AS total
}
"
    ],
    "users, positions, dates, met_dates, total"
);

/// A list of `$user` from an offset, and its length. A count without a label on the far node is one look-up.
pub fn list_at(kind: ListKind) -> &'static str {
    macro_rules! statement_of {
        ($name:literal, $type:literal, $own:literal, $other:literal, $all:literal) => {
            statement!(
                $name,
                [
                    "CALL (visible) {\n",
                    walk!($type, $own, "$newest", "SKIP $skip LIMIT $limit"),
                    "  RETURN collect(r.",
                    $other,
                    ") AS users\n\
                     }\n\
                     CALL (users) {\n  \
                       MATCH (u:User {id: $user})\n  \
                       USING INDEX SEEK u:User(id)\n  \
                       RETURN sum(COUNT { ",
                    $all,
                    " }) AS total\n\
                     }\n"
                ],
                "users, total"
            )
        };
    }
    match kind {
        ListKind::Followers => statement_of!("followers_at", "FOLLOWS", "dst", "src", "(u)<-[:FOLLOWS]-()"),
        ListKind::Following => statement_of!("following_at", "FOLLOWS", "src", "dst", "(u)-[:FOLLOWS]->()"),
        ListKind::Mutes => statement_of!("mutes_at", "MUTES", "src", "dst", "(u)-[:MUTES]->()"),
        ListKind::Blocks => statement_of!("blocks_at", "BLOCKS", "src", "dst", "(u)-[:BLOCKS]->()"),
        ListKind::RequestsReceived => {
            statement_of!("requests_received_at", "REQUESTED", "dst", "src", "(u)<-[:REQUESTED]-()")
        }
        ListKind::RequestsSent => {
            statement_of!("requests_sent_at", "REQUESTED", "src", "dst", "(u)-[:REQUESTED]->()")
        }
    }
}

/// Filters out accounts that an edge links with `$user`.
macro_rules! without {
    ($type:literal, $users:literal, $others:literal) => {
        concat!(
            "  CALL (other) {\n    \
                 MATCH ()-[x:",
            $type,
            "]->()\n    \
                 USING INDEX SEEK x:",
            $type,
            "(src, dst)\n    \
                 WHERE x.",
            $users,
            " = $user AND x.",
            $others,
            " = other\n    \
                 RETURN count(x) AS linked\n  \
               }\n  \
               WITH other, between WHERE linked = 0\n",
        )
    };
}

/// Accounts followed by the follows of `$user`, ordered by the number of accounts in between. Accounts that the user
/// has excluded or already follows are filtered one by one, in order, until there are enough.
pub const SUGGEST: &str = statement!(
    "suggest",
    [
        "CALL (visible) {\n",
        walk!("FOLLOWS", "src", "$newest", "LIMIT $follows"),
        "  RETURN collect(r.dst) AS middles
}
CALL (middles) {
  UNWIND middles AS middle
  CALL (middle) {
    MATCH ()-[f:FOLLOWS]->()
    USING INDEX SEEK f:FOLLOWS(src, pos)
    WHERE f.src = middle AND f.pos < $newest
    WITH f ORDER BY f.src DESC, f.pos DESC LIMIT $each
    RETURN f.dst AS other
  }
  WITH other, collect(middle) AS between WHERE other <> $user
  WITH other, between ORDER BY size(between) DESC, other
",
        without!("FOLLOWS", "src", "dst"),
        without!("REQUESTED", "src", "dst"),
        without!("MUTES", "src", "dst"),
        without!("BLOCKS", "src", "dst"),
        without!("BLOCKS", "dst", "src"),
        "  WITH other, between LIMIT $limit
  RETURN collect(other) AS users, collect(size(between)) AS numbers, collect(between[0..$named]) AS betweens
}
"
    ],
    "users, numbers, betweens, middles"
);

pub fn all() -> impl Iterator<Item = &'static str> {
    let sifts =
        PublicList::ALL.into_iter().flat_map(|walked| PublicList::ALL.map(|other| sift(walked, other)));
    sifts.chain(ListKind::ALL.map(list_at)).chain([KNOWN, SUGGEST])
}
