//! Declarations of metrics: name, kind, unit, labels and help, declared once with
//! [`declare_metrics`](crate::declare_metrics). docs/metrics.md is made of them. A declaration that breaks the rules of
//! names fails a test of its crate.

use metrics::{describe_counter, describe_gauge, describe_histogram};
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::one_line;

/// A counter is created with every combination of its labels' values, so there must not be many.
const MOST_SERIES: usize = 100;

/// Type of a metric in Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value that only grows.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// Many values, counted in buckets.
    Histogram,
}

/// Unit of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number of things.
    Count,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A revision, or a distance between two.
    Revisions,
    /// 0 or 1.
    Switch,
    /// From 0 to 1.
    Ratio,
}

/// A label.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// All its values; empty if they come from elsewhere, for instance from the contract.
    pub values: &'static [&'static str],
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How its values behave.
    pub kind: Kind,
    /// What they are measured in.
    pub unit: Unit,
    /// Its labels.
    pub labels: &'static [Label],
    /// The lines of its doc comment.
    pub help: &'static [&'static str],
}

/// Declares the metrics of a crate: a constant with the name of each, and `ALL`.
///
/// ```
/// service_kit::declare_metrics! {
///     /// Edges found wrong.
///     Counter(Count) DIFFERENCES = "projector_sweep_differences_total" { cause: "missing", "extra" };
///     /// Time of a batch.
///     Histogram(Seconds) APPLY_SECONDS = "projector_apply_seconds";
/// }
/// assert_eq!((DIFFERENCES, ALL.len()), ("projector_sweep_differences_total", 2));
/// ```
#[macro_export]
macro_rules! declare_metrics {
    ($(
        $(#[doc = $help:literal])+
        $kind:ident($unit:ident) $constant:ident = $name:literal
        $({ $($label:ident $(: $($value:literal),+)?);+ })?;
    )+) => {
        $(
            $(#[doc = $help])+
            pub const $constant: &str = $name;
        )+

        /// All metrics of this crate.
        pub const ALL: &[$crate::catalog::Metric] = &[$(
            $crate::catalog::Metric {
                name: $name,
                kind: $crate::catalog::Kind::$kind,
                unit: $crate::catalog::Unit::$unit,
                labels: &[$($(
                    $crate::catalog::Label { name: stringify!($label), values: &[$($($value),+)?] }
                ),+)?],
                help: &[$($help),+],
            }
        ),+];
    };
}

impl Metric {
    /// The description, in one line.
    pub fn help(&self) -> String {
        one_line(self.help)
    }

    fn describe(&self) {
        let (name, help) = (self.name, self.help());
        let unit = match self.unit {
            Unit::Seconds => metrics::Unit::Seconds,
            Unit::Bytes => metrics::Unit::Bytes,
            Unit::Count | Unit::Revisions | Unit::Switch | Unit::Ratio => metrics::Unit::Count,
        };
        match self.kind {
            Kind::Counter => describe_counter!(name, unit, help),
            Kind::Gauge => describe_gauge!(name, unit, help),
            Kind::Histogram => describe_histogram!(name, unit, help),
        }
    }

    /// Creates a counter with 0. An alert on an increase misses a counter that begins with 1.
    fn begin(&self) {
        if self.kind == Kind::Counter {
            for labels in self.known_series() {
                metrics::counter!(self.name, labels).increment(0);
            }
        }
    }

    /// Every combination of its labels' values: one without labels, none if a label's values come from elsewhere.
    fn known_series(&self) -> Vec<Vec<metrics::Label>> {
        let mut known: Vec<Vec<metrics::Label>> = vec![Vec::new()];
        for label in self.labels {
            let mut longer = Vec::new();
            for labels in &known {
                for value in label.values {
                    let mut labels = labels.clone();
                    labels.push(metrics::Label::new(label.name, *value));
                    longer.push(labels);
                }
            }
            known = longer;
        }
        known
    }

    fn to_json(self) -> Value {
        json!({
            "name": self.name,
            "kind": format!("{:?}", self.kind).to_lowercase(),
            "unit": format!("{:?}", self.unit).to_lowercase(),
            "labels": self.labels,
            "help": self.help(),
        })
    }

    /// The mistakes in its declaration.
    pub fn mistakes(&self) -> Vec<String> {
        let name = self.name;
        let suffix = match (self.kind, self.unit) {
            (Kind::Counter, _) => "_total",
            (_, Unit::Seconds) => "_seconds",
            (_, Unit::Bytes) => "_bytes",
            _ => "",
        };
        let mut mistakes = Vec::new();
        if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            mistakes.push(format!("{name}: only lower case, digits and underscores"));
        }
        if !name.ends_with(suffix) {
            mistakes.push(format!("{name}: must end with {suffix}"));
        }
        if self.kind != Kind::Counter && name.ends_with("_total") {
            mistakes.push(format!("{name}: only counters end with _total"));
        }
        if !self.help().ends_with('.') {
            mistakes.push(format!("{name}: its help is no sentence"));
        }
        if self.kind == Kind::Counter && self.known_series().len() > MOST_SERIES {
            mistakes.push(format!("{name}: its labels have more than {MOST_SERIES} combinations"));
        }
        mistakes
    }
}

/// Describes metrics to the exporter, and creates the counters with 0.
pub fn describe(metrics: &[Metric]) {
    for metric in metrics {
        metric.describe();
        metric.begin();
    }
}

/// Metrics as JSON.
pub fn to_json(metrics: &[Metric]) -> Value {
    metrics.iter().map(|metric| metric.to_json()).collect()
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    mod declared {
        crate::declare_metrics! {
            /// Edges found wrong,
            /// by cause.
            Counter(Count) WRONG = "wrong_total" { cause: "missing", "extra"; kind };
            /// Time.
            Gauge(Seconds) TIME = "time";
            /// Things that ended.
            Counter(Count) ENDED = "ended_total" { kind: "a", "b"; state: "done", "failed" };
        }
    }

    #[test]
    fn a_declaration_keeps_everything() {
        let wrong = declared::ALL[0];
        assert_eq!((wrong.name, wrong.kind, wrong.unit), (declared::WRONG, Kind::Counter, Unit::Count));
        assert_eq!(wrong.help(), "Edges found wrong, by cause.");
        assert_eq!((wrong.labels[0].name, wrong.labels[0].values), ("cause", &["missing", "extra"][..]));
        assert_eq!((wrong.labels[1].name, wrong.labels[1].values.len()), ("kind", 0));
        assert!(wrong.mistakes().is_empty());
    }

    #[test]
    fn a_unit_is_in_the_name() {
        assert_eq!(declared::ALL[1].mistakes(), ["time: must end with _seconds"]);
        assert_eq!(declared::TIME, "time");
    }

    #[test]
    fn counters_whose_labels_are_known_begin_with_0() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || describe(declared::ALL));
        let text = recorder.handle().render();
        let mut ended: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(declared::ENDED)).collect();
        ended.sort_unstable();
        let expected = [
            r#"{kind="a",state="done"} 0"#,
            r#"{kind="a",state="failed"} 0"#,
            r#"{kind="b",state="done"} 0"#,
            r#"{kind="b",state="failed"} 0"#,
        ];
        assert_eq!(ended, expected);
        assert!(!text.contains(declared::WRONG), "the values of `kind` are not declared: {text}");
    }

    #[test]
    fn a_counter_has_few_combinations_of_labels() {
        const ELEVEN: &[&str] = &["x"; 11];
        const WIDE: &[Label] = &[Label { name: "a", values: ELEVEN }, Label { name: "b", values: ELEVEN }];
        let wide = Metric { labels: WIDE, ..declared::ALL[2] };
        assert_eq!(wide.mistakes(), ["ended_total: its labels have more than 100 combinations"]);
    }
}
