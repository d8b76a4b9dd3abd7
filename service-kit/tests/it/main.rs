//! Behaviour of the process plumbing against real sockets and real signals. No outside server is needed.

mod calls;
mod encryption;
mod limits;
mod process;
mod shutdown;
mod support;
#[path = "../../src/test_certificates.rs"]
mod test_certificates;
