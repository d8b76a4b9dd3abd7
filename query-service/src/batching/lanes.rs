//! Combines concurrent questions into shared statements.
//!
//! There is no timer: questions that arrive while all lanes are busy form the next statement, and a free lane takes
//! whatever is queued at once, so a single question does not wait.
//!
//! Lanes are fair: a statement takes a few items of each question in turn before it takes more of one, so a question of
//! a thousand items does not delay a small one. Questions whose callers have stopped waiting are dropped.
//!
//! If a statement fails or times out, every question with a part in it fails in the same way. Each error names the
//! statement, so that a failure is counted once.
//!
//! In traces, a statement of several questions has its own span, which belongs to the first sampled call and links the
//! others; the exchange is below it.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use metrics::Histogram;
use parking_lot::Mutex;
use service_kit::trace::{Kind, Parent, Span};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::metrics::{SHARED_ITEMS, SHARED_QUESTIONS};
use crate::queries::{
    Begins, Context, Error, QuestionName, ReadItems, ReadResult, Shared, Statement, Versioned,
};

/// Maximum number of items that a statement takes of one question before it takes items of the next one.
const TURN: usize = 40;

/// A queue and the lanes that empty it.
pub struct Lanes<Q: Shared, R> {
    store: R,
    waiting: Mutex<VecDeque<Waiting<Q::Item, Q::Value>>>,
    arrived: Notify,
    /// Label of metrics.
    name: QuestionName,
    handles: OnceLock<[Histogram; 2]>,
}

/// The parts of a statement.
type Parts<Q> = Vec<Part<<Q as Shared>::Item, <Q as Shared>::Value>>;

/// A question with items that no lane has taken yet.
struct Waiting<I, V> {
    waiter: Arc<Waiter<I, V>>,
    next: usize,
}

struct Waiter<I, V> {
    items: Vec<I>,
    asked: Instant,
    until: Instant,
    /// Span of its call.
    parent: Parent,
    progress: Mutex<Progress<V>>,
}

struct Progress<V> {
    values: Vec<V>,
    missing: usize,
    /// The bounds of the values.
    whole: Option<Versioned<()>>,
    /// The statement that was last started for it, and when.
    statement: Option<(Statement, Instant)>,
    /// `None` once it is answered.
    reply: Option<oneshot::Sender<ReadResult<Vec<V>>>>,
}

/// Some items of a question, as part of a statement.
struct Part<I, V> {
    waiter: Arc<Waiter<I, V>>,
    from: usize,
    len: usize,
}

impl<Q: Shared, R: ReadItems<Q>> Lanes<Q, R> {
    /// A queue whose statements this store runs.
    pub fn new(name: QuestionName, store: R) -> Self {
        Self { store, waiting: Mutex::default(), arrived: Notify::new(), name, handles: OnceLock::new() }
    }

    /// One lane: empties the queue until `stop`. Run it once per lane.
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

    /// Answers a question, possibly in one statement with others.
    pub async fn get(&self, question: &Q, cx: Context<'_>) -> ReadResult<Q::Answer> {
        let items = question.to_items();
        let asked = Instant::now();
        let until = asked + cx.within;
        let (reply, answer) = oneshot::channel();
        let progress = Progress {
            values: vec![Q::Value::default(); items.len()],
            missing: items.len(),
            whole: None,
            statement: None,
            reply: Some(reply),
        };
        let (parent, progress) = (cx.parent.clone(), Mutex::new(progress));
        let waiter = Arc::new(Waiter { items, asked, until, parent, progress });
        self.waiting.lock().push_back(Waiting { waiter: Arc::clone(&waiter), next: 0 });
        self.arrived.notify_one();
        match timeout_at(until, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::failed("the process is stopping")),
            Err(_) => Err(waiter.timed_out()),
        }
    }

    /// The parts of the next statement; empty if nothing waits.
    fn take(&self) -> Option<Parts<Q>> {
        let mut waiting = self.waiting.lock();
        let mut parts = Parts::<Q>::new();
        let mut room = R::ROOM.statement;
        while let Some(mut question) = waiting.pop_front() {
            if question.waiter.is_abandoned() {
                continue;
            }
            let left = question.waiter.items.len() - question.next;
            let len = left.min(TURN).min(room.saturating_sub(R::ROOM.question));
            if len == 0 {
                waiting.push_front(question);
                break;
            }
            room -= len + R::ROOM.question;
            parts.push(Part { waiter: Arc::clone(&question.waiter), from: question.next, len });
            question.next += len;
            if question.next < question.waiter.items.len() {
                // To the end of the queue: the other questions come first.
                waiting.push_back(question);
            }
        }
        if !waiting.is_empty() {
            self.arrived.notify_one();
        }
        (!parts.is_empty()).then_some(parts)
    }

    async fn carry(&self, parts: Parts<Q>) {
        let items: Vec<Q::Item> = parts
            .iter()
            .flat_map(|part| &part.waiter.items[part.from..part.from + part.len])
            .copied()
            .collect();
        // Far below 2^53.
        let question = self.name.text();
        let [shared_items, questions] = self.handles.get_or_init(|| {
            [SHARED_ITEMS, SHARED_QUESTIONS].map(|name| metrics::histogram!(name, "question" => question))
        });
        shared_items.record(items.len() as f64);
        questions.record(parts.len() as f64);
        let now = Instant::now();
        let latest = parts.iter().map(|part| part.waiter.until).max().unwrap_or(now);
        let asked = items.len();
        let statement = Statement::default();
        let begins: Begins = {
            let waiters: Vec<_> = parts.iter().map(|part| Arc::clone(&part.waiter)).collect();
            let statement = statement.clone();
            Arc::new(move || waiters.iter().for_each(|waiter| waiter.join(&statement)))
        };
        let within = latest.saturating_duration_since(now);
        let span = span_of_batch(&parts);
        let parent = match parts.as_slice() {
            [only] => only.waiter.parent.clone(),
            _ => span.as_parent(),
        };
        let cx = Context { within, parent: &parent };
        match span.finish(self.store.read_items(items, begins, cx).await) {
            Ok(answer) if answer.value.len() == asked => {
                let (values, bounds) = answer.split();
                let mut values = values.into_iter();
                for part in &parts {
                    let values = values.by_ref().take(part.len);
                    part.waiter.place(part.from, values, &bounds, &statement);
                }
            }
            Ok(_) => {
                let error = Error::failed("a statement answered for other items than were asked");
                parts.iter().for_each(|part| part.waiter.fail(shared(error.clone(), &statement)));
            }
            Err(error) => parts.iter().for_each(|part| part.waiter.fail(shared(error.clone(), &statement))),
        }
    }
}

impl<I, V> Waiter<I, V> {
    fn is_abandoned(&self) -> bool {
        self.progress.lock().reply.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// A statement that answers part of it starts.
    fn join(&self, statement: &Statement) {
        self.progress.lock().statement = Some((statement.clone(), Instant::now()));
    }

    /// The caller's time is over. If a statement had most of it, the statement is late; otherwise the queue took the
    /// time, and the statements that occupied the lanes report the cause.
    fn timed_out(&self) -> Error {
        let late =
            |began: Instant| self.until.duration_since(began) * 2 > self.until.duration_since(self.asked);
        let statement = self.progress.lock().statement.clone().filter(|(_, began)| late(*began));
        let statement = statement.map_or_else(Statement::none, |(statement, _)| statement);
        shared(Error::TimedOut, &statement)
    }

    fn place(
        &self,
        from: usize,
        values: impl Iterator<Item = V>,
        bounds: &Versioned<()>,
        statement: &Statement,
    ) {
        let mut progress = self.progress.lock();
        let whole = match Versioned::joined(progress.whole.take(), bounds.clone()) {
            Ok(whole) => whole,
            Err(error) => {
                drop(progress);
                return self.fail(error);
            }
        };
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
            let mut answer = whole.map(|()| values);
            answer.origin.statement = Some(statement.clone());
            // The caller may have given up.
            let _ = reply.send(Ok(answer));
        } else {
            progress.whole = Some(whole);
        }
    }

    fn fail(&self, error: Error) {
        if let Some(reply) = self.progress.lock().reply.take() {
            // The caller may have given up.
            let _ = reply.send(Err(error));
        }
    }
}

/// The span of a statement of several questions. Empty for a question alone, and if no call is sampled.
fn span_of_batch<I, V>(parts: &[Part<I, V>]) -> Span {
    if parts.len() < 2 {
        return Span::default();
    }
    // A large question has several parts.
    let is_first = |(n, part): &(usize, &Part<I, V>)| {
        !parts[..*n].iter().any(|before| Arc::ptr_eq(&before.waiter, &part.waiter))
    };
    let sampled = parts.iter().enumerate().filter(|(_, part)| !part.waiter.parent.is_empty());
    let parents = sampled.filter(is_first).map(|(_, part)| &part.waiter.parent);
    let mut span = Span::of_parents("batch", Kind::Internal, parents);
    span.set("questions", parts.len() as u64);
    span
}

/// The error of a failed statement for one of its questions.
fn shared(error: Error, statement: &Statement) -> Error {
    Error::Shared { error: Box::new(error), statement: statement.clone() }
}
