//! Connections to both services.
//!
//! Owns addresses, the bearer token, TLS, deadlines and keepalive. It must not know
//! what is asked for. What can go wrong: nobody answers ([`Unreachable`]), or a
//! call is refused ([`CallFailed`]); both know whom they were meant for.

mod address;
mod tls;

use std::fmt;
use std::time::Duration;

use proto::command::v1::command_service_client::CommandServiceClient;
use proto::query::v1::query_service_client::QueryServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::args::ConnectionArgs;
use crate::mistakes::Mistakes;
use crate::text;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Streams have no deadline; this finds a peer that is gone without a word.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// One of the two services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Writes.
    Command,
    /// Reads.
    Query,
}

impl Service {
    /// What its arguments begin with.
    fn short(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Query => "query",
        }
    }

    /// The variable that says where it is.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Command => "FOLLOWGRAPH_COMMAND_ADDR",
            Self::Query => "FOLLOWGRAPH_QUERY_ADDR",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command => "command-service",
            Self::Query => "query-service",
        })
    }
}

/// A service at an address.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Which service.
    pub service: Service,
    /// Where.
    pub addr: String,
}

impl Peer {
    fn of(args: &ConnectionArgs, service: Service) -> Self {
        let addr = match service {
            Service::Command => &args.command_addr,
            Service::Query => &args.query_addr,
        };
        Self { service, addr: text::trimmed(addr).to_owned() }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.service, host_of(&self.addr))
    }
}

/// An address without user info, which may be a secret and is not sent.
pub fn host_of(addr: &str) -> &str {
    addr.rsplit_once('@').map_or(addr, |(_, host)| host)
}

/// No connection could be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach {peer}")]
pub struct Unreachable {
    /// Whom.
    pub peer: Peer,
    /// Whether TLS was spoken.
    pub tls: bool,
    /// Why.
    #[source]
    pub source: tonic::transport::Error,
}

/// A call was answered with an error, or not at all.
#[derive(Debug, thiserror::Error)]
#[error("{peer}: {}", status.message())]
pub struct CallFailed {
    /// Who was asked.
    pub peer: Peer,
    /// The answer.
    pub status: Status,
}

/// Adds the token to every call.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

type Transport = InterceptedService<Channel, Bearer>;

/// The generated client of one service, and what every call needs.
#[derive(Clone)]
pub struct Client<C> {
    /// The generated client.
    pub rpc: C,
    peer: Peer,
    timeout: Duration,
}

/// A client of the command-service.
pub type CommandClient = Client<CommandServiceClient<Transport>>;
/// A client of the query-service.
pub type QueryClient = Client<QueryServiceClient<Transport>>;

impl<C> Client<C> {
    /// A request with the deadline; for all but the streams.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    /// The error of a call.
    pub fn failed(&self, status: Status) -> CallFailed {
        CallFailed { peer: self.peer.clone(), status }
    }
}

/// Connects to the command-service.
pub async fn command(args: &ConnectionArgs) -> anyhow::Result<CommandClient> {
    let (peer, channel, bearer) = connect(args, Service::Command).await?;
    let rpc = CommandServiceClient::with_interceptor(channel, bearer);
    Ok(Client { rpc, peer, timeout: args.timeout })
}

/// Connects to the query-service.
pub async fn query(args: &ConnectionArgs) -> anyhow::Result<QueryClient> {
    let (peer, channel, bearer) = connect(args, Service::Query).await?;
    let rpc = QueryServiceClient::with_interceptor(channel, bearer);
    Ok(Client { rpc, peer, timeout: args.timeout })
}

/// Records what is wrong with the addresses of these services, the TLS files and the token.
pub fn check(args: &ConnectionArgs, services: &[Service], mistakes: &mut Mistakes) {
    for service in services {
        mistakes.note(address::check(&Peer::of(args, *service)));
    }
    mistakes.note(tls::config(&args.tls));
    mistakes.note(bearer(args));
}

fn bearer(args: &ConnectionArgs) -> anyhow::Result<Bearer> {
    // A token that a file holds has a newline behind it, and sometimes a byte order mark before it.
    let Some(token) = args.token.as_deref().map(text::trimmed).filter(|t| !t.is_empty()) else {
        return Ok(Bearer(None));
    };
    // The cause would quote the token.
    let mut value: MetadataValue<Ascii> = format!("Bearer {token}")
        .parse()
        .map_err(|_| anyhow::anyhow!("FOLLOWGRAPH_TOKEN must be one line of printable ASCII"))?;
    value.set_sensitive(true);
    Ok(Bearer(Some(value)))
}

async fn connect(args: &ConnectionArgs, service: Service) -> anyhow::Result<(Peer, Channel, Bearer)> {
    let mut mistakes = Mistakes::default();
    check(args, &[service], &mut mistakes);
    mistakes.finish()?;
    let (peer, tls, bearer) = (Peer::of(args, service), tls::config(&args.tls)?, bearer(args)?);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let unreachable = |source| Unreachable { peer: peer.clone(), tls: scheme == "https", source };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", peer.addr)).map_err(unreachable)?;
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls).map_err(unreachable)?;
    }
    let channel = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .user_agent(concat!("followgraph/", env!("CARGO_PKG_VERSION")))
        .map_err(unreachable)?
        .connect()
        .await
        .map_err(unreachable)?;
    Ok((peer, channel, bearer))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Args;

    #[test]
    fn address_files_and_token_are_checked_together() {
        let args = Args::try_parse_from([
            "followgraph",
            "status",
            "--command-addr=http://h:1",
            "--query-addr=h:1",
            "--ca=/not/there",
            "--token=hunter2\n3",
        ]);
        let mut mistakes = Mistakes::default();
        check(&args.expect("good arguments").connection, &[Service::Command, Service::Query], &mut mistakes);
        let error = mistakes.finish().expect_err("three mistakes");
        let text = crate::error::one_line(&error);
        for wanted in
            ["command-service must be HOST:PORT", "/not/there", "FOLLOWGRAPH_TOKEN must be one line"]
        {
            assert!(text.contains(wanted), "{text}");
        }
        assert!(!text.contains("hunter2") && !text.contains("query-service"), "{text}");
    }
}
