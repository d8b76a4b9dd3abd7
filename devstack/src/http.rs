//! A minimal HTTP GET for `/readyz` and `/healthz` of servers on this machine: no TLS, redirects or keep-alive.

use std::{
    io::{Error, ErrorKind, Read, Result, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Timeout of connecting, of a read and of a write.
const LIMIT: Duration = Duration::from_secs(2);

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Requests `http://address/path`.
pub fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    let mut stream = connect(address)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&String::from_utf8_lossy(&bytes))
}

/// Whether `http://address/path` answers 200.
pub fn is_ok(address: SocketAddr, path: &str) -> bool {
    get(address, path).is_ok_and(|answer| answer.status == 200)
}

/// Connects with timeouts, for HTTP and other small protocols.
pub fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

fn parse(text: &str) -> Result<Answer> {
    let malformed = || Error::new(ErrorKind::InvalidData, "not an HTTP response");
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let status =
        head.split_ascii_whitespace().nth(1).and_then(|code| code.parse().ok()).ok_or_else(malformed)?;
    Ok(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_split_into_status_and_body() {
        let answer = parse("HTTP/1.1 503 Service Unavailable\r\nA: b\r\n\r\nnot ready: neo4j").unwrap();
        assert_eq!(answer.status, 503);
        assert_eq!(answer.body, "not ready: neo4j");
    }

    #[test]
    fn other_protocols_are_refused() {
        assert!(parse("INFO {\"server_id\":1}\r\n").is_err());
        assert!(parse("").is_err());
    }
}
