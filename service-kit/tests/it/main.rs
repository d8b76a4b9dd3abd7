//! Behaviour of the process plumbing against real sockets and real signals. No outside server is needed.

mod calls;
mod process;
mod shutdown;
mod support;
