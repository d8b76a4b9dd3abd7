//! Where the answer of a command came from: the stores, revisions and explanations of its calls.

use std::collections::BTreeSet;
use std::time::Duration;

use proto::query::v1::Source;

use super::explanation::Explained;
use crate::output::{self, json_row};

json_row! {
    /// Where the answer of one call came from, for programs.
    pub struct Provenance from source: Source, as_of: &str {
        source: &'static str = match source {
            Source::Neo4j => "neo4j",
            Source::Postgres => "postgres",
            Source::Memory => "memory",
            Source::Unspecified => "unknown",
        },
        as_of: String = as_of.to_owned(),
        revision: Option<u64> = output::revision(as_of),
    }
}

/// Where the answer of a command came from, which may make several calls.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    sources: BTreeSet<&'static str>,
    oldest: Option<u64>,
    newest: Option<u64>,
    calls: u32,
    elapsed: Duration,
    /// Those of the calls, if requested.
    pub explanations: Vec<Explained>,
}

impl Origin {
    pub fn add(&mut self, from: &Provenance, elapsed: Duration, explanation: Option<Explained>) {
        self.sources.insert(from.source);
        if let Some(revision) = from.revision {
            self.oldest = Some(self.oldest.map_or(revision, |old| old.min(revision)));
            self.newest = Some(self.newest.map_or(revision, |new| new.max(revision)));
        }
        self.calls += 1;
        self.elapsed += elapsed;
        self.explanations.extend(explanation);
    }

    /// The lines under an answer.
    pub fn text(&self) -> String {
        let sources: Vec<_> = self.sources.iter().copied().collect();
        let revision = match (self.oldest, self.newest) {
            (Some(old), Some(new)) if old != new => format!("revisions {old} to {new}"),
            (Some(only), _) => format!("revision {only}"),
            (None, _) => "revision unknown".to_owned(),
        };
        let calls = if self.calls > 1 { format!(" in {} calls", self.calls) } else { String::new() };
        let time = output::millis(output::elapsed_ms(self.elapsed));
        let mut lines = vec![format!("source {}   {revision}   time {time}{calls}", sources.join(" and "))];
        lines.extend(self.explanations.iter().flat_map(Explained::lines));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REVISION_901: &str = "1.0000000000000001.0000000000000385";
    const REVISION_902: &str = "1.0000000000000001.0000000000000386";

    fn add(origin: &mut Origin, source: Source, as_of: &str, elapsed: Duration) {
        origin.add(&Provenance::new(source, as_of), elapsed, None);
    }

    #[test]
    fn the_line_names_sources_revisions_and_time() {
        let mut origin = Origin::default();
        add(&mut origin, Source::Neo4j, REVISION_901, Duration::from_micros(1_240));
        assert_eq!(origin.text(), "source neo4j   revision 901   time 1.24 ms");
        add(&mut origin, Source::Postgres, REVISION_902, Duration::from_millis(2));
        assert_eq!(
            origin.text(),
            "source neo4j and postgres   revisions 901 to 902   time 3.24 ms in 2 calls"
        );
    }

    #[test]
    fn an_invalid_token_is_not_an_error() {
        let mut origin = Origin::default();
        add(&mut origin, Source::Unspecified, "", Duration::ZERO);
        assert_eq!(origin.text(), "source unknown   revision unknown   time 0.00 ms");
    }
}
