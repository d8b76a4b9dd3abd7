//! `PROGRAM --healthcheck`: whether the process beside this one is ready, for images that have no shell and no curl.
//!
//! Owns: asking `/readyz` on the admin port of this machine. Must not know: what readiness hangs on.
//! What can go wrong: nobody listens, or nobody answers in time; both count as not ready.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// The argument that asks for it.
const ARGUMENT: &str = "--healthcheck";
const TIMEOUT: Duration = Duration::from_secs(2);

/// Whether this process was started for a health check only.
pub(crate) fn is_asked() -> bool {
    std::env::args_os().nth(1).is_some_and(|argument| argument == ARGUMENT)
}

/// Asks the process whose admin port is `listen`; exit code 0 if it is ready, else 1.
pub(crate) fn run(listen: SocketAddr) -> ExitCode {
    match ask(reachable(listen)) {
        Ok(answer) if is_ok(&answer) => ExitCode::SUCCESS,
        Ok(answer) => {
            eprintln!("not ready: {}", answer.trim_end());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("no answer from the admin port: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn is_ok(answer: &str) -> bool {
    answer.split_ascii_whitespace().nth(1) == Some("200")
}

/// A port that is open on all addresses is asked on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_open_port_is_asked_on_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:9180", "127.0.0.1:9180"),
            ("[::]:9180", "[::1]:9180"),
            ("10.0.0.1:9180", "10.0.0.1:9180"),
        ] {
            let listen = listen.parse().expect("an address");
            assert_eq!(reachable(listen).to_string(), asked);
        }
    }

    #[test]
    fn only_200_is_ready() {
        for (answer, ready) in [
            ("HTTP/1.1 200 OK\r\n\r\n{}", true),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n200", false),
            ("", false),
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
            assert_eq!(is_ok(&ask(address).expect("an answer")), ready, "{answer}");
            let request = server.join().expect("no panic").expect("a request");
            assert!(request.starts_with("GET /readyz HTTP/1.1"), "{request}");
        }
    }
}
