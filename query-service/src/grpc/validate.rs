//! Parses the fields of requests, with limits and errors that name the field.

use std::fmt::Display;

use proto::error::{Reason, ServiceError};
use proto::query::v1::consistency::Requirement;
use proto::query::v1::{Consistency, RequestDirection};
use proto::{Token, UserId};

use crate::queries::ListKind;
use crate::router::Need;

/// Maximum number of items of a repeated field.
const MAX_ITEMS: usize = 1_000;
/// Default page size.
const DEFAULT_PAGE_SIZE: usize = 50;
/// Maximum page size.
const MAX_PAGE_SIZE: usize = 1_000;

/// Name of the field with the required revision.
pub const AT_LEAST_AS_FRESH: &str = "consistency.at_least_as_fresh";

pub fn user(text: &str, field: &str) -> Result<UserId, ServiceError> {
    UserId::parse(text).map_err(|error| ServiceError::invalid_id(field, error))
}

/// Parses an optional account.
pub fn optional_user(text: &str, field: &str) -> Result<Option<UserId>, ServiceError> {
    if text.is_empty() { Ok(None) } else { user(text, field).map(Some) }
}

pub fn users(texts: &[String], field: &str) -> Result<Vec<UserId>, ServiceError> {
    users_up_to(MAX_ITEMS, texts, field)
}

/// Parses a list of at most `most` accounts.
pub fn users_up_to(limit: usize, texts: &[String], field: &str) -> Result<Vec<UserId>, ServiceError> {
    if texts.len() > limit {
        let message = format!("must have at most {limit} items");
        return Err(ServiceError::field(Reason::TooManyItems, field, message).with("limit", limit));
    }
    texts
        .iter()
        .enumerate()
        .map(|(i, text)| {
            UserId::parse(text).map_err(|error| ServiceError::invalid_id(format!("{field}[{i}]"), error))
        })
        .collect()
}

/// Parses a page size: reduced to the maximum, rejected below zero.
pub fn page_size(size: i32) -> Result<usize, ServiceError> {
    limit(size, "page_size", DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
}

/// Parses a number of rows: 0 means the default; larger numbers are reduced to the maximum.
pub fn limit(number: i32, field: &str, default: usize, largest: usize) -> Result<usize, ServiceError> {
    let number = match not_negative(number, field)? {
        0 => default,
        number => number,
    };
    Ok(number.min(largest))
}

/// Parses a count.
pub fn not_negative(number: i32, field: &str) -> Result<usize, ServiceError> {
    let refused = |_| ServiceError::field(Reason::NegativePageSize, field, "must not be negative");
    usize::try_from(number).map_err(refused)
}

/// Parses an optional token; `None` for an empty field.
pub fn optional_token<T, E: Display>(
    text: &str,
    (reason, field): (Reason, &str),
    read: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, ServiceError> {
    let token = (!text.is_empty()).then(|| read(text)).transpose();
    token.map_err(|error| ServiceError::field(reason, field, error))
}

/// Parses the direction of follow requests.
pub fn requests(direction: i32) -> Result<ListKind, ServiceError> {
    match RequestDirection::try_from(direction) {
        Ok(RequestDirection::Unspecified | RequestDirection::Incoming) => Ok(ListKind::RequestsReceived),
        Ok(RequestDirection::Outgoing) => Ok(ListKind::RequestsSent),
        Err(_) => Err(ServiceError::field(Reason::UnknownEnumValue, "direction", "is not a direction")),
    }
}

/// Parses the consistency.
pub fn need(consistency: Option<&Consistency>) -> Result<Need, ServiceError> {
    match consistency.and_then(|consistency| consistency.requirement.as_ref()) {
        None | Some(Requirement::MinimizeLatency(true)) => Ok(Need::default()),
        Some(Requirement::FullyConsistent(true)) => Ok(Need { truth: true, ..Need::default() }),
        Some(Requirement::AtLeastAsFresh(text)) => {
            let token = Token::parse(text)
                .map_err(|error| ServiceError::field(Reason::InvalidToken, AT_LEAST_AS_FRESH, error))?;
            Ok(Need { at_least: Some(token), ..Need::default() })
        }
        Some(Requirement::MinimizeLatency(false)) => Err(false_requirement("consistency.minimize_latency")),
        Some(Requirement::FullyConsistent(false)) => Err(false_requirement("consistency.fully_consistent")),
    }
}

fn false_requirement(field: &str) -> ServiceError {
    ServiceError::field(Reason::InvalidConsistency, field, "must be true or absent")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proto::{Epoch, Revision};

    use super::*;

    const ID: &str = "F47AC10B-58CC-4372-A567-0E02B2C3D479";

    fn consistency(requirement: Requirement) -> Option<Consistency> {
        Some(Consistency { requirement: Some(requirement) })
    }

    fn refused<T: std::fmt::Debug>(outcome: Result<T, ServiceError>) -> (Reason, String) {
        let error = outcome.expect_err("a mistake");
        (error.reason, error.field.expect("a field"))
    }

    #[test]
    fn ids_are_checked_and_named_by_place() {
        assert_eq!(user(ID, "viewer_id").expect("an id").to_string(), ID.to_lowercase());
        assert_eq!(refused(user("", "viewer_id")), (Reason::FieldRequired, "viewer_id".into()));
        let nil = "00000000-0000-0000-0000-000000000000";
        let list = |bad: &str| users(&[ID.to_owned(), bad.to_owned()], "target_ids");
        assert_eq!(refused(list(nil)), (Reason::NilUuid, "target_ids[1]".into()));
        assert_eq!(refused(list("x")), (Reason::InvalidUuid, "target_ids[1]".into()));
    }

    #[test]
    fn an_empty_viewer_is_none_and_a_bad_one_is_refused() {
        assert_eq!(optional_user("", "viewer_id"), Ok(None));
        assert_eq!(optional_user(ID, "viewer_id").expect("an id"), user(ID, "viewer_id").ok());
        assert_eq!(refused(optional_user("x", "viewer_id")), (Reason::InvalidUuid, "viewer_id".into()));
    }

    #[test]
    fn requests_have_two_directions() {
        for (direction, wanted) in
            [(0, ListKind::RequestsReceived), (1, ListKind::RequestsReceived), (2, ListKind::RequestsSent)]
        {
            assert_eq!(requests(direction), Ok(wanted));
        }
        for direction in [-1, 3] {
            assert_eq!(refused(requests(direction)), (Reason::UnknownEnumValue, "direction".into()));
        }
    }

    #[test]
    fn order_and_duplicates_are_kept_and_empty_is_fine() {
        let ids = vec![ID.to_owned(); 3];
        assert_eq!(users(&ids, "target_ids").expect("ids").len(), 3);
        assert_eq!(users(&[], "target_ids").expect("none").len(), 0);
    }

    #[test]
    fn a_thousand_items_are_taken_and_no_more() {
        let ids = vec![ID.to_owned(); MAX_ITEMS + 1];
        assert!(users(&ids[1..], "user_ids").is_ok());
        assert_eq!(refused(users(&ids, "user_ids")), (Reason::TooManyItems, "user_ids".into()));
    }

    #[test]
    fn page_sizes_have_a_default_and_a_limit() {
        for (given, wanted) in [(0, 50), (1, 1), (1_000, 1_000), (1_001, 1_000), (i32::MAX, 1_000)] {
            assert_eq!(page_size(given).expect("a size"), wanted, "{given}");
        }
        for given in [-1, i32::MIN] {
            assert_eq!(refused(page_size(given)), (Reason::NegativePageSize, "page_size".into()));
        }
    }

    #[test]
    fn every_requirement_is_read() {
        let token = Token::new(Epoch(1), Revision(901));
        assert_eq!(need(None), Ok(Need::default()));
        assert_eq!(need(Some(&Consistency { requirement: None })), Ok(Need::default()));
        assert_eq!(need(consistency(Requirement::MinimizeLatency(true)).as_ref()), Ok(Need::default()));
        assert_eq!(
            need(consistency(Requirement::AtLeastAsFresh(token.to_string())).as_ref()),
            Ok(Need { at_least: Some(token), ..Need::default() })
        );
        assert_eq!(
            need(consistency(Requirement::FullyConsistent(true)).as_ref()),
            Ok(Need { truth: true, ..Need::default() })
        );
    }

    #[test]
    fn a_false_requirement_is_refused() {
        for (requirement, field) in [
            (Requirement::MinimizeLatency(false), "consistency.minimize_latency"),
            (Requirement::FullyConsistent(false), "consistency.fully_consistent"),
        ] {
            let outcome = need(consistency(requirement).as_ref());
            assert_eq!(refused(outcome), (Reason::InvalidConsistency, field.into()));
        }
    }

    proptest! {
        #[test]
        fn any_text_but_a_token_is_refused(text in ".{0,60}") {
            let outcome = need(consistency(Requirement::AtLeastAsFresh(text)).as_ref());
            prop_assert_eq!(refused(outcome), (Reason::InvalidToken, "consistency.at_least_as_fresh".into()));
        }
    }
}
