//! The form of an address: HOST:PORT. A wrong one would otherwise fail much later, as a look-up of a strange name.

use std::net::Ipv6Addr;

use super::peer::{Peer, host_of};
use crate::error::Hinted;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    #[error("leave out the scheme: --tls or --ca selects TLS, and names are always looked up")]
    Scheme,
    /// It has user info, which would not be sent.
    #[error("leave out the user before @: set the token with FOLLOWGRAPH_TOKEN")]
    User,
    #[error("leave out what follows the port")]
    Path,
    /// An IPv6 address, whose last part may be a port.
    #[error("an IPv6 address needs brackets, such as [::1]:9080")]
    Brackets,
    #[error("the port is missing, such as 127.0.0.1:9080")]
    Port,
    #[error("such as 127.0.0.1:9080, [::1]:9080 or name.example:9080")]
    Other,
}

/// Refuses an address that is not HOST:PORT.
pub fn check(peer: &Peer) -> Result<(), Hinted> {
    parse(&peer.addr).map_err(|mistake| {
        Hinted::new(
            format!(
                "the address of the {} must be HOST:PORT: it is '{}'",
                peer.service,
                host_of(&peer.addr).escape_debug()
            ),
            format!("{mistake} (--{}-addr, {})", peer.service.short(), peer.service.variable()),
        )
    })
}

fn parse(addr: &str) -> Result<(), Mistake> {
    if addr.contains("://") || addr.starts_with("dns:") || addr.starts_with("unix:") {
        return Err(Mistake::Scheme);
    }
    if addr.contains('@') {
        return Err(Mistake::User);
    }
    if addr.contains(['/', '?', '#']) {
        return Err(Mistake::Path);
    }
    let (host, port) = match addr.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(Mistake::Brackets)?;
            let port = if port.is_empty() { "" } else { port.strip_prefix(':').ok_or(Mistake::Other)? };
            host.parse::<Ipv6Addr>().map_err(|_| Mistake::Other)?;
            (host, port)
        }
        None if addr.matches(':').count() > 1 => return Err(Mistake::Brackets),
        None => addr.split_once(':').unwrap_or((addr, "")),
    };
    if port.is_empty() {
        return Err(Mistake::Port);
    }
    let is_port = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_host = !host.is_empty()
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'));
    if is_host && is_port { Ok(()) } else { Err(Mistake::Other) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Service;

    #[test]
    fn hosts_and_ports_are_addresses() {
        for addr in
            ["127.0.0.1:9080", "[::1]:9080", "localhost:1", "command-service.ns.svc:65535", "a_b:9080"]
        {
            assert_eq!(parse(addr), Ok(()), "{addr}");
        }
    }

    #[test]
    fn each_mistake_says_what_is_wrong() {
        for (addr, mistake) in [
            ("http://127.0.0.1:9080", Mistake::Scheme),
            ("https://127.0.0.1:9080", Mistake::Scheme),
            ("dns:///127.0.0.1:9080", Mistake::Scheme),
            ("dns:127.0.0.1:9080", Mistake::Scheme),
            ("me:secret@127.0.0.1:9080", Mistake::User),
            ("127.0.0.1:9080/", Mistake::Path),
            ("::1:9080", Mistake::Brackets),
            ("::1", Mistake::Brackets),
            ("[::1:9080", Mistake::Brackets),
            ("localhost", Mistake::Port),
            ("localhost:", Mistake::Port),
            ("[::1]", Mistake::Port),
            ("localhost:0", Mistake::Other),
            ("localhost:65536", Mistake::Other),
            ("localhost:+80", Mistake::Other),
            ("localhost:http", Mistake::Other),
            (":9080", Mistake::Other),
            ("[host]:9080", Mistake::Other),
            ("[::1]9080", Mistake::Other),
            ("two words:9080", Mistake::Other),
            ("", Mistake::Port),
        ] {
            assert_eq!(parse(addr), Err(mistake), "{addr}");
        }
    }

    #[test]
    fn the_message_names_the_argument_and_hides_the_user() {
        let peer = Peer { service: Service::Query, addr: "me:secret@127.0.0.1:9081".to_owned() };
        let error = check(&peer).expect_err("user info");
        assert!(error.message.ends_with("must be HOST:PORT: it is '127.0.0.1:9081'"), "{}", error.message);
        assert!(error.hint.contains("--query-addr, FOLLOWGRAPH_QUERY_ADDR"), "{}", error.hint);
    }
}
