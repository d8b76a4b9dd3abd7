// The read model: one node an account, one relationship an edge.
//
// (:User {id})-[:FOLLOWS|MUTES|BLOCKS|REQUESTED {src, dst, pos, created_at, expires_at, rev}]->(:User {id})
//
// src and dst repeat the ends' ids, so that an index answers without touching nodes.
// created_at and expires_at are milliseconds since 1970. Ids are lowercase UUID texts.
// rev is the revision of the last change of the edge, and absent where that is the one in its position (pos / 1024).
// Every statement is idempotent and ends with a semicolon.

CREATE CONSTRAINT user_id IF NOT EXISTS FOR (u:User) REQUIRE u.id IS UNIQUE;
CREATE CONSTRAINT checkpoint_name IF NOT EXISTS FOR (c:Checkpoint) REQUIRE c.name IS UNIQUE;

CREATE CONSTRAINT follows_pair IF NOT EXISTS FOR ()-[r:FOLLOWS]-() REQUIRE (r.src, r.dst) IS UNIQUE;
CREATE INDEX follows_by_target IF NOT EXISTS FOR ()-[r:FOLLOWS]-() ON (r.dst, r.pos);
CREATE INDEX follows_by_source IF NOT EXISTS FOR ()-[r:FOLLOWS]-() ON (r.src, r.pos);

CREATE CONSTRAINT mutes_pair IF NOT EXISTS FOR ()-[r:MUTES]-() REQUIRE (r.src, r.dst) IS UNIQUE;
CREATE INDEX mutes_by_target IF NOT EXISTS FOR ()-[r:MUTES]-() ON (r.dst, r.pos);
CREATE INDEX mutes_by_source IF NOT EXISTS FOR ()-[r:MUTES]-() ON (r.src, r.pos);

CREATE CONSTRAINT blocks_pair IF NOT EXISTS FOR ()-[r:BLOCKS]-() REQUIRE (r.src, r.dst) IS UNIQUE;
CREATE INDEX blocks_by_target IF NOT EXISTS FOR ()-[r:BLOCKS]-() ON (r.dst, r.pos);
CREATE INDEX blocks_by_source IF NOT EXISTS FOR ()-[r:BLOCKS]-() ON (r.src, r.pos);

CREATE CONSTRAINT requested_pair IF NOT EXISTS FOR ()-[r:REQUESTED]-() REQUIRE (r.src, r.dst) IS UNIQUE;
CREATE INDEX requested_by_target IF NOT EXISTS FOR ()-[r:REQUESTED]-() ON (r.dst, r.pos);
CREATE INDEX requested_by_source IF NOT EXISTS FOR ()-[r:REQUESTED]-() ON (r.src, r.pos);
