#!/usr/bin/env python3
"""Keeps a copy of the follow graph in SQLite and follows every change to it.

It uses only the public API and the stream. First it exports all edges, then it reads the stream from the
revision at which the export began. It stores each event together with the checkpoint in one transaction,
so it can be killed at any moment; started again, it resumes at the checkpoint. EXIT_CODES lists the errors.
"""

import argparse
import asyncio
import importlib
import os
import pathlib
import sqlite3
import sys
import tempfile
import time
import typing

import grpc
import grpc_tools
import nats
from google.protobuf.message import DecodeError
from grpc_tools import protoc
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

EXIT_CODES = """exit codes: 0 done; 2 wrong arguments; 3 the stream does not continue the
history in the file; 4 another epoch has replaced the history in the file; 5 the stream contains changes
that this version does not know; 1 any other error. After 3 and 4 start again with a new file, after 5 upgrade."""

SUBJECTS = "followgraph.events.>"
BATCH = 256  # Events per fetch.
SILENCE_SECONDS = 5  # After this time without an event, a new consumer is created.

SCHEMA = """
PRAGMA journal_mode = WAL;
-- A power failure may lose the last transactions, but never a part of one: the checkpoint rolls back
-- together with the tables, and the stream delivers the events again.
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS edges (
    source TEXT, target TEXT, kind TEXT, position INTEGER, created_ms INTEGER, expires_ms INTEGER,
    PRIMARY KEY (source, target, kind)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS edges_by_target ON edges (target);
CREATE TABLE IF NOT EXISTS counts (
    account TEXT PRIMARY KEY, followers INTEGER, following INTEGER, muting INTEGER, blocking INTEGER,
    requests_sent INTEGER, requests_received INTEGER) WITHOUT ROWID;
-- States of accounts from events after the export; an export does not contain them. NULL: unknown.
CREATE TABLE IF NOT EXISTS accounts (account TEXT PRIMARY KEY, private INTEGER, state TEXT) WITHOUT ROWID;
-- One row once the export is complete. event_id is NULL until the first event is applied.
CREATE TABLE IF NOT EXISTS checkpoint (epoch INTEGER, revision INTEGER, event_id TEXT, exact_from INTEGER);
"""

# An export has no counts. These are correct for every account that did not change during the export; for
# the others the stream contains counts.
COUNT_EXPORTED = """
INSERT INTO counts
SELECT account, sum(follower), sum(follows), sum(mutes), sum(blocks), sum(asks), sum(asked) FROM (
    SELECT target AS account, kind = 'FOLLOW' AS follower, 0 AS follows, 0 AS mutes, 0 AS blocks, 0 AS asks,
           kind = 'FOLLOW_REQUEST' AS asked FROM edges
    UNION ALL
    SELECT source, 0, kind = 'FOLLOW', kind = 'MUTE', kind = 'BLOCK', kind = 'FOLLOW_REQUEST', 0 FROM edges
) GROUP BY account
"""

# The message classes, set by load_messages.
events = graph = query = query_grpc = None


class Stop(Exception):
    """Continuing would make the tables wrong."""

    def __init__(self, exit_code: int, reason: str):
        super().__init__(reason)
        self.exit_code = exit_code


class Unexpected(Exception):
    """The message is not the next event. The relay repairs the stream, unless the history has forked."""


class Checkpoint(typing.NamedTuple):
    """The last event whose changes are in the tables."""

    epoch: int
    revision: int
    event_id: str | None
    exact_from: int  # Before this revision the tables mix states of different times.


def load_messages(folder: pathlib.Path):
    """Generates the message classes from the .proto files; a real subscriber does so in its build."""
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as generated:
        arguments = [f"-I{folder}", f"-I{well_known}", f"--python_out={generated}", f"--grpc_python_out={generated}"]
        files = sorted(str(path) for path in folder.glob("followgraph/**/*.proto"))
        if not files or protoc.main(["protoc", *arguments, *files]) != 0:
            sys.exit(f"no usable .proto files in {folder}; name their folder with --proto")
        sys.path.insert(0, generated)
        names = ("event.v1.event_pb2", "graph.v1.edge_kind_pb2", "query.v1.query_service_pb2",
                 "query.v1.query_service_pb2_grpc")
        return [importlib.import_module(f"followgraph.{name}") for name in names]


def say(text: str):
    print(text, flush=True)


async def say_error(error: Exception):
    say(f"NATS: {error}")


def put_edge(db, kind: int, edge):
    """Sets an edge. `edge` is an EdgeChange or an ExportedEdge: both have these fields."""
    expires = edge.expires_at.ToMilliseconds() if edge.HasField("expires_at") else None
    row = (edge.source_id, edge.target_id, kind_name(kind), edge.position, edge.created_at.ToMilliseconds(), expires)
    db.execute("INSERT OR REPLACE INTO edges VALUES (?, ?, ?, ?, ?, ?)", row)


def kind_name(kind: int) -> str:
    return graph.EdgeKind.Name(kind).removeprefix("EDGE_KIND_")


class Source:
    """The calls of query-service that a subscriber needs."""

    def __init__(self, address: str, token: str):
        self.stub = query_grpc.QueryServiceStub(grpc.aio.insecure_channel(address))
        self.metadata = [("authorization", f"Bearer {token}")] if token else []

    async def parts(self, kind: int):
        """All messages of one export. After an error, resumes with the token of the last one."""
        token = ""
        while True:
            try:
                request = query.ExportEdgesRequest(kind=kind, resume_token=token)
                async for part in self.stub.ExportEdges(request, metadata=self.metadata):
                    yield part
                    token = part.resume_token
                return
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.FAILED_PRECONDITION:
                    raise Stop(4, f"the history was given up during the export: {error.details()}") from error
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
                    raise
                say(f"resuming the export in a second: {error.details()}")
                await asyncio.sleep(1)

    async def head(self) -> int:
        """The newest revision, read from PostgreSQL: the first message of an export contains it."""
        async for part in self.parts(graph.EDGE_KIND_BLOCK):
            return part.from_revision
        raise Stop(1, "an export without a part")


async def export(db, source: Source) -> Checkpoint:
    """Fills the tables and stores the checkpoint at which reading the stream starts."""
    with db:
        for table in ("edges", "counts", "accounts"):  # Rows of an interrupted export.
            db.execute(f"DELETE FROM {table}")
    begun = {}  # Start of each export: (epoch, from_revision)
    for kind in [kind for kind in graph.EdgeKind.values() if kind != graph.EDGE_KIND_UNSPECIFIED]:
        async for part in source.parts(kind):
            with db:
                for edge in part.edges:
                    put_edge(db, kind, edge)
            begun[kind] = (part.epoch, part.from_revision)
    epochs = {epoch for epoch, _ in begun.values()}
    if len(epochs) != 1:
        raise Stop(4, "the history was given up during the export")
    # Setting and removing edges is idempotent, so events that a later export already contains do no harm.
    # No exported edge is newer than the current head.
    checkpoint = Checkpoint(epochs.pop(), min(r for _, r in begun.values()), None, await source.head())
    with db:
        db.execute(COUNT_EXPORTED)
        save(db, checkpoint)
    (edges,) = db.execute("SELECT count(*) FROM edges").fetchone()
    say(f"exported {edges} edges; the stream from revision {checkpoint.revision + 1}, "
        f"exact from revision {checkpoint.exact_from}")
    return checkpoint


def save(db, checkpoint: Checkpoint):
    db.execute("DELETE FROM checkpoint")
    db.execute("INSERT INTO checkpoint VALUES (?, ?, ?, ?)", checkpoint)


def read_event(message, last: Checkpoint):
    """The event of a message, if it is the next one after `last` and contains no unknown value."""
    revision, wanted = message.metadata.sequence.stream, last.revision + 1
    if revision != wanted:
        raise Unexpected(f"revision {wanted} is missing in the stream, the next one is {revision}")
    try:
        event = events.Event.FromString(message.data)
    except DecodeError as error:
        raise Unexpected(f"the message at revision {revision} is not an event") from error
    if (message.headers or {}).get("ce-id") != event.event_id:
        raise Unexpected(f"the headers at revision {revision} belong to another event")
    if (event.epoch, event.revision) != (last.epoch, revision):
        raise Unexpected(f"at revision {revision} is epoch {event.epoch} revision {event.revision}")
    if last.event_id is not None and event.prev_id != last.event_id:
        raise Unexpected(f"revision {revision} continues another history")
    # Skipping an unknown value would silently make the tables wrong.
    known = [(event.verb, events.Verb)]
    known += [(change.kind, graph.EdgeKind) for change in event.edges]
    known += [(change.op, events.EdgeOp) for change in event.edges]
    known += [(change.op, events.AccountOp) for change in event.accounts]
    for value, enum in known:
        if value == 0 or value not in enum.values():
            raise Stop(5, f"revision {revision} contains {enum.DESCRIPTOR.name} {value}, which this version does not know")
    return event


def apply_event(db, event, last: Checkpoint) -> Checkpoint:
    """Applies an event and the checkpoint in one transaction."""
    with db:
        for change in event.edges:
            if change.op == events.EDGE_OP_REMOVED:
                key = (change.source_id, change.target_id, kind_name(change.kind))
                db.execute("DELETE FROM edges WHERE source = ? AND target = ? AND kind = ?", key)
            else:
                put_edge(db, change.kind, change)
        for c in event.counts:
            row = (c.user_id, c.followers, c.following, c.muting, c.blocking, c.requests_sent, c.requests_received)
            db.execute("INSERT OR REPLACE INTO counts VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        for change in event.accounts:  # After the counts, which may name the erased account.
            apply_account(db, change)
        checkpoint = last._replace(revision=event.revision, event_id=event.event_id)
        save(db, checkpoint)
    return checkpoint


def apply_account(db, change):
    account = (change.user_id,)
    if change.op == events.ACCOUNT_OP_ERASED:  # If you have more tables, delete the account from them here.
        db.execute("DELETE FROM edges WHERE source = ?", account)
        db.execute("DELETE FROM edges WHERE target = ?", account)
        db.execute("DELETE FROM counts WHERE account = ?", account)
        db.execute("DELETE FROM accounts WHERE account = ?", account)
        return
    db.execute("INSERT OR IGNORE INTO accounts VALUES (?, NULL, NULL)", account)
    if change.op in (events.ACCOUNT_OP_MADE_PRIVATE, events.ACCOUNT_OP_MADE_PUBLIC):
        private = change.op == events.ACCOUNT_OP_MADE_PRIVATE
        db.execute("UPDATE accounts SET private = ? WHERE account = ?", (private, *account))
        return
    states = {
        events.ACCOUNT_OP_ARCHIVED: "archived",
        events.ACCOUNT_OP_RESTORED: "active",
        events.ACCOUNT_OP_ERASE_STARTED: "erasing",
    }
    db.execute("UPDATE accounts SET state = ? WHERE account = ?", (states[change.op], *account))


async def follow(db, client, last: Checkpoint, until: int | None, patience: float) -> Checkpoint:
    """Applies events until `until`; returns the last checkpoint.

    If the consumer fails, a new one starts after the checkpoint: the server stores no state of this subscriber.
    """
    jetstream = client.jetstream()
    progress = time.monotonic()
    while until is None or last.revision < until:
        consumer = None
        try:
            consumer = await open_consumer(jetstream, last)
            while until is None or last.revision < until:
                for message in await consumer.fetch(BATCH, timeout=SILENCE_SECONDS):
                    last = apply_event(db, read_event(message, last), last)
                    progress = time.monotonic()
                    if last.revision == until:
                        break
                say(f"at revision {last.revision}")
        except nats.errors.TimeoutError:
            progress = time.monotonic()  # No events, or the server has lost the consumer.
        except (Unexpected, nats.errors.Error) as surprise:
            if isinstance(surprise, Unexpected) and time.monotonic() - progress >= patience:
                raise Stop(3, str(surprise)) from surprise
            say(f"trying again: {surprise}")
            await asyncio.sleep(1)
        finally:
            if consumer is not None and client.is_connected:
                await consumer.unsubscribe()
    return last


async def open_consumer(jetstream, last: Checkpoint):
    """Creates an unnamed consumer: our file stores the position, not the server."""
    name = await jetstream.find_stream_name_by_subject(SUBJECTS)
    wanted = "FOLLOWGRAPH" if last.epoch == 1 else f"FOLLOWGRAPH_{last.epoch}"
    if name != wanted:
        raise Stop(4, f"the file is of epoch {last.epoch} ({wanted}), the stream is now {name}")
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=last.revision + 1,  # The stream sequence of an event is its revision.
        ack_policy=AckPolicy.NONE,
        inactive_threshold=60,
    )
    return await jetstream.pull_subscribe(SUBJECTS, stream=name, config=config)


async def main(arguments):
    db = sqlite3.connect(arguments.database)
    db.executescript(SCHEMA)
    source = Source(arguments.query, os.environ.get("FOLLOWGRAPH_TOKEN", ""))
    row = db.execute("SELECT * FROM checkpoint").fetchone()
    if row is None:
        last = await export(db, source)
    else:
        last = Checkpoint(*row)
        say(f"resuming after revision {last.revision}")
    until = await source.head() if arguments.until_head else arguments.until_revision
    if until is not None:
        until = max(until, last.exact_from)
    client = await nats.connect(arguments.nats.split(","), max_reconnect_attempts=-1, error_cb=say_error)
    try:
        last = await follow(db, client, last, until, arguments.patience)
    finally:
        await client.close()
    say(f"done: the tables are those of revision {last.revision}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=EXIT_CODES)
    parser.add_argument("--database", default="followgraph.sqlite", help="the file (default: %(default)s)")
    parser.add_argument("--query", default=os.environ.get("FOLLOWGRAPH_QUERY_ADDR", "127.0.0.1:9081"),
                        help="query-service, host:port (FOLLOWGRAPH_QUERY_ADDR, default: %(default)s)")
    parser.add_argument("--nats", default=os.environ.get("NATS_URL", "nats://127.0.0.1:4222"),
                        help="NATS, several separated by commas (NATS_URL)")
    parser.add_argument("--proto", type=pathlib.Path, default=pathlib.Path(__file__).parents[2] / "proto",
                        help="the folder with the .proto files (default: that of this checkout)")
    parser.add_argument("--patience", type=float, default=10, metavar="SECONDS",
                        help="how long the relay may take to repair the stream (default: %(default)s)")
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--until-head", action="store_true", help="end at the newest revision as of the start")
    limit.add_argument("--until-revision", type=int, metavar="N", help="end at this revision")
    parsed = parser.parse_args()
    events, graph, query, query_grpc = load_messages(parsed.proto)
    try:
        asyncio.run(main(parsed))
    except Stop as stop:
        print(f"subscriber: {stop}", file=sys.stderr)
        sys.exit(stop.exit_code)
    except grpc.aio.AioRpcError as error:
        sys.exit(f"subscriber: {parsed.query}: {error.code().name}: {error.details()}")
    except KeyboardInterrupt:
        sys.exit(130)
