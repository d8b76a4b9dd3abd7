"""Calls every method of the two servers, of which it knows what reflection shows.

It fails on a wrong answer, and if reflection shows a method that it does not call.

It reads FOLLOWGRAPH_COMMAND_ADDR, FOLLOWGRAPH_QUERY_ADDR and FOLLOWGRAPH_TOKEN (with all scopes).
"""

import time
import uuid

import grpc

import legacy
from reflected import Server, expect, name_of, until

HEALTH = "grpc.health.v1.Health"
COMMANDS = "followgraph.command.v1.CommandService"
QUERIES = "followgraph.query.v1.QueryService"


def main():
    command_server, query_server = Server("FOLLOWGRAPH_COMMAND_ADDR"), Server("FOLLOWGRAPH_QUERY_ADDR")
    for server, own in [(command_server, COMMANDS), (query_server, QUERIES)]:
        expect("the services", set(server.services), {own, HEALTH, legacy.NAME})
        health(server.services[HEALTH], own)
    graph = Graph(command_server.services[COMMANDS], query_server.services[QUERIES])
    for step in [
        graph.follows,
        graph.friends,
        graph.mutes_and_blocks,
        graph.requests,
        graph.batches,
        graph.bulk,
        graph.accounts,
        graph.events,
        graph.refusals,
        graph.status,
    ]:
        print(step.__name__, flush=True)
        step()
    legacy.run(command_server, query_server)
    for server in (command_server, query_server):
        expect("methods that were never called", server.not_called(), [])


def health(service, name):
    expect("Check of health", name_of(service.Check(service=name), "status"), "SERVING")
    watch = service.Watch(service=name)
    expect("Watch of health", name_of(next(watch), "status"), "SERVING")
    watch.cancel()


def users(number):
    """Accounts that nobody else knows."""
    return [str(uuid.uuid4()) for _ in range(number)]


def ids(answer):
    return [edge.user_id for edge in answer.edges]


class Graph:
    """The two services. Reads are at least as fresh as the last write."""

    def __init__(self, commands, queries):
        self.commands = commands
        self.queries = queries
        self.token = ""

    def write(self, method, **fields):
        """A command that changes something."""
        answer = getattr(self.commands, method)(**fields)
        expect(f"{method} changed something", answer.changed, True)
        self.token = answer.written_at
        return answer

    def act(self, method, actor, other):
        """A command between two accounts; answers the pair after it."""
        return self.write(method, actor_id=actor, target_id=other).relationship

    def read(self, method, **fields):
        answer = getattr(self.queries, method)(consistency={"at_least_as_fresh": self.token}, **fields)
        if not answer.as_of:
            raise AssertionError(f"{method} does not tell its revision")
        return answer

    def walk(self, method, **fields):
        """The accounts of all pages: one may be short, or empty, and still have a next one."""
        found, page_token = [], ""
        while True:
            page = self.read(method, page_token=page_token, **fields)
            found += page.user_ids if hasattr(page, "user_ids") else ids(page)
            page_token = page.next_page_token
            if not page_token:
                return found

    def following(self, viewer, target):
        return self.read("Check", viewer_id=viewer, target_id=target).following

    def relationship(self, viewer, target):
        [found] = self.read("GetRelationships", viewer_id=viewer, target_ids=[target]).relationships
        return found

    def counts(self, user):
        """The account's counts as it sees them itself."""
        [found] = self.read("GetCounts", user_ids=[user], viewer_id=user).counts
        return found

    def finish(self, method, kind, **fields):
        """A command that starts a job; waits for its end."""
        job_id = self.write(method, **fields).job_id

        def done():
            job = self.commands.GetJob(job_id=job_id)
            expect("the job", (job.job_id, job.user_id, job.kind), (job_id, fields["user_id"], kind))
            state = name_of(job, "state")
            if state not in ("JOB_STATE_RUNNING", "JOB_STATE_DONE"):
                raise AssertionError(f"{method}: {state}: {job.error}")
            return state == "JOB_STATE_DONE"

        until(f"the end of the job of {method}", done)
        # A job has no token at its end: the head is one.
        self.token = self.commands.GetStatus().head.token

    def follows(self):
        ann, ben, cat = users(3)
        request_id = str(uuid.uuid4())
        first = self.write("Follow", actor_id=ann, target_id=ben, request_id=request_id)
        expect("the pair", (first.relationship.user_id, first.relationship.following), (ben, True))
        again = self.commands.Follow(actor_id=ann, target_id=ben, request_id=request_id)
        expect("the same request again", again, first)
        expect("Check", self.following(ann, ben), True)
        expect("Check of the way back", self.following(ben, ann), False)

        self.act("Follow", cat, ben)
        results = self.read("BatchCheck", viewer_id=ann, target_ids=[ben, cat]).results
        expect("BatchCheck", [(it.target_id, it.following) for it in results], [(ben, True), (cat, False)])
        page = self.read("ListFollowers", user_id=ben, page_size=1)
        expect("the first page", ids(page), [cat])
        page = self.read("ListFollowers", user_id=ben, page_size=1, page_token=page.next_page_token)
        expect("the second page", ids(page), [ann])
        expect("ListFollowing", ids(self.read("ListFollowing", user_id=ann)), [ben])
        expect("followers", self.counts(ben).followers, 2)
        expect("following", self.counts(ann).following, 1)

        expect("the pair", self.act("Unfollow", ann, ben).following, False)
        expect("an ended follow", self.following(ann, ben), False)
        self.write("RemoveFollower", actor_id=ben, follower_id=cat)
        expect("a removed follower", self.following(cat, ben), False)
        expect("no followers", ids(self.read("ListFollowers", user_id=ben)), [])
        expect("no followers", self.counts(ben).followers, 0)

    def friends(self):
        ann, ben, cat, dan = users(4)
        for actor, target in [(ann, ben), (ben, ann), (ann, cat), (ben, dan), (cat, dan)]:
            self.act("Follow", actor, target)
        pair = self.relationship(ann, ben)
        expect("GetRelationships", (pair.user_id, pair.following, pair.followed_by), (ben, True, True))
        self.etags(ann, ben, pair.etag)
        expect("ListMutuals", self.walk("ListMutuals", user_id=ann), [ben])
        page = self.read("ListFollowersYouKnow", viewer_id=ann, target_id=dan)
        expect("ListFollowersYouKnow", (ids(page), page.total), ([cat, ben], 2))
        for operation, wanted in [
            ("SET_OPERATION_UNION", [cat, ben, ann]),
            ("SET_OPERATION_INTERSECTION", []),
            ("SET_OPERATION_DIFFERENCE", [cat, ben]),
        ]:
            found = self.walk(
                "ListSetOperation",
                operation=operation,
                first={"user_id": dan, "kind": "SET_KIND_FOLLOWERS"},
                second={"user_id": ben, "kind": "SET_KIND_FOLLOWERS"},
            )
            expect(operation, found, wanted)
        [suggestion] = until("suggestions", lambda: self.suggestions(ann))
        found = (suggestion.user_id, suggestion.followed_by_count, set(suggestion.followed_by))
        expect("SuggestAccounts", found, (dan, 2, {ben, cat}))

    def etags(self, viewer, other, etag):
        """A write on a state that is no longer the pair's is refused, with the state that is."""
        muted = self.write("Mute", actor_id=viewer, target_id=other, expected_etag=etag).relationship
        refused = self.commands.Unmute.refused(actor_id=viewer, target_id=other, expected_etag=etag)
        expect("a stale etag", refused[:2], ("FAILED_PRECONDITION", "PRECONDITION_FAILED"))
        expect("the etag of the read side", self.relationship(viewer, other).etag, muted.etag)
        self.write("Unmute", actor_id=viewer, target_id=other, expected_etag=muted.etag)
        expect("the same state as at first", self.relationship(viewer, other).etag, etag)

    def suggestions(self, viewer):
        """None while the read model is too busy: nobody else can answer this."""
        try:
            return self.read("SuggestAccounts", viewer_id=viewer).suggestions
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
            return None

    def mutes_and_blocks(self):
        ann, ben = users(2)
        self.act("Follow", ann, ben)
        self.act("Follow", ben, ann)
        in_an_hour = {"seconds": int(time.time()) + 3600}
        self.write("Mute", actor_id=ann, target_id=ben, expires_at=in_an_hour)
        [edge] = self.read("ListMutes", user_id=ann).edges
        found = (edge.user_id, edge.expires_at.seconds)
        expect("ListMutes", found, (ben, in_an_hour["seconds"]))
        expect("a mute", self.relationship(ann, ben).muting, True)
        expect("the pair", self.act("Unmute", ann, ben).muting, False)
        expect("no mutes", ids(self.read("ListMutes", user_id=ann)), [])

        expect("the pair", self.act("Block", ann, ben).blocking, True)
        expect("what a block severs", (self.following(ann, ben), self.following(ben, ann)), (False, False))
        expect("ListBlocks", ids(self.read("ListBlocks", user_id=ann)), [ben])
        expect("a block", self.relationship(ben, ann).blocked_by, True)
        expect("blocking", self.counts(ann).blocking, 1)
        refused = self.commands.Follow.refused(actor_id=ben, target_id=ann)
        expect("a follow of who has blocked", refused[:2], ("FAILED_PRECONDITION", "BLOCKED"))
        self.act("Unblock", ann, ben)
        expect("no blocks", ids(self.read("ListBlocks", user_id=ann)), [])
        expect("a severed follow", self.following(ben, ann), False)

    def requests(self):
        owner, ann, ben, cat, dan = users(5)
        self.write("SetAccountPrivacy", user_id=owner, private=True)
        for asking in (ann, ben, cat, dan):
            expect("a request", self.act("Follow", asking, owner).requested, True)
        expect("requests are no follows", self.following(ann, owner), False)
        incoming = self.read("ListFollowRequests", user_id=owner)
        expect("incoming requests", ids(incoming), [dan, cat, ben, ann])
        outgoing = self.read("ListFollowRequests", user_id=ann, direction="REQUEST_DIRECTION_OUTGOING")
        expect("outgoing requests", ids(outgoing), [owner])
        self.write("AcceptFollowRequest", actor_id=owner, requester_id=ann)
        self.write("RejectFollowRequest", actor_id=owner, requester_id=ben)
        self.act("CancelFollowRequest", cat, owner)
        found = [self.following(asking, owner) for asking in (ann, ben, cat)]
        expect("accepted, rejected, cancelled", found, [True, False, False])
        expect("pending requests", self.counts(owner).requests_received, 1)
        self.finish("SetAccountPrivacy", "make_public", user_id=owner, private=False)
        expect("accepted by going public", self.following(dan, owner), True)
        expect("followers", ids(self.read("ListFollowers", user_id=owner)), [dan, ann])

    def batches(self):
        ann, ben, cat, dan = users(4)
        follow = {"follow": {"actor_id": ann, "target_id": ben}}
        bad = {"mute": {"actor_id": ann, "target_id": ann}}
        answer = self.commands.BatchWrite(writes=[follow, bad])
        expect("independent commands", [result.changed for result in answer.results], [True, False])
        error = answer.results[1].error
        found = (name_of(error, "reason"), error.field)
        expect("the bad one", found, ("ERROR_REASON_SELF_EDGE", "writes[1].mute.target_id"))
        follow = {"follow": {"actor_id": ann, "target_id": cat}}
        found = self.commands.BatchWrite.refused(writes=[follow, bad], atomic=True)
        wanted = ("INVALID_ARGUMENT", "SELF_EDGE", ["writes[1].mute.target_id"])
        expect("atomic commands", found, wanted)
        self.token = answer.written_at
        expect("following", ids(self.read("ListFollowing", user_id=ann)), [ben])

        answer = self.write("ReplaceFollowing", actor_id=ann, target_ids=[dan, cat])
        expect("added and removed", (set(answer.added), list(answer.removed)), ({cat, dan}, [ben]))
        expect("following", ids(self.read("ListFollowing", user_id=ann)), [dan, cat])

    def bulk(self):
        ann, ben, cat = users(3)
        of_old = {"seconds": 1_000_000_000}
        edge = {"source_id": ann, "target_id": ben, "created_at": of_old}
        bad = {"source_id": ann, "target_id": ann}
        chunks = [
            {"chunk": 1, "kind": "EDGE_KIND_FOLLOW", "edges": [edge, bad]},
            {"chunk": 2, "edges": [edge, {"source_id": ann, "target_id": cat}]},
        ]
        answers = list(self.commands.ImportEdges(*chunks))
        found = [(answer.chunk, answer.accepted, answer.unchanged) for answer in answers]
        expect("ImportEdges", found, [(1, 1, 0), (2, 1, 1)])
        refused = [(edge.index, name_of(edge, "reason")) for edge in answers[0].refused]
        expect("a bad edge", refused, [(1, "ERROR_REASON_SELF_EDGE")])
        self.token = answers[-1].written_at
        [newest, oldest] = self.read("ListFollowing", user_id=ann).edges
        expect("imported", (newest.user_id, oldest.user_id), (cat, ben))
        expect("the date of an imported edge", oldest.created_at.seconds, of_old["seconds"])

        export = self.queries.ExportEdges(kind="EDGE_KIND_FOLLOW")
        first = next(export)
        export.cancel()
        edges = list(first.edges)
        for message in self.queries.ExportEdges(kind="EDGE_KIND_FOLLOW", resume_token=first.resume_token):
            expect("where the export began", message.from_revision, first.from_revision)
            edges += message.edges
        for target in (ben, cat):
            expect("an exported edge", sum((it.source_id, it.target_id) == (ann, target) for it in edges), 1)

    def accounts(self):
        ann, ben = users(2)
        self.act("Follow", ann, ben)
        self.act("Follow", ben, ann)
        self.finish("ArchiveAccount", "archive", user_id=ben)
        expect("a hidden edge", (self.following(ann, ben), self.counts(ann).followers), (False, 0))
        found = self.commands.Follow.refused(actor_id=ann, target_id=ben)
        expect("a follow of the archived", found[:2], ("FAILED_PRECONDITION", "ACCOUNT_ARCHIVED"))
        self.finish("RestoreAccount", "restore", user_id=ben)
        expect("an edge that came back", (self.following(ann, ben), self.counts(ann).followers), (True, 1))
        self.finish("EraseAccount", "erase", user_id=ben)
        expect("an erased edge", (self.following(ann, ben), self.counts(ann).followers), (False, 0))
        expect("followers of the erased", ids(self.read("ListFollowers", user_id=ben)), [])

    def events(self):
        ann, ben = users(2)
        watch = until("a place for a watch", lambda: self.watch(actor_ids=[ann]))
        self.act("Follow", ann, ben)
        event = next(message.event for message in watch if message.HasField("event"))
        expect("what was done", (name_of(event, "verb"), event.actor_id), ("VERB_FOLLOW", ann))
        [edge] = event.edges
        found = (name_of(edge, "kind"), name_of(edge, "op"), edge.source_id, edge.target_id)
        expect("its edge", found, ("EDGE_KIND_FOLLOW", "EDGE_OP_ADDED", ann, ben))
        counts = {it.user_id: (it.followers, it.following) for it in event.counts}
        expect("its counts", counts, {ann: (0, 1), ben: (1, 0)})
        watch.cancel()

    def watch(self, **fields):
        """A watch after its first message, a heartbeat. None while there are too many."""
        watch = self.queries.WatchEvents(**fields)
        try:
            expect("the first message has an event", next(watch).HasField("event"), False)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            return None
        return watch

    def refusals(self):
        [ann] = users(1)
        found = self.commands.Follow.refused(actor_id=ann, target_id="somebody")
        expect("a bad id of a write", found, ("INVALID_ARGUMENT", "INVALID_UUID", ["target_id"]))
        found = self.queries.Check.refused(viewer_id="", target_id=ann)
        expect("a bad id of a read", found, ("INVALID_ARGUMENT", "FIELD_REQUIRED", ["viewer_id"]))
        found = self.commands.GetJob.refused(job_id=ann)
        expect("a job that is not there", found[:2], ("NOT_FOUND", "JOB_NOT_FOUND"))

    def status(self):
        status = self.commands.GetStatus()
        expect("the stream", name_of(status.stream, "state"), "STREAM_STATE_OK")
        expect("read models", len(status.replicas), 1)
        status_of_reads = self.queries.GetStatus()
        expect("the epoch", status_of_reads.head.epoch, status.head.epoch)
        expect("the stores", [store.name for store in status_of_reads.stores], ["neo4j", "postgres"])


if __name__ == "__main__":
    main()
