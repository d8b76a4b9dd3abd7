//! Servers and services whose clocks jump while they run.

use devstack::Server as _;
use devstack::services::Service;
use tokio::task::block_in_place;

use crate::own::Own;

/// The clock of one process.
#[derive(Debug)]
pub struct FakeTime(devstack::FakeTime);

impl FakeTime {
    /// Restarts the PostgreSQL of a set with an adjustable clock.
    ///
    /// # Panics
    /// If it does not start.
    pub fn of_postgres(own: &mut Own) -> Self {
        let clock = block_in_place(|| {
            let postgres = &mut own.servers.postgres;
            postgres.stop().expect("PostgreSQL stops");
            let clock = postgres.fake_time().expect("libfaketime is installed");
            postgres.start_again().expect("PostgreSQL starts");
            clock
        });
        own.wait_ready();
        Self(clock)
    }

    /// Restarts a service with an adjustable clock. Does not wait until it is ready.
    ///
    /// # Panics
    /// If it does not start.
    pub fn of_service(service: &mut Service) -> Self {
        Self(block_in_place(|| {
            service.stop().expect("the service stops");
            let clock = service.fake_time().expect("libfaketime is installed");
            service.start_again().expect("the service starts");
            clock
        }))
    }

    /// Sets the difference to the machine's clock: `+0`, `-3d`, `+2h` or `+90s`.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn set(&self, difference: &str) {
        self.0.set(difference).expect("a file of ours");
    }
}
