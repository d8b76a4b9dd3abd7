//! The statements over edges. A relationship type cannot be a parameter, so [`of`] puts it into the text.
//!
//! Each look-up has a hint that demands a seek. In its first seconds Neo4j has no statistics of the indexes, and plans
//! scans of them, which read all edges; such a plan is kept until the statistics have changed.

use crate::edge::Kind;

/// The statement for a kind: fills in `<EDGE>`, the relationship type, and the parts that several statements share.
pub fn of(kind: Kind, statement: &str) -> String {
    let edge = match kind {
        Kind::Follow => "FOLLOWS",
        Kind::Mute => "MUTES",
        Kind::Block => "BLOCKS",
        Kind::Request => "REQUESTED",
    };
    statement.replace("<COLUMNS>", COLUMNS).replace("<MISPLACED>", MISPLACED).replace("<EDGE>", edge)
}

/// Creates edges that do not exist; the constraint on the pair refuses one that does.
/// `$a` sources, `$b` targets, `$p` positions, `$t` dates, `$e` expiries, `$r` revisions.
pub const CREATE: &str = "UNWIND range(0, size($a) - 1) AS i \
    MERGE (x:User {id: $a[i]}) MERGE (y:User {id: $b[i]}) CREATE (x)-[:<EDGE> \
    {src: $a[i], dst: $b[i], pos: $p[i], created_at: $t[i], expires_at: $e[i], rev: $r[i]}]->(y)";

/// Sets edges, whether they exist or not. Parameters as in [`CREATE`].
pub const PUT: &str = "UNWIND range(0, size($a) - 1) AS i \
    OPTIONAL MATCH ()-[o:<EDGE>]->() USING INDEX SEEK o:<EDGE>(src, dst) \
    WHERE o.src = $a[i] AND o.dst = $b[i] DELETE o \
    WITH i MERGE (x:User {id: $a[i]}) MERGE (y:User {id: $b[i]}) CREATE (x)-[:<EDGE> \
    {src: $a[i], dst: $b[i], pos: $p[i], created_at: $t[i], expires_at: $e[i], rev: $r[i]}]->(y)";

/// Deletes edges by their pairs, if they exist. `$a` sources, `$b` targets.
pub const DELETE: &str = "UNWIND range(0, size($a) - 1) AS i \
    MATCH ()-[r:<EDGE>]->() USING INDEX SEEK r:<EDGE>(src, dst) \
    WHERE r.src = $a[i] AND r.dst = $b[i] DELETE r";

/// Deletes edges by their element ids `$ids`, if they are still misplaced.
pub const DELETE_MISPLACED: &str = "UNWIND $ids AS id MATCH (a)-[r:<EDGE>]->(b) WHERE elementId(r) = id \
    AND NOT coalesce(r.src = a.id AND r.dst = b.id AND a:User AND b:User, false) DELETE r";

/// The first `$limit` edges, in columns. Of numbers: `$none` if absent, `$wrong` for a value that is no integer, set by
/// hand.
const COLUMNS: &str = "WITH r ORDER BY r.src, r.dst LIMIT $limit RETURN collect(r.src) AS a, collect(r.dst) AS b, \
    collect(CASE WHEN r.pos IS NULL THEN $none \
    WHEN r.pos IS :: INTEGER NOT NULL THEN r.pos ELSE $wrong END) AS p, \
    collect(CASE WHEN r.created_at IS NULL THEN $none \
    WHEN r.created_at IS :: INTEGER NOT NULL THEN r.created_at ELSE $wrong END) AS t, \
    collect(CASE WHEN r.expires_at IS NULL THEN $none \
    WHEN r.expires_at IS :: INTEGER NOT NULL THEN r.expires_at ELSE $wrong END) AS e, \
    collect(CASE WHEN r.rev IS NULL THEN $none \
    WHEN r.rev IS :: INTEGER NOT NULL THEN r.rev ELSE $wrong END) AS r";

/// The first `$limit` edges whose source is between `$above` and `$below`, both excluded.
pub const READ_SOURCES: &str = "MATCH ()-[r:<EDGE>]->() USING INDEX SEEK r:<EDGE>(src, dst) \
    WHERE r.src > $above AND r.src < $below AND r.dst IS NOT NULL AND r.dst IS :: STRING NOT NULL <COLUMNS>";

/// The first `$limit` edges of one source whose target is above `$above` and not above `$upto`.
pub const READ_WITHIN: &str = "MATCH ()-[r:<EDGE>]->() USING INDEX SEEK r:<EDGE>(src, dst) \
    WHERE r.src = $source AND r.dst > $above AND r.dst <= $upto <COLUMNS>";

/// Of the accounts above `$after` and not above `$upto`, except `$large`: those whose degrees differ from the indexes,
/// or that have an edge whose values do not name its ends. Pairs are compared as lists: no plan can begin at an index.
pub const SUSPECTS: &str = "MATCH (u:User) USING INDEX SEEK u:User(id) \
    WHERE u.id > $after AND u.id <= $upto AND NOT u.id IN $large \
    WITH u, u.id AS id, COUNT { (u)-[:<EDGE>]->() } AS outgoing, COUNT { (u)<-[:<EDGE>]-() } AS incoming, \
    COUNT { (u)-[r:<EDGE>]->(v:User) WHERE [r.src, r.dst] = [u.id, v.id] } AS right_outgoing, \
    COUNT { (u)<-[r:<EDGE>]-(v:User) WHERE [r.src, r.dst] = [v.id, u.id] } AS right_incoming, \
    COUNT { MATCH ()-[r:<EDGE>]->() USING INDEX SEEK r:<EDGE>(src, pos) \
    WHERE r.src = u.id AND r.pos IS NOT NULL } AS named_outgoing, \
    COUNT { MATCH ()-[r:<EDGE>]->() USING INDEX SEEK r:<EDGE>(dst, pos) \
    WHERE r.dst = u.id AND r.pos IS NOT NULL } AS named_incoming \
    RETURN collect(CASE WHEN outgoing <> right_outgoing OR incoming <> right_incoming \
    OR outgoing <> named_outgoing OR incoming <> named_incoming THEN id END) AS ids";

/// The first `$limit` accounts after `$after`: the last of them, those with more than `$large` edges of a kind, and
/// those without any edge. Neo4j stores the degrees.
pub const STRETCH: &str = "MATCH (u:User) USING INDEX SEEK u:User(id) \
    WHERE u.id > $after WITH u ORDER BY u.id LIMIT $limit WITH u.id AS id, \
    COUNT { (u)-[:FOLLOWS]->() } + COUNT { (u)<-[:FOLLOWS]-() } AS follow, \
    COUNT { (u)-[:MUTES]->() } + COUNT { (u)<-[:MUTES]-() } AS mute, \
    COUNT { (u)-[:BLOCKS]->() } + COUNT { (u)<-[:BLOCKS]-() } AS block, \
    COUNT { (u)-[:REQUESTED]->() } + COUNT { (u)<-[:REQUESTED]-() } AS request \
    RETURN max(id) AS last, count(*) AS looked, \
    collect(CASE WHEN follow > $large THEN id END) AS follow, \
    collect(CASE WHEN mute > $large THEN id END) AS mute, \
    collect(CASE WHEN block > $large THEN id END) AS block, \
    collect(CASE WHEN request > $large THEN id END) AS request, \
    collect(CASE WHEN follow + mute + block + request = 0 THEN id END) AS unused";

/// Deletes the nodes of the accounts `$a` that have no edge.
pub const REMOVE_UNUSED: &str = "UNWIND $a AS id MATCH (u:User {id: id}) USING INDEX SEEK u:User(id) WHERE NOT EXISTS { (u)--() } DELETE u";

/// The degrees of the accounts above `$after` and not above `$upto`, added up.
pub const DEGREES: &str = "MATCH (u:User) USING INDEX SEEK u:User(id) WHERE u.id > $after AND u.id <= $upto \
     WITH COUNT { (u)-[:FOLLOWS]->() } AS a, COUNT { (u)<-[:FOLLOWS]-() } AS b, \
     COUNT { (u)-[:MUTES]->() } AS c, COUNT { (u)-[:BLOCKS]->() } AS d, \
     COUNT { (u)-[:REQUESTED]->() } AS e, COUNT { (u)<-[:REQUESTED]-() } AS f \
     RETURN sum(a) AS following, sum(b) AS followers, sum(c) AS muting, sum(d) AS blocking, \
     sum(e) AS sent, sum(f) AS received";

/// The first account after `$after`.
pub const NEXT_ACCOUNT: &str = "MATCH (u:User) USING INDEX SEEK u:User(id) WHERE u.id > $after \
    RETURN u.id AS id ORDER BY u.id LIMIT 1";

/// True if `r` from `x` to `y` is misplaced.
const MISPLACED: &str = "NOT coalesce(r.src = x.id AND r.dst = y.id AND x:User AND y:User, false)";

/// The first `$limit` edges that touch account `$id`, or name it in their values, and whose values do not name their
/// ends.
pub const MISPLACED_AROUND: &str = "CALL () { MATCH (u:User {id: $id})-[r:<EDGE>]-() USING INDEX SEEK u:User(id) RETURN r \
    UNION MATCH ()-[r:<EDGE>]->() USING INDEX SEEK r:<EDGE>(src, pos) \
    WHERE r.src = $id AND r.pos IS NOT NULL RETURN r \
    UNION MATCH ()-[r:<EDGE>]->() USING INDEX SEEK r:<EDGE>(dst, pos) \
    WHERE r.dst = $id AND r.pos IS NOT NULL RETURN r } \
    WITH r, startNode(r) AS x, endNode(r) AS y WHERE <MISPLACED> \
    WITH r LIMIT $limit RETURN collect(elementId(r)) AS ids";

/// Of the first `$limit` edges whose `src` is `$id`, to targets above `$after`: the misplaced ones, the number of edges
/// read, and the last target.
pub const MISPLACED_OUTGOING: &str = "MATCH ()-[r:<EDGE>]->() USING INDEX SEEK r:<EDGE>(src, dst) \
    WHERE r.src = $id AND r.dst > $after WITH r ORDER BY r.dst LIMIT $limit \
    WITH r, startNode(r) AS x, endNode(r) AS y RETURN count(*) AS looked, max(r.dst) AS last, \
    collect(CASE WHEN <MISPLACED> THEN elementId(r) END) AS ids";

/// The same for edges whose `dst` is `$id`, by position.
pub const MISPLACED_INCOMING: &str = "MATCH ()-[r:<EDGE>]->() USING INDEX SEEK r:<EDGE>(dst, pos) \
    WHERE r.dst = $id AND r.pos > $after WITH r ORDER BY r.pos LIMIT $limit \
    WITH r, startNode(r) AS x, endNode(r) AS y RETURN count(*) AS looked, max(r.pos) AS last, \
    collect(CASE WHEN <MISPLACED> THEN elementId(r) END) AS ids";

/// The misplaced edges of `$ids`, in columns.
pub const MISPLACED_OF: &str = "UNWIND $ids AS id MATCH (x)-[r:<EDGE>]->(y) WHERE elementId(r) = id AND <MISPLACED> \
    RETURN collect(elementId(r)) AS ids, collect(coalesce(toStringOrNull(x.id), '')) AS starts, \
    collect(coalesce(toStringOrNull(y.id), '')) AS ends, \
    collect(coalesce(toStringOrNull(r.src), '')) AS sources, \
    collect(coalesce(toStringOrNull(r.dst), '')) AS targets";

#[cfg(test)]
mod tests {
    use super::*;

    const OF_A_KIND: [&str; 11] = [
        CREATE,
        PUT,
        DELETE,
        DELETE_MISPLACED,
        READ_SOURCES,
        READ_WITHIN,
        SUSPECTS,
        MISPLACED_AROUND,
        MISPLACED_OUTGOING,
        MISPLACED_INCOMING,
        MISPLACED_OF,
    ];

    #[test]
    fn every_look_up_demands_a_seek() {
        let texts = OF_A_KIND.into_iter().chain([STRETCH, REMOVE_UNUSED, DEGREES, NEXT_ACCOUNT]);
        let mut look_ups = 0;
        for text in texts {
            // MERGE by a unique property always seeks, and a look-up by element id needs no index.
            for look_up in
                text.split("MATCH ").skip(1).filter(|look_up| !look_up.contains("elementId(r) = id"))
            {
                assert!(
                    look_up.split("WHERE").next().is_some_and(|head| head.contains("USING INDEX SEEK")),
                    "{text}"
                );
                look_ups += 1;
            }
        }
        assert_eq!(look_ups, 16);
    }

    #[test]
    fn every_kind_has_its_own_type_in_every_text() {
        let types = ["FOLLOWS", "MUTES", "BLOCKS", "REQUESTED"];
        for text in OF_A_KIND {
            for (kind, own) in Kind::ALL.into_iter().zip(types) {
                let text = of(kind, text);
                for other in types {
                    assert_eq!(text.contains(other), other == own, "{text}");
                }
            }
        }
    }
}
