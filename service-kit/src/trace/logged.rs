//! An exporter of spans that logs and counts its failures. The SDK reports them to its own logger only.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use crate::metrics::TRACE_EXPORTS_FAILED;

/// Counts each failure, and logs the first of a row and the recovery.
#[derive(Debug)]
pub(super) struct Logged<E> {
    inner: E,
    failing: AtomicBool,
}

impl<E> Logged<E> {
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
                    tracing::warn!(%error, "the collector does not accept traces, dropping spans until it does");
                }
            }
            Ok(()) if turned => tracing::info!("the collector accepts traces again"),
            Ok(()) => {}
        }
    }
}

impl<E: SpanExporter> SpanExporter for Logged<E> {
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
