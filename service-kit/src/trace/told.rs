//! The exporter of spans, with its failures told: the SDK keeps them to itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use crate::metrics::TRACE_EXPORTS_FAILED;

/// An exporter whose failures are counted, and logged when they begin and when they end.
#[derive(Debug)]
pub(super) struct Told<E> {
    inner: E,
    failing: AtomicBool,
}

impl<E> Told<E> {
    pub(super) fn new(inner: E) -> Self {
        Self { inner, failing: AtomicBool::new(false) }
    }

    fn note(&self, outcome: &OTelSdkResult) {
        let failed = outcome.is_err();
        let turned = self.failing.swap(failed, Ordering::Relaxed) != failed;
        match outcome {
            Err(error) => {
                metrics::counter!(TRACE_EXPORTS_FAILED).increment(1);
                if turned {
                    tracing::warn!(%error, "traces are not taken; spans are dropped until they are");
                }
            }
            Ok(()) if turned => tracing::info!("traces are taken again"),
            Ok(()) => {}
        }
    }
}

impl<E: SpanExporter> SpanExporter for Told<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let outcome = self.inner.export(batch).await;
        self.note(&outcome);
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
