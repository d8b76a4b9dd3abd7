//! Connections to both services: addresses, the bearer token, TLS, deadlines and keepalive.

mod address;
mod failure;
mod peer;
mod tls;

use std::time::Duration;

use proto::command::v1::command_service_client::CommandServiceClient;
use proto::query::v1::query_service_client::QueryServiceClient;
use proto::{command::v1 as command, query::v1 as query};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

pub use self::failure::{CallFailed, Unreachable, invalid_field, metadata};
pub use self::peer::{Peer, Service, host_of};
use crate::error::Mistakes;
use crate::text;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Streams have no deadline; keepalive finds a dead peer.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Where the services are, and how to connect to them.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Address of command-service
    #[arg(
        long,
        env = "FOLLOWGRAPH_COMMAND_ADDR",
        hide_env_values = true,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:9080",
        global = true
    )]
    pub command_addr: String,

    /// Address of query-service
    #[arg(
        long,
        env = "FOLLOWGRAPH_QUERY_ADDR",
        hide_env_values = true,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:9081",
        global = true
    )]
    pub query_addr: String,

    /// Bearer token. Prefer the variable: other users can read arguments
    #[arg(long, env = "FOLLOWGRAPH_TOKEN", value_name = "TOKEN", hide_env_values = true, global = true)]
    pub token: Option<String>,

    /// Timeout of a call and of a connection to a store, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = text::seconds, global = true)]
    pub timeout: Duration,

    /// TLS to the services.
    #[command(flatten)]
    pub tls: tls::TlsArgs,
}

impl ConnectionArgs {
    fn peer(&self, service: Service) -> Peer {
        let addr = match service {
            Service::Command => &self.command_addr,
            Service::Query => &self.query_addr,
        };
        Peer { service, addr: text::trimmed(addr).to_owned() }
    }

    /// Records mistakes in the addresses of these services, the TLS files and the token.
    pub fn check(&self, services: &[Service], mistakes: &mut Mistakes) {
        for service in services {
            mistakes.note(address::check(&self.peer(*service)));
        }
        mistakes.note(tls::config(&self.tls));
        mistakes.note(self.bearer());
    }

    fn bearer(&self) -> anyhow::Result<Bearer> {
        // A token from a file ends with a newline, and sometimes begins with a byte order mark.
        let Some(token) = self.token.as_deref().map(text::trimmed).filter(|t| !t.is_empty()) else {
            return Ok(Bearer(None));
        };
        // Without the cause, which would quote the token.
        let mut value: MetadataValue<Ascii> = format!("Bearer {token}")
            .parse()
            .map_err(|_| anyhow::anyhow!("FOLLOWGRAPH_TOKEN must be one line of printable ASCII"))?;
        value.set_sensitive(true);
        Ok(Bearer(Some(value)))
    }

    pub async fn command_client(&self) -> anyhow::Result<CommandClient> {
        self.connect(Service::Command, CommandServiceClient::with_interceptor).await
    }

    pub async fn query_client(&self) -> anyhow::Result<QueryClient> {
        self.connect(Service::Query, QueryServiceClient::with_interceptor).await
    }

    async fn connect<C>(
        &self,
        service: Service,
        rpc: impl FnOnce(Channel, Bearer) -> C,
    ) -> anyhow::Result<Client<C>> {
        let mut mistakes = Mistakes::default();
        self.check(&[service], &mut mistakes);
        mistakes.finish()?;
        let (peer, tls, bearer) = (self.peer(service), tls::config(&self.tls)?, self.bearer()?);
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
        Ok(Client { rpc: rpc(channel, bearer), peer, timeout: self.timeout })
    }
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

/// The generated client of one service, with what every call needs.
#[derive(Clone)]
pub struct Client<C> {
    pub rpc: C,
    peer: Peer,
    timeout: Duration,
}

pub type CommandRpc = CommandServiceClient<Transport>;
pub type QueryRpc = QueryServiceClient<Transport>;
pub type CommandClient = Client<CommandRpc>;
pub type QueryClient = Client<QueryRpc>;

impl<C> Client<C> {
    /// Makes a call with the deadline of `--timeout`.
    pub async fn call<M, R>(
        &mut self,
        message: M,
        method: impl AsyncFnOnce(&mut C, Request<M>) -> Result<Response<R>, Status>,
    ) -> Result<R, CallFailed> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        let answer = method(&mut self.rpc, request).await;
        answer.map(Response::into_inner).map_err(|status| self.failed(status))
    }

    /// The error of a call to this service.
    pub fn failed(&self, status: Status) -> CallFailed {
        CallFailed { peer: self.peer.clone(), status }
    }
}

impl CommandClient {
    /// State of command-service, the stream and the projectors.
    pub async fn status(&mut self) -> Result<command::GetStatusResponse, CallFailed> {
        self.call(command::GetStatusRequest {}, CommandRpc::get_status).await
    }
}

impl QueryClient {
    /// State of query-service and its stores.
    pub async fn status(&mut self) -> Result<query::GetStatusResponse, CallFailed> {
        self.call(query::GetStatusRequest {}, QueryRpc::get_status).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_files_and_token_are_checked_together() {
        let args = text::parse_args::<ConnectionArgs>(&[
            "--command-addr=http://h:1",
            "--query-addr=h:1",
            "--ca=/not/there",
            "--token=hunter2\n3",
        ]);
        let mut mistakes = Mistakes::default();
        args.expect("good arguments").check(&[Service::Command, Service::Query], &mut mistakes);
        let error = mistakes.finish().expect_err("three mistakes");
        let several = error.downcast_ref::<crate::error::Several>().expect("several");
        let text: String = several.0.iter().map(|mistake| format!("{mistake:#}\n")).collect();
        for wanted in
            ["command-service must be HOST:PORT", "/not/there", "FOLLOWGRAPH_TOKEN must be one line"]
        {
            assert!(text.contains(wanted), "{text}");
        }
        assert!(!text.contains("hunter2") && !text.contains("query-service"), "{text}");
    }
}
