//! Opens a port for IPv4 and IPv6 clients.
//!
//! `[::]` accepts IPv4 clients as well, independent of the system's default. On a machine without IPv6 it means
//! `0.0.0.0`, so that it can be the default everywhere.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that may wait to be accepted, as in tokio.
const BACKLOG: i32 = 1_024;

/// A port could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({variable})")]
pub struct BindError {
    address: SocketAddr,
    variable: &'static str,
    source: io::Error,
}

/// Opens the port that a variable names; port 0 is a free one. Returns the address in use as well. Needs a runtime.
pub(crate) fn bind(
    address: SocketAddr,
    variable: &'static str,
) -> Result<(TcpListener, SocketAddr), BindError> {
    let opened = bind_any(address).and_then(|listener| {
        let local_addr = listener.local_addr()?;
        Ok((listener, local_addr))
    });
    opened.map_err(|source| BindError { address, variable, source })
}

fn bind_any(address: SocketAddr) -> io::Result<TcpListener> {
    let every_address = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    match open(address) {
        Err(error) if every_address && lacks_ipv6(&error) => {
            tracing::info!(port = address.port(), "no IPv6 on this machine: listening on IPv4 alone");
            open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        opened => opened,
    }
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A port counts as free while its last connections close.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn lacks_ipv6(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(nix::errno::Errno::from_raw);
    matches!(code, Some(nix::errno::Errno::EAFNOSUPPORT | nix::errno::Errno::EADDRNOTAVAIL))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn every_address_takes_clients_of_both_families() {
        let (_listener, address) = bind("[::]:0".parse().expect("an address"), "A").expect("a free port");
        let port = address.port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("an IPv4 client");
        // Where there is no IPv6, the port listens all the same.
        if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.expect("an IPv6 client");
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_an_error() {
        let (_listener, address) =
            bind("127.0.0.1:0".parse().expect("an address"), "A").expect("a free port");
        let error = bind(address, "B").expect_err("taken");
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(error.to_string(), format!("cannot listen on {address} (B)"));
    }

    #[test]
    fn a_machine_without_ipv6_is_told_from_a_port_that_is_taken() {
        let is = |code: nix::errno::Errno| lacks_ipv6(&io::Error::from_raw_os_error(code as i32));
        assert!(is(nix::errno::Errno::EAFNOSUPPORT));
        assert!(!is(nix::errno::Errno::EADDRINUSE));
    }
}
