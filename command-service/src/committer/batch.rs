//! A batch in memory: commands decided in order, each seeing those before it.
//!
//! Pure but for the random event ids.

use std::collections::BTreeMap;

use proto::Token;
use proto::event::Event;
use uuid::Uuid;

use super::Outcome;
use super::queue::{RequestKey, Unit};
use crate::answer::{Answer, Failure, relationship};
use crate::domain::{Command, Decision, Graph, Stamp, decide};
use crate::store::head::Head;
use crate::store::outbox::Entry;
use crate::store::replies::{Key, Reply};

/// What a batch comes to.
pub struct Decided {
    /// For each command, in order.
    pub outcomes: Vec<Outcome>,
    /// The events, in the order of revisions.
    pub entries: Vec<Entry>,
    /// Answers to remember.
    pub replies: Vec<(Key, Reply)>,
    /// The head after the batch.
    pub head: Head,
    /// How many edges changed.
    pub edges: u64,
}

/// Decides a batch on the graph that was loaded for it.
pub fn decide_all(
    units: &[Unit],
    graph: &mut Graph,
    head: Head,
    remembered: BTreeMap<Key, Reply>,
) -> Decided {
    let mut batch = Batch {
        graph,
        remembered,
        decided: Decided { outcomes: Vec::new(), entries: Vec::new(), replies: Vec::new(), head, edges: 0 },
    };
    for unit in units {
        let outcome = match &unit.request {
            None => batch.carry_out(&unit.command, unit.traceparent.as_ref()),
            Some(request) => batch.carry_out_once(request, unit),
        };
        batch.decided.outcomes.push(outcome);
    }
    batch.decided
}

struct Batch<'a> {
    graph: &'a mut Graph,
    remembered: BTreeMap<Key, Reply>,
    decided: Decided,
}

impl Batch<'_> {
    /// A command with an idempotency key: the first answer again, if there was one,
    /// be it in this batch. Errors are not remembered.
    fn carry_out_once(&mut self, request: &RequestKey, unit: &Unit) -> Outcome {
        let name = request.name();
        if let Some(reply) = self.remembered.get(&name) {
            if reply.fingerprint != request.fingerprint {
                return Err(Failure::RequestIdReused);
            }
            return Answer::decode(&reply.response).ok_or(Failure::Internal);
        }
        let answer = self.carry_out(&unit.command, unit.traceparent.as_ref())?;
        let reply = Reply { fingerprint: request.fingerprint.clone(), response: answer.encode() };
        self.remembered.insert(name, reply.clone());
        self.decided.replies.push((name, reply));
        Ok(answer)
    }

    fn carry_out(&mut self, command: &Command, traceparent: Option<&String>) -> Outcome {
        let decision = decide(self.graph, command)?;
        let changed = !decision.changes.is_empty();
        if changed {
            self.append(command, &decision, traceparent);
        }
        Ok(Answer {
            changed,
            written_at: Token::new(self.decided.head.epoch, self.decided.head.revision),
            relationship: command.pair().map(|(viewer, other)| relationship(self.graph, viewer, other)),
            import: decision.import,
        })
    }

    /// Gives the changes the next revision.
    fn append(&mut self, command: &Command, decision: &Decision, traceparent: Option<&String>) {
        let head = &mut self.decided.head;
        let prev_id = head.event_id;
        head.revision = head.revision.next();
        let event_id = Uuid::new_v4();
        head.event_id = Some(event_id);
        let stamp = Stamp { revision: head.revision, time: head.now };
        let (edges, counts) = self.graph.commit(&decision.changes, stamp);
        self.decided.edges += edges.len() as u64;
        let event = Event {
            epoch: head.epoch,
            revision: head.revision,
            event_id,
            prev_id,
            committed_at: head.now,
            verb: command.verb(),
            actor: command.actor(),
            edges,
            accounts: Vec::new(),
            counts,
        };
        self.decided.entries.push(Entry::new(&event, traceparent.cloned()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proto::{Epoch, Revision, UserId};
    use time::OffsetDateTime;
    use tokio::sync::oneshot;

    use super::*;

    fn user(n: u128) -> UserId {
        UserId::new(Uuid::from_u128(n)).expect("not nil")
    }

    fn unit(actor: u128, target: u128, request: Option<u128>) -> Unit {
        let command = Command::Follow { actor: user(actor), target: user(target) };
        let request = request.map(|id| RequestKey {
            actor: user(actor),
            request_id: Uuid::from_u128(id),
            fingerprint: format!("{command:?}").into_bytes(),
        });
        Unit { command, request, traceparent: None, reply: oneshot::channel().0 }
    }

    fn head() -> Head {
        Head {
            epoch: Epoch(1),
            revision: Revision(7),
            event_id: Some(Uuid::from_u128(7)),
            now: OffsetDateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn revisions_are_dense_and_the_chain_holds() {
        let units = [unit(1, 2, None), unit(1, 2, None), unit(1, 3, None)];
        let decided = decide_all(&units, &mut Graph::default(), head(), BTreeMap::new());
        let revisions: Vec<_> = decided.entries.iter().map(Entry::revision).collect();
        assert_eq!(revisions, [Revision(8), Revision(9)]);
        assert_eq!(decided.entries[0].prev_id, Some(Uuid::from_u128(7)));
        assert_eq!(decided.entries[1].prev_id, Some(decided.entries[0].event_id));
        assert_eq!(decided.head.event_id, Some(decided.entries[1].event_id));
        let written: Vec<_> =
            decided.outcomes.iter().map(|o| o.as_ref().expect("allowed").written_at.revision).collect();
        assert_eq!(written, [Revision(8), Revision(8), Revision(9)]);
    }

    #[test]
    fn a_repeat_within_the_batch_gets_the_first_answer() {
        let units = [unit(1, 2, Some(5)), unit(1, 2, Some(5)), unit(1, 3, Some(5))];
        let decided = decide_all(&units, &mut Graph::default(), head(), BTreeMap::new());
        assert_eq!(decided.entries.len(), 1);
        assert_eq!(decided.replies.len(), 1);
        assert_eq!(decided.outcomes[0], decided.outcomes[1]);
        assert!(decided.outcomes[0].as_ref().expect("allowed").changed);
        assert_eq!(decided.outcomes[2], Err(Failure::RequestIdReused));
    }
}
