"""The calls of the older system's API: its writes at one server, its reads at the other."""

import uuid

from reflected import expect

NAME = "nova.graph_service.v2.GraphService"
WRONG_SERVER = ("UNIMPLEMENTED", "WRONG_SERVICE", [])


def run(commands, queries):
    writes, reads = commands.services[NAME], queries.services[NAME]
    follows(writes, reads)
    mutes_and_blocks(writes, reads)
    served_elsewhere(writes, reads)


def follows(writes, reads):
    ann, ben, cat = (str(uuid.uuid4()) for _ in range(3))
    for follower, followee in [(ann, ben), (ben, ann), (cat, ben)]:
        answer = writes.CreateFollow(follower_id=follower, followee_id=followee)
        expect("CreateFollow", (answer.success, answer.message), (True, "following"))

    expect("IsFollowing", reads.IsFollowing(follower_id=cat, followee_id=ben).is_following, True)
    expect("IsFollowing", reads.IsFollowing(follower_id=ben, followee_id=cat).is_following, False)
    results = reads.BatchCheckFollowing(follower_id=ann, followee_ids=[ben, cat]).results
    expect("BatchCheckFollowing", dict(results), {ben: True, cat: False})

    page = reads.GetFollowers(user_id=ben, limit=1, viewer_id=ann)
    expect("GetFollowers", (list(page.user_ids), page.total_count, page.has_more), ([cat], 2, True))
    expect("GetFollowers, as seen", [user.follows_you for user in page.users], [False])
    page = reads.GetFollowing(user_id=ben)
    expect("GetFollowing", (list(page.user_ids), page.total_count, page.has_more), ([ann], 1, False))

    answer = reads.AreMutualFollowers(user_a=ann, user_b=ben)
    expect("AreMutualFollowers", (answer.are_mutuals, answer.a_follows_b, answer.b_follows_a), (True,) * 3)
    expect("GetMutualFollowers", list(reads.GetMutualFollowers(user_id=ben).user_ids), [ann])

    expect("DeleteFollow", writes.DeleteFollow(follower_id=cat, followee_id=ben).message, "not following")
    expect("GetFollowers", list(reads.GetFollowers(user_id=ben).user_ids), [ann])


def mutes_and_blocks(writes, reads):
    ann, ben = (str(uuid.uuid4()) for _ in range(2))
    expect("CreateMute", writes.CreateMute(muter_id=ann, mutee_id=ben).message, "muted")
    expect("IsMuted", reads.IsMuted(muter_id=ann, mutee_id=ben).is_muted, True)
    expect("DeleteMute", writes.DeleteMute(muter_id=ann, mutee_id=ben).message, "not muted")
    expect("IsMuted", reads.IsMuted(muter_id=ann, mutee_id=ben).is_muted, False)

    writes.CreateFollow(follower_id=ben, followee_id=ann)
    expect("CreateBlock", writes.CreateBlock(blocker_id=ann, blocked_id=ben).message, "blocked")
    expect("a blocked follow", reads.IsFollowing(follower_id=ben, followee_id=ann).is_following, False)
    expect("IsBlocked", reads.IsBlocked(blocker_id=ann, blocked_id=ben).is_blocked, True)
    answer = reads.HasBlockBetween(user_a=ben, user_b=ann)
    found = (answer.has_block, answer.a_blocked_b, answer.b_blocked_a)
    expect("HasBlockBetween", found, (True, False, True))
    page = reads.GetBlockedUsers(user_id=ann)
    expect("GetBlockedUsers", (list(page.blocked_user_ids), page.total_count), ([ben], 1))
    expect("DeleteBlock", writes.DeleteBlock(blocker_id=ann, blocked_id=ben).message, "not blocked")
    expect("IsBlocked", reads.IsBlocked(blocker_id=ann, blocked_id=ben).is_blocked, False)


def served_elsewhere(writes, reads):
    """Each server shows the whole of this service, and says of what the other one serves where that is."""
    for method in [
        writes.GetFollowers,
        writes.GetFollowing,
        writes.IsFollowing,
        writes.IsMuted,
        writes.IsBlocked,
        writes.BatchCheckFollowing,
        writes.HasBlockBetween,
        writes.GetBlockedUsers,
        writes.AreMutualFollowers,
        writes.GetMutualFollowers,
        reads.CreateFollow,
        reads.DeleteFollow,
        reads.CreateMute,
        reads.DeleteMute,
        reads.CreateBlock,
        reads.DeleteBlock,
    ]:
        expect(f"{method.full_name} at the wrong server", method.refused(), WRONG_SERVER)
