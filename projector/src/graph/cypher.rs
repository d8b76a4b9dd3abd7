//! The statements over edges, by kind. A relationship type cannot be a parameter, so each text exists once for each
//! kind, put together by the compiler.
//!
//! A text whose plan does not use the index on the pair makes every statement read all edges.

use crate::edge::Kind;

/// Concatenates a text, with the relationship type between its parts.
macro_rules! of_kind {
    ($kind:expr, $first:literal $(, $rest:expr)*) => {
        match $kind {
            Kind::Follow => concat!($first $(, "FOLLOWS", $rest)*),
            Kind::Mute => concat!($first $(, "MUTES", $rest)*),
            Kind::Block => concat!($first $(, "BLOCKS", $rest)*),
            Kind::Request => concat!($first $(, "REQUESTED", $rest)*),
        }
    };
}

/// Creates edges that do not exist; the constraint on the pair refuses one that does.
/// `$a` sources, `$b` targets, `$p` positions, `$t` dates, `$e` expiries, `$r` revisions.
pub fn create(kind: Kind) -> &'static str {
    of_kind!(
        kind,
        "UNWIND range(0, size($a) - 1) AS i \
         MERGE (x:User {id: $a[i]}) MERGE (y:User {id: $b[i]}) \
         CREATE (x)-[:",
        " {src: $a[i], dst: $b[i], pos: $p[i], created_at: $t[i], expires_at: $e[i], rev: $r[i]}]->(y)"
    )
}

/// Sets edges, whether they exist or not. Parameters as in [`create`].
pub fn put(kind: Kind) -> &'static str {
    of_kind!(
        kind,
        "UNWIND range(0, size($a) - 1) AS i \
         OPTIONAL MATCH ()-[o:",
        "]->() USING INDEX o:",
        "(src, dst) WHERE o.src = $a[i] AND o.dst = $b[i] DELETE o \
         WITH i MERGE (x:User {id: $a[i]}) MERGE (y:User {id: $b[i]}) \
         CREATE (x)-[:",
        " {src: $a[i], dst: $b[i], pos: $p[i], created_at: $t[i], expires_at: $e[i], rev: $r[i]}]->(y)"
    )
}

/// Deletes edges by their pairs, if they exist. `$a` sources, `$b` targets.
pub fn delete(kind: Kind) -> &'static str {
    of_kind!(
        kind,
        "UNWIND range(0, size($a) - 1) AS i \
         MATCH ()-[r:",
        "]->() USING INDEX r:",
        "(src, dst) WHERE r.src = $a[i] AND r.dst = $b[i] DELETE r"
    )
}

/// Deletes edges by their element ids `$ids`, if they are still misplaced.
pub fn delete_misplaced(kind: Kind) -> &'static str {
    of_kind!(
        kind,
        "UNWIND $ids AS id MATCH (a)-[r:",
        "]->(b) WHERE elementId(r) = id \
         AND NOT coalesce(r.src = a.id AND r.dst = b.id AND a:User AND b:User, false) DELETE r"
    )
}

/// A number of an edge; `$none` if absent, `$wrong` for a value that is no integer, set by hand.
macro_rules! number {
    ($name:literal) => {
        concat!(
            "CASE WHEN r.",
            $name,
            " IS NULL THEN $none WHEN r.",
            $name,
            " IS :: INTEGER NOT NULL THEN r.",
            $name,
            " ELSE $wrong END"
        )
    };
}

/// The first `$limit` edges, in columns.
macro_rules! values {
    () => {
        concat!(
            "WITH r ORDER BY r.src, r.dst LIMIT $limit RETURN collect(r.src) AS a, collect(r.dst) AS b, collect(",
            number!("pos"),
            ") AS p, collect(",
            number!("created_at"),
            ") AS t, collect(",
            number!("expires_at"),
            ") AS e, collect(",
            number!("rev"),
            ") AS r"
        )
    };
}

/// The first `$limit` edges whose source is between `$above` and `$below`, both excluded.
pub fn read_sources(kind: Kind) -> &'static str {
    of_kind!(
        kind,
        "MATCH ()-[r:",
        "]->() USING INDEX r:",
        concat!(
            "(src, dst) WHERE r.src > $above AND r.src < $below AND r.dst IS NOT NULL AND r.dst IS :: STRING NOT NULL ",
            values!()
        )
    )
}

/// The first `$limit` edges of one source whose target is above `$above` and not above `$upto`.
pub fn read_within(kind: Kind) -> &'static str {
    of_kind!(
        kind,
        "MATCH ()-[r:",
        "]->() USING INDEX r:",
        concat!("(src, dst) WHERE r.src = $source AND r.dst > $above AND r.dst <= $upto ", values!())
    )
}

/// Of the accounts above `$after` and not above `$upto`, except `$large`: those whose degrees differ from the indexes,
/// or that have an edge whose values do not name its ends.
pub fn suspects(kind: Kind) -> &'static str {
    of_kind!(
        kind,
        "MATCH (u:User) WHERE u.id > $after AND u.id <= $upto AND NOT u.id IN $large WITH u, u.id AS id, \
         COUNT { (u)-[:",
        "]->() } AS outgoing, COUNT { (u)<-[:",
        "]-() } AS incoming, \
         COUNT { (u)-[r:",
        "]->(v:User) WHERE r.src = u.id AND r.dst = v.id } AS right_outgoing, \
         COUNT { (u)<-[r:",
        "]-(v:User) WHERE r.src = v.id AND r.dst = u.id } AS right_incoming, \
         COUNT { MATCH ()-[r:",
        "]->() USING INDEX r:",
        "(src, pos) WHERE r.src = u.id AND r.pos IS NOT NULL } AS named_outgoing, \
         COUNT { MATCH ()-[r:",
        "]->() USING INDEX r:",
        "(dst, pos) WHERE r.dst = u.id AND r.pos IS NOT NULL } AS named_incoming \
         RETURN collect(CASE WHEN outgoing <> right_outgoing \
         OR incoming <> right_incoming OR outgoing <> named_outgoing OR incoming <> named_incoming \
         THEN id END) AS ids"
    )
}

/// The number of an account's edges, which Neo4j stores.
macro_rules! degree {
    ($kind:literal) => {
        concat!("COUNT { (u)-[:", $kind, "]->() } + COUNT { (u)<-[:", $kind, "]-() }")
    };
}

/// The first `$limit` accounts after `$after`: the last of them, those with more than `$large` edges of a kind, and
/// those without any edge.
pub const STRETCH: &str = concat!(
    "MATCH (u:User) WHERE u.id > $after WITH u ORDER BY u.id LIMIT $limit WITH u.id AS id, ",
    degree!("FOLLOWS"),
    " AS follow, ",
    degree!("MUTES"),
    " AS mute, ",
    degree!("BLOCKS"),
    " AS block, ",
    degree!("REQUESTED"),
    " AS request RETURN max(id) AS last, count(*) AS looked, \
     collect(CASE WHEN follow > $large THEN id END) AS follow, \
     collect(CASE WHEN mute > $large THEN id END) AS mute, \
     collect(CASE WHEN block > $large THEN id END) AS block, \
     collect(CASE WHEN request > $large THEN id END) AS request, \
     collect(CASE WHEN follow + mute + block + request = 0 THEN id END) AS unused"
);

/// Deletes the nodes of the accounts `$a` that have no edge.
pub const REMOVE_UNUSED: &str =
    "UNWIND $a AS id MATCH (u:User {id: id}) WHERE NOT EXISTS { (u)--() } DELETE u";

/// The degrees of the accounts above `$after` and not above `$upto`, added up.
pub const DEGREES: &str = "MATCH (u:User) WHERE u.id > $after AND u.id <= $upto \
     WITH COUNT { (u)-[:FOLLOWS]->() } AS a, COUNT { (u)<-[:FOLLOWS]-() } AS b, \
     COUNT { (u)-[:MUTES]->() } AS c, COUNT { (u)-[:BLOCKS]->() } AS d, \
     COUNT { (u)-[:REQUESTED]->() } AS e, COUNT { (u)<-[:REQUESTED]-() } AS f \
     RETURN sum(a) AS following, sum(b) AS followers, sum(c) AS muting, sum(d) AS blocking, \
     sum(e) AS sent, sum(f) AS received";

/// The first account after `$after`.
pub const NEXT_ACCOUNT: &str = "MATCH (u:User) WHERE u.id > $after RETURN u.id AS id ORDER BY u.id LIMIT 1";

/// True if `r` from `x` to `y` is misplaced.
macro_rules! misplaced {
    () => {
        "NOT coalesce(r.src = x.id AND r.dst = y.id AND x:User AND y:User, false)"
    };
}

/// The first `$limit` edges that touch account `$id`, or name it in their values, and whose values do not name their
/// ends.
pub fn misplaced_around(kind: Kind) -> &'static str {
    of_kind!(
        kind,
        "CALL () { MATCH (:User {id: $id})-[r:",
        "]-() RETURN r UNION MATCH ()-[r:",
        "]->() WHERE r.src = $id AND r.pos IS NOT NULL RETURN r UNION MATCH ()-[r:",
        concat!(
            "]->() WHERE r.dst = $id AND r.pos IS NOT NULL RETURN r } \
             WITH r, startNode(r) AS x, endNode(r) AS y WHERE ",
            misplaced!(),
            " WITH r LIMIT $limit RETURN collect(elementId(r)) AS ids"
        )
    )
}

/// Of the first `$limit` edges whose `src` is `$id`, to targets above `$after`: the misplaced ones, the number of edges
/// read, and the last target.
pub fn misplaced_outgoing(kind: Kind) -> &'static str {
    of_kind!(
        kind,
        "MATCH ()-[r:",
        "]->() USING INDEX r:",
        concat!(
            "(src, dst) WHERE r.src = $id AND r.dst > $after WITH r ORDER BY r.dst LIMIT $limit \
             WITH r, startNode(r) AS x, endNode(r) AS y RETURN count(*) AS looked, max(r.dst) AS last, \
             collect(CASE WHEN ",
            misplaced!(),
            " THEN elementId(r) END) AS ids"
        )
    )
}

/// The same for edges whose `dst` is `$id`, by position.
pub fn misplaced_incoming(kind: Kind) -> &'static str {
    of_kind!(
        kind,
        "MATCH ()-[r:",
        "]->() USING INDEX r:",
        concat!(
            "(dst, pos) WHERE r.dst = $id AND r.pos > $after WITH r ORDER BY r.pos LIMIT $limit \
             WITH r, startNode(r) AS x, endNode(r) AS y RETURN count(*) AS looked, max(r.pos) AS last, \
             collect(CASE WHEN ",
            misplaced!(),
            " THEN elementId(r) END) AS ids"
        )
    )
}

/// The misplaced edges of `$ids`, in columns.
pub fn misplaced_of(kind: Kind) -> &'static str {
    of_kind!(
        kind,
        "UNWIND $ids AS id MATCH (x)-[r:",
        concat!(
            "]->(y) WHERE elementId(r) = id AND ",
            misplaced!(),
            " RETURN collect(elementId(r)) AS ids, \
             collect(coalesce(toStringOrNull(x.id), '')) AS starts, \
             collect(coalesce(toStringOrNull(y.id), '')) AS ends, \
             collect(coalesce(toStringOrNull(r.src), '')) AS sources, \
             collect(coalesce(toStringOrNull(r.dst), '')) AS targets"
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_type_in_every_text() {
        let types = ["FOLLOWS", "MUTES", "BLOCKS", "REQUESTED"];
        let texts = [
            create,
            put,
            delete,
            delete_misplaced,
            read_sources,
            read_within,
            suspects,
            misplaced_around,
            misplaced_outgoing,
            misplaced_incoming,
            misplaced_of,
        ];
        for text in texts {
            for (kind, own) in Kind::ALL.into_iter().zip(types) {
                for other in types {
                    assert_eq!(text(kind).contains(other), other == own, "{}", text(kind));
                }
            }
        }
    }
}
