//! The services under test, and the faults of a sequence.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use devstack::services::Service;
use sqlx::PgPool;
use tests::importing::invites_repeat;
use tests::own::Victim;
use tests::proxy::CommitLoser;
use tests::{Commands, Endpoints, Own, until};
use tokio::task::block_in_place;
use tonic::Status;

use super::run::Case;
use super::steps::{Killed, Step};

const REPEATS: &str = "repeats";

/// The services, and counts of the faults.
pub struct World {
    pub endpoints: Endpoints,
    pub replicas: [Commands; 2],
    pub pool: PgPool,
    own: RefCell<Own>,
    second: RefCell<Service>,
    proxy: CommitLoser,
    counted: RefCell<BTreeMap<&'static str, usize>>,
}

impl World {
    pub async fn new(own: Own, second: Service, proxy: CommitLoser) -> Self {
        let endpoints = own.endpoints.clone();
        Self {
            replicas: [endpoints.commands(), endpoints.through(&second).commands()],
            pool: endpoints.postgres().await,
            endpoints,
            own: RefCell::new(own),
            second: RefCell::new(second),
            proxy,
            counted: RefCell::default(),
        }
    }

    /// Counts of faults.
    pub fn story(&self) -> String {
        format!("{:?}", self.counted.borrow())
    }

    pub fn note(&self, what: &'static str) {
        *self.counted.borrow_mut().entry(what).or_default() += 1;
    }

    /// Number of calls that were repeated because they got no response.
    pub fn repeats(&self) -> usize {
        self.counted.borrow().get(REPEATS).copied().unwrap_or_default()
    }

    /// Executes a sequence with accounts of its own.
    ///
    /// # Panics
    /// If an answer or a state differs from the model's.
    pub async fn play(&self, sequence: &[Step]) {
        let mut case = Case::new(self);
        for step in sequence {
            case.model.begin_step();
            match step.kill {
                None => case.carry_out(step).await,
                Some((Killed::Reply, _)) => {
                    self.note("lost replies");
                    self.proxy.lose(1);
                    case.carry_out(step).await;
                    // A step that wrote nothing loses no reply; the next step must not lose it instead.
                    self.proxy.lose(0);
                }
                Some((killed, after)) => {
                    let kill = async {
                        // Not a wait for a state: the moment is part of the sequence.
                        tokio::time::sleep(Duration::from_millis(after)).await;
                        self.kill(killed);
                    };
                    tokio::join!(case.carry_out(step), kill);
                }
            }
            case.compare().await;
        }
        case.compare_api().await;
    }

    /// Kills a process and restarts it, without waiting until it is ready.
    fn kill(&self, killed: Killed) {
        self.note("kills");
        match killed {
            Killed::Command(0) => {
                self.own.borrow_mut().kill(Victim::Command);
                self.own.borrow_mut().revive(Victim::Command);
            }
            Killed::Command(_) => block_in_place(|| {
                let mut second = self.second.borrow_mut();
                second.kill9().expect("killed");
                second.start_again().expect("started again");
            }),
            Killed::Reply => unreachable!("no process"),
            Killed::Projector => {
                self.own.borrow_mut().kill(Victim::Projector);
                self.own.borrow_mut().revive(Victim::Projector);
            }
        }
    }

    /// Calls one replica, and without an answer the other one, then the first one again, and so on.
    pub async fn answered<T, F>(&self, first: usize, call: impl Fn(Commands) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let tries = RefCell::new(0);
        until("an answer", || {
            let replica = self.replicas[(first + *tries.borrow()) % 2].clone();
            *tries.borrow_mut() += 1;
            let outcome = call(replica);
            async {
                match outcome.await {
                    Err(status) if invites_repeat(&status) => {
                        self.note(REPEATS);
                        Err(status.to_string())
                    }
                    decided => Ok(decided),
                }
            }
        })
        .await
    }
}
