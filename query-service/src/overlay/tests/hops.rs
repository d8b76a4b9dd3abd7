//! Multi-hop answers (I13): a reference implementation of each, and a check that an answer is the state at one
//! revision.

use std::collections::BTreeMap;

use super::history::{State, list_at};
use super::*;
use crate::queries::{
    self, FOLLOWS_LOOKED_THROUGH, FOLLOWS_OF_EACH, KnownRows, ListAt, MetRow, MultiHop as _, NAMED_BETWEEN,
    Part as ListPart, PublicList, SUGGESTING_FOLLOWS, Set, Sift, Sifted, Suggest, Suggested, Suggestion,
    Union, United,
};

const FOLLOWING: Side = Side { kind: EdgeKind::Follow, outgoing: true };

fn side(list: PublicList) -> Side {
    list.kind().side()
}

/// The date of the edge by which an account is in a set; `None` if it is not.
fn met(state: &State, set: Set, other: UserId, before: Option<Position>) -> Option<i64> {
    let (source, target) = if side(set.list).outgoing { (set.user, other) } else { (other, set.user) };
    let held = state.get(&EdgeKey { kind: EdgeKind::Follow, source, target })?;
    let counts = before.is_none_or(|before| held.position < before && held.revision < before.revision());
    counts.then_some(held.created_at_millis)
}

pub fn sift(walked: &State, other: &State, sift: &Sift) -> Sifted {
    let rows = list_at(walked, sift.walked.user, side(sift.walked.list)).into_iter();
    let rows: Vec<ListRow> =
        rows.filter(|row| sift.before.is_none_or(|before| row.position < before)).take(sift.look).collect();
    let met = |row: &ListRow| met(other, sift.other, row.user, sift.other_before);
    let found = rows.iter().filter(|row| met(row).is_some() == sift.members);
    let found = found.map(|row| MetRow { row: *row, met_at_millis: met(row) }).take(sift.limit).collect();
    let looked_to = rows.last().filter(|_| rows.len() >= sift.look).map(|row| row.position);
    Sifted { rows: found, looked_to }
}

pub fn known(walked: &State, other: &State, known: &queries::Known) -> KnownRows {
    let of = |list, user| Set { list, user };
    let all = Sift {
        walked: of(PublicList::Following, known.viewer),
        before: None,
        other: of(PublicList::Followers, known.target),
        other_before: None,
        members: true,
        look: FOLLOWS_LOOKED_THROUGH,
        limit: FOLLOWS_LOOKED_THROUGH,
    };
    let all = sift(walked, other, &all).rows;
    let total = all.len() as u64;
    let below = all.into_iter().filter(|met| known.before.is_none_or(|before| met.row.position < before));
    KnownRows { rows: below.skip(known.skip).take(known.limit).collect(), total }
}

pub fn part(listed: &State, linked: &State, at: &ListAt) -> ListPart {
    let rows = list_at(listed, at.user, at.kind.side());
    let users: Vec<UserId> = rows.iter().skip(at.offset).take(at.limit).map(|row| row.user).collect();
    let relations =
        at.viewer.map(|viewer| users.iter().map(|user| relation_at(linked, viewer, *user)).collect());
    ListPart { users, total: rows.len() as u64, relations: relations.unwrap_or_default() }
}

pub fn union(first: &State, second: &State, union: &Union) -> United {
    let mut rows = list_at(first, union.first.user, side(union.first.list));
    rows.retain(|row| union.before.is_none_or(|before| row.position < before));
    rows.truncate(union.size + 1);
    let rest = union.rest(&rows).map(|rest| sift(second, first, &rest));
    United { first: rows, second: rest }
}

pub fn suggest(first: &State, second: &State, suggest: &Suggest) -> Suggested {
    let viewer = suggest.viewer;
    let rows = list_at(first, viewer, FOLLOWING);
    let middles: Vec<UserId> = rows.iter().take(SUGGESTING_FOLLOWS).map(|row| row.user).collect();
    let mut between: BTreeMap<UserId, Vec<UserId>> = BTreeMap::new();
    for middle in &middles {
        for row in list_at(second, *middle, FOLLOWING).iter().take(FOLLOWS_OF_EACH) {
            between.entry(row.user).or_default().push(*middle);
        }
    }
    between.retain(|other, _| {
        let links = relation_at(second, viewer, *other);
        let linked = [links.following, links.requested, links.muting, links.blocking, links.blocked_by];
        *other != viewer && linked.iter().all(Option::is_none)
    });
    let mut ranked: Vec<_> = between.into_iter().collect();
    ranked.sort_by_key(|(_, middles)| std::cmp::Reverse(middles.len()));
    let suggestions = ranked.into_iter().take(suggest.limit).map(|(user, middles)| Suggestion {
        user,
        between_count: u32::try_from(middles.len()).expect("few"),
        between: middles.into_iter().take(NAMED_BETWEEN).collect(),
    });
    Suggested { suggestions: suggestions.collect(), middles }
}

/// True if none of these edges changed between two revisions.
fn quiet(history: &History, from: usize, to: usize, dependencies: &[queries::Dependency]) -> bool {
    history.states[from..=to].windows(2).all(|states| {
        dependencies
            .iter()
            .all(|(user, side)| list_at(&states[0], *user, *side) == list_at(&states[1], *user, *side))
    })
}

/// The answer must be the state at the revision that it names; no answer is valid only if an edge changed.
fn judge<T: PartialEq + std::fmt::Debug>(
    outcome: ReadResult<T>,
    state: impl Fn(usize) -> T,
    quiet: bool,
) -> Result<(), TestCaseError> {
    match outcome {
        Ok(answer) => {
            prop_assert_eq!(answer.as_of, answer.target);
            let at = usize::try_from(answer.as_of.revision.0).expect("small");
            prop_assert_eq!(answer.value, state(at), "at {}", at);
        }
        Err(Error::NotExact) => prop_assert!(!quiet, "none of its edges changed"),
        Err(other) => return Err(TestCaseError::fail(other.to_string())),
    }
    Ok(())
}

proptest! {
    #[test]
    fn answers_over_hops_are_the_state_at_the_revision_that_they_name(
        (history, from, to, position, dice) in cases(),
        limit in 1usize..5,
        near in any::<bool>(),
    ) {
        let torn = Torn { states: history.states.clone(), from, to, dice };
        let overlaid = Overlaid::new(torn, history.read(from, position), replica(), Duration::ZERO);
        let at = |revision: usize| &history.states[revision];
        let of = |list, user| Set { list, user };
        paused(async {
            for (one, other) in [(0, 1), (1, 2), (0, 0)].map(|(a, b)| (user(a), user(b))) {
                let (first, second) = (of(PublicList::Following, one), of(PublicList::Followers, other));
                for members in [true, false] {
                    let sift = Sift { walked: first, before: None, other: second, other_before: None, members, look: 4, limit };
                    let still = quiet(&history, from, to, &sift.dependencies(&Sifted::default()));
                    judge(overlaid.read(&sift, cx()).await, |r| self::sift(at(r), at(r), &sift), still)?;
                }
                let known = queries::Known { viewer: one, target: other, before: None, skip: 0, limit };
                let still = quiet(&history, from, to, &known.dependencies(&KnownRows::default()));
                judge(overlaid.read(&known, cx()).await, |r| self::known(at(r), at(r), &known), still)?;
                let union = Union { first, before: None, second, begun: None, look: 4, size: limit };
                let answer = overlaid.read(&union, cx()).await;
                let both = [(one, side(first.list)), (other, side(second.list))];
                judge(answer, |r| self::union(at(r), at(r), &union), quiet(&history, from, to, &both))?;
                let offset = if near { 1 } else { 2_000 };
                for viewer in [None, Some(other)] {
                    let list = ListAt { kind: ListKind::Followers, user: one, offset, limit, viewer };
                    let still = near || quiet(&history, from, to, &list.dependencies());
                    judge(overlaid.read(&list, cx()).await, |r| part(at(r), at(r), &list), still)?;
                }
                let suggest = Suggest { viewer: one, limit };
                let answer = overlaid.read(&suggest, cx()).await;
                judge(answer, |r| self::suggest(at(r), at(r), &suggest), from == to)?;
            }
            Ok::<_, TestCaseError>(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_is_repeated_when_the_read_model_shows_its_next_revision() {
    let history = follows_then_one_less();
    let replica = replica();
    let torn = Torn { states: history.states.clone(), from: 4, to: 6, dice: 0 };
    let overlaid = Overlaid::new(torn, history.read(0, 6), Arc::clone(&replica), Duration::ZERO);
    let at = ListAt { kind: ListKind::Following, user: user(0), offset: 2_000, limit: 9, viewer: None };
    let began = Instant::now();
    assert!(matches!(overlaid.read(&at, cx().within(WITHIN * 2)).await, Err(Error::NotExact)));
    assert_eq!(began.elapsed(), Duration::from_secs(1), "it waits for the next revision, but not for long");
}
