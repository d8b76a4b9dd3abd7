//! The exporter of spans: a global of the process, as the recorder of metrics is.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tonic::transport::ClientTlsConfig;

use super::logged::Logged;
use super::settings::Settings;
use crate::config::redact_url;

/// Timeout of one export.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of the last export, when the process stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Exports spans while it lives. End it with [`Exporter::end`].
#[derive(Debug)]
pub struct Exporter(Option<SdkTracerProvider>);

impl Exporter {
    /// Begins to export, if an endpoint is configured. Needs a runtime.
    pub fn begin(settings: &Settings, service: &'static str, version: &'static str) -> Self {
        let Some(endpoint) = &settings.endpoint else { return Self(None) };
        let builder = opentelemetry_otlp::SpanExporter::builder().with_tonic();
        let builder = match endpoint.starts_with("https://") {
            true => builder.with_tls_config(ClientTlsConfig::new().with_enabled_roots()),
            false => builder,
        };
        let exporter = match builder.with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT).build() {
            Ok(exporter) => exporter,
            Err(error) => {
                // The library reads variables of its own (headers, compression). Requests matter more than traces.
                tracing::warn!(%error, "cannot set up the export of traces, continuing without traces");
                return Self(None);
            }
        };
        let resource = Resource::builder()
            .with_service_name(service)
            .with_attribute(KeyValue::new("service.version", version))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(Logged::new(exporter))
            .with_resource(resource)
            .with_sampler(settings.sampling.sampler())
            .build();
        // Only a test runs a second service in one process; the first exporter stays.
        let _ = TRACER.set(provider.tracer("followgraph"));
        tracing::info!(endpoint = redact_url(endpoint), sampling = ?settings.sampling, "exporting traces");
        Self(Some(provider))
    }

    /// Exports the spans that wait, for up to two seconds.
    pub async fn end(self) {
        let Some(provider) = self.0 else { return };
        let flushed =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_TIMEOUT)).await;
        if let Ok(Err(error)) = flushed {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

/// True if spans are exported.
pub fn enabled() -> bool {
    tracer().is_some()
}

pub(super) fn tracer() -> Option<&'static SdkTracer> {
    TRACER.get()
}
