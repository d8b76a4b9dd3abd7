//! The read model's statements.
//!
//! Owns: their text, and how many ids one of them may carry. Each reads the checkpoint BEFORE the data: a commit becomes
//! visible piece by piece, and only what `visible` says beforehand is sure to be seen. The subqueries take `visible`
//! in, so that no plan can turn that order around.
//! What can go wrong: a plan without the index (the hints refuse that), or with a sort (the tests on a real server
//! look).
//!
//! Each answers one row of lists: rows of their own cost three times as much over Bolt.

/// The checkpoint alone.
pub const CHECKPOINT: &str = "\
// checkpoint
MATCH (c:Checkpoint {name: 'followgraph'})
RETURN c.epoch AS epoch, c.visible AS visible, c.complete AS complete";

/// Which of `targets` does `viewer` follow? Answers their places in the list.
pub const CHECK: &str = "\
// check
MATCH (c:Checkpoint {name: 'followgraph'})
WITH c.epoch AS epoch, c.visible AS visible, c.complete AS complete
CALL (visible) {
  UNWIND range(0, size($targets) - 1) AS i
  MATCH ()-[r:FOLLOWS]->()
  USING INDEX r:FOLLOWS(src, dst)
  WHERE r.src = $viewer AND r.dst = $targets[i]
  RETURN collect(i) AS places
}
RETURN epoch, visible, complete, places";

/// Followers below a position, newest first. Both keys in ORDER BY, or it sorts.
pub const FOLLOWERS: &str = "\
// list_followers
MATCH (c:Checkpoint {name: 'followgraph'})
WITH c.epoch AS epoch, c.visible AS visible, c.complete AS complete
CALL (visible) {
  MATCH ()-[r:FOLLOWS]->()
  USING INDEX r:FOLLOWS(dst, pos)
  WHERE r.dst = $user AND r.pos < $before
  WITH r ORDER BY r.dst DESC, r.pos DESC LIMIT $limit
  RETURN collect(r.src) AS users, collect(r.pos) AS positions, collect(r.created_at) AS dates
}
RETURN epoch, visible, complete, users, positions, dates";

/// Whom an account follows, below a position, newest first.
pub const FOLLOWING: &str = "\
// list_following
MATCH (c:Checkpoint {name: 'followgraph'})
WITH c.epoch AS epoch, c.visible AS visible, c.complete AS complete
CALL (visible) {
  MATCH ()-[r:FOLLOWS]->()
  USING INDEX r:FOLLOWS(src, pos)
  WHERE r.src = $user AND r.pos < $before
  WITH r ORDER BY r.src DESC, r.pos DESC LIMIT $limit
  RETURN collect(r.dst) AS users, collect(r.pos) AS positions, collect(r.created_at) AS dates
}
RETURN epoch, visible, complete, users, positions, dates";

/// Counts, and the places in the list that they belong to. A count without a label on the far node is one look-up.
pub const COUNTS: &str = "\
// counts
MATCH (c:Checkpoint {name: 'followgraph'})
WITH c.epoch AS epoch, c.visible AS visible, c.complete AS complete
CALL (visible) {
  UNWIND range(0, size($users) - 1) AS i
  MATCH (u:User {id: $users[i]})
  RETURN collect(i) AS places,
    collect(COUNT { (u)<-[:FOLLOWS]-() }) AS followers,
    collect(COUNT { (u)-[:FOLLOWS]->() }) AS following
}
RETURN epoch, visible, complete, places, followers, following";

/// Most ids of one statement. A Bolt message above 8,192 bytes costs a stall of 40 ms; an id takes 38 bytes.
pub const IDS_PER_STATEMENT: usize = 180;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_message_stays_below_the_stall() {
        let id = 38;
        let names_and_frame = 200;
        for statement in [CHECK, COUNTS] {
            let bytes = statement.len() + (IDS_PER_STATEMENT + 1) * id + names_and_frame;
            assert!(bytes < 8_000, "{bytes} bytes: {statement}");
        }
    }

    #[test]
    fn the_checkpoint_is_read_before_the_data() {
        for statement in [CHECK, FOLLOWERS, FOLLOWING, COUNTS] {
            let checkpoint = statement.find("c.visible AS visible").expect("it reads the checkpoint");
            let data = statement.find("CALL (visible)").expect("it takes the checkpoint in");
            assert!(checkpoint < data, "{statement}");
        }
    }
}
