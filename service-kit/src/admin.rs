//! The admin port: `/livez`, `/readyz`, `/metrics`. It serves until the end of the process, so that a drain can be
//! observed.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use time::format_description::well_known::Rfc3339;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::readiness::{Readiness, Report};
use crate::telemetry::Telemetry;

/// How often samples move into buckets without a scrape.
const UPKEEP: Duration = Duration::from_secs(5);

/// Serves until `stop`, which cuts requests off; none takes long.
pub(crate) async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    telemetry: Telemetry,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let upkeep = upkeep(telemetry.clone());
    let routes = router(readiness).route("/metrics", get(metrics).with_state(telemetry));
    let server = axum::serve(listener, routes);
    tokio::select! {
        result = server.into_future() => result,
        () = upkeep => Ok(()),
        () = stop.cancelled() => Ok(()),
    }
}

async fn upkeep(telemetry: Telemetry) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        telemetry.upkeep();
    }
}

fn router(readiness: Readiness) -> Router {
    Router::new()
        // An answer proves that the runtime works.
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz).with_state(readiness))
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    let report = readiness.report();
    let status = if report.ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CONTENT_TYPE, "application/json")], render(&report)).into_response()
}

fn render(report: &Report) -> String {
    let checks: Vec<_> = report
        .checks()
        .map(|check| {
            serde_json::json!({
                "name": check.kind.name,
                "subject": check.subject,
                "ready": check.reason.is_none(),
                "required": check.required,
                "reason": check.reason,
                "since": check.since.format(&Rfc3339).ok(),
                "action": check.kind.action,
            })
        })
        .collect();
    let mut text =
        serde_json::json!({"ready": report.ready(), "draining": report.draining, "checks": checks})
            .to_string();
    text.push('\n');
    text
}

async fn metrics(State(telemetry): State<Telemetry>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], telemetry.render()).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;
    use crate::readiness::Observation;

    async fn ask(readiness: &Readiness, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).expect("a valid request");
        let response = router(readiness.clone()).oneshot(request).await.expect("infallible");
        let status = response.status();
        let body = to_bytes(response.into_body(), 65_536).await.expect("a short body");
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn readyz_lists_every_check_and_its_reason() {
        let readiness = Readiness::new();
        let latch = readiness.latch("relay");
        latch.not_ready("the stream is gone");
        let (status, body) = ask(&readiness, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(body["checks"][0]["name"], "relay");
        assert_eq!(body["checks"][0]["reason"], "the stream is gone");
        assert_eq!(body["checks"][0]["required"], true);

        latch.ready();
        let reason = Some("a replica lags".to_owned());
        readiness.observe(vec![Observation { kind: "lag".into(), subject: "one".to_owned(), reason }]);
        let (status, body) = ask(&readiness, "/readyz").await;
        assert_eq!(status, StatusCode::OK, "observed checks do not decide");
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(body["checks"][1]["ready"], false);
        assert_eq!(body["checks"][1]["subject"], "one");
        assert!(body["checks"][1]["since"].is_string());
        readiness.drain();
        assert_eq!(ask(&readiness, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ask(&readiness, "/livez").await.0, StatusCode::OK);
    }
}
