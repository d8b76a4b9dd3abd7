//! Compares the state of the stores and the answers of the API with the model.

use std::collections::{BTreeMap, BTreeSet};

use proto::event::EdgeKind;
use proto::graph::v1::Relationship;
use proto::query::v1::GetRelationshipsRequest;
use proto::{Etag, UserId};
use sqlx::PgPool;
use tests::asks;
use tests::clients::{self, List, fresh};
use tests::importing::retried;
use tests::truth::postgres::snapshot_of;
use tests::truth::{self, Edge, counts_of};

use super::run::Case;

impl Case<'_> {
    /// A pair as in an answer.
    pub fn check_pair(&self, viewer: UserId, other: UserId, found: &Relationship) {
        let wanted = self.model.relationship(viewer, other);
        let comparable = Relationship {
            following_since: None,
            followed_by_since: None,
            etag: String::new(),
            ..found.clone()
        };
        assert_eq!(comparable, wanted, "the pair as {viewer} sees it");
        assert_eq!(found.following_since.is_some(), found.following, "{found:?}");
        assert_eq!(found.followed_by_since.is_some(), found.followed_by, "{found:?}");
        // An account cannot see who mutes it.
        let linked = self.model.visible().any(|(key, _)| {
            let one_way = (key.source, key.target) == (viewer, other);
            let other_way = (key.source, key.target) == (other, viewer);
            one_way || (other_way && key.kind != EdgeKind::Mute)
        });
        let unlinked = Etag::of(viewer, other, []);
        assert_eq!(asks::etag(found) != unlinked, linked, "the etag of {found:?}");
    }

    /// PostgreSQL has the model's state: edges, their dates and order, counts, flags.
    pub async fn compare(&mut self) {
        let found = snapshot_of(&self.world.pool, &self.users).await;
        let wanted: BTreeMap<_, _> = self.model.visible().map(|(key, edge)| (*key, *edge)).collect();
        let dates_found: BTreeMap<_, _> =
            found.edges.iter().map(|(key, edge)| (key, edge.expires_at)).collect();
        let dates: BTreeMap<_, _> = wanted.iter().map(|(key, edge)| (key, edge.expires_at)).collect();
        assert_eq!(dates_found, dates, "edges, and when they run out");
        let counts = counts_of(wanted.keys());
        for user in &self.users {
            let account = found.accounts.get(user).cloned().unwrap_or_default();
            assert_eq!(account.counts, counts.get(user).copied().unwrap_or_default(), "counts of {user}");
            assert_eq!(account.private, self.model.private.contains(user), "privacy of {user}");
            let wanted = if self.model.archived.contains(user) { "archived" } else { "active" };
            let known = found.accounts.contains_key(user);
            assert_eq!(if known { account.state.as_str() } else { "active" }, wanted, "state of {user}");
        }

        // The answers of this step's commands, if the pair has not changed since.
        let etags = truth::etags(&self.world.pool, &self.users).await;
        for ((viewer, other), answered) in std::mem::take(&mut self.answered) {
            assert_eq!(answered, etags[&(viewer, other)], "the etag of {other} as {viewer} was answered");
        }

        // Positions and dates never change while an edge exists, hidden or not; newer edges come before older ones.
        let mut by_age: Vec<_> = wanted.iter().map(|(key, edge)| (edge.place, *key)).collect();
        by_age.sort();
        let mut newest = ((0, 0), i64::MIN);
        for (place, key) in by_age {
            let Edge { position, created_at, .. } = found.edges[&key];
            let first_seen = *self.known.entry((key, place)).or_insert((position, created_at));
            assert_eq!((position, created_at), first_seen, "place and date of {key:?}");
            assert!(place == newest.0 || position > newest.1, "{key:?} is newer than its place");
            newest = (place, position.max(newest.1));
        }
    }

    /// The read side agrees: checks, lists and counts of the follows.
    pub async fn compare_api(&self) {
        let token = found_token(&self.world.pool, &self.users).await;
        // A process may have been killed a moment ago, and a process short of CPU rejects reads.
        let queries = self.world.endpoints.queries();
        let follows: BTreeSet<_> = self
            .model
            .visible()
            .filter(|(key, _)| key.kind == EdgeKind::Follow)
            .map(|(key, _)| (key.source, key.target))
            .collect();
        let etags = truth::etags(&self.world.pool, &self.users).await;
        for user in self.users {
            let text = user.to_string();
            let lists = [
                (List::Followers, follows.iter().filter(|(_, t)| *t == user).map(|(s, _)| *s).collect()),
                (List::Following, follows.iter().filter(|(s, _)| *s == user).map(|(_, t)| *t).collect()),
            ];
            let counts = retried(|| {
                let (mut queries, text, token) = (queries.clone(), text.clone(), token.clone());
                async move { clients::counts(&mut queries, &[text], fresh(&token)).await }
            })
            .await;
            let sizes: [BTreeSet<UserId>; 2] = lists.clone().map(|(_, users)| users);
            let counted = (counts[0].followers as usize, counts[0].following as usize);
            assert_eq!(counted, (sizes[0].len(), sizes[1].len()), "counts of {user}");
            for (list, wanted) in lists {
                let listed = retried(|| {
                    let (mut queries, text, token) = (queries.clone(), text.clone(), token.clone());
                    async move { clients::walk(&mut queries, list, &text, 2, fresh(&token)).await }
                })
                .await;
                let set: BTreeSet<_> = listed.iter().map(|id| UserId::parse(id).expect("an id")).collect();
                assert_eq!((listed.len(), set), (wanted.len(), wanted), "{list:?} of {user}");
            }
            let others: Vec<_> = self.users.into_iter().filter(|other| *other != user).collect();
            for other in &others {
                let following = retried(|| {
                    let (mut queries, text, token) = (queries.clone(), text.clone(), token.clone());
                    async move {
                        let other = other.to_string();
                        clients::check(&mut queries, &text, &other, fresh(&token)).await
                    }
                })
                .await
                .following;
                assert_eq!(following, follows.contains(&(user, *other)), "{user} follows {other}");
            }
            let request = GetRelationshipsRequest {
                viewer_id: text,
                target_ids: others.iter().map(UserId::to_string).collect(),
                consistency: fresh(&token),
                ..Default::default()
            };
            let seen = retried(|| {
                let (mut queries, request) = (queries.clone(), request.clone());
                async move { queries.get_relationships(request).await }
            })
            .await
            .into_inner();
            for (other, found) in others.iter().zip(&seen.relationships) {
                self.check_pair(user, *other, found);
                assert_eq!(
                    asks::etag(found),
                    etags[&(user, *other)],
                    "the etag of {other} as {user} sees it"
                );
            }
        }
    }
}

/// A token of the current head, so that reads see all writes.
async fn found_token(pool: &PgPool, users: &[UserId]) -> String {
    snapshot_of(pool, users).await.head.to_string()
}
