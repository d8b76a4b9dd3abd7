//! Idempotency records: the answers to requests of the last 24 hours.
//!
//! A record is the wire message of the response, so it stays readable for as long as the contract does. No other file
//! makes or reads these bytes.

use std::collections::BTreeMap;

use prost::Message as _;
use proto::command::v1 as wire;
use proto::{Token, UserId};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{Answer, Body, Command, ReplaceCounts, ReplaceReport, RequestKey, RequestName};
use crate::responses::{batch_result, optional_id, replace_following};

/// The first answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Fingerprint of the command that was answered.
    pub fingerprint: Vec<u8>,
    /// `None` if the record belongs to another command, or its bytes are not readable.
    pub answer: Option<Answer>,
}

/// Returns the records of those requests that were answered before.
pub async fn list(
    connection: &mut PgConnection,
    requests: &[(&RequestKey, &Command)],
) -> sqlx::Result<BTreeMap<RequestName, Reply>> {
    let names: Vec<_> = requests.iter().map(|(key, _)| key.name()).collect();
    // Two commands of a batch may have one name and different contents.
    let asked: BTreeMap<(RequestName, &[u8]), &Command> =
        requests.iter().map(|(key, command)| ((key.name(), &key.fingerprint[..]), *command)).collect();
    let reply = |row: Row| {
        let name = (UserId::new(row.actor_id)?, row.request_id);
        let command = asked.get(&(name, &row.fingerprint[..])).copied();
        let answer = command.and_then(|command| decode(command, &row.response));
        Some((name, Reply { fingerprint: row.fingerprint, answer }))
    };
    Ok(rows(connection, &names).await?.into_iter().filter_map(reply).collect())
}

/// Whether a request was answered before.
pub async fn exists(connection: &mut PgConnection, name: RequestName) -> sqlx::Result<bool> {
    Ok(!rows(connection, &[name]).await?.is_empty())
}

#[derive(sqlx::FromRow)]
struct Row {
    actor_id: Uuid,
    request_id: Uuid,
    fingerprint: Vec<u8>,
    response: Vec<u8>,
}

async fn rows(connection: &mut PgConnection, names: &[RequestName]) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as(
        "-- replies_list
         SELECT actor_id, request_id, fingerprint, response
         FROM unnest($1::uuid[], $2::uuid[]) AS x(a, r) JOIN replies ON actor_id = a AND request_id = r",
    )
    .bind(names.iter().map(|(actor, _)| actor.uuid()).collect::<Vec<_>>())
    .bind(names.iter().map(|(_, request)| *request).collect::<Vec<_>>())
    .fetch_all(connection)
    .await
}

/// Records answers.
pub async fn insert(
    connection: &mut PgConnection,
    replies: &[(RequestKey, Answer)],
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query(
        "-- replies_insert
         INSERT INTO replies (actor_id, request_id, fingerprint, response, created_at)
         SELECT a, r, f, b, $5 FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bytea[]) AS x(a, r, f, b)",
    )
    .bind(replies.iter().map(|(key, _)| key.actor.uuid()).collect::<Vec<_>>())
    .bind(replies.iter().map(|(key, _)| key.request_id).collect::<Vec<_>>())
    .bind(replies.iter().map(|(key, _)| key.fingerprint.as_slice()).collect::<Vec<_>>())
    .bind(replies.iter().map(|(_, answer)| encode(answer)).collect::<Vec<_>>())
    .bind(now)
    .execute(connection)
    .await
    .map(|_| ())
}

/// An import has no idempotency key, so its answer has no bytes.
fn encode(answer: &Answer) -> Vec<u8> {
    let (changed, written_at) = (answer.changed, answer.written_at.to_string());
    match &answer.body {
        Body::Pair(relationship) => {
            let relationship = Some((**relationship).clone());
            wire::FollowResponse { changed, written_at, relationship }.encode_to_vec()
        }
        Body::Batch(results) => wire::BatchWriteResponse {
            results: results.iter().map(|(changed, r)| batch_result(*changed, &written_at, r)).collect(),
            written_at,
        }
        .encode_to_vec(),
        Body::Job(job) => {
            wire::EraseAccountResponse { changed, written_at, job_id: optional_id(*job) }.encode_to_vec()
        }
        Body::Replace(report, job) => {
            replace_following(changed, answer.written_at, report, *job).encode_to_vec()
        }
        Body::Import(_) => Vec::new(),
    }
}

fn decode(command: &Command, bytes: &[u8]) -> Option<Answer> {
    let (changed, written_at, body) = match command {
        Command::Pair(_) => {
            let r = wire::FollowResponse::decode(bytes).ok()?;
            (r.changed, r.written_at, Body::Pair(Box::new(r.relationship?)))
        }
        Command::Batch(_) => {
            let r = wire::BatchWriteResponse::decode(bytes).ok()?;
            let results = r.results.into_iter().map(|r| Some((r.changed, r.relationship?)));
            let results: Vec<_> = results.collect::<Option<_>>()?;
            (results.iter().any(|(changed, _)| *changed), r.written_at, Body::Batch(results))
        }
        Command::Account { .. } => {
            let r = wire::EraseAccountResponse::decode(bytes).ok()?;
            (r.changed, r.written_at, Body::Job(r.job_id.parse().ok()))
        }
        Command::ReplaceFollowing { .. } => {
            let r = wire::ReplaceFollowingResponse::decode(bytes).ok()?;
            // 0.1.0 wrote no counts.
            let count = |list: &[String], count: u32| list.len().max(count as usize);
            let counts = ReplaceCounts {
                added: count(&r.added, r.added_count),
                removed: count(&r.removed, r.removed_count),
                requested: count(&r.requested, r.requested_count),
            };
            let (added, removed, requested) = (ids(&r.added)?, ids(&r.removed)?, ids(&r.requested)?);
            let report = ReplaceReport { added, removed, requested, counts };
            (r.changed, r.written_at, Body::Replace(report, r.job_id.parse().ok()))
        }
        Command::Import { .. } => return None,
    };
    Some(Answer { changed, written_at: Token::parse(&written_at).ok()?, body })
}

fn ids(texts: &[String]) -> Option<Vec<UserId>> {
    texts.iter().map(|text| UserId::parse(text).ok()).collect()
}

#[cfg(test)]
mod tests {
    use proto::graph::v1::Relationship;
    use proto::{Epoch, Revision};

    use super::*;
    use crate::domain::{AccountAction, Action, PairCommand, Replacement, Work};

    fn user(n: u128) -> UserId {
        UserId::new(Uuid::from_u128(n)).expect("not nil")
    }

    #[test]
    fn a_recorded_answer_decodes_to_the_same_answer() {
        let pair = PairCommand { actor: user(1), other: user(2), action: Action::Follow, expects: None };
        let relationship =
            Relationship { following: true, etag: "1.9".to_owned(), ..Relationship::default() };
        let counts = ReplaceCounts { added: 1, removed: 1, requested: 0 };
        let report =
            ReplaceReport { added: vec![user(3)], removed: vec![user(4)], counts, ..Default::default() };
        let written_at = Token::new(Epoch(1), Revision(9));
        let replacement = Replacement {
            actor: user(1),
            seen: written_at,
            listed: 1,
            size: 1,
            report: report.clone(),
            work: Work::Now(Vec::new()),
        };
        for (command, body) in [
            (Command::Pair(pair), Body::Pair(Box::new(relationship.clone()))),
            (Command::Batch(vec![pair]), Body::Batch(vec![(true, relationship)])),
            (
                Command::Account { user: user(1), action: AccountAction::Erase },
                Body::Job(Some(Uuid::from_u128(7))),
            ),
            (Command::ReplaceFollowing(replacement), Body::Replace(report, None)),
        ] {
            let answer = Answer { changed: true, written_at, body };
            assert_eq!(decode(&command, &encode(&answer)), Some(answer));
        }
    }
}
