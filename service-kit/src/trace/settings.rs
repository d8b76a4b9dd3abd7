//! Settings of traces: the supported variables of OpenTelemetry's specification.
//!
//! Operators of clusters set these variables on every pod, for libraries of any language. So unsupported values cause a
//! warning, and the process starts; only an endpoint that is no address, or a ratio that is no number while traces are
//! on, is a mistake.

use opentelemetry_sdk::trace::Sampler;
use url::Url;

use crate::config::{self, Env};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const DISABLED: &str = "OTEL_SDK_DISABLED";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const RATIO: &str = "OTEL_TRACES_SAMPLER_ARG";

/// Settings of traces.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address of the collector, by OTLP over gRPC; `None` if traces are off.
    pub endpoint: Option<String>,
    /// Which traces are kept.
    pub sampling: Sampling,
}

/// Which traces are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Follow the caller's decision for its traces.
    pub parent_based: bool,
    /// Ratio of the other traces that are kept.
    pub ratio: f64,
}

impl Sampling {
    pub(super) fn sampler(self) -> Sampler {
        let by_ratio = Sampler::TraceIdRatioBased(self.ratio);
        if self.parent_based { Sampler::ParentBased(Box::new(by_ratio)) } else { by_ratio }
    }
}

impl Settings {
    /// Reads them.
    pub fn read(env: &mut Env) -> Self {
        let of_all = env
            .about(
                "Address of the trace collector, http:// or https://, for OTLP over gRPC. Without it traces are off.",
            )
            .example("http://127.0.0.1:4317")
            .optional(ENDPOINT);
        let of_traces = env
            .about("Address of the trace collector; takes precedence over OTEL_EXPORTER_OTLP_ENDPOINT.")
            .optional(TRACES_ENDPOINT);
        let disabled = env.about("true turns traces off.").optional(DISABLED);
        let exporter = env.about("none turns traces off.").optional(EXPORTER);
        let protocol = env.about("Only grpc is supported; other values are ignored.").optional(PROTOCOL);
        let variable = if of_traces.is_some() { TRACES_ENDPOINT } else { ENDPOINT };
        let off = disabled.is_some_and(|text| text.eq_ignore_ascii_case("true"))
            || exporter.is_some_and(|text| text.eq_ignore_ascii_case("none"));
        let endpoint = of_traces.or(of_all).filter(|_| !off);
        if let Some(url) = &endpoint {
            if !is_http(url) {
                env.reject(variable, "must be an http:// or https:// address");
            }
            if protocol.is_some_and(|text| text != "grpc") || url.trim_end_matches('/').ends_with(":4318") {
                let text = "traces are sent by OTLP over gRPC; a port for OTLP over HTTP does not take them";
                env.remark(variable, text);
            }
        }
        let plain = endpoint.as_deref().map(without_credentials);
        if plain != endpoint {
            env.remark(variable, "user, password, query and fragment of the address are not used");
        }
        let sampling = sampling(env, plain.is_some());
        Self { endpoint: plain, sampling }
    }
}

fn sampling(env: &mut Env, enabled: bool) -> Sampling {
    let sampler = env
        .about(
            "Sampler: always_on, always_off, traceidratio, or one of these with the prefix parentbased_. Others count as \
             parentbased_traceidratio with a ratio of 1.",
        )
        .text_or(SAMPLER, "parentbased_traceidratio");
    let argument = env
        .about("Ratio of the sampled traces, of those that no caller has begun; a number from 0 to 1.")
        .text_or(RATIO, "1");
    let kind = sampler.strip_prefix("parentbased_");
    let (parent_based, kind) = (kind.is_some(), kind.unwrap_or(&sampler));
    // Mistakes have no effect while traces are off.
    let ratio = match kind {
        "always_on" => 1.0,
        "always_off" => 0.0,
        "traceidratio" => match argument.parse() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
            _ => {
                if enabled {
                    env.reject(RATIO, "must be a number from 0 to 1");
                }
                1.0
            }
        },
        _ => {
            if enabled {
                let text = "this sampler is not supported: all traces are kept that no caller leaves out";
                env.remark(SAMPLER, text);
            }
            return Sampling { parent_based: true, ratio: 1.0 };
        }
    };
    Sampling { parent_based, ratio }
}

fn is_http(url: &str) -> bool {
    (url.starts_with("http://") || url.starts_with("https://"))
        && url.parse::<http::Uri>().is_ok_and(|uri| uri.authority().is_some())
}

/// The parts of an address that the exporter uses. It sends no user info, but its libraries log the address.
fn without_credentials(endpoint: &str) -> String {
    let Ok(url) = endpoint.parse::<Url>() else { return endpoint.to_owned() };
    let plain = config::without_credentials(url.clone());
    if plain == url { endpoint.to_owned() } else { plain.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Env, Settings) {
        let mut env = Env::from_pairs(pairs.iter().copied());
        let settings = Settings::read(&mut env);
        (env, settings)
    }

    #[test]
    fn credentials_in_the_endpoint_are_dropped_with_a_remark() {
        let (env, settings) = read(&[(ENDPOINT, "http://user:hunter2@127.0.0.1:4317/?key=hunter3#hunter4")]);
        assert_eq!(settings.endpoint.as_deref(), Some("http://127.0.0.1:4317/"));
        assert_eq!(env.remarks().len(), 1);
        assert!(!format!("{settings:?} {:?} {}", env.remarks(), env.redacted()).contains("hunter"));

        let (env, settings) = read(&[(ENDPOINT, "http://127.0.0.1:4317")]);
        assert_eq!(settings.endpoint.as_deref(), Some("http://127.0.0.1:4317"));
        assert!(env.remarks().is_empty());
    }

    #[test]
    fn addresses_of_http_and_https_are_taken() {
        let fine = |url: &str| {
            let (env, settings) = read(&[(ENDPOINT, url)]);
            env.finish(settings).is_ok()
        };
        assert!(fine("http://127.0.0.1:4317") && fine("https://collector:4317") && fine("http://[::1]:4317"));
        assert!(!fine("127.0.0.1:4317") && !fine("ftp://host") && !fine("http://"));
    }

    #[test]
    fn traces_may_have_an_endpoint_of_their_own_and_be_turned_off() {
        let both = [(ENDPOINT, "http://all:4317"), (TRACES_ENDPOINT, "http://traces:4317")];
        assert_eq!(read(&both).1.endpoint.as_deref(), Some("http://traces:4317"));
        for off in [(DISABLED, "true"), (DISABLED, "TRUE"), (EXPORTER, "none")] {
            let (env, settings) = read(&[both[0], off]);
            assert_eq!(settings.endpoint, None, "{off:?}");
            env.finish(()).expect("no mistake");
        }
        assert!(read(&[both[0], (DISABLED, "false")]).1.endpoint.is_some());
    }

    #[test]
    fn samplers_of_the_specification_are_known_and_others_keep_all() {
        let sampling = |pairs: &[(&str, &str)]| {
            let on = [(ENDPOINT, "http://127.0.0.1:4317")];
            let (env, settings) = read(&[&on[..], pairs].concat());
            let remarks = env.remarks().len();
            env.finish(settings).map(|settings| (settings.sampling, remarks))
        };
        let is = |parent_based, ratio, remarks| Ok((Sampling { parent_based, ratio }, remarks));
        assert_eq!(sampling(&[]), is(true, 1.0, 0));
        assert_eq!(sampling(&[(RATIO, "0.25")]), is(true, 0.25, 0));
        assert_eq!(sampling(&[(SAMPLER, "traceidratio"), (RATIO, "0.25")]), is(false, 0.25, 0));
        assert_eq!(sampling(&[(SAMPLER, "parentbased_always_off")]), is(true, 0.0, 0));
        assert_eq!(sampling(&[(SAMPLER, "always_on"), (RATIO, "0.25")]), is(false, 1.0, 0));
        let remote = [
            (SAMPLER, "parentbased_jaeger_remote"),
            (RATIO, "endpoint=http://c:14250,pollingIntervalMs=5000,initialSamplingRate=0.25"),
        ];
        assert_eq!(sampling(&remote), is(true, 1.0, 1));
        let error = sampling(&[(RATIO, "2")]).expect_err("more than all").to_string();
        assert!(error.contains(RATIO), "{error}");
    }

    #[test]
    fn without_traces_their_settings_are_no_mistakes() {
        for argument in ["endpoint=http://c:14250", "2"] {
            let (env, settings) = read(&[(RATIO, argument)]);
            assert!(env.remarks().is_empty());
            env.finish(settings).expect("no traces");
        }
    }

    #[test]
    fn a_port_of_another_protocol_is_remarked() {
        for pairs in
            [&[(ENDPOINT, "http://c:4318")][..], &[(ENDPOINT, "http://c:4317"), (PROTOCOL, "http/protobuf")]]
        {
            assert_eq!(read(pairs).0.remarks().len(), 1, "{pairs:?}");
        }
        assert!(read(&[(PROTOCOL, "http/protobuf")]).0.remarks().is_empty());
    }
}
