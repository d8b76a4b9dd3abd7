//! Questions in flight at the same time share statements.
//!
//! Owns: the queue, the lanes, and who gets how much room in a statement. It must not know what is asked, or of whom.
//! There is no timer: what arrives while all lanes are busy forms the next statement; a lane that is free takes what is
//! there at once, so a lonely question waits for nobody.
//!
//! Fair: a statement takes a few items of each question in turn before it takes more of one, so a question of a thousand
//! items does not stand in front of a small one. Questions whose callers have stopped waiting are dropped.
//!
//! What can go wrong: a statement fails, or does not answer in time. Then every question that has a part in it fails
//! alike, and each names the statement, so that whoever counts failures counts one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use proto::Token;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::metrics::{SHARED_ITEMS, SHARED_QUESTIONS};
use crate::queries::{Begins, Error, Statement, Versioned};

/// How many items of one question a statement takes before those of others have had their turn.
const TURN: usize = 40;

/// Answers some items in one statement.
pub type Ask<I, V> = Box<
    dyn Fn(Vec<I>, Begins, Duration) -> BoxFuture<'static, Result<Versioned<Vec<V>>, Error>> + Send + Sync,
>;

/// How much goes into one statement.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Room of a statement.
    pub statement: usize,
    /// What each question takes of it beside its items.
    pub question: usize,
}

/// A queue and the lanes that empty it.
pub struct Lanes<I, V> {
    waiting: Mutex<VecDeque<Waiting<I, V>>>,
    arrived: Notify,
    ask: Ask<I, V>,
    room: Room,
    /// For metrics.
    name: &'static str,
}

/// A question with items that no lane has taken yet.
struct Waiting<I, V> {
    ticket: Arc<Ticket<I, V>>,
    next: usize,
}

struct Ticket<I, V> {
    items: Vec<I>,
    asked: Instant,
    until: Instant,
    progress: Mutex<Progress<V>>,
}

struct Progress<V> {
    values: Vec<V>,
    missing: usize,
    bounds: Option<(Token, Token)>,
    /// The statement that was last begun for it, and when.
    statement: Option<(Statement, Instant)>,
    /// None once it is answered.
    reply: Option<oneshot::Sender<Result<Versioned<Vec<V>>, Error>>>,
}

/// Some items of a question, on their way in a statement.
struct Part<I, V> {
    ticket: Arc<Ticket<I, V>>,
    from: usize,
    len: usize,
}

impl<I, V> Lanes<I, V>
where
    I: Copy + Send + Sync + 'static,
    V: Clone + Default + Send + 'static,
{
    /// A queue whose statements are run by `ask`.
    pub fn new(name: &'static str, room: Room, ask: Ask<I, V>) -> Self {
        Self { waiting: Mutex::default(), arrived: Notify::new(), ask, room, name }
    }

    /// Empties the queue until `stop`; as many at a time as there shall be lanes.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = self.arrived.notified() => {}
                () = stop.cancelled() => return,
            }
            while let Some(parts) = self.take() {
                self.carry(parts).await;
            }
        }
    }

    /// The values of some items, in their order.
    pub async fn get(&self, items: Vec<I>, within: Duration) -> Result<Versioned<Vec<V>>, Error> {
        let asked = Instant::now();
        let until = asked + within;
        let (reply, answer) = oneshot::channel();
        let progress = Progress {
            values: vec![V::default(); items.len()],
            missing: items.len(),
            bounds: None,
            statement: None,
            reply: Some(reply),
        };
        let ticket = Arc::new(Ticket { items, asked, until, progress: Mutex::new(progress) });
        self.waiting.lock().push_back(Waiting { ticket: Arc::clone(&ticket), next: 0 });
        self.arrived.notify_one();
        match timeout_at(until, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::failed("the process is stopping")),
            Err(_) => Err(ticket.timed_out()),
        }
    }

    /// The parts of the next statement; none if nothing waits.
    fn take(&self) -> Option<Vec<Part<I, V>>> {
        let mut waiting = self.waiting.lock();
        let mut parts: Vec<Part<I, V>> = Vec::new();
        let mut room = self.room.statement;
        while let Some(mut question) = waiting.pop_front() {
            if question.ticket.is_abandoned() {
                continue;
            }
            let left = question.ticket.items.len() - question.next;
            let len = left.min(TURN).min(room.saturating_sub(self.room.question));
            if len == 0 {
                waiting.push_front(question);
                break;
            }
            room -= len + self.room.question;
            parts.push(Part { ticket: Arc::clone(&question.ticket), from: question.next, len });
            question.next += len;
            if question.next < question.ticket.items.len() {
                // Behind the others: its next turn comes when they have had theirs.
                waiting.push_back(question);
            }
        }
        if !waiting.is_empty() {
            self.arrived.notify_one();
        }
        (!parts.is_empty()).then_some(parts)
    }

    async fn carry(&self, parts: Vec<Part<I, V>>) {
        let items: Vec<I> = parts
            .iter()
            .flat_map(|part| &part.ticket.items[part.from..part.from + part.len])
            .copied()
            .collect();
        // Far below 2^53.
        ::metrics::histogram!(SHARED_ITEMS, "question" => self.name).record(items.len() as f64);
        ::metrics::histogram!(SHARED_QUESTIONS, "question" => self.name).record(parts.len() as f64);
        let now = Instant::now();
        let latest = parts.iter().map(|part| part.ticket.until).max().unwrap_or(now);
        let asked = items.len();
        let statement = Statement::default();
        let begins: Begins = {
            let tickets: Vec<_> = parts.iter().map(|part| Arc::clone(&part.ticket)).collect();
            let statement = statement.clone();
            Arc::new(move || tickets.iter().for_each(|ticket| ticket.ride(&statement)))
        };
        let outcome = (self.ask)(items, begins, latest.saturating_duration_since(now)).await;
        match outcome {
            Ok(answer) if answer.value.len() == asked => {
                let mut values = answer.value.into_iter();
                for part in &parts {
                    part.ticket.place(
                        part.from,
                        values.by_ref().take(part.len),
                        (answer.as_of, answer.target),
                        &statement,
                    );
                }
            }
            Ok(_) => {
                let error = Error::failed("a statement answered for other items than were asked");
                parts.iter().for_each(|part| part.ticket.fail(shared(&error, &statement)));
            }
            Err(error) => parts.iter().for_each(|part| part.ticket.fail(shared(&error, &statement))),
        }
    }
}

impl<I, V> Ticket<I, V> {
    fn is_abandoned(&self) -> bool {
        self.progress.lock().reply.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// A statement begins that answers some of it.
    fn ride(&self, statement: &Statement) {
        self.progress.lock().statement = Some((statement.clone(), Instant::now()));
    }

    /// Nobody waits any longer. A statement that had most of the time is late; otherwise it was the queue that took it, and
    /// those that held it up tell more than this.
    fn timed_out(&self) -> Error {
        let late =
            |began: Instant| self.until.duration_since(began) * 2 > self.until.duration_since(self.asked);
        let statement = self.progress.lock().statement.clone().filter(|(_, began)| late(*began));
        let statement = statement.map_or_else(Statement::none, |(statement, _)| statement);
        shared(&Error::TimedOut, &statement)
    }

    fn place(
        &self,
        from: usize,
        values: impl Iterator<Item = V>,
        (as_of, target): (Token, Token),
        statement: &Statement,
    ) {
        let mut progress = self.progress.lock();
        let (older, newer) = progress.bounds.unwrap_or((as_of, target));
        if older.epoch != as_of.epoch {
            drop(progress);
            self.fail(Error::failed("the epoch changed between two parts of an answer"));
            return;
        }
        // The whole holds what its oldest part holds, and nothing beyond what its newest part may hold.
        let bounds = (older.min(as_of), newer.max(target));
        progress.bounds = Some(bounds);
        let mut taken = 0;
        for (slot, value) in progress.values.iter_mut().skip(from).zip(values) {
            *slot = value;
            taken += 1;
        }
        progress.missing -= taken;
        if progress.missing == 0
            && let Some(reply) = progress.reply.take()
        {
            let values = std::mem::take(&mut progress.values);
            let mut answer = Versioned::between(values, bounds.0, bounds.1);
            answer.origin.statement = Some(statement.clone());
            // The caller may have given up.
            let _ = reply.send(Ok(answer));
        }
    }

    fn fail(&self, error: Error) {
        if let Some(reply) = self.progress.lock().reply.take() {
            // The caller may have given up.
            let _ = reply.send(Err(error));
        }
    }
}

/// A statement's failure for one of its questions.
fn shared(error: &Error, statement: &Statement) -> Error {
    Error::Shared { error: Box::new(again(error)), statement: statement.clone() }
}

fn again(error: &Error) -> Error {
    match error {
        Error::NotBuilt => Error::NotBuilt,
        Error::NotComplete => Error::NotComplete,
        Error::NotExact => Error::NotExact,
        Error::TimedOut => Error::TimedOut,
        Error::Busy => Error::Busy,
        Error::Stalled => Error::Stalled,
        Error::Unchecked => Error::Unchecked,
        Error::Misconfigured(problem) => Error::Misconfigured(problem.clone()),
        Error::Failed(source) => Error::failed(source.to_string()),
        Error::Shared { error, .. } => again(error),
    }
}
