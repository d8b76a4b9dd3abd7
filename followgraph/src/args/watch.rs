//! Arguments of `watch`.
//!
//! Owns its flags and the names of verbs. It must not know what is done with events.

use std::time::Duration;

use clap::Args as Group;
use proto::event::Verb;

use super::seconds;
use crate::ids::Id;
use crate::text;

/// What the help of `watch` adds.
pub(super) const WATCH_HELP: &str = "\
With -o json each event is one object a line, with `resume_token`: what --after takes to go on behind it.
A broken connection is resumed. It ends with Ctrl-C, and tells on stderr where to go on.

Filters of different kinds must all fit; of those of one kind, any.";

/// What to watch.
#[derive(Debug, Group)]
pub struct WatchArgs {
    /// Begin after this token, not after the newest event
    #[arg(long, value_name = "TOKEN", value_parser = text::argument)]
    pub after: Option<String>,
    /// Only these commands, such as follow or remove-follower
    #[arg(long = "verb", value_name = "VERB", value_parser = verb)]
    pub verbs: Vec<Verb>,
    /// Only what these accounts did
    #[arg(long = "actor", value_name = "ID")]
    pub actors: Vec<Id>,
    /// Only what changed an edge that ends at one of these accounts
    #[arg(long = "target", value_name = "ID")]
    pub targets: Vec<Id>,
    /// End after so many events
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Seconds without any answer after which a broken connection is given up
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub retry_for: Duration,
}

/// Reads a verb as events name it, with dashes or underscores.
fn verb(text: &str) -> Result<Verb, String> {
    let name = format!("VERB_{}", text.to_ascii_uppercase().replace('-', "_"));
    Verb::from_str_name(&name).filter(|verb| *verb != Verb::Unspecified).ok_or_else(|| {
        let known = (1..).map_while(|number| Verb::try_from(number).ok());
        let known: Vec<_> = known.map(|verb| proto::subjects::verb_name(verb).replace('_', "-")).collect();
        format!("must be one of {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_read_as_commands_and_as_events_name_them() {
        assert_eq!(verb("follow"), Ok(Verb::Follow));
        assert_eq!(verb("remove-follower"), Ok(Verb::RemoveFollower));
        assert_eq!(verb("remove_follower"), Ok(Verb::RemoveFollower));
        for wrong in ["", "unspecified", "befriend"] {
            let told = verb(wrong).unwrap_err();
            assert!(told.contains("remove-follower") && told.contains("restore-account"), "{told}");
        }
    }
}
