//! `PROGRAM --healthcheck`: checks the process in the same container, for images without a shell and curl.
//!
//! Container engines replace unhealthy containers, so by default it requests `/livez`, which depends on no other
//! server: a database that is down must not restart anything. `--healthcheck=ready` requests `/readyz`, for engines
//! that only hold back traffic. It fails if nothing listens or answers within two seconds.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use crate::stderr;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Kind of health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// Does the process run?
    Live,
    /// Can it serve?
    Ready,
}

impl Question {
    /// The health check on the command line; `None` for a service.
    pub(crate) fn asked() -> Option<Self> {
        Self::of(&std::env::args_os().nth(1)?)
    }

    fn of(argument: &OsStr) -> Option<Self> {
        match argument.to_str()? {
            "--healthcheck" | "--healthcheck=live" => Some(Self::Live),
            "--healthcheck=ready" => Some(Self::Ready),
            _ => None,
        }
    }

    /// The path that answers it, and the message if the answer is no.
    fn path_and_no(self) -> (&'static str, &'static str) {
        match self {
            Self::Live => ("/livez", "not alive"),
            Self::Ready => ("/readyz", "not ready"),
        }
    }

    /// Requests the admin port at `listen`; exit code 0 if it answers 200, else 1.
    pub(crate) fn run(self, listen: SocketAddr) -> ExitCode {
        let (_, no) = self.path_and_no();
        let problem = match self.ask_first(&reachable(listen)) {
            Ok(answer) if is_ok(&answer) => return ExitCode::SUCCESS,
            Ok(answer) => format!("{no}: {}", answer.trim_end()),
            Err(error) => format!("no answer from the admin port: {error}"),
        };
        stderr::line(&problem);
        ExitCode::FAILURE
    }

    /// Requests the first address that answers.
    fn ask_first(self, addresses: &[SocketAddr]) -> std::io::Result<String> {
        let none = Err(std::io::ErrorKind::AddrNotAvailable.into());
        addresses.iter().fold(none, |outcome, address| outcome.or_else(|_| self.ask(*address)))
    }

    fn ask(self, address: SocketAddr) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let (path, _) = self.path_and_no();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

fn is_ok(answer: &str) -> bool {
    answer.split_ascii_whitespace().nth(1) == Some("200")
}

/// The loopback addresses of a port that is open on all addresses. Without IPv6, `[::]` is open on IPv4 alone.
fn reachable(listen: SocketAddr) -> Vec<SocketAddr> {
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    let hosts = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => vec![v4],
        IpAddr::V6(ip) if ip.is_unspecified() => vec![v4, v6],
        ip => vec![ip],
    };
    hosts.into_iter().map(|host| SocketAddr::new(host, listen.port())).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_open_port_is_asked_on_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:9180", "127.0.0.1:9180"),
            ("[::]:9180", "127.0.0.1:9180 [::1]:9180"),
            ("10.0.0.1:9180", "10.0.0.1:9180"),
        ] {
            let listen = listen.parse().expect("an address");
            let all: Vec<_> = reachable(listen).iter().map(ToString::to_string).collect();
            assert_eq!(all.join(" "), asked);
        }
    }

    #[test]
    fn readiness_is_asked_for_by_name() {
        let of = |argument: &str| Question::of(OsStr::new(argument));
        assert_eq!(of("--healthcheck"), Some(Question::Live), "containers are replaced for it");
        assert_eq!(of("--healthcheck=live"), Some(Question::Live));
        assert_eq!(of("--healthcheck=ready"), Some(Question::Ready));
        assert_eq!(of("--healthcheck=readyz"), None);
        assert_eq!(of("--health"), None);
    }

    #[test]
    fn only_200_is_yes() {
        for (question, path, answer, yes) in [
            (Question::Live, "/livez", "HTTP/1.1 200 OK\r\n\r\n", true),
            (Question::Ready, "/readyz", "HTTP/1.1 200 OK\r\n\r\n{}", true),
            (Question::Ready, "/readyz", "HTTP/1.1 503 Service Unavailable\r\n\r\n200", false),
            (Question::Live, "/livez", "", false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("an address");
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept()?;
                let mut request = [0; 64];
                let length = stream.read(&mut request)?;
                stream.write_all(answer.as_bytes())?;
                std::io::Result::Ok(String::from_utf8_lossy(&request[..length]).into_owned())
            });
            assert_eq!(is_ok(&question.ask(address).expect("an answer")), yes, "{answer}");
            let request = server.join().expect("no panic").expect("a request");
            assert!(request.starts_with(&format!("GET {path} HTTP/1.1")), "{request}");
        }
    }
}
