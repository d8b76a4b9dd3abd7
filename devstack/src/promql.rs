//! The names of metrics in a PromQL query.
//!
//! It recognizes labels, functions and keywords, and skips them. The result is meaningful only for valid queries, which
//! promtool checks.

use std::{collections::BTreeSet, sync::LazyLock};

use regex::Regex;

/// Words that are neither metrics nor followed by a parenthesis.
const WORDS: [&str; 8] = ["and", "or", "unless", "bool", "offset", "atan2", "group_left", "group_right"];

/// All metrics in a query.
pub fn metrics(query: &str) -> BTreeSet<String> {
    static STRINGS: LazyLock<Regex> =
        LazyLock::new(|| regex(r#""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`"#));
    static LABELS: LazyLock<Regex> = LazyLock::new(|| {
        regex(r"\{[^}]*\}|\[[^\]]*\]|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
    });
    static NAMES: LazyLock<Regex> = LazyLock::new(|| regex(r"\b([A-Za-z_:][\w:]*)\s*(\(?)"));
    // Strings first: they may contain braces.
    let query = STRINGS.replace_all(query, "");
    let query = LABELS.replace_all(&query, " ");
    let names = NAMES.captures_iter(&query).map(|name| name.extract());
    let metrics = names.filter(|(_, [name, call])| call.is_empty() && !WORDS.contains(name));
    metrics.map(|(_, [name, _])| name.to_owned()).collect()
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is valid")
}

/// The metric of a series: a histogram has three.
pub fn family(series: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|suffix| series.strip_suffix(suffix)).unwrap_or(series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_metrics_are_found() {
        for (query, names) in [
            ("sum by (cause) (increase(a_total{job=~\"b|c\", d!=\"e}\"}[1h])) > 0", vec!["a_total"]),
            ("(sum(a) or vector(0)) == 0", vec!["a"]),
            ("histogram_quantile(0.95, sum by (le, q) (rate(x_bucket[5m]))) > 1.5e3", vec!["x_bucket"]),
            ("min by (job) (a) == 0 and on (job, instance) b{service=~'c'}", vec!["a", "b"]),
            ("max(a) - max(b) > 0 and max(changes(b[1m])) == 0", vec!["a", "b"]),
            ("absent(a)", vec!["a"]),
            ("a * on (x) group_left (y) b offset 5m", vec!["a", "b"]),
        ] {
            assert_eq!(metrics(query).into_iter().collect::<Vec<_>>(), names, "{query}");
        }
    }

    #[test]
    fn a_series_of_a_histogram_belongs_to_it() {
        assert_eq!((family("x_seconds_bucket"), family("x_total")), ("x_seconds", "x_total"));
    }
}
