//! The read model's statements, and the maximum number of ids in each.
//!
//! Each reads the checkpoint's `visible` BEFORE the data and its `target` AFTER it, because a commit becomes visible
//! piece by piece: a read sees all changes up to the former and none after the latter. The generation of repairs is read
//! in the same way. Each subquery imports the results of the ones before it, so that no plan can change that order.
//!
//! Each look-up of an edge or an account has a hint that demands a seek: in its first seconds Neo4j has no statistics of
//! the indexes, and plans scans of them. Tests on a real server refuse a plan that sorts.
//!
//! Each returns a list as one row: separate rows cost three times as much over Bolt. A relationship type cannot be a
//! parameter, so the texts are assembled at compile time.

use crate::queries::{ListKind, PublicList};

/// The checkpoint alone.
pub const CHECKPOINT: &str = "\
// checkpoint
MATCH (c:Checkpoint {name: 'followgraph'})
RETURN c.epoch AS epoch, c.visible AS visible, c.complete AS complete, c.database_id AS database_id,
  CASE c.repairs_owner WHEN c.owner THEN c.repairs_visible END AS repairs";

/// A statement: its name, the subqueries that read the data, and their results.
macro_rules! statement {
    ($name:literal, [$($read:expr),+], $out:literal) => {
        concat!(
            "// ",
            $name,
            "\nMATCH (c:Checkpoint {name: 'followgraph'})\n\
             WITH c.epoch AS epoch, c.visible AS visible, c.complete AS complete,\n  \
               CASE c.repairs_owner WHEN c.owner THEN c.repairs_visible END AS repairs\n",
            $($read,)+
            "CALL (",
            $out,
            ") {\n  \
               MATCH (t:Checkpoint {name: 'followgraph'})\n  \
               RETURN t.epoch AS target_epoch, t.target AS target, t.complete AS still_complete,\n    \
                 t.repairs AS still_repairs\n\
             }\n\
             RETURN epoch, visible, complete, repairs, target_epoch, target, still_complete, still_repairs, ",
            $out
        )
    };
}

/// Walks the edges `r` of `$user` below a position, newest first. ORDER BY needs both keys, otherwise the plan sorts.
/// `$own` is the account's end.
macro_rules! walk {
    ($type:literal, $own:literal, $below:literal, $bounds:literal) => {
        concat!(
            "  MATCH ()-[r:",
            $type,
            "]->()\n  USING INDEX SEEK r:",
            $type,
            "(",
            $own,
            ", pos)\n  WHERE r.",
            $own,
            " = $user AND r.pos < ",
            $below,
            "\n  WITH r ORDER BY r.",
            $own,
            " DESC, r.pos DESC ",
            $bounds,
            "\n"
        )
    };
}

/// A list below a position, newest first.
/// `$expiries` must be an aggregate too: next to any other expression, an empty list would yield no row instead of an
/// empty one.
macro_rules! list {
    ($type:literal, $own:literal, $other:literal, $expiries:literal) => {
        concat!(
            "CALL (visible) {\n",
            walk!($type, $own, "$before", "LIMIT $limit"),
            "  RETURN collect(r.",
            $other,
            ") AS users, collect(r.pos) AS positions, collect(r.created_at) AS dates,\n    ",
            $expiries,
            " AS expiries\n\
             }\n"
        )
    };
}

/// The edges of one type between `$viewer` and `$other`, for each place `i` in `$places`, and its values. An edge
/// without `rev` has not changed since it was added.
macro_rules! links {
    ([$scope:literal, $places:literal, $viewer:literal, $other:literal], $type:literal, $viewers:literal, $others:literal, $name:literal) => {
        concat!(
            "CALL (",
            $scope,
            ") {\n  \
               UNWIND range(0, size(",
            $places,
            ") - 1) AS i\n  \
               MATCH ()-[r:",
            $type,
            "]->()\n  \
               USING INDEX SEEK r:",
            $type,
            "(src, dst)\n  \
               WHERE r.",
            $viewers,
            " = ",
            $viewer,
            " AND r.",
            $others,
            " = ",
            $other,
            "\n  \
               RETURN collect([i, r.pos, r.created_at, coalesce(r.expires_at, -1), coalesce(r.rev, -1)]) AS ",
            $name,
            "\n\
             }\n"
        )
    };
}

/// All links between a viewer and others, except who has muted the viewer, which is private.
macro_rules! all_links {
    ($pairs:tt) => {
        concat!(
            links!($pairs, "FOLLOWS", "src", "dst", "following"),
            links!($pairs, "FOLLOWS", "dst", "src", "followed_by"),
            links!($pairs, "REQUESTED", "src", "dst", "requested"),
            links!($pairs, "REQUESTED", "dst", "src", "request_received"),
            links!($pairs, "MUTES", "src", "dst", "muting"),
            links!($pairs, "BLOCKS", "src", "dst", "blocking"),
            links!($pairs, "BLOCKS", "dst", "src", "blocked_by"),
        )
    };
}

/// Which of `targets` does `viewer` follow? Returns their places in the list.
pub const CHECK: &str = statement!(
    "check",
    ["CALL (visible) {
  UNWIND range(0, size($targets) - 1) AS i
  MATCH ()-[r:FOLLOWS]->()
  USING INDEX SEEK r:FOLLOWS(src, dst)
  WHERE r.src = $viewer AND r.dst = $targets[i]
  RETURN collect(i) AS places
}
"],
    "places"
);

/// A list of `$user`.
pub fn list(kind: ListKind) -> &'static str {
    macro_rules! statement_of {
        ($name:literal, $type:literal, $own:literal, $other:literal) => {
            statement_of!($name, $type, $own, $other, "collect(null)")
        };
        ($name:literal, $type:literal, $own:literal, $other:literal, $expiries:literal) => {
            statement!($name, [list!($type, $own, $other, $expiries)], "users, positions, dates, expiries")
        };
    }
    match kind {
        ListKind::Followers => statement_of!("list_followers", "FOLLOWS", "dst", "src"),
        ListKind::Following => statement_of!("list_following", "FOLLOWS", "src", "dst"),
        ListKind::Mutes => {
            statement_of!("list_mutes", "MUTES", "src", "dst", "collect(coalesce(r.expires_at, -1))")
        }
        ListKind::Blocks => {
            statement_of!("list_blocks", "BLOCKS", "src", "dst", "collect(coalesce(r.expires_at, -1))")
        }
        ListKind::RequestsReceived => statement_of!("list_requests_received", "REQUESTED", "dst", "src"),
        ListKind::RequestsSent => statement_of!("list_requests_sent", "REQUESTED", "src", "dst"),
    }
}

/// A list of `$user`, and the links of `$viewer` with its accounts.
pub fn seen_list(list: PublicList) -> &'static str {
    macro_rules! statement_of {
        ($name:literal, $own:literal, $other:literal) => {
            statement!(
                $name,
                [
                    list!("FOLLOWS", $own, $other, "collect(null)"),
                    all_links!(["users", "users", "$viewer", "users[i]"])
                ],
                "users, positions, dates, expiries, following, followed_by, requested, request_received, muting, \
                 blocking, blocked_by"
            )
        };
    }
    match list {
        PublicList::Followers => statement_of!("list_followers_seen", "dst", "src"),
        PublicList::Following => statement_of!("list_following_seen", "src", "dst"),
    }
}

/// All links between `viewer` and each of `targets`.
pub const RELATIONS: &str = statement!(
    "relations",
    [all_links!(["visible", "$targets", "$viewer", "$targets[i]"])],
    "following, followed_by, requested, request_received, muting, blocking, blocked_by"
);

/// All links of pairs, numbered as in [`CHECK_PAIRS`].
pub const RELATION_PAIRS: &str = statement!(
    "relation_pairs",
    [all_links!(["visible", "$from", "$ids[$from[i]]", "$ids[$to[i]]"])],
    "following, followed_by, requested, request_received, muting, blocking, blocked_by"
);

/// Which of some pairs are follows? `$from` and `$to` are places in `$ids`, so that an id of many pairs is sent once.
pub const CHECK_PAIRS: &str = statement!(
    "check_pairs",
    ["CALL (visible) {
  UNWIND range(0, size($from) - 1) AS i
  MATCH ()-[r:FOLLOWS]->()
  USING INDEX SEEK r:FOLLOWS(src, dst)
  WHERE r.src = $ids[$from[i]] AND r.dst = $ids[$to[i]]
  RETURN collect(i) AS places
}
"],
    "places"
);

/// The first `$limit` accounts after `$after` that `$user` follows, by id: all of it is in the index.
pub const FOLLOWED: &str = statement!(
    "followed",
    ["CALL (visible) {
  MATCH ()-[r:FOLLOWS]->()
  USING INDEX SEEK r:FOLLOWS(src, dst)
  WHERE r.src = $user AND r.dst > $after
  WITH r ORDER BY r.src, r.dst LIMIT $limit
  RETURN collect(r.dst) AS users
}
"],
    "users"
);

/// Counts, each with its place in the list. A count without a label on the far node is one look-up.
pub const COUNTS: &str = statement!(
    "counts",
    ["CALL (visible) {
  UNWIND range(0, size($users) - 1) AS i
  MATCH (u:User {id: $users[i]})
  USING INDEX SEEK u:User(id)
  RETURN collect([i, COUNT { (u)<-[:FOLLOWS]-() }, COUNT { (u)-[:FOLLOWS]->() },
    COUNT { (u)-[:MUTES]->() }, COUNT { (u)-[:BLOCKS]->() },
    COUNT { (u)-[:REQUESTED]->() }, COUNT { (u)<-[:REQUESTED]-() }]) AS counts
}
"],
    "counts"
);

/// All statements except the checkpoint alone.
pub fn all() -> impl Iterator<Item = &'static str> {
    let lists = ListKind::ALL.map(list).into_iter().chain(PublicList::ALL.map(seen_list));
    lists.chain([CHECK, CHECK_PAIRS, RELATIONS, RELATION_PAIRS, FOLLOWED, COUNTS])
}

/// Maximum number of ids in one statement. A Bolt message above 8,192 bytes costs a stall of 40 ms; an id takes 38
/// bytes.
pub const IDS_PER_STATEMENT: usize = 170;

/// The limit of [`CHECK_PAIRS`], whose pairs take up to six bytes more each.
pub const IDS_PER_PAIRS: usize = 150;

/// The limit of [`RELATIONS`], whose text is longer.
pub const TARGETS_PER_RELATIONS: usize = 125;

/// The limit of [`RELATION_PAIRS`].
pub const IDS_PER_RELATION_PAIRS: usize = 100;

pub mod hops;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_message_stays_below_the_stall() {
        let id = 38;
        let names_and_frame = 200;
        for (statement, ids) in
            [(CHECK, IDS_PER_STATEMENT), (COUNTS, IDS_PER_STATEMENT), (RELATIONS, TARGETS_PER_RELATIONS)]
        {
            let bytes = statement.len() + (ids + 1) * id + names_and_frame;
            assert!(bytes < 8_000, "{bytes} bytes: {statement}");
        }
        let place = 3;
        for (statement, ids) in [(CHECK_PAIRS, IDS_PER_PAIRS), (RELATION_PAIRS, IDS_PER_RELATION_PAIRS)] {
            let bytes = statement.len() + ids * (id + 2 * place) + names_and_frame;
            assert!(bytes < 8_000, "{bytes} bytes of pairs: {statement}");
        }
    }

    #[test]
    fn every_look_up_demands_a_seek() {
        for statement in all().chain(hops::all()) {
            let look_ups = statement.split("MATCH (").skip(1).filter(|rest| !rest.contains(":Checkpoint"));
            for look_up in look_ups {
                let (_, after) = look_up.split_once('\n').expect("more lines");
                assert!(after.trim_start().starts_with("USING INDEX SEEK"), "{look_up}");
            }
        }
    }

    #[test]
    fn the_checkpoint_is_read_before_and_after_the_data() {
        for statement in all().chain(hops::all()) {
            let before = statement.find("c.visible AS visible").expect("it reads the checkpoint");
            let first = statement.find("CALL (visible)").expect("the data takes the checkpoint in");
            let last = statement.rfind("CALL (").expect("the checkpoint again");
            let after = statement.find("t.target AS target").expect("it reads the checkpoint again");
            assert!(before < first && first < last && last < after, "{statement}");
            // The last subquery imports all results of the data.
            let (taken, _) = statement[last + "CALL (".len()..].split_once(')').expect("a scope");
            assert!(statement.ends_with(taken), "{statement}");
        }
    }

    #[test]
    fn who_is_looked_up_is_bounded_first() {
        let walks = hops::all().filter(|statement| statement.contains("$second"));
        let bounds = walks.map(|statement| {
            let bound = statement.find("LIMIT $look").expect("a bound");
            assert!(bound < statement.find("[b:FOLLOWS]").expect("a look-up"), "{statement}");
        });
        assert_eq!(bounds.count(), 5);
    }

    #[test]
    fn no_statement_tells_who_has_muted_whom() {
        for statement in all().chain(hops::all()).filter(|statement| statement.contains("MUTES")) {
            assert!(!statement.contains("MUTES(dst"), "{statement}");
        }
        for statement in [RELATIONS, RELATION_PAIRS] {
            assert_eq!(statement.matches("[r:MUTES]").count(), 1);
        }
    }
}
