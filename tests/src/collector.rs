//! A minimal collector of traces that keeps the spans from OTLP exporters.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// The parts of a span that tests compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The process.
    pub service: String,
    pub name: String,
    /// In hex.
    pub trace: String,
    /// In hex.
    pub id: String,
    /// Parent span, in hex.
    pub parent: String,
    /// Linked spans, in hex.
    pub links: Vec<String>,
    /// It ended after it began.
    pub took_time: bool,
}

/// A running collector; it ends with the test's runtime.
#[derive(Clone, Debug)]
pub struct Collector {
    address: std::net::SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    /// Listens on a free port of the loopback interface.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let collector = Self { address, spans: Arc::default() };
        let service = TraceServiceServer::new(collector.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        collector
    }

    /// The response to exporters.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The received spans of a trace.
    pub fn trace(&self, trace: &str) -> Vec<Span> {
        self.spans.lock().iter().filter(|span| span.trace == trace).cloned().collect()
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        for of_process in request.into_inner().resource_spans {
            let attributes = of_process.resource.map(|resource| resource.attributes).unwrap_or_default();
            let service = attributes.into_iter().find(|attribute| attribute.key == "service.name");
            let service = match service.and_then(|attribute| attribute.value?.value) {
                Some(Value::StringValue(name)) => name,
                _ => return Err(Status::invalid_argument("no service.name")),
            };
            let spans = of_process.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| Span {
                service: service.clone(),
                name: span.name,
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
                took_time: span.end_time_unix_nano > span.start_time_unix_nano,
            });
            self.spans.lock().extend(spans);
        }
        Ok(Response::new(ExportTraceServiceResponse { partial_success: None }))
    }
}
