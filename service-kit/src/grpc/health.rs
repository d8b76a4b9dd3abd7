//! `grpc.health.v1`, driven by the readiness of the process. All services of a process share one state.
//!
//! A watch ends when the drain begins: an open one would delay every shutdown.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use tokio::sync::watch;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::readiness::{Readiness, Report};

/// Answers health checks.
#[derive(Debug, Clone)]
pub(super) struct ReadinessHealth {
    readiness: Readiness,
    services: Arc<[&'static str]>,
    draining: CancellationToken,
}

impl ReadinessHealth {
    /// Health of the process as a whole (the empty name) and of the named services.
    pub(super) fn server(
        readiness: Readiness,
        services: Vec<&'static str>,
        draining: CancellationToken,
    ) -> HealthServer<Self> {
        HealthServer::new(Self { readiness, services: services.into(), draining })
    }

    fn knows(&self, service: &str) -> bool {
        service.is_empty() || self.services.contains(&service)
    }
}

#[tonic::async_trait]
impl Health for ReadinessHealth {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !self.knows(&request.get_ref().service) {
            return Err(Status::not_found("no such service on this server"));
        }
        Ok(Response::new(answer(serving(&self.readiness.report()))))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        // The protocol wants an unknown service to be watchable: it may appear later. Ours never does.
        let known = self.knows(&request.get_ref().service);
        let reports: watch::Receiver<Report> = self.readiness.subscribe();
        let mut last = None;
        let states = WatchStream::new(reports).filter_map(move |report| {
            let state = if known { serving(&report) } else { ServingStatus::ServiceUnknown };
            (last.replace(state) != Some(state)).then(|| Ok(answer(state)))
        });
        let draining = self.draining.clone().cancelled_owned();
        Ok(Response::new(Box::pin(futures::StreamExt::take_until(states, draining))))
    }
}

fn serving(report: &Report) -> ServingStatus {
    if report.ready() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn answer(state: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: state.into() }
}
