//! The names of metrics in a PromQL query.
//!
//! It recognizes labels, functions and keywords, and skips them. The result is meaningful only for valid queries, which
//! promtool checks.

use std::collections::BTreeSet;

/// Keywords. `LISTS` are those with a list of labels in parentheses.
const WORDS: [&str; 6] = ["and", "or", "unless", "bool", "offset", "atan2"];
const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// All metrics in a query.
pub fn metrics(query: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = query;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '"' | '\'' | '`' => after_string(rest, first),
            '{' => after(rest, '}'),
            '[' => after(rest, ']'),
            c if is_word(c) && !c.is_ascii_digit() => {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                let (word, more) = rest.split_at(end);
                if LISTS.contains(&word) && more.trim_start().starts_with('(') {
                    after(more, ')')
                } else {
                    if !WORDS.contains(&word)
                        && !LISTS.contains(&word)
                        && !more.trim_start().starts_with('(')
                        && !is_aggregation(word, more)
                    {
                        found.insert(word.to_owned());
                    }
                    more
                }
            }
            c if c.is_ascii_digit() => rest.trim_start_matches(|c: char| is_word(c) || c == '.'),
            c => &rest[c.len_utf8()..],
        };
    }
    found
}

/// The metric of a series: a histogram has three.
pub fn family(series: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|suffix| series.strip_suffix(suffix)).unwrap_or(series)
}

/// `sum by (x) (...)`: the word before `by` is no metric.
fn is_aggregation(word: &str, more: &str) -> bool {
    let more = more.trim_start();
    let by = ["by", "without"].iter().find_map(|list| more.strip_prefix(list));
    by.is_some_and(|more| more.trim_start().starts_with('(')) && !word.contains('_')
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// The text after the next `end` outside of strings.
fn after(mut text: &str, end: char) -> &str {
    text = &text[text.chars().next().map_or(0, char::len_utf8)..];
    while let Some(c) = text.chars().next() {
        text = match c {
            '"' | '\'' | '`' => after_string(text, c),
            c => {
                let more = &text[c.len_utf8()..];
                if c == end {
                    return more;
                }
                more
            }
        };
    }
    text
}

fn after_string(text: &str, quote: char) -> &str {
    let mut escaped = false;
    for (place, c) in text.char_indices().skip(1) {
        match c {
            c if c == quote && !escaped => return &text[place + 1..],
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    ""
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
