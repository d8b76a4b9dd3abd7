//! A batch in memory: commands decided in order, each seeing those before it.
//!
//! Pure.

use std::collections::BTreeMap;

use proto::UserId;
use uuid::Uuid;

use super::Outcome;
use super::queue::{RequestKey, Unit};
use crate::answer::{Answer, Body, Failure, relationship};
use crate::domain::{
    AccountAction, Command, Decision, FollowCap, Graph, NewJob, Refusal, Refused, Report, Rules, decide,
};
use crate::journal::{Journal, NewId};
use crate::store::head::Head;
use crate::store::replies::{Key, Reply};

/// What a batch comes to.
pub struct Decided {
    /// For each command, in order.
    pub outcomes: Vec<Outcome>,
    /// The events, and the head after them.
    pub journal: Journal,
    /// Answers to remember.
    pub replies: Vec<(Key, Reply)>,
    /// What becomes of jobs, in order.
    pub jobs: Vec<JobChange>,
    /// Requests that were answered with an erase job, whichever request started it.
    pub erases: BTreeMap<Key, Uuid>,
}

/// What a command does to the jobs.
pub enum JobChange {
    /// One starts: its id, and the request_id of its command.
    Start(Uuid, NewJob, Option<Uuid>),
    /// A list was replaced at once, which ends a running job for the same list.
    Replaced(UserId),
}

/// Decides a batch on the graph that was loaded for it.
pub fn decide_all(
    units: &[Unit],
    graph: &mut Graph,
    head: Head,
    remembered: BTreeMap<Key, Reply>,
    follow_cap: FollowCap,
    new_id: NewId,
) -> Decided {
    let journal = Journal::after(head, new_id);
    let mut batch = Batch {
        graph,
        remembered,
        rules: Rules { now: head.clock, follow_cap },
        new_id,
        decided: Decided {
            outcomes: Vec::new(),
            journal,
            replies: Vec::new(),
            jobs: Vec::new(),
            erases: BTreeMap::new(),
        },
    };
    for unit in units {
        let outcome = match &unit.request {
            None => batch.carry_out(unit),
            Some(request) => batch.carry_out_once(request, unit),
        };
        batch.decided.outcomes.push(outcome);
    }
    batch.decided
}

struct Batch<'a> {
    graph: &'a mut Graph,
    remembered: BTreeMap<Key, Reply>,
    rules: Rules,
    new_id: NewId,
    decided: Decided,
}

impl Batch<'_> {
    /// A command with an idempotency key: the first answer again, if there was one,
    /// be it in this batch. Errors are not remembered.
    fn carry_out_once(&mut self, request: &RequestKey, unit: &Unit) -> Outcome {
        let name = request.name();
        let answer = match self.remembered.get(&name) {
            Some(reply) => self.repeat(request, unit, reply)?,
            None => {
                let answer = self.carry_out(unit)?;
                let reply = Reply { fingerprint: request.fingerprint.clone(), response: answer.encode() };
                self.remembered.insert(name, reply.clone());
                self.decided.replies.push((name, reply));
                answer
            }
        };
        // Of a repeat too: a process of an earlier version answered the first time and noted no job.
        if let (Command::Account { action: AccountAction::Erase, .. }, Body::Job(Some(job))) =
            (&unit.command, &answer.body)
        {
            self.decided.erases.insert(name, *job);
        }
        Ok(answer)
    }

    fn repeat(&self, request: &RequestKey, unit: &Unit, reply: &Reply) -> Outcome {
        if reply.fingerprint != request.fingerprint {
            return Err(Failure::RequestIdReused);
        }
        let mut answer = Answer::decode(&unit.command, &reply.response).ok_or(Failure::Internal)?;
        let now = self.decided.journal.token();
        if answer.written_at.epoch != now.epoch {
            // What it wrote is in the present history too, and a token of another one is refused.
            answer.written_at = now;
        }
        Ok(answer)
    }

    fn carry_out(&mut self, unit: &Unit) -> Outcome {
        let command = &unit.command;
        let decision = decide(self.graph, command, &self.rules).map_err(|refused| self.failure(refused))?;
        let changed = decision.changes_something() || decision.job.is_some();
        let job = decision.job.clone().map(|job| (job.prepared.unwrap_or_else(self.new_id), job));
        if decision.changes_something() {
            let (verb, actor) = (command.verb(), command.actor());
            let (changes, accounts) = (&decision.changes, &decision.accounts);
            let journal = &mut self.decided.journal;
            journal.append(self.graph, verb, actor, changes, accounts, unit.traceparent.as_ref()).map_err(
                |error| {
                    tracing::error!(%error, ?verb, "a command was decided on too little");
                    Failure::Internal
                },
            )?;
        }
        let job_id = job.as_ref().map(|(id, _)| *id);
        if let (Command::ReplaceFollowing(planned), None) = (command, job_id) {
            self.decided.jobs.push(JobChange::Replaced(planned.actor));
        }
        if let Some((id, job)) = job {
            self.graph.add_jobs([((job.user, job.kind), id)]);
            let request_id = unit.request.as_ref().map(|request| request.request_id);
            self.decided.jobs.push(JobChange::Start(id, job, request_id));
        }
        Ok(self.answer(command, changed, decision, job_id))
    }

    /// A failed precondition with the state that it failed on. That is the state before the command, also for one of an
    /// atomic batch, whose earlier commands did not happen either; callers get it after the commit.
    fn failure(&self, refused: Refused) -> Failure {
        match refused.refusal {
            Refusal::NotAsExpected { actor, other } => {
                Failure::NotAsExpected(refused, Box::new(relationship(self.graph, actor, other)))
            }
            _ => Failure::Refused(refused),
        }
    }

    fn answer(&self, command: &Command, changed: bool, decision: Decision, job: Option<Uuid>) -> Answer {
        let body = match (command, decision.report) {
            (Command::Pair(c), _) => Body::Pair(Box::new(relationship(self.graph, c.actor, c.other))),
            (Command::Batch(commands), Report::Batch(changed)) => {
                let pairs = commands.iter().map(|c| relationship(self.graph, c.actor, c.other));
                Body::Batch(changed.into_iter().zip(pairs).collect())
            }
            (_, Report::Replace(report)) => Body::Replace(report, job),
            (_, Report::Import(report)) => Body::Import(report),
            (_, _) => Body::Job(job.or(decision.running)),
        };
        Answer { changed, written_at: self.decided.journal.token(), body }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proto::{Epoch, Revision, UserId};
    use service_kit::ids;
    use time::OffsetDateTime;
    use tokio::sync::oneshot;

    use super::*;
    use crate::domain::{Action, Expects, PairCommand};
    use crate::store::outbox::Entry;

    const CAP: FollowCap = FollowCap { base: 7_500, per_follower: 1.0 };

    fn user(n: u128) -> UserId {
        UserId::new(Uuid::from_u128(n)).expect("not nil")
    }

    fn unit(actor: u128, target: u128, request: Option<u128>) -> Unit {
        let (actor_id, other) = (user(actor), user(target));
        let command =
            Command::Pair(PairCommand { actor: actor_id, other, action: Action::Follow, expects: None });
        let request = request.map(|id| RequestKey {
            actor: user(actor),
            request_id: Uuid::from_u128(id),
            fingerprint: format!("{command:?}").into_bytes(),
        });
        Unit { command, request, caller: None, traceparent: None, reply: oneshot::channel().0 }
    }

    fn head() -> Head {
        Head {
            epoch: Epoch(1),
            revision: Revision(7),
            event_id: Some(Uuid::from_u128(7)),
            now: OffsetDateTime::UNIX_EPOCH,
            clock: OffsetDateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn revisions_are_dense_and_the_chain_holds() {
        let units = [unit(1, 2, None), unit(1, 2, None), unit(1, 3, None)];
        let decided = decide_all(&units, &mut Graph::default(), head(), BTreeMap::new(), CAP, ids::random);
        let revisions: Vec<_> = decided.journal.entries.iter().map(Entry::revision).collect();
        assert_eq!(revisions, [Revision(8), Revision(9)]);
        assert_eq!(decided.journal.entries[0].prev_id, Some(Uuid::from_u128(7)));
        assert_eq!(decided.journal.entries[1].prev_id, Some(decided.journal.entries[0].event_id));
        assert_eq!(decided.journal.head.event_id, Some(decided.journal.entries[1].event_id));
        let written: Vec<_> =
            decided.outcomes.iter().map(|o| o.as_ref().expect("allowed").written_at.revision).collect();
        assert_eq!(written, [Revision(8), Revision(8), Revision(9)]);
    }

    #[test]
    fn a_failed_precondition_shows_the_committed_state() {
        let pair = |action, expects| PairCommand { actor: user(1), other: user(2), action, expects };
        let reply = || oneshot::channel().0;
        let unit = |command| Unit { command, request: None, caller: None, traceparent: None, reply: reply() };
        let stale = Some(Expects::Etag(None));
        let units = [
            unit(Command::Pair(pair(Action::Follow, None))),
            // Its mute does not happen, so it is not in the state.
            unit(Command::Batch(vec![
                pair(Action::Mute { expires_at: None }, None),
                pair(Action::Unfollow, stale),
            ])),
        ];
        let decided = decide_all(&units, &mut Graph::default(), head(), BTreeMap::new(), CAP, ids::random);
        let Ok(Answer { body: Body::Pair(followed), .. }) = &decided.outcomes[0] else { panic!("a pair") };
        let refused =
            Refused { refusal: Refusal::NotAsExpected { actor: user(1), other: user(2) }, index: Some(1) };
        assert_eq!(decided.outcomes[1], Err(Failure::NotAsExpected(refused, followed.clone())));
    }

    #[test]
    fn a_repeat_within_the_batch_gets_the_first_answer() {
        let units = [unit(1, 2, Some(5)), unit(1, 2, Some(5)), unit(1, 3, Some(5))];
        let decided = decide_all(&units, &mut Graph::default(), head(), BTreeMap::new(), CAP, ids::random);
        assert_eq!(decided.journal.entries.len(), 1);
        assert_eq!(decided.replies.len(), 1);
        assert_eq!(decided.outcomes[0], decided.outcomes[1]);
        assert!(decided.outcomes[0].as_ref().expect("allowed").changed);
        assert_eq!(decided.outcomes[2], Err(Failure::RequestIdReused));
    }

    #[test]
    fn a_job_has_the_id_that_was_made_for_it() {
        let erase = Command::Account { user: user(1), action: AccountAction::Erase };
        let units = [Unit { command: erase, ..unit(1, 2, None) }];
        let new_id = || Uuid::from_u128(77);
        let decided = decide_all(&units, &mut Graph::default(), head(), BTreeMap::new(), CAP, new_id);
        let [JobChange::Start(started, ..)] = &decided.jobs[..] else { panic!("one job") };
        let Ok(Answer { body: Body::Job(told), .. }) = &decided.outcomes[0] else { panic!("a job") };
        assert_eq!((*started, *told), (new_id(), Some(new_id())));
        assert_eq!(decided.journal.entries[0].event_id, new_id());
    }

    #[test]
    fn each_request_that_is_answered_with_an_erase_is_linked_to_its_job() {
        let erase = |request| Unit {
            command: Command::Account { user: user(1), action: AccountAction::Erase },
            ..unit(1, 2, request)
        };
        let units = [erase(Some(5)), erase(None), erase(Some(6)), unit(2, 3, Some(7))];
        let new_id = || Uuid::from_u128(77);
        let decided = decide_all(&units, &mut Graph::default(), head(), BTreeMap::new(), CAP, new_id);
        let linked = |request| ((user(1), Uuid::from_u128(request)), new_id());
        assert_eq!(decided.erases, BTreeMap::from([linked(5), linked(6)]));
        let [JobChange::Start(..)] = &decided.jobs[..] else { panic!("one job") };

        // As after a process of an earlier version, which links none.
        let remembered: BTreeMap<_, _> = decided.replies.into_iter().collect();
        let units = [erase(Some(6)), erase(Some(6)), unit(2, 3, Some(7))];
        let repeated = decide_all(&units, &mut Graph::default(), head(), remembered, CAP, ids::random);
        assert_eq!(repeated.erases, BTreeMap::from([linked(6)]));
        assert!(repeated.jobs.is_empty());
    }

    #[test]
    fn a_repeat_after_a_recovery_gets_a_token_that_holds() {
        let units = [unit(1, 2, Some(5))];
        let first = decide_all(&units, &mut Graph::default(), head(), BTreeMap::new(), CAP, ids::random);
        let remembered: BTreeMap<_, _> = first.replies.into_iter().collect();
        let repeated = |head| {
            let decided =
                decide_all(&units, &mut Graph::default(), head, remembered.clone(), CAP, ids::random);
            decided.outcomes[0].clone().expect("the first answer")
        };
        assert_eq!(repeated(head()).written_at, first.outcomes[0].as_ref().expect("allowed").written_at);
        let recovered = Head { epoch: Epoch(1_700_000_000), revision: Revision(9), ..head() };
        let answer = repeated(recovered);
        assert!(answer.changed, "all but the token is the first answer");
        assert_eq!(answer.written_at, recovered.token());
    }
}
