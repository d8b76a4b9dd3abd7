//! Reports of failures on stderr: what, why, which field, and what to do about it.
//!
//! No error here contains a token or a password.

use std::collections::BTreeMap;
use std::io;

use proto::error::{Reason, reason_of};
use serde::Serialize;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::client::{CallFailed, Peer, Service, Unreachable, host_of, invalid_field, metadata};
use crate::error::{Hinted, Several};
use crate::output::{self, Format};

#[derive(Debug, Default, PartialEq, Serialize)]
struct Report {
    message: String,
    code: Option<String>,
    reason: Option<String>,
    field: Option<String>,
    hint: Option<String>,
    /// ErrorInfo.metadata.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

/// The error of a command that succeeded, but could not write to stdout.
pub fn lost_output(failure: &io::Error) -> anyhow::Error {
    Hinted::new(
        format!("cannot write to stdout: {failure}"),
        "the command ran to its end; output that stdout did not take is above",
    )
    .into()
}

/// Whether the reader of an export closed its pipe. A lost connection to a server does not count.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let of_a_server = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<sqlx::Error>() || cause.is::<neo4rs::Error>() || cause.is::<Unreachable>()
    };
    if error.chain().any(of_a_server) {
        return false;
    }
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
}

/// Writes a failure to stderr.
pub fn failure(error: &anyhow::Error, format: Format) {
    let report = describe(error);
    match format {
        Format::Text => output::note(report.text().trim_end()),
        Format::Json => output::note(serde_json::json!({ "error": report }).to_string()),
    }
}

/// A failure in one line, for tables.
pub fn one_line(error: &anyhow::Error) -> String {
    describe(error).message
}

impl Report {
    fn text(&self) -> String {
        let mut text = format!("error: {}\n", self.message);
        let details = [("reason", &self.reason), ("field", &self.field), ("hint", &self.hint)];
        for (name, value) in details {
            if let Some(value) = value {
                text.push_str(&format!("  {name}: {value}\n"));
            }
        }
        text
    }
}

fn describe(error: &anyhow::Error) -> Report {
    let find = |message: String, hint| Report { message, hint, ..Report::default() };
    if let Some(several) = error.downcast_ref::<Several>() {
        let (messages, hints): (Vec<_>, Vec<_>) =
            several.0.iter().map(describe).map(|report| (report.message, report.hint)).unzip();
        let hints: Vec<_> = hints.into_iter().flatten().collect();
        return find(messages.join("; "), (!hints.is_empty()).then(|| hints.join("; ")));
    }
    if let Some(failed) = error.downcast_ref::<CallFailed>() {
        let report = of_call(failed);
        let context = error.to_string();
        if context == failed.to_string() {
            return report;
        }
        return Report { message: format!("{context}: {}", report.message), ..report };
    }
    if let Some(unreachable) = error.downcast_ref::<Unreachable>() {
        let cause = anyhow::Chain::new(unreachable).last().map(ToString::to_string);
        let cause = cause.unwrap_or_default();
        let hint = if unreachable.tls && cause.contains("InvalidContentType") {
            "the port speaks clear text: leave out --tls, --ca, --cert and their variables".to_owned()
        } else {
            is_it_up(&unreachable.peer)
        };
        return find(format!("{unreachable}: {cause}"), Some(hint));
    }
    let hint = error.downcast_ref::<Hinted>().map(|a| a.hint.clone());
    find(format!("{error:#}"), hint)
}

fn of_call(failed: &CallFailed) -> Report {
    let status = &failed.status;
    Report {
        message: failed.message(),
        code: Some(format!("{:?}", status.code())),
        reason: status.get_details_error_info().map(|info| info.reason),
        field: invalid_field(status),
        hint: hint(failed),
        metadata: metadata(status).into_iter().collect(),
    }
}

fn is_it_up(peer: &Peer) -> String {
    format!("is the service up? its address is {}={}", peer.service.variable(), host_of(&peer.addr))
}

/// What to do about a failed call.
fn hint(failed: &CallFailed) -> Option<String> {
    let status = &failed.status;
    let Some(reason) = reason_of(status) else {
        return hint_without_reason(failed);
    };
    let hint = match reason {
        Reason::InvalidToken | Reason::TokenAhead => {
            "use a token that a write or read of this deployment printed"
        }
        Reason::EpochChanged => "an operator opened a new epoch: read again without the token",
        Reason::DeadlineExceeded => "repeat the call (a write with its --request-id), or raise --timeout",
        Reason::Unauthenticated => "set FOLLOWGRAPH_TOKEN to a token from the service's AUTH_TOKENS",
        Reason::ScopeMissing => {
            "use a token with that scope; the service's AUTH_TOKENS lists the scopes of each token"
        }
        Reason::WritesDisabled => "start command-service with AUTH_TOKENS",
        Reason::RequestIdReused => "choose another --request-id, or repeat the same command",
        Reason::NotCommitted => "nothing was written: repeat the command",
        Reason::CommitTimedOut => {
            "nothing was written: the command takes too long in the database at present; ask the operator before you repeat it"
        }
        Reason::OutcomeUnknown => "repeat the command with the same --request-id",
        Reason::PreconditionFailed => return Some(current_state(status)),
        Reason::AccountArchived => "`followgraph restore` brings an archived account back",
        Reason::AccountErasing => "wait until the erase ends: after that the id can be used as a new account",
        Reason::RequestNotFound => "the request was withdrawn, or already answered",
        Reason::FollowCapReached => "waiting does not help: the account must unfollow another one first",
        Reason::JobNotFound => "use the job id that the command printed",
        Reason::Overloaded
        | Reason::FallbackBudgetExhausted
        | Reason::ReadModelBehind
        | Reason::ReadModelBusy
        | Reason::RateLimited
        | Reason::TooManyCalls
        | Reason::ResponsesNotTaken => {
            return Some(match status.get_details_retry_info().and_then(|i| i.retry_delay) {
                Some(delay) => format!("try again in {} ms", delay.as_millis().max(1)),
                None => "try again later".to_owned(),
            });
        }
        Reason::WatcherTooSlow => "resume with --after and the token of the last event",
        Reason::RevisionPruned => return Some(oldest_kept(status)),
        Reason::StoreUnavailable => "`followgraph status` shows which store is unavailable",
        Reason::RequestStalled => "nothing was done: repeat the call",
        Reason::ShuttingDown => "repeat the call: another process takes over",
        Reason::Internal => "see the log of the service",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Where a watch can start.
fn oldest_kept(status: &Status) -> String {
    match metadata(status).get("oldest_token") {
        Some(token) => {
            format!("--after {token} starts at the oldest kept event; an export contains older changes")
        }
        None => "start with an export".to_owned(),
    }
}

/// State of the pair that did not match the precondition, or why no store can answer.
fn current_state(status: &Status) -> String {
    let metadata = metadata(status);
    if metadata.contains_key("read_source") {
        return "another query-service may have a store that can answer".to_owned();
    }
    let value = |key: &str| metadata.get(key).map_or("unknown", String::as_str);
    format!(
        "the pair now has the etag {}, following is {}: check it, then repeat with this etag",
        value("etag"),
        value("following")
    )
}

/// What to do about a status that our services did not make.
fn hint_without_reason(failed: &CallFailed) -> Option<String> {
    let CallFailed { peer, status } = failed;
    if failed.exceeded_deadline() {
        let repeat = match peer.service {
            Service::Command => "; the command may have been executed, and can be repeated",
            Service::Query => "",
        };
        return Some(format!(
            "raise --timeout; `followgraph status` shows what is slow or unavailable{repeat}"
        ));
    }
    if std::error::Error::source(status).is_some() || status.code() == Code::Unavailable {
        return Some(format!("{}; if its port speaks TLS, --tls or --ca is needed", is_it_up(peer)));
    }
    (status.code() == Code::Unimplemented).then(|| {
        format!(
            "the service does not know this call: is {}={} the {}, and of this version?",
            peer.service.variable(),
            peer.addr,
            peer.service
        )
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proto::error::ServiceError;

    use super::*;
    use crate::error::Mistakes;

    fn call(status: impl Into<Status>) -> anyhow::Error {
        let peer = Peer { service: Service::Command, addr: "127.0.0.1:9080".to_owned() };
        CallFailed { peer, status: status.into() }.into()
    }

    #[test]
    fn a_refusal_has_reason_field_and_hint() {
        let error = ServiceError::field(Reason::InvalidToken, "consistency", "is not a token");
        assert_eq!(
            describe(&call(error)).text(),
            "error: consistency is not a token\n  \
             reason: INVALID_TOKEN\n  \
             field: consistency\n  \
             hint: use a token that a write or read of this deployment printed\n"
        );
    }

    #[test]
    fn an_overload_says_when_to_retry() {
        let error =
            ServiceError::new(Reason::Overloaded, "the queue is full").retry_after(Duration::from_millis(25));
        assert_eq!(describe(&call(error)).hint.as_deref(), Some("try again in 25 ms"));
    }

    #[test]
    fn a_failed_precondition_shows_the_pair() {
        let error = ServiceError::new(Reason::PreconditionFailed, "the pair has changed")
            .with("etag", "1.a")
            .with("following", true);
        let report = describe(&call(error).context("lines 1 to 300"));
        assert_eq!(report.message, "lines 1 to 300: the pair has changed");
        assert_eq!(
            report.hint.as_deref(),
            Some("the pair now has the etag 1.a, following is true: check it, then repeat with this etag")
        );
    }

    #[test]
    fn a_foreign_status_names_the_service() {
        let report = describe(&call(Status::unimplemented("")));
        assert_eq!(report.message, "command-service at 127.0.0.1:9080:  (Unimplemented)");
        assert!(report.hint.unwrap().contains("FOLLOWGRAPH_COMMAND_ADDR"));
        let report = describe(&call(Status::cancelled("Timeout expired")));
        assert_eq!(report.message, "command-service at 127.0.0.1:9080: no answer in time");
    }

    #[test]
    fn several_mistakes_are_one_report_with_their_hints() {
        let mut mistakes = Mistakes::default();
        mistakes.push(anyhow::anyhow!("DATABASE_URL is wrong"));
        mistakes.push(Hinted::new("the port is wrong", "1"));
        let report = describe(&mistakes.finish().expect_err("two mistakes"));
        assert_eq!(report.text(), "error: DATABASE_URL is wrong; the port is wrong\n  hint: 1\n");
    }

    #[test]
    fn a_broken_pipe_is_found_under_its_context() {
        let error = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("cannot write");
        assert!(is_broken_pipe(&error));
        assert!(!is_broken_pipe(&anyhow::anyhow!("other")));
    }
}
