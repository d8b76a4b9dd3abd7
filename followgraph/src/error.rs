//! How failures are told: what, why, which field, and what to do about it.
//!
//! Owns the words of errors, for people and as JSON, always on stderr. It must
//! never show a token or a password; no error here carries one.

use std::collections::BTreeMap;
use std::io;

use proto::error::{Reason, reason_of};
use serde::Serialize;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::args::Format;
use crate::client::{CallFailed, Peer, Service, Unreachable, host_of};
use crate::mistakes::Several;
use crate::output;

/// An error with advice, for those that are not of a call.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Advised {
    /// What went wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// Why.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What is told about a failure.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Report {
    message: String,
    code: Option<String>,
    reason: Option<String>,
    field: Option<String>,
    hint: Option<String>,
    /// ErrorInfo.metadata, for programs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

/// Stdout could not be written, although the command itself succeeded.
pub fn lost_output(failure: &io::Error) -> anyhow::Error {
    Advised {
        message: format!("cannot write to stdout: {failure}"),
        hint: "the command was carried out to its end; what stdout did not take is above".to_owned(),
        source: None,
    }
    .into()
}

/// Whether the reader of an export's rows has gone. A server that has gone is something else.
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

/// Tells a failure on stderr.
pub fn report(error: &anyhow::Error, format: Format) {
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
            several.all().iter().map(describe).map(|report| (report.message, report.hint)).unzip();
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
    let hint = error.downcast_ref::<Advised>().map(|a| a.hint.clone());
    find(format!("{error:#}"), hint)
}

fn of_call(failed: &CallFailed) -> Report {
    let CallFailed { peer, status } = failed;
    let details = status.get_error_details();
    let info = details.error_info();
    let violation = details.bad_request().and_then(|b| b.field_violations.first());
    Report {
        message: message(failed),
        code: Some(format!("{:?}", status.code())),
        reason: info.map(|i| i.reason.clone()),
        field: violation.map(|v| v.field.clone()),
        hint: hint(peer, status),
        metadata: info.map(|i| i.metadata.clone().into_iter().collect()).unwrap_or_default(),
    }
}

/// What went wrong with a call, in one line.
pub fn message(failed: &CallFailed) -> String {
    let status = &failed.status;
    // A refusal of the service speaks for itself; anything else needs to be told
    // whom it came from.
    if status.get_details_error_info().is_some() {
        return status.message().to_owned();
    }
    if is_own_deadline(status) {
        return format!("{}: no answer in time", failed.peer);
    }
    let cause = std::error::Error::source(status)
        .map(|s| anyhow::Chain::new(s).last().map_or_else(String::new, ToString::to_string));
    match cause {
        Some(cause) => format!("{}: {cause}", failed.peer),
        None => format!("{failed} ({:?})", status.code()),
    }
}

/// tonic's client answers a deadline of its own with CANCELLED and this text.
fn is_own_deadline(status: &Status) -> bool {
    status.code() == Code::DeadlineExceeded
        || (status.code() == Code::Cancelled && status.message() == "Timeout expired")
}

fn is_it_up(peer: &Peer) -> String {
    format!("is the service up? {}={} says where to look", peer.service.variable(), host_of(&peer.addr))
}

/// What to do about the failure of a call.
fn hint(peer: &Peer, status: &Status) -> Option<String> {
    let Some(reason) = reason_of(status) else {
        return hint_of_code(peer, status);
    };
    let hint = match reason {
        Reason::InvalidToken | Reason::TokenAhead => {
            "take the token as a write or a read of this very deployment printed it"
        }
        Reason::EpochChanged => "the history was recovered: drop the token and read anew",
        Reason::DeadlineExceeded => "repeat it (a write with its --request-id), or raise --timeout",
        Reason::Unauthenticated => "set FOLLOWGRAPH_TOKEN to a token of the service's AUTH_TOKENS",
        Reason::ScopeMissing => "use a token with that scope; AUTH_TOKENS of the service gives scopes",
        Reason::WritesDisabled => "start the command-service with AUTH_TOKENS",
        Reason::RequestIdReused => "choose another --request-id, or repeat the same command",
        Reason::NotCommitted => "nothing was written: repeat the command",
        Reason::CommitTimedOut => {
            "nothing was written; the command is too large for the database now: ask the operator before you repeat it"
        }
        Reason::OutcomeUnknown => "repeat the command with the same --request-id",
        Reason::PreconditionFailed => return Some(present_state(status)),
        Reason::AccountArchived => "`followgraph restore` brings an archived account back",
        Reason::AccountErasing => "wait until it is erased: then the id is a new one",
        Reason::RequestNotFound => "it was withdrawn, or answered before",
        Reason::FollowCapReached => "waiting does not help: the account has to unfollow somebody first",
        Reason::JobNotFound => "take the id as the command that started the job printed it",
        Reason::Overloaded
        | Reason::FallbackBudgetExhausted
        | Reason::ReadModelBehind
        | Reason::ReadModelBusy
        | Reason::RateLimited
        | Reason::TooManyCalls
        | Reason::ResponsesNotTaken => {
            return Some(match status.get_details_retry_info().and_then(|i| i.retry_delay) {
                Some(delay) => format!("try again in {} ms", delay.as_millis().max(1)),
                None => "try again in a moment".to_owned(),
            });
        }
        Reason::WatcherTooSlow => "go on with --after and the token of the last event",
        Reason::RevisionPruned => return Some(oldest_kept(status)),
        Reason::StoreUnavailable => "`followgraph status` says which store is missing",
        Reason::RequestStalled => "nothing was done: repeat it",
        Reason::ShuttingDown => "try again: another process takes over",
        Reason::Internal => "the log of the service says more",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Where a watch can begin.
fn oldest_kept(status: &Status) -> String {
    let metadata = status.get_details_error_info().map(|info| info.metadata).unwrap_or_default();
    match metadata.get("oldest_token") {
        Some(token) => format!("--after {token} gives all that is kept; an export gives the rest"),
        None => "begin with an export".to_owned(),
    }
}

/// What the pair is like that was expected to be different, or what rules the question out.
fn present_state(status: &Status) -> String {
    let metadata = status.get_details_error_info().map(|info| info.metadata).unwrap_or_default();
    if metadata.contains_key("read_source") {
        return "another query-service may have the store that answers it".to_owned();
    }
    let value = |key: &str| metadata.get(key).map_or("unknown", String::as_str);
    format!(
        "the pair now has the etag {}, following is {}: look again, then decide",
        value("etag"),
        value("following")
    )
}

/// The same for answers that are not of our services' making.
fn hint_of_code(peer: &Peer, status: &Status) -> Option<String> {
    if is_own_deadline(status) {
        let repeat = match peer.service {
            Service::Command => "; the command may have happened, and may be repeated",
            Service::Query => "",
        };
        return Some(format!("raise --timeout; `followgraph status` says what is slow or missing{repeat}"));
    }
    if std::error::Error::source(status).is_some() || status.code() == Code::Unavailable {
        return Some(format!("{}; if its port speaks TLS, --tls or --ca is needed", is_it_up(peer)));
    }
    (status.code() == Code::Unimplemented).then(|| {
        format!(
            "the service does not know this call: is {}={} the {}, of this version?",
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
    use crate::mistakes::Mistakes;

    fn call(status: impl Into<Status>) -> anyhow::Error {
        let peer = Peer { service: Service::Command, addr: "127.0.0.1:9080".to_owned() };
        CallFailed { peer, status: status.into() }.into()
    }

    #[test]
    fn a_refusal_is_told_with_reason_field_and_advice() {
        let error = ServiceError::field(Reason::InvalidToken, "consistency", "is not a token");
        assert_eq!(
            describe(&call(error)).text(),
            "error: consistency is not a token\n  \
             reason: INVALID_TOKEN\n  \
             field: consistency\n  \
             hint: take the token as a write or a read of this very deployment printed it\n"
        );
    }

    #[test]
    fn an_overload_says_when_to_come_back() {
        let error =
            ServiceError::new(Reason::Overloaded, "the queue is full").retry_after(Duration::from_millis(25));
        assert_eq!(describe(&call(error)).hint.as_deref(), Some("try again in 25 ms"));
    }

    #[test]
    fn a_failed_precondition_says_what_the_pair_is_like() {
        let error = ServiceError::new(Reason::PreconditionFailed, "the pair has changed")
            .with("etag", "1.a")
            .with("following", true);
        let report = describe(&call(error).context("lines 1 to 300"));
        assert_eq!(report.message, "lines 1 to 300: the pair has changed");
        assert_eq!(
            report.hint.as_deref(),
            Some("the pair now has the etag 1.a, following is true: look again, then decide")
        );
    }

    #[test]
    fn an_answer_of_somebody_else_names_the_peer() {
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
        mistakes.push(Advised {
            message: "the port is wrong".to_owned(),
            hint: "1".to_owned(),
            source: None,
        });
        let report = describe(&mistakes.finish().expect_err("two mistakes"));
        assert_eq!(report.text(), "error: DATABASE_URL is wrong; the port is wrong\n  hint: 1\n");
    }

    #[test]
    fn a_broken_pipe_is_found_below_its_context() {
        let error = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("cannot write");
        assert!(is_broken_pipe(&error));
        assert!(!is_broken_pipe(&anyhow::anyhow!("other")));
    }
}
