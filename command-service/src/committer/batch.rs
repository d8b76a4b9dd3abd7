//! Decides a batch of commands in memory, in order; each command sees the effects of those before it.

use std::collections::BTreeMap;

use proto::UserId;
use uuid::Uuid;

use super::journal::{Journal, NewId};
use super::outcome::{Failure, Outcome};
use super::queue::Unit;
use crate::domain::{
    AccountAction, Answer, Body, Command, Decision, FollowCap, Graph, NewJob, Refusal, Refused, Report,
    RequestKey, RequestName, Rules, decide, relationship,
};
use crate::store::head::Head;
use crate::store::replies::Reply;

/// Effects of a batch.
pub struct Decided {
    /// For each command, in order.
    pub outcomes: Vec<Outcome>,
    /// The events, and the head after them.
    pub journal: Journal,
    /// First answers to requests, to be recorded.
    pub replies: Vec<(RequestKey, Answer)>,
    /// Changes of jobs, in order.
    pub jobs: Vec<JobChange>,
    /// Requests that were answered with an erase job, whichever request started it.
    pub erases: BTreeMap<RequestName, Uuid>,
}

/// A change of a job by a command.
pub enum JobChange {
    /// A job starts: its id, and the request_id of the command.
    Start(Uuid, NewJob, Option<Uuid>),
    /// A list was replaced in one event, which ends a running job for the same list.
    Replaced(UserId),
}

/// Decides a batch on the graph that was loaded for it. `remembered` are the records of earlier requests.
pub fn decide_all(
    units: &[Unit],
    graph: &mut Graph,
    head: Head,
    remembered: BTreeMap<RequestName, Reply>,
    follow_cap: FollowCap,
    new_id: NewId,
) -> Decided {
    let decided = Decided {
        outcomes: Vec::new(),
        journal: Journal::after(head, new_id),
        replies: Vec::new(),
        jobs: Vec::new(),
        erases: BTreeMap::new(),
    };
    let rules = Rules { now: head.clock, follow_cap };
    let mut batch = Batch { graph, remembered, rules, new_id, decided };
    for unit in units {
        let outcome = match &unit.request {
            None => batch.execute(unit),
            Some(request) => batch.execute_once(request, unit),
        };
        batch.decided.outcomes.push(outcome);
    }
    batch.decided
}

struct Batch<'a> {
    graph: &'a mut Graph,
    remembered: BTreeMap<RequestName, Reply>,
    rules: Rules,
    new_id: NewId,
    decided: Decided,
}

impl Batch<'_> {
    /// Executes a command with an idempotency key, or returns its first answer, also if that is of this batch. Failures
    /// are not remembered.
    fn execute_once(&mut self, request: &RequestKey, unit: &Unit) -> Outcome {
        let name = request.name();
        let answer = match self.remembered.get(&name) {
            Some(reply) => self.repeat(request, reply)?,
            None => {
                let answer = self.execute(unit)?;
                let fingerprint = request.fingerprint.clone();
                self.remembered.insert(name, Reply { fingerprint, answer: Some(answer.clone()) });
                self.decided.replies.push((request.clone(), answer.clone()));
                answer
            }
        };
        // Also for a repeat: a process of an earlier version answered the first time and linked no job.
        if let (Command::Account { action: AccountAction::Erase, .. }, Body::Job(Some(job))) =
            (&unit.command, &answer.body)
        {
            self.decided.erases.insert(name, *job);
        }
        Ok(answer)
    }

    fn repeat(&self, request: &RequestKey, reply: &Reply) -> Outcome {
        if reply.fingerprint != request.fingerprint {
            return Err(Failure::RequestIdReused);
        }
        let mut answer = reply.answer.clone().ok_or(Failure::Internal)?;
        let now = self.decided.journal.token();
        if answer.written_at.epoch != now.epoch {
            // The write is part of the current history too, and a token of an earlier epoch is refused.
            answer.written_at = now;
        }
        Ok(answer)
    }

    fn execute(&mut self, unit: &Unit) -> Outcome {
        let command = &unit.command;
        let decision = decide(self.graph, command, &self.rules).map_err(|refused| self.failure(refused))?;
        let changed = decision.changes_something() || decision.job.is_some();
        if decision.changes_something() {
            self.append(unit, &decision)?;
        }
        let job = self.start_job(unit, &decision);
        if let (Command::ReplaceFollowing(planned), None) = (command, job) {
            self.decided.jobs.push(JobChange::Replaced(planned.actor));
        }
        let body = self.body(command, decision, job);
        Ok(Answer { changed, written_at: self.decided.journal.token(), body })
    }

    /// A failed precondition is returned with the state before the command, also for one of an atomic batch, whose
    /// earlier commands did not happen either. Callers get it after the commit.
    fn failure(&self, refused: Refused) -> Failure {
        match refused.refusal {
            Refusal::NotAsExpected { actor, other } => {
                Failure::NotAsExpected(refused, Box::new(relationship(self.graph, actor, other)))
            }
            _ => Failure::Refused(refused),
        }
    }

    fn append(&mut self, unit: &Unit, decision: &Decision) -> Result<(), Failure> {
        let (verb, actor) = (unit.command.verb(), unit.command.actor());
        let (changes, accounts) = (&decision.changes, &decision.accounts);
        let journal = &mut self.decided.journal;
        journal.append(self.graph, verb, actor, changes, accounts, unit.traceparent.as_ref()).map_err(
            |error| {
                tracing::error!(%error, ?verb, "a command was decided without an account that it changes");
                Failure::Internal
            },
        )
    }

    /// Later commands of the batch see the job as running.
    fn start_job(&mut self, unit: &Unit, decision: &Decision) -> Option<Uuid> {
        let job = decision.job.clone()?;
        let id = job.prepared.unwrap_or_else(self.new_id);
        self.graph.running_jobs.insert((job.user, job.kind), id);
        let request_id = unit.request.as_ref().map(|request| request.request_id);
        self.decided.jobs.push(JobChange::Start(id, job, request_id));
        Some(id)
    }

    fn body(&self, command: &Command, decision: Decision, job: Option<Uuid>) -> Body {
        match (command, decision.report) {
            (Command::Pair(c), _) => Body::Pair(Box::new(relationship(self.graph, c.actor, c.other))),
            (Command::Batch(commands), Report::Batch(changed)) => {
                let pairs = commands.iter().map(|c| relationship(self.graph, c.actor, c.other));
                Body::Batch(changed.into_iter().zip(pairs).collect())
            }
            (_, Report::Replace(report)) => Body::Replace(report, job),
            (_, Report::Import(report)) => Body::Import(report),
            (_, _) => Body::Job(job.or(decision.running)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::{Epoch, Revision};
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

    fn remember(replies: Vec<(RequestKey, Answer)>) -> BTreeMap<RequestName, Reply> {
        let reply =
            |key: &RequestKey, answer| Reply { fingerprint: key.fingerprint.clone(), answer: Some(answer) };
        replies.into_iter().map(|(key, answer)| (key.name(), reply(&key, answer))).collect()
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
            // The batch is refused, so its mute is not in the state.
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
        let Ok(Answer { body: Body::Job(answered), .. }) = &decided.outcomes[0] else { panic!("a job") };
        assert_eq!((*started, *answered), (new_id(), Some(new_id())));
        assert_eq!(decided.journal.entries[0].event_id, new_id());
    }

    #[test]
    fn each_request_answered_with_an_erase_is_linked_to_its_job() {
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

        // A process of an earlier version links none.
        let remembered = remember(decided.replies);
        let units = [erase(Some(6)), erase(Some(6)), unit(2, 3, Some(7))];
        let repeated = decide_all(&units, &mut Graph::default(), head(), remembered, CAP, ids::random);
        assert_eq!(repeated.erases, BTreeMap::from([linked(6)]));
        assert!(repeated.jobs.is_empty());
    }

    #[test]
    fn a_repeat_after_a_recovery_gets_a_token_of_the_new_epoch() {
        let units = [unit(1, 2, Some(5))];
        let first = decide_all(&units, &mut Graph::default(), head(), BTreeMap::new(), CAP, ids::random);
        let remembered = remember(first.replies);
        let repeated = |head| {
            let decided =
                decide_all(&units, &mut Graph::default(), head, remembered.clone(), CAP, ids::random);
            decided.outcomes[0].clone().expect("the first answer")
        };
        assert_eq!(repeated(head()).written_at, first.outcomes[0].as_ref().expect("allowed").written_at);
        let recovered = Head { epoch: Epoch(1_700_000_000), revision: Revision(9), ..head() };
        let answer = repeated(recovered);
        assert!(answer.changed, "only the token differs from the first answer");
        assert_eq!(answer.written_at, recovered.token());
    }
}
